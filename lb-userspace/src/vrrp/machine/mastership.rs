//! A master: when it sends adverts, and when it announces its addresses.

use std::time::{Duration, Instant};

/// How long after it became master, or after an advert of a lower priority, addresses are announced again: keepalived's
/// `VRRP_GARP_DELAY` (include/vrrp.h).
const AGAIN: Duration = Duration::from_secs(5);
/// How far apart announcements are that adverts of lower priorities lead to: there may be hundreds of those in a second.
const APART: Duration = Duration::from_secs(1);

/// A master.
#[derive(Clone, Debug)]
pub(super) struct Mastership {
    next_advert: Instant,
    announced_at: Instant,
    /// When addresses are announced because of a lower priority that was heard soon after an announcement.
    soon: Option<Instant>,
    /// When they are announced once more.
    again: Option<Instant>,
}

impl Mastership {
    /// A master that has just sent its first advert and announced its addresses.
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self { next_advert: now + interval, announced_at: now, soon: None, again: Some(now + AGAIN) }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Instant {
        [self.soon, self.again].into_iter().flatten().fold(self.next_advert, Instant::min)
    }

    /// Whether an advert is due; if so, the next is an interval later.
    pub(super) fn take_advert(&mut self, interval: Duration, now: Instant) -> bool {
        if now < self.next_advert {
            return false;
        }
        let next = self.next_advert + interval;
        // Whoever comes late does not catch up.
        self.next_advert = if next <= now { now + interval } else { next };
        true
    }

    /// Whether addresses are to be announced now.
    pub(super) fn take_announcement(&mut self, now: Instant) -> bool {
        let is_due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        let (soon, again) = (is_due(&mut self.soon), is_due(&mut self.again));
        if soon || again {
            self.announced_at = now;
        }
        soon || again
    }

    /// An advert was sent out of turn.
    pub(super) fn sent(&mut self, interval: Duration, now: Instant) {
        self.next_advert = now + interval;
    }

    /// Addresses were announced, and will be once more.
    pub(super) fn announced(&mut self, now: Instant) {
        (self.announced_at, self.soon, self.again) = (now, None, Some(now + AGAIN));
    }

    /// A lower priority was heard: whether to announce addresses at once. If not, they soon will be.
    pub(super) fn contested(&mut self, now: Instant) -> bool {
        let next = self.announced_at + APART;
        if now < next {
            (self.soon, self.again) = (Some(next), Some(now + AGAIN));
            return false;
        }
        self.announced(now);
        true
    }
}
