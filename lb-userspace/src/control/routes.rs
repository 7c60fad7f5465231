//! The one list of the API's operations: the router serves it, and the document describes it.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use utoipa::openapi::path::HttpMethod;

use super::document::described;
use super::failure::Failure;
use super::guard::guarded;
use super::operation::{Effect, Media, Operation};
use super::page::with_page;
use super::request::Size;
use super::server::Shared;
use super::{
    acl, admin, api, change, configuration, connections, director, events, health, live, metrics, sync,
    trace, vrrp,
};

/// Who is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Root, on the control socket.
    Full,
    /// Anybody: changes are refused, and so is what holds secrets (the configuration's text may have passwords) or
    /// tells of clients. Some changes are for whoever proves to be an administrator.
    Anybody,
}

impl Access {
    /// Whether this one may do that; `is_administered` says whether anybody may prove to be an administrator.
    pub(super) fn allows(self, effect: Effect, is_administered: bool) -> bool {
        match (effect, self) {
            (Effect::Reads, _) | (Effect::Reveals | Effect::Changes | Effect::Administers, Self::Full) => {
                true
            }
            (Effect::Reveals | Effect::Changes, Self::Anybody) | (Effect::Proves, Self::Full) => false,
            (Effect::Administers | Effect::Proves, Self::Anybody) => is_administered,
        }
    }
}

/// All operations, in the order of the document.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/v1/openapi.json", "This document.", described),
        Operation::get("/v1/director", "The daemon, and its counters of frames.", director::director),
        Operation::query(
            "/v1/virtual_servers",
            "Virtual servers and their real servers.",
            director::virtual_servers,
        ),
        Operation::lines::<api::Connection, _, _>(
            "/v1/connections",
            "The connection table: an object on each line, as they are found.",
            connections::list,
        )
        .revealing(),
        Operation::ask("/v1/explain", "What would become of a frame, and why.", director::explain),
        Operation::change(
            "/v1/changes",
            "Changes what is configured: all of it, in this order, or nothing.",
            Size::Large,
            change::change,
        ),
        Operation::get("/v1/acl", "Whose new connections are let in.", acl::list),
        Operation::change("/v1/acl", "Treats a prefix of clients differently.", Size::Small, acl::change),
        Operation::get("/v1/timeouts", "How long connections are remembered.", change::timeouts),
        Operation::change(
            "/v1/timeouts",
            "Changes how long connections are remembered.",
            Size::Small,
            change::set_timeouts,
        ),
        Operation::administer("/v1/weight", "Changes a real server's weight.", change::set_weight),
        Operation::change("/v1/zero", "Has counters begin anew.", Size::Small, change::zero),
        Operation::get("/v1/health", "Health checks, and what they found.", health::health),
        Operation::ask(
            "/v1/check_now",
            "Does all health checks of a real server at once, and says what they found.",
            health::check_now,
        ),
        Operation::get("/v1/vrrp", "Virtual routers: who is master, and why.", vrrp::vrrp),
        Operation::get("/v1/sync", "Connections shared with other directors.", sync::sync),
        Operation::text::<api::Metrics, _>(
            "/metrics",
            "Counters and states, for Prometheus.",
            Media::OpenMetrics,
            metrics::metrics,
        ),
        Operation::lines::<api::Event, _, _>(
            "/v1/events",
            "What happens, as it happens: an object on each line.",
            events::follow,
        ),
        Operation::stream::<api::LiveEvent, _, _>(
            "/v1/live",
            "Everything that there is to see, every two seconds and whenever something is done, and what happens.",
            Media::Events,
            live::listen,
        ),
        Operation::lines::<api::TraceLine, _, _>(
            "/v1/trace",
            "What becomes of frames, while this is read: an object on each line. One reader at a time.",
            trace::follow,
        )
        .revealing(),
        Operation::get(
            "/v1/configuration",
            "The configuration file, and what was changed since it was read.",
            configuration::shown,
        )
        .revealing(),
        Operation::change(
            "/v1/reload",
            "Loads the configuration file anew.",
            Size::Small,
            configuration::reload,
        ),
        Operation::order("/v1/confirm", "Keeps what the last reload did.", configuration::confirm),
        Operation::of_asker(
            HttpMethod::Get,
            "/v1/session",
            "Whether whoever asks has signed in at `director.http`.",
            admin::shown,
        ),
        Operation::prove(
            "/v1/session",
            "Signs in at `director.http`: a cookie is the session.",
            admin::sign_in,
        ),
        Operation::of_asker(HttpMethod::Delete, "/v1/session", "Signs out.", admin::sign_out),
    ]
}

/// What answers.
pub(super) fn router(shared: Arc<Shared>, access: Access) -> Router {
    let route = |router: Router<Arc<Shared>>, operation: Operation| {
        let route = match (access, operation.effect) {
            (Access::Full, Effect::Proves) => return router,
            (Access::Full, _) | (Access::Anybody, Effect::Reads) => operation.route,
            (Access::Anybody, Effect::Reveals | Effect::Changes) => operation.forbidden(),
            // The layer that is added last comes first.
            (Access::Anybody, Effect::Administers) => operation
                .route
                .route_layer(from_fn_with_state(Arc::clone(&shared), admin::prove))
                .route_layer(from_fn_with_state(Arc::clone(&shared), admin::if_any)),
            (Access::Anybody, Effect::Proves) => {
                operation.route.route_layer(from_fn_with_state(Arc::clone(&shared), admin::if_any))
            }
        };
        router.route(operation.path, route)
    };
    let none = |uri: Uri| async move { Failure::no_such_path(uri.path()) };
    let wrong = |method: Method, uri: Uri| async move { Failure::no_such_method(&method, uri.path()) };
    let router =
        operations().into_iter().fold(Router::new(), route).fallback(none).method_not_allowed_fallback(wrong);
    let router = match access {
        Access::Full => router,
        Access::Anybody => guarded(with_page(router), &shared),
    };
    router.with_state(shared)
}
