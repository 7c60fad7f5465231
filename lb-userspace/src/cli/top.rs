//! `lb top`: a live view in a terminal, or text for whoever reads that.
//!
//! ```text
//!   daemon ── Sample ──┐
//!   keys ──────────────┼─> View (pure) ─> frame
//!   clock ─────────────┘     └─> Order: another weight, when it is confirmed
//! ```

mod frame;
mod plain;
mod screen;
mod view;

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;

use self::plain::Printer;
use self::view::Sample;
use super::output::{complain, print_while_read};
use super::{ControlSocket, Failure, answered, duration, runtime};
use crate::control::client::{self, ClientError};

/// Watch virtual servers and real servers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb top                       keys: ? says which
  sudo lb top --interval 5s
  sudo lb top --once                one look, as text
  sudo lb top --json | jq -c '.virtual_servers[].rate'
  sudo lb top > looks.txt           text every two seconds

Without a terminal, and with --once, it prints text. When the daemon ends, the view stays and says so, and goes on when
one is there again.")]
pub(super) struct Top {
    /// How often to look
    #[arg(long, value_name = "DURATION", value_parser = interval, default_value = "2s")]
    interval: Duration,
    /// Look once, print text, and end
    #[arg(long)]
    once: bool,
    /// A JSON object on each line instead: what `lb list`, `lb counters` and `lb vrrp` have
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text)?;
    if interval < Duration::from_millis(100) {
        return Err("\"100ms\" is the shortest: each look reads all counters".to_owned());
    }
    Ok(interval)
}

/// Asks the daemon for all that is shown.
async fn look(socket: &Path) -> Result<Sample, ClientError> {
    let (director, listed, vrrp) = tokio::try_join!(
        client::get(socket, "/v1/director"),
        client::get(socket, "/v1/virtual_servers"),
        client::get(socket, "/v1/vrrp"),
    )?;
    Ok(Sample { director, listed, vrrp })
}

impl Top {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let is_live = !self.json && !self.once && io::stdout().is_terminal() && io::stdin().is_terminal();
        let runtime = runtime()?;
        // One that is not there at first is not waited for.
        let first = answered(runtime.block_on(look(&self.socket.control_socket)))?;
        let done = if is_live {
            runtime.block_on(screen::run(&self.socket.control_socket, self.interval, first))
        } else {
            runtime.block_on(self.print_looks(first))
        };
        // The thread that waits for keys may wait on.
        runtime.shutdown_background();
        done
    }

    /// Prints one look after the other, for as long as somebody reads.
    async fn print_looks(&self, first: Sample) -> Result<(), Failure> {
        let mut printer = Printer::new(self.json);
        let mut heard = Ok(first);
        loop {
            match heard {
                Ok(sample) => {
                    printer.is_gone = false;
                    if !print_while_read(&printer.text(sample)?)? || self.once {
                        return Ok(());
                    }
                }
                Err(error) if !printer.is_gone => {
                    printer.is_gone = true;
                    complain(&format_args!("lb: {error}"));
                }
                // It has been said.
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                // Where signals cannot be caught, Ctrl-C ends the process.
                Ok(()) = tokio::signal::ctrl_c() => return Ok(()),
            }
            heard = look(&self.socket.control_socket).await;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "somebody looks")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
