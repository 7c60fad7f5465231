//! What clients have open survives that the director goes, and that it comes back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use lb_lab::{Director, Download, Host, OpenConnection, TestResult, VirtualServer, wait_until};

use crate::support::{PATIENCE, instance, lab, wait_for, wait_for_state};

/// Connections that are open and silent.
const IDLE: usize = 1000;
/// What is downloaded, in bytes, and how many of them a second at most: the download outlasts all failovers.
const LENGTH: u64 = 100 << 20;
const RATE: u32 = 5 << 20;

#[test]
fn connections_that_rr_scheduled_survive_every_failover() -> TestResult {
    every_failover("rr")
}

#[test]
fn connections_that_wlc_scheduled_survive_every_failover() -> TestResult {
    every_failover("wlc")
}

fn every_failover(scheduler: &str) -> TestResult {
    let lab = lab(3)?;
    for server in lab.real_servers() {
        let file = lab.directory().join(format!("{}-nginx/files/large", server.name()));
        fs::File::create(&file)?.set_len(LENGTH)?;
    }
    let key = lab.directory().join("sync.key");
    fs::write(&key, "0123456789abcdef0123456789abcdef\n")?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    let start = |host: &str, priority| {
        let web = VirtualServer::tcp("web", lab.vip(), 80).scheduler(scheduler).hosts(&lab.real_servers());
        let sync = format!("[sync]\ninterface = \"eth0\"\ngroup = \"224.0.0.81:8848\"\nkey_file = {key:?}");
        Director::on(&lab.host(host)).config(web).config(instance(&lab, priority)).config(sync).start()
    };
    let mut a = start("a", 200)?;
    wait_for_state(&a, "master")?;
    let b = start("b", 100)?;
    wait_for_state(&b, "backup")?;

    let download = Download::start(&lab.client(), lab.vip(), "/files/large", RATE)?;
    let mut open = Vec::new();
    for _ in 0..IDLE {
        let mut connection = OpenConnection::open(&lab.client(), lab.vip())?;
        let server = connection.ask()?;
        open.push((connection, server));
    }
    wait_for_connections(&b, IDLE);

    a.stop()?;
    wait_for_state(&b, "master")?;
    all_answer(&mut open, "after an orderly hand-over");
    a.start()?;
    returned(&a, &b)?;
    all_answer(&mut open, "after the old master has returned");
    a.kill()?;
    wait_for_state(&b, "master")?;
    all_answer(&mut open, "after kill -9");
    a.start()?;
    returned(&a, &b)?;
    let host: Host = a.host().clone();
    lab.switch().set_port(&host, false)?;
    wait_for_state(&b, "master")?;
    wait_for_state(&a, "fault")?;
    all_answer(&mut open, "after the master has lost its link");
    lab.switch().set_port(&host, true)?;
    returned(&a, &b)?;
    all_answer(&mut open, "after the link is back");
    assert!(download.is_running(), "it was there all the time");
    assert_eq!(download.finish()?, LENGTH);
    Ok(())
}

/// The one of higher priority is master again, with its full priority.
fn returned(a: &Director, b: &Director) -> lb_lab::Result<()> {
    wait_for(a, "it is master again", |found| found["state"] == "master" && found["held"] == false)?;
    wait_for_state(b, "backup")
}

/// Every connection still goes to its own real server. Of all, not the first only: those that were lost are told.
fn all_answer(open: &mut [(OpenConnection, String)], when: &str) {
    let mut lost = Vec::new();
    for (place, (connection, server)) in open.iter_mut().enumerate() {
        match connection.ask() {
            Ok(answered) if answered == *server => {}
            Ok(other) => lost.push(format!("{place}: {other} instead of {server}")),
            Err(error) => lost.push(format!("{place}: {error}")),
        }
        assert!(lost.len() < 10, "{when}: {lost:?} and perhaps more");
    }
    assert!(lost.is_empty(), "{when}: {lost:?}");
}

/// Waits until a director that forwards none of them knows the connections.
fn wait_for_connections(director: &Director, count: usize) {
    wait_until("the backup knows the connections", PATIENCE + Duration::from_secs(10), || {
        let listed = director.cli(["connections", "--json"]).map_err(|error| error.to_string())?;
        let found = listed.lines().filter(|line| line.contains("ESTABLISHED")).count();
        if found >= count { Ok(()) } else { Err(format!("{found} of {count}")) }
    });
}
