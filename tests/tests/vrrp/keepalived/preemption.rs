//! Whether, and when, a director takes over from one of a lower priority.

use std::time::Duration;

use lb_lab::{Capture, TestResult};

use super::program::{Keepalived, PREEMPTION};
use super::router::{Kind, adverts, assert_nothing_rejected, now, wait_for_more_adverts};
use crate::support::{PATIENCE, vrrp, wait_for, wait_for_state};

const DELAY: Duration = Duration::from_secs(2);

#[test]
fn lb_does_not_preempt_where_it_is_not_to() -> TestResult {
    let lab = Kind::V3.lab()?;
    let mut b = Keepalived::start(&lab, "b", &Kind::V3.of_keepalived(&lab, 100))?;
    b.wait_for_state("VI_1", "MASTER")?;
    let a = Kind::V3.start_lb(&lab, &Kind::V3.of_lb(&lab, 150).key("preempt", false))?;
    wait_for_more_adverts(&a, "received")?;
    wait_for(&a, "backup of priority 100", |found| {
        found["state"] == "backup"
            && found["master"]["priority"] == 100
            && found["transitions"]["master"] == 0
    })?;

    b.stop()?;
    wait_for_state(&a, "master")?;
    b.run()?;
    wait_for_more_adverts(&a, "sent")?;
    assert_eq!(vrrp(&a)?["transitions"]["master"], 1);
    b.assert_content(&[]);
    Ok(())
}

#[test]
fn keepalived_does_not_preempt_where_it_is_not_to() -> TestResult {
    let lab = Kind::V3.lab()?;
    let mut a = Kind::V3.start_lb(&lab, &Kind::V3.of_lb(&lab, 100))?;
    wait_for_state(&a, "master")?;
    let b = Keepalived::start(&lab, "b", &Kind::V3.of_keepalived(&lab, 150).line("nopreempt"))?;
    wait_for_more_adverts(&a, "sent")?;
    assert_eq!(b.state("VI_1").as_deref(), Some("BACKUP"));

    a.stop()?;
    b.wait_for_state("VI_1", "MASTER")?;
    a.start()?;
    wait_for_more_adverts(&a, "received")?;
    wait_for(&a, "backup of priority 150", |found| {
        found["state"] == "backup" && found["master"]["priority"] == 150
    })?;
    assert_nothing_rejected(&a)?;
    b.assert_content(&[]);
    Ok(())
}

#[test]
fn lb_waits_before_it_preempts() -> TestResult {
    let lab = Kind::V3.lab()?;
    let b = Keepalived::start(&lab, "b", &Kind::V3.of_keepalived(&lab, 100))?;
    b.wait_for_state("VI_1", "MASTER")?;
    let (began, sent) = (now(), adverts(&lab, "a")?);
    let delay = format!("\"{}s\"", DELAY.as_secs());
    let a = Kind::V3.start_lb(&lab, &Kind::V3.of_lb(&lab, 150).key("preempt_delay", delay))?;
    wait_for_state(&a, "master")?;
    has_waited(&sent, began)?;
    b.wait_for_state("VI_1", "BACKUP")?;
    b.assert_content(&PREEMPTION);
    Ok(())
}

#[test]
fn keepalived_waits_before_it_preempts() -> TestResult {
    let lab = Kind::V3.lab()?;
    let a = Kind::V3.start_lb(&lab, &Kind::V3.of_lb(&lab, 100))?;
    wait_for_state(&a, "master")?;
    let (began, sent) = (now(), adverts(&lab, "b")?);
    let delay = format!("preempt_delay {}", DELAY.as_secs());
    let b = Keepalived::start(&lab, "b", &Kind::V3.of_keepalived(&lab, 150).line(delay))?;
    b.wait_for_state("VI_1", "MASTER")?;
    has_waited(&sent, began)?;
    wait_for_state(&a, "backup")?;
    assert_nothing_rejected(&a)?;
    b.assert_content(&[PREEMPTION.as_slice(), &["start preempt delay "]].concat());
    Ok(())
}

fn has_waited(adverts: &Capture, began: Duration) -> TestResult {
    let first = adverts.wait_for(PATIENCE, |_| true)?;
    let waited = first.at.saturating_sub(began);
    assert!(waited >= DELAY, "{waited:?}");
    Ok(())
}
