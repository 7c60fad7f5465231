//! Either is master, the other one takes over: in every way that both can speak.

use std::time::Duration;

use lb_lab::{Director, Lab, Request, Result, TestResult, VirtualServer, try_wait_until};
use serde_json::Value;

use super::program::{Keepalived, PREEMPTION};
use super::router::{Kind, adverts, assert_nothing_rejected, wait_for_more_adverts, wait_for_states};
use crate::support::{PATIENCE, wait_for_address};

/// Plain, with a password, and among peers.
const V2: [Kind; 3] = [
    Kind::V2,
    Kind { place: 1, password: Some("1111"), ..Kind::V2 },
    Kind { place: 2, password: Some("12345678"), unicast: true, ..Kind::V2 },
];
const V3: [Kind; 2] = [Kind::V3, Kind { place: 1, unicast: true, ..Kind::V3 }];
const V3_FAST: [Kind; 1] = [Kind { interval: Duration::from_millis(100), ..Kind::V3 }];
const IPV6: [Kind; 2] =
    [Kind { ipv6: true, ..Kind::V3 }, Kind { place: 1, ipv6: true, unicast: true, ..Kind::V3 }];

#[test]
fn lb_is_master_in_version_2() -> TestResult {
    lb_is_higher(&V2)
}

#[test]
fn keepalived_is_master_in_version_2() -> TestResult {
    keepalived_is_higher(&V2)
}

#[test]
fn lb_is_master_in_version_3() -> TestResult {
    lb_is_higher(&V3)
}

#[test]
fn keepalived_is_master_in_version_3() -> TestResult {
    keepalived_is_higher(&V3)
}

#[test]
fn lb_is_master_in_version_3_ten_times_in_a_second() -> TestResult {
    lb_is_higher(&V3_FAST)
}

#[test]
fn keepalived_is_master_in_version_3_ten_times_in_a_second() -> TestResult {
    keepalived_is_higher(&V3_FAST)
}

#[test]
fn lb_is_master_of_ipv6() -> TestResult {
    lb_is_higher(&IPV6)
}

#[test]
fn keepalived_is_master_of_ipv6() -> TestResult {
    keepalived_is_higher(&IPV6)
}

/// All of them have one interval, and one family.
fn lb_is_higher(kinds: &[Kind]) -> TestResult {
    let lab = kinds[0].lab()?;
    let mut a = start_lb(&lab, kinds, 150)?;
    are(&a, kinds, "master")?;

    let adverts = adverts(&lab, "b")?;
    let b = start_keepalived(&lab, kinds, 100)?;
    wait_for_more_adverts(&a, "sent")?;
    wait_for_states_of_keepalived(&b, kinds, "BACKUP")?;
    assert_eq!(adverts.finish()?, [], "a backup is silent");
    are_at(&lab, kinds, "a", "b")?;

    a.stop()?;
    wait_for_states_of_keepalived(&b, kinds, "MASTER")?;
    b.wait_for_lines(kinds.len(), "Backup received priority 0 advertisement")?;
    are_at(&lab, kinds, "b", "a")?;

    a.start()?;
    are(&a, kinds, "master")?;
    wait_for_states_of_keepalived(&b, kinds, "BACKUP")?;
    are_at(&lab, kinds, "a", "b")?;
    are_served(&lab, kinds)?;
    assert_nothing_rejected(&a)?;

    a.kill()?;
    wait_for_states_of_keepalived(&b, kinds, "MASTER")?;
    are_at(&lab, kinds, "b", "a")?;
    b.assert_content(&PREEMPTION);
    Ok(())
}

/// All of them have one interval, and one family.
fn keepalived_is_higher(kinds: &[Kind]) -> TestResult {
    let lab = kinds[0].lab()?;
    let mut b = start_keepalived(&lab, kinds, 150)?;
    wait_for_states_of_keepalived(&b, kinds, "MASTER")?;

    let adverts = adverts(&lab, "a")?;
    let a = start_lb(&lab, kinds, 100)?;
    wait_for_more_adverts(&a, "received")?;
    wait_for_all(&a, kinds, "backup of priority 150", |found| {
        found["state"] == "backup"
            && found["master"]["priority"] == 150
            && found["transitions"]["master"] == 0
    })?;
    assert_eq!(adverts.finish()?, [], "a backup is silent");
    are_at(&lab, kinds, "b", "a")?;

    b.stop()?;
    wait_for_all(&a, kinds, "master, because keepalived has stopped", |found| {
        found["state"] == "master" && found["reason"].to_string().contains("has stopped")
    })?;
    are_at(&lab, kinds, "a", "b")?;
    are_served(&lab, kinds)?;

    b.run()?;
    wait_for_states_of_keepalived(&b, kinds, "MASTER")?;
    are(&a, kinds, "backup")?;
    are_at(&lab, kinds, "b", "a")?;

    b.kill()?;
    wait_for_all(&a, kinds, "master, because keepalived is silent", |found| {
        found["state"] == "master" && found["reason"].to_string().contains("no advert for")
    })?;
    for kind in kinds {
        // keepalived that was killed leaves its addresses where they are.
        wait_for_address(a.host(), &kind.vip(&lab).to_string(), true)?;
    }
    assert_nothing_rejected(&a)?;
    b.assert_content(&PREEMPTION);
    Ok(())
}

fn start_lb(lab: &Lab, kinds: &[Kind], priority: u8) -> Result<Director> {
    let web = VirtualServer::tcp("web", kinds[0].vip(lab), 80).hosts(&lab.real_servers());
    let web = kinds[1..].iter().fold(web, |web, kind| web.address(kind.vip(lab), 80));
    let instances: String = kinds.iter().map(|kind| kind.of_lb(lab, priority).to_string()).collect();
    Director::on(&lab.host("a")).config(web).config(instances).start()
}

fn start_keepalived(lab: &Lab, kinds: &[Kind], priority: u8) -> Result<Keepalived> {
    let sections: String = kinds.iter().map(|kind| kind.of_keepalived(lab, priority).to_string()).collect();
    Keepalived::start(lab, "b", &sections)
}

/// Waits until all instances of lb are in this state.
fn are(director: &Director, kinds: &[Kind], state: &str) -> Result<()> {
    wait_for_states(director, &vec![state; kinds.len()])
}

/// Waits until all instances of lb are as `is_so` says.
fn wait_for_all(
    director: &Director,
    kinds: &[Kind],
    what: &str,
    is_so: impl Fn(&Value) -> bool,
) -> Result<()> {
    try_wait_until(what, PATIENCE, || {
        let found = director.json(["vrrp"]).map_err(|error| error.to_string())?;
        let count = found["instances"].as_array().into_iter().flatten().filter(|found| is_so(found)).count();
        if count == kinds.len() { Ok(()) } else { Err(found.to_string()) }
    })
}

fn wait_for_states_of_keepalived(keepalived: &Keepalived, kinds: &[Kind], state: &str) -> Result<()> {
    kinds.iter().try_for_each(|kind| keepalived.wait_for_state(&kind.name(), state))
}

/// Waits until one host has the VIPs, and the other none.
fn are_at(lab: &Lab, kinds: &[Kind], owner: &str, other: &str) -> Result<()> {
    for vip in kinds.iter().map(|kind| kind.vip(lab).to_string()) {
        wait_for_address(&lab.host(owner), &vip, true)?;
        wait_for_address(&lab.host(other), &vip, false)?;
    }
    Ok(())
}

/// A client is answered through lb.
fn are_served(lab: &Lab, kinds: &[Kind]) -> TestResult {
    for kind in kinds {
        let answer = Request::get((kind.vip(lab), 80)).timeout(PATIENCE).send(&lab.client())?;
        assert_eq!(answer.server, "rs1");
    }
    Ok(())
}
