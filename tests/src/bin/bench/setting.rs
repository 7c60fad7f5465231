//! What a data plane that is measured is configured with.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_userspace::scheduler;
use macaddr::MacAddr6;

/// The NIC's MAC, and the real servers': a frame that is fed back stays one that the director accepts.
pub(crate) const MAC: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 0, 1);
/// The one VIP of IPv4.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The one VIP of IPv6.
pub(crate) const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The TCP service whose connections are established.
pub(crate) const WEB: u16 = 80;
/// A TCP service whose scheduler can choose in the middle of a connection.
pub(crate) const HASHED: u16 = 81;
/// A TCP service whose real servers are in [`OTHER_VLAN`].
pub(crate) const TRUNK: u16 = 82;
/// A UDP service.
pub(crate) const DATAGRAMS: u16 = 53;
/// The VLAN of the service [`TRUNK`].
pub(crate) const OTHER_VLAN: u16 = 20;
/// Sources of frames begin here.
pub(crate) const SOURCES: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
/// Sources of IPv6 frames begin here.
pub(crate) const SOURCES_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);
/// The source port of the first source; the others' differ from it as their addresses do.
pub(crate) const SOURCE_PORT: u16 = 1000;
/// How many real servers a service may have.
pub(crate) const SERVERS: [u32; 4] = [1, 16, 256, 1024];

/// Room for as many connections as the default of `director.max_connections`.
pub(crate) const CONNECTIONS: u32 = 1 << 20;
/// Tables that fit into a cache.
const FEW_CONNECTIONS: u32 = 1 << 10;
/// Real servers, where nothing else is said.
const USUAL_SERVERS: u32 = 16;
/// The services [`new_flows_to`] have ports from here on.
const FIRST_SCHEDULED: u16 = 5000;
/// Services that only have to be there have ports from here on.
const FIRST_OTHER: u16 = 10_000;

/// What is configured, and which connections there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Setting {
    /// Large tables with one connection to each TCP service.
    Usual,
    /// So many services, and one connection.
    Services(u16),
    /// Prefixes and ranges of ports beside the exact addresses.
    Forms,
    /// Large tables with so many established connections of IPv4.
    Flows(u32),
    /// The same in tables with room for no more.
    Fitted(u32),
    /// Large tables with so many established connections of IPv6.
    FlowsV6(u32),
    /// A service for each scheduler and number of real servers. Its flows are forgotten at once: there is room for
    /// more.
    Schedulers,
}

/// The port of the UDP service with this scheduler, by its place in the product's list, and so many real servers.
pub(crate) fn new_flows_to(scheduler: usize, servers: u32) -> u16 {
    let size = SERVERS.iter().position(|size| *size == servers).unwrap_or_default();
    let number = scheduler * SERVERS.len() + size;
    FIRST_SCHEDULED + u16::try_from(number).unwrap_or(u16::MAX - FIRST_SCHEDULED)
}

impl Setting {
    /// The name of its directory.
    pub(crate) fn name(self) -> String {
        format!("{self:?}").to_lowercase().replace(['(', ')'], "-")
    }

    /// How many connections there are to each TCP service.
    pub(crate) fn flows(self) -> u32 {
        match self {
            Self::Usual | Self::Services(_) | Self::Forms => 1,
            Self::Flows(flows) | Self::Fitted(flows) | Self::FlowsV6(flows) => flows,
            Self::Schedulers => 0,
        }
    }

    pub(crate) fn has_ipv6(self) -> bool {
        matches!(self, Self::Usual | Self::FlowsV6(_))
    }

    fn max_connections(self) -> u32 {
        match self {
            Self::Usual | Self::Flows(_) | Self::FlowsV6(_) => CONNECTIONS,
            Self::Fitted(flows) => flows,
            Self::Services(_) | Self::Forms | Self::Schedulers => FEW_CONNECTIONS,
        }
    }

    /// The text of its configuration.
    pub(crate) fn text(self) -> String {
        let mut text =
            format!("[director]\ninterfaces = [\"bench\"]\nmax_connections = {}\n\n", self.max_connections());
        let mut add = |service: Service| text.push_str(&service.to_string());
        let (web, web_v6) =
            (Service::tcp(SocketAddr::from((VIP, WEB))), Service::tcp(SocketAddr::from((VIP_V6, WEB))));
        match self {
            Self::FlowsV6(_) => add(web_v6),
            Self::Usual | Self::Flows(_) | Self::Fitted(_) => {
                add(web);
                add(Service { scheduler: "sh", ..Service::tcp((VIP, HASHED).into()) });
                add(Service { vlan: Some(OTHER_VLAN), ..Service::tcp((VIP, TRUNK).into()) });
                add(Service { protocol: "udp", ..Service::tcp((VIP, DATAGRAMS).into()) });
                if self == Self::Usual {
                    add(web_v6);
                }
            }
            Self::Services(services) => {
                add(web);
                let other = |port| Service { servers: 1, ..Service::tcp((VIP, port).into()) };
                (FIRST_OTHER..).take(usize::from(services) - 1).map(other).for_each(add);
            }
            Self::Forms => {
                add(web);
                let form = |n| ["8000-8100", "0"].map(|ports| format!("203.0.{n}.0/28:{ports}"));
                let addresses = (0..32).flat_map(form).collect();
                add(Service { addresses, ..Service::tcp((VIP, FIRST_OTHER).into()) });
            }
            Self::Schedulers => {
                for (place, scheduler) in scheduler::ALL.iter().enumerate() {
                    for servers in SERVERS {
                        let address = SocketAddr::from((VIP, new_flows_to(place, servers)));
                        let scheduler = scheduler.name();
                        add(Service { protocol: "udp", scheduler, servers, ..Service::tcp(address) });
                    }
                }
            }
        }
        text
    }
}

/// A `[[virtual_server]]` section; it displays as TOML.
struct Service {
    addresses: Vec<String>,
    protocol: &'static str,
    scheduler: &'static str,
    servers: u32,
    vlan: Option<u16>,
}

impl Service {
    /// A TCP service with the scheduler `rr`.
    fn tcp(address: SocketAddr) -> Self {
        let addresses = vec![address.to_string()];
        Self { addresses, protocol: "tcp", scheduler: "rr", servers: USUAL_SERVERS, vlan: None }
    }

    fn real_server(&self, n: u32) -> IpAddr {
        if self.addresses.iter().all(|address| address.starts_with('[')) {
            Ipv6Addr::from_bits(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1).to_bits() + u128::from(n))
                .into()
        } else {
            Ipv4Addr::from_bits(Ipv4Addr::new(172, 16, 0, 1).to_bits() + n).into()
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addresses, protocol, scheduler, .. } = self;
        writeln!(f, "[[virtual_server]]\naddresses = {addresses:?}")?;
        writeln!(f, "protocol = \"{protocol}\"\nscheduler = \"{scheduler}\"\nreal_server = [")?;
        let vlan = self.vlan.map(|vlan| format!(", vlan = {vlan}")).unwrap_or_default();
        for n in 0..self.servers {
            let (address, weight) = (self.real_server(n), n % 4 + 1);
            writeln!(f, "  {{ address = \"{address}\", mac = \"{MAC}\", weight = {weight}{vlan} }},")?;
        }
        f.write_str("]\n\n")
    }
}

#[cfg(test)]
mod tests {
    use super::{SERVERS, Setting, new_flows_to};
    use lb_userspace::{config, scheduler};

    #[test]
    fn every_setting_is_a_configuration_that_the_product_takes() {
        let settings = [
            Setting::Usual,
            Setting::Services(1),
            Setting::Services(4096),
            Setting::Forms,
            Setting::Flows(65_536),
            Setting::Fitted(65_536),
            Setting::FlowsV6(65_536),
        ];
        for setting in settings {
            let checked = config::parse("bench.toml", &setting.text());
            assert!(checked.is_ok(), "{setting:?}: {}", checked.unwrap_err());
        }
        let services = config::parse("bench.toml", &Setting::Services(4096).text()).unwrap().config;
        assert_eq!(services.virtual_servers.len(), 4096);
    }

    #[test]
    fn every_scheduler_has_a_service_of_every_size() {
        let config = config::parse("bench.toml", &Setting::Schedulers.text()).unwrap().config;
        assert_eq!(config.virtual_servers.len(), scheduler::ALL.len() * SERVERS.len());
        for (place, scheduler) in scheduler::ALL.iter().enumerate() {
            for servers in SERVERS {
                let address = format!("192.0.2.1:{}", new_flows_to(place, servers));
                let is_it = |server: &&config::VirtualServer| server.addresses[0].to_string() == address;
                let found = config.virtual_servers.iter().find(is_it).unwrap();
                assert_eq!(
                    (found.scheduler.name(), found.real_servers.len()),
                    (scheduler.name(), servers as usize)
                );
            }
        }
    }
}
