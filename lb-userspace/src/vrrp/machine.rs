//! One virtual router: when it is master, and what there is to do about it. Pure; time comes in as an argument.
//!
//! ```text
//!             link and tracking known      no advert, released, a lower master
//!      Init ───────────────────────────> Backup ──────────────────────────────> Master
//!        │                                │  ^ ^        a higher advert           │ │
//!        │ fault                    fault │  │ └──────────────────────────────────┘ │ shutdown: priority 0
//!        └──────────────> Fault <─────────┘  │ well again                           v
//!                           └────────────────┘               Stopped <────────── Leaving
//!                                                                   a successor, or nobody in time
//! ```
//!
//! The owner of the addresses (priority 255) is master instead of backup wherever nobody is. In a sync group
//! ([`Group`](super::Group)) a backup only wants to be master, and the group says when it is.
//!
//! Whoever drives it hands over what arrived before it calls [`Machine::handle_timeout`]: a director that was stopped for a
//! while finds adverts in its socket that say that its master is well.

mod election;
mod mastership;
mod parameters;
mod state;
mod waiting;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use mastership::Mastership;
pub use parameters::{Link, Parameters, Tracking};
pub use state::{Fault, Master, Reason, State, Status, Transitions};
use waiting::Waiting;

use super::packet::Advert;
use super::{LEAST, OWNER, RELEASE, timing};

/// How often addresses are announced at a time, as keepalived does (`VRRP_GARP_REP` of include/vrrp.h).
const ANNOUNCEMENTS: u8 = 5;

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send it to the group, or to every peer.
    Send(Advert),
    /// The state is another.
    ///
    /// Master: the virtual addresses are added, before the [`Announce`](Self::Announce) that follows. Backup, Fault and Stopped:
    /// they are removed, if they are there, and announcements still to be sent are forgotten; Backup and Fault come
    /// when it starts, too. Leaving: they stay. See [`State::has_addresses`].
    Become {
        /// The new state.
        state: State,
        /// Why.
        reason: Reason,
    },
    /// The virtual addresses of a master are others: add those that are new, remove those that are gone.
    ReplaceAddresses,
    /// Tell the segment who has the virtual addresses (gratuitous ARP, unsolicited neighbour advertisements), so many times.
    Announce {
        /// How often each address.
        repeat: u8,
    },
}

/// One virtual router.
#[derive(Clone, Debug)]
pub struct Machine {
    parameters: Parameters,
    /// `None`: not known yet.
    link: Option<Link>,
    tracking: Tracking,
    /// Which member of the sync group is in fault.
    group_fault: Option<String>,
    is_held: bool,
    role: Role,
    since: Instant,
    reason: Reason,
    transitions: Transitions,
    /// The last master that was heard.
    master: Option<Master>,
    actions: VecDeque<Action>,
}

/// The state, with what belongs to it only.
#[derive(Clone, Debug)]
enum Role {
    Init,
    Backup(Waiting),
    Master(Mastership),
    Fault,
    Leaving { until: Instant },
    Stopped,
}

impl Machine {
    /// A virtual router in [`State::Init`], which it leaves when [`handle_link`](Self::handle_link) says how its link is.
    ///
    /// If scripts have to run first, [`handle_track`](Self::handle_track) says so before.
    #[must_use]
    pub fn new(parameters: Parameters, now: Instant) -> Self {
        Self {
            parameters,
            link: None,
            tracking: Tracking::default(),
            group_fault: None,
            is_held: false,
            role: Role::Init,
            since: now,
            reason: Reason::Started,
            transitions: Transitions::default(),
            master: None,
            actions: VecDeque::new(),
        }
    }

    /// An advert came, as [`Advert::decode`] has found it good.
    ///
    /// One from our own address is ignored: it is our own, or somebody else has the address, which is worth a line in the log.
    pub fn handle_advert(&mut self, advert: &Advert, from: IpAddr, now: Instant) {
        if self.address() == Some(from) {
            return;
        }
        let sender = Master { address: from, priority: advert.priority };
        match &self.role {
            // keepalived ignores adverts in these, too (`vrrp_dispatcher_read` of keepalived/vrrp/vrrp_scheduler.c).
            Role::Init | Role::Fault | Role::Stopped => {}
            Role::Backup(_) => self.handle_advert_as_backup(advert, sender, now),
            Role::Master(_) => self.handle_advert_as_master(advert, sender, now),
            Role::Leaving { .. } if advert.priority == RELEASE => {}
            Role::Leaving { .. } => {
                self.master = Some(sender);
                self.enter(Role::Stopped, Reason::Succeeded { by: sender }, now);
            }
        }
    }

    /// Time has passed: does what is due. Adverts that have arrived are handed over first.
    pub fn handle_timeout(&mut self, now: Instant) {
        let priority = self.effective_priority();
        match &mut self.role {
            Role::Init | Role::Fault | Role::Stopped => {}
            Role::Backup(waiting) => {
                if waiting.deadline(&self.parameters, priority) <= now {
                    let reason = waiting.reason(priority, now);
                    self.claim(reason, now);
                }
            }
            Role::Master(mastership) => {
                let is_due = mastership.take_advert(self.parameters.interval, now);
                let announces = mastership.take_announcement(now);
                if is_due {
                    self.send(priority);
                }
                if announces {
                    self.announce();
                }
            }
            Role::Leaving { until } => {
                if *until <= now {
                    let waited = now.saturating_duration_since(self.since);
                    self.enter(Role::Stopped, Reason::NoSuccessor { waited }, now);
                }
            }
        }
    }

    /// How the link is, and which address adverts are sent from.
    pub fn handle_link(&mut self, link: Link, now: Instant) {
        self.link = Some(link);
        self.reconsider(now);
    }

    /// What the tracked scripts and interfaces say.
    ///
    /// A weight takes effect at once: as master with the next advert, as backup on how long it waits.
    pub fn handle_track(&mut self, tracking: Tracking, now: Instant) {
        self.tracking = tracking;
        self.reconsider(now);
    }

    /// While it is held it competes with the least priority (1), whatever is configured: it becomes master only
    /// if nobody else is there, and gives way to everybody. For a director that does not have the connections yet.
    pub fn handle_hold(&mut self, is_held: bool, now: Instant) {
        self.is_held = is_held;
        if !is_held && self.is_owner() && self.state() == State::Backup {
            self.claim(Reason::Owner, now);
        }
    }

    /// The daemon ends, or the virtual router is configured no more.
    ///
    /// A master says so (priority 0), and keeps its addresses until a successor is heard, or until even the backup of
    /// the least priority would have taken over: [`State::Leaving`]. Everybody else stops at once; so does a master when
    /// this is called again.
    pub fn handle_shutdown(&mut self, now: Instant) {
        match self.role {
            Role::Master(_) => {
                self.send(RELEASE);
                // Of the least priority: if the advert is lost, it is not known who waits.
                let wait = timing::master_down(self.parameters.version, LEAST, self.parameters.interval);
                self.enter(Role::Leaving { until: now + wait }, Reason::Shutdown, now);
            }
            Role::Stopped => {}
            _ => self.enter(Role::Stopped, Reason::Shutdown, now),
        }
    }

    /// The configuration is another. The state stays, and so does what was heard.
    ///
    /// A master says what is new at once, and announces addresses that are. Another interface, family or `vrid` is another
    /// virtual router: that needs a new machine, as in keepalived (`vrrp_exist` of keepalived/vrrp/vrrp.c).
    pub fn reconfigure(&mut self, parameters: Parameters, now: Instant) {
        if parameters == self.parameters {
            return;
        }
        let before = std::mem::replace(&mut self.parameters, parameters);
        let has_other_addresses = before.addresses != self.parameters.addresses;
        match &mut self.role {
            Role::Backup(waiting) if before.version != self.parameters.version => waiting.forget_interval(),
            Role::Master(mastership) => {
                mastership.sent(self.parameters.interval, now);
                if has_other_addresses {
                    mastership.announced(now);
                }
                self.send(self.effective_priority());
                if has_other_addresses {
                    self.actions.push_back(Action::ReplaceAddresses);
                    self.announce();
                }
            }
            _ => {}
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do; any event may change it.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.role {
            Role::Init | Role::Fault | Role::Stopped => None,
            Role::Backup(waiting) => Some(waiting.deadline(&self.parameters, self.effective_priority())),
            Role::Master(mastership) => Some(mastership.deadline()),
            Role::Leaving { until } => Some(*until),
        }
    }

    /// What is to be done next; asked until there is nothing, after every event.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The configuration.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        self.role.state()
    }

    /// The priority that it competes with: the configured one with the weights of what is tracked, 1 to 254; or 255,
    /// which nothing changes; or 1 while it is held.
    #[must_use]
    pub fn effective_priority(&self) -> u8 {
        if self.is_held {
            return LEAST;
        }
        if self.is_owner() {
            return OWNER;
        }
        // keepalived: `vrrp_set_effective_priority` of keepalived/vrrp/vrrp_track.c.
        let sum = i32::from(self.parameters.priority).saturating_add(self.tracking.weight);
        u8::try_from(sum.clamp(i32::from(LEAST), i32::from(OWNER - 1))).unwrap_or(LEAST)
    }

    /// What there is to know of it.
    #[must_use]
    pub fn status(&self) -> Status {
        let priority = self.effective_priority();
        let ourselves = || self.address().map(|address| Master { address, priority });
        Status {
            state: self.state(),
            since: self.since,
            reason: self.reason.clone(),
            priority,
            is_held: self.is_held,
            master: if self.state() == State::Master { ourselves() } else { self.master },
            transitions: self.transitions,
        }
    }

    /// What is wrong with it, apart from the others of its sync group.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        let link = self.link?;
        if !link.is_up {
            return Some(Fault::Link(self.parameters.interface.clone()));
        }
        if link.address.is_none() {
            return Some(Fault::NoAddress(self.parameters.interface.clone()));
        }
        self.tracking.fault.clone().map(Fault::Tracked)
    }

    /// Whether it would be master, if the others of its sync group would.
    #[must_use]
    pub fn wants_master(&self) -> bool {
        matches!(&self.role, Role::Backup(waiting) if waiting.claimed.is_some())
    }

    /// The sync group has decided: the backup that [wants to be](Self::wants_master) is master.
    pub fn force_master(&mut self, now: Instant) {
        if let Role::Backup(waiting) = &self.role
            && let Some(reason) = waiting.claimed.clone()
        {
            self.become_master(reason, now);
        }
    }

    /// The sync group has decided: the master is backup, because a member is. No advert says so, as in keepalived
    /// (`vrrp_sync_backup` of keepalived/vrrp/vrrp_sync.c): whoever made the member backup is master of the whole group.
    pub fn force_backup(&mut self, member: &str, now: Instant) {
        if matches!(self.role, Role::Master(_)) {
            self.enter(Role::Backup(Waiting::new(now)), Reason::MemberBackup(member.into()), now);
        }
    }

    /// A member of the sync group is in fault, or none is.
    pub fn force_fault(&mut self, member: Option<&str>, now: Instant) {
        if self.group_fault.as_deref() != member {
            self.group_fault = member.map(Into::into);
            self.reconsider(now);
        }
    }
}

impl Role {
    const fn state(&self) -> State {
        match self {
            Self::Init => State::Init,
            Self::Backup(_) => State::Backup,
            Self::Master(_) => State::Master,
            Self::Fault => State::Fault,
            Self::Leaving { .. } => State::Leaving,
            Self::Stopped => State::Stopped,
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
