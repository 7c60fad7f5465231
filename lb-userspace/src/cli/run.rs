//! `lb run`.

use std::io::IsTerminal as _;

use clap::Args;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

use super::output::complain;
use super::{ConfigFile, Failure, runtime};
use crate::config::{self, Machine, Severity};
use crate::net::Netlink;
use crate::supervisor;

/// Run the director.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb run --config /etc/lb/lb.toml
  sudo RUST_LOG=debug lb run --config lb.toml     tell more
  sudo lb run --config lb.toml --log-flows        tell of every flow that is scheduled

Logs to standard error. SIGTERM and Ctrl-C stop the daemon; what becomes of forwarding then says
director.on_exit. A daemon that is killed leaves forwarding as it is, and the next one takes over.")]
pub(super) struct Run {
    #[command(flatten)]
    file: ConfigFile,
    /// Tell of every flow that is scheduled, in the log (slows down new flows)
    #[arg(long)]
    log_flows: bool,
}

impl Run {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let checked = self.file.load()?;
        let _written_at_the_end = start_log(self.log_flows);
        runtime()?.block_on(async {
            let links = Netlink::open()?.links().await?;
            let machine = Machine { interfaces: links.into_iter().map(|link| link.name).collect() };
            let findings = config::check_machine(&checked, &machine, Severity::Error);
            let findings = checked.warnings.clone().merge(findings);
            if !findings.is_empty() {
                complain(&findings);
            }
            if findings.has_errors() {
                return Err(Failure::silent());
            }
            supervisor::run(&self.file.config, checked, self.log_flows).await.map_err(Failure::from)
        })
    }
}

/// Logs to standard error: with times on a terminal or in a file, without where journald adds its own.
///
/// A thread of its own writes: who reads the log, and stops for a while, stops nobody in the daemon. What is not written
/// yet is when the guard is dropped.
fn start_log(log_flows: bool) -> WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let default = if log_flows { "info,lb_ebpf=debug" } else { "info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_target(false)
        // It would report that standard error is gone on standard error, and panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().init();
    } else {
        builder.init();
    }
    guard
}
