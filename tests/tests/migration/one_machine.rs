//! Section 5: lb takes the place of keepalived and IPVS on their machine.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use lb_lab::{Director, HostSpec, TestResult, wait_until};

use crate::clients::{Requests, Talks, download, finish};
use crate::guide::Reader;
use crate::ipvs;
use crate::site::{BY_RR, BY_SH, Keepalived, PATIENCE, lab, wait_for_vips};

const TITLE: &str = "5. On one machine: without losing a connection";
/// Longer than lb takes to start, and shorter than IPVS is waited for.
const THROUGH_THE_START: Duration = Duration::from_secs(40);
/// Longer than the whole.
const THROUGH_IT_ALL: Duration = Duration::from_secs(120);
/// Short requests that prove a step.
const SOME: u64 = 20;

#[test]
fn migration_on_one_machine_fails_no_request_and_breaks_no_connection() -> TestResult {
    let lab = lab([HostSpec::director("director")])?;
    let host = lab.director();
    let keepalived = Keepalived::start(&lab, "director")?;
    let mut reader = Reader::new(&lab, keepalived, TITLE);
    let began = Instant::now();
    let requests = [Requests::start(&lab, BY_RR)?, Requests::start(&lab, BY_SH)?];
    let (talks_by_rr, talks_by_sh) = (Talks::start(&lab, BY_RR)?, Talks::start(&lab, BY_SH)?);
    let download_by_rr = download(&lab, BY_RR, THROUGH_THE_START)?;
    let download_by_sh = download(&lab, BY_SH, THROUGH_IT_ALL)?;
    let all_go_on = || {
        requests.iter().for_each(|requests| requests.wait_for_more(SOME));
        talks_by_sh.wait_for_more(2);
    };
    all_go_on();
    for vip in [BY_RR, BY_SH] {
        let forwarded = ipvs::service(&host, vip)?;
        assert!(forwarded.connections > SOME && forwarded.active >= 4, "{forwarded:?}");
    }

    // The file.
    println!("{}", reader.follow()?);
    all_go_on();

    // lb starts, and has all that is new.
    println!("{}", reader.follow()?);
    let before = [ipvs::service(&host, BY_RR)?, ipvs::service(&host, BY_SH)?];
    all_go_on();
    talks_by_rr.wait_for_more(4);
    let after = [ipvs::service(&host, BY_RR)?, ipvs::service(&host, BY_SH)?];
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.connections, after.connections, "IPVS gets none any more");
        assert!(scheduled(reader.director(), before.vip)? > SOME);
    }
    assert!(
        before[0].packets + 16 <= after[0].packets,
        "open ones of rr go on by IPVS: {before:?} {after:?}"
    );
    assert_eq!(before[1].packets, after[1].packets, "open ones of sh go on by lb");

    // Those that IPVS has end.
    let answers_by_rr = talks_by_rr.finish()?;
    finish(download_by_rr)?;
    wait_until("IPVS has no connection of rr any more", PATIENCE, || {
        let printed = host.run(["ipvsadm", "-Ln"]).map_err(|error| error.to_string())?;
        match ipvs::service(&host, BY_RR) {
            Ok(service) if service.active == 0 => Ok(()),
            _ => Err(printed),
        }
    });
    println!("{}", reader.follow()?);

    // keepalived ends.
    assert!(download_by_sh.is_running());
    println!("{}", reader.follow()?);
    reader.has_reached_the_end()?;
    assert_eq!(ipvs::services(&host)?, []);
    wait_for_vips(&host, true);
    all_go_on();
    assert_eq!(reader.director().json(["vrrp"])?["instances"][0]["state"], "master");

    let answers_by_sh = talks_by_sh.finish()?;
    finish(download_by_sh)?;
    for (requests, name) in requests.into_iter().zip(["rr", "sh"]) {
        let report = requests.finish()?;
        println!("{name}: {report:?}");
        assert!(report.errors.is_empty(), "{report:?}");
    }
    println!(
        "open connections: {answers_by_rr} and {answers_by_sh} answers; all of it took {:?}",
        began.elapsed()
    );
    Ok(())
}

/// Connections of a VIP that lb has scheduled.
fn scheduled(director: &Director, vip: Ipv4Addr) -> Result<u64, Box<dyn std::error::Error>> {
    let listed = director.json(["list"])?;
    let is_it = |service: &&serde_json::Value| service["addresses"].to_string().contains(&vip.to_string());
    let services = listed["virtual_servers"].as_array().expect("a list");
    let service = services.iter().find(is_it).ok_or_else(|| format!("lb has no {vip}: {listed}"))?;
    let servers = service["real_servers"].as_array().expect("a list");
    Ok(servers.iter().filter_map(|server| server["stats"]["connections"].as_u64()).sum())
}
