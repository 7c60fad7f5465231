//! What most tests here begin with.

use std::net::IpAddr;
use std::time::Duration;

pub(crate) use lb_lab::OpenConnection;
use lb_lab::{Director, Lab, Result, VirtualServer};
use serde_json::Value;

/// Enough for a request in a lab, however busy the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A client, a director and `count` real servers.
pub(crate) fn lab(count: usize) -> Result<Lab> {
    Lab::builder().client("client").director("director").real_servers(count).build()
}

/// The same with IPv6 beside IPv4.
pub(crate) fn lab6(count: usize) -> Result<Lab> {
    Lab::builder().ipv6().client("client").director("director").real_servers(count).build()
}

/// A TCP service on port 80 of the lab's VIP, over all its real servers.
pub(crate) fn web(lab: &Lab) -> VirtualServer {
    VirtualServer::tcp("web", lab.vip(), 80).hosts(&lab.real_servers())
}

/// The same for the VIP's IPv6 address.
pub(crate) fn web6(lab: &Lab) -> VirtualServer {
    VirtualServer::tcp("web6", lab.vip6(), 80).hosts(&lab.real_servers())
}

/// The names of the real servers that answer `count` requests, one after the other.
pub(crate) fn answers(lab: &Lab, count: usize) -> Result<Vec<String>> {
    answers_of(lab, lab.vip(), count)
}

/// The same for requests to another VIP.
pub(crate) fn answers_of(lab: &Lab, vip: impl Into<IpAddr>, count: usize) -> Result<Vec<String>> {
    let vip = vip.into();
    (0..count).map(|_| Ok(lab.client().http_get((vip, 80), PATIENCE)?.server)).collect()
}

/// `lb list --json`.
pub(crate) fn list(director: &Director) -> Result<Value> {
    director.json(["list"])
}

/// The real servers of the first virtual server in `lb list --json`.
pub(crate) fn real_servers(director: &Director) -> Result<Vec<Value>> {
    let listed = list(director)?;
    Ok(listed["virtual_servers"][0]["real_servers"].as_array().expect("a list of real servers").clone())
}

/// The events of a kind, as `lb events` has them.
pub(crate) fn events(director: &Director, kind: &str) -> Result<Vec<Value>> {
    let told = director.cli(["events", "--last", "256", "--no-follow", "--json"])?;
    let parse = |line: &str| serde_json::from_str::<Value>(line).expect("JSON on each line");
    Ok(told.lines().map(parse).filter(|event| event["kind"] == kind).collect())
}

/// One counter of `lb counters --json`.
pub(crate) fn counter(director: &Director, name: &str) -> Result<u64> {
    let counters = director.json(["counters"])?;
    Ok(counters["counters"][name].as_u64().unwrap_or_else(|| panic!("no counter {name} in {counters}")))
}
