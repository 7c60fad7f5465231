//! Large configurations: soon ready, small in memory.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use lb_lab::{Director, TestResult, VirtualServer};

use crate::support::{lab, list};

/// 100 services with 10 real servers each, at ten addresses that answer ARP.
#[test]
fn a_thousand_real_servers_are_served_within_a_second_in_little_memory() -> TestResult {
    let lab = lab(3)?;
    for server in lab.real_servers() {
        for n in 0..4u8 {
            let last = 150 + server.address().octets()[3] % 10 * 4 + n;
            server.add_address(lab.subnet().address(last.into()), 24)?;
        }
    }
    let addresses: Vec<_> = lab
        .real_servers()
        .iter()
        .flat_map(|server| (0..4u8).map(|n| 150 + server.address().octets()[3] % 10 * 4 + n))
        .take(10)
        .map(|last| lab.subnet().address(last.into()))
        .collect();
    assert_eq!(addresses.len(), 10);
    let mut sections = String::new();
    for n in 0..100u16 {
        let service = VirtualServer::tcp(&format!("service-{n}"), lab.vip(), 1000 + n).scheduler("sh");
        let service = addresses.iter().fold(service, |service, address| service.real_server(*address, 1));
        let _ = writeln!(sections, "{service}");
    }
    let before = Instant::now();
    let mut director = Director::on(&lab.director()).config(sections).start()?;
    let ready = before.elapsed();
    let resident = resident_kib(director.process()?.id());
    let listed = list(&director)?;
    let servers = listed["virtual_servers"].as_array().expect("a list");
    assert_eq!(servers.len(), 100);
    let states = servers.iter().flat_map(|server| server["real_servers"].as_array().expect("a list"));
    assert!(states.into_iter().all(|server| server["state"] == "up"));
    println!("ready after {ready:?}, {resident} KiB resident, {TABLES_KIB} of them the connection tables");
    assert!(ready < Duration::from_secs(1), "ready after {ready:?}");
    assert!(resident < TABLES_KIB + RING_KIB + (50 << 10), "{resident} KiB");
    Ok(())
}

/// A mapped BPF array is resident as a whole: 64 MiB for the default of 2^20 connections.
const TABLES_KIB: u64 = 64 << 10;
/// And so is the ring of 4 MiB by which the daemon is told of connections, which is mapped twice.
const RING_KIB: u64 = 8 << 10;

/// Without code: an unoptimised program has several times as much as the one that is installed, where it is 5 MiB.
fn resident_kib(process: u32) -> u64 {
    let mappings = std::fs::read_to_string(format!("/proc/{process}/smaps")).expect("it runs");
    let (mut is_code, mut resident) = (false, 0);
    for line in mappings.lines() {
        if let Some(size) = line.strip_prefix("Rss:") {
            let size: u64 = size.trim().trim_end_matches(" kB").trim().parse().expect("a number");
            resident += if is_code { 0 } else { size };
        } else if line.split_whitespace().next().is_some_and(|range| range.contains('-')) {
            is_code = line.split_whitespace().nth(5).is_some_and(|name| name.starts_with('/'));
        }
    }
    resident
}
