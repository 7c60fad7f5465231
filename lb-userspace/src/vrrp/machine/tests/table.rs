//! Every state and every event: what becomes of it, and what is done.

use super::*;

/// What each event makes of each state; `.`: it stays.
const TABLE: &str = "
event                               init     backup   master   fault    leaving  stopped
the link is up                      backup   .        .        backup   .        .
the link is down                    fault    fault    fault    .        stopped  .
the link has no address             fault    fault    fault    .        stopped  .
the link has another address        backup   .        .        backup   .        .
a script fails                      .        fault    fault    .        .        .
a script is well                    .        .        .        .        .        .
a script has not run yet            .        .        .        .        .        .
a weight counts                     .        .        .        .        .        .
it is held                          .        .        .        .        .        .
it is held no more                  .        .        .        .        .        .
advert, lower                       .        .        .        .        stopped  .
advert, equal, lower address        .        .        .        .        stopped  .
advert, equal, higher address       .        .        backup   .        stopped  .
advert, higher                      .        .        backup   .        stopped  .
advert, of an owner                 .        .        backup   .        stopped  .
advert, priority 0                  .        .        .        .        .        .
advert, from our own address        .        .        .        .        .        .
its timer expires                   .        master   .        .        stopped  .
time passes                         .        .        .        .        .        .
shutdown                            stopped  stopped  leaving  stopped  stopped  .
reload, another priority            .        .        .        .        .        .
reload, other addresses             .        .        .        .        .        .
reload, now the owner               .        .        .        .        .        .
its group says master               .        .        .        .        .        .
a member of its group is backup     .        .        backup   .        .        .
a member of its group is in fault   .        fault    fault    .        .        .
no member of its group is in fault  .        .        .        .        .        .
";

fn apply(event: &str, lab: &mut Lab) {
    let now = lab.now;
    let own = |changes: fn(&mut Parameters)| {
        let mut parameters = parameters();
        changes(&mut parameters);
        parameters
    };
    match event {
        "the link is up" => lab.machine.handle_link(UP, now),
        "the link is down" => lab.machine.handle_link(DOWN, now),
        "the link has no address" => lab.machine.handle_link(Link { is_up: true, address: None }, now),
        "the link has another address" => {
            lab.machine.handle_link(Link { is_up: true, address: Some(address(12)) }, now);
        }
        "a script fails" => lab.track(failed("script failed")),
        "a script is well" => lab.track(Tracking::default()),
        "a script has not run yet" => lab.track(Tracking { is_pending: true, ..Tracking::default() }),
        "a weight counts" => lab.track(weight(-20)),
        "it is held" => lab.machine.handle_hold(true, now),
        "it is held no more" => lab.machine.handle_hold(false, now),
        "advert, lower" => lab.advert(90, HIGHER),
        "advert, equal, lower address" => lab.advert(100, LOWER),
        "advert, equal, higher address" => lab.advert(100, HIGHER),
        "advert, higher" => lab.advert(150, LOWER),
        "advert, of an owner" => lab.advert(OWNER, LOWER),
        "advert, priority 0" => lab.advert(RELEASE, HIGHER),
        "advert, from our own address" => lab.advert(150, OURS),
        "its timer expires" => {
            let next = lab.machine.poll_timeout().unwrap_or(now + 100 * SECOND);
            lab.machine.handle_timeout(next);
        }
        "time passes" => lab.machine.handle_timeout(now),
        "shutdown" => lab.machine.handle_shutdown(now),
        "reload, another priority" => lab.machine.reconfigure(own(|new| new.priority = 50), now),
        "reload, other addresses" => lab.machine.reconfigure(own(|new| new.addresses.push(address(81))), now),
        "reload, now the owner" => lab.machine.reconfigure(own(|new| new.priority = OWNER), now),
        "its group says master" => lab.machine.force_master(now),
        "a member of its group is backup" => lab.machine.force_backup("VI_2", now),
        "a member of its group is in fault" => lab.machine.force_fault(Some("VI_2"), now),
        "no member of its group is in fault" => lab.machine.force_fault(None, now),
        event => panic!("{event}"),
    }
}

fn in_state(state: &str) -> Lab {
    let mut lab = match state {
        "init" => Lab::new(parameters()),
        "backup" => Lab::backup(parameters()),
        "master" | "leaving" => Lab::master(parameters()),
        "fault" | "stopped" => {
            let mut lab = Lab::new(parameters());
            lab.machine.handle_link(DOWN, lab.now);
            lab
        }
        state => panic!("{state}"),
    };
    if matches!(state, "leaving" | "stopped") {
        lab.machine.handle_shutdown(lab.now);
    }
    lab.actions();
    assert_eq!(lab.state().name(), state);
    lab
}

/// The table's rows: an event, and what becomes of each state.
fn rows() -> Vec<(&'static str, Vec<&'static str>)> {
    const EVENT: usize = 36;
    let rows = TABLE.trim().lines().map(|line| line.split_at(EVENT));
    rows.map(|(event, cells)| (event.trim_end(), cells.split_whitespace().collect())).collect()
}

#[test]
fn each_event_makes_of_each_state_what_the_table_says() {
    let rows = rows();
    let (_, states) = &rows[0];
    assert!(states.iter().copied().eq(State::ALL.map(State::name)), "all of them: {states:?}");
    for (event, cells) in &rows[1..] {
        assert_eq!(cells.len(), states.len(), "{event}");
        for (state, cell) in states.iter().zip(cells) {
            let mut lab = in_state(state);
            apply(event, &mut lab);
            let expected = if *cell == "." { state } else { cell };
            assert_eq!(lab.state().name(), *expected, "{state}: {event}");
        }
    }
}

#[test]
fn what_each_event_does_in_each_state_reads_as_its_snapshot() {
    let rows = rows();
    let mut shown = Vec::new();
    for state in State::ALL.map(State::name) {
        for (event, _) in &rows[1..] {
            let mut lab = in_state(state);
            apply(event, &mut lab);
            let actions = lab.actions();
            if !actions.is_empty() {
                shown.push(format!("{:<44}{}", format!("{state}: {event}"), actions.join("; ")));
            }
        }
    }
    stories::snapshots().bind(|| insta::assert_snapshot!("actions", shown.join("\n")));
}

/// What a state has no timer for it never does by itself, and what it has one for it does not forget.
#[test]
fn each_state_has_its_timer_after_each_event() {
    for state in State::ALL.map(State::name) {
        for (event, _) in &rows()[1..] {
            let mut lab = in_state(state);
            apply(event, &mut lab);
            let has_timer = matches!(lab.state(), State::Backup | State::Master | State::Leaving);
            assert_eq!(lab.machine.poll_timeout().is_some(), has_timer, "{state}: {event}");
        }
    }
}
