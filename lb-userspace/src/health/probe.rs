//! One question to one real server. Adding a probe touches one new file and one arm here.
//!
//! ```text
//!   probe() ──limits.timeout── Attempt ──limits.connect_timeout── Path
//!                                │ says what is awaited, for the words when time is up
//!   icmp, tcp, udp, http (tls, agent), dns, smtp, exec
//! ```
//!
//! Nothing that a probe has begun outlives its future: it spawns no task, and what it holds ends when it is dropped.
//! What a server says is read up to a limit, and is told only cut short and without control characters ([`text`]).

mod agent;
mod dns;
mod exec;
mod failure;
mod http;
mod icmp;
mod redirect;
mod smtp;
mod tcp;
mod text;
mod tls;
mod udp;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

pub use self::dns::DnsFailure;
pub use self::exec::ExecFailure;
pub use self::failure::{Failure, NetworkFailure};
pub use self::http::HttpFailure;
pub use self::smtp::SmtpFailure;
pub use self::tls::TlsFailure;
pub use self::udp::UdpFailure;
use super::path::{Path, Stream};
use crate::config::Probe;

/// How long a probe may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub timeout: Duration,
    /// To connect.
    pub connect_timeout: Duration,
}

/// A real server that is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// What it wants as its weight; if none, it has the configured one.
    pub advice: Option<Advice>,
    /// What it said, if it spoke to the operator: an agent's line, the last line of a command's output.
    pub said: Option<String>,
}

/// What a real server wants as its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// This one.
    Weight(u32),
    /// This share of the configured one, at most 100.
    Percent(u8),
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weight(weight) => write!(f, "{weight}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Asks. Ends within the limits; whoever drops it ends it at once, with whatever it started.
///
/// # Errors
/// [`Failure`].
pub async fn probe(probe: &Probe, path: &Path, limits: Limits) -> Result<Answer, Failure> {
    let attempt = Attempt { path, limits, awaited: Mutex::new("no answer") };
    // It is good if nothing comes in its time, so that no other clock may run out first.
    if let Probe::Udp(udp) = probe {
        return udp::ask(udp, &attempt).await;
    }
    let asked = timeout(limits.timeout, async {
        match probe {
            Probe::Icmp => icmp::ask(&attempt).await,
            Probe::Tcp(tcp) => tcp::ask(tcp, &attempt).await,
            Probe::Udp(udp) => udp::ask(udp, &attempt).await,
            // By far the largest, and all would be as large.
            Probe::Http(http) => Box::pin(http::ask(http, &attempt)).await,
            Probe::Dns(dns) => dns::ask(dns, &attempt).await,
            Probe::Smtp(smtp) => smtp::ask(smtp, &attempt).await,
            Probe::Exec(exec) => exec::ask(exec, &attempt).await,
        }
    });
    asked.await.unwrap_or_else(|_| Err(attempt.timed_out(limits.timeout)))
}

/// A probe on its way.
struct Attempt<'a> {
    path: &'a Path,
    limits: Limits,
    /// What has not happened yet: "not connected".
    awaited: Mutex<&'static str>,
}

impl Attempt<'_> {
    /// Says what is awaited from now on, in the words that say that it did not come.
    fn awaits(&self, what: &'static str) {
        *self.awaited.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    fn timed_out(&self, after: Duration) -> Failure {
        let what = *self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        Failure::Timeout { what, after }
    }

    async fn connect(&self, port: u16) -> Result<Stream, Failure> {
        self.awaits("not connected");
        match timeout(self.limits.connect_timeout, self.path.connect(port)).await {
            Ok(connected) => connected
                .map_err(|error| NetworkFailure::new(&error, self.path, Some(port), "connect").into()),
            Err(_) => Err(self.timed_out(self.limits.connect_timeout)),
        }
    }

    /// What the network said while something was asked of a connection.
    fn broken(&self, error: &std::io::Error, port: u16, doing: &'static str) -> Failure {
        NetworkFailure::new(error, self.path, Some(port), doing).into()
    }
}
