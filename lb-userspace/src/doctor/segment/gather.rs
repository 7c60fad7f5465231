//! Asks the segments of the director's interfaces about real servers and VIPs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use macaddr::MacAddr6;

use super::super::Machine;
use super::{Facts, Mtu, ServedVip, Server};
use crate::config::{Config, VirtualServer};
use crate::net::segment::{Asker, Heard, Probe, Question, Said};
use crate::net::{Link, NeighbourEntry, NetError, Netlink, Route};
use crate::state::{self, Location, addressed, addresses_to_locate, locate};

/// Tokens of questions: the ports of the dynamic range (RFC 6335, section 6), over and over.
const TOKENS: std::ops::RangeInclusive<u16> = 49152..=65535;
/// A port for a virtual server that has all of them.
const ANY_PORT: u16 = 80;

/// The director's interfaces, and where the real servers are.
#[derive(Clone, Debug)]
pub(in super::super) struct Surroundings {
    links: Vec<Link>,
    /// The director's interfaces that exist, by their place in the configuration.
    places: Vec<(u32, u8)>,
    pub(in super::super) locations: BTreeMap<IpAddr, Location>,
    routes: BTreeMap<IpAddr, Option<Route>>,
    neighbours: Vec<NeighbourEntry>,
    /// The interfaces on which is asked.
    segments: Vec<Segment>,
}

/// An interface on which is asked.
#[derive(Clone, Debug)]
struct Segment {
    index: u32,
    name: String,
    mtu: u32,
    asker: Asker,
}

impl Surroundings {
    /// Looks, as the daemon does, where everybody is.
    pub(in super::super) async fn gather(
        netlink: &Netlink,
        config: &Config,
        machine: &Machine,
    ) -> Result<Self, NetError> {
        let links: Vec<Link> = machine.links.iter().map(|details| details.link.clone()).collect();
        let names = config.director.interfaces.iter().zip(0_u8..);
        let places: Vec<(u32, u8)> =
            names.filter_map(|(name, place)| Some((machine.named(&name.value)?.link.index, place))).collect();
        let (mut locations, mut routes) = (BTreeMap::new(), BTreeMap::new());
        for (address, vlan) in addresses_to_locate(config) {
            // Each interface has a route to link-local addresses.
            let is_everywhere = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
            let route = if is_everywhere { None } else { netlink.route(address).await? };
            routes.insert(address, route);
            locations.insert(address, locate(route, vlan, &links, &places));
        }
        let vips = state::vips(config);
        let mut indices: BTreeSet<u32> = places.iter().map(|(index, _)| addressed(*index, &links)).collect();
        indices.extend(locations.values().filter_map(|location| match location {
            Location::Segment { asked, .. } => Some(*asked),
            _ => None,
        }));
        let mut segments = Vec::new();
        for details in machine.links.iter().filter(|details| indices.contains(&details.link.index)) {
            let Some(mac) = details.link.mac.filter(|_| details.link.is_up) else { continue };
            let mut asker = Asker { mac, v4: None, v6: None };
            for found in netlink.addresses(details.link.index).await? {
                match found.address {
                    address if vips.contains(&address) => {}
                    IpAddr::V4(address) => asker.v4 = asker.v4.or(Some(address)),
                    // A link-local one only where there is no other.
                    IpAddr::V6(address) => {
                        let is_better = asker.v6.is_none_or(|known| known.is_unicast_link_local());
                        asker.v6 = if is_better { Some(address) } else { asker.v6 };
                    }
                }
            }
            let (index, name) = (details.link.index, details.link.name.clone());
            segments.push(Segment { index, name, mtu: details.mtu, asker });
        }
        let neighbours = netlink.neighbours().await?;
        Ok(Self { links, places, locations, routes, neighbours, segments })
    }

    /// The interfaces of the director that have addresses.
    pub(in super::super) fn interfaces(&self) -> impl Iterator<Item = u32> {
        self.places.iter().map(|(index, _)| addressed(*index, &self.links))
    }

    /// Whether the VLAN of a location has an interface of this machine that tags frames.
    fn is_askable(&self, asked: u32, vlan: Option<u16>) -> bool {
        let of_link = self.links.iter().find(|link| link.index == asked).and_then(|link| link.vlan);
        vlan == of_link.map(|vlan| vlan.id)
    }
}

/// Asks who has the VIPs, and the real servers everything else if they are to be asked.
pub(in super::super) async fn gather(
    surroundings: Surroundings,
    config: &Config,
    real_servers: bool,
) -> Facts {
    let servers = if real_servers { servers(&surroundings, config) } else { Vec::new() };
    let vips: Vec<IpAddr> = state::vips(config).into_iter().collect();
    let asked = tokio::task::spawn_blocking(move || ask(&surroundings, servers, &vips)).await;
    asked.unwrap_or_else(|error| Facts {
        failures: vec![("probes".to_owned(), error.to_string())],
        ..Facts::default()
    })
}

/// The real servers of all virtual servers, each once, with all VIPs that they serve.
fn servers(surroundings: &Surroundings, config: &Config) -> Vec<Server> {
    let mut servers: BTreeMap<IpAddr, Server> = BTreeMap::new();
    for service in &config.virtual_servers {
        for real_server in service.all_servers() {
            let address = real_server.address;
            let Some(location) = surroundings.locations.get(&address).cloned() else { continue };
            let unasked = match location {
                Location::Segment { asked, vlan, .. } if !surroundings.is_askable(asked, vlan) => {
                    let vlan = vlan.unwrap_or_default();
                    Some(format!("is in VLAN {vlan}, for which this machine has no interface to ask on"))
                }
                _ => None,
            };
            let known = surroundings.neighbours.iter().find(|entry| entry.address == address);
            let server = servers.entry(address).or_insert_with(|| Server {
                address,
                location,
                route: surroundings.routes.get(&address).copied().flatten(),
                pinned: None,
                macs: BTreeSet::new(),
                kernel: known.and_then(|entry| entry.mac),
                clone: None,
                vips: Vec::new(),
                mtu: Mtu::Unknown,
                unasked,
            });
            server.pinned = server.pinned.or(real_server.mac);
            add_vips(server, service);
        }
    }
    servers.into_values().collect()
}

fn add_vips(server: &mut Server, service: &VirtualServer) {
    for address in &service.addresses {
        // Of a prefix, all or none are accepted.
        let vip = address.vips.first();
        if server.vips.iter().all(|known| known.address != vip) {
            let port = if address.ports.first == 0 { ANY_PORT } else { address.ports.first };
            server.vips.push(ServedVip { address: vip, port, is_announced: false, accepted: None });
        }
    }
}

fn ask(surroundings: &Surroundings, mut servers: Vec<Server>, vips: &[IpAddr]) -> Facts {
    let own: Vec<MacAddr6> = surroundings.links.iter().filter_map(|link| link.mac).collect();
    let mut facts = Facts::default();
    for segment in &surroundings.segments {
        let is_here = |server: &&mut Server| {
            let is_on_it =
                matches!(server.location, Location::Segment { asked, .. } if asked == segment.index);
            is_on_it && server.unasked.is_none()
        };
        for server in servers.iter_mut().filter(is_here) {
            let can_ask = if server.address.is_ipv4() {
                segment.asker.v4.is_some()
            } else {
                segment.asker.v6.is_some()
            };
            if !can_ask {
                let family = if server.address.is_ipv4() { "IPv4" } else { "IPv6" };
                let reason =
                    format!("{} has no {family} address but VIPs: there is none to ask from", segment.name);
                server.unasked = Some(reason);
            }
        }
        let mut here: Vec<&mut Server> = servers.iter_mut().filter(is_here).collect();
        let asked = Probe::open(segment.index, segment.asker, own.clone())
            .and_then(|mut probe| ask_segment(&mut probe, segment, &mut here, vips));
        match asked {
            Ok(owners) => {
                owners.into_iter().for_each(|(vip, macs)| facts.owners.entry(vip).or_default().extend(macs))
            }
            Err(error) => {
                here.iter_mut().for_each(|server| server.unasked = Some("could not be asked".to_owned()));
                facts.failures.push((segment.name.clone(), error.to_string()));
            }
        }
    }
    // On an interface that is down, which is a finding of its own.
    let is_asked = |asked: u32| surroundings.segments.iter().any(|segment| segment.index == asked);
    for server in &mut servers {
        if let Location::Segment { asked, .. } = server.location
            && !is_asked(asked)
        {
            server.unasked.get_or_insert_with(|| "is behind an interface that is down".to_owned());
        }
    }
    facts.servers = servers;
    facts
}

/// Asks everything on one interface; who else has the VIPs.
fn ask_segment(
    probe: &mut Probe,
    segment: &Segment,
    servers: &mut [&mut Server],
    vips: &[IpAddr],
) -> io::Result<BTreeMap<IpAddr, BTreeSet<MacAddr6>>> {
    let everybody = |address, is_vip| Question::WhoHas { address, at: None, is_vip };
    let questions: Vec<Question> = servers
        .iter()
        .map(|server| everybody(server.address, false))
        .chain(vips.iter().map(|vip| everybody(*vip, true)))
        .collect();
    let mut answers = probe.ask(&questions)?.into_iter().map(|heard| macs(&heard));
    for (server, found) in servers.iter_mut().zip(&mut answers) {
        server.macs = found;
    }
    let said: BTreeMap<IpAddr, BTreeSet<MacAddr6>> = vips.iter().copied().zip(answers).collect();
    ask_servers(probe, segment, servers, &said)?;
    find_clones(probe, servers)?;
    let is_server = |mac: &MacAddr6| servers.iter().any(|server| server.macs.contains(mac));
    let others = |macs: BTreeSet<MacAddr6>| macs.into_iter().filter(|mac| !is_server(mac)).collect();
    Ok(said.into_iter().map(|(vip, macs)| (vip, others(macs))).collect())
}

fn macs(heard: &[Heard]) -> BTreeSet<MacAddr6> {
    heard.iter().map(|heard| heard.mac).collect()
}

/// Asks each real server, at its MAC, for itself and for its VIPs. `said` is who answered for VIPs when all were asked.
fn ask_servers(
    probe: &mut Probe,
    segment: &Segment,
    servers: &mut [&mut Server],
    said: &BTreeMap<IpAddr, BTreeSet<MacAddr6>>,
) -> io::Result<()> {
    /// Questions about the server itself, and about each of its VIPs.
    const OWN: usize = 2;
    const OF_VIP: usize = 4;
    let mut tokens = TOKENS.cycle();
    let mut token = || tokens.next().unwrap_or_default();
    let longest = usize::try_from(segment.mtu).unwrap_or(usize::MAX);
    let mut questions = Vec::new();
    for server in servers.iter() {
        let Some(at) = at(server) else { continue };
        for length in [0, longest] {
            questions.push(Question::Echo { address: server.address, at, token: token(), length });
        }
        for ServedVip { address, port, .. } in &server.vips {
            let (address, port) = (*address, *port);
            questions.push(Question::WhoHas { address, at: Some(at), is_vip: true });
            questions.push(Question::Connect { address, port, at, token: token() });
            questions.push(Question::Echo { address, at, token: token(), length: 0 });
            questions.push(Question::Datagram { address, at, token: token() });
        }
    }
    let mut answers = probe.ask(&questions)?.into_iter();
    for server in servers.iter_mut() {
        let Some(at) = at(server) else { continue };
        let echoes: Vec<bool> = answers.by_ref().take(OWN).map(|heard| !heard.is_empty()).collect();
        server.mtu = match echoes[..] {
            [_, true] => Mtu::Fits,
            [true, false] => Mtu::IsLess(segment.mtu),
            _ => Mtu::Unknown,
        };
        for vip in &mut server.vips {
            let heard: Vec<Said> = answers.by_ref().take(OF_VIP).flatten().map(|heard| heard.said).collect();
            let says_so = |said: &&Said| matches!(said, Said::Has(_));
            let told_everybody = said.get(&vip.address).is_some_and(|macs| macs.contains(&at));
            vip.is_announced = told_everybody || heard.iter().any(|said| says_so(&said));
            vip.accepted = heard.iter().find(|said| !says_so(said)).map(ToString::to_string);
        }
    }
    Ok(())
}

/// The MAC that frames for a real server are sent to.
fn at(server: &Server) -> Option<MacAddr6> {
    server.pinned.or_else(|| server.macs.first().copied())
}

/// Finds real servers that share a MAC and are not one machine with two addresses: when one of them has just spoken, the
/// switch sends what is for that MAC to it, and it does not answer for the other's address.
fn find_clones(probe: &mut Probe, servers: &mut [&mut Server]) -> io::Result<()> {
    for later in 1..servers.len() {
        let Some(mac) = servers[later].macs.first().copied() else { continue };
        let Some(earlier) = servers[..later].iter().position(|server| server.macs.contains(&mac)) else {
            continue;
        };
        let (first, second) = (servers[earlier].address, servers[later].address);
        probe.ask(&[Question::WhoHas { address: second, at: None, is_vip: false }])?;
        let answers = probe.ask(&[Question::WhoHas { address: first, at: Some(mac), is_vip: false }])?;
        if answers.iter().all(Vec::is_empty) {
            servers[later].clone = Some(first);
        }
    }
    Ok(())
}
