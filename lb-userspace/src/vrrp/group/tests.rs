//! Sync groups of two virtual routers: on one director, event by event, and on two of them with anything going wrong.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::vrrp::{Action, LEAST, Link, OWNER, Parameters, Tracking, Version, timing};

const SECOND: Duration = Duration::from_secs(1);
const NAMES: [&str; 2] = ["VI_1", "VI_2"];

#[expect(clippy::disallowed_methods, reason = "a beginning for times that are made up")]
fn beginning() -> Instant {
    Instant::now()
}

/// An address in one of the two networks.
fn address(network: usize, last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, u8::try_from(network).expect("0 or 1"), last).into()
}

fn parameters(network: usize, priority: u8) -> Parameters {
    Parameters {
        interface: format!("eth{network}"),
        version: Version::V2,
        vrid: 51,
        priority,
        interval: SECOND,
        addresses: vec![address(network, 80)],
        authentication: None,
        preempt: true,
        preempt_delay: Duration::ZERO,
        is_grouped: true,
    }
}

fn failed(fails: bool) -> Tracking {
    Tracking { fault: fails.then(|| "script failed".into()), ..Tracking::default() }
}

/// A director with a group of two.
struct Director {
    last: u8,
    members: [Machine; 2],
    group: Group,
}

impl Director {
    fn new(last: u8, priority: u8, now: Instant) -> Self {
        let members = [0, 1].map(|network| Machine::new(parameters(network, priority), now));
        let mut director = Self { last, members, group: Group::new() };
        for network in 0..2 {
            let link = Link { is_up: true, address: Some(address(network, last)) };
            director.with(network, now, |machine| machine.handle_link(link, now));
        }
        director
    }

    fn with(&mut self, member: usize, now: Instant, event: impl FnOnce(&mut Machine)) -> Option<State> {
        event(&mut self.members[member]);
        self.settle(now)
    }

    fn settle(&mut self, now: Instant) -> Option<State> {
        let mut members: Vec<_> = NAMES.into_iter().zip(&mut self.members).collect();
        self.group.settle(&mut members, now)
    }

    fn expire(&mut self, member: usize) -> Instant {
        let at = self.members[member].poll_timeout().expect("a timer");
        self.with(member, at, |machine| machine.handle_timeout(at));
        at
    }

    fn states(&self) -> [State; 2] {
        [0, 1].map(|member| self.members[member].state())
    }

    fn reasons(&self) -> [String; 2] {
        [0, 1].map(|member| self.members[member].status().reason.to_string())
    }

    /// Both are masters.
    fn master() -> (Self, Instant) {
        let mut director = Self::new(1, 100, beginning());
        director.expire(0);
        let now = director.expire(1);
        assert_eq!((director.states(), director.group.state()), ([State::Master; 2], State::Master));
        (director, now)
    }

    fn hears(&mut self, member: usize, priority: u8, now: Instant) -> Option<State> {
        let advert = parameters(member, priority).advert(priority);
        self.with(member, now, |machine| machine.handle_advert(&advert, address(member, 2), now))
    }
}

#[test]
fn all_are_master_when_each_of_them_would_be() {
    let mut director = Director::new(1, 100, beginning());
    assert_eq!((director.states(), director.group.state()), ([State::Backup; 2], State::Backup));
    let now = director.expire(0);
    assert_eq!(director.states(), [State::Backup; 2], "the other has heard nothing of its master's end");
    assert!(director.members[0].wants_master());
    assert!(director.members[0].poll_timeout() > Some(now));
    let state = director.with(1, now, |machine| machine.handle_timeout(now));
    assert_eq!((director.states(), state), ([State::Master; 2], Some(State::Master)));
    assert_eq!(director.reasons(), ["no advert for 3.6s"; 2]);
}

#[test]
fn one_that_hears_a_master_keeps_all_backup() {
    let mut director = Director::new(1, 100, beginning());
    let mut now = beginning();
    for _ in 0..10 {
        now = director.expire(0);
        director.hears(1, 150, now);
    }
    assert_eq!(director.states(), [State::Backup; 2]);
    // The first hears one again: it does not want to be master any more.
    director.hears(0, 150, now);
    assert!(!director.members[0].wants_master());
    director.expire(1);
    assert_eq!(director.states(), [State::Backup; 2]);
}

#[test]
fn a_master_that_is_deposed_takes_all_with_it() {
    let (mut director, now) = Director::master();
    let _ = std::iter::from_fn(|| director.members[0].poll_action()).count();
    let state = director.hears(1, 150, now + SECOND);
    assert_eq!((director.states(), state), ([State::Backup; 2], Some(State::Backup)));
    assert_eq!(
        director.reasons(),
        ["VI_2 of its sync group is backup", "192.0.1.2 has priority 150, ours is 100"]
    );
    let actions: Vec<Action> = std::iter::from_fn(|| director.members[0].poll_action()).collect();
    assert!(
        matches!(actions[..], [Action::Become { state: State::Backup, .. }]),
        "and says nothing: {actions:?}"
    );
}

#[test]
fn one_in_fault_puts_all_in_fault_until_none_is() {
    let (mut director, now) = Director::master();
    let fails = |director: &mut Director, member, fails| {
        director.with(member, now, |machine| machine.handle_track(failed(fails), now))
    };
    assert_eq!(fails(&mut director, 1, true), Some(State::Fault));
    assert_eq!(director.reasons(), ["VI_2 of its sync group is in fault", "script failed"]);
    // Both, then the other only: nobody is back for a moment.
    fails(&mut director, 0, true);
    assert_eq!(director.reasons(), ["script failed"; 2]);
    fails(&mut director, 1, false);
    assert_eq!(director.reasons(), ["script failed", "VI_1 of its sync group is in fault"]);
    assert_eq!(director.members[1].status().transitions.fault, 1);
    assert_eq!(fails(&mut director, 0, false), Some(State::Backup));
    assert_eq!(director.states(), [State::Backup; 2]);
    assert_eq!(director.reasons(), ["what was in fault is well again"; 2]);
}

#[test]
fn nobody_is_master_before_all_have_started() {
    let now = beginning();
    let mut director = Director::new(1, OWNER, now);
    assert_eq!(director.states(), [State::Master; 2], "owners, at once");
    director.members[1] = Machine::new(parameters(1, OWNER), now);
    director.members[0] = Machine::new(parameters(0, OWNER), now);
    director.group = Group::new();
    let link = Link { is_up: true, address: Some(address(0, 1)) };
    director.with(0, now, |machine| machine.handle_link(link, now));
    assert_eq!(director.states(), [State::Backup, State::Init]);
}

#[test]
fn one_that_is_added_to_masters_joins_them_when_nobody_else_is_there() {
    let (mut director, now) = Director::master();
    director.members[1] = Machine::new(parameters(1, 100), now);
    director.group.seen.remove(NAMES[1]);
    let link = Link { is_up: true, address: Some(address(1, 1)) };
    assert_eq!(director.with(1, now, |machine| machine.handle_link(link, now)), None);
    assert_eq!(director.states(), [State::Master, State::Backup]);
    director.expire(1);
    assert_eq!(director.states(), [State::Master; 2]);
}

#[test]
fn those_that_leave_count_no_more() {
    let (mut director, now) = Director::master();
    director.with(0, now, |machine| machine.handle_shutdown(now));
    assert_eq!(director.states(), [State::Leaving, State::Master]);
    let state = director.with(1, now, |machine| machine.handle_shutdown(now));
    assert_eq!((director.states(), state), ([State::Leaving; 2], Some(State::Leaving)));
    director.hears(0, 90, now);
    assert_eq!(director.states(), [State::Stopped, State::Leaving]);
    let state = director.hears(1, 90, now);
    assert_eq!((director.states(), state), ([State::Stopped; 2], Some(State::Stopped)));
}

#[derive(Clone, Debug)]
enum Event {
    Pass(Duration),
    /// What this director sends in this network is lost, or is not.
    Cut {
        director: usize,
        network: usize,
        is_cut: bool,
    },
    Fail {
        director: usize,
        member: usize,
        fails: bool,
    },
    Restart(usize),
}

fn events() -> impl Strategy<Value = Event> {
    let one = || 0..2usize;
    prop_oneof![
        4 => (0..8000u64).prop_map(|millis| Event::Pass(Duration::from_millis(millis))),
        2 => (one(), one(), any::<bool>())
            .prop_map(|(director, network, is_cut)| Event::Cut { director, network, is_cut }),
        2 => (one(), one(), any::<bool>())
            .prop_map(|(director, member, fails)| Event::Fail { director, member, fails }),
        1 => one().prop_map(Event::Restart),
    ]
}

/// Two directors in two networks.
struct Site {
    directors: [Director; 2],
    cuts: [[bool; 2]; 2],
    now: Instant,
    /// Whether groups are settled after all that happens in one moment, or after each event.
    is_hasty: bool,
}

const PRIORITIES: [u8; 2] = [100, 150];
/// Each director, and each of its networks.
const ALL: [(usize, usize); 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

impl Site {
    fn new(is_hasty: bool) -> Self {
        let now = beginning();
        let directors = [Director::new(1, PRIORITIES[0], now), Director::new(2, PRIORITIES[1], now)];
        Self { directors, cuts: [[false; 2]; 2], now, is_hasty }
    }

    fn happen(&mut self, event: &Event) {
        let now = self.now;
        match *event {
            Event::Pass(time) => self.pass(time),
            Event::Cut { director, network, is_cut } => self.cuts[director][network] = is_cut,
            Event::Fail { director, member, fails } => {
                self.hand(director, member, |machine| machine.handle_track(failed(fails), now));
            }
            Event::Restart(one) => {
                let last = self.directors[one].last;
                self.directors[one] = Director::new(last, PRIORITIES[one], now);
            }
        }
        self.deliver();
    }

    fn hand(&mut self, director: usize, member: usize, event: impl FnOnce(&mut Machine)) {
        event(&mut self.directors[director].members[member]);
        if !self.is_hasty {
            self.directors[director].settle(self.now);
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timer = |(one, member): (usize, usize)| self.directors[one].members[member].poll_timeout();
            let Some(next) = ALL.into_iter().filter_map(timer).min().filter(|next| *next <= end) else {
                break;
            };
            self.now = next;
            for (one, member) in ALL {
                self.hand(one, member, |machine| machine.handle_timeout(next));
            }
            self.deliver();
        }
        self.now = end;
    }

    /// Everything that is sent arrives at once, until nobody has anything left to say.
    fn deliver(&mut self) {
        for count in 0.. {
            assert!(count < 100, "they talk without end");
            let now = self.now;
            for director in &mut self.directors {
                director.settle(now);
            }
            let mut sent = Vec::new();
            for (one, network) in ALL {
                while let Some(action) = self.directors[one].members[network].poll_action() {
                    if let (Action::Send(advert), false) = (action, self.cuts[one][network]) {
                        sent.push((one, network, advert));
                    }
                }
            }
            if sent.is_empty() {
                return;
            }
            for (one, network, advert) in sent {
                let from = address(network, self.directors[one].last);
                self.hand(1 - one, network, |machine| machine.handle_advert(&advert, from, now));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn members_are_alike_and_healed_directors_agree(events in vec(events(), 0..60), is_hasty: bool) {
        let mut site = Site::new(is_hasty);
        for event in &events {
            site.happen(event);
            for director in &site.directors {
                let [first, second] = director.states();
                prop_assert_eq!(first, second);
                prop_assert_eq!(director.group.state(), first);
            }
        }
        for (director, member) in ALL {
            site.happen(&Event::Cut { director, network: member, is_cut: false });
            site.happen(&Event::Fail { director, member, fails: false });
        }
        site.pass(timing::master_down(Version::V2, LEAST, SECOND) + 2 * SECOND);
        prop_assert_eq!(site.directors[0].states(), [State::Backup; 2]);
        prop_assert_eq!(site.directors[1].states(), [State::Master; 2], "the better one");
    }
}
