//! The network of the guide, with keepalived on its director.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use lb_lab::{Host, HostSpec, Lab, Process, Result, wait_until};

use crate::ipvs;

/// Enough for anything here, on a processor that is emulated and busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// In the style of articles about LVS: two VIPs, one of `rr` and one of `sh`.
pub(crate) const KEEPALIVED_CONF: &str = include_str!("keepalived.conf");
/// The VIP whose connections only their director knows.
pub(crate) const BY_RR: Ipv4Addr = address(240);
/// The VIP for whose connections any director computes the same real server.
pub(crate) const BY_SH: Ipv4Addr = address(241);

const fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 2, number)
}

/// A client, two real servers, and these.
pub(crate) fn lab(directors: impl IntoIterator<Item = HostSpec>) -> Result<Lab> {
    let lab = Lab::builder().subnet(address(0), 24).vip(BY_RR).vip(BY_SH);
    let mut lab = lab.host(HostSpec::client("client").address(address(50)));
    for (number, director) in (210..).zip(directors) {
        lab = lab.host(director.address(address(number)));
    }
    for number in [212, 213] {
        lab = lab.host(HostSpec::real_server(&format!("server-{number}")).address(address(number)));
    }
    lab.build()
}

/// keepalived on a host: VRRP, health checks and IPVS.
pub(crate) struct Keepalived {
    host: Host,
    process: Process,
}

impl Keepalived {
    /// Starts it, and waits until it has the VIPs and IPVS all real servers.
    pub(crate) fn start(lab: &Lab, host: &str) -> Result<Self> {
        let host = lab.host(host);
        let file = |ending: &str| lab.directory().join(format!("keepalived.{ending}"));
        fs::write(file("conf"), KEEPALIVED_CONF).expect("there is room");
        // In the foreground, with details, and its log to where labs keep it.
        let command = host.command("keepalived").args(["-n", "-D", "-l", "-G", "-f"]).arg(file("conf"));
        let command = command.arg("-p").arg(file("pid")).arg("-r").arg(file("vrrp.pid"));
        let mut process = command.arg("-c").arg(file("checkers.pid")).spawn()?;
        process.wait_for_line("Entering MASTER STATE", PATIENCE)?;
        wait_until("IPVS has all real servers", PATIENCE, || {
            let services = ipvs::services(&host).map_err(|error| error.to_string())?;
            if services.iter().map(|service| service.real_servers).eq([2, 2]) {
                return Ok(());
            }
            Err(format!("{services:?}"))
        });
        let keepalived = Self { host, process };
        keepalived.wait_for_vips(true);
        Ok(keepalived)
    }

    /// Ends it as `systemctl stop keepalived` does.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.process.signal(nix::sys::signal::Signal::SIGTERM)?;
        self.process.wait(PATIENCE).map(drop)
    }

    /// Waits for a line of its log.
    pub(crate) fn wait_for_line(&mut self, pattern: &str) -> Result<String> {
        self.process.wait_for_line(pattern, PATIENCE)
    }

    /// Waits until its host has both VIPs, or none.
    pub(crate) fn wait_for_vips(&self, wanted: bool) {
        wait_for_vips(&self.host, wanted);
    }
}

/// Waits until a host has both VIPs, or none.
pub(crate) fn wait_for_vips(host: &Host, wanted: bool) {
    wait_until("the VIPs are where they belong", PATIENCE, || {
        let shown = host.run(["ip", "address", "show", "dev", "eth0"]).map_err(|error| error.to_string())?;
        let is_so = [BY_RR, BY_SH].iter().all(|vip| shown.contains(&format!(" {vip}/")) == wanted);
        if is_so { Ok(()) } else { Err(shown) }
    });
}
