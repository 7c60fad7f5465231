//! A keepalived that comes and goes does not cost lb its mastership.

use lb_lab::TestResult;

use super::program::Keepalived;
use super::router::{Kind, assert_nothing_rejected, wait_for_more_adverts};
use crate::support::{has_address, vrrp, wait_for_state};

#[test]
fn a_backup_that_comes_and_goes_costs_nobody_mastership() -> TestResult {
    let lab = Kind::V3.lab()?;
    let vip = lab.vip().to_string();
    let a = Kind::V3.start_lb(&lab, &Kind::V3.of_lb(&lab, 100))?;
    wait_for_state(&a, "master")?;
    let before = vrrp(&a)?;

    // Of the same priority, and the higher address: it would be master if it spoke first.
    let mut b = Keepalived::start(&lab, "b", &Kind::V3.of_keepalived(&lab, 100))?;
    for round in 1..=3 {
        b.stop()?;
        b.run()?;
        b.kill()?;
        b.run()?;
        b.reload()?;
        b.wait_for_lines(round, "Reload complete")?;
        wait_for_more_adverts(&a, "sent")?;
        assert_eq!(b.state("VI_1").as_deref(), Some("BACKUP"));
    }
    // It never spoke, so there was nothing to receive.
    let after = vrrp(&a)?;
    for key in ["state", "since", "reason", "transitions"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    assert_eq!(after["adverts"]["received"], 0);
    assert_nothing_rejected(&a)?;
    assert!(has_address(a.host(), &vip)?);
    assert!(!has_address(b.host(), &vip)?);
    b.assert_content(&[]);
    Ok(())
}

#[test]
fn a_higher_one_that_comes_and_goes_is_followed_each_time() -> TestResult {
    let lab = Kind::V3.lab()?;
    let vip = lab.vip().to_string();
    let a = Kind::V3.start_lb(&lab, &Kind::V3.of_lb(&lab, 100))?;
    wait_for_state(&a, "master")?;
    let mut b = Keepalived::start(&lab, "b", &Kind::V3.of_keepalived(&lab, 150))?;
    for _ in 0..3 {
        wait_for_state(&a, "backup")?;
        assert!(!has_address(a.host(), &vip)?);
        b.stop()?;
        wait_for_state(&a, "master")?;
        assert!(has_address(a.host(), &vip)?);
        b.run()?;
    }
    wait_for_state(&a, "backup")?;
    assert_eq!(vrrp(&a)?["transitions"], serde_json::json!({ "master": 4, "backup": 5, "fault": 0 }));
    assert_nothing_rejected(&a)?;
    b.assert_content(&super::program::PREEMPTION);
    Ok(())
}
