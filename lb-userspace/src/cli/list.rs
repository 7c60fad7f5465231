//! `lb list` and `lb counters`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use clap::Args;
use lb_common::counter::{Kind, Reason};
use serde::de::DeserializeOwned;

use super::output::{print, print_json};
use super::{ControlSocket, Failure, answered, runtime};
use crate::control::api::{Acl, Director, Rate, RealServer, State, Stats, VirtualServers};
use crate::control::client;
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
  sudo lb list --json | jq '.virtual_servers[].real_servers[] | select(.state != \"up\")'")]
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
        if self.json { print_json(&listed) } else { print(&table(&listed, self.numeric, columns)) }
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
    fn headings(self) -> Vec<&'static str> {
        match self {
            Self::State => vec!["Weight", "ActiveConn", "InActConn", "State", "MAC"],
            Self::Stats => vec!["Conns", "InPkts", "InBytes"],
            Self::Rate => vec!["CPS", "InPPS", "InBPS"],
        }
    }

    fn of_server(self, server: &RealServer) -> Vec<String> {
        match self {
            Self::State => vec![
                server.weight.to_string(),
                server.active_connections.to_string(),
                server.inactive_connections.to_string(),
                server.state.name().to_owned(),
                mac(server),
            ],
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
fn table(listed: &VirtualServers, numeric: bool, columns: Columns) -> String {
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    let headings = columns.headings().into_iter().map(str::to_owned).collect();
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
        for address in &service.addresses {
            let address = socket_name(address, &service.protocol, numeric);
            let label = format!("{prefix}{address} {scheduler}{acl}").trim_end().to_owned();
            rows.push((label, std::mem::take(&mut sums)));
            (prefix, scheduler, acl) = (" ".repeat(5), "", String::new());
        }
        for server in &service.real_servers {
            let label = format!("  -> {}", host_name(&server.address, numeric));
            rows.push((label, columns.of_server(server)));
        }
        if let Some(server) = &service.sorry_server {
            let label = format!("  -> {} (sorry)", host_name(&server.address, numeric));
            rows.push((label, columns.of_server(server)));
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
mod tests {
    use super::*;
    use crate::control::api::{Persistence, VirtualServer};

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
            upper_threshold: 0,
            lower_threshold: 0,
            persistent_connections: None,
            state: State::Up,
            mac: None,
            active_connections: 0,
            inactive_connections: 12,
            stats: Stats::default(),
            rate: Rate::default(),
        };
        let service = |address: &str, real_servers: &[&str]| VirtualServer {
            name: address.to_owned(),
            addresses: vec![address.to_owned()],
            fwmark: None,
            protocol: "tcp".to_owned(),
            scheduler: "rr".to_owned(),
            scheduler_flags: Vec::new(),
            real_servers: real_servers.iter().map(|address| server(address)).collect(),
            sorry_server: None,
            on_down: String::new(),
            one_packet: false,
            stats: Stats::default(),
            rate: Rate::default(),
            acl: Acl {
                deny: Vec::new(),
                allow: vec!["10.0.0.0/8".to_owned(); usize::from(address.contains('['))],
            },
            persistence: None,
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
        assert_eq!(table(&VirtualServers { virtual_servers }, true, Columns::State), expected);
    }

    #[test]
    fn flags_stand_behind_their_scheduler() {
        let virtual_servers = vec![VirtualServer {
            name: "dns".to_owned(),
            addresses: vec!["192.0.2.1:53".to_owned(), "192.0.2.2:53".to_owned()],
            fwmark: None,
            protocol: "udp".to_owned(),
            scheduler: "mh".to_owned(),
            scheduler_flags: vec!["mh-fallback".to_owned(), "mh-port".to_owned()],
            real_servers: Vec::new(),
            sorry_server: None,
            on_down: String::new(),
            one_packet: false,
            stats: Stats::default(),
            rate: Rate::default(),
            acl: Acl { deny: vec!["10.0.0.0/8".to_owned()], allow: Vec::new() },
            persistence: None,
        }];
        let lines = table(&VirtualServers { virtual_servers }, true, Columns::State);
        assert!(
            lines.ends_with("UDP  192.0.2.1:53 mh (mh-fallback,mh-port) deny 1\n     192.0.2.2:53\n"),
            "{lines}"
        );
    }

    /// As ipvsadm marks it (`print_service_entry` of ipvsadm.c).
    #[test]
    fn one_packet_is_marked_and_so_is_the_sorry_server() {
        let sorry = RealServer {
            address: "192.0.2.250".to_owned(),
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            persistent_connections: None,
            state: State::Up,
            mac: Some("02:00:00:00:00:fa".to_owned()),
            active_connections: 0,
            inactive_connections: 3,
            stats: Stats::default(),
            rate: Rate::default(),
        };
        let virtual_servers = vec![VirtualServer {
            name: "dns".to_owned(),
            addresses: vec!["192.0.2.1:53".to_owned()],
            fwmark: None,
            protocol: "udp".to_owned(),
            scheduler: "rr".to_owned(),
            scheduler_flags: Vec::new(),
            real_servers: vec![RealServer { address: "192.0.2.10".to_owned(), mac: None, ..sorry.clone() }],
            sorry_server: Some(sorry),
            on_down: "keep".to_owned(),
            one_packet: true,
            stats: Stats::default(),
            rate: Rate::default(),
            acl: Acl::default(),
            persistence: None,
        }];
        let expected = "\
Prot LocalAddress:Port Scheduler
  -> RemoteAddress       Weight ActiveConn InActConn State MAC
UDP  192.0.2.1:53 rr ops
  -> 192.0.2.10          1      0          3         up    local
  -> 192.0.2.250 (sorry) 1      0          3         up    02:00:00:00:00:fa
";
        assert_eq!(table(&VirtualServers { virtual_servers }, true, Columns::State), expected);
    }

    #[test]
    fn a_group_with_a_number_is_listed_by_it() {
        let virtual_servers = vec![VirtualServer {
            name: "web".to_owned(),
            addresses: vec!["192.0.2.0/28:80".to_owned(), "192.0.2.1:8000-8100".to_owned()],
            fwmark: Some(7),
            protocol: "tcp".to_owned(),
            scheduler: "rr".to_owned(),
            scheduler_flags: Vec::new(),
            real_servers: Vec::new(),
            sorry_server: None,
            on_down: String::new(),
            one_packet: false,
            stats: Stats::default(),
            rate: Rate::default(),
            acl: Acl::default(),
            persistence: None,
        }];
        let lines = table(&VirtualServers { virtual_servers }, false, Columns::State);
        assert!(lines.ends_with("FWM  7 rr\nTCP  192.0.2.0/28:80\n     192.0.2.1:8000-8100\n"), "{lines}");
    }

    /// As ipvsadm prints them (`print_service_entry` of ipvsadm.c).
    #[test]
    fn a_persistent_service_says_for_how_long() {
        let line = |address: &str, mask: u8| {
            let service = VirtualServer {
                name: "web".to_owned(),
                addresses: vec![address.to_owned()],
                fwmark: None,
                protocol: "tcp".to_owned(),
                scheduler: "sh".to_owned(),
                scheduler_flags: vec!["sh-port".to_owned()],
                real_servers: Vec::new(),
                sorry_server: None,
                on_down: String::new(),
                one_packet: false,
                stats: Stats::default(),
                rate: Rate::default(),
                acl: Acl::default(),
                persistence: Some(Persistence { timeout: 360, mask }),
            };
            let listed = VirtualServers { virtual_servers: vec![service] };
            table(&listed, true, Columns::State).lines().nth(2).unwrap_or_default().to_owned()
        };
        for (address, mask, expected) in [
            ("192.0.2.1:80", 32, ""),
            ("192.0.2.1:80", 24, " mask 255.255.255.0"),
            ("192.0.2.1:80", 1, " mask 128.0.0.0"),
            ("[2001:db8::1]:80", 128, ""),
            ("[2001:db8::1]:80", 64, " mask 64"),
            ("[2001:db8::1]:80", 32, " mask 32"),
        ] {
            let expected = format!("TCP  {address} sh (sh-port) persistent 360{expected}");
            assert_eq!(line(address, mask), expected);
        }
    }

    /// What ipvsadm has for the other direction is left out: a director in direct routing never sees it.
    #[test]
    fn counters_and_rates_stand_in_columns() {
        let server = |address: &str, n: u64| RealServer {
            address: address.to_owned(),
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            persistent_connections: None,
            state: State::Up,
            mac: None,
            active_connections: 0,
            inactive_connections: 0,
            stats: Stats { connections: n, packets: 10 * n, bytes: 5000 * n },
            rate: Rate { connections: 0.4, packets: 10.6, bytes: 1e6 },
        };
        let real_servers = vec![server("192.0.2.10", 7), server("192.0.2.11", 12_345)];
        let virtual_servers = vec![VirtualServer {
            name: "web".to_owned(),
            addresses: vec!["192.0.2.1:80".to_owned(), "192.0.2.1:443".to_owned()],
            fwmark: None,
            protocol: "tcp".to_owned(),
            scheduler: "wrr".to_owned(),
            scheduler_flags: Vec::new(),
            stats: real_servers.iter().map(|server| server.stats).sum(),
            rate: real_servers.iter().map(|server| server.rate).sum(),
            real_servers,
            sorry_server: None,
            on_down: String::new(),
            one_packet: false,
            acl: Acl::default(),
            persistence: None,
        }];
        let listed = VirtualServers { virtual_servers };
        let expected = "\
Prot LocalAddress:Port Scheduler
  -> RemoteAddress    Conns InPkts  InBytes
TCP  192.0.2.1:80 wrr 12352 123520 61760000
     192.0.2.1:443
  -> 192.0.2.10           7     70    35000
  -> 192.0.2.11       12345 123450 61725000
";
        assert_eq!(table(&listed, true, Columns::Stats), expected);
        let expected = "\
Prot LocalAddress:Port Scheduler
  -> RemoteAddress    CPS InPPS   InBPS
TCP  192.0.2.1:80 wrr   1    21 2000000
     192.0.2.1:443
  -> 192.0.2.10         0    11 1000000
  -> 192.0.2.11         0    11 1000000
";
        assert_eq!(table(&listed, true, Columns::Rate), expected);
    }
}
