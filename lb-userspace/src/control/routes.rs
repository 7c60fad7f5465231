//! The one list of the API's operations: the router serves it, and the document describes it.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};

use super::document::described;
use super::failure::Failure;
use super::guard::guarded;
use super::operation::{Effect, Media, Operation};
use super::page::with_page;
use super::request::Size;
use super::server::Shared;
use super::{
    acl, api, change, configuration, connections, director, events, health, live, metrics, sync, trace, vrrp,
};

/// Who is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Root, on the control socket.
    Full,
    /// Anybody: changes are refused, and so is what holds secrets (the configuration's text may have passwords) or
    /// tells of clients.
    ReadOnly,
}

impl Access {
    /// Whether this one may.
    pub(super) fn allows(self, operation: &Operation) -> bool {
        self == Self::Full || operation.effect == Effect::Reads
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
        Operation::change("/v1/weight", "Changes a real server's weight.", Size::Small, change::set_weight),
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
    ]
}

/// What answers.
pub(super) fn router(shared: Arc<Shared>, access: Access) -> Router {
    let route = |router: Router<Arc<Shared>>, operation: Operation| {
        let route = if access.allows(&operation) { operation.route.clone() } else { operation.forbidden() };
        router.route(operation.path, route)
    };
    let none = |uri: Uri| async move { Failure::no_such_path(uri.path()) };
    let wrong = |method: Method, uri: Uri| async move { Failure::no_such_method(&method, uri.path()) };
    let router =
        operations().into_iter().fold(Router::new(), route).fallback(none).method_not_allowed_fallback(wrong);
    let router = match access {
        Access::Full => router,
        Access::ReadOnly => guarded(with_page(router), &shared),
    };
    router.with_state(shared)
}
