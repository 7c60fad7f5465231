//! Walks over a slot table, for what one look at one slot does not tell: the server with the least load, or the next
//! one that is not overloaded.
//!
//! A walk goes step by step; one that compares all servers, [`STRIDE`] of them at a time. In the kernel it is for
//! `bpf_loop`, so that the verifier sees one step only.

use super::{NO_DESTINATION, Selector, Slot};
use crate::load::{Counts, Load};

/// How many slots are looked at together.
pub const STRIDE: u32 = 16;

/// A walk: what is looked for, and the best that was found so far.
///
/// Without padding, so that a pointer to one can be given to a function that the verifier checks by itself.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Search {
    first: u32,
    /// How many slots there are.
    pub length: u32,
    /// The slot to begin with.
    start: u32,
    aim: u32,
    /// The best server's number, or [`NO_DESTINATION`].
    best: u32,
    /// How many overloaded servers were passed over.
    passed: u32,
    /// Whether a server has less than half the connections that its weight stands for (`is_overloaded` of
    /// `net/netfilter/ipvs/ip_vs_lblc.c`).
    has_spare: u32,
    unused: u32,
    price: Price,
    /// The best server's cost is `cost / divisor`.
    cost: u64,
    divisor: u64,
    sum: u64,
    /// What is left of two random numbers up to the sum of the weights.
    left: [u64; 2],
}

// What is looked for.
/// The first server that is not overloaded.
const ANY: u32 = 0;
/// The one with the least cost.
const LEAST: u32 = 1;
/// The same, where a cost is `ip_vs_dest_conn_overhead`: lc, wlc.
const LEAST_OVERHEAD: u32 = 4;
/// The same, and whether any has room to spare: lblc, lblcr.
const LEAST_OVERHEAD_AND_SPARE: u32 = 5;
/// The sum of weights.
const SUM: u32 = 2;
/// The servers that random numbers fall on.
const PICKS: u32 = 3;

/// `left` of a number that has had its pick.
const DONE: u64 = 1 << 63;
/// More than any server's cost by any weight.
const DEAREST: u64 = 1 << 40;

/// How a scheduler makes a cost of connections.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Price {
    /// For each active connection.
    active: u64,
    /// For each inactive one.
    inactive: u64,
    /// For the new one.
    new: u64,
    /// All bits, if a cost is divided by the weight.
    by_weight: u64,
    /// All bits, if a server without active connections costs nothing.
    idle_is_free: u64,
    /// All bits, if a server with more active connections than its weight has too many.
    has_limit: u64,
}

/// All bits, if this is so.
const YES: u64 = u64::MAX;

impl Price {
    const NONE: Self = Self { active: 0, inactive: 0, new: 0, by_weight: 0, idle_is_free: 0, has_limit: 0 };

    /// `net/netfilter/ipvs/ip_vs_lc.c`, `_wlc.c`, `_sed.c`, `_nq.c`, `_fo.c`, `_ovf.c`.
    #[inline(always)]
    const fn of(selector: Selector) -> Self {
        // `ip_vs_dest_conn_overhead`.
        let overhead = Self { active: 256, inactive: 1, ..Self::NONE };
        let delay = Self { active: 1, new: 1, by_weight: YES, ..Self::NONE };
        let heaviest = Self { new: 1, by_weight: YES, ..Self::NONE };
        match selector {
            Selector::LeastConnection => overhead,
            Selector::ShortestExpectedDelay => delay,
            // The first idle server costs nothing, and nobody costs less.
            Selector::NeverQueue => Self { idle_is_free: YES, ..delay },
            Selector::WeightedFailover => heaviest,
            Selector::WeightedOverflow => Self { has_limit: YES, ..heaviest },
            _ => Self { by_weight: YES, ..overhead },
        }
    }

    /// What a server's connections cost, to be divided by the second number.
    #[inline(always)]
    fn of_server(&self, counts: Counts, weight: u64) -> (u64, u64) {
        let active = counts.active as u64;
        let cost = active * self.active + counts.inactive as u64 * self.inactive + self.new;
        let is_free = is_less(active, 1) & self.idle_is_free;
        (cost & !is_free, weight & self.by_weight | 1 & !self.by_weight)
    }
}

/// All bits if `one` is less than `other`, else none. Both are below 2^63.
///
/// Without a branch: the verifier would follow both ways from each server of a list (6.18: "the sequence of 8193 jumps is
/// too complex").
#[inline(always)]
fn is_less(one: u64, other: u64) -> u64 {
    spread_sign(one.wrapping_sub(other))
}

#[cfg(not(target_arch = "bpf"))]
fn spread_sign(difference: u64) -> u64 {
    (difference.cast_signed() >> 63).cast_unsigned()
}

/// The same, of which the compiler makes no branch.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn spread_sign(mut difference: u64) -> u64 {
    // SAFETY: an arithmetic shift of one register.
    unsafe {
        core::arch::asm!("{0} s>>= 63", inout(reg) difference, options(pure, nomem, nostack, preserves_flags));
    }
    difference
}

/// What a walk found, in one word: what a function of a BPF program can return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found(u64);

crate::one_word!(Found, u64);

impl Found {
    /// No server.
    pub const NOTHING: Self = Self(NO_DESTINATION as u64);
    const PASSED_SHIFT: u32 = 32;
    const HAS_SPARE: u64 = 1 << 63;

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
    /// For nothing.
    pub const NONE: Self = Self::of(ANY, Price::NONE, 0, 0);

    /// What was found.
    #[inline(always)]
    #[must_use]
    pub const fn found(&self) -> Found {
        let passed = (self.passed as u64) << Found::PASSED_SHIFT;
        Found((self.has_spare as u64) << 63 | passed | self.best as u64)
    }

    #[inline(always)]
    const fn of(aim: u32, price: Price, first: u32, length: u32) -> Self {
        Self {
            first,
            length,
            start: 0,
            aim,
            best: NO_DESTINATION,
            passed: 0,
            has_spare: 0,
            unused: 0,
            price,
            cost: DEAREST,
            divisor: 1,
            sum: 0,
            left: [DONE; 2],
        }
    }

    /// For the server that `selector` prefers, among `length` slots from `first`. Of two random picks the walk finds the
    /// sum of weights first; then [`draw`](Self::draw) and walk again.
    #[inline(always)]
    #[must_use]
    pub const fn best(selector: Selector, first: u32, length: u32) -> Self {
        let aim = match selector {
            Selector::TwoChoices => SUM,
            Selector::LeastConnection | Selector::WeightedLeastConnection => LEAST_OVERHEAD,
            Selector::Locality | Selector::ReplicatedLocality => LEAST_OVERHEAD_AND_SPARE,
            _ => LEAST,
        };
        Self::of(aim, Price::of(selector), first, length)
    }

    /// For the next server that is not overloaded, from the slot `start` on and round again.
    #[inline(always)]
    #[must_use]
    pub const fn next(first: u32, length: u32, start: u32) -> Self {
        Self { start, ..Self::of(ANY, Price::NONE, first, length) }
    }

    /// Goes on for the better of two servers: those which two random numbers fall on (`ip_vs_twos_schedule`).
    #[inline(always)]
    pub fn draw(&mut self, random: [u32; 2]) {
        let below = self.sum + 1;
        self.left = random.map(|random| (u64::from(random) * below) >> 32);
        self.aim = PICKS;
    }

    /// How many steps the walk has at most, and whether they are [strides](Self::stride).
    #[inline(always)]
    #[must_use]
    pub const fn steps(&self) -> (u32, bool) {
        if matches!(self.aim, LEAST | LEAST_OVERHEAD | LEAST_OVERHEAD_AND_SPARE) {
            (self.length.div_ceil(STRIDE), true)
        } else {
            (self.length, false)
        }
    }

    /// Looks at the `i`th slot from the first on. Whether to go on.
    #[inline(always)]
    pub fn step<'a>(
        &mut self,
        i: u32,
        slots: impl Fn(u32) -> Option<Slot>,
        loads: impl Fn(u32) -> Option<&'a Load>,
    ) -> bool {
        let Some(slot) = slots(self.slot(i)) else { return false };
        if slot.is_overloaded(&loads) {
            self.passed += 1;
            return true;
        }
        if self.aim == ANY {
            self.best = slot.destination();
            return false;
        }
        let weight = u64::from(slot.weight());
        if self.aim == SUM {
            self.sum += weight;
            return true;
        }
        let is_picked = self.pick(0, weight) | self.pick(1, weight);
        if is_picked && let Some(load) = loads(slot.destination()) {
            let (cost, divisor) = self.price.of_server(load.counts(), weight);
            if self.cost * divisor > cost * self.divisor {
                (self.best, self.cost, self.divisor) = (slot.destination(), cost, divisor);
            }
        }
        true
    }

    /// Looks at [`STRIDE`] slots, the `i`th so many, for the server with the least cost: the first of several, for IPVS
    /// compares with `>`. Whether to go on.
    #[inline(always)]
    pub fn stride<'a>(
        &mut self,
        i: u32,
        slots: impl Fn(u32) -> Option<Slot>,
        loads: impl Fn(u32) -> Option<&'a Load>,
    ) -> bool {
        match self.aim {
            LEAST_OVERHEAD => return self.stride_by_overhead::<false>(i, slots, loads),
            LEAST_OVERHEAD_AND_SPARE => return self.stride_by_overhead::<true>(i, slots, loads),
            _ => {}
        }
        // What these have in common: inactive connections cost nothing, and all costs are divided by weights.
        let Price { active: each, new, idle_is_free, has_limit, .. } = self.price;
        let (mut best, mut cost, mut divisor) = (u64::from(self.best), self.cost, self.divisor);
        let mut is_over = false;
        let from = i.wrapping_mul(STRIDE);
        for i in (0..STRIDE).map(|i| from.wrapping_add(i)) {
            if i >= self.length {
                is_over = true;
                break;
            }
            let Some(slot) = slots(self.first + i) else { break };
            let Some(load) = loads(slot.destination()) else { break };
            let (weight, active) = (u64::from(slot.weight()), u64::from(load.counts().active));
            let takes_none = spread_sign(load.overloaded()) | is_less(weight, active) & has_limit;
            let its_cost = (active * each + new) & !(is_less(active, 1) & idle_is_free);
            // Both products are below 2^57.
            let is_better = is_less(its_cost * divisor, cost * weight) & !takes_none;
            best ^= (best ^ u64::from(slot.destination())) & is_better;
            cost ^= (cost ^ its_cost) & is_better;
            divisor ^= (divisor ^ weight) & is_better;
        }
        (self.best, self.cost, self.divisor) = (best as u32, cost, divisor);
        !is_over
    }

    /// The same by `ip_vs_dest_conn_overhead`; with `SPARE` also whether a server has room to spare.
    #[inline(always)]
    fn stride_by_overhead<'a, const SPARE: bool>(
        &mut self,
        i: u32,
        slots: impl Fn(u32) -> Option<Slot>,
        loads: impl Fn(u32) -> Option<&'a Load>,
    ) -> bool {
        let (mut best, mut cost, mut divisor) = (u64::from(self.best), self.cost, self.divisor);
        let (by_weight, mut has_spare) = (self.price.by_weight, u64::from(self.has_spare));
        let mut is_over = false;
        let from = i.wrapping_mul(STRIDE);
        for i in (0..STRIDE).map(|i| from.wrapping_add(i)) {
            if i >= self.length {
                is_over = true;
                break;
            }
            let Some(slot) = slots(self.first + i) else { break };
            let Some(load) = loads(slot.destination()) else { break };
            let its_divisor = u64::from(slot.weight()) & by_weight | 1 & !by_weight;
            let (reading, takes_none) = (load.read(), spread_sign(load.overloaded()));
            let its_cost = reading.overhead();
            if SPARE {
                has_spare |= is_less(u64::from(reading.counts().active) * 2, its_divisor) & !takes_none & 1;
            }
            let is_better = is_less(its_cost * divisor, cost * its_divisor) & !takes_none;
            best ^= (best ^ u64::from(slot.destination())) & is_better;
            cost ^= (cost ^ its_cost) & is_better;
            divisor ^= (divisor ^ its_divisor) & is_better;
        }
        (self.best, self.cost, self.divisor, self.has_spare) = (best as u32, cost, divisor, has_spare as u32);
        !is_over
    }

    /// The index in the slot map of the `i`th slot from the first that is looked at; `i` is below
    /// [`length`](Self::length).
    #[inline(always)]
    const fn slot(&self, i: u32) -> u32 {
        let position = self.start + i;
        self.first + if position >= self.length { position - self.length } else { position }
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
}

#[cfg(all(test, not(loom)))]
mod tests;
