//! What most tests here begin with.

use std::fmt::Write as _;
use std::time::Duration;

use lb_lab::{Director, Host, Lab, Result, VirtualServer, try_wait_until};
use serde_json::Value;

/// Enough for anything that takes no time by itself, however busy the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A client, two directors `a` and `b`, and `count` real servers.
pub(crate) fn lab(count: usize) -> Result<Lab> {
    Lab::builder().client("client").director("a").director("b").real_servers(count).build()
}

/// A `[[vrrp_instance]]`, as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    name: String,
    keys: Vec<(String, String)>,
    rest: String,
}

impl Instance {
    /// Of virtual router 51, version 3, with an advert every 100 ms.
    pub(crate) fn new(name: &str, priority: u8, addresses: &[String]) -> Self {
        let addresses = format!("{addresses:?}");
        Self { name: name.to_owned(), keys: Vec::new(), rest: String::new() }
            .key("interface", "\"eth0\"")
            .key("virtual_router_id", 51)
            .key("version", 3)
            .key("advert_interval", "\"100ms\"")
            .key("priority", priority)
            .key("virtual_addresses", addresses)
    }

    /// With another value of a key, which is TOML.
    pub(crate) fn key(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.keys.retain(|(known, _)| known != key);
        self.keys.push((key.to_owned(), value.to_string()));
        self
    }

    /// With a section below it.
    pub(crate) fn section(mut self, text: &str) -> Self {
        self.rest += text;
        self.rest.push('\n');
        self
    }
}

impl std::fmt::Display for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, keys, rest } = self;
        writeln!(f, "[[vrrp_instance]]\nname = \"{name}\"")?;
        for (key, value) in keys {
            writeln!(f, "{key} = {value}")?;
        }
        f.write_str(rest)
    }
}

/// A TCP service on port 80 of the lab's VIP, over all its real servers.
pub(crate) fn web(lab: &Lab) -> VirtualServer {
    VirtualServer::tcp("web", lab.vip(), 80).hosts(&lab.real_servers())
}

/// A director with the lab's web service and one instance for its VIP.
pub(crate) fn director(lab: &Lab, host: &str, priority: u8) -> Result<Director> {
    start(lab, host, &instance(lab, priority))
}

pub(crate) fn instance(lab: &Lab, priority: u8) -> Instance {
    Instance::new("VI_1", priority, &[format!("{}/24", lab.vip())])
}

/// A director with the lab's web service and these sections.
pub(crate) fn start(lab: &Lab, host: &str, sections: &impl std::fmt::Display) -> Result<Director> {
    let mut text = String::new();
    // Writing to a string does not fail.
    _ = write!(text, "{}\n{sections}", web(lab));
    Director::on(&lab.host(host)).config(text).start()
}

/// What `lb vrrp --json` says of the first instance.
pub(crate) fn vrrp(director: &Director) -> Result<Value> {
    Ok(director.json(["vrrp"])?["instances"][0].clone())
}

/// Waits until the first instance is in this state.
pub(crate) fn wait_for_state(director: &Director, state: &str) -> Result<()> {
    wait_for(director, state, |found| found["state"] == state)
}

/// Waits until the first instance is as `is_so` says.
pub(crate) fn wait_for(director: &Director, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
    try_wait_until(&format!("{}: {what}", director.host().name()), PATIENCE, || {
        let found = vrrp(director).map_err(|error| error.to_string())?;
        if is_so(&found) { Ok(()) } else { Err(found.to_string()) }
    })
}

/// Whether a host's `eth0` has an address.
pub(crate) fn has_address(host: &Host, address: &str) -> Result<bool> {
    Ok(host.run(["ip", "address", "show", "dev", "eth0"])?.contains(&format!(" {address}/")))
}

/// Waits until it has it, or has it no more.
pub(crate) fn wait_for_address(host: &Host, address: &str, wanted: bool) -> Result<()> {
    let what = format!("{} {} {address}", host.name(), if wanted { "has" } else { "has no" });
    try_wait_until(&what, PATIENCE, || match has_address(host, address) {
        Ok(found) if found == wanted => Ok(()),
        Ok(_) => Err("not yet".to_owned()),
        Err(error) => Err(error.to_string()),
    })
}

/// A thread of a process.
pub(crate) struct Thread {
    pub(crate) name: String,
    /// Its directory in `/proc`.
    pub(crate) path: std::path::PathBuf,
    stat: Vec<String>,
}

impl Thread {
    /// A field of `/proc/PID/task/TID/stat`, numbered as proc_pid_stat(5) does; 0 if it is no number.
    pub(crate) fn field(&self, number: usize) -> u64 {
        // The third is the first behind the name.
        self.stat.get(number - 3).and_then(|field| field.parse().ok()).unwrap_or(0)
    }
}

/// The threads of a process.
pub(crate) fn threads(id: u32) -> std::io::Result<Vec<Thread>> {
    let mut threads = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{id}/task"))? {
        let path = task?.path();
        let name = std::fs::read_to_string(path.join("comm"))?.trim().to_owned();
        let stat = std::fs::read_to_string(path.join("stat"))?;
        let behind = stat.rsplit(')').next().unwrap_or_default();
        let stat = behind.split_whitespace().map(str::to_owned).collect();
        threads.push(Thread { name, path, stat });
    }
    Ok(threads)
}
