//! `lb list` and `lb counters`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use clap::Args;
use lb_common::counter::{Kind, Reason};
use serde::de::DeserializeOwned;

use super::output::{print, print_json};
use super::{ControlSocket, Failure, answered, runtime};
use crate::control::api::{Acl, Director, RealServer, State, VirtualServers};
use crate::control::client;

/// List virtual servers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb list                 with names of hosts and services
  sudo lb list -n              with numbers
  sudo lb list --json | jq '.virtual_servers[].real_servers[] | select(.state != \"up\")'")]
pub(super) struct List {
    /// Numbers instead of names of hosts and services
    #[arg(long, short)]
    numeric: bool,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

/// Show counters.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb counters
  sudo lb counters --json")]
pub(super) struct Counters {
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

impl List {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let listed: VirtualServers = ask(&self.socket.control_socket, "/v1/virtual_servers")?;
        if self.json { print_json(&listed) } else { print(&table(&listed, self.numeric)) }
    }
}

impl Counters {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let director: Director = ask(&self.socket.control_socket, "/v1/director")?;
        if self.json { print_json(&director) } else { print(&counters(&director)) }
    }
}

fn ask<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, Failure> {
    answered(runtime()?.block_on(client::get(socket, path)))
}

/// In the manner of `ipvsadm -L`, with what a director in XDP knows besides.
fn table(listed: &VirtualServers, numeric: bool) -> String {
    const HEADINGS: [&str; 6] = ["Weight", "ActiveConn", "InActConn", "State", "MAC", ""];
    let mut rows: Vec<(String, Option<[String; 6]>)> = Vec::new();
    for service in &listed.virtual_servers {
        let with_flags = with_flags(&service.scheduler, &service.scheduler_flags);
        let mut scheduler = with_flags.as_str();
        if let Some(fwmark) = service.fwmark {
            rows.push((format!("FWM  {fwmark} {scheduler}"), None));
            scheduler = "";
        }
        let mut prefix = format!("{:<4} ", service.protocol.to_uppercase());
        let mut acl = refusals(&service.acl);
        for address in &service.addresses {
            let address = socket_name(address, &service.protocol, numeric);
            rows.push((format!("{prefix}{address} {scheduler}{acl}").trim_end().to_owned(), None));
            (prefix, scheduler, acl) = (" ".repeat(5), "", String::new());
        }
        for server in &service.real_servers {
            let columns = [
                server.weight.to_string(),
                server.active_connections.to_string(),
                server.inactive_connections.to_string(),
                server.state.name().to_owned(),
                mac(server),
                String::new(),
            ];
            rows.push((format!("  -> {}", host_name(&server.address, numeric)), Some(columns)));
        }
    }
    let headings = HEADINGS.map(str::to_owned);
    let header = ("  -> RemoteAddress".to_owned(), Some(headings));
    let widest = |column: usize| {
        let cells = rows.iter().chain([&header]).filter_map(|(_, cells)| Some(cells.as_ref()?[column].len()));
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEADINGS.len()).map(widest).collect();
    let first =
        rows.iter().chain([&header]).filter(|(_, cells)| cells.is_some()).map(|(first, _)| first.len());
    let first = first.max().unwrap_or(0);
    let mut text = "Prot LocalAddress:Port Scheduler\n".to_owned();
    for (label, cells) in [&header].into_iter().chain(&rows) {
        match cells {
            None => text.push_str(label),
            Some(cells) => {
                let _ = write!(text, "{label:<first$}");
                for (cell, width) in cells.iter().zip(&widths) {
                    let _ = write!(text, " {cell:<width$}");
                }
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// As `ipvsadm -L` shows them: `sh (sh-fallback,sh-port)`.
pub(super) fn with_flags(scheduler: &str, flags: &[String]) -> String {
    if flags.is_empty() { scheduler.to_owned() } else { format!("{scheduler} ({})", flags.join(",")) }
}

/// The MAC that a real server's frames get.
fn mac(server: &RealServer) -> String {
    let nobody = if matches!(server.state, State::Up | State::Draining) { "local" } else { "-" };
    server.mac.clone().unwrap_or_else(|| nobody.to_owned())
}

/// How many prefixes a virtual server denies and allows, if it does.
fn refusals(acl: &Acl) -> String {
    let count = |name: &str, prefixes: &[String]| match prefixes.len() {
        0 => String::new(),
        count => format!(" {name} {count}"),
    };
    count("deny", &acl.deny) + &count("allow", &acl.allow)
}

fn host_name(address: &str, numeric: bool) -> String {
    match address.parse() {
        Ok(ip) if !numeric => names(SocketAddr::new(ip, 0), "tcp").map(|(host, _)| host),
        _ => None,
    }
    .unwrap_or_else(|| address.to_owned())
}

fn socket_name(address: &str, protocol: &str, numeric: bool) -> String {
    match address.parse() {
        Ok(socket) if !numeric => names(socket, protocol).map(|(host, service)| joined(&host, &service)),
        _ => None,
    }
    .unwrap_or_else(|| address.to_owned())
}

/// In brackets if the host is an IPv6 address, which then has no name.
fn joined(host: &str, service: &str) -> String {
    if host.contains(':') { format!("[{host}]:{service}") } else { format!("{host}:{service}") }
}

/// Host and service, by name where they have one.
fn names(socket: SocketAddr, protocol: &str) -> Option<(String, String)> {
    let flags = if protocol == "udp" { libc::NI_DGRAM } else { 0 };
    dns_lookup::getnameinfo(&socket, flags).ok()
}

fn counters(director: &Director) -> String {
    let mut text = format!(
        "lb {} on {} ({} XDP), room for {} connections\n",
        director.version, director.interface, director.xdp_mode, director.max_connections
    );
    for (kind, title) in [
        (Kind::Pass, "Handed to the local network stack"),
        (Kind::Drop, "Dropped"),
        (Kind::Event, "Events in the connection table"),
    ] {
        let _ = writeln!(text, "\n{title}");
        for reason in Reason::ALL.iter().filter(|reason| reason.kind() == kind) {
            let count = director.counters.get(reason.name()).copied().unwrap_or(0);
            let _ = writeln!(text, "  {:<22} {count:>12}  {}", reason.name(), reason.description());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api;

    #[test]
    fn an_address_of_ipv6_is_told_from_its_port() {
        assert_eq!(joined("2001:db8::1", "http"), "[2001:db8::1]:http");
        assert_eq!(joined("www.example.net", "http"), "www.example.net:http");
        assert_eq!(socket_name("[2001:db8::1]:80", "tcp", true), "[2001:db8::1]:80");
        assert_eq!(host_name("2001:db8::10", true), "2001:db8::10");
    }

    /// Columns are as wide as the longest address of either family.
    #[test]
    fn columns_stand_below_each_other() {
        let server = |address: &str| RealServer {
            address: address.to_owned(),
            weight: 1,
            state: State::Up,
            mac: None,
            active_connections: 0,
            inactive_connections: 12,
            stats: api::Stats::default(),
            rate: api::Rate::default(),
        };
        let service = |address: &str, real_servers: &[&str]| api::VirtualServer {
            name: address.to_owned(),
            addresses: vec![address.to_owned()],
            fwmark: None,
            protocol: "tcp".to_owned(),
            scheduler: "rr".to_owned(),
            scheduler_flags: Vec::new(),
            real_servers: real_servers.iter().map(|address| server(address)).collect(),
            acl: Acl {
                deny: Vec::new(),
                allow: vec!["10.0.0.0/8".to_owned(); usize::from(address.contains('['))],
            },
        };
        let virtual_servers = vec![
            service("192.0.2.1:80", &["192.0.2.10"]),
            service("[2001:db8::1]:80", &["2001:db8::10", "2001:db8:1234:5678:9abc:def0:1234:5678"]),
        ];
        let expected = "\
Prot LocalAddress:Port Scheduler
  -> RemoteAddress                          Weight ActiveConn InActConn State MAC
TCP  192.0.2.1:80 rr
  -> 192.0.2.10                             1      0          12        up    local
TCP  [2001:db8::1]:80 rr allow 1
  -> 2001:db8::10                           1      0          12        up    local
  -> 2001:db8:1234:5678:9abc:def0:1234:5678 1      0          12        up    local
";
        assert_eq!(table(&VirtualServers { virtual_servers }, true), expected);
    }

    #[test]
    fn flags_stand_behind_their_scheduler() {
        let virtual_servers = vec![api::VirtualServer {
            name: "dns".to_owned(),
            addresses: vec!["192.0.2.1:53".to_owned(), "192.0.2.2:53".to_owned()],
            fwmark: None,
            protocol: "udp".to_owned(),
            scheduler: "mh".to_owned(),
            scheduler_flags: vec!["mh-fallback".to_owned(), "mh-port".to_owned()],
            real_servers: Vec::new(),
            acl: Acl { deny: vec!["10.0.0.0/8".to_owned()], allow: Vec::new() },
        }];
        let lines = table(&VirtualServers { virtual_servers }, true);
        assert!(
            lines.ends_with("UDP  192.0.2.1:53 mh (mh-fallback,mh-port) deny 1\n     192.0.2.2:53\n"),
            "{lines}"
        );
    }

    #[test]
    fn a_group_with_a_number_is_listed_by_it() {
        let virtual_servers = vec![api::VirtualServer {
            name: "web".to_owned(),
            addresses: vec!["192.0.2.0/28:80".to_owned(), "192.0.2.1:8000-8100".to_owned()],
            fwmark: Some(7),
            protocol: "tcp".to_owned(),
            scheduler: "rr".to_owned(),
            scheduler_flags: Vec::new(),
            real_servers: Vec::new(),
            acl: Acl::default(),
        }];
        let lines = table(&VirtualServers { virtual_servers }, false);
        assert!(lines.ends_with("FWM  7 rr\nTCP  192.0.2.0/28:80\n     192.0.2.1:8000-8100\n"), "{lines}");
    }
}
