//! Virtual servers as `ipvsadm -L` prints them.
//!
//! A group with a `fwmark` is a service by firewall mark. One without is several services, one for each address, with
//! the same real servers and the numbers of the whole group: IPVS has no such thing.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::request::{Layout, Service};
use super::value::first_of;
use crate::control::api::{Persistence, Rate, RealServer, State, Stats, VirtualServer, VirtualServers};
use crate::names::Resolver;

/// Of IPVS in Linux 6.1 (`IP_VS_VERSION_CODE`).
pub(super) const IPVS_VERSION: &str = "1.2.1";
/// How many buckets the kernel's connection table has unless somebody chose another number (`CONFIG_IP_VS_TAB_BITS`).
/// That of lb has no such size; `lb counters` says how many connections there is room for.
const TABLE_SIZE: u32 = 4096;

/// A service as ipvsadm knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) service: &'a VirtualServer,
    /// What clients connect to; none if it is a group with a mark.
    pub(super) address: Option<&'a str>,
}

impl<'a> Entry<'a> {
    /// The services that a virtual server is.
    pub(super) fn of(service: &'a VirtualServer) -> impl Iterator<Item = Self> {
        let mark = service.fwmark.map(|_| Self { service, address: None });
        let addresses = service.addresses.iter().filter(|_| service.fwmark.is_none());
        mark.into_iter().chain(addresses.map(move |address| Self { service, address: Some(address) }))
    }

    /// All services; in ipvsadm's order (`ipvs_cmp_services`), or in that of the configuration.
    pub(super) fn all(listed: &'a VirtualServers, unsorted: bool) -> Vec<Self> {
        let mut entries: Vec<Self> = listed.virtual_servers.iter().flat_map(Self::of).collect();
        if !unsorted {
            entries.sort_by_key(|entry| {
                let mark = entry.service.fwmark.unwrap_or(0);
                (mark, entry.is_ipv6(), entry.service.protocol == "udp", entry.address.and_then(first_of))
            });
        }
        entries
    }

    /// The service that is meant.
    pub(super) fn find(listed: &'a VirtualServers, wanted: Service) -> Option<Self> {
        listed.virtual_servers.iter().flat_map(Self::of).find(|entry| entry.is(wanted))
    }

    fn is(&self, wanted: Service) -> bool {
        match wanted {
            Service::Mark { mark, is_ipv6 } => {
                self.service.fwmark == Some(mark) && (self.is_ipv6() == is_ipv6 || self.has_no_family())
            }
            Service::Address { is_udp, address } => {
                (self.service.protocol == "udp") == is_udp && self.exact() == Some(address)
            }
        }
    }

    /// Whether its family is not known yet: a group without addresses and real servers.
    fn has_no_family(&self) -> bool {
        self.service.addresses.is_empty() && self.service.real_servers.is_empty()
    }

    pub(super) fn is_ipv6(&self) -> bool {
        let server = || Some(self.service.real_servers.first()?.address.contains(':'));
        let address = self.service.addresses.first().map(|address| address.starts_with('['));
        address.or_else(server).unwrap_or(false)
    }

    /// Its address, unless that is several, or a mark.
    pub(super) fn exact(&self) -> Option<SocketAddr> {
        self.address?.parse().ok()
    }

    /// The port of its real servers: its own in direct routing, 0 if it has several.
    pub(super) fn port(&self) -> u16 {
        self.exact().map_or(0, |address| address.port())
    }

    /// Its real servers by address, or the last one first: IPVS adds one at the head of its list (`ip_vs_ctl.c`).
    pub(super) fn servers(&self, unsorted: bool) -> Vec<&'a RealServer> {
        let mut servers: Vec<&RealServer> = self.service.real_servers.iter().collect();
        if unsorted {
            servers.reverse();
        } else {
            servers.sort_by_key(|server| server.address.parse::<IpAddr>().ok());
        }
        servers
    }
}

/// Addresses in words.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) numeric: bool,
    pub(super) resolver: &'a dyn Resolver,
}

impl Names<'_> {
    /// Host and port (`addrport_to_anyname`).
    pub(super) fn socket(&self, socket: SocketAddr, protocol: &str) -> String {
        let names = if self.numeric { None } else { self.resolver.names(socket, protocol) };
        match names {
            None => socket.to_string(),
            Some((host, port)) if socket.is_ipv6() => format!("[{host}]:{port}"),
            Some((host, port)) => format!("{host}:{port}"),
        }
    }

    /// The address of a service, or several as the configuration has them.
    pub(super) fn address(&self, address: &str, protocol: &str) -> String {
        address.parse().map_or_else(|_| address.to_owned(), |socket| self.socket(socket, protocol))
    }

    /// A real server's address with the port of its service.
    pub(super) fn server(&self, server: &RealServer, entry: &Entry<'_>) -> String {
        match server.address.parse() {
            Ok(address) => self.socket(SocketAddr::new(address, entry.port()), &entry.service.protocol),
            Err(_) => server.address.clone(),
        }
    }
}

/// `ipvsadm -L`: all virtual servers.
pub(super) fn all(listed: &VirtualServers, layout: Layout, resolver: &dyn Resolver) -> String {
    let mut text = format!("IP Virtual Server version {IPVS_VERSION} (size={TABLE_SIZE})\n");
    text.push_str(&some(&Entry::all(listed, layout.unsorted), layout, resolver));
    text
}

/// `ipvsadm -L -t`: some of them.
pub(super) fn some(entries: &[Entry<'_>], layout: Layout, resolver: &dyn Resolver) -> String {
    let columns = Columns::of(layout);
    let names = Names { numeric: layout.numeric, resolver };
    let mut text = columns.title();
    for entry in entries {
        columns.service(&mut text, entry, names);
        for server in entry.servers(layout.unsorted) {
            columns.server(&mut text, server, &cut(names.server(server, entry), 28, server));
        }
    }
    text
}

/// Of IPv4, ipvsadm cuts what is too long for its column.
fn cut(mut name: String, length: usize, server: &RealServer) -> String {
    if !server.address.contains(':') && name.is_char_boundary(length.min(name.len())) {
        name.truncate(length);
    }
    name
}

/// What is shown of each service and real server; if several are asked for, the first of these.
#[derive(Clone, Copy)]
enum Columns {
    Stats { exact: bool },
    Rate { exact: bool },
    Thresholds,
    PersistentConnections,
    Tunnels,
    Usual,
}

impl Columns {
    fn of(layout: Layout) -> Self {
        let exact = layout.exact;
        match layout {
            Layout { stats: true, .. } => Self::Stats { exact },
            Layout { rate: true, .. } => Self::Rate { exact },
            Layout { thresholds: true, .. } => Self::Thresholds,
            Layout { persistent_connections: true, .. } => Self::PersistentConnections,
            Layout { tunnels: true, .. } => Self::Tunnels,
            _ => Self::Usual,
        }
    }

    /// The headings (`print_title`).
    fn title(self) -> String {
        let headings = |words: [&str; 5]| {
            let [a, b, c, d, e] = words;
            format!("{:<33} {a:>8} {b:>8} {c:>8} {d:>8} {e:>8}", "Prot LocalAddress:Port")
        };
        let first = match self {
            Self::Stats { .. } => headings(["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"]),
            Self::Rate { .. } => headings(["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"]),
            Self::Thresholds => format!(
                "{:<33} {:<10} {:<10} {:<10} {:<10}",
                "Prot LocalAddress:Port", "Uthreshold", "Lthreshold", "ActiveConn", "InActConn"
            ),
            Self::PersistentConnections => format!(
                "{:<33} {:<9} {:<11} {:<10} {:<10}",
                "Prot LocalAddress:Port", "Weight", "PersistConn", "ActiveConn", "InActConn"
            ),
            Self::Tunnels | Self::Usual => "Prot LocalAddress:Port Scheduler Flags".to_owned(),
        };
        let second = match self {
            Self::Tunnels => {
                "  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn"
            }
            Self::Usual => "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn",
            _ => "  -> RemoteAddress:Port",
        };
        format!("{first}\n{second}\n")
    }

    fn service(self, text: &mut String, entry: &Entry<'_>, names: Names<'_>) {
        let service = entry.service;
        let label = match (service.fwmark, entry.address) {
            (Some(mark), _) if entry.is_ipv6() => format!("FWM  {mark} IPv6"),
            (Some(mark), _) => format!("FWM  {mark}"),
            (None, address) => {
                let address = names.address(address.unwrap_or_default(), &service.protocol);
                let mut label = format!("{:<4} {address}", service.protocol.to_uppercase());
                if !entry.is_ipv6() && label.is_char_boundary(33) {
                    label.truncate(33);
                }
                label
            }
        };
        match self {
            Self::Stats { exact } => {
                let _ = write!(text, "{label:<33}");
                stats(text, &service.stats, exact);
            }
            Self::Rate { exact } => {
                let _ = write!(text, "{label:<33}");
                rate(text, &service.rate, [exact; 2]);
            }
            _ => {
                let scheduler = with_flags(&service.scheduler, &service.scheduler_flags);
                let ops = if service.one_packet { " ops" } else { "" };
                let _ = write!(text, "{label} {scheduler}{}{ops}", persistent(service));
            }
        }
        text.push('\n');
    }

    fn server(self, text: &mut String, server: &RealServer, name: &str) {
        let _ = write!(text, "  -> {name:<28}");
        let RealServer { weight, upper_threshold, lower_threshold, .. } = server;
        let method = method(server);
        let _ = match self {
            Self::Stats { exact } => {
                stats(text, &server.stats, exact);
                Ok(())
            }
            Self::Rate { exact } => {
                // Connections and packets are never shortened here.
                rate(text, &server.rate, [true, exact]);
                Ok(())
            }
            Self::Thresholds => write!(text, " {upper_threshold:<10} {lower_threshold:<10}"),
            Self::PersistentConnections => {
                write!(text, " {weight:<9} {:<11}", server.persistent_connections.unwrap_or(0))
            }
            Self::Tunnels => write!(text, " {method:<7} {:<13} {weight:<6}", "n/a"),
            Self::Usual => write!(text, " {method:<7} {weight:<6}"),
        };
        if !matches!(self, Self::Stats { .. } | Self::Rate { .. }) {
            let (active, inactive) = (server.active_connections, server.inactive_connections);
            let _ = write!(text, " {active:<10} {inactive:<10}");
        }
        text.push('\n');
    }
}

/// How frames get to a real server (`fwd_name`). The director itself has no MAC of another.
fn method(server: &RealServer) -> &'static str {
    let is_local = server.mac.is_none() && matches!(server.state, State::Up | State::Draining);
    if is_local { "Local" } else { "Route" }
}

/// What comes back from real servers takes another way, and is not counted.
fn stats(text: &mut String, stats: &Stats, exact: bool) {
    for count in [stats.connections, stats.packets, 0, stats.bytes, 0] {
        text.push_str(&large(count, exact));
    }
}

/// With all digits or not: of connections and packets, and of bytes.
fn rate(text: &mut String, rate: &Rate, [counts, bytes]: [bool; 2]) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are not negative")]
    let whole = |rate: f64| rate.round() as u64;
    for count in [whole(rate.connections), whole(rate.packets), 0] {
        text.push_str(&large(count, counts));
    }
    for count in [whole(rate.bytes), 0] {
        text.push_str(&large(count, bytes));
    }
}

/// A counter in nine columns (`print_largenum`).
fn large(count: u64, exact: bool) -> String {
    const K: u64 = 1000;
    if exact {
        return format!(" {count:>8}");
    }
    match count {
        0..100_000_000 => format!("{count:>9}"),
        100_000_000..1_000_000_000 => format!("{:>8}K", count / K),
        1_000_000_000..100_000_000_000 => format!("{:>8}M", count / K.pow(2)),
        100_000_000_000..100_000_000_000_000 => format!("{:>8}G", count / K.pow(3)),
        _ => format!("{:>8}T", count / K.pow(4)),
    }
}

/// A scheduler with its flags: `sh (sh-fallback,sh-port)`.
pub(crate) fn with_flags(scheduler: &str, flags: &[String]) -> String {
    if flags.is_empty() { scheduler.to_owned() } else { format!("{scheduler} ({})", flags.join(",")) }
}

/// How clients are remembered: a mask only if several are remembered together.
pub(crate) fn persistent(service: &VirtualServer) -> String {
    service.persistence.map_or_else(String::new, |persistence| {
        let mask = mask(service, persistence).map_or_else(String::new, |mask| format!(" mask {mask}"));
        format!(" persistent {}{mask}", persistence.timeout)
    })
}

/// Which bits of a client's address count, if not all.
pub(super) fn mask(service: &VirtualServer, Persistence { mask, .. }: Persistence) -> Option<String> {
    let is_ipv6 = service.addresses.first().is_some_and(|address| address.starts_with('['));
    match (is_ipv6, mask) {
        (true, 128) | (false, 32..) => None,
        (true, bits) => Some(bits.to_string()),
        (false, bits) => Some(Ipv4Addr::from_bits(!(u32::MAX >> bits)).to_string()),
    }
}
