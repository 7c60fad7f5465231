//! The director's configuration, as far as labs write it.

use std::fmt;
use std::net::Ipv4Addr;

use crate::host::Host;

/// A `[[virtual_server]]` section; it displays as TOML.
#[derive(Debug, Clone)]
pub struct VirtualServer {
    name: String,
    addresses: Vec<String>,
    protocol: &'static str,
    scheduler: String,
    /// Further lines, and the tables that must come last.
    lines: String,
    real_servers: Vec<(Ipv4Addr, u32)>,
}

impl VirtualServer {
    /// A TCP service with the scheduler `rr`.
    pub fn tcp(name: &str, vip: Ipv4Addr, port: u16) -> Self {
        Self::new(name, "tcp", vip, port)
    }

    /// A UDP service with the scheduler `rr`.
    pub fn udp(name: &str, vip: Ipv4Addr, port: u16) -> Self {
        Self::new(name, "udp", vip, port)
    }

    fn new(name: &str, protocol: &'static str, vip: Ipv4Addr, port: u16) -> Self {
        Self {
            name: name.into(),
            addresses: vec![format!("{vip}:{port}")],
            protocol,
            scheduler: "rr".into(),
            lines: String::new(),
            real_servers: Vec::new(),
        }
    }

    /// Adds an address to the group.
    pub fn address(mut self, vip: Ipv4Addr, port: u16) -> Self {
        self.addresses.push(format!("{vip}:{port}"));
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
    pub fn real_server(mut self, address: Ipv4Addr, weight: u32) -> Self {
        self.real_servers.push((address, weight));
        self
    }

    /// Adds hosts as real servers of weight 1.
    pub fn hosts<'a>(mut self, hosts: impl IntoIterator<Item = &'a Host>) -> Self {
        self.real_servers.extend(hosts.into_iter().map(|host| (host.address(), 1)));
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
