//! Requests that are not answered with what was asked for.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::api::Problem;
use crate::dataplane::DataplaneError;
use crate::state::{ChangeError, NameError, Refused, ReloadError};

/// Why, as a status and in words.
#[derive(Debug)]
pub(super) struct Failure(StatusCode, Problem);

impl Failure {
    fn new(status: StatusCode, kind: &str, error: String) -> Self {
        Self(status, Problem { error, kind: kind.to_owned(), change: None })
    }

    pub(super) fn bad_request(reason: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", reason)
    }

    pub(super) fn conflict(reason: String) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", reason)
    }

    /// Whoever would do it has ended.
    pub(super) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the daemon is stopping".to_owned())
    }
}

impl From<DataplaneError> for Failure {
    fn from(error: DataplaneError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", error.to_string())
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
        let Self(status, problem) = Self::from(problem);
        Self(status, Problem { change, ..problem })
    }
}

impl From<ReloadError> for Failure {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Failed(_) => Self::from(ChangeError::Failed(error.to_string())),
            ReloadError::Invalid(_) | ReloadError::Unreadable(_) => Self::bad_request(error.to_string()),
            ReloadError::Unconfirmed => Self::conflict(error.to_string()),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}
