//! `/v1/acl`: which clients are let in, and changes of that.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::oneshot;

use super::api;
use super::server::Shared;
use crate::config::Acl;
use crate::forms::Prefix;
use crate::state::{AclAction, AclChange, AclError, Input, Published};

/// A change that was not made.
pub(super) struct Refusal(StatusCode, String);

impl From<AclError> for Refusal {
    fn from(error: AclError) -> Self {
        let status = match error {
            AclError::NoSuchService(_) | AclError::NoSuchPrefix(_) => StatusCode::NOT_FOUND,
            AclError::OtherFamily { .. } => StatusCode::BAD_REQUEST,
            AclError::Full(_) => StatusCode::CONFLICT,
            AclError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

pub(super) async fn list(Extract(shared): Extract<Arc<Shared>>) -> Json<api::Acls> {
    let published = Arc::clone(&shared.published.borrow());
    let virtual_servers = published
        .services
        .iter()
        .map(|service| api::ServiceAcl { name: service.name.clone(), acl: shown(&service.acl) })
        .collect();
    Json(api::Acls { all: shown(&published.acl), virtual_servers })
}

pub(super) async fn change(
    Extract(shared): Extract<Arc<Shared>>,
    body: Result<Json<api::AclChange>, JsonRejection>,
) -> Result<Json<api::AclChanged>, Refusal> {
    let Json(asked) = body.map_err(|error| Refusal(error.status(), error.body_text()))?;
    let prefix: Prefix = asked.prefix.parse().map_err(|error| {
        Refusal(StatusCode::BAD_REQUEST, format!("{:?} is not a prefix: {error}", asked.prefix))
    })?;
    let action = match asked.action {
        api::AclAction::Deny => AclAction::Deny,
        api::AclAction::Allow => AclAction::Allow,
        api::AclAction::Remove => AclAction::Remove,
    };
    let (done, answer) = oneshot::channel();
    let change = AclChange { action, prefix, service: asked.service.clone() };
    let stopping = || Refusal(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping".to_owned());
    shared.inputs.send(Input::ChangeAcl { change, done }).await.map_err(|_| stopping())?;
    let changed = answer.await.map_err(|_| stopping())??;
    let published = Arc::clone(&shared.published.borrow());
    let acl = rules(&published, asked.service.as_deref());
    Ok(Json(api::AclChanged { prefix: prefix.to_string(), changed, acl }))
}

fn rules(published: &Published, service: Option<&str>) -> api::Acl {
    let Some(name) = service else { return shown(&published.acl) };
    let service = published.services.iter().find(|service| service.name == name);
    service.map(|service| shown(&service.acl)).unwrap_or_default()
}

pub(super) fn shown(acl: &Acl) -> api::Acl {
    let texts =
        |prefixes: &std::collections::BTreeSet<Prefix>| prefixes.iter().map(Prefix::to_string).collect();
    api::Acl { deny: texts(&acl.deny), allow: texts(&acl.allow) }
}
