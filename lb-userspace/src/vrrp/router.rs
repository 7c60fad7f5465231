//! A virtual router on this machine: its machine, its sockets, and the addresses it has given an interface.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use super::machine::{Action, Link as LinkState, Machine, Parameters, Reason, State, Tracking};
use super::packet::{Advert, Cause, Version};
use super::socket::{Place, Sockets};
use super::status::{Counters, RouterStatus};
use super::track::{self, Verdict};
use super::{LEAST, timing};
use crate::config::{InterfaceAddress, VrrpInstance, VrrpVersion};
use crate::net::{Address, FrameSender, Lifetime, Link, Netlink, announcement};

/// How long a virtual address stays when nobody refreshes it, at least: a daemon that was killed stops answering for it.
const LIFETIME: Duration = Duration::from_secs(4);
/// How often it is refreshed.
pub(super) const REFRESH: Duration = Duration::from_secs(1);
/// How many messages are read before something else is looked at: more than the socket's buffer holds.
const AT_ONCE: usize = 4096;
/// How often the same complaint is written to the log.
const QUIET: Duration = Duration::from_secs(60);

/// One of `[[vrrp_instance]]`.
pub(super) struct Router {
    pub(super) config: VrrpInstance,
    pub(super) machine: Machine,
    sockets: Option<Sockets>,
    /// The interface, if there is one of its name.
    link: Option<Link>,
    /// The addresses that this director has given the interface with this index.
    held: BTreeSet<(u32, InterfaceAddress)>,
    refresh_at: Option<Instant>,
    verdicts: Vec<Verdict>,
    counters: Counters,
    /// The interface's addresses, as they were last seen.
    present: Vec<Address>,
    /// Whether the interface has another MAC, which nobody was told.
    has_moved: bool,
    /// Who else has the addresses, as a sentence.
    split: Option<String>,
    /// The state that was last told of.
    told: State,
    /// When the state was last another, by the wall clock.
    changed_at: SystemTime,
    complained: Vec<(Cause, Instant)>,
    failed_at: Option<Instant>,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Whether there may be more.
    pub(super) has_more: bool,
    /// Whether some of it was not listened to.
    pub(super) is_bogus: bool,
}

/// A change of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Of an instance.
    Instance {
        /// Its name.
        instance: String,
        /// What it was.
        before: State,
        /// What it is.
        after: State,
        /// Why.
        reason: Reason,
        /// The priority that it competes with.
        priority: u8,
    },
    /// Of all instances of a sync group.
    Group {
        /// Its name.
        group: String,
        /// What they are.
        state: State,
    },
    /// Somebody else has an instance's addresses, or nobody any more.
    Split {
        /// The instance.
        instance: String,
        /// Who, as a sentence.
        found: Option<String>,
    },
}

impl Router {
    pub(super) fn new(config: VrrpInstance, is_grouped: bool, times: (Instant, SystemTime)) -> Self {
        let (now, changed_at) = times;
        let machine = Machine::new(parameters(&config, is_grouped), now);
        let verdicts = vec![Verdict::default(); config.track_scripts.len()];
        Self {
            config,
            machine,
            sockets: None,
            link: None,
            held: BTreeSet::new(),
            refresh_at: None,
            verdicts,
            counters: Counters::default(),
            present: Vec::new(),
            has_moved: false,
            split: None,
            told: State::Init,
            changed_at,
            complained: Vec::new(),
            failed_at: None,
        }
    }

    /// Whether this is the same virtual router, perhaps configured otherwise.
    pub(super) fn is_same(&self, config: &VrrpInstance) -> bool {
        let key = |config: &VrrpInstance| {
            (config.name.clone(), config.interface.value.clone(), config.virtual_router_id, config.is_ipv6())
        };
        key(&self.config) == key(config)
    }

    pub(super) fn reconfigure(&mut self, config: VrrpInstance, is_grouped: bool, now: Instant) {
        if self.config.track_scripts != config.track_scripts {
            let old = std::mem::take(&mut self.verdicts);
            let known = |script| {
                let place = self.config.track_scripts.iter().position(|known| known == script)?;
                old.get(place).copied()
            };
            self.verdicts =
                config.track_scripts.iter().map(|script| known(script).unwrap_or_default()).collect();
        }
        self.config = config;
        self.machine.reconfigure(parameters(&self.config, is_grouped), now);
    }

    /// The index of its interface, if there is one of its name.
    pub(super) fn interface(&self, links: &[Link]) -> Option<u32> {
        links.iter().find(|link| link.name == *self.config.interface.value).map(|link| link.index)
    }

    /// Its interface's addresses are these.
    pub(super) fn set_addresses(&mut self, addresses: Vec<Address>) {
        self.present = addresses;
    }

    /// Looks how its interface and those it tracks are.
    pub(super) fn follow(&mut self, links: &[Link], now: Instant) {
        let found = links.iter().find(|link| link.name == *self.config.interface.value).cloned();
        let mac = |link: &Option<Link>| link.as_ref().and_then(|link| link.mac);
        self.has_moved |= self.link.is_some() && mac(&self.link) != mac(&found);
        self.link = found;
        let source = self.config.source_address;
        let source = source.or_else(|| first_address(&self.present, self.config.is_ipv6()));
        let is_up = self.link.as_ref().is_some_and(|link| link.is_running);
        let address = source.filter(|source| self.open(*source, now));
        self.machine.handle_link(LinkState { is_up, address }, now);
        self.track(links, now);
    }

    /// The sockets are there, and speak from this address.
    fn open(&mut self, source: IpAddr, now: Instant) -> bool {
        let Some(link) = &self.link else {
            self.sockets = None;
            return false;
        };
        let place = Place {
            interface: link.name.clone(),
            index: link.index,
            vrid: self.config.virtual_router_id,
            source,
            peers: self.config.unicast_peers.clone(),
        };
        if self.sockets.as_ref().is_some_and(|sockets| *sockets.place() == place) {
            return true;
        }
        match Sockets::open(place) {
            Ok(sockets) => self.sockets = Some(sockets),
            Err(error) => {
                self.sockets = None;
                let name = &self.config.name;
                let why = if error.kind() == io::ErrorKind::PermissionDenied {
                    "; it takes CAP_NET_RAW"
                } else {
                    ""
                };
                if self.failed_at.is_none_or(|at| now.duration_since(at) >= QUIET) {
                    tracing::error!(
                        "{name}: speak VRRP from {source} on {}: {error}{why}",
                        self.config.interface
                    );
                    self.failed_at = Some(now);
                }
            }
        }
        self.sockets.is_some()
    }

    fn track(&mut self, links: &[Link], now: Instant) {
        let is_down = |name: &&str| !links.iter().any(|link| link.name == *name && link.is_running);
        let interfaces = self.config.track_interfaces.iter().map(String::as_str);
        let down: Vec<&str> = interfaces.filter(is_down).collect();
        let scripts = self.config.track_scripts.iter().zip(self.verdicts.iter().copied());
        let tracking: Tracking = track::effect(scripts, &down);
        self.machine.handle_track(tracking, now);
    }

    /// A run of one of its scripts has ended.
    pub(super) fn script(&mut self, place: usize, has_succeeded: bool, links: &[Link], now: Instant) {
        if let (Some(script), Some(verdict)) =
            (self.config.track_scripts.get(place), self.verdicts.get_mut(place))
        {
            verdict.observe(script, has_succeeded);
            self.track(links, now);
        }
    }

    /// The sockets, to wait for.
    pub(super) fn sockets(&self) -> Option<&Sockets> {
        self.sockets.as_ref()
    }

    /// Reads what has come.
    pub(super) fn read(&mut self, now: Instant) -> Heard {
        let mut heard = Heard::default();
        let Some(sockets) = &mut self.sockets else { return heard };
        let own = sockets.place().source;
        let expected = self.machine.parameters().expectation(self.config.unicast_peers.clone());
        for _ in 0..AT_ONCE {
            let (message, envelope) = match sockets.receive() {
                Ok(Some(received)) => received,
                Ok(None) => return heard,
                Err(error) => {
                    tracing::debug!("{}: receive: {error}", self.config.name);
                    return heard;
                }
            };
            match Advert::decode(message, &envelope, &expected) {
                Ok(_) if envelope.source == own => {
                    self.counters.own += 1;
                    if self.failed_at.is_none_or(|at| now.duration_since(at) >= QUIET) {
                        tracing::warn!(
                            "{}: an advert comes from {own}, this director's own address: somebody else has it too, or the network loops",
                            self.config.name
                        );
                        self.failed_at = Some(now);
                    }
                }
                Ok(advert) => {
                    self.counters.received += 1;
                    self.machine.handle_advert(&advert, envelope.source, now);
                }
                Err(rejected) => {
                    heard.is_bogus = true;
                    let cause = rejected.cause();
                    self.counters.reject(cause);
                    let known = self.complained.iter_mut().find(|(known, _)| *known == cause);
                    let is_news = known.as_ref().is_none_or(|(_, at)| now.duration_since(*at) >= QUIET);
                    if is_news {
                        tracing::warn!(
                            "{}: an advert of {} is ignored: {rejected}",
                            self.config.name,
                            envelope.source
                        );
                        match known {
                            Some(known) => known.1 = now,
                            None => self.complained.push((cause, now)),
                        }
                    }
                }
            }
        }
        heard.has_more = true;
        heard
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.machine.poll_timeout(), self.refresh_at].into_iter().flatten().min()
    }

    /// Does what its machine says. Whoever follows is told of changes.
    pub(super) async fn act(&mut self, io: &mut Hands, now: Instant) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Send(advert) => self.send(&advert, now),
                Action::Become { state, reason } => self.enter(state, reason, io, now).await,
                Action::ReplaceAddresses => self.hold_addresses(&io.netlink, now).await,
                Action::Announce { repeat } => self.announce(repeat, &mut io.frames),
            }
        }
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.hold_addresses(&io.netlink, now).await;
        }
        if std::mem::take(&mut self.has_moved) && self.machine.state().has_addresses() {
            self.announce(1, &mut io.frames);
        }
    }

    async fn enter(&mut self, state: State, reason: Reason, io: &mut Hands, now: Instant) {
        let name = &self.config.name;
        let before = std::mem::replace(&mut self.told, state);
        self.changed_at = (io.wall_clock)();
        if state.has_addresses() {
            if state == State::Master {
                tracing::info!("{name} is master: {reason}");
            } else {
                tracing::info!(
                    "{name} is leaving: {reason}; its addresses stay until somebody has taken over"
                );
            }
            self.hold_addresses(&io.netlink, now).await;
        } else {
            if state == State::Fault {
                tracing::error!("{name} is in fault: {reason}");
            } else {
                tracing::info!("{name} is {state}: {reason}");
            }
            self.release_addresses(&io.netlink).await;
        }
        let priority = self.machine.effective_priority();
        let instance = self.config.name.clone();
        io.changes.push(Change::Instance { instance, before, after: state, reason, priority });
    }

    fn send(&mut self, advert: &Advert, now: Instant) {
        let Some(sockets) = &self.sockets else { return };
        for destination in sockets.destinations() {
            let message = advert.encode(sockets.place().source, destination);
            match sockets.send(&message, destination) {
                Ok(()) => self.counters.sent += 1,
                Err(error) => {
                    self.counters.not_sent += 1;
                    if self.failed_at.is_none_or(|at| now.duration_since(at) >= QUIET) {
                        tracing::error!("{}: send an advert to {destination}: {error}", self.config.name);
                        self.failed_at = Some(now);
                    }
                }
            }
        }
    }

    /// Adds the addresses that are missing, has all of them stay for a while, and removes those that are no longer
    /// configured.
    async fn hold_addresses(&mut self, netlink: &Netlink, now: Instant) {
        self.refresh_at = Some(now + REFRESH);
        let Some(index) = self.link.as_ref().map(|link| link.index) else { return };
        // The owner's are there already, and stay.
        let own = self.config.virtual_addresses.iter().filter(|address| !self.is_own(address.address));
        let wanted: BTreeSet<(u32, InterfaceAddress)> = own.map(|address| (index, *address)).collect();
        for (index, gone) in self.held.difference(&wanted) {
            report(netlink.remove_address(*index, (gone.address, gone.prefix)).await);
        }
        let lifetime = self.lifetime();
        self.held.clear();
        for (index, address) in wanted {
            let (vip, prefix) = (address.address, address.prefix);
            match netlink.add_address(index, (vip, prefix), Lifetime::Limited(lifetime)).await {
                Ok(()) => drop(self.held.insert((index, address))),
                Err(error) => self.complain(&format!("it is master without {vip}: {error}"), now),
            }
        }
    }

    /// Whether the interface has an address that we did not give it.
    fn is_own(&self, address: IpAddr) -> bool {
        self.present.iter().any(|present| present.address == address && !present.is_ours)
    }

    /// Writes what is wrong with the machine to the log, but not all the time.
    fn complain(&mut self, what: &str, now: Instant) {
        if self.failed_at.is_none_or(|at| now.duration_since(at) >= QUIET) {
            tracing::error!("{}: {what}", self.config.name);
            self.failed_at = Some(now);
        }
    }

    /// Until any backup has taken over: somebody answers for the addresses all the time.
    fn lifetime(&self) -> Duration {
        let parameters = self.machine.parameters();
        let taken_over = timing::master_down(parameters.version, LEAST, parameters.interval);
        LIFETIME.max(taken_over + REFRESH)
    }

    async fn release_addresses(&mut self, netlink: &Netlink) {
        self.refresh_at = None;
        for (index, gone) in std::mem::take(&mut self.held) {
            report(netlink.remove_address(index, (gone.address, gone.prefix)).await);
        }
    }

    /// Whether somebody else has the addresses; what there is to tell of it.
    pub(super) fn set_split(&mut self, found: Option<String>) -> Option<Change> {
        if found.is_some() == self.split.is_some() {
            return None;
        }
        let instance = self.config.name.clone();
        match &found {
            Some(found) => tracing::error!("{instance}: SPLIT BRAIN: {found}"),
            None => tracing::info!("{instance}: nobody else has its addresses any more"),
        }
        self.split.clone_from(&found);
        Some(Change::Split { instance, found })
    }

    /// What it has given interfaces.
    pub(super) fn held(&self) -> impl Iterator<Item = (u32, IpAddr)> {
        self.held.iter().map(|(index, held)| (*index, held.address))
    }

    /// Removes what an earlier daemon has left on its interface: what is ours, and no router's.
    pub(super) async fn clean(&self, held: &BTreeSet<(u32, IpAddr)>, netlink: &Netlink) {
        let Some(index) = self.link.as_ref().map(|link| link.index) else { return };
        // What expires is a killed daemon's, which answers until its successor does.
        let is_left = |address: &&Address| {
            address.is_ours && !address.is_limited && !held.contains(&(index, address.address))
        };
        for left in self.present.iter().filter(is_left) {
            let (address, interface) = (left.address, &self.config.interface);
            tracing::info!("removed {address} from {interface}: an earlier daemon left it");
            report(netlink.remove_address(index, (address, left.prefix)).await);
        }
    }

    fn announce(&self, repeat: u8, frames: &mut FrameSender) {
        let Some(Link { index, mac: Some(mac), .. }) = &self.link else { return };
        let addresses = self.config.virtual_addresses.iter().map(|address| address.address);
        let is_here =
            |address: &IpAddr| self.is_own(*address) || self.held().any(|(_, held)| held == *address);
        let here: Vec<IpAddr> = addresses.filter(is_here).collect();
        for _ in 0..repeat {
            for address in &here {
                let sent = announcement(*mac, *address).and_then(|frame| frames.send(*index, &frame));
                if let Err(error) = sent {
                    tracing::warn!("{}: announce {address}: {error}", self.config.name);
                }
            }
        }
    }

    /// Whether it could speak, but for its sockets.
    pub(super) fn lacks_sockets(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_running) && self.sockets.is_none()
    }

    pub(super) fn status(&self, group: Option<&str>) -> RouterStatus {
        let status = self.machine.status();
        RouterStatus {
            config: self.config.clone(),
            group: group.map(str::to_owned),
            source: self.sockets.as_ref().map(|sockets| sockets.place().source),
            status,
            changed_at: self.changed_at,
            counters: self.counters.clone(),
            split: self.split.clone(),
            scripts: self.verdicts.iter().map(|verdict| verdict.is_up).collect(),
        }
    }
}

/// What routers act with.
pub(super) struct Hands {
    pub(super) netlink: Netlink,
    pub(super) frames: FrameSender,
    /// What has changed, until somebody is told.
    pub(super) changes: Vec<Change>,
    pub(super) wall_clock: fn() -> SystemTime,
}

fn report<E: std::fmt::Display>(result: Result<(), E>) {
    if let Err(error) = result {
        tracing::error!("{error}");
    }
}

/// Where adverts come from if the configuration does not say: of IPv6, the link-local address (RFC 9568, section 5.1.2.1).
fn first_address(addresses: &[Address], is_ipv6: bool) -> Option<IpAddr> {
    let is_usable = |address: &&Address| match address.address {
        IpAddr::V4(_) => !is_ipv6,
        IpAddr::V6(address) => is_ipv6 && address.is_unicast_link_local(),
    };
    addresses.iter().filter(|address| !address.is_ours).find(is_usable).map(|address| address.address)
}

fn parameters(config: &VrrpInstance, is_grouped: bool) -> Parameters {
    Parameters {
        interface: config.interface.value.clone(),
        version: config.version.into(),
        vrid: config.virtual_router_id,
        priority: config.priority,
        interval: config.advert_interval,
        addresses: config.virtual_addresses.iter().map(|address| address.address).collect(),
        authentication: config.password.map(|password| password.0),
        preempt: config.preempt,
        preempt_delay: config.preempt_delay,
        is_grouped,
    }
}

impl From<VrrpVersion> for Version {
    fn from(version: VrrpVersion) -> Self {
        match version {
            VrrpVersion::V2 => Self::V2,
            VrrpVersion::V3 => Self::V3,
        }
    }
}
