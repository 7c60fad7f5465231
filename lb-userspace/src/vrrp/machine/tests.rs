//! The machine, event by event.

mod faults;
mod preemption;
mod random;
mod stories;
mod table;

use std::time::Duration;

use super::*;
use crate::vrrp::packet::Version;

const OURS: IpAddr = address(10);
const LOWER: IpAddr = address(9);
const HIGHER: IpAddr = address(11);
const VIP: IpAddr = address(80);
const SECOND: Duration = Duration::from_secs(1);
const UP: Link = Link { is_up: true, address: Some(OURS) };
const DOWN: Link = Link { is_up: false, address: Some(OURS) };

const fn address(last: u8) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, last))
}

#[expect(clippy::disallowed_methods, reason = "a beginning for times that are made up")]
fn beginning() -> Instant {
    Instant::now()
}

fn parameters() -> Parameters {
    Parameters {
        interface: "eth0".into(),
        version: Version::V2,
        vrid: 51,
        priority: 100,
        interval: SECOND,
        addresses: vec![VIP],
        authentication: None,
        preempt: true,
        preempt_delay: Duration::ZERO,
        is_grouped: false,
    }
}

fn version_3(interval: Duration) -> Parameters {
    Parameters { version: Version::V3, interval, ..parameters() }
}

fn failed(what: &str) -> Tracking {
    Tracking { fault: Some(what.into()), ..Tracking::default() }
}

fn weight(weight: i32) -> Tracking {
    Tracking { weight, ..Tracking::default() }
}

/// A machine and its clock.
struct Lab {
    machine: Machine,
    start: Instant,
    now: Instant,
}

impl Lab {
    fn new(parameters: Parameters) -> Self {
        let start = beginning();
        Self { machine: Machine::new(parameters, start), start, now: start }
    }

    /// A backup.
    fn backup(parameters: Parameters) -> Self {
        let mut lab = Self::new(parameters);
        lab.machine.handle_link(UP, lab.now);
        lab.actions();
        lab
    }

    /// A master, whose first announcements are over.
    fn master(parameters: Parameters) -> Self {
        let mut lab = Self::backup(parameters);
        lab.expire();
        lab.pass(10 * SECOND);
        assert_eq!(lab.machine.state(), State::Master);
        lab
    }

    fn advert(&mut self, priority: u8, from: IpAddr) {
        let advert = self.machine.parameters().advert(priority);
        self.machine.handle_advert(&advert, from, self.now);
    }

    fn track(&mut self, tracking: Tracking) {
        self.machine.handle_track(tracking, self.now);
    }

    /// Lets the next timer expire, and says how long that took.
    fn expire(&mut self) -> Duration {
        let next = self.machine.poll_timeout().expect("a timer");
        let waited = next - self.now;
        self.now = next;
        self.machine.handle_timeout(next);
        waited
    }

    /// Lets time pass, with every timer that expires; what is done is forgotten.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.machine.poll_timeout().is_some_and(|next| next <= end) {
            self.expire();
            self.actions();
        }
        self.now = end;
    }

    /// What is to be done, in words.
    fn actions(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.machine.poll_action()).map(|action| words(&action)).collect()
    }

    fn state(&self) -> State {
        self.machine.state()
    }

    fn reason(&self) -> String {
        self.machine.status().reason.to_string()
    }

    /// When it becomes master, if nothing happens.
    fn waits(&self) -> Duration {
        self.machine.poll_timeout().expect("a timer") - self.now
    }
}

pub(super) fn words(action: &Action) -> String {
    match action {
        Action::Send(advert) => format!("send {}", advert.priority),
        Action::Become { state, reason } => format!("become {state}: {reason}"),
        Action::ReplaceAddresses => "replace addresses".into(),
        Action::Announce { repeat } => format!("announce x{repeat}"),
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn an_owner_is_master_at_once_and_whatever_is_tracked() {
    let mut lab = Lab::new(Parameters { priority: OWNER, ..parameters() });
    lab.track(weight(-200));
    lab.machine.handle_link(UP, lab.now);
    assert_eq!(
        lab.actions(),
        ["send 255", "become master: priority 255: it owns the addresses", "announce x5"]
    );
}

#[test]
fn an_owner_takes_over_even_if_it_does_not_preempt() {
    let delayed = Parameters { preempt: false, preempt_delay: 10 * SECOND, ..parameters() };
    let mut lab = Lab::backup(Parameters { priority: OWNER, ..delayed });
    lab.advert(OWNER, HIGHER);
    assert_eq!(
        (lab.state(), lab.reason()),
        (State::Backup, "192.0.2.11 has priority 255 too, and the higher address".into())
    );
    lab.advert(254, HIGHER);
    lab.expire();
    assert_eq!(
        (lab.state(), lab.reason()),
        (State::Master, "192.0.2.11 has priority 254, ours is 255".into())
    );
}

#[test]
fn a_weight_counts_from_1_to_254() {
    let mut lab = Lab::backup(parameters());
    for (sum, priority) in
        [(0, 100), (-20, 80), (-100, 1), (i32::MIN, 1), (154, 254), (155, 254), (i32::MAX, 254)]
    {
        lab.track(weight(sum));
        assert_eq!(lab.machine.effective_priority(), priority, "{sum}");
    }
}

#[test]
fn a_weight_changes_how_long_a_backup_waits() {
    let mut lab = Lab::backup(parameters());
    assert_eq!(lab.waits(), Duration::from_nanos(3_609_375_000));
    lab.now += SECOND;
    lab.track(weight(100));
    assert_eq!(lab.waits(), Duration::from_nanos(2_218_750_000));
    lab.track(weight(-100));
    assert_eq!(lab.waits(), Duration::from_nanos(2_996_093_750));
}

#[test]
fn a_backup_waits_its_skew_when_the_master_stops() {
    let mut lab = Lab::backup(parameters());
    lab.now += SECOND;
    lab.advert(RELEASE, HIGHER);
    assert_eq!(lab.waits(), Duration::from_nanos(609_375_000));
    // Said twice: it does not begin to wait anew.
    lab.now += millis(500);
    lab.advert(RELEASE, HIGHER);
    assert_eq!(lab.expire(), Duration::from_nanos(109_375_000));
    assert_eq!((lab.state(), lab.reason()), (State::Master, "192.0.2.11 has stopped".into()));
}

#[test]
fn a_backup_that_was_about_to_take_over_is_not_delayed_by_a_master_that_stops() {
    let mut lab = Lab::backup(parameters());
    lab.now += millis(3600);
    lab.advert(RELEASE, HIGHER);
    assert_eq!(lab.waits(), Duration::from_nanos(9_375_000));
}

#[test]
fn another_master_in_time_makes_a_backup_stay_one() {
    let mut lab = Lab::backup(parameters());
    lab.advert(RELEASE, HIGHER);
    lab.advert(150, LOWER);
    assert_eq!(lab.waits(), Duration::from_nanos(3_609_375_000));
    assert_eq!(lab.machine.status().master, Some(Master { address: LOWER, priority: 150 }));
}

#[test]
fn a_backup_waits_as_version_3s_master_says() {
    let mut lab = Lab::backup(version_3(SECOND));
    let fast = version_3(millis(10)).advert(150);
    lab.machine.handle_advert(&fast, HIGHER, lab.now);
    assert_eq!(lab.waits(), Duration::from_nanos(36_093_750));
    lab.expire();
    // As master its own interval counts; deposed, that of who deposed it.
    assert_eq!((lab.state(), lab.waits()), (State::Master, SECOND));
    lab.machine.handle_advert(&fast, HIGHER, lab.now);
    assert_eq!((lab.state(), lab.waits()), (State::Backup, Duration::from_nanos(36_093_750)));
}

#[test]
fn a_lower_advert_is_answered_at_once_and_announced_against_at_most_once_a_second() {
    let mut lab = Lab::master(version_3(millis(10)));
    let mut bursts = 0;
    for _ in 0..300 {
        lab.advert(90, HIGHER);
        let actions = lab.actions();
        assert_eq!(actions[0], "send 100");
        assert_eq!(lab.machine.state(), State::Master);
        bursts += u32::from(actions.len() > 1);
        let end = lab.now + millis(10);
        while lab.machine.poll_timeout().is_some_and(|next| next <= end) {
            lab.expire();
            bursts += u32::from(lab.actions().contains(&"announce x5".into()));
        }
        lab.now = end;
    }
    assert_eq!(bursts, 4, "at the beginning, and after each of three seconds");
}

#[test]
fn a_lower_advert_soon_after_an_announcement_leads_to_another_a_second_later() {
    let mut lab = Lab::backup(parameters());
    lab.expire();
    lab.actions();
    lab.now += millis(100);
    lab.advert(90, LOWER);
    assert_eq!(lab.actions(), ["send 100"]);
    assert_eq!(lab.expire(), millis(900));
    assert_eq!(lab.actions(), ["announce x5"]);
}

#[test]
fn the_higher_address_wins_between_equal_priorities() {
    let mut lab = Lab::master(parameters());
    lab.advert(100, LOWER);
    assert_eq!(lab.state(), State::Master);
    lab.advert(100, HIGHER);
    assert_eq!(
        (lab.state(), lab.reason()),
        (State::Backup, "192.0.2.11 has priority 100 too, and the higher address".into())
    );
}

#[test]
fn a_held_director_gives_way_to_everybody_and_is_master_if_nobody_is_there() {
    let mut lab = Lab::new(Parameters { priority: OWNER, ..parameters() });
    lab.machine.handle_hold(true, lab.now);
    lab.machine.handle_link(UP, lab.now);
    assert_eq!((lab.state(), lab.machine.effective_priority()), (State::Backup, 1));
    lab.advert(1, LOWER);
    assert_eq!(lab.expire(), Duration::from_nanos(3_996_093_750));
    assert_eq!(lab.actions()[1..], ["send 1", "become master: no advert for 4.0s", "announce x5"]);
    lab.advert(2, LOWER);
    assert_eq!((lab.state(), lab.reason()), (State::Backup, "192.0.2.9 has priority 2, ours is 1".into()));
    // With the connections it is who it is.
    lab.machine.handle_hold(false, lab.now);
    assert_eq!((lab.state(), lab.machine.effective_priority()), (State::Master, OWNER));
}

#[test]
fn a_director_that_has_its_connections_preempts_as_always() {
    let mut lab = Lab::new(parameters());
    lab.machine.handle_hold(true, lab.now);
    lab.machine.handle_link(UP, lab.now);
    for _ in 0..5 {
        lab.advert(90, LOWER);
        lab.pass(SECOND);
    }
    assert_eq!(lab.state(), State::Backup);
    lab.machine.handle_hold(false, lab.now);
    // The last advert that it listened to is a second old.
    assert_eq!(lab.waits(), Duration::from_nanos(2_609_375_000));
    lab.advert(90, LOWER);
    assert_eq!(lab.waits(), Duration::from_nanos(2_609_375_000));
}

#[test]
fn a_reload_keeps_the_state_and_says_what_is_new() {
    let mut lab = Lab::master(parameters());
    lab.machine.reconfigure(parameters(), lab.now);
    assert_eq!(lab.actions(), [""; 0], "the same");
    lab.machine.reconfigure(Parameters { priority: 90, ..parameters() }, lab.now);
    assert_eq!(lab.actions(), ["send 90"]);
    lab.machine.reconfigure(Parameters { addresses: vec![VIP, HIGHER], ..parameters() }, lab.now);
    assert_eq!(lab.actions(), ["send 100", "replace addresses", "announce x5"]);
    let mut lab = Lab::backup(parameters());
    lab.now += SECOND;
    lab.machine.reconfigure(Parameters { priority: 200, ..parameters() }, lab.now);
    assert_eq!(lab.actions(), [""; 0]);
    assert_eq!(lab.waits(), Duration::from_nanos(2_218_750_000));
}

#[test]
fn a_reload_to_another_version_forgets_the_masters_interval() {
    let mut lab = Lab::backup(version_3(SECOND));
    lab.machine.handle_advert(&version_3(millis(10)).advert(150), HIGHER, lab.now);
    lab.machine.reconfigure(parameters(), lab.now);
    assert_eq!(lab.waits(), Duration::from_nanos(3_609_375_000));
}

#[test]
fn a_late_timer_sends_one_advert_and_not_all_that_were_missed() {
    let mut lab = Lab::master(version_3(millis(10)));
    lab.now += millis(95);
    lab.machine.handle_timeout(lab.now);
    assert_eq!(lab.actions(), ["send 100"]);
    assert_eq!(lab.waits(), millis(10));
    // A little late: the next one is in its time, so that the clock does not drift.
    lab.now += millis(13);
    lab.machine.handle_timeout(lab.now);
    assert_eq!(lab.waits(), millis(7));
}

#[test]
fn status_says_who_is_master() {
    let mut lab = Lab::backup(parameters());
    assert_eq!(lab.machine.status().master, None);
    lab.advert(150, HIGHER);
    let status = lab.machine.status();
    assert_eq!(status.master, Some(Master { address: HIGHER, priority: 150 }));
    assert_eq!((status.priority, status.since), (100, lab.start));
    lab.expire();
    let status = lab.machine.status();
    assert_eq!(status.master, Some(Master { address: OURS, priority: 100 }));
    assert_eq!(
        (status.since, status.reason),
        (lab.now, Reason::NoAdvert { waited: Duration::from_nanos(3_609_375_000) })
    );
    lab.machine.handle_link(DOWN, lab.now);
    assert_eq!(lab.machine.status().master, None);
}
