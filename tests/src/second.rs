//! A second network beside a lab's own: another bridge in the switch, and `eth1` on hosts that are plugged into it.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::capture::{Capture, Direction};
use crate::error::Result;
use crate::host::Host;
use crate::lab::Lab;
use crate::link::{Batch, Mac};
use crate::spec::Role;
use crate::switch::Switch;
use crate::testbed::Attachment;

const BRIDGE: &str = "bridge2";
const INTERFACE: &str = "eth1";

/// The second network. With it gone, directors on it cannot send by XDP any more.
pub struct SecondNetwork {
    switch: Switch,
    prefixes: (u8, u8),
    /// What lets directors' XDP_TX and XDP_REDIRECT through.
    ports: Vec<Attachment>,
}

impl Lab {
    /// Plugs hosts into a second network. Their addresses there are those they have, in the next network:
    /// 10.99.1.51 beside 10.99.0.51, 2001:db8:99:1::51 beside 2001:db8:99::51.
    pub fn second_network(&self, hosts: &[&Host]) -> Result<SecondNetwork> {
        let switch = self.switch().clone();
        let mut batch = Batch::default();
        batch
            .line(format_args!("link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"));
        batch.line(format_args!("link set {BRIDGE} up"));
        switch.ip(batch)?;
        let prefixes = (self.subnet().prefix(), self.subnet().prefix6());
        let mut network = SecondNetwork { switch, prefixes, ports: Vec::new() };
        for host in hosts {
            network.plug(host)?;
        }
        Ok(network)
    }
}

impl SecondNetwork {
    /// Plugs a host in; also one whose `eth1` was deleted.
    pub fn plug(&mut self, host: &Host) -> Result<()> {
        let (port, mac) = (port(host), Self::mac(host));
        let mut batch = Batch::default();
        let namespace = host.namespace();
        batch.line(format_args!(
            "link add name {port} type veth peer name {INTERFACE} address {mac} netns {namespace}"
        ));
        batch.line(format_args!("link set dev {port} master {BRIDGE} up"));
        self.switch.ip(batch)?;
        let mut batch = Batch::default();
        let (prefix, prefix6) = self.prefixes;
        batch.line(format_args!("address add {}/{prefix} dev {INTERFACE}", Self::address(host)));
        batch.line(format_args!("link set dev {INTERFACE} up"));
        if host.inner.address6.is_some() {
            batch.line(format_args!("address add {}/{prefix6} dev {INTERFACE} nodad", Self::address6(host)));
        }
        host.ip(batch)?;
        host.run(["ethtool", "-K", INTERFACE, "tx", "off"])?;
        if host.role() == Role::Director {
            self.ports.push(self.switch.attach(&port, "pass")?);
        }
        self.switch.wait_until_forwarding(&[&port])
    }

    /// A host's address here.
    pub fn address(host: &Host) -> Ipv4Addr {
        Ipv4Addr::from_bits(host.address().to_bits() + 256)
    }

    /// A host's IPv6 address here, in a lab with IPv6.
    pub fn address6(host: &Host) -> Ipv6Addr {
        Ipv6Addr::from_bits(host.address6().to_bits() | 1 << 64)
    }

    /// The Ethernet address of a host's `eth1`.
    pub fn mac(host: &Host) -> Mac {
        Mac::of(Self::address(host))
    }

    /// Captures those frames of a host's second cable for which the filter says yes; directions are those of
    /// [`Switch::capture`].
    pub fn capture_if(
        &self,
        host: &Host,
        filter: impl Fn(Direction, &[u8]) -> bool + Send + 'static,
    ) -> Result<Capture> {
        self.switch.capture_port(&port(host), filter)
    }
}

fn port(host: &Host) -> String {
    format!("{}-2", host.name())
}
