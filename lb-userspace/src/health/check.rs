//! What is checked.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use crate::config::{Config, Probe, RealServer, SharedCheck, Target, VirtualServer};

/// Something that is checked: a real server, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// The real server's own address.
    pub server: IpAddr,
    /// The VIP that probes go to, at the real server's MAC; if none, they go to its own address.
    pub vip: Option<IpAddr>,
    /// How.
    pub definition: SharedCheck,
}

impl Check {
    /// How a real server of a virtual server is checked, if it is.
    #[must_use]
    pub fn of(service: &VirtualServer, server: &RealServer) -> Option<Self> {
        let definition = server.health_check.clone()?;
        let vip = match definition.target {
            Target::Vip => service.probed_vip(definition.probe.port()),
            Target::RealServer => None,
        };
        Some(Self { server: server.address, vip, definition })
    }
}

/// What it asks: "http 80 /healthz", "tcp 443 at VIP 192.0.2.1".
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.definition.probe {
            Probe::Icmp => write!(f, "icmp")?,
            Probe::Tcp(tcp) => write!(f, "tcp {}", tcp.port)?,
            Probe::Udp(udp) => write!(f, "udp {}", udp.port)?,
            Probe::Http(http) => {
                let scheme = if http.tls.is_some() { "https" } else { "http" };
                write!(f, "{scheme} {} {}", http.port, http.path)?;
            }
            Probe::Dns(dns) => write!(f, "dns {} {} {}", dns.port, dns.name, dns.record)?,
            Probe::Smtp(smtp) => write!(f, "smtp {}", smtp.port)?,
            // Its arguments may be passwords.
            Probe::Exec(exec) => write!(f, "exec {}", exec.command.first().map_or("", String::as_str))?,
        }
        match self.vip {
            Some(vip) => write!(f, " to {vip}"),
            None => Ok(()),
        }
    }
}

/// The checks of a virtual server.
pub fn checks_of(service: &VirtualServer) -> impl Iterator<Item = Check> {
    service.real_servers.iter().filter_map(|server| Check::of(service, server))
}

/// All checks, each once.
#[must_use]
pub fn checks(config: &Config) -> HashSet<Check> {
    config.virtual_servers.iter().flat_map(checks_of).collect()
}
