//! `lb reload` and `lb confirm`.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;

use super::duration::parse_timeout;
use super::output::{complain, count, print, print_json};
use super::{ControlSocket, Failure, answered, runtime, told};
use crate::control::api::{self, Confirmed, Reloaded};
use crate::control::client;

/// Load the configuration file anew.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb reload
  sudo lb reload --confirm-within 60s && sudo lb confirm      undone, unless the second command follows

Prints what is different. What is not is not touched: connections, counters and states stay. A file that is not
valid changes nothing. What was changed while the daemon ran (`lb add`, `lb weight`, …) counts on beside the new
file; what makes no sense with it is named and forgotten. SIGHUP does the same, and tells the log.")]
pub(super) struct Reload {
    /// Have what counted before count again unless `lb confirm` follows in time
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    confirm_within: Option<Duration>,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

/// Keep what the last `lb reload --confirm-within` did.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sudo lb confirm")]
pub(super) struct Confirm {
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

impl Reload {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let confirm_within = self.confirm_within.map(|within| within.as_secs());
        let asked = api::Reload { confirm_within, saved: None };
        let reloaded: Reloaded =
            answered(runtime()?.block_on(client::post(&self.socket.control_socket, "/v1/reload", &asked)))?;
        if self.json {
            return print_json(&reloaded);
        }
        if !reloaded.warnings.is_empty() {
            complain(&reloaded.warnings);
        }
        print(&told(&reloaded, self.confirm_within))
    }
}

impl Confirm {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let confirmed: Confirmed =
            answered(runtime()?.block_on(client::post(&self.socket.control_socket, "/v1/confirm", &())))?;
        if self.json {
            return print_json(&confirmed);
        }
        print(if confirmed.confirmed { "confirmed: it stays\n" } else { "there is nothing to confirm\n" })
    }
}

fn told(reloaded: &Reloaded, confirm_within: Option<Duration>) -> String {
    let mut text = String::new();
    for change in &reloaded.changes {
        let _ = writeln!(text, "{}", told::change(change));
    }
    for other in &reloaded.others {
        let _ = writeln!(text, "~ {other}");
    }
    for key in &reloaded.at_restart {
        let _ = writeln!(text, "! director.{key} is different; it counts when the daemon is restarted");
    }
    for problem in &reloaded.forgotten {
        let _ = writeln!(text, "! a change that was made while the daemon ran is forgotten: {problem}");
    }
    let _ = match reloaded.changes.len() + reloaded.others.len() {
        0 => writeln!(text, "reloaded: nothing is different"),
        changes => writeln!(text, "reloaded: {}", count(changes, "change")),
    };
    if let Some(within) = confirm_within {
        let within = humantime::format_duration(within);
        let _ = writeln!(text, "undone in {within} unless `lb confirm` follows");
    }
    text
}
