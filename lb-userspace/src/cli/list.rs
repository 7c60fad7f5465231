//! `lb list` and `lb counters`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::SystemTime;

use clap::Args;
use lb_common::counter::{Kind, Reason};

use super::health::{self, brief};
use super::output::{print, print_json};
use super::{ControlSocket, Failure, ask};
use crate::control::api::{Acl, Director, Rate, RealServer, State, Stats, VirtualServers};
use crate::ipvsadm::{persistent, with_flags};
use crate::names::{Resolver as _, System};

/// List virtual servers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb list                 with names of hosts and services
  sudo lb list -n              with numbers
  sudo lb list -n --stats      what was forwarded, since the maps were made or `lb zero`
  sudo lb list -n --rate       what is forwarded in a second
  sudo lb list --json | jq '.virtual_servers[].real_servers[] | select(.state != \"up\")'

Health says how long the state lasts, and what the last probe of the health check found (`lb health` lists all).
What is marked \"runtime\" was changed while the daemon ran; `lb save` writes that to the configuration file.")]
pub(super) struct List {
    /// Numbers instead of names of hosts and services
    #[arg(long, short)]
    numeric: bool,
    /// Connections, packets and bytes instead of weights and states; in direct routing only the clients' direction
    /// passes the director
    #[arg(long, conflicts_with = "rate")]
    stats: bool,
    /// The same for a second: an average that follows a change within some ten seconds
    #[arg(long)]
    rate: bool,
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
        let columns = match (self.stats, self.rate) {
            (true, _) => Columns::Stats,
            (_, true) => Columns::Rate,
            _ => Columns::State,
        };
        if self.json {
            print_json(&listed)
        } else {
            print(&table(&listed, self.numeric, columns, health::now()))
        }
    }
}

impl Counters {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let director: Director = ask(&self.socket.control_socket, "/v1/director")?;
        if self.json { print_json(&director) } else { print(&counters(&director)) }
    }
}

/// Marks what was changed while the daemon ran, and is not what the file says.
const RUNTIME: &str = "runtime";

/// What is shown of each real server.
#[derive(Clone, Copy)]
enum Columns {
    /// As `ipvsadm -L`, with what a director in XDP knows besides.
    State,
    /// As `ipvsadm -L --stats`, without what comes back from real servers: that takes another way.
    Stats,
    /// As `ipvsadm -L --rate`, likewise.
    Rate,
}

impl Columns {
    /// `has_checks`: whether any real server has a health check.
    fn headings(self, has_checks: bool) -> Vec<&'static str> {
        match self {
            Self::State if has_checks => {
                vec!["Weight", "ActiveConn", "InActConn", "State", "MAC", "Health"]
            }
            Self::State => vec!["Weight", "ActiveConn", "InActConn", "State", "MAC"],
            Self::Stats => vec!["Conns", "InPkts", "InBytes"],
            Self::Rate => vec!["CPS", "InPPS", "InBPS"],
        }
    }

    fn of_server(self, server: &RealServer, has_checks: bool, now: SystemTime) -> Vec<String> {
        match self {
            Self::State => [
                server.weight.to_string(),
                server.active_connections.to_string(),
                server.inactive_connections.to_string(),
                server.state.name().to_owned(),
                mac(server),
            ]
            .into_iter()
            .chain(
                has_checks
                    .then(|| server.health.as_ref().map(|health| brief(health, now)).unwrap_or_default()),
            )
            .chain([if server.runtime { RUNTIME.to_owned() } else { String::new() }])
            .collect(),
            Self::Stats | Self::Rate => self.of_sums(&server.stats, &server.rate),
        }
    }

    /// Of a virtual server; none if it has only real servers'.
    fn of_sums(self, stats: &Stats, rate: &Rate) -> Vec<String> {
        match self {
            Self::State => Vec::new(),
            Self::Stats => {
                [stats.connections, stats.packets, stats.bytes].map(|count| count.to_string()).into()
            }
            Self::Rate => {
                [rate.connections, rate.packets, rate.bytes].map(|rate| format!("{rate:.0}")).into()
            }
        }
    }

    /// Numbers that are compared stand with their last digits below each other.
    fn aligned(self, cell: &str, width: usize) -> String {
        match self {
            Self::State => format!(" {cell:<width$}"),
            Self::Stats | Self::Rate => format!(" {cell:>width$}"),
        }
    }
}

/// In the manner of `ipvsadm -L`.
fn table(listed: &VirtualServers, numeric: bool, columns: Columns, now: SystemTime) -> String {
    let mut servers = listed.virtual_servers.iter().flat_map(|service| &service.real_servers);
    let has_checks = servers.any(|server| server.health.is_some());
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    let headings = columns.headings(has_checks).into_iter().map(str::to_owned).collect();
    rows.push(("  -> RemoteAddress".to_owned(), headings));
    for service in &listed.virtual_servers {
        let mut with_flags = with_flags(&service.scheduler, &service.scheduler_flags) + &persistent(service);
        if service.one_packet {
            with_flags.push_str(" ops");
        }
        let mut scheduler = with_flags.as_str();
        let mut sums = columns.of_sums(&service.stats, &service.rate);
        if let Some(fwmark) = service.fwmark {
            rows.push((format!("FWM  {fwmark} {scheduler}"), std::mem::take(&mut sums)));
            scheduler = "";
        }
        let mut prefix = format!("{:<4} ", service.protocol.to_uppercase());
        let mut acl = refusals(&service.acl);
        if service.runtime {
            acl = format!("{acl} {RUNTIME}");
        }
        for address in &service.addresses {
            let address = socket_name(address, &service.protocol, numeric);
            let label = format!("{prefix}{address} {scheduler}{acl}").trim_end().to_owned();
            rows.push((label, std::mem::take(&mut sums)));
            (prefix, scheduler, acl) = (" ".repeat(5), "", String::new());
        }
        for server in &service.real_servers {
            let label = format!("  -> {}", host_name(&server.address, numeric));
            rows.push((label, columns.of_server(server, has_checks, now)));
        }
        if let Some(server) = &service.sorry_server {
            let label = format!("  -> {} (sorry)", host_name(&server.address, numeric));
            rows.push((label, columns.of_server(server, has_checks, now)));
        }
    }
    let widest = |column: usize| rows.iter().filter_map(|(_, cells)| Some(cells.get(column)?.len())).max();
    let widths: Vec<usize> = (0..).map_while(widest).collect();
    let first = rows.iter().filter(|(_, cells)| !cells.is_empty()).map(|(label, _)| label.len()).max();
    let first = first.unwrap_or(0);
    let mut text = "Prot LocalAddress:Port Scheduler\n".to_owned();
    for (label, cells) in &rows {
        let width = if cells.is_empty() { 0 } else { first };
        let _ = write!(text, "{label:<width$}");
        for (cell, width) in cells.iter().zip(&widths) {
            text.push_str(&columns.aligned(cell, *width));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
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
        Ok(ip) if !numeric => System.names(SocketAddr::new(ip, 0), "tcp").map(|(host, _)| host),
        _ => None,
    }
    .unwrap_or_else(|| address.to_owned())
}

fn socket_name(address: &str, protocol: &str, numeric: bool) -> String {
    match address.parse() {
        Ok(socket) if !numeric => {
            System.names(socket, protocol).map(|(host, service)| joined(&host, &service))
        }
        _ => None,
    }
    .unwrap_or_else(|| address.to_owned())
}

/// In brackets if the host is an IPv6 address, which then has no name.
fn joined(host: &str, service: &str) -> String {
    if host.contains(':') { format!("[{host}]:{service}") } else { format!("{host}:{service}") }
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
mod tests;
