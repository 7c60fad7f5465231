//! The description of a lab.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::lab::{Lab, Remover};
use crate::place::Place;
use crate::spec::HostSpec;

/// A sysctl: the path below `/proc/sys/net/`, and its value.
pub(crate) type Setting = (&'static str, &'static str);

/// Settings of every namespace: what a machine may have as its own defaults must not matter.
const SETTINGS: [Setting; 5] = [
    ("ipv4/ip_forward", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // Room for many short connections.
    ("ipv4/ip_local_port_range", "1024 65535"),
    ("ipv4/tcp_tw_reuse", "1"),
];
const WITHOUT_IPV6: [Setting; 2] =
    [("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")];

/// Where VIPs begin in the subnet.
const FIRST_VIP: u32 = 100;

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    network: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// The address with this number in the network: 11 is 10.99.0.11 in 10.99.0.0/24.
    pub fn address(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits().wrapping_add(number))
    }

    /// The length of its prefix.
    pub fn prefix(self) -> u8 {
        self.prefix
    }
}

/// The description of a lab; [`build`](Self::build) makes it.
#[derive(Debug, Clone)]
pub struct LabBuilder {
    subnet: Subnet,
    hosts: Vec<HostSpec>,
    vips: Vec<Ipv4Addr>,
    keepable: bool,
    ipv6: bool,
}

impl LabBuilder {
    pub(crate) fn new() -> Self {
        let subnet = Subnet { network: Ipv4Addr::new(10, 99, 0, 0), prefix: 24 };
        Self { subnet, hosts: Vec::new(), vips: Vec::new(), keepable: false, ipv6: false }
    }

    /// The network of all hosts, instead of 10.99.0.0/24. A prefix of at most 24 has room for all.
    /// Before [`vips`](Self::vips), which counts from it.
    pub fn subnet(mut self, network: Ipv4Addr, prefix: u8) -> Self {
        self.subnet = Subnet { network, prefix };
        self
    }

    /// The network of all hosts.
    pub fn network(&self) -> Subnet {
        self.subnet
    }

    /// Adds a VIP. Without one, a lab has number 100 of its subnet as its VIP.
    pub fn vip(mut self, vip: Ipv4Addr) -> Self {
        self.vips.push(vip);
        self
    }

    /// Adds VIPs with the numbers 100, 101, … of the subnet.
    pub fn vips(mut self, count: u32) -> Self {
        self.vips.extend((0..count).map(|number| self.subnet.address(FIRST_VIP + number)));
        self
    }

    /// Adds a client.
    pub fn client(self, name: &str) -> Self {
        self.host(HostSpec::client(name))
    }

    /// Adds a director.
    pub fn director(self, name: &str) -> Self {
        self.host(HostSpec::director(name))
    }

    /// Adds a real server.
    pub fn real_server(self, name: &str) -> Self {
        self.host(HostSpec::real_server(name))
    }

    /// Adds the real servers `rs1`, `rs2`, ….
    pub fn real_servers(self, count: usize) -> Self {
        (1..=count).fold(self, |lab, number| lab.real_server(&format!("rs{number}")))
    }

    /// Adds any host.
    pub fn host(mut self, spec: HostSpec) -> Self {
        self.hosts.push(spec);
        self
    }

    /// Leaves IPv6 on. Without it, hosts send only what tests have them send (and ARP).
    pub fn ipv6(mut self) -> Self {
        self.ipv6 = true;
        self
    }

    /// Prepares it for [`Lab::keep`]: the kernel does not kill its programs when this process ends.
    pub fn keepable(mut self) -> Self {
        self.keepable = true;
        self
    }

    /// Makes the lab. Real servers answer when it is ready.
    pub fn build(mut self) -> Result<Lab> {
        if self.vips.is_empty() {
            self = self.vips(1);
        }
        let remover = Remover(Arc::new(Place::claim(self.keepable)?));
        let mut settings = SETTINGS.to_vec();
        if !self.ipv6 && Path::new("/proc/sys/net/ipv6").exists() {
            settings.extend(WITHOUT_IPV6);
        }
        Lab::create(remover, self.subnet, self.vips, settings, self.hosts)
    }
}
