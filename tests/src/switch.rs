//! The switch: the bridge that joins the hosts, in a namespace of its own.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use crate::capture::{Capture, Direction};
use crate::command::{Command, Output};
use crate::error::Result;
use crate::host::Host;
use crate::link::{BRIDGE, Batch, Mac, make_bridge, make_port};
use crate::namespace::Namespace;
use crate::place::Place;
use crate::spec::SWITCH;
use crate::testbed::Attachment;
use crate::wait::try_wait_until;

/// Time for the bridge to learn of its ports' carriers.
const TIME_TO_FORWARD: Duration = Duration::from_secs(10);

/// The bridge that joins the hosts. Its ports have the hosts' names.
#[derive(Clone)]
pub struct Switch {
    namespace: Namespace,
    place: Arc<Place>,
}

impl Switch {
    pub(crate) fn create(place: &Arc<Place>, settings: &[(&str, &str)]) -> Result<Self> {
        let namespace = Namespace::create(&place.namespace(SWITCH), settings)?;
        let switch = Self { namespace, place: Arc::clone(place) };
        let mut batch = Batch::default();
        make_bridge(&mut batch);
        switch.ip(batch)?;
        Ok(switch)
    }

    /// The name of its network namespace, for `ip netns` and people.
    pub fn namespace(&self) -> &str {
        &self.namespace.name
    }

    /// A program to run here.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        Command::new(&self.namespace, &self.place, SWITCH, program)
    }

    /// Runs the closure on a thread whose sockets are the switch's, and waits for it.
    pub fn enter<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Result<T> {
        self.namespace.enter(closure)
    }

    /// Captures what passes a host's cable from now on: [`Direction::In`] is from the host to the switch,
    /// [`Direction::Out`] from the switch to the host. What XDP sends, drops or answers is seen here too.
    pub fn capture(&self, host: &Host) -> Result<Capture> {
        self.capture_if(host, |_, _| true)
    }

    /// Captures those frames of a host's cable for which the filter says yes.
    pub fn capture_if(
        &self,
        host: &Host,
        filter: impl Fn(Direction, &[u8]) -> bool + Send + 'static,
    ) -> Result<Capture> {
        self.capture_port(host.name(), filter)
    }

    pub(crate) fn capture_port(
        &self,
        port: &str,
        filter: impl Fn(Direction, &[u8]) -> bool + Send + 'static,
    ) -> Result<Capture> {
        Capture::start(&self.namespace, port, filter)
    }

    /// Turns the switch into a hub, or back: every frame goes to every port.
    pub fn set_flooding(&self, flooding: bool) -> Result<()> {
        let mut batch = Batch::default();
        // The bridge learns nothing with an ageing time of 0; what it knows already has to be forgotten.
        let seconds = if flooding { 0 } else { 300 };
        batch.line(format_args!("link set {BRIDGE} type bridge ageing_time {}", seconds * 100));
        self.ip(batch)?;
        self.command("bridge").args(["fdb", "flush", "dev", BRIDGE, "dynamic"]).run()?.success()?;
        Ok(())
    }

    /// Pulls a host's cable, or plugs it in again: the host's `eth0` loses or gets its carrier a moment later.
    pub fn set_port(&self, host: &Host, up: bool) -> Result<()> {
        let mut batch = Batch::default();
        batch.line(format_args!("link set dev {} {}", host.name(), if up { "up" } else { "down" }));
        self.ip(batch)
    }

    /// Makes cables to namespaces: name of the port, of the namespace, and address of its `eth0`.
    pub(crate) fn plug(&self, cables: &[(&str, &str, Mac)]) -> Result<()> {
        let mut batch = Batch::default();
        for (port, namespace, mac) in cables {
            make_port(&mut batch, port, namespace, *mac);
        }
        self.ip(batch)
    }

    /// Waits until the switch forwards to these ports. The kernel tells the bridge of a port's carrier a
    /// moment after the cable is made; until then it drops what goes there.
    pub(crate) fn wait_until_forwarding(&self, ports: &[&str]) -> Result<()> {
        try_wait_until("the switch's ports forward", TIME_TO_FORWARD, || -> Result<_, String> {
            let output = self.command("bridge").args(["link", "show"]).run().and_then(Output::success);
            let states = output.map_err(|error| error.to_string())?;
            // `3: client@if2: <…> mtu 1500 master bridge state forwarding priority 32 cost 2`
            let forwards = |port: &str| {
                let of_port = |line: &&str| line.split(' ').nth(1).is_some_and(|name| is_port(name, port));
                states.lines().find(of_port).is_some_and(|line| line.contains(" state forwarding "))
            };
            if ports.iter().all(|port| forwards(port)) { Ok(()) } else { Err(states) }
        })
    }

    /// Has the frames that go to a host bear their VLAN tags in themselves, as on a cable, and not beside.
    pub fn keep_tags_in_frames(&self, host: &Host) -> Result<()> {
        self.command("ethtool").args(["-K", host.name(), "tx-vlan-offload", "off"]).run()?.success().map(drop)
    }

    /// Has a port run an XDP program of the testbed; `pass` lets its host's XDP_TX through.
    pub(crate) fn attach(&self, port: &str, program: &str) -> Result<Attachment> {
        Attachment::new(&self.namespace, port, program)
    }

    pub(crate) fn close(&self) {
        self.namespace.close();
    }

    pub(crate) fn ip(&self, batch: Batch) -> Result<()> {
        self.command("ip").args(["-batch", "-"]).input(batch.lines()).run()?.success().map(drop)
    }
}

/// Whether `client@if2:` or `client:` is the port.
fn is_port(name: &str, port: &str) -> bool {
    name.strip_prefix(port).is_some_and(|rest| rest.starts_with(['@', ':']))
}
