//! The status page: files that are part of the program, and the list as a table of commas.
//!
//! Nothing of it comes from elsewhere, and the browser is told to load nothing else: a name or an error message that
//! had a program in it would not be run even if it were taken for HTML, which it never is (its program writes text only).

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State as Extract;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::api::{ListOptions, RealServer, VirtualServer};
use super::director::virtual_servers;
use super::failure::Failure;
use super::server::Shared;

/// What the page may do: run its own program, look as it does, and ask this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

struct File {
    path: &'static str,
    media: &'static str,
    content: &'static str,
}

/// A program of the page, in modules.
const SCRIPT: &str = "text/javascript; charset=utf-8";

static FILES: [File; 7] = [
    File { path: "/", media: "text/html; charset=utf-8", content: include_str!("page/page.html") },
    File { path: "/page.css", media: "text/css; charset=utf-8", content: include_str!("page/page.css") },
    File { path: "/page.js", media: SCRIPT, content: include_str!("page/page.js") },
    File { path: "/admin.js", media: SCRIPT, content: include_str!("page/admin.js") },
    File { path: "/director.js", media: SCRIPT, content: include_str!("page/director.js") },
    File { path: "/elements.js", media: SCRIPT, content: include_str!("page/elements.js") },
    File { path: "/icon.svg", media: "image/svg+xml", content: include_str!("page/icon.svg") },
];

/// The same router with the page.
pub(super) fn with_page(router: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    let add = |router: Router<Arc<Shared>>, file: &'static File| {
        let headers = [(CONTENT_TYPE, file.media), (CONTENT_SECURITY_POLICY, POLICY)];
        router.route(file.path, get(move || async move { (headers, file.content) }))
    };
    FILES.iter().fold(router, add).route("/status.csv", get(csv))
}

async fn csv(Extract(shared): Extract<Arc<Shared>>) -> Result<Response, Failure> {
    let listed = virtual_servers(shared, ListOptions::default()).await?;
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (CONTENT_DISPOSITION, "attachment; filename=\"lb-status.csv\""),
    ];
    Ok((headers, table(&listed.virtual_servers)).into_response())
}

const COLUMNS: &str = "virtual_server,addresses,protocol,scheduler,real_server,role,state,since,weight,mac,\
                       active_connections,inactive_connections,connections,packets,bytes,connections_per_second,\
                       packets_per_second,bytes_per_second,check,last_check,latency_ms,error";

/// A line for each real server, as RFC 4180 has them; a virtual server without any has a line too.
fn table(services: &[VirtualServer]) -> String {
    let mut text = format!("{COLUMNS}\r\n");
    for service in services {
        let of_service = [&service.name, &service.addresses.join(" "), &service.protocol, &service.scheduler]
            .map(|cell| quoted(cell));
        let of_service = of_service.join(",");
        let servers = service.real_servers.iter().map(|server| ("real", server));
        let servers: Vec<_> =
            servers.chain(service.sorry_server.iter().map(|server| ("sorry", server))).collect();
        if servers.is_empty() {
            let none = ",".repeat(COLUMNS.matches(',').count() - 3);
            let _ = write!(text, "{of_service}{none}\r\n");
        }
        for (role, server) in servers {
            let _ = write!(text, "{of_service},{}\r\n", line(role, server));
        }
    }
    text
}

fn line(role: &str, server: &RealServer) -> String {
    let RealServer { stats, rate, .. } = server;
    let health = server.health.as_ref();
    let last = health.and_then(|health| health.last.as_ref());
    let or_none = |text: Option<&String>| text.map(|text| quoted(text)).unwrap_or_default();
    [
        quoted(&server.address),
        role.to_owned(),
        server.state.name().to_owned(),
        or_none(server.since.as_ref()),
        server.weight.to_string(),
        or_none(server.mac.as_ref()),
        server.active_connections.to_string(),
        server.inactive_connections.to_string(),
        stats.connections.to_string(),
        stats.packets.to_string(),
        stats.bytes.to_string(),
        format!("{:.1}", rate.connections),
        format!("{:.1}", rate.packets),
        format!("{:.1}", rate.bytes),
        or_none(health.map(|health| &health.check)),
        or_none(last.map(|last| &last.time)),
        last.map(|last| format!("{:.3}", last.latency_ms)).unwrap_or_default(),
        or_none(last.and_then(|last| last.error.as_ref())),
    ]
    .join(",")
}

/// A cell. What a spreadsheet would take for a formula is marked as text: an error message may be what somebody else's
/// machine has sent.
fn quoted(cell: &str) -> String {
    let mark = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if mark.is_empty() && !cell.contains([',', '"', '\r', '\n']) {
        return cell.to_owned();
    }
    format!("\"{mark}{}\"", cell.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_have_to_be_and_no_formula_is_one() {
        for (cell, expected) in [
            ("web", "web"),
            ("192.0.2.1:80 192.0.2.1:443", "192.0.2.1:80 192.0.2.1:443"),
            ("a,b", "\"a,b\""),
            ("say \"hello\"", "\"say \"\"hello\"\"\""),
            ("=1+1", "\"'=1+1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("two\nlines", "\"two\nlines\""),
        ] {
            assert_eq!(quoted(cell), expected);
        }
    }

    /// Only what belongs to the page is named in it.
    #[test]
    fn the_page_names_no_other_machine_and_writes_no_html() {
        for file in &FILES {
            let addresses = file.content.match_indices("//").filter(|(place, _)| {
                file.content[..*place].ends_with("http:") || file.content[..*place].ends_with("https:")
            });
            let foreign: Vec<&str> = addresses
                .map(|(place, _)| {
                    file.content[place..].split(['"', '\'', ' ', '`']).next().unwrap_or_default()
                })
                .filter(|address| *address != "//www.w3.org/2000/svg")
                .collect();
            assert!(foreign.is_empty(), "{}: {foreign:?}", file.path);
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                " style=\"",
                " onclick",
            ] {
                assert!(!file.content.contains(word), "{} has {word}", file.path);
            }
        }
    }
}
