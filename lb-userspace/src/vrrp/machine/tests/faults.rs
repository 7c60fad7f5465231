//! Starts, faults and ends.

use super::*;

#[test]
fn it_does_not_start_before_its_link_and_its_scripts_are_known() {
    let mut lab = Lab::new(parameters());
    lab.track(Tracking { is_pending: true, ..Tracking::default() });
    lab.machine.handle_link(UP, lab.now);
    assert_eq!((lab.state(), lab.machine.poll_timeout()), (State::Init, None));
    lab.track(Tracking::default());
    assert_eq!(lab.state(), State::Backup);
    // A script that is new after a reload changes nothing until it has failed.
    lab.track(Tracking { is_pending: true, ..Tracking::default() });
    assert_eq!(lab.state(), State::Backup);
}

#[test]
fn a_master_whose_script_fails_says_so_and_one_whose_link_is_down_does_not() {
    let mut lab = Lab::master(parameters());
    lab.track(failed("script /etc/lb/check.sh failed"));
    assert_eq!(lab.actions(), ["send 0", "become fault: script /etc/lb/check.sh failed"]);
    let mut lab = Lab::master(parameters());
    lab.machine.handle_link(DOWN, lab.now);
    assert_eq!(lab.actions(), ["become fault: link of eth0 is down"]);
    let mut lab = Lab::master(parameters());
    lab.machine.handle_link(Link { is_up: true, address: None }, lab.now);
    assert_eq!(lab.actions(), ["become fault: eth0 has no address to send adverts from"]);
}

#[test]
fn it_recovers_when_nothing_is_in_fault_any_more() {
    let mut lab = Lab::master(parameters());
    lab.track(failed("script failed"));
    lab.machine.handle_link(DOWN, lab.now);
    lab.machine.force_fault(Some("VI_2"), lab.now);
    assert_eq!(lab.reason(), "link of eth0 is down");
    lab.machine.handle_link(UP, lab.now);
    assert_eq!(lab.reason(), "script failed");
    lab.track(Tracking::default());
    assert_eq!((lab.state(), lab.reason()), (State::Fault, "VI_2 of its sync group is in fault".into()));
    lab.machine.force_fault(None, lab.now);
    assert_eq!((lab.state(), lab.reason()), (State::Backup, "what was in fault is well again".into()));
    assert_eq!(lab.machine.status().transitions, Transitions { master: 1, backup: 2, fault: 1 });
}

#[test]
fn a_master_that_leaves_keeps_its_addresses_until_it_hears_a_successor() {
    let mut lab = Lab::master(parameters());
    lab.machine.handle_shutdown(lab.now);
    assert_eq!(lab.actions(), ["send 0", "become leaving: it is shut down"]);
    lab.advert(RELEASE, HIGHER);
    lab.advert(100, OURS);
    assert_eq!(lab.actions(), [""; 0]);
    lab.now += millis(600);
    lab.advert(1, LOWER);
    assert_eq!(lab.actions(), ["become stopped: 192.0.2.9 has taken over, with priority 1"]);
    assert_eq!(lab.machine.poll_timeout(), None);
}

#[test]
fn a_master_that_leaves_waits_for_the_slowest_successor_or_until_it_is_told_again() {
    let mut lab = Lab::master(parameters());
    lab.machine.handle_shutdown(lab.now);
    lab.actions();
    assert_eq!(lab.expire(), Duration::from_nanos(3_996_093_750));
    assert_eq!(lab.actions(), ["become stopped: nobody has taken over within 4.0s"]);
    let mut lab = Lab::master(parameters());
    lab.machine.handle_shutdown(lab.now);
    lab.machine.handle_shutdown(lab.now);
    assert_eq!(lab.state(), State::Stopped);
}
