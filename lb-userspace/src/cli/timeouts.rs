//! `lb timeouts`.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;

use super::duration::{parse_timeout, shown};
use super::output::{print, print_json};
use super::{ControlSocket, Failure, answered, ask, runtime};
use crate::control::api;
use crate::control::client;

/// Show or change how long connections are remembered.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb timeouts                              the three that can be changed
  sudo lb timeouts --all                        what that makes for each state of a connection
  sudo lb timeouts --tcp 15m --udp 90s          change two, and leave the third (ipvsadm --set 900 0 90)

A connection is forgotten when no frame of it came for so long; the new timeouts are those of the
connections that there are, too. Counts on when the daemon
is restarted; `lb save` writes it to the configuration file.")]
pub(super) struct Timeouts {
    /// Of established TCP connections
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    tcp: Option<Duration>,
    /// Of TCP connections after a FIN
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    tcp_fin: Option<Duration>,
    /// Of UDP
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    udp: Option<Duration>,
    /// Also those of each state, which are IPVS's and fixed
    #[arg(long)]
    all: bool,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

impl Timeouts {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let socket = &self.socket.control_socket;
        let [tcp, tcp_fin, udp] =
            [self.tcp, self.tcp_fin, self.udp].map(|time| time.map(|time| time.as_secs()));
        let change = api::TimeoutsChange { tcp, tcp_fin, udp };
        if change == api::TimeoutsChange::default() {
            let timeouts: api::Timeouts = ask(socket, "/v1/timeouts")?;
            return if self.json { print_json(&timeouts) } else { print(&table(&timeouts, self.all)) };
        }
        let answer = runtime()?.block_on(client::post(socket, "/v1/timeouts", &change));
        let changed: api::TimeoutsChanged = answered(answer)?;
        if self.json { print_json(&changed) } else { print(&table(&changed.timeouts, self.all)) }
    }
}

fn table(timeouts: &api::Timeouts, all: bool) -> String {
    let api::Timeouts { tcp, tcp_fin, udp, states } = timeouts;
    let mut text = String::new();
    for (name, seconds) in [("tcp", tcp), ("tcp_fin", tcp_fin), ("udp", udp)] {
        let _ = writeln!(text, "{name:<7} {}", shown(*seconds));
    }
    if all {
        let _ = writeln!(text, "\n{:<11} {:<9} Setting", "State", "Timeout");
        for api::StateTimeout { state, timeout, setting } in states {
            let setting = setting.as_deref().unwrap_or("(fixed)");
            let _ = writeln!(text, "{state:<11} {:<9} {setting}", shown(*timeout));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_ones_are_told_from_those_that_can_be_set() {
        let state = |state: &str, timeout, setting: Option<&str>| api::StateTimeout {
            state: state.to_owned(),
            timeout,
            setting: setting.map(str::to_owned),
        };
        let states = vec![state("ESTABLISHED", 5400, Some("tcp")), state("CLOSE", 10, None)];
        let timeouts = api::Timeouts { tcp: 5400, tcp_fin: 120, udp: 300, states };
        let short = "tcp     1h 30m\ntcp_fin 2m\nudp     5m\n";
        assert_eq!(table(&timeouts, false), short);
        let all = "
State       Timeout   Setting
ESTABLISHED 1h 30m    tcp
CLOSE       10s       (fixed)
";
        assert_eq!(table(&timeouts, true), short.to_owned() + all);
    }
}
