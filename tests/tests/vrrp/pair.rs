//! Two directors with lb.

use std::time::Duration;

use lb_lab::TestResult;

use crate::support::{
    PATIENCE, director, has_address, instance, lab, start, vrrp, wait_for, wait_for_address, wait_for_state,
    web,
};

#[test]
fn the_one_with_the_higher_priority_has_the_address_and_the_other_one_takes_over() -> TestResult {
    let lab = lab(2)?;
    let vip = lab.vip().to_string();
    let mut a = director(&lab, "a", 150)?;
    wait_for_state(&a, "master")?;
    let mut b = director(&lab, "b", 100)?;
    wait_for_state(&b, "backup")?;
    assert!(has_address(a.host(), &vip)?);
    assert!(!has_address(b.host(), &vip)?);
    wait_for(&b, "it hears the master", |found| {
        found["master"]["address"] == a.host().address().to_string()
    })?;
    assert!(lab.client().http_get((lab.vip(), 80), PATIENCE).is_ok());

    a.stop()?;
    wait_for_state(&b, "master")?;
    assert!(vrrp(&b)?["reason"].as_str().is_some_and(|why| why.contains("has stopped")), "{}", vrrp(&b)?);
    assert!(!has_address(a.host(), &vip)?, "gone when the daemon has ended");
    assert!(lab.client().http_get((lab.vip(), 80), PATIENCE).is_ok());

    a.start()?;
    wait_for_state(&a, "master")?;
    wait_for_state(&b, "backup")?;
    assert!(!has_address(b.host(), &vip)?);

    a.kill()?;
    wait_for_state(&b, "master")?;
    assert!(vrrp(&b)?["reason"].as_str().is_some_and(|why| why.contains("no advert for")), "{}", vrrp(&b)?);
    assert!(lab.client().http_get((lab.vip(), 80), PATIENCE).is_ok());
    wait_for_address(a.host(), &vip, false)?;
    b.stop()?;
    Ok(())
}

/// One that was not told of VRRP: its addresses do not expire.
#[test]
fn what_a_killed_daemon_left_is_cleaned_at_the_next_start() -> TestResult {
    let lab = lab(1)?;
    let vip = lab.vip().to_string();
    let mut a = start(&lab, "a", &"")?;
    assert!(has_address(a.host(), &vip)?);
    a.kill()?;
    let b = director(&lab, "b", 200)?;
    wait_for_state(&b, "master")?;
    a.change_config(format!("{}\n{}", web(&lab), instance(&lab, 150)))?;
    a.start()?;
    wait_for_state(&a, "backup")?;
    wait_for_address(a.host(), &vip, false)?;
    a.process()?.wait_for_line("an earlier daemon left it", PATIENCE)?;
    Ok(())
}

#[test]
fn adverts_may_come_from_an_address_that_the_machine_does_not_have() -> TestResult {
    let lab = lab(1)?;
    let source = lab.subnet().address(200);
    let a = start(&lab, "a", &instance(&lab, 150).key("source_address", format!("\"{source}\"")))?;
    wait_for_state(&a, "master")?;
    let b = director(&lab, "b", 100)?;
    wait_for(&b, "it hears the master", |found| found["master"]["address"] == source.to_string())?;
    assert_eq!(vrrp(&b)?["state"], "backup");
    Ok(())
}

/// Neither hears the other: each is of another virtual router.
#[test]
fn two_masters_of_one_address_find_out() -> TestResult {
    let lab = lab(1)?;
    let mut a = start(&lab, "a", &instance(&lab, 150))?;
    let b = start(&lab, "b", &instance(&lab, 100).key("virtual_router_id", 52))?;
    for director in [&a, &b] {
        wait_for_state(director, "master")?;
    }
    a.process()?.wait_for_line("SPLIT BRAIN", Duration::from_secs(60))?;
    let told = vrrp(&a)?["split_brain"].to_string();
    assert!(told.contains(&b.host().mac().to_string()), "{told}");
    assert!(a.cli(["vrrp"])?.contains("SPLIT BRAIN of VI_1"));
    assert!(a.cli(["events", "--last", "10", "--no-follow"])?.contains("SPLIT BRAIN"));
    Ok(())
}

/// proc_pid_stat(5): field 41, counted from behind the name.
#[test]
fn the_thread_of_vrrp_runs_before_all_others() -> TestResult {
    const FIFO: &str = "1";
    let lab = lab(1)?;
    let mut a = director(&lab, "a", 150)?;
    wait_for_state(&a, "master")?;
    let id = a.process()?.id();
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{id}/task"))? {
        let path = task?.path();
        let name = std::fs::read_to_string(path.join("comm"))?.trim().to_owned();
        let stat = std::fs::read_to_string(path.join("stat"))?;
        let behind = stat.rsplit(')').next().unwrap_or_default();
        if behind.split_whitespace().nth(38) == Some(FIFO) {
            found.push(name);
        }
    }
    assert_eq!(found, ["vrrp"]);
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).map(str::trim);
    assert!(locked.is_some_and(|locked| locked != "0 kB"), "{locked:?}");
    Ok(())
}
