//! How long clients are without answers when the director that is master goes, and when it comes back.

use std::time::Duration;

use lb_lab::{Director, Host, Lab, Pulse, UdpEcho, VirtualServer, try_wait_until};
use serde::Serialize;

use crate::Result;

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Failover {
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) runs: usize,
    /// The longest time without an answer in a run, in milliseconds: the median of the runs.
    pub(crate) median: f64,
    /// That of the worst run.
    pub(crate) worst: f64,
}

/// How a master goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// SIGTERM.
    Stopped,
    /// SIGKILL.
    Killed,
    /// Its cable is pulled.
    Unplugged,
    /// It was away, and comes back with the higher priority.
    Returned,
}

/// The rows that there are: how the master goes, and how often it sends an advert.
const ROWS: [(&str, &str, End, u32); 6] = [
    ("failover/orderly-100ms", "orderly end, 100 ms", End::Stopped, 100),
    ("failover/killed-100ms", "kill -9, 100 ms", End::Killed, 100),
    ("failover/killed-10ms", "kill -9, 10 ms", End::Killed, 10),
    ("failover/unplugged-100ms", "link lost, 100 ms", End::Unplugged, 100),
    ("failover/unplugged-10ms", "link lost, 10 ms", End::Unplugged, 10),
    ("failover/returned-100ms", "the old master returns, 100 ms", End::Returned, 100),
];

/// As the goals have it.
const RUNS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(20);
/// Time that is certainly part of no failover, before and after one.
const MARGIN: Duration = Duration::from_millis(100);
const PORT: u16 = 7;

/// The rows' names.
pub(crate) fn ids() -> Vec<String> {
    ROWS.iter().map(|(id, ..)| (*id).to_owned()).collect()
}

/// Plays the rows that are chosen.
pub(crate) fn measure(is_chosen: impl Fn(&str) -> bool) -> Result<Vec<Failover>> {
    let mut measured = Vec::new();
    for (id, label, end, interval) in ROWS.into_iter().filter(|(id, ..)| is_chosen(id)) {
        let mut gaps = play(end, interval)?;
        gaps.sort_unstable();
        let milliseconds = |gap: Duration| gap.as_secs_f64() * 1e3;
        measured.push(Failover {
            id: id.to_owned(),
            label: label.to_owned(),
            runs: gaps.len(),
            median: milliseconds(gaps[gaps.len() / 2]),
            worst: milliseconds(gaps[gaps.len() - 1]),
        });
    }
    Ok(measured)
}

fn play(end: End, interval: u32) -> Result<Vec<Duration>> {
    let lab = Lab::builder().client("client").director("a").director("b").real_servers(2).build()?;
    let servers = lab.real_servers();
    let _echoes = servers
        .iter()
        .map(|server| UdpEcho::start(server, (lab.vip(), PORT)))
        .collect::<lb_lab::Result<Vec<_>>>()?;
    let mut a = director(&lab, "a", 200, interval)?;
    wait_for(&a, "master")?;
    let b = director(&lab, "b", 150, interval)?;
    wait_for(&b, "backup")?;
    let (host, client, vip) = (a.host().clone(), lab.client(), lab.vip());
    (0..RUNS)
        .map(|_| {
            if end == End::Returned {
                a.stop()?;
                wait_for(&b, "master")?;
            }
            client.udp_exchange((vip, PORT), b"warm", PATIENCE)?;
            let pulse = Pulse::start(&client, (vip, PORT))?;
            std::thread::sleep(MARGIN);
            match end {
                End::Stopped => drop(a.stop()?),
                End::Killed => drop(a.kill()?),
                End::Unplugged => unplug(&lab, &host, false)?,
                End::Returned => a.start()?,
            }
            let successor = if end == End::Returned { &a } else { &b };
            wait_for(successor, "master")?;
            std::thread::sleep(MARGIN);
            let gap = pulse.gap()?;
            match end {
                End::Unplugged => unplug(&lab, &host, true)?,
                _ => a.start()?,
            }
            wait_for(&a, "master")?;
            wait_for(&b, "backup")?;
            Ok(gap)
        })
        .collect()
}

/// A cable has two ends: pulled out, neither has a carrier.
fn unplug(lab: &Lab, host: &Host, is_up: bool) -> Result<()> {
    Ok(lab.switch().set_port(host, is_up)?)
}

fn director(lab: &Lab, host: &str, priority: u8, interval: u32) -> Result<Director> {
    let echo = VirtualServer::udp("echo", lab.vip(), PORT).hosts(&lab.real_servers());
    let vip = lab.vip();
    let instance = format!(
        "[[vrrp_instance]]\nname = \"VI_1\"\ninterface = \"eth0\"\nvirtual_router_id = 51\nversion = 3\n\
         priority = {priority}\nadvert_interval = \"{interval}ms\"\nvirtual_addresses = [\"{vip}/24\"]"
    );
    Ok(Director::on(&lab.host(host)).config(echo).config(instance).start()?)
}

fn wait_for(director: &Director, state: &str) -> Result<()> {
    let name = director.host().name();
    Ok(try_wait_until(&format!("{name} is {state}"), PATIENCE, || {
        let found = director.json(["vrrp"]).map_err(|error| error.to_string())?;
        let found = &found["instances"][0];
        if found["state"] == state { Ok(()) } else { Err(found.to_string()) }
    })?)
}
