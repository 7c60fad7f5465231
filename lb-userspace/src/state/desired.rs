//! What the data plane should do, from everything that has a say in it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use lb_common::connection::Timeouts;
use lb_common::load::Thresholds;
use lb_common::persistence::Persistence;
use lb_common::policy::{OnDown, ServiceOptions};
use lb_common::selector::{Options, Selector};
use macaddr::MacAddr6;

use super::network::{Location, Network};
use super::ramp;
use crate::config::{Config, Peer, Protocol, Quorum, RealServer, VirtualServer};
use crate::dataplane::{AclView, DestinationView, InterfaceView, ServiceAddress, View, Way};
use crate::forms::VirtualAddress;
use crate::health::{Check, State, Verdict, Verdicts};
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
    /// Whether enough of its real servers are usable.
    pub has_quorum: bool,
    /// Whether a real server that has come up gets less than its share for now.
    pub is_ramping: bool,
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
        !server.is_usable() && (is_udp || self.policies.on_down() != OnDown::Keep)
    }
}

/// A real server of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredServer {
    /// Its address.
    pub address: IpAddr,
    /// Its weight: what is configured, unless its check says something else.
    pub weight: u32,
    /// Its share of new connections, in the ratio to those of the others: its weight, but for a while after it came up.
    pub share: u32,
    /// The last weight that was not 0; 0 if there was none.
    pub last_weight: u32,
    /// How many connections it gets at most.
    pub thresholds: Thresholds,
    /// Where its frames go: to its MAC, or the one it had when it last answered. `None` if it never did.
    pub way: Option<Way>,
    /// Whether somebody answers for its address.
    pub is_reachable: bool,
    /// Whether its check does not say that it is down, or it stays nevertheless.
    pub is_well: bool,
}

impl DesiredServer {
    /// Whether it may get new connections, if its weight says so.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.is_reachable && self.is_well
    }
}

/// What has a say in what the data plane should do, besides the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// Where real servers are.
    pub network: &'a Network,
    /// Their MACs.
    pub resolutions: &'a Resolutions,
    /// What their checks say.
    pub verdicts: &'a Verdicts,
    /// The names of virtual servers that had too few usable real servers.
    pub without_quorum: &'a BTreeSet<String>,
    /// What the data plane does: it remembers the weights of servers that are quiesced.
    pub view: &'a View,
    /// When that is.
    pub now: Instant,
}

/// What the data plane should do.
#[must_use]
pub fn desired(config: &Config, circumstances: &Circumstances<'_>) -> Desired {
    let Circumstances { network, view, .. } = *circumstances;
    let peer = |peer: &Peer| match peer {
        Peer::Mac(mac) => Some(*mac),
        Peer::Address(address) => circumstances.resolution(*address).mac,
    };
    let peers: BTreeSet<MacAddr6> = config.director.peers.iter().filter_map(peer).collect();
    let interface =
        |(place, mac): (&u8, &MacAddr6)| (*place, InterfaceView { mac: Some(*mac), peers: peers.clone() });
    let remembered = weights(view);
    let mut room = ramp::ROOM;
    let bound = config.virtual_servers.iter().filter(|server| !server.addresses.is_empty());
    let services: Vec<DesiredService> =
        bound.map(|server| service(server, circumstances, &remembered, &mut room)).collect();
    let longest = services.iter().map(|service| service.persistence.timeout()).max().unwrap_or(0);
    Desired {
        interfaces: network.macs.iter().map(interface).collect(),
        timeouts: Timeouts::from(&config.timeouts).with_templates(longest),
        acl: AclView::from(&config.acl),
        services,
    }
}

impl Circumstances<'_> {
    fn resolution(&self, address: IpAddr) -> Resolution {
        self.resolutions.get(&address).copied().unwrap_or_default()
    }

    /// How frames get to a real server, and whether somebody answers for its address.
    fn way(&self, server: &RealServer) -> (Option<Way>, bool) {
        match self.network.location(server.address) {
            Location::Local => (Some(Way::Local), true),
            Location::Elsewhere { .. } => (None, false),
            Location::Segment { interface, vlan, .. } => {
                let found = match server.mac {
                    Some(mac) => Resolution { mac: Some(mac), is_reachable: true },
                    None => self.resolution(server.address),
                };
                let vlan = server.vlan.or(vlan);
                (found.mac.map(|mac| Way::Wire { mac, interface, vlan }), found.is_reachable)
            }
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
    circumstances: &Circumstances<'_>,
    remembered: &BTreeMap<(u32, IpAddr), u32>,
    room: &mut u32,
) -> DesiredService {
    let protocol = virtual_server.protocol;
    let address = |address: &VirtualAddress| ServiceAddress { address: *address, protocol };
    let addresses: Vec<ServiceAddress> = virtual_server.addresses.iter().map(address).collect();
    let number = addresses.iter().find_map(|address| circumstances.view.addresses.get(address)).copied();
    let server = |real_server: &RealServer, verdict: Option<&Verdict>| {
        let (way, is_reachable) = circumstances.way(real_server);
        let RealServer { address, thresholds, .. } = *real_server;
        let judged = judged(virtual_server, real_server, verdict);
        let weight = judged.weight;
        let last_weight = match number {
            _ if weight > 0 => weight,
            Some(number) => remembered.get(&(number, address)).copied().unwrap_or(0),
            None => 0,
        };
        let is_well = judged.is_well;
        DesiredServer { address, weight, share: weight, last_weight, thresholds, way, is_reachable, is_well }
    };
    let verdicts: Vec<Option<Verdict>> = virtual_server
        .real_servers
        .iter()
        .map(|server| Some(circumstances.verdicts.of(&Check::of(virtual_server, server)?)))
        .collect();
    let mut servers: Vec<DesiredServer> = virtual_server
        .real_servers
        .iter()
        .zip(&verdicts)
        .map(|(real_server, verdict)| server(real_server, verdict.as_ref()))
        .collect();
    let up_since = verdicts.iter().map(|verdict| verdict.as_ref()?.up_since);
    let steps: Vec<u32> =
        up_since.map(|since| ramp::step(since, virtual_server.slow_start, circumstances.now)).collect();
    let is_ramping = ramp::share_out(&mut servers, &steps, room);
    let sorry_server = virtual_server.sorry_server.map(RealServer::at);
    let sorry_server = sorry_server.as_ref().map(|sorry| server(sorry, None));
    let usable = servers.iter().filter(|server| server.is_usable());
    let weights = usable.map(|server| u64::from(server.weight)).sum();
    let had_quorum = !circumstances.without_quorum.contains(&virtual_server.name);
    let has_quorum = has_quorum(&virtual_server.quorum, had_quorum, weights);
    let all_are_sorry = !has_quorum && sorry_server.is_some_and(|sorry| sorry.is_usable());
    let scheduled: Vec<Server> = servers.iter().map(scheduled).collect();
    let parameters = virtual_server.parameters();
    let scheduler = virtual_server.scheduler;
    DesiredService {
        addresses,
        selector: scheduler.selector(),
        options: scheduler.options(&parameters),
        slots: if all_are_sorry { Vec::new() } else { scheduler.slots(&scheduled, &parameters) },
        servers,
        sorry_server,
        policies: ServiceOptions::new(virtual_server.on_down, virtual_server.one_packet),
        acl: AclView::from(&virtual_server.acl),
        persistence: virtual_server.persistence_of_clients(),
        has_quorum,
        is_ramping,
    }
}

/// What becomes of a real server by what its check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Judged {
    weight: u32,
    is_well: bool,
}

fn judged(service: &VirtualServer, server: &RealServer, verdict: Option<&Verdict>) -> Judged {
    let Some(verdict) = verdict else { return Judged { weight: server.weight, is_well: true } };
    let is_well = match verdict.state {
        State::Up => true,
        State::Down => false,
        State::Unknown => !service.alpha,
    };
    if !is_well && service.inhibit_on_failure {
        return Judged { weight: 0, is_well: true };
    }
    Judged { weight: verdict.weight(server.weight), is_well }
}

/// `update_quorum_state` of keepalived's `check_data.c`: the state changes where the sum is beyond the quorum by the
/// hysteresis.
fn has_quorum(quorum: &Quorum, had_quorum: bool, weights: u64) -> bool {
    let (quorum, hysteresis) = (u64::from(quorum.quorum), u64::from(quorum.hysteresis));
    if had_quorum { weights >= quorum.saturating_sub(hysteresis) } else { weights >= quorum + hysteresis }
}

fn scheduled(server: &DesiredServer) -> Server {
    let DesiredServer { address, share, last_weight, .. } = *server;
    Server { address, weight: share, weight_before: last_weight, usable: server.is_usable() }
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
