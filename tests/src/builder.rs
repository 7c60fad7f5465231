//! The description of a lab.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::lab::{Lab, Remover};
use crate::packet;
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
/// Addresses are those that are given, at once: nobody is asked whether they are taken.
const WITH_IPV6: [Setting; 7] = [
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/autoconf", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
];

/// Where VIPs begin in the subnet.
const FIRST_VIP: u32 = 100;

/// The IPv6 network of every lab, in the prefix for documentation (RFC 3849).
const NETWORK_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 0);

/// An IPv4 network, and the IPv6 network beside it.
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

    /// The length of the IPv6 network's prefix.
    pub fn prefix6(self) -> u8 {
        64
    }

    /// The IPv6 address with this number, which it shows in its decimal digits: 11 is 2001:db8:99::11.
    pub fn address6(self, number: u32) -> Ipv6Addr {
        let digits = number.to_string().bytes().fold(0, |all, digit| all << 4 | u128::from(digit - b'0'));
        Ipv6Addr::from_bits(NETWORK_V6.to_bits() | digits)
    }

    /// The IPv6 address with the number that this one has.
    pub(crate) fn beside(self, address: Ipv4Addr) -> Ipv6Addr {
        self.address6(address.to_bits().wrapping_sub(self.network.to_bits()))
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

    /// Leaves IPv6 on and gives every address and VIP an IPv6 address beside it: 2001:db8:99::51 beside
    /// 10.99.0.51. Without it, hosts send only what tests have them send (and ARP).
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
        packet::note_times()?;
        if self.vips.is_empty() {
            self = self.vips(1);
        }
        let remover = Remover(Arc::new(Place::claim(self.keepable)?));
        let mut settings = SETTINGS.to_vec();
        if self.ipv6 {
            settings.extend(WITH_IPV6);
        } else if Path::new("/proc/sys/net/ipv6").exists() {
            settings.extend(WITHOUT_IPV6);
        }
        Lab::create(remover, self.subnet, self.vips, self.ipv6, settings, self.hosts)
    }
}
