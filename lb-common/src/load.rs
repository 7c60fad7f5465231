//! How many connections each destination has.
//!
//! Whoever changes an entry of a connection table by a compare-and-swap accounts for it here ([`account`]); losers of a
//! swap do not. So the counts are exact whatever CPUs and the daemon do at once, unless the daemon is killed between
//! the two; the sweeper mends that.

use crate::Word;
use crate::connection::{Meta, State};
use crate::limits::MAX_CONNECTIONS;

/// One element of the map of loads.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Load {
    /// A [`Reading`]: in one word, so that a connection changes from active to inactive at once.
    counts: Word,
    /// [`Thresholds`]; and whether the upper one was reached.
    thresholds: Word,
}

const _: () = assert!(size_of::<Load>() == 16, "four in a cache line");

/// Connections of a destination, as IPVS counts them (`net/netfilter/ipvs/ip_vs_conn.c`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// TCP connections that are being opened or are open.
    pub active: u32,
    /// The others that are still remembered, and all of UDP.
    pub inactive: u32,
}

impl Counts {
    /// Both.
    #[inline(always)]
    #[must_use]
    pub const fn total(self) -> u64 {
        self.active as u64 + self.inactive as u64
    }

    /// The sum, each by itself; negative ones wrap.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        let (active, inactive) =
            (self.active.wrapping_add(other.active), self.inactive.wrapping_add(other.inactive));
        Self { active, inactive }
    }

    /// What an entry counts as.
    #[inline(always)]
    #[must_use]
    pub const fn of(meta: Meta) -> Self {
        Reading(share(meta)).counts()
    }
}

/// The counts of a destination at a moment, and how often they had changed, of which the lowest eight bits are kept:
/// one connection that was closed and one that was opened since do not go unnoticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading(u64);

impl Reading {
    // From the lowest bit: inactive, active, changes.
    const ACTIVE_SHIFT: u32 = 28;
    const CHANGES_SHIFT: u32 = 56;
    const COUNT_MASK: u64 = (1 << Self::ACTIVE_SHIFT) - 1;

    /// The connections.
    #[inline(always)]
    #[must_use]
    pub const fn counts(self) -> Counts {
        let active = self.0 >> Self::ACTIVE_SHIFT & Self::COUNT_MASK;
        Counts { active: active as u32, inactive: (self.0 & Self::COUNT_MASK) as u32 }
    }

    /// 256 for each active connection, 1 for each inactive one (`ip_vs_dest_conn_overhead`).
    #[inline(always)]
    pub(crate) const fn overhead(self) -> u64 {
        const ACTIVE_TO_256: u32 = Reading::ACTIVE_SHIFT - 8;
        (self.0 >> ACTIVE_TO_256 & Self::COUNT_MASK << 8) + (self.0 & Self::COUNT_MASK)
    }

    /// What is read when all that happened since is that `entry` was freed.
    #[must_use]
    pub const fn without(self, entry: Meta) -> Self {
        match share(entry) {
            0 => self,
            share => self.plus(share.wrapping_neg()),
        }
    }

    /// The same after a change; negative counts borrow from what is above them.
    #[inline(always)]
    const fn plus(self, shares: u64) -> Self {
        Self(self.0.wrapping_add(Self::change(shares)))
    }

    /// What is added to the word.
    #[inline(always)]
    const fn change(shares: u64) -> u64 {
        shares.wrapping_add(1 << Self::CHANGES_SHIFT)
    }

    /// Whether a count is below zero: another CPU has yet to account for a connection that is gone already.
    #[inline(always)]
    const fn is_ahead(self) -> bool {
        const SIGNS: u64 = 1 << (Reading::ACTIVE_SHIFT - 1) | 1 << (Reading::CHANGES_SHIFT - 1);
        self.0 & SIGNS != 0
    }
}

const _: () =
    assert!((MAX_CONNECTIONS as u64) < Reading::COUNT_MASK / 2, "no count looks like one below zero");

/// When a destination gets no more connections, and when it gets some again (`ip_vs_bind_dest`, `ip_vs_unbind_dest`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// From so many connections on it gets none; 0: never.
    pub upper: u32,
    /// Below so many it gets some again; 0: below three quarters of `upper`.
    pub lower: u32,
}

impl Thresholds {
    /// The most that either may be.
    pub const MAX: u32 = (1 << 31) - 1;
    const OVERLOADED: u64 = 1 << 63;

    /// As one word; both are cut to 31 bits.
    #[must_use]
    pub const fn word(self) -> u64 {
        (self.upper as u64 & Self::MAX as u64) << 32 | self.lower as u64 & Self::MAX as u64
    }

    #[inline(always)]
    const fn from_word(word: u64) -> Self {
        Self { upper: (word >> 32) as u32 & Self::MAX, lower: word as u32 }
    }

    /// Whether a destination is overloaded that was (or was not) before and has `total` connections now.
    #[inline(always)]
    const fn judge(self, was_overloaded: bool, total: u64) -> bool {
        let upper = self.upper as u64;
        if upper != 0 && total >= upper {
            return true;
        }
        // `ip_vs_unbind_dest`.
        let is_over = if self.lower != 0 { total < self.lower as u64 } else { total * 4 < upper * 3 };
        was_overloaded && upper != 0 && !is_over
    }
}

impl Load {
    /// The connections.
    #[inline(always)]
    pub fn counts(&self) -> Counts {
        self.read().counts()
    }

    /// The connections, and how often they changed.
    #[inline(always)]
    pub fn read(&self) -> Reading {
        Reading(self.counts.load())
    }

    /// Whether the destination gets no connections because it has too many.
    #[inline(always)]
    pub fn is_overloaded(&self) -> bool {
        self.thresholds.load() & Thresholds::OVERLOADED != 0
    }

    /// A word whose highest bit says whether [`is_overloaded`](Self::is_overloaded).
    #[inline(always)]
    pub(crate) fn overloaded(&self) -> u64 {
        self.thresholds.load()
    }

    /// Adds shares of entries to both counts at once.
    #[inline(always)]
    fn add(&self, shares: u64) {
        let before = Reading(self.counts.fetch_add(Reading::change(shares)));
        let thresholds = self.thresholds.load();
        if thresholds != 0 {
            self.judge(thresholds, before.plus(shares));
        }
    }

    #[inline(always)]
    fn judge(&self, thresholds: u64, now: Reading) {
        // Who is behind judges. Until then too few would look like too many.
        if now.is_ahead() {
            return;
        }
        let counts = now.counts();
        let was_overloaded = thresholds & Thresholds::OVERLOADED != 0;
        let is_overloaded = Thresholds::from_word(thresholds).judge(was_overloaded, counts.total());
        if is_overloaded != was_overloaded {
            // Lost to another CPU: it judged as well, and so does whoever counts next.
            self.thresholds.compare_exchange(thresholds, thresholds ^ Thresholds::OVERLOADED);
        }
    }
}

#[cfg(not(target_arch = "bpf"))]
impl Load {
    /// What the thresholds are.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds::from_word(self.thresholds.load())
    }

    /// Sets the thresholds, and judges by them.
    pub fn set_thresholds(&self, thresholds: Thresholds) {
        let is_overloaded = thresholds.judge(self.is_overloaded(), self.counts().total());
        let mark = if is_overloaded { Thresholds::OVERLOADED } else { 0 };
        self.thresholds.store(thresholds.word() | mark);
    }

    /// Forgets everything: the record is to be another destination's.
    pub fn reset(&self) {
        self.counts.store(0);
        self.thresholds.store(0);
    }

    /// Replaces the counts unless they changed since `before`; says whether it did.
    pub fn correct(&self, before: Reading, right: Counts) -> bool {
        let wrong = before.counts();
        let difference = (u64::from(right.active).wrapping_sub(wrong.active.into()) << Reading::ACTIVE_SHIFT)
            .wrapping_add(u64::from(right.inactive).wrapping_sub(wrong.inactive.into()));
        let now = before.plus(difference);
        let replaced = self.counts.compare_exchange(before.0, now.0);
        if replaced {
            self.judge(self.thresholds.load(), now);
        }
        replaced
    }
}

/// States whose connections are active: one bit for each state's number.
const ACTIVE: u16 = states(true);
/// States whose connections are inactive. Those that have just one packet to wait for are neither.
const INACTIVE: u16 = states(false);

const fn states(active: bool) -> u16 {
    let mut bits = 0;
    let mut i = 0;
    while i < State::ALL.len() {
        let state = State::ALL[i];
        if state.counts() && state.is_active() == active {
            bits |= 1 << state as u32;
        }
        i += 1;
    }
    bits
}

/// What an entry adds to the word of the counts; nothing unless it holds a flow.
#[inline(always)]
const fn share(meta: Meta) -> u64 {
    let state = meta.state();
    let active = (ACTIVE >> state) as u64 & 1;
    let inactive = (INACTIVE >> state) as u64 & 1;
    if meta.is_valid() { active << Reading::ACTIVE_SHIFT | inactive } else { 0 }
}

/// Accounts for an entry that was `before` and is `after` now. Either may hold no flow.
#[inline(always)]
pub fn account<'a>(loads: impl Fn(u32) -> Option<&'a Load>, before: Meta, after: Meta) {
    let (taken, given) = (share(before), share(after));
    if before.destination() == after.destination() {
        if taken != given
            && let Some(load) = loads(after.destination())
        {
            load.add(given.wrapping_sub(taken));
        }
        return;
    }
    if taken != 0
        && let Some(load) = loads(before.destination())
    {
        load.add(taken.wrapping_neg());
    }
    if given != 0
        && let Some(load) = loads(after.destination())
    {
        load.add(given);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    extern crate std;

    use proptest::prelude::*;

    use super::*;

    fn valid(destination: u32, state: State) -> Meta {
        Meta::from_word(Meta::new(destination, state, 7).word() | 1 << 63)
    }

    #[test]
    fn a_connection_that_closes_is_inactive_and_then_gone() {
        let loads = [Load::default(), Load::default()];
        let of = |number: u32| loads.get(number as usize);
        let free = Meta::from_word(0);
        account(of, free, valid(1, State::SynRecv));
        account(of, valid(1, State::SynRecv), valid(1, State::Established));
        assert_eq!(loads[1].counts(), Counts { active: 1, inactive: 0 });
        account(of, valid(1, State::Established), valid(1, State::FinWait));
        assert_eq!(loads[1].counts(), Counts { active: 0, inactive: 1 });
        account(of, valid(1, State::FinWait), valid(0, State::SynRecv));
        assert_eq!(loads[1].counts(), Counts::default());
        assert_eq!(loads[0].counts(), Counts { active: 1, inactive: 0 });
        account(of, valid(0, State::SynRecv), valid(0, State::None));
        assert_eq!(loads[0].counts(), Counts::default(), "it is about to be counted in the other table");
        account(of, free, valid(0, State::Udp));
        assert_eq!(loads[0].counts(), Counts { active: 0, inactive: 1 });
        account(of, free, valid(9, State::Udp));
    }

    /// `ip_vs_bind_dest` and `ip_vs_unbind_dest`, one connection at a time.
    #[test]
    fn thresholds_have_a_hysteresis() {
        let load = Load::default();
        load.set_thresholds(Thresholds { upper: 4, lower: 2 });
        let mut overloaded = std::vec::Vec::new();
        for change in [1, 1, 1, 1, -1, -1, -1, 1i64] {
            load.add(change.cast_unsigned());
            overloaded.push(load.is_overloaded());
        }
        assert_eq!(overloaded, [false, false, false, true, true, true, false, false]);
        load.set_thresholds(Thresholds { upper: 2, lower: 0 });
        assert!(load.is_overloaded(), "there are two");
        load.set_thresholds(Thresholds::default());
        assert!(!load.is_overloaded());
    }

    /// A CPU that frees a connection before the one that opened it has accounted for that.
    #[test]
    fn less_than_nothing_is_not_too_many() {
        let load = Load::default();
        load.set_thresholds(Thresholds { upper: 100, lower: 50 });
        (0..90).for_each(|_| account(|_| Some(&load), Meta::from_word(0), valid(1, State::FinWait)));
        let (open, closed) = (valid(1, State::Established), valid(1, State::FinWait));
        account(|_| Some(&load), open, closed);
        assert!(!load.is_overloaded());
        account(|_| Some(&load), Meta::from_word(0), open);
        assert_eq!((load.counts(), load.is_overloaded()), (Counts { active: 0, inactive: 91 }, false));
        account(|_| Some(&load), closed, Meta::from_word(0));
        assert_eq!((load.counts().total(), load.is_overloaded()), (90, false));
    }

    /// More than a table has room for.
    const COUNTS: u32 = 1 << 27;

    proptest! {
        #[test]
        fn words_hold_what_they_are_made_of(upper in 0..=Thresholds::MAX, lower in 0..=Thresholds::MAX) {
            let thresholds = Thresholds { upper, lower };
            prop_assert_eq!(Thresholds::from_word(thresholds.word()), thresholds);
        }

        /// Whatever is wrong, and the other way round.
        #[test]
        fn counts_are_corrected_unless_they_changed(
            wrong in (0..COUNTS, 0..COUNTS), right in (0..COUNTS, 0..COUNTS), changes: u8
        ) {
            let [wrong, right] = [wrong, right].map(|(active, inactive)| Counts { active, inactive });
            let load = Load::default();
            for _ in 0..changes {
                load.add(0);
            }
            let begun = load.read();
            prop_assert!(load.correct(begun, wrong));
            let seen = load.read();
            prop_assert_eq!(seen.counts(), wrong);
            prop_assert!(!load.correct(begun, right));
            prop_assert!(load.correct(seen, right));
            prop_assert_eq!(load.counts(), right);
            let moved = load.read();
            account(|_| Some(&load), valid(1, State::Established), valid(1, State::FinWait));
            account(|_| Some(&load), valid(1, State::FinWait), valid(1, State::Established));
            prop_assert_eq!(load.counts(), right);
            prop_assert!(!load.correct(moved, wrong), "as many as before, and not the same");
            prop_assert_eq!(load.counts(), right);
        }
    }
}
