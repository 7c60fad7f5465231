//! The director's configuration, as far as labs write it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::host::Host;

/// A `[[virtual_server]]` section; it displays as TOML.
#[derive(Debug, Clone)]
pub struct VirtualServer {
    name: String,
    addresses: Vec<String>,
    ipv6: bool,
    protocol: &'static str,
    scheduler: String,
    /// Further lines, and the tables that must come last.
    lines: String,
    real_servers: Vec<(IpAddr, u32)>,
}

impl VirtualServer {
    /// A TCP service with the scheduler `rr`.
    pub fn tcp(name: &str, vip: impl Into<IpAddr>, port: u16) -> Self {
        Self::new(name, "tcp", vip.into(), port)
    }

    /// A UDP service with the scheduler `rr`.
    pub fn udp(name: &str, vip: impl Into<IpAddr>, port: u16) -> Self {
        Self::new(name, "udp", vip.into(), port)
    }

    fn new(name: &str, protocol: &'static str, vip: IpAddr, port: u16) -> Self {
        Self {
            name: name.into(),
            addresses: vec![SocketAddr::new(vip, port).to_string()],
            ipv6: vip.is_ipv6(),
            protocol,
            scheduler: "rr".into(),
            lines: String::new(),
            real_servers: Vec::new(),
        }
    }

    /// Adds an address to the group.
    pub fn address(mut self, vip: impl Into<IpAddr>, port: u16) -> Self {
        self.addresses.push(SocketAddr::new(vip.into(), port).to_string());
        self
    }

    /// Addresses as the file has them, instead of those before: `192.0.2.0/28:80`, `192.0.2.1:0`.
    pub fn addresses(mut self, addresses: &[&str]) -> Self {
        self.addresses = addresses.iter().map(ToString::to_string).collect();
        self
    }

    /// The scheduler, instead of `rr`.
    pub fn scheduler(mut self, scheduler: &str) -> Self {
        self.scheduler = scheduler.into();
        self
    }

    /// Adds a line of TOML to the section, such as `on_down = "reset"`.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push_str(line);
        self.lines.push('\n');
        self
    }

    /// Adds a real server.
    pub fn real_server(mut self, address: impl Into<IpAddr>, weight: u32) -> Self {
        self.real_servers.push((address.into(), weight));
        self
    }

    /// Adds hosts as real servers of weight 1, by their addresses of the VIP's family.
    pub fn hosts<'a>(mut self, hosts: impl IntoIterator<Item = &'a Host>) -> Self {
        let ipv6 = self.ipv6;
        let address = |host: &Host| if ipv6 { host.address6().into() } else { host.address().into() };
        self.real_servers.extend(hosts.into_iter().map(|host| (address(host), 1)));
        self
    }
}

impl fmt::Display for VirtualServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "[[virtual_server]]")?;
        writeln!(formatter, "name = {:?}", self.name)?;
        writeln!(formatter, "addresses = {:?}", self.addresses)?;
        writeln!(formatter, "protocol = {:?}", self.protocol)?;
        writeln!(formatter, "scheduler = {:?}", self.scheduler)?;
        writeln!(formatter, "{}", self.lines)?;
        for (address, weight) in &self.real_servers {
            writeln!(formatter, "[[virtual_server.real_server]]")?;
            writeln!(formatter, "address = \"{address}\"\nweight = {weight}\n")?;
        }
        Ok(())
    }
}
