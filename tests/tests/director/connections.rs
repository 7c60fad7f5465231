//! `lb connections`: what is remembered, of a few connections and of a million.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lb_common::connection::{Inserted, Meta, State, Terms, Timeouts, insert, key_v4};
use lb_common::hash::FlowHash;
use lb_lab::{Director, Lab, Plane, Result, TestResult, UdpEcho, VirtualServer};
use lb_userspace::dataplane::{Capacity, Options};
use serde_json::{Value, json};

use crate::support::{OpenConnection, PATIENCE, lab, lab6, list, web, web6};

fn connections(director: &Director, options: &[&str]) -> Result<Vec<Value>> {
    let listed = director.json(["connections"].iter().chain(options))?;
    Ok(listed["connections"].as_array().expect("a list").clone())
}

#[test]
fn connections_are_listed_with_state_and_expiry() -> TestResult {
    let lab = lab6(1)?;
    let (client, server) = (lab.client(), lab.host("rs1"));
    let dns = VirtualServer::udp("dns", lab.vip(), 53).hosts([&server]);
    let director = Director::on(&lab.director()).config(web(&lab)).config(web6(&lab)).config(dns).start()?;
    let mut open = OpenConnection::open(&client, lab.vip())?;
    open.ask().expect("it answers");
    let mut open6 = OpenConnection::open(&client, lab.vip6())?;
    open6.ask().expect("it answers");
    client.http_get((lab.vip(), 80), PATIENCE)?;
    let _echo = UdpEcho::start(&server, (lab.vip(), 53))?;
    client.udp_exchange((lab.vip(), 53), b"ping", PATIENCE)?;

    let found = connections(&director, &[])?;
    assert_eq!(found.len(), 4, "{found:?}");
    let of = |address: SocketAddr| {
        let client = json!(address.to_string());
        found.iter().find(|connection| connection["client"] == client).expect("it is listed").clone()
    };
    let mut established = of(open.client().expect("it is connected"));
    let expires = established["expires_in"].take().as_u64().expect("a number");
    assert!((890..=900).contains(&expires), "{expires}");
    let expected = json!({
        "kind": "connection", "protocol": "tcp", "state": "ESTABLISHED", "expires_in": null,
        "client": open.client().expect("it is connected").to_string(),
        "virtual_address": format!("{}:80", lab.vip()), "real_server": server.address().to_string(),
        "service": "web", "half_open": false,
    });
    assert_eq!(established, expected);
    let established6 = of(open6.client().expect("it is connected"));
    assert_eq!(established6["service"], "web6");
    assert_eq!(established6["virtual_address"], format!("[{}]:80", lab.vip6()));

    let states = |found: Vec<Value>| {
        let mut states: Vec<String> =
            found.iter().map(|it| it["state"].as_str().expect("a name").to_owned()).collect();
        states.sort();
        states
    };
    for (options, expected) in [
        (&["--service", "web"][..], &["ESTABLISHED", "FIN_WAIT"][..]),
        (&["--service", "dns"], &["UDP"]),
        (&["--server", &server.address().to_string()], &["ESTABLISHED", "FIN_WAIT", "UDP"]),
        (&["--client", &format!("{}/64", prefix6(&client.address6()))], &["ESTABLISHED"]),
        (&["--client", "203.0.113.0/24"], &[]),
        (&["--client", &client.address().to_string(), "--service", "web6"], &[]),
    ] {
        assert_eq!(states(connections(&director, options)?), expected, "{options:?}");
    }
    assert_eq!(connections(&director, &["--limit", "2"])?.len(), 2);

    let table = director.cli(["connections", "--service", "dns"])?;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("Pro Expire State       Source"), "{table}");
    assert!(lines[1].starts_with("UDP 04:") || lines[1].starts_with("UDP 05:00"), "{table}");
    assert!(lines[1].ends_with(&format!("{}:53", server.address())), "{table}");
    let wrong = director.try_cli(["connections", "--service", "dsn"])?;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(wrong.stderr.contains("no virtual server \"dsn\"; did you mean \"dns\"?"), "{}", wrong.stderr);
    Ok(())
}

/// The first half of an address.
fn prefix6(address: &std::net::Ipv6Addr) -> std::net::Ipv6Addr {
    (address.to_bits() >> 64 << 64).into()
}

#[test]
fn a_million_connections_are_listed_while_the_daemon_goes_on_in_little_memory() -> TestResult {
    const MANY: u32 = 1_000_000;
    let lab = lab(1)?;
    let mut director = Director::on(&lab.director()).config(web(&lab)).start()?;
    director.kill()?;
    let kept = fill(&lab, &director, MANY)?;
    assert!(kept > u64::from(MANY) - 1000, "{kept}");
    director.start()?;
    let asked = Instant::now();
    list(&director)?;
    println!("`lb list` counted them in {:?}", asked.elapsed());
    let process = director.process()?.id();
    let before = resident_kib(process);

    let run = |pipe: &str| {
        let script = format!("\"$0\" connections --control-socket \"$1\" {pipe}");
        let command = lab.director().command("bash").args(["-o", "pipefail", "-c", &script]);
        command.arg(director.binary()).arg(director.control_socket()).timeout(Duration::from_secs(120))
    };
    let done = AtomicU64::new(0);
    let start = Instant::now();
    let (counted, longest, most) = std::thread::scope(|scope| -> Result<_> {
        let counting = scope.spawn(|| {
            let counted = run("| wc -l").run();
            done.store(1, Ordering::Release);
            counted
        });
        let (mut longest, mut most) = (Duration::ZERO, before);
        while done.load(Ordering::Acquire) == 0 {
            let asked = Instant::now();
            director.cli(["timeouts"])?;
            longest = longest.max(asked.elapsed());
            most = most.max(resident_kib(process));
        }
        let counted = counting.join().expect("it does not panic")?.success()?;
        Ok((counted.trim().parse::<u64>().expect("a number"), longest, most))
    })?;
    println!(
        "{counted} lines in {:?}; the daemon grew by {} KiB and answered within {longest:?}",
        start.elapsed(),
        most - before
    );
    assert_eq!(counted, kept + 1, "and a line of headings");
    assert!(longest < Duration::from_secs(2), "the daemon answers meanwhile: {longest:?}");
    assert!(most < before + (16 << 10), "the daemon grew by {} KiB", most - before);

    let start = Instant::now();
    let head = run("| head -3").run()?;
    let took = start.elapsed();
    assert_eq!((head.stdout.lines().count(), head.stderr.as_str()), (3, ""));
    assert!(head.status.success() && took < Duration::from_secs(2), "{}: {took:?}", head.status);
    let json = run("--json --limit 100000 --client 10.0.0.0/8 | tail -1").run()?.success()?;
    assert_eq!(json, "]}\n");

    // Whoever does not read on holds nobody up, not even an end.
    let _reader = run("| sleep 60").spawn()?;
    lb_lab::wait_until("it is reading", PATIENCE, || open_connections(&director, process) > 0);
    let start = Instant::now();
    director.stop()?;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    Ok(())
}

/// Established connections from 10.0.0.0/8 in the tables of a daemon that does not run; how many there are.
fn fill(lab: &Lab, director: &Director, count: u32) -> Result<u64> {
    let capacity = Capacity { max_connections: 1 << 20, has_ipv6: false };
    let plane = Plane::open(&Options { bpffs: director.bpffs().clone(), capacity, log_flows: false })?;
    let destination = *plane.view().destinations.keys().next().expect("there is a real server");
    let dataplane = plane.dataplane();
    let (table, seed) = (dataplane.memory().connections_v4(), dataplane.flow_seed());
    let now = dataplane.clock().now().expect("there is a clock");
    let timeouts = Timeouts::ipvs();
    let [a, b, c, d] = lab.vip().octets();
    let mut kept = 0;
    for n in 0..count {
        let [_, x, y, z] = n.to_be_bytes();
        let key = key_v4(u64::from_le_bytes([10, x, y, z, a, b, c, d]), u32::from_le_bytes([4, 3, 0, 80]), 6);
        let content = Meta::new(destination, State::Established, now);
        let terms = Terms { now, timeouts: &timeouts, ranks: &timeouts };
        let inserted = insert(table, &key, FlowHash::new(&key, seed), content, terms, |_, _| {});
        kept += u64::from(inserted == Inserted::Stored);
    }
    Ok(kept)
}

fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

/// Clients on the control socket: the daemon's ends, each of which has the socket's path.
fn open_connections(director: &Director, process: u32) -> usize {
    let sockets = fs::read_to_string(format!("/proc/{process}/net/unix")).expect("it runs");
    let path = director.control_socket().display().to_string();
    // State 01 is the one that listens, 03 is connected (`enum socket_state`).
    sockets.lines().filter(|line| line.ends_with(&path) && line.contains(" 03 ")).count()
}
