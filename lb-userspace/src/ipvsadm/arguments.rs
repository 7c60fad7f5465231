//! Options and their arguments, gathered one after the other (`parse_options` of ipvsadm.c).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Complaint;
use super::grammar::{Command, Given, Kind, Method, Opt};
use super::options::Switch;
use super::request::{
    DEFAULT_PERSISTENCE, DEFAULT_SCHEDULER, Layout, Listed, Request, Server, Service, Terms,
};
use super::value::{host_and_port, leading_number, number};
use crate::names::Resolver;
use crate::scheduler::{Flag, Scheduler};

/// 31 days (`MAX_TIMEOUT` of ipvsadm.c).
const MAX_TIMEOUT: i64 = 86_400 * 31;
/// What 1.31 takes, and lb too ([`lb_common::limits::MAX_WEIGHT`]).
const MAX_WEIGHT: i64 = 65_535;

/// What the options say, gathered one after the other.
pub(super) struct Arguments<'a> {
    resolver: &'a dyn Resolver,
    given: Given,
    /// `tcp` or `udp`; of a group, and of one that is not there yet, what ipvsadm takes it for.
    protocol: Option<&'static str>,
    kind: Option<Kind>,
    address: Option<(IpAddr, u16)>,
    mark: u32,
    is_ipv6: bool,
    mask: Mask,
    timeout: u32,
    scheduler: String,
    flags: String,
    engine: Option<String>,
    server: Option<(IpAddr, Option<u16>)>,
    method: Method,
    weight: u32,
    thresholds: [u32; 2],
    layout: Layout,
    /// By which other directors are reached, and to which group and port.
    interface: Option<String>,
    group: (IpAddr, u32),
}

/// What of a client's address counts.
#[derive(Clone, Copy)]
enum Mask {
    V4(u32),
    V6(u8),
}

impl<'a> Arguments<'a> {
    pub(super) fn new(resolver: &'a dyn Resolver) -> Self {
        Self {
            resolver,
            given: Given::default(),
            protocol: None,
            kind: None,
            address: None,
            mark: 0,
            is_ipv6: false,
            mask: Mask::V4(u32::MAX),
            timeout: DEFAULT_PERSISTENCE,
            scheduler: String::new(),
            flags: String::new(),
            engine: None,
            server: None,
            method: Method::DirectRouting,
            weight: 1,
            thresholds: [0; 2],
            layout: Layout::default(),
            interface: None,
            // IPVS's (`IP_VS_SYNC_GROUP`, `IP_VS_SYNC_PORT` of ip_vs_sync.c).
            group: (Ipv4Addr::new(224, 0, 0, 81).into(), 8848),
        }
    }

    /// Takes in an option; `word` is where it was read.
    pub(super) fn take(
        &mut self,
        switch: Switch,
        argument: Option<&str>,
        word: &str,
    ) -> Result<(), Complaint> {
        let text = argument.unwrap_or_default();
        match switch {
            Switch::Service(kind) => {
                self.given.add(Opt::Service)?;
                self.service(kind, text)
            }
            Switch::Forward(method) => {
                self.given.add(Opt::Forward)?;
                self.method = method;
                Ok(())
            }
            Switch::Ipv6 if self.mark == 0 => Err(Complaint::usage("-6 used before -f\n")),
            Switch::Ipv6 => {
                (self.is_ipv6, self.mask) = (true, Mask::V6(128));
                Ok(())
            }
            Switch::Sort => Ok(()),
            Switch::Option(option) => {
                self.given.add(option)?;
                self.option(option, argument)
            }
            // There is one already.
            Switch::Command(_) | Switch::Help | Switch::Version => {
                Err(Complaint::usage(format!("invalid option `{word}'")))
            }
        }
    }

    fn service(&mut self, kind: Kind, text: &str) -> Result<(), Complaint> {
        self.kind = Some(kind);
        self.protocol = match kind {
            Kind::Tcp | Kind::Mark => Some("tcp"),
            Kind::Udp => Some("udp"),
            Kind::Sctp => Some("sctp"),
        };
        if kind == Kind::Mark {
            let mark = number(text, 1..=u32::MAX.into());
            let wrong = || Complaint::usage(format!("invalid fwmark value `{text}' specified"));
            self.mark = mark.ok_or_else(wrong)?;
            return Ok(());
        }
        let Some((host, port)) = host_and_port(text, self.protocol, self.resolver) else {
            return Err(Complaint::usage("illegal virtual server address[:port] specified"));
        };
        self.is_ipv6 = host.is_ipv6();
        if self.is_ipv6 {
            self.mask = Mask::V6(128);
        }
        self.address = Some((host, port.unwrap_or(0)));
        Ok(())
    }

    fn option(&mut self, option: Opt, argument: Option<&str>) -> Result<(), Complaint> {
        let text = argument.unwrap_or_default();
        match option {
            Opt::McastInterface => self.interface = Some(text.to_owned()),
            Opt::Scheduler => self.scheduler = text.to_owned(),
            Opt::SchedulerFlags => self.flags = text.to_owned(),
            Opt::PersistenceEngine => self.engine = Some(text.to_owned()),
            Opt::Persistent => {
                self.timeout = argument.map_or(Ok(DEFAULT_PERSISTENCE), |text| seconds(text, 1))?;
            }
            Opt::Netmask => self.mask = self.mask(text)?,
            Opt::RealServer => {
                let server = host_and_port(text, self.protocol, self.resolver);
                let wrong = || Complaint::usage("illegal real server address[:port] specified");
                self.server = Some(server.ok_or_else(wrong)?);
            }
            Opt::Weight => self.weight = legal(text, 0..=MAX_WEIGHT, "weight")?,
            Opt::UpperThreshold => self.thresholds[0] = legal(text, 0..=i32::MAX.into(), "u_threshold")?,
            Opt::LowerThreshold => self.thresholds[1] = legal(text, 0..=i32::MAX.into(), "l_threshold")?,
            Opt::Numeric => self.layout.numeric = true,
            Opt::Stats => self.layout.stats = true,
            Opt::Rate => self.layout.rate = true,
            Opt::Thresholds => self.layout.thresholds = true,
            Opt::PersistentConn => self.layout.persistent_connections = true,
            Opt::NoSort => self.layout.unsorted = true,
            Opt::Exact => self.layout.exact = true,
            Opt::TunInfo => self.layout.tunnels = true,
            Opt::SyncId => _ = legal::<u32>(text, 0..=255, "syncid")?,
            Opt::McastPort => self.group.1 = legal(text, 1..=65_535, "mcast-port")?,
            Opt::McastTtl => _ = legal::<u32>(text, 1..=255, "mcast-ttl")?,
            // What of a UDP packet is left by its headers.
            Opt::SyncMaxlen => _ = legal::<u32>(text, 1..=65_535 - 20 - 8, "sync-maxlen")?,
            Opt::TunPort => _ = legal::<u32>(text, 1..=65_535, "tunnel port")?,
            Opt::TunType if !["ipip", "gue", "gre"].contains(&text) => {
                return Err(Complaint::usage("illegal tunnel type specified"));
            }
            Opt::McastGroup => {
                let Some(group) = text.parse().ok().filter(IpAddr::is_multicast) else {
                    let family = if text.contains(':') { "IPv6" } else { "IPv4" };
                    return Err(Complaint::usage(format!("invalid {family} mcast-group `{text}'")));
                };
                self.group.0 = group;
            }
            Opt::Connection
            | Opt::Service
            | Opt::Forward
            | Opt::Timeout
            | Opt::Daemon
            | Opt::OnePacket
            | Opt::TunType
            | Opt::TunNocsum
            | Opt::TunCsum
            | Opt::TunRemcsum => {}
        }
        Ok(())
    }

    /// `-M`: of IPv4 an address, of IPv6 a number of bits.
    fn mask(&self, text: &str) -> Result<Mask, Complaint> {
        if self.is_ipv6 {
            let bits = leading_number(text).filter(|bits| (1..=128).contains(bits));
            return bits.map(Mask::V6).ok_or_else(|| Complaint::usage("illegal ipv6 netmask specified"));
        }
        let mask = text.parse().ok().or_else(|| self.resolver.address(text));
        let wrong = || Complaint::usage("illegal virtual server persistent mask specified");
        mask.map(|mask| Mask::V4(mask.to_bits())).ok_or_else(wrong)
    }

    /// What all of them together ask for.
    pub(super) fn into_request(self, command: Command, timeouts: [u32; 3]) -> Result<Request, Complaint> {
        let flags = self.flags()?;
        self.given.check(command)?;
        Ok(match command {
            Command::AddService => Request::AddService(self.named()?, self.terms(flags)?),
            Command::EditService => Request::EditService(self.named()?, self.terms(flags)?),
            Command::DeleteService => Request::RemoveService(self.named()?),
            Command::AddServer => Request::AddServer(self.named()?, self.server()?),
            Command::EditServer => Request::EditServer(self.named()?, self.server()?),
            Command::DeleteServer => {
                let (server, port) = self.server.ok_or_else(missing)?;
                Request::RemoveServer { service: self.named()?, server, port }
            }
            Command::Flush => Request::Clear,
            Command::List => Request::List { what: self.listed()?, layout: self.layout },
            Command::Set => Request::SetTimeouts(timeouts),
            Command::StartDaemon => {
                let (group, port) = self.group;
                Request::StartDaemon { interface: self.interface, group, port }
            }
            Command::StopDaemon => Request::StopDaemon,
            Command::Restore => Request::Restore,
            Command::Save => Request::Save { numeric: self.layout.numeric },
            Command::Zero => Request::Zero(self.kind.map(|_| self.named()).transpose()?),
        })
    }

    fn named(&self) -> Result<Service, Complaint> {
        let kind = self.kind.ok_or_else(missing)?;
        match (kind, self.address) {
            (Kind::Mark, _) => Ok(Service::Mark { mark: self.mark, is_ipv6: self.is_ipv6 }),
            (Kind::Sctp, _) => Err(Complaint::usage("lb forwards TCP and UDP; SCTP is not possible")),
            (_, Some((host, port))) => {
                Ok(Service::Address { is_udp: kind == Kind::Udp, address: SocketAddr::new(host, port) })
            }
            (_, None) => Err(missing()),
        }
    }

    fn terms(&self, flags: Vec<Flag>) -> Result<Terms, Complaint> {
        let is_persistent = self.given.has(Opt::Persistent);
        let one_packet = self.given.has(Opt::OnePacket);
        if !is_persistent && self.address.is_some_and(|(_, port)| port == 0) {
            return Err(Complaint::usage("Zero port specified for non-persistent service"));
        }
        if one_packet && !matches!(self.kind, Some(Kind::Mark | Kind::Udp)) {
            return Err(Complaint::usage("One-Packet Scheduling is only for UDP virtual services"));
        }
        let persistence = if is_persistent { Some((self.timeout, self.mask_length()?)) } else { None };
        Ok(Terms {
            scheduler: self.scheduler_name().to_owned(),
            flags,
            persistence,
            one_packet,
            persistence_engine: self.engine.clone(),
        })
    }

    fn scheduler_name(&self) -> &str {
        if self.scheduler.is_empty() { DEFAULT_SCHEDULER } else { &self.scheduler }
    }

    /// How many bits of a client's address count.
    fn mask_length(&self) -> Result<u8, Complaint> {
        match self.mask {
            Mask::V6(bits) => Ok(bits),
            Mask::V4(mask) if mask != 0 && mask.leading_ones() + mask.trailing_zeros() == 32 => {
                Ok(u8::try_from(mask.leading_ones()).unwrap_or(32))
            }
            Mask::V4(mask) => Err(Complaint::usage(format!(
                "lb groups clients by the first bits of their addresses: -M {} is no such mask; one is \
                 255.255.255.0",
                Ipv4Addr::from_bits(mask)
            ))),
        }
    }

    /// `-b`, with the numbers that stand for flags of any scheduler (`parse_sched_flags` of ipvsadm.c).
    fn flags(&self) -> Result<Vec<Flag>, Complaint> {
        let scheduler = Scheduler::by_name(self.scheduler_name());
        let known = scheduler.map_or(&[][..], Scheduler::flags);
        let mut flags = Vec::new();
        for text in self.flags.split(',').filter(|text| !text.is_empty()) {
            let end = match text {
                "flag-1" => Some("-fallback"),
                "flag-2" => Some("-port"),
                "flag-3" => None,
                _ => {
                    let unknown = || Complaint::usage(format!("invalid scheduler flag `{text}'"));
                    Some(Flag::by_name(text).ok_or_else(unknown)?.name())
                }
            };
            let flag = known.iter().find(|flag| end.is_some_and(|end| flag.name().ends_with(end)));
            let wrong = || Complaint::usage(format!("incompatible scheduler flag `{text}'"));
            flags.push(*flag.ok_or_else(wrong)?);
        }
        flags.sort_unstable();
        flags.dedup();
        Ok(flags)
    }

    fn server(&self) -> Result<Server, Complaint> {
        // The port is the service's, whatever is said.
        let (address, port) = self.server.ok_or_else(missing)?;
        let of_tunnels = [Opt::TunType, Opt::TunPort, Opt::TunNocsum, Opt::TunCsum, Opt::TunRemcsum];
        if self.method == Method::DirectRouting {
            if address.is_ipv6() != self.is_ipv6 {
                return Err(Complaint::usage(
                    "Different address family is allowed only for tunneling servers",
                ));
            }
            if self.given.has_any(&of_tunnels) {
                return Err(Complaint::usage("Tunnel options conflict with forward method"));
            }
        }
        let method = match self.method {
            Method::DirectRouting => {
                let [upper_threshold, lower_threshold] = self.thresholds;
                return Ok(Server { address, port, weight: self.weight, upper_threshold, lower_threshold });
            }
            Method::Masquerading => "-m (masquerading, NAT)",
            Method::Tunneling => "-i (ipip, tunneling)",
        };
        Err(Complaint::usage(format!(
            "lb forwards by direct routing only: {method} is not possible; leave it out or write -g, and give the \
             real server {address} the VIP with `lb real-server up`"
        )))
    }

    fn listed(&self) -> Result<Listed, Complaint> {
        let has = |options: &[Opt]| self.given.has_any(options);
        let of_services = [Opt::Stats, Opt::Rate, Opt::Thresholds];
        if has(&[Opt::Connection, Opt::Timeout, Opt::Daemon]) && has(&of_services)
            || has(&[Opt::Timeout, Opt::Daemon]) && has(&[Opt::PersistentConn])
        {
            return Err(Complaint::usage("options conflicts in the list command"));
        }
        Ok(if has(&[Opt::Connection]) {
            Listed::Connections
        } else if self.kind.is_some() {
            Listed::One(self.named()?)
        } else if has(&[Opt::Timeout]) {
            Listed::Timeouts
        } else if has(&[Opt::Daemon]) {
            Listed::Daemons
        } else {
            Listed::All
        })
    }
}

/// That it is there was checked.
fn missing() -> Complaint {
    Complaint::usage("an address is missing")
}

/// A timeout.
pub(super) fn seconds(text: &str, least: i64) -> Result<u32, Complaint> {
    let wrong = || Complaint::usage(format!("invalid timeout value `{text}' specified"));
    number(text, least..=MAX_TIMEOUT).ok_or_else(wrong)
}

fn legal<T: TryFrom<i64>>(
    text: &str,
    range: std::ops::RangeInclusive<i64>,
    name: &str,
) -> Result<T, Complaint> {
    number(text, range).ok_or_else(|| Complaint::usage(format!("illegal {name} specified")))
}
