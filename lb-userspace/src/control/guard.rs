//! What comes before and behind every request that is not root's: is it meant for this machine, and how may a browser
//! use the answer?
//!
//! A page of somebody else in an operator's browser cannot read what this server answers, because a browser lets no other
//! origin do so that is not allowed to, and none is. What is left to it is to have its own name resolve to this machine
//! ("DNS rebinding"): then this is its own origin. Its requests still have its name in them (`Host`), so only those are
//! answered that have an address, for which nobody needs a resolver, or a name of this machine.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, uri::Authority};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use tokio::sync::watch;

use super::failure::Failure;
use super::server::Shared;
use crate::state::Followed;

/// Of every answer that says nothing else.
static HEADERS: [(HeaderName, HeaderValue); 3] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

/// By what this machine is asked for.
struct Names {
    /// Its own name, in lower case.
    machine: Option<String>,
    configs: watch::Receiver<Followed>,
}

/// The same router for those who ask for this machine.
pub(super) fn guarded(router: Router<Arc<Shared>>, shared: &Shared) -> Router<Arc<Shared>> {
    let machine = dns_lookup::get_hostname().ok().map(|name| name.to_ascii_lowercase());
    let names = Names { machine, configs: shared.configs.clone() };
    router.layer(from_fn_with_state(Arc::new(names), guard))
}

async fn guard(State(names): State<Arc<Names>>, request: Request, next: Next) -> Response {
    let foreign =
        hosts(request.uri(), request.headers()).find(|host| !names.contain(host)).map(Failure::wrong_host);
    let mut response = match foreign {
        Some(failure) => failure.into_response(),
        None => next.run(request).await,
    };
    for (name, value) in &HEADERS {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    response
}

/// Whom a request is for: its header says so, or its first line. Only what no browser sends says nothing.
fn hosts<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> impl Iterator<Item = &'a str> {
    // What cannot be read is nobody's name.
    let header = headers.get_all(HOST).iter().map(|value| value.to_str().unwrap_or("?"));
    header.chain(uri.authority().map(Authority::as_str))
}

impl Names {
    /// Whether a host, possibly with a port, is this machine.
    fn contain(&self, host: &str) -> bool {
        let Some(host) = without_port(host) else { return false };
        let host = match host {
            Host::Address => return true,
            Host::Name(name) => name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(),
        };
        // Never resolved by a name server (RFC 6761, section 6.3).
        if host == "localhost" || host.ends_with(".localhost") {
            return true;
        }
        // The first label alone is no name that another could have.
        let is_own =
            |name: &str| name == host || name.split_once('.').is_some_and(|(first, _)| first == host);
        self.machine.as_deref().is_some_and(is_own)
            || self.configs.borrow().config().director.http_names.contains(&host)
    }
}

enum Host<'a> {
    Address,
    Name(&'a str),
}

/// What stands before a port, if there is one: an address or what may be a name, and nothing that programs read
/// differently.
fn without_port(host: &str) -> Option<Host<'_>> {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = host.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let is_end = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return (is_end && address.parse::<Ipv6Addr>().is_ok()).then_some(Host::Address);
    }
    let (host, port) = host.split_once(':').unwrap_or((host, ""));
    if !is_port(port) {
        return None;
    }
    Some(if host.parse::<Ipv4Addr>().is_ok() { Host::Address } else { Host::Name(host) })
}
