//! Whoever sends what is no advert, or none of ours, changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lb_lab::{Host, HostSpec, Lab, TestResult};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{director, threads, vrrp, wait_for, wait_for_state};

/// How many bogus adverts a second a director has to stand.
const RATE: u64 = 100_000;
const FLOOD: Duration = Duration::from_secs(5);
const PROTOCOL: u8 = 112;

/// An advert of version 3 for the lab's VIP, as a frame from this host; the caller makes it wrong.
fn advert(from: &Host, vip: std::net::Ipv4Addr, priority: u8) -> Vec<u8> {
    let group = [224, 0, 0, 18];
    let mut frame = vec![0x01, 0x00, 0x5e, 0x00, 0x00, 0x12];
    frame.extend(from.mac().0);
    frame.extend([0x08, 0x00]);
    let mut header = vec![0x45, 0xc0, 0, 20 + 12, 0, 0, 0, 0, 255, PROTOCOL, 0, 0];
    header.extend(from.address().octets());
    header.extend(group);
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum);
    let mut message = vec![0x31, 51, priority, 1, 0, 10, 0, 0];
    message.extend(vip.octets());
    let pseudo = [&from.address().octets()[..], &group, &[0, PROTOCOL, 0, 12]].concat();
    let sum = checksum(&[&pseudo, &message]);
    message[6..8].copy_from_slice(&sum);
    frame.extend(header);
    frame.extend(message);
    frame.resize(60, 0);
    frame
}

fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let bytes = parts.concat();
    let sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let [.., high, low] = (!((sum & 0xffff) + (sum >> 16))).to_be_bytes();
    [high, low]
}

/// Where things are in the frame.
const IP: usize = 14;
const TTL: usize = IP + 8;
const IP_CHECKSUM: usize = IP + 10;
const VRRP: usize = IP + 20;

fn rejected(instance: &Value) -> u64 {
    let causes = instance["adverts"]["rejected"].as_object();
    causes.map_or(0, |causes| causes.values().filter_map(Value::as_u64).sum())
}

#[test]
fn each_field_of_an_advert_that_is_wrong_is_counted_and_changes_nothing() -> TestResult {
    let lab = Lab::builder().director("a").director("b").host(HostSpec::other("mallory")).build()?;
    let a = director(&lab, "a", 200)?;
    wait_for_state(&a, "master")?;
    let b = director(&lab, "b", 100)?;
    wait_for_state(&b, "backup")?;
    let mallory = lab.host("mallory");
    let right = advert(&mallory, lab.vip(), 254);
    // Of each: which byte, what it is instead, and under what it is counted. A sum that has to be right is made so.
    let wrong: [(&str, usize, u8, bool); 6] = [
        ("version", VRRP, 0x21, true),
        ("type", VRRP, 0x32, true),
        ("checksum", VRRP + 6, right[VRRP + 6] ^ 0xff, false),
        ("length", VRRP + 3, 3, true),
        ("addresses", VRRP + 11, right[VRRP + 11] ^ 1, true),
        ("interval", VRRP + 5, 0, true),
    ];
    let mut frames = Vec::new();
    for (cause, place, value, has_sum) in wrong {
        let mut frame = right.clone();
        frame[place] = value;
        if has_sum {
            frame[VRRP + 6..VRRP + 8].copy_from_slice(&[0, 0]);
            let pseudo = [&mallory.address().octets()[..], &[224, 0, 0, 18], &[0, PROTOCOL, 0, 12]].concat();
            let sum = checksum(&[&pseudo, &frame[VRRP..VRRP + 12]]);
            frame[VRRP + 6..VRRP + 8].copy_from_slice(&sum);
        }
        frames.push((cause, frame));
    }
    let mut routed = right;
    routed[TTL] = 254;
    routed[IP_CHECKSUM..IP_CHECKSUM + 2].copy_from_slice(&[0, 0]);
    let sum = checksum(&[&routed[IP..VRRP]]);
    routed[IP_CHECKSUM..IP_CHECKSUM + 2].copy_from_slice(&sum);
    frames.push(("ttl", routed));
    for (cause, frame) in frames {
        mallory.send_frame(&frame)?;
        for director in [&a, &b] {
            let what = format!("{cause} is counted by {}", director.host().name());
            lb_lab::wait_until(&what, crate::support::PATIENCE, || {
                let found = vrrp(director).map_err(|error| error.to_string())?;
                if found["adverts"]["rejected"][cause].as_u64() >= Some(1) {
                    Ok(())
                } else {
                    Err(found.to_string())
                }
            });
        }
    }
    assert_eq!(vrrp(&a)?["transitions"]["master"], 1);
    assert_eq!(vrrp(&b)?["transitions"]["master"], 0);
    Ok(())
}

/// Seconds of a CPU that the thread of VRRP of a daemon has taken (proc_pid_stat(5): utime and stime).
fn cpu_time(id: u32) -> std::io::Result<f64> {
    const TICKS: f64 = 100.0;
    let thread = threads(id)?.into_iter().find(|thread| thread.name == "vrrp");
    let thread = thread.ok_or(std::io::ErrorKind::NotFound)?;
    Ok((thread.field(14) + thread.field(15)) as f64 / TICKS)
}

#[test]
fn a_flood_of_bogus_adverts_costs_no_mastership() -> TestResult {
    let lab = Lab::builder().director("a").director("b").host(HostSpec::other("mallory")).build()?;
    let mut a = director(&lab, "a", 200)?;
    wait_for_state(&a, "master")?;
    let b = director(&lab, "b", 100)?;
    wait_for_state(&b, "backup")?;
    let mallory = lab.host("mallory");
    let id = a.process()?.id();
    let mut frame = advert(&mallory, lab.vip(), 254);
    frame[VRRP + 6] ^= 0xff;
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let flood = {
        let (sender, stop, sent) = (mallory.frame_sender()?, Arc::clone(&stop), Arc::clone(&sent));
        mallory.start_thread(move || -> lb_lab::Result<()> {
            let began = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                let due = began.elapsed().as_micros() as u64 * RATE / 1_000_000;
                if sent.load(Ordering::Relaxed) >= due {
                    std::thread::yield_now();
                    continue;
                }
                sender.send(&frame)?;
                sent.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })?
    };
    let (before, began) = (cpu_time(id)?, Instant::now());
    while began.elapsed() < FLOOD {
        assert_eq!(vrrp(&a)?["state"], "master", "{}", vrrp(&a)?);
        assert_eq!(vrrp(&b)?["state"], "backup", "{}", vrrp(&b)?);
    }
    let seconds = began.elapsed().as_secs_f64();
    let busy = cpu_time(id)? - before;
    stop.store(true, Ordering::Relaxed);
    flood.join().expect("it ends")??;
    let (a, b) = (vrrp(&a)?, vrrp(&b)?);
    let rate = sent.load(Ordering::Relaxed) as f64 / seconds;
    let each = busy / rejected(&a).max(1) as f64;
    println!(
        "{rate:.0} bogus adverts a second; {} counted by the master, {:.1} µs of a CPU for each",
        rejected(&a),
        each * 1e6
    );
    // Whatever this machine's generator gives, beside two directors: that time has in it what the kernel does for others.
    assert!(rate > 1000.0, "the flood was none: {rate:.0} adverts a second");
    assert!(rejected(&a) > 1000 && rejected(&b) > 1000, "{a} {b}");
    assert_eq!((&a["transitions"]["master"], &a["transitions"]["backup"]), (&1.into(), &1.into()));
    assert_eq!(b["transitions"]["master"], 0);
    Ok(())
}

/// Nanoseconds that the thread of VRRP of a daemon has been on a CPU (Documentation/scheduler/sched-stats.rst).
fn time_on_cpu(id: u32) -> std::io::Result<u64> {
    let thread = threads(id)?.into_iter().find(|thread| thread.name == "vrrp");
    let path = thread.ok_or(std::io::ErrorKind::NotFound)?.path.join("schedstat");
    Ok(std::fs::read_to_string(path)?.split(' ').next().and_then(|time| time.parse().ok()).unwrap_or(0))
}

/// In the flood the thread's time has in it what the kernel does for whoever sends, on the same machine. Here it reads what
/// has come while the daemon was stopped, and nobody sends.
#[test]
fn a_bogus_advert_takes_a_few_microseconds() -> TestResult {
    const ROUNDS: u64 = 20;
    /// As many as the socket has room for.
    const AT_A_TIME: u64 = 500;
    let lab = Lab::builder().director("a").host(HostSpec::other("mallory")).build()?;
    let mut a = director(&lab, "a", 200)?;
    wait_for_state(&a, "master")?;
    let (mallory, id) = (lab.host("mallory"), a.process()?.id());
    let mut frame = advert(&mallory, lab.vip(), 254);
    frame[VRRP + 6] ^= 0xff;
    let sender = mallory.frame_sender()?;
    let mut busy = 0;
    for round in 1..=ROUNDS {
        a.signal(Signal::SIGSTOP)?;
        let before = time_on_cpu(id)?;
        for _ in 0..AT_A_TIME {
            sender.send(&frame)?;
        }
        a.signal(Signal::SIGCONT)?;
        wait_for(&a, "all are counted", |found| rejected(found) == round * AT_A_TIME)?;
        busy += time_on_cpu(id)? - before;
    }
    let each = busy as f64 / (ROUNDS * AT_A_TIME) as f64;
    println!(
        "{:.1} µs of a CPU for each bogus advert: 100,000 a second take {:.0} % of one",
        each / 1e3,
        each / 100.0
    );
    assert!(each < 8_000.0, "{each} ns");
    Ok(())
}
