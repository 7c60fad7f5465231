//! Changing a host of a running lab.

use std::net::IpAddr;

use nix::sys::signal::Signal;

use crate::error::Result;
use crate::host::{Host, locked};
use crate::link::{Batch, INTERFACE, Mac, vip_line};
use crate::web;

impl Host {
    /// Changes the Ethernet address of `eth0`, as a replaced network card does. Neighbours are not told.
    pub fn set_mac(&self, mac: Mac) -> Result<()> {
        let mut current = locked(&self.inner.mac);
        self.ip_line(&format!("link set dev {INTERFACE} address {mac}"))?;
        *current = mac;
        Ok(())
    }

    /// Takes `eth0` down, or up again; the switch notices a moment later. To pull the cable instead, see [`Switch::set_port`](crate::Switch::set_port).
    pub fn set_link(&self, up: bool) -> Result<()> {
        self.ip_line(&format!("link set dev {INTERFACE} {}", if up { "up" } else { "down" }))
    }

    /// Switches promiscuous mode of `eth0` on or off.
    pub fn set_promiscuous(&self, on: bool) -> Result<()> {
        self.ip_line(&format!("link set dev {INTERFACE} promisc {}", if on { "on" } else { "off" }))
    }

    /// Adds a VIP on `lo`, as on a real server.
    pub fn add_vip(&self, vip: impl Into<IpAddr>) -> Result<()> {
        self.ip_line(&vip_line("add", vip.into()))
    }

    /// Removes a VIP from `lo`.
    pub fn remove_vip(&self, vip: impl Into<IpAddr>) -> Result<()> {
        self.ip_line(&vip_line("del", vip.into()))
    }

    /// Adds an address to `eth0`; also one that another host has.
    pub fn add_address(&self, address: impl Into<IpAddr>, prefix: u8) -> Result<()> {
        let address = address.into();
        let at_once = if address.is_ipv6() { " nodad" } else { "" };
        self.ip_line(&format!("address add {address}/{prefix} dev {INTERFACE}{at_once}"))
    }

    /// Removes an address from `eth0`.
    pub fn remove_address(&self, address: impl Into<IpAddr>, prefix: u8) -> Result<()> {
        self.ip_line(&format!("address del {}/{prefix} dev {INTERFACE}", address.into()))
    }

    /// Knows for good at which Ethernet address a neighbour is, and asks nobody.
    pub fn pin_neighbour(&self, address: impl Into<IpAddr>, mac: Mac) -> Result<()> {
        let address = address.into();
        self.ip_line(&format!("neighbour replace {address} lladdr {mac} dev {INTERFACE} nud permanent"))
    }

    /// Forgets all neighbours, so that the next frame to each begins with ARP or a neighbour solicitation.
    pub fn forget_neighbours(&self) -> Result<()> {
        self.ip_line(&format!("neighbour flush dev {INTERFACE}"))
    }

    /// Sets a sysctl of this host; `key` is the path below `/proc/sys/net/`.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.enter(|| crate::namespace::set(key, value))?
    }

    /// Ends the web server: connections are refused from now on.
    pub fn stop_web(&self) -> Result<()> {
        match locked(&self.inner.web).take() {
            // An nginx of one process misses a SIGTERM that comes between its start and its first wait.
            Some(mut web) => web.kill().map(drop),
            None => Ok(()),
        }
    }

    /// Sends the web server a signal: with SIGSTOP the kernel still accepts connections, and nobody answers.
    pub fn signal_web(&self, signal: Signal) -> Result<()> {
        locked(&self.inner.web).as_mut().map_or(Ok(()), |web| web.signal(signal))
    }

    /// Starts the web server again, and waits until it answers.
    pub fn start_web(&self) -> Result<()> {
        web::start(self)?;
        web::wait_until_ready(self)
    }

    /// Runs one `ip` command here.
    fn ip_line(&self, line: &str) -> Result<()> {
        let mut batch = Batch::default();
        batch.line(line);
        self.ip(batch)
    }
}
