//! The machine against one that looks at the whole history each time.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[expect(clippy::disallowed_methods, reason = "a beginning for times that are made up")]
fn beginning() -> Instant {
    Instant::now()
}

fn at(beginning: Instant, seconds: u64) -> Instant {
    beginning + Duration::from_secs(seconds)
}

/// The transitions that results bring, one result a second.
fn transitions(rules: Rules, state: State, results: &[bool]) -> Vec<Option<Transition>> {
    let (mut machine, start) = (Machine::new(rules, state), beginning());
    (0..).zip(results).map(|(second, is_good)| machine.observe(*is_good, at(start, second))).collect()
}

const PLAIN: Rules = Rules { rise: 2, fall: 3, flap: None };
const GOOD: bool = true;
const BAD: bool = false;

#[test]
fn it_is_up_after_as_many_successes_in_a_row_as_rise_says() {
    let found = transitions(PLAIN, State::Down, &[GOOD, BAD, GOOD, GOOD, GOOD]);
    assert_eq!(found, [None, None, None, Some(Transition::Up), None]);
}

#[test]
fn it_is_down_after_a_failure_and_as_many_more_as_retries_says() {
    let found = transitions(PLAIN, State::Up, &[BAD, BAD, GOOD, BAD, BAD, BAD, BAD]);
    assert_eq!(found, [None, None, None, None, None, Some(Transition::Down), None]);
}

#[test]
fn what_is_unknown_becomes_known_by_the_same_rules() {
    assert_eq!(transitions(PLAIN, State::Unknown, &[GOOD, GOOD]), [None, Some(Transition::Up)]);
    assert_eq!(transitions(PLAIN, State::Unknown, &[BAD, BAD, BAD]), [None, None, Some(Transition::Down)]);
}

#[test]
fn it_retries_only_while_further_failures_matter() {
    let (mut machine, start) = (Machine::new(PLAIN, State::Up), beginning());
    let mut retries = Vec::new();
    for (second, is_good) in (0..).zip([BAD, BAD, BAD, BAD, GOOD]) {
        machine.observe(is_good, at(start, second));
        retries.push(machine.is_retrying());
    }
    assert_eq!(retries, [true, true, false, false, false]);
}

#[test]
fn one_that_flips_too_often_is_down_until_the_hold_is_over() {
    let flap = Flap { changes: 2, within: Duration::from_secs(60), hold: Duration::from_secs(10) };
    let rules = Rules { rise: 1, fall: 1, flap: Some(flap) };
    let (mut machine, start) = (Machine::new(rules, State::Up), beginning());
    assert_eq!(machine.observe(BAD, at(start, 0)), Some(Transition::Down));
    assert_eq!(machine.observe(GOOD, at(start, 1)), Some(Transition::Up));
    assert_eq!(machine.observe(BAD, at(start, 2)), Some(Transition::Held));
    assert_eq!(machine.held_until(), Some(at(start, 12)));
    assert_eq!(machine.observe(GOOD, at(start, 11)), None);
    assert_eq!(machine.state(), State::Down);
    assert_eq!(machine.observe(GOOD, at(start, 12)), Some(Transition::Up), "the count began anew");
    assert_eq!(machine.held_until(), None);
}

/// Also one that would come up is held.
#[test]
fn the_flip_too_many_may_be_one_up() {
    let flap = Flap { changes: 1, within: Duration::from_secs(60), hold: Duration::from_secs(10) };
    let rules = Rules { rise: 1, fall: 1, flap: Some(flap) };
    let found = transitions(rules, State::Up, &[BAD, GOOD, BAD]);
    assert_eq!(found, [Some(Transition::Down), Some(Transition::Held), None]);
}

#[test]
fn flips_that_are_long_past_do_not_count() {
    let flap = Flap { changes: 1, within: Duration::from_secs(1), hold: Duration::from_secs(10) };
    let rules = Rules { rise: 1, fall: 1, flap: Some(flap) };
    let found = transitions(rules, State::Up, &[BAD, GOOD, BAD]);
    assert_eq!(found, [Some(Transition::Down), Some(Transition::Up), Some(Transition::Down)]);
}

/// The state after a history, told by looking for the last run of equal results that was long enough.
fn naive(rules: Rules, start: State, history: &[bool]) -> State {
    (1..=history.len())
        .rev()
        .find_map(|end| {
            let ends_in = |wanted: bool, needed: u32| {
                let needed = needed as usize;
                end >= needed && history[end - needed..end].iter().all(|result| *result == wanted)
            };
            if ends_in(GOOD, rules.rise) {
                Some(State::Up)
            } else if ends_in(BAD, rules.fall) {
                Some(State::Down)
            } else {
                None
            }
        })
        .unwrap_or(start)
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![Just(State::Unknown), Just(State::Up), Just(State::Down)]
}

proptest! {
    #[test]
    fn the_state_is_that_of_a_naive_model(
        rise in 1..5_u32, fall in 1..5_u32, start in state(), history in prop::collection::vec(any::<bool>(), 0..60),
    ) {
        let rules = Rules { rise, fall, flap: None };
        let (mut machine, beginning) = (Machine::new(rules, start), beginning());
        for (i, is_good) in history.iter().enumerate() {
            let before = machine.state();
            let transition = machine.observe(*is_good, at(beginning, i as u64));
            let after = naive(rules, start, &history[..=i]);
            prop_assert_eq!(machine.state(), after);
            prop_assert_eq!(transition.is_some(), before != after);
        }
    }

    /// Between two flips there are at least as many results as the later one takes; and within `within`, no more flips
    /// than allowed, and one.
    #[test]
    fn it_never_flips_faster_than_the_rules_allow(
        rise in 1..5_u32, fall in 1..5_u32, changes in 1..4_u32, within in 1..40_u64, hold in 1..40_u64,
        history in prop::collection::vec((any::<bool>(), 1..4_u64), 0..200),
    ) {
        let flap = Flap { changes, within: Duration::from_secs(within), hold: Duration::from_secs(hold) };
        let rules = Rules { rise, fall, flap: Some(flap) };
        let (mut machine, beginning) = (Machine::new(rules, State::Up), beginning());
        let (mut second, mut last_flip, mut flips) = (0, None, Vec::new());
        let mut held: Option<u64> = None;
        for (i, (is_good, pause)) in history.into_iter().enumerate() {
            second += pause;
            let transition = machine.observe(is_good, at(beginning, second));
            if let Some(held) = held {
                prop_assert!(second >= held + hold || machine.state() == State::Down);
            }
            let Some(transition) = transition else { continue };
            let needed = if is_good { rise } else { fall } as usize;
            prop_assert!(last_flip.is_none_or(|last| held.is_some() || i - last >= needed));
            prop_assert_eq!(transition == Transition::Up, machine.state() == State::Up);
            if transition == Transition::Held {
                held = Some(second);
            }
            last_flip = Some(i);
            flips.push(second);
            let recent = flips.iter().filter(|flip| second - **flip < within).count();
            prop_assert!(recent <= changes as usize + 1 || hold < within);
        }
    }
}
