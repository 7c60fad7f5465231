//! A backup: what it has heard, and how long it waits.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Master, Parameters, Reason};
use crate::vrrp::packet::{Advert, Version};
use crate::vrrp::timing;

/// A backup.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    /// When the last advert came that it listens to, or when it began to wait.
    heard_at: Instant,
    /// Version 3: how often the master sends one.
    interval: Option<Duration>,
    /// When the master said that it stops, and who that is.
    released: Option<(Instant, IpAddr)>,
    /// The master of a lower priority that it does not listen to.
    ignored: Option<Master>,
    /// When it stops listening to a master of a lower priority.
    preempts_at: Option<Instant>,
    /// Why it wants to be master, in a sync group.
    pub(super) claimed: Option<Reason>,
}

impl Waiting {
    /// A backup that has heard nothing yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard_at: now,
            interval: None,
            released: None,
            ignored: None,
            preempts_at: None,
            claimed: None,
        }
    }

    /// A backup that has just been deposed.
    pub(super) fn after(advert: &Advert, now: Instant) -> Self {
        Self { interval: learned(advert), ..Self::new(now) }
    }

    /// When it has waited long enough for a backup of this priority.
    pub(super) fn deadline(&self, parameters: &Parameters, priority: u8) -> Instant {
        let interval = self.interval.unwrap_or(parameters.interval);
        let silent = self.heard_at + timing::master_down(parameters.version, priority, interval);
        match self.released {
            Some((at, _)) => silent.min(at + timing::skew(parameters.version, priority, interval)),
            None => silent,
        }
    }

    /// Why it is master, when it has waited long enough.
    pub(super) fn reason(&self, priority: u8, now: Instant) -> Reason {
        match (self.released, self.ignored) {
            (Some((_, by)), _) => Reason::Released { by },
            (None, Some(master)) => Reason::Lower { master, ours: priority },
            (None, None) => Reason::NoAdvert { waited: now.saturating_duration_since(self.heard_at) },
        }
    }

    /// The master stops. The first to say so counts: a wait that has begun is not made longer.
    pub(super) fn release(&mut self, by: IpAddr, now: Instant) {
        self.released.get_or_insert((now, by));
    }

    /// Whether it listens to a master of this priority; if so, waits anew.
    ///
    /// As keepalived's `vrrp_state_backup` (keepalived/vrrp/vrrp.c): a delay begins with the first advert of a lower priority, and ends
    /// with one that is not lower.
    pub(super) fn hear(&mut self, advert: &Advert, from: Master, competitor: Competitor, now: Instant) {
        let is_lower = competitor.preempts && advert.priority < competitor.priority;
        if is_lower && now >= *self.preempts_at.get_or_insert(now + competitor.delay) {
            self.ignored = Some(from);
            return;
        }
        if !is_lower {
            self.preempts_at = None;
        }
        self.heard_at = now;
        self.interval = learned(advert);
        (self.released, self.ignored, self.claimed) = (None, None, None);
    }

    /// It wants to be master, and waits for its sync group.
    pub(super) fn claim(&mut self, reason: Reason, now: Instant) {
        self.claimed = Some(reason);
        self.heard_at = now;
        self.released = None;
    }

    /// What the master's adverts said belongs to another version.
    pub(super) fn forget_interval(&mut self) {
        self.interval = None;
    }
}

/// What a backup compares a master with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Competitor {
    /// Its own priority.
    pub(super) priority: u8,
    /// Whether it takes over from a lower one.
    pub(super) preempts: bool,
    /// How long it hears a lower one before.
    pub(super) delay: Duration,
}

/// Version 3: a backup waits as long as the master's interval makes it (RFC 9568, section 6.4.2).
fn learned(advert: &Advert) -> Option<Duration> {
    (advert.version == Version::V3).then_some(advert.interval)
}
