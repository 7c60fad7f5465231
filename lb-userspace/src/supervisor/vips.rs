//! The VIPs on the director's interfaces: added, announced, and taken away again (`director.manage_vips`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::Config;
use crate::net::{Address, Link, NetError, Netlink, announce, host_text};
use crate::state::{self, addressed};

/// When VIPs are announced after the first time: a switch or a neighbour may have missed it.
const ANNOUNCE_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// The VIPs, if they are ours to manage. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Vips {
    netlink: Netlink,
    /// The indices of the director's interfaces, in the order of the configuration.
    interfaces: Vec<u32>,
    /// The interfaces that VIPs may be on, as they were last seen.
    links: Arc<watch::Sender<BTreeMap<u32, Link>>>,
    /// What there is to manage.
    wanted: Arc<watch::Sender<Wanted>>,
    /// What was missing, and could not be added.
    hopeless: Arc<watch::Sender<BTreeSet<IpAddr>>>,
}

/// VIPs, if they are ours to manage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    vips: BTreeSet<IpAddr>,
    managed: bool,
}

impl Wanted {
    fn by(config: &Config) -> Self {
        Self { vips: state::vips(config), managed: config.has_vips_always() }
    }
}

/// An interface, its addresses, and the VIPs that belong there.
struct Home {
    link: Link,
    present: Vec<Address>,
    vips: Vec<IpAddr>,
}

impl Vips {
    pub(super) fn new(netlink: Netlink, links: &[(u8, Link)], config: &Config) -> Self {
        let interfaces = links.iter().map(|(_, link)| link.index).collect();
        let wanted = Arc::new(watch::Sender::new(Wanted::by(config)));
        Self { netlink, interfaces, links: Arc::default(), wanted, hopeless: Arc::default() }
    }

    /// Follows what is configured.
    pub(super) async fn follow_config(&self, config: &Config) {
        let wanted = Wanted::by(config);
        let before = self.wanted.borrow().clone();
        if wanted == before {
            return;
        }
        if !wanted.managed {
            self.wanted.send_replace(wanted);
            // Without virtual routers they are somebody else's from here on, as they are.
            if before.managed && !config.vrrp_instances.is_empty() {
                self.hand_over(config).await;
            }
            return;
        }
        let is_new = |vip: &&IpAddr| !before.managed || !before.vips.contains(vip);
        let new: BTreeSet<IpAddr> = wanted.vips.iter().filter(is_new).copied().collect();
        self.wanted.send_replace(wanted);
        if let Err(error) = self.place(&new).await {
            tracing::error!("{error}");
        }
    }

    fn is_managed(&self) -> bool {
        self.wanted.borrow().managed
    }

    /// Adds the VIPs that their interfaces lack, removes those that an earlier daemon left elsewhere, and announces
    /// where they are.
    pub(super) async fn bring_up(&self) -> Result<(), NetError> {
        if !self.is_managed() {
            return Ok(());
        }
        let all = self.wanted.borrow().vips.clone();
        self.place(&all).await
    }

    /// Makes the interfaces have the VIPs, and announces some of them. One that cannot be placed costs no other one.
    async fn place(&self, announced: &BTreeSet<IpAddr>) -> Result<(), NetError> {
        let mut failed = None;
        let mut homes = self.homes().await?;
        let links = homes.iter().map(|home| (home.link.index, home.link.clone()));
        self.links.send_replace(links.collect());
        for Home { link: Link { index, name, .. }, present, vips } in &mut homes {
            for left_over in present.iter().filter(|address| address.is_ours) {
                let address = left_over.address;
                if !vips.contains(&address) {
                    if let Err(error) = self.netlink.remove_vip(*index, address).await {
                        failed.get_or_insert(error);
                        continue;
                    }
                    let why = if self.wanted.borrow().vips.contains(&address) {
                        "it belongs to another interface"
                    } else {
                        "no virtual server has it any more"
                    };
                    tracing::info!("removed {address} from {name}: {why}");
                }
            }
            for vip in std::mem::take(vips) {
                if !present.iter().any(|address| address.address == vip) {
                    if let Err(error) = self.netlink.add_vip(*index, vip).await {
                        failed.get_or_insert(error);
                        continue;
                    }
                    tracing::info!("added {} to {name}", host_text(vip));
                }
                // What is there is announced.
                vips.push(vip);
            }
        }
        let homes: Vec<(u32, Vec<IpAddr>)> =
            homes.into_iter().map(|home| (home.link.index, home.vips)).collect();
        let announced_of = |(index, vips): (u32, Vec<IpAddr>)| {
            (index, vips.into_iter().filter(|vip| announced.contains(vip)).collect())
        };
        let homes: Vec<(u32, Vec<IpAddr>)> = homes.into_iter().map(announced_of).collect();
        self.announce(&homes);
        let again = self.clone();
        tokio::spawn(async move {
            for pause in ANNOUNCE_AGAIN {
                tokio::time::sleep(pause).await;
                // Virtual routers may have them by now, and be those of another director.
                if again.is_managed() {
                    again.announce(&homes);
                }
            }
        });
        failed.map_or(Ok(()), Err)
    }

    /// Tells segments at which MACs the VIPs are.
    fn announce(&self, homes: &[(u32, Vec<IpAddr>)]) {
        for (index, vips) in homes.iter().filter(|(_, vips)| !vips.is_empty()) {
            let Some(link) = self.links.borrow().get(index).cloned() else { continue };
            if let Err(error) = announce(&link, vips) {
                tracing::warn!("{error}; clients find the VIP when their neighbour entry expires");
            }
        }
    }

    /// Adds the VIPs that are missing: somebody has removed them, or a virtual router that had them has ended.
    pub(super) async fn mend(&self) {
        if !self.is_managed() {
            return;
        }
        let Some(homes) = self.known_homes().await else { return };
        let is_missing = |home: &Home, vip: &IpAddr| {
            home.link.is_up && !home.present.iter().any(|address| address.address == *vip)
        };
        let missing = |home: Home| home.vips.clone().into_iter().filter(move |vip| is_missing(&home, vip));
        let missing: BTreeSet<IpAddr> = homes.into_iter().flat_map(missing).collect();
        if missing.is_empty() || *self.hopeless.borrow() == missing {
            return;
        }
        let placed = self.place(&missing).await;
        // What cannot be had is not tried again whenever something else changes.
        self.hopeless.send_replace(if placed.is_err() { missing } else { BTreeSet::new() });
        if let Err(error) = placed {
            tracing::error!("{error}");
        }
    }

    /// Virtual routers have the VIPs from here on, on their interfaces: there they stay as they are until those say
    /// otherwise, and go elsewhere, where another director may have them soon.
    async fn hand_over(&self, config: &Config) {
        for Home { link, present, .. } in self.known_homes().await.unwrap_or_default() {
            if !config.vrrp_instances.iter().any(|instance| *instance.interface.value == link.name) {
                self.remove_ours(&link, &present).await;
            }
        }
    }

    /// Follows an interface, which is now as `link` says. The kernel removes addresses of IPv6 from an interface
    /// that goes down (Documentation/networking/ip-sysctl.rst, keep_addr_on_down), and neighbours know its old MAC.
    pub(super) async fn follow(&self, link: &Link) {
        let mut before = None;
        self.links.send_if_modified(|links| {
            if let Some(known) = links.get_mut(&link.index) {
                before = Some(std::mem::replace(known, link.clone()));
            }
            before.is_some()
        });
        let Some(before) = before else { return };
        if link.is_up
            && (!before.is_up || link.mac != before.mac)
            && let Err(error) = self.bring_up().await
        {
            tracing::error!("{error}");
        }
    }

    /// The interfaces that VIPs may be on: the director's, the bonds they are members of, and VLANs of either. Each
    /// VIP belongs to the one whose network it is in, or else to the first.
    async fn homes(&self) -> Result<Vec<Home>, NetError> {
        let links = self.netlink.links().await?;
        let mut indices: Vec<u32> = self.interfaces.iter().map(|index| addressed(*index, &links)).collect();
        let vlans = links.iter().filter(|link| link.vlan.is_some_and(|vlan| indices.contains(&vlan.parent)));
        indices.extend(vlans.map(|link| link.index).collect::<Vec<_>>());
        indices.extend(&self.interfaces);
        let mut homes: Vec<Home> = Vec::new();
        for index in indices {
            let is_known = homes.iter().any(|home| home.link.index == index);
            if let Some(link) = links.iter().find(|link| link.index == index)
                && !is_known
            {
                let present = self.netlink.addresses(index).await?;
                homes.push(Home { link: link.clone(), present, vips: Vec::new() });
            }
        }
        for vip in &self.wanted.borrow().vips {
            let has_network =
                |home: &Home| home.present.iter().any(|address| address.has_in_its_network(*vip));
            let home = homes.iter().position(has_network).unwrap_or(0);
            if let Some(home) = homes.get_mut(home) {
                home.vips.push(*vip);
            }
        }
        Ok(homes)
    }

    async fn known_homes(&self) -> Option<Vec<Home>> {
        self.homes().await.map_err(|error| tracing::warn!("{error}")).ok()
    }

    /// Removes the VIPs that we added; those an administrator added stay.
    pub(super) async fn take_down(&self) {
        if !self.is_managed() {
            return;
        }
        for Home { link, present, .. } in self.known_homes().await.unwrap_or_default() {
            self.remove_ours(&link, &present).await;
        }
    }

    /// Removes the VIPs that an earlier daemon left on an interface that is no longer the director's.
    pub(super) async fn leave(&self, link: &Link) {
        if !self.is_managed() || self.links.borrow().contains_key(&link.index) {
            return;
        }
        match self.netlink.addresses(link.index).await {
            Ok(present) => self.remove_ours(link, &present).await,
            Err(error) => tracing::warn!("{error}"),
        }
    }

    async fn remove_ours(&self, link: &Link, present: &[Address]) {
        for ours in present.iter().filter(|address| address.is_ours) {
            if let Err(error) = self.netlink.remove_vip(link.index, ours.address).await {
                tracing::warn!("{error}");
            }
        }
    }
}
