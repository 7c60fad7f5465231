//! Real servers' MACs: found, followed, lost and found again.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use lb_lab::{Director, Lab, Mac, TestResult, VirtualServer, wait_until};

use crate::support::{OpenConnection, PATIENCE, answers, answers_of, lab, lab6, real_servers, web, web6};

/// rs1 gets one MAC after the other; requests and an open connection follow it.
fn macs_are_followed(lab: &Lab, vip: IpAddr, service: VirtualServer) -> TestResult {
    let mut director = Director::on(&lab.director()).config(service).start()?;
    let rs1 = lab.host("rs1");
    let mut open = OpenConnection::open(&lab.client(), vip)?;
    let mut slowest = Duration::ZERO;
    for last in 0..5 {
        assert_eq!(answers_of(lab, vip, 1)?, ["rs1"]);
        let new = Mac([2, 0xee, 0, 0, 0, last]);
        let from = Instant::now();
        rs1.set_mac(new)?;
        wait_until("the director follows", PATIENCE, || {
            let listed = real_servers(&director).map_err(|error| error.to_string())?;
            if listed[0]["mac"] == new.to_string() { Ok(()) } else { Err(listed[0].to_string()) }
        });
        slowest = slowest.max(from.elapsed());
        assert_eq!(open.ask().expect("an open connection follows"), "rs1");
    }
    println!("slowest: {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}\n{}", director.process()?.log());
    assert_eq!(answers_of(lab, vip, 1)?, ["rs1"]);
    Ok(())
}

#[test]
fn a_mac_that_changes_silently_is_right_again_within_a_second() -> TestResult {
    let lab = lab(1)?;
    macs_are_followed(&lab, lab.vip().into(), web(&lab))
}

#[test]
fn a_mac_that_changes_silently_is_right_again_within_a_second_in_ipv6() -> TestResult {
    let lab = lab6(1)?;
    macs_are_followed(&lab, lab.vip6().into(), web6(&lab))
}

#[test]
fn a_real_server_that_cannot_be_resolved_gets_no_traffic_and_is_retried() -> TestResult {
    let lab = lab(2)?;
    let rs2 = lab.host("rs2");
    rs2.set_link(false)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let state = |index: usize| real_servers(&director).map(|listed| listed[index]["state"].clone());
    assert_eq!((state(0)?, state(1)?), ("up".into(), "unresolved".into()));
    assert_eq!(real_servers(&director)?[1]["mac"], serde_json::Value::Null);
    assert_eq!(answers(&lab, 3)?, ["rs1"; 3]);
    rs2.set_link(true)?;
    wait_until("rs2 is found", PATIENCE, || state(1).is_ok_and(|state| state == "up"));
    assert_eq!(answers(&lab, 4)?, ["rs2", "rs1", "rs2", "rs1"]);
    Ok(())
}

#[test]
fn a_real_server_that_falls_silent_gets_no_new_connections_and_keeps_its_old_ones() -> TestResult {
    let lab = lab(2)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let mut open = OpenConnection::open(&lab.client(), lab.vip())?;
    assert_eq!(open.ask().expect("it answers"), "rs2");
    let rs2 = lab.host("rs2");
    // It still takes frames, but answers no ARP any more.
    rs2.run(["ip", "link", "set", "dev", "eth0", "arp", "off"])?;
    let state = || real_servers(&director).map(|listed| listed[1]["state"].clone());
    wait_until("rs2 is missed", Duration::from_secs(10), || state().is_ok_and(|state| state == "unresolved"));
    assert_eq!(answers(&lab, 3)?, ["rs1"; 3]);
    // ARP off also keeps it from finding the client again, so it is told.
    let client = lab.client();
    rs2.pin_neighbour(client.address(), client.mac())?;
    assert_eq!(open.ask().expect("its connection is still sent there"), "rs2");
    rs2.run(["ip", "link", "set", "dev", "eth0", "arp", "on"])?;
    wait_until("rs2 is back", PATIENCE, || state().is_ok_and(|state| state == "up"));
    Ok(())
}

#[test]
fn a_configured_mac_is_used_as_it_is() -> TestResult {
    let lab = lab(1)?;
    let rs1 = lab.host("rs1");
    let service = format!(
        "{}[[virtual_server.real_server]]\naddress = \"10.99.0.200\"\nmac = \"{}\"\n",
        VirtualServer::tcp("web", lab.vip(), 80),
        rs1.mac()
    );
    let director = Director::on(&lab.director()).config(service).start()?;
    assert_eq!(real_servers(&director)?[0]["state"], "up");
    assert_eq!(answers(&lab, 2)?, ["rs1"; 2]);
    Ok(())
}
