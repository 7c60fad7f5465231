//! Walks over a slot table, for what one look at one slot does not tell: the server with the least load, or the next
//! one that is not overloaded.
//!
//! In the kernel `bpf_loop` takes the steps, so that the verifier sees one of them, however long the list.

use super::{NO_DESTINATION, Selector, Slot};
use crate::load::{Counts, Load};

/// A walk: what is looked for, and the best that was found so far.
///
/// Without padding, so that a pointer to one can be given to a function that the verifier checks by itself.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The first slot's index in the slot map.
    first: u32,
    /// How many slots there are.
    pub length: u32,
    /// The slot to begin with.
    start: u32,
    aim: u32,
    /// The best server's number, or [`NO_DESTINATION`].
    best: u32,
    /// How many servers were passed over.
    passed: u32,
    /// Whether a server has less than half the connections that its weight stands for (`is_overloaded` of
    /// `net/netfilter/ipvs/ip_vs_lblc.c`).
    has_spare: u32,
    unused: u32,
    /// The best server's cost is `cost / weight`.
    cost: u64,
    weight: u64,
    sum: u64,
    /// What is left of two random numbers up to the sum of the weights.
    left: [u64; 2],
}

// Aims beside the numbers of selectors.
/// The first server that is not overloaded.
const ANY: u32 = 0;
/// The sum of weights.
const SUM: u32 = 100;

/// `left` of a number that has had its pick.
const DONE: u64 = 1 << 63;

/// What a walk found, in one word: what a function of a BPF program can return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found(u64);

impl Found {
    /// No server.
    pub const NOTHING: Self = Self(NO_DESTINATION as u64);
    const PASSED_SHIFT: u32 = 32;
    const HAS_SPARE: u64 = 1 << 63;

    /// From the word.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The best server's number, or [`NO_DESTINATION`].
    #[inline(always)]
    #[must_use]
    pub const fn destination(self) -> u32 {
        self.0 as u32
    }

    /// How many overloaded servers were passed over.
    #[inline(always)]
    #[must_use]
    pub const fn passed(self) -> u32 {
        (self.0 >> Self::PASSED_SHIFT) as u32 & u32::MAX >> 1
    }

    /// Whether a server has less than half the connections that its weight stands for.
    #[inline(always)]
    #[must_use]
    pub const fn has_spare(self) -> bool {
        self.0 & Self::HAS_SPARE != 0
    }
}

impl Search {
    /// What was found.
    #[inline(always)]
    #[must_use]
    pub const fn found(&self) -> Found {
        let passed = (self.passed as u64) << Found::PASSED_SHIFT;
        Found((self.has_spare as u64) << 63 | passed | self.best as u64)
    }

    #[inline(always)]
    const fn of(aim: u32, first: u32, length: u32) -> Self {
        Self {
            first,
            length,
            start: 0,
            aim,
            best: NO_DESTINATION,
            passed: 0,
            has_spare: 0,
            unused: 0,
            cost: 0,
            weight: 0,
            sum: 0,
            left: [DONE; 2],
        }
    }

    /// For the server that `selector` prefers, among `length` slots from `first`.
    #[inline(always)]
    #[must_use]
    pub const fn best(selector: Selector, first: u32, length: u32) -> Self {
        let aim = match selector {
            // What they do when they know nothing better.
            Selector::Locality | Selector::ReplicatedLocality => Selector::WeightedLeastConnection as u32,
            // Its picks have yet to be drawn.
            Selector::TwoChoices => SUM,
            _ => selector as u32,
        };
        Self::of(aim, first, length)
    }

    /// For the next server that is not overloaded, from the slot `start` on and round again.
    #[inline(always)]
    #[must_use]
    pub const fn next(first: u32, length: u32, start: u32) -> Self {
        Self { start, ..Self::of(ANY, first, length) }
    }

    /// For the better of two servers: those which two random numbers fall on (`ip_vs_twos_schedule`). To be called
    /// after a walk of [`best`](Self::best).
    #[inline(always)]
    #[must_use]
    pub const fn of_two(self, random: [u32; 2]) -> Self {
        let below = self.sum + 1;
        let left = [(random[0] as u64 * below) >> 32, (random[1] as u64 * below) >> 32];
        Self { left, ..Self::of(Selector::TwoChoices as u32, self.first, self.length) }
    }

    /// The index in the slot map of the slot to look at in step `i`, which is below [`length`](Self::length).
    #[inline(always)]
    #[must_use]
    pub const fn slot(&self, i: u32) -> u32 {
        let position = self.start + i;
        self.first + if position >= self.length { position - self.length } else { position }
    }

    /// Looks at a server, whose connections are `load`. Whether to go on.
    #[inline(always)]
    pub fn step(&mut self, slot: Slot, load: &Load) -> bool {
        if load.is_overloaded() {
            self.passed += 1;
            return true;
        }
        if self.aim == ANY {
            self.best = slot.destination();
            return false;
        }
        let weight = u64::from(slot.weight());
        if weight == 0 {
            return true;
        }
        let counts = load.counts();
        let active = u64::from(counts.active);
        if self.aim == SUM {
            self.sum += weight;
            return true;
        }
        if active * 2 < weight {
            self.has_spare = 1;
        }
        if self.aim == Selector::TwoChoices as u32 {
            let picked = self.pick(0, weight) | self.pick(1, weight);
            if picked {
                self.consider(slot.destination(), overhead(counts), weight);
            }
        } else if self.aim == Selector::LeastConnection as u32 {
            self.consider(slot.destination(), overhead(counts), 1);
        } else if self.aim == Selector::WeightedLeastConnection as u32 {
            self.consider(slot.destination(), overhead(counts), weight);
        } else if self.aim == Selector::ShortestExpectedDelay as u32 {
            self.consider(slot.destination(), active + 1, weight);
        } else if self.aim == Selector::NeverQueue as u32 {
            // The first idle server costs nothing, and nobody costs less.
            self.consider(slot.destination(), if active == 0 { 0 } else { active + 1 }, weight);
        } else if self.aim == Selector::WeightedFailover as u32 || active <= weight {
            // The heaviest: fo, and ovf among those that are not full (`ip_vs_ovf_schedule`).
            self.consider(slot.destination(), 1, weight);
        }
        true
    }

    /// Whether the random number `i` falls on a server of this weight.
    #[inline(always)]
    fn pick(&mut self, i: usize, weight: u64) -> bool {
        if self.left[i] == DONE {
            return false;
        }
        let falls = self.left[i] <= weight;
        self.left[i] = if falls { DONE } else { self.left[i] - weight };
        falls
    }

    /// The first of the least costly stays: IPVS compares with a strict `>`.
    #[inline(always)]
    fn consider(&mut self, destination: u32, cost: u64, weight: u64) {
        if self.best == NO_DESTINATION || self.cost * weight > cost * self.weight {
            self.best = destination;
            self.cost = cost;
            self.weight = weight;
        }
    }
}

/// A server's connections as lc and wlc weigh them (`ip_vs_dest_conn_overhead`).
#[inline(always)]
const fn overhead(counts: Counts) -> u64 {
    ((counts.active as u64) << 8) + counts.inactive as u64
}

#[cfg(all(test, not(loom)))]
mod tests;
