//! The virtual addresses on interfaces: added, refreshed, announced and removed.
//!
//! A task for a thread of its own: whoever asks the kernel about addresses waits while anybody else changes anything about
//! interfaces (`rtnl_lock` of net/core/rtnetlink.c), and adverts are not to wait with it. What it is told it does in that
//! order, and so who is told of a change finds it done.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use macaddr::MacAddr6;
use tokio::sync::{mpsc, oneshot};

use super::clock::{now, sleep_until};
use super::quiet::Quiet;
use super::router::Change;
use crate::config::InterfaceAddress;
use crate::net::{Address, FrameSender, Lifetime, Link, NetError, Netlink, announcement};

/// How often addresses are refreshed.
pub(super) const REFRESH: Duration = Duration::from_secs(1);

/// One of the virtual routers, also of two that have the same name while one of them leaves.
pub(super) type RouterId = u64;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Task {
    /// Tell how interfaces are, and the addresses of those with these names; remove what an earlier daemon left there.
    Look(BTreeSet<String>),
    /// Have an interface have these addresses, and none that the router gave it or another one before.
    Hold(RouterId, Holding),
    /// Remove what the router gave interfaces.
    Release(RouterId),
    /// Tell the segment so many times where the router's addresses are.
    Announce(RouterId, u8),
    /// Tell of a change.
    Tell(Change),
    /// Say that all of this is done.
    Finish(oneshot::Sender<()>),
}

/// What a virtual router holds.
#[derive(Clone, Debug)]
pub(super) struct Holding {
    /// The instance, for messages.
    pub(super) name: String,
    /// The interface's index.
    pub(super) index: u32,
    /// Its MAC.
    pub(super) mac: Option<MacAddr6>,
    /// The virtual addresses.
    pub(super) addresses: Vec<InterfaceAddress>,
    /// How long they stay when nobody refreshes them.
    pub(super) lifetime: Duration,
}

impl Holding {
    /// Whether its interface was looked at and has not all of the addresses. keepalived takes them with it when it ends,
    /// also those that were its own on the machine on which lb takes its place.
    fn is_missing_in(&self, seen: &HashMap<u32, Vec<Address>>) -> bool {
        let Some(present) = seen.get(&self.index) else { return false };
        let is_there =
            |wanted: &InterfaceAddress| present.iter().any(|present| present.address == wanted.address);
        !self.addresses.iter().all(is_there)
    }
}

/// How interfaces are.
#[derive(Debug)]
pub(super) struct Seen {
    /// All of them.
    pub(super) links: Vec<Link>,
    /// The addresses of those that were asked for, by their index.
    pub(super) addresses: HashMap<u32, Vec<Address>>,
}

/// The driver's end of what is between the two.
pub struct ToHolder {
    tasks: mpsc::UnboundedSender<Task>,
    /// `None`: the kernel cannot be asked.
    pub(super) seen: mpsc::UnboundedReceiver<Option<Seen>>,
}

impl ToHolder {
    /// Has it do something, after what it was told before. Without a holder the driver's thread is about to end, too.
    pub(super) fn give(&self, task: Task) {
        let _ = self.tasks.send(task);
    }
}

/// The holder's end.
pub struct ToDriver {
    tasks: mpsc::UnboundedReceiver<Task>,
    seen: mpsc::UnboundedSender<Option<Seen>>,
}

/// What is between a [`Driver`](super::Driver) and a [`Holder`].
#[must_use]
pub fn between() -> (ToHolder, ToDriver) {
    let (tasks, received_tasks) = mpsc::unbounded_channel();
    let (seen, received_seen) = mpsc::unbounded_channel();
    (ToHolder { tasks, seen: received_seen }, ToDriver { tasks: received_tasks, seen })
}

/// Whoever does it.
pub struct Holder {
    netlink: Netlink,
    frames: FrameSender,
    driver: ToDriver,
    changes: mpsc::UnboundedSender<Change>,
    begin: Option<Box<dyn FnOnce() + Send>>,
    held: BTreeMap<RouterId, Held>,
    /// As they were last seen.
    present: HashMap<u32, Vec<Address>>,
}

/// What a virtual router has.
struct Held {
    wanted: Holding,
    /// What it was given, by the interface's index.
    given: BTreeSet<(u32, InterfaceAddress)>,
    refresh_at: Instant,
    quiet: Quiet,
}

impl Holder {
    /// One that tells what it sees and what was changed; needs a runtime. Before it first gives an interface an address,
    /// its thread does `begin`.
    ///
    /// # Errors
    /// [`NetError::Open`].
    pub fn new(
        driver: ToDriver,
        changes: mpsc::UnboundedSender<Change>,
        begin: Box<dyn FnOnce() + Send>,
    ) -> Result<Self, NetError> {
        Ok(Self {
            netlink: Netlink::open()?,
            frames: FrameSender::default(),
            driver,
            changes,
            begin: Some(begin),
            held: BTreeMap::new(),
            present: HashMap::new(),
        })
    }

    /// Runs until whoever gives tasks is gone, and all are done.
    pub async fn run(mut self) {
        loop {
            let refresh_at = self.held.values().map(|held| held.refresh_at).min();
            tokio::select! {
                biased;
                task = self.driver.tasks.recv() => match task {
                    Some(task) => self.handle(task).await,
                    None => return,
                },
                () = sleep_until(refresh_at) => self.refresh().await,
            }
        }
    }

    async fn handle(&mut self, task: Task) {
        match task {
            Task::Look(interfaces) => {
                let seen = self.look(&interfaces).await;
                // Whoever asked is gone.
                let _ = self.driver.seen.send(seen);
            }
            Task::Hold(router, wanted) => self.hold(router, wanted).await,
            Task::Release(router) => {
                if let Some(held) = self.held.remove(&router) {
                    self.remove(held.given).await;
                }
            }
            Task::Announce(router, repeat) => self.announce(router, repeat),
            Task::Tell(change) => {
                // Nobody follows any more.
                let _ = self.changes.send(change);
            }
            Task::Finish(done) => {
                let _ = done.send(());
            }
        }
    }

    async fn look(&mut self, interfaces: &BTreeSet<String>) -> Option<Seen> {
        let links = match self.netlink.links().await {
            Ok(links) => links,
            Err(error) => {
                tracing::warn!("{error}; interfaces are taken to be as they were");
                return None;
            }
        };
        let mut addresses = HashMap::new();
        for link in links.iter().filter(|link| interfaces.contains(&link.name)) {
            match self.netlink.addresses(link.index).await {
                Ok(found) => drop(addresses.insert(link.index, found)),
                Err(error) => {
                    tracing::warn!("{error}; it is taken to have those that it had");
                    let known = self.present.remove(&link.index);
                    addresses.extend(known.map(|known| (link.index, known)));
                }
            }
        }
        self.present.clone_from(&addresses);
        self.clean(&links).await;
        // Somebody has taken it away: at once, for a client that asks for it now is to have an answer.
        for held in self.held.values_mut().filter(|held| held.wanted.is_missing_in(&addresses)) {
            held.refresh_at = now();
        }
        Some(Seen { links, addresses })
    }

    /// Removes what an earlier daemon has left: what is ours, and no router's.
    async fn clean(&self, links: &[Link]) {
        let held: BTreeSet<(u32, IpAddr)> = self.held.values().flat_map(Held::addresses).collect();
        for (index, present) in &self.present {
            // What expires is a killed daemon's, which answers until its successor does.
            let is_left = |address: &&Address| {
                address.is_ours && !address.is_limited && !held.contains(&(*index, address.address))
            };
            for left in present.iter().filter(is_left) {
                let link = links.iter().find(|link| link.index == *index);
                let (address, interface) = (left.address, link.map_or("", |link| link.name.as_str()));
                tracing::info!("removed {address} from {interface}: an earlier daemon left it");
                report(self.netlink.remove_address(*index, (address, left.prefix)).await);
            }
        }
    }

    /// Adds what is missing, and removes what is no longer wanted.
    async fn hold(&mut self, router: RouterId, wanted: Holding) {
        if let Some(begin) = self.begin.take() {
            begin();
        }
        let before = self.held.remove(&router);
        let (mut gone, quiet) = before.map(|held| (held.given, held.quiet)).unwrap_or_default();
        gone.retain(|(index, address)| *index != wanted.index || !wanted.addresses.contains(address));
        self.remove(gone).await;
        let mut held = Held { wanted, given: BTreeSet::new(), refresh_at: now(), quiet };
        self.give(&mut held).await;
        self.held.insert(router, held);
    }

    async fn refresh(&mut self) {
        let now = now();
        for (router, mut held) in std::mem::take(&mut self.held) {
            if held.refresh_at <= now {
                self.give(&mut held).await;
            }
            self.held.insert(router, held);
        }
    }

    /// Adds the addresses that are missing, and has all of them stay for a while.
    async fn give(&self, held: &mut Held) {
        held.refresh_at = now() + REFRESH;
        let Holding { name, index, lifetime, .. } = held.wanted.clone();
        held.given.clear();
        for address in held.wanted.addresses.clone() {
            // The owner's are there already, and stay.
            if self.is_own(index, address.address) {
                continue;
            }
            let (vip, prefix) = (address.address, address.prefix);
            match self.netlink.add_address(index, (vip, prefix), Lifetime::Limited(lifetime)).await {
                Ok(()) => drop(held.given.insert((index, address))),
                Err(error) if held.quiet.is_over(now()) => {
                    tracing::error!("{name}: it is master without {vip}: {error}");
                }
                Err(_) => {}
            }
        }
    }

    /// Removes what a router was given, unless another one has been given the same.
    async fn remove(&self, given: BTreeSet<(u32, InterfaceAddress)>) {
        for (index, gone) in given {
            if self.held.values().any(|held| held.given.contains(&(index, gone))) {
                continue;
            }
            report(self.netlink.remove_address(index, (gone.address, gone.prefix)).await);
        }
    }

    /// Whether the interface has an address that we did not give it.
    fn is_own(&self, index: u32, address: IpAddr) -> bool {
        let present = self.present.get(&index).map(Vec::as_slice).unwrap_or_default();
        present.iter().any(|present| present.address == address && !present.is_ours)
    }

    fn announce(&mut self, router: RouterId, repeat: u8) {
        let Some(held) = self.held.get(&router) else { return };
        let Holding { name, index, mac: Some(mac), addresses, .. } = &held.wanted else { return };
        let is_given = |address: &InterfaceAddress| held.given.contains(&(*index, *address));
        let is_here = |address: &&InterfaceAddress| is_given(address) || self.is_own(*index, address.address);
        let here: Vec<IpAddr> = addresses.iter().filter(is_here).map(|address| address.address).collect();
        for address in here.iter().cycle().take(here.len() * usize::from(repeat)) {
            let sent = announcement(*mac, *address).and_then(|frame| self.frames.send(*index, &frame));
            if let Err(error) = sent {
                tracing::warn!("{name}: announce {address}: {error}");
            }
        }
    }
}

impl Held {
    fn addresses(&self) -> impl Iterator<Item = (u32, IpAddr)> {
        self.given.iter().map(|(index, given)| (*index, given.address))
    }
}

fn report(result: Result<(), NetError>) {
    if let Err(error) = result {
        tracing::error!("{error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_somebody_took_away_is_missing() {
        let vips = ["192.0.2.240", "192.0.2.241"].map(|vip| vip.parse::<IpAddr>().unwrap());
        let holding = Holding {
            name: "VI_1".to_owned(),
            index: 2,
            mac: None,
            addresses: vips.map(|address| InterfaceAddress { address, prefix: 32 }).to_vec(),
            lifetime: REFRESH,
        };
        let on = |index: u32, addresses: &[IpAddr]| {
            // keepalived's, that is.
            let address = |address: &IpAddr| Address {
                address: *address,
                prefix: 24,
                is_ours: false,
                is_limited: false,
                is_of_host_scope: false,
            };
            HashMap::from([(index, addresses.iter().map(address).collect())])
        };
        assert!(!holding.is_missing_in(&on(2, &vips)), "whoever added them");
        assert!(holding.is_missing_in(&on(2, &vips[..1])));
        assert!(holding.is_missing_in(&on(2, &[])));
        assert!(!holding.is_missing_in(&on(3, &[])), "its interface was not looked at");
    }
}
