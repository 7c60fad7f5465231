//! When a real server is up, and when it is down: from the results of its probes, one after another. Pure.
//!
//! ```text
//!             rise successes in a row
//!   unknown ──────────────────────────> up <──────┐ rise successes in a row
//!      │                                │         │
//!      │ a failure and `retries` more   │ same    │
//!      └──────────> down <──────────────┘         │
//!                    └────────────────────────────┘
//! ```
//!
//! A machine that has flipped more often than [`Flap`] allows is down until the hold is over, whatever its probes say.

use std::collections::VecDeque;
use std::time::Instant;

use crate::config::{Flap, HealthCheck};

/// What is known of a real server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Too little: no check has decided yet.
    #[default]
    Unknown,
    /// It is well.
    Up,
    /// It is not.
    Down,
}

/// What a result changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It is up.
    Up,
    /// It is down.
    Down,
    /// It flips too often, and is down for a while.
    Held,
}

/// How many results in a row decide, and how often they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Successes before it is up; at least 1.
    pub rise: u32,
    /// Failures before it is down; at least 1.
    pub fall: u32,
    /// What flipping too often leads to.
    pub flap: Option<Flap>,
}

impl From<&HealthCheck> for Rules {
    /// The first failure and its retries.
    fn from(check: &HealthCheck) -> Self {
        Self { rise: check.rise, fall: check.retries.saturating_add(1), flap: check.flap }
    }
}

/// The state of one check.
#[derive(Clone, Debug)]
pub struct Machine {
    rules: Rules,
    state: State,
    /// The last result, and how many there were of it in a row.
    last: Option<(bool, u32)>,
    /// When it flipped, at most as often as it may.
    flips: VecDeque<Instant>,
    held_until: Option<Instant>,
}

impl Machine {
    /// A machine that begins in a state: unknown, or what an earlier daemon knew.
    #[must_use]
    pub fn new(rules: Rules, state: State) -> Self {
        Self { rules, state, last: None, flips: VecDeque::new(), held_until: None }
    }

    /// What is known.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Until when it is down because it flipped too often.
    #[must_use]
    pub fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// Whether the last probe failed, and further ones have to show whether it is down.
    #[must_use]
    pub fn is_retrying(&self) -> bool {
        matches!(self.last, Some((false, _))) && self.state != State::Down
    }

    /// How many results like the last there were in a row.
    #[must_use]
    pub fn in_a_row(&self) -> u32 {
        self.last.map_or(0, |(_, count)| count)
    }

    /// Takes the result of a probe that ended `now`.
    pub fn observe(&mut self, is_good: bool, now: Instant) -> Option<Transition> {
        let count = match self.last {
            Some((last, count)) if last == is_good => count.saturating_add(1),
            _ => 1,
        };
        self.last = Some((is_good, count));
        if self.held_until.is_some_and(|until| now < until) {
            return None;
        }
        self.held_until = None;
        let (needed, state) =
            if is_good { (self.rules.rise, State::Up) } else { (self.rules.fall, State::Down) };
        if count < needed || state == self.state {
            return None;
        }
        let before = std::mem::replace(&mut self.state, state);
        if before != State::Unknown && self.flips_too_often(now) {
            self.state = State::Down;
            return Some(Transition::Held);
        }
        Some(if is_good { Transition::Up } else { Transition::Down })
    }

    /// Counts a flip. One too many begins a hold, and the count anew.
    fn flips_too_often(&mut self, now: Instant) -> bool {
        let Some(flap) = self.rules.flap else { return false };
        self.flips.retain(|flip| now.saturating_duration_since(*flip) < flap.within);
        if self.flips.len() < flap.changes as usize {
            self.flips.push_back(now);
            return false;
        }
        self.flips.clear();
        self.held_until = now.checked_add(flap.hold);
        true
    }
}

#[cfg(test)]
mod tests;
