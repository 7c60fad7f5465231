//! `lb real-server`.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output::{print, print_json};
use super::{Failure, runtime};
use crate::real_server;

/// Set up a real server.
#[derive(Debug, Args)]
pub(super) struct RealServer {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Put VIPs on lo and keep quiet about them (arp_ignore, arp_announce)
    Up(Change),
    /// Undo what `up` did
    Down(Change),
    /// Say what is missing, if anything
    Status(Status),
}

#[derive(Debug, Args)]
struct Vips {
    /// A virtual IP address; repeat for several
    #[arg(long = "vip", value_name = "VIP", required = true, value_parser = vip)]
    vips: Vec<Ipv4Addr>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sudo lb real-server up --vip 192.168.2.240
  sudo lb real-server down --vip 192.168.2.240

Lasts until the next boot.")]
struct Change {
    #[command(flatten)]
    vips: Vips,
    /// Where `up` remembers what it changed
    #[arg(long, value_name = "FILE", default_value = "/run/lb/real-server.json")]
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
fn vip(text: &str) -> Result<Ipv4Addr, String> {
    let address: Ipv4Addr = text.parse().map_err(|_| "a VIP is an IPv4 address such as 192.168.2.240")?;
    let what = match address {
        _ if address.octets()[0] == 0 => "no host's address",
        _ if address.is_loopback() => "a loopback address",
        _ if address.is_multicast() => "a multicast address",
        _ if address.is_broadcast() => "the broadcast address",
        _ => return Ok(address),
    };
    Err(format!("it is {what}; a VIP is the address that clients connect to"))
}

impl Vips {
    fn set(&self) -> BTreeSet<Ipv4Addr> {
        self.vips.iter().copied().collect()
    }
}

impl RealServer {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let runtime = runtime()?;
        match self.action {
            Action::Up(change) => {
                say(&runtime.block_on(real_server::up(&change.vips.set(), &change.state_file))?)
            }
            Action::Down(change) => {
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
        assert_eq!(vip("192.168.2.240"), Ok(Ipv4Addr::new(192, 168, 2, 240)));
        for other in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.0.0.2", "224.0.0.1", "255.255.255.255", "1.2.3"]
        {
            assert!(vip(other).is_err(), "{other}");
        }
    }
}
