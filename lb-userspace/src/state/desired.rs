//! What the data plane should do, from everything that has a say in it. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use lb_common::connection::Timeouts;
use lb_common::selector::Selector;
use macaddr::MacAddr6;

use crate::config::{Config, Peer, RealServer, VirtualServer};
use crate::dataplane::{AclView, InterfaceView, ServiceAddress};
use crate::neighbour::{Addresses, Resolution, Resolutions};
use crate::scheduler::{Server, Slot};

/// What the data plane should do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Whose frames it takes.
    pub interface: InterfaceView,
    /// How long it remembers connections.
    pub timeouts: Timeouts,
    /// Whose clients are let in, by all virtual servers.
    pub acl: AclView,
    /// The virtual servers, in the order of the configuration.
    pub services: Vec<DesiredService>,
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredService {
    /// Its addresses, at least one.
    pub addresses: Vec<ServiceAddress>,
    /// How a slot is picked.
    pub selector: Selector,
    /// The slots: indices into `servers`.
    pub slots: Vec<Slot>,
    /// Its real servers, in the order of addition.
    pub servers: Vec<DesiredServer>,
    /// Whose clients are let in.
    pub acl: AclView,
}

/// A real server of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredServer {
    /// Its address.
    pub address: IpAddr,
    /// Its weight.
    pub weight: u32,
    /// Where its frames go: its MAC, or the one it had when it last answered. `None` if it never did.
    pub mac: Option<MacAddr6>,
    /// Whether it may get new connections.
    pub is_reachable: bool,
}

/// What the data plane should do: `mac` is the interface's own.
#[must_use]
pub fn desired(config: &Config, mac: MacAddr6, resolutions: &Resolutions) -> Desired {
    let resolution = |address| resolutions.get(&address).copied().unwrap_or_default();
    let peer = |peer: &Peer| match peer {
        Peer::Mac(mac) => Some(*mac),
        Peer::Address(address) => resolution(*address).mac,
    };
    let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let timeouts = &config.timeouts;
    Desired {
        interface: InterfaceView {
            mac: Some(mac),
            peers: config.director.peers.iter().filter_map(peer).collect(),
        },
        timeouts: Timeouts::with(seconds(timeouts.tcp), seconds(timeouts.tcp_fin), seconds(timeouts.udp)),
        acl: AclView::from(&config.acl),
        services: config.virtual_servers.iter().map(|server| service(server, resolution)).collect(),
    }
}

fn service(virtual_server: &VirtualServer, resolution: impl Fn(IpAddr) -> Resolution) -> DesiredService {
    let server = |real_server: &RealServer| {
        let found = match real_server.mac {
            Some(mac) => Resolution { mac: Some(mac), is_reachable: true },
            None => resolution(real_server.address),
        };
        DesiredServer {
            address: real_server.address,
            weight: real_server.weight,
            mac: found.mac,
            is_reachable: found.is_reachable,
        }
    };
    let servers: Vec<DesiredServer> = virtual_server.real_servers.iter().map(server).collect();
    let scheduled: Vec<Server> =
        servers.iter().map(|server| Server { weight: server.weight, usable: server.is_reachable }).collect();
    let protocol = virtual_server.protocol;
    let address = |address: &SocketAddr| ServiceAddress { vip: address.ip(), port: address.port(), protocol };
    DesiredService {
        addresses: virtual_server.addresses.iter().map(address).collect(),
        selector: virtual_server.scheduler.selector(),
        slots: virtual_server.scheduler.slots(&scheduled),
        servers,
        acl: AclView::from(&virtual_server.acl),
    }
}

/// The addresses whose MACs are to be resolved.
#[must_use]
pub fn addresses_to_resolve(config: &Config) -> Addresses {
    let real_servers = config.virtual_servers.iter().flat_map(|server| &server.real_servers);
    let unpinned = real_servers.filter(|server| server.mac.is_none()).map(|server| server.address);
    let peers = config.director.peers.iter().filter_map(|peer| match peer {
        Peer::Address(address) => Some(*address),
        Peer::Mac(_) => None,
    });
    unpinned.chain(peers).collect()
}

/// The VIPs, each once.
#[must_use]
pub fn vips(config: &Config) -> BTreeSet<IpAddr> {
    config.virtual_servers.iter().flat_map(|server| &server.addresses).map(SocketAddr::ip).collect()
}
