//! Requests that are not answered with what was asked for.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::api::Problem;
use crate::dataplane::DataplaneError;
use crate::state::{ChangeError, NameError, Refused, ReloadError};

/// Why, as a status and in words.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    problem: Problem,
    /// In how many seconds it makes sense to ask again, if that is known.
    retry_after: Option<u64>,
}

impl Failure {
    fn new(status: StatusCode, kind: &str, error: String) -> Self {
        Self { status, problem: Problem { error, kind: kind.to_owned(), change: None }, retry_after: None }
    }

    pub(super) fn bad_request(reason: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", reason)
    }

    pub(super) fn conflict(reason: String) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", reason)
    }

    /// There is nothing at this path.
    pub(super) fn no_such_path(path: &str) -> Self {
        let reason = format!("there is no {}; GET /v1/openapi.json says what there is", shortened(path));
        Self::new(StatusCode::NOT_FOUND, "no_such_path", reason)
    }

    /// There is something at this path, but not for this method.
    pub(super) fn no_such_method(method: &Method, path: &str) -> Self {
        let (method, path) = (shortened(method.as_str()), shortened(path));
        let reason = format!("{path} does not answer {method}; GET /v1/openapi.json says what it answers");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", reason)
    }

    /// Who asks may not.
    pub(super) fn read_only() -> Self {
        let reason = "this is for root only, on the control socket (director.control_socket)".to_owned();
        Self::new(StatusCode::FORBIDDEN, "read_only", reason)
    }

    /// A browser was sent here under a name that is not this machine's.
    pub(super) fn wrong_host(host: &str) -> Self {
        let reason = format!(
            "this machine is not {:?}; ask for it by its address, or write that name into director.http_names",
            shortened(host)
        );
        Self::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", reason)
    }

    /// Who asks has not signed in, or that was too long ago.
    pub(super) fn signed_out() -> Self {
        let reason = "nobody is signed in here, or the session has ended: sign in on the status page, or send the secret of \
                      director.http_admin_file in the header Authorization: Bearer";
        Self::new(StatusCode::UNAUTHORIZED, "signed_out", reason.to_owned())
    }

    /// Who asks does not know the administrators' secret.
    pub(super) fn wrong_secret() -> Self {
        let reason = "this is not the secret; it is what the file has that director.http_admin_file names on the director";
        Self::new(StatusCode::UNAUTHORIZED, "wrong_secret", reason.to_owned())
    }

    /// Nobody's secret is looked at for so long.
    pub(super) fn too_many_attempts(retry_after: Duration) -> Self {
        // Whole seconds (RFC 9110, section 10.2.3), of which none is too early.
        let seconds = retry_after.as_secs() + 1;
        let reason = format!(
            "too many wrong secrets came; try again in {seconds} s, or use `lb weight` on the director"
        );
        let failure = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", reason);
        Self { retry_after: Some(seconds), ..failure }
    }

    /// A browser sent this for a page of somebody else.
    pub(super) fn other_origin() -> Self {
        let reason = "this does not come from the status page of this director; a reverse proxy has to hand on Host as the \
                      browser sent it, and programs send Authorization: Bearer without cookies";
        Self::new(StatusCode::FORBIDDEN, "other_origin", reason.to_owned())
    }

    /// It has a cookie, and not what only the page knows.
    pub(super) fn no_csrf_token() -> Self {
        let reason = "the header X-CSRF-Token has not the session's token, which GET /v1/session tells; load the page anew";
        Self::new(StatusCode::FORBIDDEN, "no_csrf_token", reason.to_owned())
    }

    pub(super) fn not_json() -> Self {
        let reason = "the body has to be JSON, and to say so: Content-Type: application/json".to_owned();
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid", reason)
    }

    /// A body has more than this many bytes.
    pub(super) fn too_large(most: usize) -> Self {
        let reason = format!("the body has more than {most} bytes; send less at once");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", reason)
    }

    /// No virtual server has this real server.
    pub(super) fn no_such_server(server: IpAddr) -> Self {
        let reason = format!(
            "no virtual server has the real server {server}; `lb list -n` shows those that there are"
        );
        Self::new(StatusCode::NOT_FOUND, "no_such_server", reason)
    }

    /// A body did not come within this time.
    pub(super) fn too_slow(within: Duration) -> Self {
        let reason = format!("the body did not come within {within:?}; send it at once");
        Self::new(StatusCode::REQUEST_TIMEOUT, "too_slow", reason)
    }

    /// As many as are served at a time are being served.
    pub(super) fn busy() -> Self {
        let reason = "too many others ask for the same at once; try again later".to_owned();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", reason)
    }

    /// It was tried.
    pub(super) fn failed(reason: String) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", reason)
    }

    /// Whoever would do it has ended.
    pub(super) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the daemon is stopping".to_owned())
    }
}

/// What somebody sent, for a message.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.problem.error)
    }
}

impl std::error::Error for Failure {}

impl From<DataplaneError> for Failure {
    fn from(error: DataplaneError) -> Self {
        match error {
            DataplaneError::Traced => Self::conflict(error.to_string()),
            error => Self::failed(error.to_string()),
        }
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), "invalid", rejection.body_text())
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_such_service", error.to_string())
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        let (status, kind) = match &error {
            ChangeError::NoSuchService(_) => (StatusCode::NOT_FOUND, "no_such_service"),
            ChangeError::NoSuchServer(_) => (StatusCode::NOT_FOUND, "no_such_server"),
            ChangeError::NoSuchPrefix(_) => (StatusCode::NOT_FOUND, "no_such_prefix"),
            ChangeError::ServiceExists(_) => (StatusCode::CONFLICT, "service_exists"),
            ChangeError::ServerExists { .. } => (StatusCode::CONFLICT, "server_exists"),
            ChangeError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
            ChangeError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        };
        Self::new(status, kind, error.to_string())
    }
}

impl From<Refused> for Failure {
    fn from(Refused { change, problem }: Refused) -> Self {
        let failure = Self::from(problem);
        Self { problem: Problem { change, ..failure.problem }, ..failure }
    }
}

impl From<ReloadError> for Failure {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Failed(_) => Self::from(ChangeError::Failed(error.to_string())),
            ReloadError::Invalid(_) => Self::bad_request(error.to_string()),
            ReloadError::Unconfirmed | ReloadError::Confirmed => Self::conflict(error.to_string()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { status, problem, retry_after } = self;
        let mut response = (status, Json(problem)).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            // It has to say how (RFC 9110, section 15.5.2); no browser asks its user for such a one.
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"lb\""));
        }
        response
    }
}
