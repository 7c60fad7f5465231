//! Where the director's interfaces and the real servers are, as the kernel's links and routes tell, and as that
//! changes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::vips::Vips;
use super::{RunError, now};
use crate::config::VlanOffload as OffloadMode;
use crate::dataplane::VlanOffload;
use crate::neighbour::Addresses;
use crate::net::{Event, Events, Link, NetError, Netlink, mac_text};
use crate::state::{Followed, Input, Location, Network, addresses_to_locate, addresses_to_resolve, locate};

/// How long changes are collected: an interface that comes up brings addresses and routes with it.
const SETTLE: Duration = Duration::from_millis(100);

/// The director's interfaces by place, and where everybody is.
pub(super) struct Topology {
    netlink: Netlink,
    /// What is configured, and what comes.
    configs: watch::Receiver<Followed>,
    /// The director's interfaces as they were last seen, with their places, in the order of the configuration.
    pub(super) links: Vec<(u8, Link)>,
    /// Whose places were looked for, with the VLAN that the configuration names.
    addresses: BTreeMap<IpAddr, Option<u16>>,
    pub(super) network: Network,
    /// Whether VLANs are made on the director's interfaces.
    has_vlan_interfaces: bool,
}

/// For whom to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// For everybody: links or routes have changed.
    Anew,
    /// For those that the configuration names anew.
    ForNew,
}

/// Whom a change of the network concerns.
pub(super) struct Followers {
    pub(super) vips: Vips,
    pub(super) offload: VlanOffload,
    pub(super) wanted: watch::Sender<Addresses>,
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) networks: watch::Sender<Network>,
}

impl Topology {
    /// Looks where everybody is.
    pub(super) async fn new(
        netlink: Netlink,
        links: Vec<(u8, Link)>,
        configs: watch::Receiver<Followed>,
    ) -> Result<Self, NetError> {
        let (addresses, network) = (BTreeMap::new(), Network::default());
        let mut topology = Self { netlink, configs, links, addresses, network, has_vlan_interfaces: false };
        topology.look(Look::Anew).await?;
        Ok(topology)
    }

    /// The addresses whose MACs are to be resolved, and where to ask for them.
    pub(super) fn wanted(&self) -> Addresses {
        let followed = self.configs.borrow();
        followed.configs().flat_map(|config| addresses_to_resolve(config, &self.network)).collect()
    }

    /// The names of the director's interfaces.
    pub(super) fn names(&self) -> String {
        self.links.iter().map(|(_, link)| link.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Has NICs leave VLAN tags to XDP, if there are VLANs, and do as they did before if there are none any more.
    pub(super) fn keep_vlan_tags(&self, offload: &VlanOffload) -> Result<(), RunError> {
        let has_vlans = self.has_vlan_interfaces || self.network.has_vlans();
        let mode = self.configs.borrow().config().director.vlan_offload;
        match mode {
            OffloadMode::Auto if has_vlans => offload.switch_off(&self.links)?,
            OffloadMode::Auto => offload.restore(&self.links),
            OffloadMode::Keep => {}
        }
        Ok(())
    }

    /// Looks where everybody is. Says whether anything is different.
    async fn look(&mut self, look: Look) -> Result<bool, NetError> {
        let mut addresses: BTreeMap<IpAddr, Option<u16>> = BTreeMap::new();
        for config in self.configs.borrow().configs() {
            addresses.extend(addresses_to_locate(config));
        }
        let before = std::mem::replace(&mut self.addresses, addresses.clone());
        if look == Look::ForNew && before == addresses {
            return Ok(false);
        }
        let links = self.netlink.links().await?;
        for (_, own) in &mut self.links {
            if let Some(found) = links.iter().find(|link| link.index == own.index) {
                own.clone_from(found);
            }
        }
        let places: Vec<(u32, u8)> = self.links.iter().map(|(place, link)| (link.index, *place)).collect();
        let is_own = |index: u32| places.iter().any(|(own, _)| *own == index);
        self.has_vlan_interfaces = links.iter().filter_map(|link| link.vlan).any(|vlan| is_own(vlan.parent));
        let mut locations = BTreeMap::new();
        for (address, vlan) in addresses {
            // Routes to those that are known have not changed, or an event would have told. There may be thousands.
            if look == Look::ForNew
                && before.get(&address) == Some(&vlan)
                && let Some(known) = self.network.locations.get(&address)
            {
                locations.insert(address, known.clone());
                continue;
            }
            // Each interface has a route to link-local addresses.
            let route = if is_link_local(address) { None } else { self.netlink.route(address).await? };
            locations.insert(address, locate(route, vlan, &links, &places));
        }
        let macs = self.links.iter().filter_map(|(place, link)| Some((*place, link.mac?))).collect();
        let network = Network { macs, locations };
        if network == self.network {
            return Ok(false);
        }
        log_changes(&self.network, &network);
        self.network = network;
        Ok(true)
    }

    /// Follows what changes; returns when one of the interfaces is gone, or nothing can be followed any more.
    pub(super) async fn follow(mut self, mut events: Events, followers: &Followers) -> RunError {
        let mut look_at: Option<Instant> = None;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                changed = self.configs.changed() => {
                    if changed.is_err() {
                        return RunError::Ended("reconciler");
                    }
                    let config = Arc::clone(self.configs.borrow_and_update().config());
                    if let Err(error) = self.look_for(Look::ForNew, followers).await {
                        return error;
                    }
                    followers.vips.follow_config(&config).await;
                    continue;
                }
                () = tokio::time::sleep_until(look_at.unwrap_or_else(now).into()), if look_at.is_some() => {
                    look_at = None;
                    if let Err(error) = self.look_for(Look::Anew, followers).await {
                        return error;
                    }
                    followers.vips.mend().await;
                    continue;
                }
            };
            let changed = match event {
                Some(Event::Link(changed)) => vec![changed],
                Some(Event::LinkGone { index }) => {
                    if let Some((_, link)) = self.links.iter().find(|(_, link)| link.index == index) {
                        return RunError::InterfaceGone { name: link.name.clone() };
                    }
                    Vec::new()
                }
                Some(Event::Lost) => match self.netlink.links().await {
                    Ok(links) => {
                        let is_gone = |own: &Link| !links.iter().any(|link| link.index == own.index);
                        if let Some((_, link)) = self.links.iter().find(|(_, link)| is_gone(link)) {
                            return RunError::InterfaceGone { name: link.name.clone() };
                        }
                        links
                    }
                    Err(error) => return error.into(),
                },
                Some(_) => Vec::new(),
                None => return RunError::Ended("netlink socket"),
            };
            look_at.get_or_insert_with(|| now() + SETTLE);
            for link in &changed {
                if let Err(error) = self.handle_link(link, followers).await {
                    return error;
                }
            }
        }
    }

    async fn handle_link(&mut self, changed: &Link, followers: &Followers) -> Result<(), RunError> {
        if let Some((place, own)) = self.links.iter_mut().find(|(_, own)| own.index == changed.index) {
            if changed.is_up != own.is_up {
                tracing::warn!("{} is {}", own.name, if changed.is_up { "up" } else { "down" });
            }
            if changed.mac != own.mac
                && let Some(mac) = changed.mac
            {
                tracing::info!("{} has a new MAC, {}", own.name, mac_text(mac));
                self.network.macs.insert(*place, mac);
                followers.send(&self.network).await?;
            }
            own.clone_from(changed);
        }
        followers.vips.follow(changed).await;
        Ok(())
    }

    async fn look_for(&mut self, look: Look, followers: &Followers) -> Result<(), RunError> {
        let is_different = match self.look(look).await {
            Ok(is_different) => is_different,
            Err(error) => {
                tracing::warn!("{error}; real servers are taken to be where they were");
                return Ok(());
            }
        };
        if let Err(error) = self.keep_vlan_tags(&followers.offload) {
            tracing::error!("{error}");
        }
        // Not before the driver knows: it would answer for the old segment.
        let wanted = self.wanted();
        followers.wanted.send_if_modified(|known| {
            let is_new = *known != wanted;
            *known = wanted;
            is_new
        });
        if is_different {
            followers.send(&self.network).await?;
        }
        Ok(())
    }
}

impl Followers {
    async fn send(&self, network: &Network) -> Result<(), RunError> {
        self.networks.send_replace(network.clone());
        self.inputs.send(Input::Network(network.clone())).await.map_err(|_| RunError::Ended("reconciler"))
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn log_changes(old: &Network, new: &Network) {
    for (address, location) in
        new.locations.iter().filter(|(address, now)| old.locations.get(address) != Some(now))
    {
        match location {
            Location::Elsewhere { interface } => tracing::warn!(
                "{address} is behind {interface}, which is not among director.interfaces: it gets no connections; add \"{interface}\" there and restart lb"
            ),
            Location::Local => tracing::info!("{address} is the director itself"),
            Location::Segment { .. } => {}
        }
    }
}
