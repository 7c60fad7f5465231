//! Two directors with lb.

use std::time::Duration;

use lb_lab::{Lab, TestResult, wait_until};
use serde_json::Value;

use crate::support::{
    Instance, PATIENCE, Thread, director, has_address, instance, lab, start, threads, vrrp, wait_for,
    wait_for_address, wait_for_state, web,
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

#[test]
fn the_threads_of_vrrp_run_before_all_others() -> TestResult {
    const FIFO: u64 = 1;
    let lab = lab(1)?;
    let mut a = director(&lab, "a", 150)?;
    wait_for_state(&a, "master")?;
    let id = a.process()?.id();
    let is_first = |thread: &Thread| thread.field(41) == FIFO;
    let mut found: Vec<String> =
        threads(id)?.into_iter().filter(is_first).map(|thread| thread.name).collect();
    found.sort();
    assert_eq!(found, ["vrrp", "vrrp-addresses"]);
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).map(str::trim);
    assert!(locked.is_some_and(|locked| locked != "0 kB"), "{locked:?}");
    Ok(())
}

/// Whoever changes interfaces holds a lock (`rtnl_lock`) that everybody else waits for who asks anything about addresses.
#[test]
fn adverts_do_not_wait_for_somebody_who_changes_interfaces() -> TestResult {
    let lab = lab(1)?;
    let quick =
        |host, priority| start(&lab, host, &instance(&lab, priority).key("advert_interval", "\"50ms\""));
    let a = quick("a", 200)?;
    wait_for_state(&a, "master")?;
    let b = quick("b", 100)?;
    wait_for_state(&b, "backup")?;
    let changes = "for i in $(seq 64); do echo link add many$i type veth peer name peer$i; \
                   echo link set many$i up; echo address add 203.0.113.$i/32 dev many$i; done | ip -batch -; \
                   for i in $(seq 64); do echo link delete many$i; done | ip -batch -";
    for _ in 0..3 {
        lab.client().run(["sh", "-c", changes])?;
    }
    assert_eq!(vrrp(&a)?["transitions"]["master"], 1);
    assert_eq!(vrrp(&b)?["transitions"]["master"], 0, "no advert came late");
    Ok(())
}

#[test]
fn what_is_no_longer_virtual_stays_where_the_director_is_alone() -> TestResult {
    let lab = lab(1)?;
    let vip = lab.vip().to_string();
    let mut a = director(&lab, "a", 150)?;
    wait_for_state(&a, "master")?;
    wait_for_address(a.host(), &vip, true)?;
    a.change_config(web(&lab))?;
    a.cli(["reload"])?;
    let is_for_good = || -> Result<bool, Box<dyn std::error::Error>> {
        let shown = a.host().run(["ip", "address", "show", "dev", "eth0"])?;
        let after = shown.lines().skip_while(|line| !line.contains(&format!("{vip}/32")));
        Ok(after.take(2).any(|line| line.contains("valid_lft forever")))
    };
    wait_until("the VIP is there for good", PATIENCE, || is_for_good().unwrap_or(false));
    Ok(())
}

#[test]
fn excluded_addresses_come_and_go_with_the_others_and_are_in_no_advert() -> TestResult {
    let lab = Lab::builder().client("client").director("a").director("b").real_servers(1).ipv6().build()?;
    let (other, v6) = (lab.subnet().address(121).to_string(), "2001:db8:ffff::1");
    let excluded = format!("[\"{other}/24\", \"{v6}/64\"]");
    let mut a = start(&lab, "a", &instance(&lab, 150).key("excluded_addresses", excluded))?;
    wait_for_state(&a, "master")?;
    for address in [&other, v6] {
        wait_for_address(a.host(), address, true)?;
    }
    // One that has others, or none, listens all the same.
    let mut b = director(&lab, "b", 100)?;
    wait_for(&b, "backup of a", |found| found["master"]["priority"] == 150)?;
    b.stop()?;
    a.change_config(format!("{}\n{}", web(&lab), instance(&lab, 150)))?;
    a.cli(["reload"])?;
    for address in [&other, v6] {
        wait_for_address(a.host(), address, false)?;
    }
    assert_eq!(vrrp(&a)?["transitions"]["master"], 1);
    Ok(())
}

/// Nobody knows how the interface of a new instance is before it was looked at; that is no fault of the group's.
#[test]
fn an_instance_that_joins_a_group_of_masters_costs_it_nothing() -> TestResult {
    let lab = lab(1)?;
    let mut a = start(&lab, "a", &instance(&lab, 150))?;
    wait_for_state(&a, "master")?;
    let second = Instance::new("VI_2", 150, &[format!("{}/24", lab.subnet().address(122))]);
    let group = "[[vrrp_sync_group]]\nname = \"G\"\ninstances = [\"VI_1\", \"VI_2\"]\n";
    let second = second.key("virtual_router_id", 52);
    a.change_config(format!("{}\n{}\n{second}\n{group}", web(&lab), instance(&lab, 150)))?;
    a.cli(["reload"])?;
    wait_until("both are master", PATIENCE, || {
        let found = a.json(["vrrp"]).map_err(|error| error.to_string())?;
        let states: Vec<&Value> = (0..2).map(|i| &found["instances"][i]["state"]).collect();
        if states == ["master", "master"] { Ok(()) } else { Err(found.to_string()) }
    });
    let found = a.json(["vrrp"])?;
    for i in 0..2 {
        assert_eq!(found["instances"][i]["transitions"]["fault"], 0, "{found}");
    }
    assert_eq!(found["instances"][0]["transitions"]["master"], 1, "{found}");
    Ok(())
}
