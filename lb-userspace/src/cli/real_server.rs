//! `lb real-server`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use std::net::IpAddr;

use clap::{Args, Subcommand, ValueEnum};

use super::output::{print, print_json};
use super::{Failure, runtime};
use crate::forms::Prefix;
use crate::real_server;

/// Set up a real server.
#[derive(Debug, Args)]
pub(super) struct RealServer {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Put VIPs on lo and keep quiet about them (IPv4: arp_ignore, arp_announce; IPv6 needs no setting)
    Up(Up),
    /// Undo what `up` did
    Down(Down),
    /// Say what is missing, if anything
    Status(Status),
}

#[derive(Debug, Args)]
struct Vips {
    /// A virtual IP address, or a prefix of some; repeat for several
    #[arg(long = "vip", value_name = "VIP", required = true, value_parser = vip)]
    vips: Vec<Prefix>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sudo lb real-server down --vip 192.168.2.240

What `up` changed becomes what it was: the settings with the last VIP of IPv4. What --persistent wrote stays.")]
struct Down {
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb real-server up --vip 192.168.2.240
  sudo lb real-server up --vip 192.168.2.240 --vip 2001:db8::1
  sudo lb real-server up --vip 192.0.2.0/28 --vip 2001:db8:1::/64
  lb real-server up --vip 192.168.2.240 --persistent | sudo sh
  lb real-server up --vip 192.168.2.240 --persistent=ifupdown

Lasts until the next boot. --persistent changes nothing itself: it prints a script that has the same
done now and at every boot, by a service of systemd's, by systemd-networkd or by ifupdown.")]
struct Up {
    #[command(flatten)]
    change: Change,
    /// Change nothing, and print a script that does the same for good
    #[arg(
        long,
        alias = "print",
        value_name = "FORMAT",
        num_args = 0..=1,
        default_missing_value = "systemd"
    )]
    persistent: Option<Persistent>,
}

/// Who is to do it at boot.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Persistent {
    /// A service that runs lb
    Systemd,
    /// systemd-networkd and systemd-sysctl
    Networkd,
    /// Debian's ifupdown
    Ifupdown,
}

impl From<Persistent> for real_server::Format {
    fn from(format: Persistent) -> Self {
        match format {
            Persistent::Systemd => Self::Systemd,
            Persistent::Networkd => Self::Networkd,
            Persistent::Ifupdown => Self::Ifupdown,
        }
    }
}

#[derive(Debug, Args)]
struct Change {
    #[command(flatten)]
    vips: Vips,
    /// Where `up` remembers what it changed
    #[arg(
        long,
        value_name = "FILE",
        env = "LB_REAL_SERVER_STATE",
        default_value = "/run/lb/real-server.json"
    )]
    state_file: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  lb real-server status --vip 192.168.2.240

Exits with 1 if something is missing.")]
struct Status {
    #[command(flatten)]
    vips: Vips,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// An address that clients can connect to: `up` and `down` change `lo`, which has addresses of its own.
fn vip(text: &str) -> Result<Prefix, String> {
    let prefix: Prefix = text.parse().map_err(|error| format!("{error}"))?;
    let address = prefix.first();
    let is_no_hosts = match address {
        IpAddr::V4(address) => address.octets()[0] == 0,
        IpAddr::V6(address) => address.is_unspecified(),
    };
    let what = match address {
        _ if is_no_hosts => "no host's address",
        _ if address.is_loopback() => "a loopback address",
        _ if address.is_multicast() => "a multicast address",
        IpAddr::V4(address) if address.is_broadcast() => "the broadcast address",
        IpAddr::V6(address) if address.is_unicast_link_local() => "a link-local address",
        _ => return Ok(prefix),
    };
    Err(format!("it is {what}; a VIP is the address that clients connect to"))
}

impl Vips {
    fn set(&self) -> BTreeSet<Prefix> {
        self.vips.iter().copied().collect()
    }
}

impl RealServer {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let runtime = runtime()?;
        match self.action {
            Action::Up(Up { change, persistent: Some(format) }) => {
                let lb = std::env::current_exe().unwrap_or_else(|_| "/usr/local/sbin/lb".into());
                print(&real_server::persistent(&change.vips.set(), format.into(), &lb))
            }
            Action::Up(Up { change, persistent: None }) => {
                say(&runtime.block_on(real_server::up(&change.vips.set(), &change.state_file))?)
            }
            Action::Down(Down { change }) => {
                say(&runtime.block_on(real_server::down(&change.vips.set(), &change.state_file))?)
            }
            Action::Status(status) => {
                let findings = runtime.block_on(real_server::status(&status.vips.set()))?;
                if status.json {
                    print_json(&findings)?;
                } else {
                    let line = |finding: &real_server::Finding| {
                        let mark = if finding.ok { "ok   " } else { "WRONG" };
                        format!("{mark} {} {}\n", finding.subject, finding.detail)
                    };
                    print(&findings.iter().map(line).collect::<String>())?;
                }
                if findings.iter().all(|finding| finding.ok) { Ok(()) } else { Err(Failure::silent()) }
            }
        }
    }
}

fn say(done: &[String]) -> Result<(), Failure> {
    if done.is_empty() { print("nothing to do\n") } else { print(&format!("{}\n", done.join("\n"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `down --vip 127.0.0.1` said that it had removed it, `up --vip 255.255.255.255` added it.
    #[test]
    fn a_vip_is_an_address_that_clients_can_connect_to() {
        assert!(vip("192.168.2.240").is_ok() && vip("192.0.2.0/28").is_ok());
        for other in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.0.0.2", "224.0.0.1", "255.255.255.255", "1.2.3"]
        {
            assert!(vip(other).is_err(), "{other}");
        }
    }
}
