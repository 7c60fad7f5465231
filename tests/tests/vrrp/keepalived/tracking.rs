//! What is tracked on either side makes the other one master, and back.

use lb_lab::{Lab, Result, TestResult};

use super::check::Check;
use super::program::{Keepalived, PREEMPTION};
use super::router::{Kind, assert_nothing_rejected};
use crate::support::{vrrp, wait_for, wait_for_state};

/// What keepalived writes of scripts and links that are tracked.
const TRACKING: [&str; 6] = [
    PREEMPTION[0],
    PREEMPTION[1],
    Check::MESSAGES[0],
    Check::MESSAGES[1],
    Check::MESSAGES[2],
    "Netlink reports tracked ",
];

#[test]
fn a_script_of_lb_that_fails_lowers_its_priority() -> TestResult {
    a_script_of_lb(150, -100, (150, 50))
}

#[test]
fn a_script_of_lb_that_succeeds_raises_its_priority() -> TestResult {
    a_script_of_lb(80, 50, (130, 80))
}

#[test]
fn a_script_of_lb_without_weight_has_to_succeed() -> TestResult {
    let lab = Kind::V3.lab()?;
    let check = Check::new(&lab)?;
    let a = Kind::V3.start_lb(&lab, &Kind::V3.of_lb(&lab, 150).section(&check.of_lb(0)))?;
    wait_for_state(&a, "master")?;
    let b = Keepalived::start(&lab, "b", &Kind::V3.of_keepalived(&lab, 100))?;
    check.fail()?;
    wait_for_state(&a, "fault")?;
    b.wait_for_state("VI_1", "MASTER")?;
    b.wait_for_lines(1, "Backup received priority 0 advertisement")?;
    check.succeed()?;
    wait_for_state(&a, "master")?;
    b.wait_for_state("VI_1", "BACKUP")?;
    b.assert_content(&TRACKING);
    Ok(())
}

fn a_script_of_lb(priority: u8, weight: i16, (good, bad): (u8, u8)) -> TestResult {
    let lab = Kind::V3.lab()?;
    let check = Check::new(&lab)?;
    let a = Kind::V3.start_lb(&lab, &Kind::V3.of_lb(&lab, priority).section(&check.of_lb(weight)))?;
    wait_for(&a, "master", |found| found["state"] == "master" && found["priority"] == good)?;
    let b = Keepalived::start(&lab, "b", &Kind::V3.of_keepalived(&lab, 100))?;
    check.fail()?;
    wait_for(&a, "backup", |found| found["state"] == "backup" && found["priority"] == bad)?;
    b.wait_for_state("VI_1", "MASTER")?;
    check.succeed()?;
    wait_for(&a, "master", |found| found["state"] == "master" && found["priority"] == good)?;
    b.wait_for_state("VI_1", "BACKUP")?;
    assert_nothing_rejected(&a)?;
    b.assert_content(&TRACKING);
    Ok(())
}

#[test]
fn a_script_of_keepalived_that_fails_lowers_its_priority() -> TestResult {
    a_script_of_keepalived(150, -100, Some((150, 50)))
}

#[test]
fn a_script_of_keepalived_that_succeeds_raises_its_priority() -> TestResult {
    a_script_of_keepalived(80, 50, Some((130, 80)))
}

#[test]
fn a_script_of_keepalived_without_weight_has_to_succeed() -> TestResult {
    a_script_of_keepalived(150, 0, None)
}

/// `priorities`: while the script succeeds, and while it fails.
fn a_script_of_keepalived(priority: u8, weight: i16, priorities: Option<(u8, u8)>) -> TestResult {
    let lab = Kind::V3.lab()?;
    let check = Check::new(&lab)?;
    let a = Kind::V3.start_lb(&lab, &Kind::V3.of_lb(&lab, 100))?;
    let instance = Kind::V3.of_keepalived(&lab, priority).line(Check::OF_INSTANCE);
    let b = Keepalived::start(&lab, "b", &format!("{}{instance}", check.of_keepalived(weight)))?;
    let good = priorities.map_or(priority, |(good, _)| good);
    let is_backup =
        |found: &serde_json::Value| found["state"] == "backup" && found["master"]["priority"] == good;
    wait_for(&a, "backup", is_backup)?;
    b.wait_for_state("VI_1", "MASTER")?;
    check.fail()?;
    wait_for_state(&a, "master")?;
    let reason = vrrp(&a)?["reason"].to_string();
    match priorities {
        Some((_, bad)) => {
            assert!(reason.contains(&format!("has priority {bad}, ours is 100")), "{reason}");
            b.wait_for_state("VI_1", "BACKUP")?;
        }
        None => {
            assert!(reason.contains("has stopped"), "{reason}");
            b.wait_for_state("VI_1", "FAULT")?;
        }
    }
    check.succeed()?;
    wait_for(&a, "backup", is_backup)?;
    assert_nothing_rejected(&a)?;
    b.assert_content(&TRACKING);
    Ok(())
}

#[test]
fn a_link_that_keepalived_tracks_has_to_be_up() -> TestResult {
    let lab = Kind::V3.lab()?;
    add_link(&lab, "b")?;
    let a = Kind::V3.start_lb(&lab, &Kind::V3.of_lb(&lab, 100))?;
    let section = Kind::V3.of_keepalived(&lab, 150).line("track_interface {\ntracked\n}");
    let b = Keepalived::start(&lab, "b", &section)?;
    b.wait_for_state("VI_1", "MASTER")?;
    wait_for_state(&a, "backup")?;
    set_link(&lab, "b", "down")?;
    b.wait_for_state("VI_1", "FAULT")?;
    wait_for(&a, "master", |found| {
        found["state"] == "master" && found["reason"].to_string().contains("has stopped")
    })?;
    set_link(&lab, "b", "up")?;
    b.wait_for_state("VI_1", "MASTER")?;
    wait_for_state(&a, "backup")?;
    assert_nothing_rejected(&a)?;
    b.assert_content(&TRACKING);
    Ok(())
}

#[test]
fn a_link_that_lb_tracks_has_to_be_up() -> TestResult {
    let lab = Kind::V3.lab()?;
    add_link(&lab, "a")?;
    let a = Kind::V3.start_lb(&lab, &Kind::V3.of_lb(&lab, 150).key("track_interfaces", "[\"tracked\"]"))?;
    wait_for_state(&a, "master")?;
    let b = Keepalived::start(&lab, "b", &Kind::V3.of_keepalived(&lab, 100))?;
    set_link(&lab, "a", "down")?;
    wait_for(&a, "fault", |found| {
        found["state"] == "fault" && found["reason"].to_string().contains("link of tracked is down")
    })?;
    b.wait_for_state("VI_1", "MASTER")?;
    set_link(&lab, "a", "up")?;
    wait_for_state(&a, "master")?;
    b.wait_for_state("VI_1", "BACKUP")?;
    b.assert_content(&TRACKING);
    Ok(())
}

/// Adds the link `tracked` to a host.
fn add_link(lab: &Lab, host: &str) -> Result<()> {
    let words = ["ip", "link", "add", "tracked", "type", "veth", "peer", "name", "other-end"];
    lab.host(host).run(words)?;
    lab.host(host).run(["ip", "link", "set", "other-end", "up"])?;
    set_link(lab, host, "up")
}

fn set_link(lab: &Lab, host: &str, how: &str) -> Result<()> {
    lab.host(host).run(["ip", "link", "set", "tracked", how]).map(drop)
}
