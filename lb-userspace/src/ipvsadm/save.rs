//! Virtual servers as the lines that `ipvsadm -R` takes, and what those cannot say.

use std::fmt::Write as _;

use super::listing::{Entry, Names, mask};
use crate::control::api::VirtualServers;

/// What `ipvsadm -S` prints.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) rules: String,
    /// What is lost if somebody restores from the rules alone. They have no comments that it could be told in.
    pub(super) warnings: Vec<String>,
}

/// In the order of `ipvsadm -L`.
pub(super) fn save(listed: &VirtualServers, names: Names<'_>) -> Saved {
    let mut saved = Saved::default();
    for entry in Entry::all(listed, false) {
        let is_one = entry.address.is_none() || entry.exact().is_some();
        if is_one {
            rules(&mut saved.rules, &entry, names);
        }
    }
    saved.warnings = listed.virtual_servers.iter().filter_map(lost).collect();
    saved
}

/// What the rules do not say of a virtual server's addresses.
fn lost(service: &crate::control::api::VirtualServer) -> Option<String> {
    let name = &service.name;
    let addresses = service.addresses.join(", ");
    let several: Vec<&str> = service
        .addresses
        .iter()
        .filter(|address| address.parse::<std::net::SocketAddr>().is_err())
        .map(String::as_str)
        .collect();
    Some(match (service.fwmark, service.addresses.len()) {
        (Some(_), 0) => return None,
        (Some(mark), _) => format!(
            "the addresses of group {mark} are not part of the rules: {addresses}; `lb save` keeps them"
        ),
        _ if !several.is_empty() => format!(
            "{name:?} is left out for {}: ipvsadm has no ranges of addresses or ports; `lb save` keeps them, and \
             so does a group with a fwmark",
            several.join(", ")
        ),
        (None, 2..) => format!(
            "{name:?} is saved as a service for each of its addresses, {addresses}; to keep them together, give it \
             a fwmark, or use `lb save`"
        ),
        _ => return None,
    })
}

/// A service and its real servers (`print_service_entry` with `FMT_RULE`).
fn rules(text: &mut String, entry: &Entry<'_>, names: Names<'_>) {
    let service = entry.service;
    let which = match (service.fwmark, entry.address) {
        (Some(mark), _) if entry.is_ipv6() => format!("-f {mark} -6"),
        (Some(mark), _) => format!("-f {mark}"),
        (None, address) => {
            let option = if service.protocol == "udp" { "-u" } else { "-t" };
            format!("{option} {}", names.address(address.unwrap_or_default(), &service.protocol))
        }
    };
    let _ = write!(text, "-A {which} -s {}", service.scheduler);
    if let Some(persistence) = service.persistence {
        let _ = write!(text, " -p {}", persistence.timeout);
        if let Some(mask) = mask(service, persistence) {
            let _ = write!(text, " -M {mask}");
        }
    }
    if service.one_packet {
        text.push_str(" -o");
    }
    if !service.scheduler_flags.is_empty() {
        let _ = write!(text, " -b {}", service.scheduler_flags.join(","));
    }
    text.push('\n');
    for server in entry.servers(false) {
        let _ = writeln!(text, "-a {which} -r {} -g -w {}", names.server(server, entry), server.weight);
    }
}
