//! Thousands of health checks: what they cost, that none waits for another, and how quickly what they find counts.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime};

use lb_lab::{Director, HostSpec, Lab, Result, TestResult, wait_until};
use serde_json::Value;

use crate::support::PATIENCE;

/// Addresses of the real server's that answer, and as many that do not.
const ADDRESSES: u8 = 100;
/// For each address.
const SERVICES: u16 = 50;
const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 0);
/// How long the cost is measured.
const MEASURED: Duration = Duration::from_secs(10);

fn address(is_alive: bool, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, if is_alive { 4 } else { 5 }, number)
}

/// A real server with many addresses. Of some of them, answers never come back.
fn many_addresses() -> Result<Lab> {
    let lab = Lab::builder().subnet(NETWORK, 16).director("director").real_servers(1).build()?;
    let host = &lab.real_servers()[0];
    for number in 1..=ADDRESSES {
        host.add_address(address(true, number), 16)?;
        host.add_address(address(false, number), 16)?;
    }
    host.run(["ip", "rule", "add", "from", "10.99.5.0/24", "blackhole"])?;
    Ok(lab)
}

/// The director has the addresses itself: a lab's network and its real servers cost the kernel more than a probe does, and
/// all that is counted as the daemon's.
fn local_addresses() -> Result<Lab> {
    let lab = Lab::builder().subnet(NETWORK, 16).host(HostSpec::director("director").serving()).build()?;
    for number in 1..=ADDRESSES {
        lab.director().add_address(address(true, number), 16)?;
    }
    Ok(lab)
}

/// A check of each address for each virtual server: `check` says which, and only those that differ are several.
fn checks(lab: &Lab, services: u16, check: impl Fn(u16) -> String, is_alive: impl Fn(u8) -> bool) -> String {
    let mut text = String::new();
    for service in 0..services {
        let _ = writeln!(
            text,
            "[[virtual_server]]\nname = \"s{service}\"\naddresses = [\"{}:{}\"]\n\
             health_check = {{ interval = \"1s\", timeout = \"900ms\", retry_delay = \"1s\", {} }}",
            lab.vip(),
            10_000 + service,
            check(service)
        );
        for number in 1..=ADDRESSES {
            let address = address(is_alive(number), number);
            let _ = writeln!(text, "[[virtual_server.real_server]]\naddress = \"{address}\"");
        }
    }
    text
}

/// Time of a CPU that a process has used, and its memory that is in no file.
fn used(id: u32) -> (Duration, u64) {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split_whitespace().collect();
    // proc_pid_stat(5): utime and stime, in hundredths of a second.
    let ticks: u64 = [11, 12].iter().map(|place| fields[*place].parse::<u64>().expect("a number")).sum();
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("it is there");
    let kilobytes: u64 = anonymous.trim().trim_end_matches(" kB").parse().expect("a number");
    (Duration::from_millis(ticks * 10), kilobytes * 1024)
}

struct Cost {
    cpu: Duration,
    memory: u64,
    /// How late probes began.
    late: Vec<f64>,
}

impl Cost {
    fn percentile(&self, share: f64) -> f64 {
        self.late[((self.late.len() - 1) as f64 * share) as usize]
    }
}

fn health(director: &Director) -> Result<Vec<Value>> {
    Ok(director.json(["health"])?["checks"].as_array().expect("a list").clone())
}

/// What all checks cost together; and those whose server is alive all find that.
fn measure(lab: &Lab, probe: &str, is_alive: impl Fn(u8) -> bool + Copy) -> Result<Cost> {
    let mut director = Director::on(&lab.director())
        .setting("max_connections", 1024)
        .config(checks(
            lab,
            SERVICES,
            |service| format!("connect_timeout = \"{}ms\", {probe}", 800 + service),
            is_alive,
        ))
        .start()?;
    let count = usize::from(SERVICES) * usize::from(ADDRESSES);
    wait_until("all checks have been done", PATIENCE * 2, || {
        health(&director)
            .is_ok_and(|checks| checks.len() == count && checks.iter().all(|check| !check["last"].is_null()))
    });
    let id = director.process()?.id();
    let ((before, _), begin) = (used(id), Instant::now());
    std::thread::sleep(MEASURED);
    let ((after, memory), elapsed) = (used(id), begin.elapsed());
    let checks = health(&director)?;
    let mut late: Vec<f64> = checks.iter().filter_map(|check| check["last"]["late_ms"].as_f64()).collect();
    late.sort_by(f64::total_cmp);
    for check in &checks {
        let is_alive = check["server"].as_str().is_some_and(|server| server.starts_with("10.99.4."));
        assert_eq!(check["last"]["error"].is_null(), is_alive, "{check}");
    }
    let cpu = (after - before).mul_f64(MEASURED.as_secs_f64() / elapsed.as_secs_f64());
    let cost = Cost { cpu, memory, late };
    eprintln!(
        "{count} checks at 1 s, {probe}: {:.2} core-seconds in 10 s, {} MiB, late by {:.1} ms at the median, {:.1} ms at p99",
        cost.cpu.as_secs_f64(),
        cost.memory >> 20,
        cost.percentile(0.5),
        cost.percentile(0.99)
    );
    Ok(cost)
}

const LIMIT: u64 = 200 << 20;
/// Other tests run beside this one; what a quiet machine has is in docs/performance.md.
const LATE: f64 = 500.0;

#[test]
fn five_thousand_checks_cost_little() -> TestResult {
    let lab = local_addresses()?;
    for (probe, seconds) in [("tcp = { port = 80 }", 3), ("http = { port = 80, path = \"/\" }", 6)] {
        let cost = measure(&lab, probe, |_| true)?;
        // The kernel does the servers' part in the daemon's time, and other tests run beside this one.
        assert!(cost.cpu <= Duration::from_secs(2 * seconds), "{probe}: {:?}", cost.cpu);
        assert!(cost.memory < LIMIT, "{probe}: {} bytes", cost.memory);
        assert!(cost.percentile(0.99) < LATE, "{probe}: {} ms", cost.percentile(0.99));
    }
    Ok(())
}

#[test]
fn a_half_that_never_answers_delays_nobody() -> TestResult {
    let lab = many_addresses()?;
    let cost = measure(&lab, "tcp = { port = 80 }", |number| number % 2 == 0)?;
    assert!(cost.memory < LIMIT, "{} bytes", cost.memory);
    assert!(cost.percentile(0.99) < LATE, "{} ms", cost.percentile(0.99));
    Ok(())
}

fn time(text: &Value) -> SystemTime {
    humantime::parse_rfc3339(text.as_str().expect("a time")).expect("a time")
}

/// From the end of the probe that decides to the slot table that is published.
#[test]
fn what_a_check_finds_counts_at_once_with_a_thousand_real_servers() -> TestResult {
    let lab = many_addresses()?;
    let check = |service| format!("retries = 0, http = {{ port = 80, path = \"/{service}\" }}");
    let config = checks(&lab, 10, check, |_| true);
    let director = Director::on(&lab.director()).setting("max_connections", 1024).config(config).start()?;
    let all_are = |state: &str| {
        let checks = health(&director)?;
        Ok::<_, lb_lab::Error>(checks.len() == 1000 && checks.iter().all(|check| check["state"] == state))
    };
    wait_until("all are up", PATIENCE * 2, || all_are("up").unwrap_or(false));
    let socket = director.control_socket().clone();
    let log = lab.directory().join("events");
    let follow = format!(
        "exec {} events --json --control-socket {} > {}",
        director.binary().display(),
        socket.display(),
        log.display()
    );
    let mut following = lab.director().spawn(["sh", "-c", &follow])?;
    wait_until("somebody listens", PATIENCE, || log.exists());
    lab.real_servers()[0].stop_web()?;
    wait_until("all are down", PATIENCE * 2, || all_are("down").unwrap_or(false));
    let down = |event: &Value| event["kind"] == "real_server_state" && event["after"] == "down";
    let events = || -> Vec<Value> {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(down).collect()
    };
    wait_until("all is told", PATIENCE, || events().len() == 1000);
    following.kill()?;
    let published: HashMap<(String, String), SystemTime> = events()
        .iter()
        .map(|event| {
            let key = (event["service"].to_string(), event["server"].to_string());
            (key, time(&event["time"]))
        })
        .collect();
    let mut waited: Vec<Duration> = health(&director)?
        .iter()
        .map(|check| {
            let key = (check["virtual_servers"][0].to_string(), check["server"].to_string());
            published[&key].duration_since(time(&check["since"])).unwrap_or_default()
        })
        .collect();
    waited.sort_unstable();
    let (median, p99) = (waited[500], waited[989]);
    eprintln!("1,000 real servers go down: published after {median:?} at the median, {p99:?} at p99");
    assert!(p99 < Duration::from_millis(200), "{p99:?}");
    Ok(())
}
