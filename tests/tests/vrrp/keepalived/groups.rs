//! Two virtual routers on one interface: each with a master of its own, or in a sync group.

use lb_lab::{Director, Lab, Result, TestResult};

use super::check::Check;
use super::program::{Keepalived, PREEMPTION};
use super::router::{Kind, Section, lab, wait_for_states};
use crate::support::wait_for_address;

const SECOND: Kind = Kind { place: 1, ..Kind::V3 };
pub(super) const NAMES: [&str; 2] = ["VI_1", "VI_2"];
pub(super) const GROUP_OF_KEEPALIVED: &str = "vrrp_sync_group G1 {\ngroup {\nVI_1\nVI_2\n}\n}\n";
pub(super) const GROUP_OF_LB: &str = "[[vrrp_sync_group]]\nname = \"G1\"\ninstances = [\"VI_1\", \"VI_2\"]\n";

#[test]
fn each_is_master_of_one_router_and_of_both_when_the_other_is_gone() -> TestResult {
    let lab = lab(false)?;
    let mut a = start_lb(&lab, &of_lb(&lab, [150, 100]).concat())?;
    let mut b = Keepalived::start(&lab, "b", &of_keepalived(&lab, [100, 150]))?;
    wait_for_states(&a, &["master", "backup"])?;
    has_addresses(&lab, [true, false])?;
    b.wait_for_state("VI_2", "MASTER")?;
    assert_eq!(b.state("VI_1").as_deref(), Some("BACKUP"));

    b.stop()?;
    wait_for_states(&a, &["master", "master"])?;
    b.run()?;
    wait_for_states(&a, &["master", "backup"])?;
    has_addresses(&lab, [true, false])?;

    a.stop()?;
    NAMES.iter().try_for_each(|name| b.wait_for_state(name, "MASTER"))?;
    a.start()?;
    wait_for_states(&a, &["master", "backup"])?;
    b.wait_for_state("VI_1", "BACKUP")?;
    has_addresses(&lab, [true, false])?;
    b.assert_content(&PREEMPTION);
    Ok(())
}

#[test]
fn a_fault_of_one_instance_of_lb_moves_its_group_to_keepalived() -> TestResult {
    let lab = lab(false)?;
    let check = Check::new(&lab)?;
    let a = start_lb(&lab, &(of_lb(&lab, [150, 150]).concat() + &check.of_lb(0) + GROUP_OF_LB))?;
    wait_for_states(&a, &["master", "master"])?;
    let config = GROUP_OF_KEEPALIVED.to_owned() + &of_keepalived(&lab, [100, 100]);
    let b = Keepalived::start(&lab, "b", &config)?;

    check.fail()?;
    wait_for_states(&a, &["fault", "fault"])?;
    NAMES.iter().try_for_each(|name| b.wait_for_state(name, "MASTER"))?;
    has_addresses(&lab, [false, false])?;

    check.succeed()?;
    wait_for_states(&a, &["master", "master"])?;
    NAMES.iter().try_for_each(|name| b.wait_for_state(name, "BACKUP"))?;
    has_addresses(&lab, [true, true])?;
    b.assert_content(&PREEMPTION);
    Ok(())
}

#[test]
fn a_fault_of_one_instance_of_keepalived_moves_its_group_to_lb() -> TestResult {
    let lab = lab(false)?;
    let check = Check::new(&lab)?;
    let a = start_lb(&lab, &(of_lb(&lab, [100, 100]).concat() + GROUP_OF_LB))?;
    let [first, second] = sections(&lab, [150, 150]);
    let (script, second) = (check.of_keepalived(0), second.line(Check::OF_INSTANCE));
    let b = Keepalived::start(&lab, "b", &format!("{script}{GROUP_OF_KEEPALIVED}{first}{second}"))?;
    NAMES.iter().try_for_each(|name| b.wait_for_state(name, "MASTER"))?;
    wait_for_states(&a, &["backup", "backup"])?;
    has_addresses(&lab, [false, false])?;

    check.fail()?;
    wait_for_states(&a, &["master", "master"])?;
    NAMES.iter().try_for_each(|name| b.wait_for_state(name, "FAULT"))?;
    has_addresses(&lab, [true, true])?;

    check.succeed()?;
    wait_for_states(&a, &["backup", "backup"])?;
    NAMES.iter().try_for_each(|name| b.wait_for_state(name, "MASTER"))?;
    has_addresses(&lab, [false, false])?;
    b.assert_content(&[PREEMPTION.as_slice(), &Check::MESSAGES].concat());
    Ok(())
}

pub(super) fn start_lb(lab: &Lab, sections: &str) -> Result<Director> {
    Kind::V3.start_lb(lab, &sections)
}

/// VI_1 and VI_2, each with a VIP.
pub(super) fn of_lb(lab: &Lab, [first, second]: [u8; 2]) -> [String; 2] {
    [Kind::V3.of_lb(lab, first).to_string(), SECOND.of_lb(lab, second).to_string()]
}

fn of_keepalived(lab: &Lab, priorities: [u8; 2]) -> String {
    sections(lab, priorities).map(|section| section.to_string()).concat()
}

pub(super) fn sections(lab: &Lab, [first, second]: [u8; 2]) -> [Section; 2] {
    [Kind::V3.of_keepalived(lab, first), SECOND.of_keepalived(lab, second)]
}

/// Waits until `a` has those of the VIPs, and `b` the others; nobody else's stays.
fn has_addresses(lab: &Lab, has: [bool; 2]) -> Result<()> {
    for (vip, has) in lab.vips().iter().zip(has) {
        wait_for_address(&lab.host("a"), &vip.to_string(), has)?;
        wait_for_address(&lab.host("b"), &vip.to_string(), !has)?;
    }
    Ok(())
}
