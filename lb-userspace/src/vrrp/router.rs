//! A virtual router on this machine: its machine, and its sockets.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use super::clock::wall_clock;
use super::holder::{Holding, REFRESH, RouterId, Task, ToHolder};
use super::machine::{Action, Link as LinkState, Machine, Parameters, Reason, State, Tracking};
use super::packet::{Advert, Cause, Version};
use super::quiet::Quiet;
use super::socket::{Place, Sockets};
use super::status::{Counters, RouterStatus};
use super::track::{self, Verdict};
use super::{LEAST, timing};
use crate::config::{VrrpInstance, VrrpVersion};
use crate::net::{Address, Link};

/// How long a virtual address stays when nobody refreshes it, at least: a daemon that was killed stops answering for it.
const LIFETIME: Duration = Duration::from_secs(4);
/// How many messages are read before something else is looked at: more than the socket's buffer holds.
const AT_ONCE: usize = 4096;

/// One of `[[vrrp_instance]]`.
pub(super) struct Router {
    pub(super) id: RouterId,
    /// Whether its interface was looked at: until then nobody knows how that is.
    is_seen: bool,
    pub(super) config: VrrpInstance,
    pub(super) machine: Machine,
    sockets: Option<Sockets>,
    /// The interface, if there is one of its name.
    link: Option<Link>,
    verdicts: Vec<Verdict>,
    counters: Counters,
    /// The interface's addresses, as they were last seen.
    present: Vec<Address>,
    /// Whether the interface is another, or has another MAC, or something is different that its machine does not tell of.
    has_moved: bool,
    /// Who else has the addresses, as a sentence.
    split: Option<String>,
    /// The state that was last told of.
    told: State,
    /// When the state was last another, by the wall clock.
    changed_at: SystemTime,
    quiet: Complaints,
}

/// What was last complained about, and when.
#[derive(Clone, Copy, Debug, Default)]
struct Complaints {
    sockets: Quiet,
    sending: Quiet,
    own: Quiet,
    rejected: [Quiet; Cause::ALL.len()],
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
    pub(super) fn new(id: RouterId, config: VrrpInstance, is_grouped: bool, now: Instant) -> Self {
        let machine = Machine::new(parameters(&config, is_grouped), now);
        let verdicts = vec![Verdict::default(); config.track_scripts.len()];
        Self {
            id,
            is_seen: false,
            config,
            machine,
            sockets: None,
            link: None,
            verdicts,
            counters: Counters::default(),
            present: Vec::new(),
            has_moved: false,
            split: None,
            told: State::Init,
            changed_at: wall_clock(),
            quiet: Complaints::default(),
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
        // Its machine knows nothing of those.
        self.has_moved |= self.config.excluded_addresses != config.excluded_addresses;
        self.config = config;
        let lifetime = self.lifetime();
        self.machine.reconfigure(parameters(&self.config, is_grouped), now);
        // The addresses stay as long as that from here on.
        self.has_moved |= self.lifetime() != lifetime;
    }

    /// Its interface, if there is one of its name.
    pub(super) fn interface<'a>(&self, links: &'a [Link]) -> Option<&'a Link> {
        links.iter().find(|link| link.name == *self.config.interface.value)
    }

    /// Its interface was looked at, if there is one, and has these addresses, if they could be found.
    pub(super) fn see(&mut self, addresses: Option<&Vec<Address>>) {
        self.is_seen = true;
        if let Some(addresses) = addresses {
            self.present.clone_from(addresses);
        }
    }

    /// Looks how its interface and those it tracks are.
    pub(super) fn follow(&mut self, links: &[Link], now: Instant) {
        if !self.is_seen {
            return;
        }
        let found = self.interface(links).cloned();
        let place = |link: &Option<Link>| link.as_ref().map(|link| (link.index, link.mac));
        self.has_moved |= self.link.is_some() && place(&self.link) != place(&found);
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
                if self.quiet.sockets.is_over(now) {
                    tracing::error!(
                        "{name}: speak VRRP from {source} on {}: {error}{why}",
                        self.config.interface
                    );
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
                    if self.quiet.own.is_over(now) {
                        tracing::warn!(
                            "{}: an advert comes from {own}, this director's own address: somebody else has it too, or the network loops",
                            self.config.name
                        );
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
                    if self.quiet.rejected[cause as usize].is_over(now) {
                        let (name, source) = (&self.config.name, envelope.source);
                        tracing::warn!("{name}: an advert of {source} is ignored: {rejected}");
                    }
                }
            }
        }
        heard.has_more = true;
        heard
    }

    /// Does what its machine says. Whoever holds addresses is told what is to be done about them.
    pub(super) fn act(&mut self, holder: &ToHolder, now: Instant) {
        let tell = |task| holder.give(task);
        let has_moved = std::mem::take(&mut self.has_moved) && self.machine.state().has_addresses();
        if has_moved {
            self.holding().into_iter().for_each(&tell);
            tell(Task::Announce(self.id, 1));
        }
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Send(advert) => self.send(&advert, now),
                Action::Become { state, reason } => {
                    let is_held = state.has_addresses();
                    let addresses = if is_held { self.holding() } else { Some(Task::Release(self.id)) };
                    addresses.into_iter().for_each(&tell);
                    tell(Task::Tell(self.enter(state, &reason)));
                }
                Action::ReplaceAddresses => self.holding().into_iter().for_each(&tell),
                Action::Announce { repeat } => tell(Task::Announce(self.id, repeat)),
            }
        }
    }

    /// It is in another state; what there is to tell of it.
    fn enter(&mut self, state: State, reason: &Reason) -> Change {
        let name = &self.config.name;
        let before = std::mem::replace(&mut self.told, state);
        self.changed_at = wall_clock();
        match state {
            State::Master => tracing::info!("{name} is master: {reason}"),
            State::Leaving => tracing::info!(
                "{name} is leaving: {reason}; its addresses stay until somebody has taken over"
            ),
            State::Fault => tracing::error!("{name} is in fault: {reason}"),
            State::Init | State::Backup | State::Stopped => tracing::info!("{name} is {state}: {reason}"),
        }
        Change::Instance {
            instance: name.clone(),
            before,
            after: state,
            reason: reason.clone(),
            priority: self.machine.effective_priority(),
        }
    }

    fn send(&mut self, advert: &Advert, now: Instant) {
        let Some(sockets) = &self.sockets else { return };
        for destination in sockets.destinations() {
            let message = advert.encode(sockets.place().source, destination);
            match sockets.send(&message, destination) {
                Ok(()) => self.counters.sent += 1,
                Err(error) => {
                    self.counters.not_sent += 1;
                    if self.quiet.sending.is_over(now) {
                        tracing::error!("{}: send an advert to {destination}: {error}", self.config.name);
                    }
                }
            }
        }
    }

    /// Has its interface have its addresses, if there is one.
    fn holding(&self) -> Option<Task> {
        let link = self.link.as_ref()?;
        let holding = Holding {
            name: self.config.name.clone(),
            index: link.index,
            mac: link.mac,
            addresses: self.config.addresses().collect(),
            lifetime: self.lifetime(),
        };
        Some(Task::Hold(self.id, holding))
    }

    /// Until any backup has taken over: somebody answers for the addresses all the time.
    fn lifetime(&self) -> Duration {
        let parameters = self.machine.parameters();
        let taken_over = timing::master_down(parameters.version, LEAST, parameters.interval);
        LIFETIME.max(taken_over + REFRESH)
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
