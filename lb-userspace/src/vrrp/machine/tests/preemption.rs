//! Masters of a lower priority: when they are left alone, and when not.

use super::*;

#[test]
fn without_preemption_a_lower_master_stays() {
    let mut lab = Lab::backup(Parameters { preempt: false, ..parameters() });
    for _ in 0..10 {
        lab.pass(SECOND);
        lab.advert(1, LOWER);
    }
    assert_eq!(lab.state(), State::Backup);
    // It is not loyal to one that stops.
    lab.advert(RELEASE, LOWER);
    lab.expire();
    assert_eq!(lab.state(), State::Master);
}

/// Hears a master of this priority once a second, until it is master itself.
fn preempted_after(lab: &mut Lab, priority: u8) -> u32 {
    (0..100)
        .find(|_| {
            lab.advert(priority, LOWER);
            lab.pass(SECOND);
            lab.state() == State::Master
        })
        .expect("it takes over")
}

#[test]
fn preemption_waits_its_delay_from_the_first_lower_advert() {
    let mut lab = Lab::backup(Parameters { preempt_delay: 10 * SECOND, ..parameters() });
    // Up to the tenth second it listens; the last advert it heard is of the ninth.
    assert_eq!(preempted_after(&mut lab, 90), 12);
    assert_eq!(lab.reason(), "192.0.2.9 has priority 90, ours is 100");
}

#[test]
fn a_higher_advert_ends_the_delay_of_preemption() {
    let mut lab = Lab::backup(Parameters { preempt_delay: 10 * SECOND, ..parameters() });
    for _ in 0..9 {
        lab.advert(90, LOWER);
        lab.pass(SECOND);
    }
    lab.advert(100, HIGHER);
    lab.pass(SECOND);
    assert_eq!(preempted_after(&mut lab, 90), 12, "from the beginning");
}

#[test]
fn a_delay_of_preemption_does_not_keep_it_from_an_empty_place() {
    let mut lab = Lab::backup(Parameters { preempt_delay: 100 * SECOND, ..parameters() });
    lab.advert(90, LOWER);
    assert_eq!(lab.expire(), Duration::from_nanos(3_609_375_000));
    assert_eq!(lab.state(), State::Master);
}
