//! What checks are there for: each failure is found by the probe that is meant for it, and told in words that a person
//! understands; nobody else is blamed.
//!
//! In all of these labs it is `rs1` that fails.

mod answers;
mod network;
mod nginx;
mod reactions;
mod talk;
mod vip;

use lb_lab::{Director, Lab, Result, VirtualServer, wait_until};
use serde_json::Value;

use crate::support::{PATIENCE, events, list};

/// Decides within a second, and is patient enough with a healthy real server on a busy machine.
const OFTEN: &str = "interval = \"200ms\", timeout = \"200ms\", retries = 2, retry_delay = \"200ms\"";

/// `health_check` with a probe, such as `tcp = {}`.
fn often(probe: &str) -> String {
    format!("health_check = {{ {OFTEN}, {probe} }}")
}

/// A virtual server on a port of the VIP, over all real servers, with a probe.
fn checked(lab: &Lab, name: &str, port: u16, probe: &str) -> VirtualServer {
    VirtualServer::tcp(name, lab.vip(), port).hosts(&lab.real_servers()).line(&often(probe))
}

/// A daemon that has found all real servers of all virtual servers well.
fn started(lab: &Lab, services: impl IntoIterator<Item = VirtualServer>) -> Result<Director> {
    let config: String = services.into_iter().map(|service| service.to_string()).collect();
    let director = Director::on(&lab.director()).config(config).start()?;
    all_are_up(&director);
    Ok(director)
}

fn all_are_up(director: &Director) {
    wait_until("all real servers are up", PATIENCE, || {
        let listed = list(director).map_err(|error| error.to_string())?;
        let services = listed["virtual_servers"].as_array().expect("a list");
        let mut servers = services.iter().flat_map(servers_of);
        let is_well = |server: &Value| server["state"] == "up" && server["health"]["state"] == "up";
        if servers.all(|server| is_well(&server)) { Ok(()) } else { Err(format!("{listed:#}")) }
    });
}

fn servers_of(service: &Value) -> Vec<Value> {
    service["real_servers"].as_array().expect("a list of real servers").clone()
}

/// A real server of a virtual server in `lb list --json`.
fn server(director: &Director, service: &str, place: usize) -> Result<Value> {
    let listed = list(director)?;
    let services = listed["virtual_servers"].as_array().expect("a list");
    let found = services.iter().find(|found| found["name"] == service);
    Ok(servers_of(found.unwrap_or_else(|| panic!("no {service} in {listed:#}"))).swap_remove(place))
}

/// Waits until the first real server is in a state, and returns it.
fn wait_until_it_is(director: &Director, service: &str, state: &str) -> Value {
    wait_until(&format!("a real server of {service} is {state}"), 2 * PATIENCE, || {
        let found = server(director, service, 0).map_err(|error| error.to_string())?;
        if found["state"] == state { Ok(found) } else { Err(format!("{found:#}")) }
    })
}

/// Waits until the first real server of a virtual server is down, for a reason with these words. All others are well.
fn is_found(director: &Director, service: &str, words: &str) -> Result<()> {
    let down = wait_until_it_is(director, service, "down");
    let error = down["health"]["last"]["error"].as_str().unwrap_or_default();
    assert!(error.contains(words), "{service}: {error:?} does not say {words:?}");
    let told = changes(director, service)?;
    let last = told.iter().rfind(|event| event["after"] == "down").expect("it was told");
    let reason = last["reason"].as_str().unwrap_or_default();
    assert!(reason.contains(words), "{service}: {reason:?} does not say {words:?}");
    println!("{service}: {reason}");
    assert_eq!(last["server"], down["address"], "{last}");
    others_are_well(director, service)
}

/// All real servers but the first are up, and have not been down.
fn others_are_well(director: &Director, service: &str) -> Result<()> {
    let first = server(director, service, 0)?["address"].clone();
    let other = server(director, service, 1)?;
    assert_eq!(other["state"], "up", "{other:#}");
    let blamed = changes(director, service)?
        .into_iter()
        .filter(|event| event["server"] != first && event["after"] != "up")
        .collect::<Vec<_>>();
    assert_eq!(blamed, Vec::<Value>::new());
    Ok(())
}

/// What happened to the real servers of a virtual server.
fn changes(director: &Director, service: &str) -> Result<Vec<Value>> {
    let told = events(director, "real_server_state")?;
    Ok(told.into_iter().filter(|event| event["service"] == service).collect())
}
