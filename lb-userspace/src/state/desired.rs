//! What the data plane should do, from everything that has a say in it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::connection::Timeouts;
use lb_common::load::Thresholds;
use lb_common::persistence::Persistence;
use lb_common::policy::{OnDown, ServiceOptions};
use lb_common::selector::{Options, Selector};
use macaddr::MacAddr6;

use super::network::{Location, Network};
use crate::config::{Config, Peer, Protocol, RealServer, VirtualServer};
use crate::dataplane::{AclView, DestinationView, InterfaceView, ServiceAddress, View, Way};
use crate::forms::VirtualAddress;
use crate::neighbour::{Addresses, Resolution, Resolutions};
use crate::scheduler::{Server, Slot};

/// What the data plane should do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Whose frames it takes, by the place of the interface.
    pub interfaces: BTreeMap<u8, InterfaceView>,
    /// How long it remembers connections.
    pub timeouts: Timeouts,
    /// Whose clients are let in, by all virtual servers.
    pub acl: AclView,
    /// The virtual servers that have addresses, in the order of the configuration.
    pub services: Vec<DesiredService>,
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredService {
    /// Its addresses, at least one.
    pub addresses: Vec<ServiceAddress>,
    /// How a slot is picked.
    pub selector: Selector,
    /// What is done besides.
    pub options: Options,
    /// The slots: indices into `servers`.
    pub slots: Vec<Slot>,
    /// Its real servers, in the order of addition.
    pub servers: Vec<DesiredServer>,
    /// Who gets new connections when none of those is usable.
    pub sorry_server: Option<DesiredServer>,
    /// What becomes of connections of a real server that is down, and of datagrams.
    pub policies: ServiceOptions,
    /// Whose clients are let in.
    pub acl: AclView,
    /// How it remembers its clients.
    pub persistence: Persistence,
}

impl DesiredService {
    /// Everybody who may have its connections: its real servers, then the sorry server.
    pub(super) fn all_servers(&self) -> impl Iterator<Item = &DesiredServer> {
        self.servers.iter().chain(&self.sorry_server)
    }

    /// Whether the connections of one of them are to be looked at again because it is down. UDP flows move to another
    /// one whatever the policy says: nobody would be told that nobody is there.
    pub(super) fn gives_up(&self, server: &DesiredServer) -> bool {
        let is_udp = self.addresses.first().is_some_and(|address| address.protocol == Protocol::Udp);
        !server.is_reachable && (is_udp || self.policies.on_down() != OnDown::Keep)
    }
}

/// A real server of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredServer {
    /// Its address.
    pub address: IpAddr,
    /// Its weight.
    pub weight: u32,
    /// The last weight that was not 0; 0 if there was none.
    pub last_weight: u32,
    /// How many connections it gets at most.
    pub thresholds: Thresholds,
    /// Where its frames go: to its MAC, or the one it had when it last answered. `None` if it never did.
    pub way: Option<Way>,
    /// Whether it may get new connections.
    pub is_reachable: bool,
}

/// What the data plane should do. `view` is what it does: it remembers the weights of servers that are quiesced.
#[must_use]
pub fn desired(config: &Config, network: &Network, resolutions: &Resolutions, view: &View) -> Desired {
    let resolution = |address| resolutions.get(&address).copied().unwrap_or_default();
    let peer = |peer: &Peer| match peer {
        Peer::Mac(mac) => Some(*mac),
        Peer::Address(address) => resolution(*address).mac,
    };
    let peers: BTreeSet<MacAddr6> = config.director.peers.iter().filter_map(peer).collect();
    let interface =
        |(place, mac): (&u8, &MacAddr6)| (*place, InterfaceView { mac: Some(*mac), peers: peers.clone() });
    let way = |server: &RealServer| way(server, network, resolution);
    let remembered = weights(view);
    let bound = config.virtual_servers.iter().filter(|server| !server.addresses.is_empty());
    let services: Vec<DesiredService> = bound.map(|server| service(server, way, view, &remembered)).collect();
    let longest = services.iter().map(|service| service.persistence.timeout()).max().unwrap_or(0);
    Desired {
        interfaces: network.macs.iter().map(interface).collect(),
        timeouts: Timeouts::from(&config.timeouts).with_templates(longest),
        acl: AclView::from(&config.acl),
        services,
    }
}

/// How frames get to a real server, and whether it may get new connections.
fn way(
    server: &RealServer,
    network: &Network,
    resolution: impl Fn(IpAddr) -> Resolution,
) -> (Option<Way>, bool) {
    match network.location(server.address) {
        Location::Local => (Some(Way::Local), true),
        Location::Elsewhere { .. } => (None, false),
        Location::Segment { interface, vlan, .. } => {
            let found = match server.mac {
                Some(mac) => Resolution { mac: Some(mac), is_reachable: true },
                None => resolution(server.address),
            };
            let vlan = server.vlan.or(vlan);
            (found.mac.map(|mac| Way::Wire { mac, interface, vlan }), found.is_reachable)
        }
    }
}

/// The last weights that were not 0, by the number of the virtual server and the address of the real one.
fn weights(view: &View) -> BTreeMap<(u32, IpAddr), u32> {
    let of = |server: &DestinationView| ((server.service, server.address), server.last_weight);
    view.destinations.values().map(of).collect()
}

fn service(
    virtual_server: &VirtualServer,
    way: impl Fn(&RealServer) -> (Option<Way>, bool),
    view: &View,
    remembered: &BTreeMap<(u32, IpAddr), u32>,
) -> DesiredService {
    let protocol = virtual_server.protocol;
    let address = |address: &VirtualAddress| ServiceAddress { address: *address, protocol };
    let addresses: Vec<ServiceAddress> = virtual_server.addresses.iter().map(address).collect();
    let number = addresses.iter().find_map(|address| view.addresses.get(address)).copied();
    let server = |real_server: &RealServer| {
        let (way, is_reachable) = way(real_server);
        let RealServer { address, weight, .. } = *real_server;
        let last_weight = match number {
            _ if weight > 0 => weight,
            Some(number) => remembered.get(&(number, address)).copied().unwrap_or(0),
            None => 0,
        };
        let thresholds = real_server.thresholds;
        DesiredServer { address, weight, last_weight, thresholds, way, is_reachable }
    };
    let servers: Vec<DesiredServer> = virtual_server.real_servers.iter().map(server).collect();
    let sorry_server = virtual_server.sorry_server.map(RealServer::at).as_ref().map(server);
    let scheduled: Vec<Server> = servers.iter().map(scheduled).collect();
    let parameters = virtual_server.parameters();
    let scheduler = virtual_server.scheduler;
    DesiredService {
        addresses,
        selector: scheduler.selector(),
        options: scheduler.options(&parameters),
        slots: scheduler.slots(&scheduled, &parameters),
        servers,
        sorry_server,
        policies: ServiceOptions::new(virtual_server.on_down, virtual_server.one_packet),
        acl: AclView::from(&virtual_server.acl),
        persistence: virtual_server.persistence_of_clients(),
    }
}

fn scheduled(server: &DesiredServer) -> Server {
    let DesiredServer { address, weight, last_weight, is_reachable, .. } = *server;
    Server { address, weight, weight_before: last_weight, usable: is_reachable }
}

/// The addresses of real servers and peers, each with the VLAN that the configuration names.
#[must_use]
pub fn addresses_to_locate(config: &Config) -> BTreeMap<IpAddr, Option<u16>> {
    let real_servers = config.virtual_servers.iter().flat_map(VirtualServer::all_servers);
    let peers = config.director.peers.iter().filter_map(|peer| match peer {
        Peer::Address(address) => Some((*address, None)),
        Peer::Mac(_) => None,
    });
    // Of an address that is there several times, what is written of its VLAN counts.
    let mut located = BTreeMap::new();
    for (address, vlan) in peers.chain(real_servers.map(|server| (server.address, server.vlan))) {
        let known = located.entry(address).or_insert(None);
        *known = vlan.or(*known);
    }
    located
}

/// The addresses whose MACs are to be resolved, and where to ask for them.
#[must_use]
pub fn addresses_to_resolve(config: &Config, network: &Network) -> Addresses {
    let real_servers = config.virtual_servers.iter().flat_map(VirtualServer::all_servers);
    let unpinned = real_servers.filter(|server| server.mac.is_none()).map(|server| server.address);
    let peers = config.director.peers.iter().filter_map(|peer| match peer {
        Peer::Address(address) => Some(*address),
        Peer::Mac(_) => None,
    });
    let asked = |address| match network.location(address) {
        Location::Segment { asked, .. } => Some((address, asked)),
        Location::Local | Location::Elsewhere { .. } => None,
    };
    unpinned.chain(peers).filter_map(asked).collect()
}

/// The VIPs that are listed by themselves, each once. A prefix is not the local stack's: it is routed here.
#[must_use]
pub fn vips(config: &Config) -> BTreeSet<IpAddr> {
    let addresses = config.virtual_servers.iter().flat_map(|server| &server.addresses);
    addresses.filter_map(|address| address.vips.host()).collect()
}
