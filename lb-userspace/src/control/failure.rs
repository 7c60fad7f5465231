//! Requests that are not answered with what was asked for.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::dataplane::DataplaneError;
use crate::state::{AclError, ChangeError, NameError};

/// Why, as a status and in words.
#[derive(Debug)]
pub(super) struct Failure(StatusCode, String);

impl Failure {
    pub(super) fn bad_request(reason: String) -> Self {
        Self(StatusCode::BAD_REQUEST, reason)
    }

    /// Whoever would do it has ended.
    pub(super) fn stopping() -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned())
    }
}

impl From<DataplaneError> for Failure {
    fn from(error: DataplaneError) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self(StatusCode::NOT_FOUND, error.to_string())
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        let status = match &error {
            ChangeError::Name(_) | ChangeError::Acl(AclError::NoSuchPrefix(_)) => StatusCode::NOT_FOUND,
            ChangeError::Acl(AclError::OtherFamily { .. })
            | ChangeError::Timeout(_)
            | ChangeError::Weight(_) => StatusCode::BAD_REQUEST,
            ChangeError::Acl(AclError::Full(_)) => StatusCode::CONFLICT,
            ChangeError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}
