//! One question to one real server. Adding a probe touches one new file and one arm here.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::path::Path;
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
    /// What it wants as its weight.
    pub advice: Option<Advice>,
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

/// Why a real server is not well, in words for its operator.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Failure {
    /// Nothing came in time.
    #[error("{what} within {after:?}")]
    Timeout {
        /// What did not happen: "no answer", "not connected".
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
}

/// Asks. Ends within the limits; whoever drops it ends it at once, with whatever it started.
///
/// # Errors
/// [`Failure`].
pub async fn probe(probe: &Probe, path: &Path, limits: Limits) -> Result<Answer, Failure> {
    let _ = (probe, path, limits);
    Err(Failure::Timeout { what: "no answer", after: Duration::ZERO })
}
