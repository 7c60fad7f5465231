//! Two and three directors on a network that loses, delays and splits, while they crash, freeze, stop and start.
//!
//! Every schedule is made of a seed. It begins with a storm, then everything heals, and then there has to be exactly one
//! master within the time that the least of them waits, and two intervals. At every moment the virtual addresses are where a
//! master is, and nowhere else.
//!
//! `LB_VRRP_SIMULATION_SEED=SEED cargo test -p lb-userspace --lib simulation -- --nocapture` repeats one and tells it.

mod network;

use std::time::Duration;

use network::{Directors, Rules};

use super::*;
use crate::vrrp::packet::Version;

/// Repeats one schedule.
const SEED: &str = "LB_VRRP_SIMULATION_SEED";
/// How many there are of three directors, and how many of two.
const SCHEDULES: [(usize, u64); 2] = [(2, 4000), (3, 10_000)];
/// How many things happen in a storm, at most.
const MISHAPS: u64 = 25;

/// Numbers that look random, made of a seed (Vigna's SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.roll(100) < chance
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.roll(choices.len() as u64)).expect("few")]
    }

    /// A part of a time, in thousandths.
    fn within(&mut self, time: Duration) -> Duration {
        time * u32::try_from(self.roll(1000)).expect("a thousandth") / 1000
    }
}

fn rules(dice: &mut Dice) -> Rules {
    let version = dice.of(&[Version::V2, Version::V3]);
    let (interval, haste) = match version {
        Version::V2 => (dice.of(&[1, 1, 2]) * Duration::from_secs(1), 1),
        Version::V3 => (dice.of(&[1, 10, 100, 300]) * Duration::from_millis(10), dice.of(&[1, 1, 2, 5, 10])),
    };
    // What no advert can say is not told to others.
    let haste = if interval < Duration::from_secs(1) { 1 } else { haste };
    Rules { version, interval, haste, preempt: dice.percent(60), is_patient: dice.percent(10) }
}

/// Who competes with what: now and then two with the same, now and then an owner.
fn priorities(count: usize, dice: &mut Dice) -> Vec<u8> {
    (0..count).map(|_| dice.of(&[1, 90, 100, 100, 150, 200, 254, OWNER])).collect()
}

/// Something goes wrong, or right again.
fn mishap(directors: &mut Directors, dice: &mut Dice) {
    let count = directors.len();
    let one = usize::try_from(dice.roll(count as u64)).expect("few");
    let other = usize::try_from(dice.roll(count as u64)).expect("few");
    let interval = directors.rules.interval;
    match dice.roll(16) {
        0 => directors.crash(one),
        1 | 2 => directors.start(one),
        3 => directors.shut_down(one),
        4 => directors.freeze(one, dice.within(8 * interval)),
        // One way, or both.
        5 | 6 => directors.cut(one, other),
        7 => {
            directors.cut(one, other);
            directors.cut(other, one);
        }
        8 => directors.mend(),
        9 => directors.loss = dice.of(&[0, 0, 10, 50, 90]),
        10 => directors.delay = dice.of(&[0, 1, 10, 100]) * interval / 100,
        11 => directors.link(one, dice.percent(50)),
        12 => directors.track(one, i32::try_from(dice.roll(300)).expect("small") - 150),
        13 => directors.fail(one, dice.percent(50)),
        14 => directors.hold(one, dice.percent(50)),
        _ => directors.reload(one, dice.of(&[1, 100, 200, 254])),
    }
}

/// A storm, then a healed network, then somebody comes back.
fn play(count: usize, seed: u64, is_told: bool) {
    let mut dice = Dice(seed);
    let rules = rules(&mut dice);
    let priorities = priorities(count, &mut dice);
    let interval = rules.interval;
    let mut directors = Directors::new(rules, &priorities, seed, is_told);
    for one in 0..count {
        if dice.percent(80) {
            directors.start(one);
        }
    }
    for _ in 0..dice.roll(MISHAPS) {
        directors.run(dice.within(4 * interval));
        mishap(&mut directors, &mut dice);
    }

    directors.heal();
    let settled = rules.settled();
    directors.run(settled);
    let master = directors.only_master();
    directors.is_best(master);

    // It stays so, and somebody who comes back changes it only by right.
    let back = (master + 1) % count;
    directors.crash(back);
    directors.run(dice.within(2 * interval));
    directors.start(back);
    directors.run(settled);
    let after = directors.only_master();
    directors.is_best(after);
    let is_owner = directors.priority(back) == OWNER;
    // Who comes back with an interval of its own may not have heard a slow master before it is out of patience.
    if !rules.preempt && !is_owner && rules.haste == 1 {
        assert_eq!(after, master, "{}: without preemption a master stays", directors.name());
    }

    // And when it stops, there is another in no more time than it waits itself.
    directors.shut_down(after);
    directors.run(settled);
    let successor = directors.only_master();
    assert_ne!(successor, after, "{}", directors.name());
}

#[test]
fn after_every_storm_there_is_one_master_with_the_addresses() {
    if let Ok(seed) = std::env::var(SEED) {
        let seed = seed.parse().expect("a number");
        for (count, _) in SCHEDULES {
            play(count, seed, true);
        }
        return;
    }
    for (count, schedules) in SCHEDULES {
        (0..schedules).for_each(|seed| play(count, seed, false));
    }
}
