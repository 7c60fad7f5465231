//! The command line: what may be typed, and what it does.

mod acl;
mod change;
mod check;
mod completions;
mod connections;
mod doctor;
mod drain;
mod duration;
mod events;
mod explain;
mod health;
mod import;
mod ipvsadm;
mod list;
mod man;
mod output;
mod protocol;
mod real_server;
#[cfg(test)]
mod reference;
mod reload;
mod run;
mod save;
mod sync;
mod timeouts;
mod told;
mod top;
mod trace;
mod vrrp;
mod weight;
mod zero;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde::de::DeserializeOwned;

use crate::config::{self, Checked, LoadError};
use crate::control::client::{self, ClientError};

/// Exit codes, the same for every command.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NOT_RUNNING: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  lb check --config /etc/lb/lb.toml          is the file all right?
  sudo lb run --config /etc/lb/lb.toml       forward
  sudo lb reload                             the file was changed
  sudo lb list -n                            what goes where
  sudo lb top                                and how much, as it changes
  sudo lb drain web 192.168.2.212            take a real server out of service
  sudo lb explain 198.51.100.7:4000 192.168.2.240:80 tcp
                                             and why
  sudo lb trace --dropped                    what became of frames that came
  sudo lb doctor --real-servers              what is wrong, and what mends it
  sudo lb real-server up --vip 192.168.2.240 on a real server: accept the VIP's traffic

Exit codes: 0 done, 1 it failed, 2 wrong usage, 3 the daemon is not running.";

/// A layer-4 load balancer in direct-routing mode, in XDP.
#[derive(Debug, Parser)]
#[command(name = "lb", version, after_help = EXAMPLES, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the director: forward what the configuration says, until told to stop
    Run(run::Run),
    /// Check a configuration file and say everything that is wrong with it
    Check(check::Check),
    /// Load the configuration file anew, and print what is different
    Reload(reload::Reload),
    /// Keep what the last reload did that is undone otherwise
    Confirm(reload::Confirm),
    /// Write what was changed while the daemon ran to the configuration file
    Save(save::Save),
    /// Add a virtual server or a real server while the daemon runs
    #[command(subcommand)]
    Add(change::Add),
    /// Change properties of a virtual server or a real server while the daemon runs
    #[command(subcommand)]
    Edit(change::Edit),
    /// Remove a virtual server or a real server while the daemon runs
    #[command(subcommand, visible_alias = "rm")]
    Remove(change::Remove),
    /// List virtual servers and their real servers
    #[command(visible_alias = "ls")]
    List(list::List),
    /// List connections, with their state and the time until they are forgotten
    Connections(connections::Connections),
    /// Show or change how long connections are remembered
    Timeouts(timeouts::Timeouts),
    /// Change a real server's share of new connections
    Weight(weight::Weight),
    /// Give a real server no new connections, and wait until its old ones have ended
    Drain(drain::Drain),
    /// Have the counters of virtual servers begin anew
    Zero(zero::Zero),
    /// Show what became of frames that were not forwarded, by reason
    Counters(list::Counters),
    /// Watch virtual servers and real servers, and drain some with a key
    Top(top::Top),
    /// List health checks, and what they found
    Health(health::Health),
    /// Do the health checks of a real server at once
    CheckNow(health::CheckNow),
    /// Show how connections are shared with other directors
    Sync(sync::Sync),
    /// Show the virtual routers: who is master, since when and why
    Vrrp(vrrp::Vrrp),
    /// Say what happens, as it happens
    Events(events::Events),
    /// Deny and allow clients while the daemon runs
    Acl(acl::AclCommand),
    /// Say what would become of a frame, and what decides, without sending one
    Explain(explain::Explain),
    /// Say what becomes of frames as they come, and write them to a file
    Trace(trace::Trace),
    /// Do what ipvsadm would, with its options and in its words
    Ipvsadm(ipvsadm::Ipvsadm),
    /// Convert keepalived.conf, or what ipvsadm-save prints, and say what is not the same afterwards
    Import(import::Import),
    /// Say what is wrong with the director, its network and its real servers, and which command mends it
    Doctor(doctor::Doctor),
    /// On a real server: accept the traffic of a VIP without saying so on the network
    RealServer(real_server::RealServer),
    /// Print the completions of a shell
    Completions(completions::Completions),
    /// Print the manual page, or write those of all commands
    Man(man::Man),
}

/// The configuration file.
#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", env = "LB_CONFIG", default_value = "/etc/lb/lb.toml")]
    config: PathBuf,
}

impl ConfigFile {
    fn load(&self) -> Result<Checked, Failure> {
        config::load(&self.config).map_err(|error| match error {
            // A list of its own form.
            LoadError::Invalid(diagnostics) => {
                output::complain(&diagnostics);
                Failure::silent()
            }
            LoadError::Read { .. } => error.into(),
        })
    }
}

/// Where the daemon answers.
#[derive(Debug, Args)]
struct ControlSocket {
    /// The daemon's socket
    #[arg(long, value_name = "PATH", env = "LB_CONTROL_SOCKET", default_value = "/run/lb/lb.sock")]
    control_socket: PathBuf,
}

/// Does what the words ask for, of which the first is the name that this program was called by: of `ipvsadm`, what
/// that would do.
#[must_use]
pub fn execute(words: &[OsString]) -> ExitCode {
    ipvsadm::called(words).unwrap_or_else(|| Cli::parse_from(words).execute())
}

impl Cli {
    /// Does what was asked.
    #[must_use]
    pub fn execute(self) -> ExitCode {
        let done = match self.command {
            Command::Run(run) => run.execute(),
            Command::Check(check) => check.execute(),
            Command::Reload(reload) => reload.execute(),
            Command::Confirm(confirm) => confirm.execute(),
            Command::Save(save) => save.execute(),
            Command::Add(add) => add.execute(),
            Command::Edit(edit) => edit.execute(),
            Command::Remove(remove) => remove.execute(),
            Command::List(list) => list.execute(),
            Command::Connections(connections) => connections.execute(),
            Command::Timeouts(timeouts) => timeouts.execute(),
            Command::Weight(weight) => weight.execute(),
            Command::Drain(drain) => drain.execute(),
            Command::Zero(zero) => zero.execute(),
            Command::Counters(counters) => counters.execute(),
            Command::Top(top) => top.execute(),
            Command::Health(health) => health.execute(),
            Command::CheckNow(check_now) => check_now.execute(),
            Command::Sync(sync) => sync.execute(),
            Command::Vrrp(vrrp) => vrrp.execute(),
            Command::Events(events) => events.execute(),
            Command::Acl(acl) => acl.execute(),
            Command::Explain(explain) => explain.execute(),
            Command::Trace(trace) => trace.execute(),
            Command::Ipvsadm(ipvsadm) => return ipvsadm.execute(),
            Command::Import(import) => import.execute(),
            Command::Doctor(doctor) => doctor.execute(),
            Command::RealServer(real_server) => real_server.execute(),
            Command::Completions(completions) => completions.execute(),
            Command::Man(man) => man.execute(),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        }
    }
}

/// Why a command did not do what was asked.
struct Failure {
    code: u8,
    /// What to say on standard error; empty if it has been said.
    message: String,
}

impl Failure {
    fn silent() -> Self {
        Self { code: FAILED, message: String::new() }
    }

    fn because(message: String) -> Self {
        Self { code: FAILED, message }
    }

    fn usage(message: &str) -> Self {
        Self { code: USAGE, message: message.to_owned() }
    }

    fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            output::complain(&format_args!("lb: {}", self.message));
        }
        ExitCode::from(self.code)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { code: FAILED, message: error.to_string() }
    }
}

/// What the daemon answered, or why there is no answer.
fn answered<T>(answer: Result<T, ClientError>) -> Result<T, Failure> {
    answer.map_err(|error| Failure {
        code: if matches!(error, ClientError::NotRunning { .. }) { NOT_RUNNING } else { FAILED },
        message: error.to_string(),
    })
}

/// What the daemon answers to a question without a body.
fn ask<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, Failure> {
    answered(runtime()?.block_on(client::get(socket, path)))
}

/// A runtime for one command.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Failure { code: FAILED, message: format!("start the async runtime: {error}") })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_explains_itself_with_an_example() {
        fn walk(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} has no description");
            if command.has_subcommands() {
                command
                    .get_subcommands()
                    .filter(|command| command.get_name() != "help")
                    .for_each(|command| walk(command, &path));
            } else {
                let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(examples.starts_with("Example"), "{path} has no example");
            }
        }
        Cli::command().get_subcommands().for_each(|command| walk(command, "lb"));
    }
}
