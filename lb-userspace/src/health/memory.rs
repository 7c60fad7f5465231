//! What checks knew when the daemon ended, for the next one: a file beside the control socket.
//!
//! It is a hint. Without it, or if it is damaged or of another version, checks begin knowing nothing.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Check;
use super::board::Board;
use super::fsm::State;
use super::verdict::{Verdict, Verdicts};
use crate::files::{self, with_suffix};

/// The beginning of the year 10,000, in milliseconds since 1970.
const LATEST: u64 = 253_402_300_800_000;

/// What is remembered of a check.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    server: IpAddr,
    vip: Option<IpAddr>,
    /// Of its definition.
    digest: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    key: Key,
    is_up: bool,
    /// Milliseconds since 1970.
    since: u64,
}

/// What an earlier daemon knew.
#[derive(Debug, Default)]
pub struct Memory(HashMap<Key, (State, SystemTime)>);

/// Where it is written.
#[derive(Clone, Debug)]
pub struct MemoryFile(PathBuf);

impl MemoryFile {
    /// The one of the daemon that answers on this socket.
    #[must_use]
    pub fn beside(control_socket: &Path) -> Self {
        Self(with_suffix(control_socket, "health.json"))
    }

    /// What was written; nothing if it cannot be read.
    #[must_use]
    pub fn read(&self) -> Memory {
        let lines: Vec<Line> = match std::fs::read(&self.0).map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(lines)) => lines,
            Ok(Err(error)) => {
                tracing::warn!("{}: {error}; health checks begin knowing nothing", self.0.display());
                Vec::new()
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!("{}: {error}; health checks begin knowing nothing", self.0.display());
                }
                Vec::new()
            }
        };
        // What RFC 3339 has no words for, nobody can be shown.
        let lines = lines.into_iter().filter(|line| line.since < LATEST);
        let known = lines.map(|line| {
            let state = if line.is_up { State::Up } else { State::Down };
            (line.key, (state, UNIX_EPOCH + Duration::from_millis(line.since)))
        });
        Memory(known.collect())
    }

    /// Writes what is known now.
    ///
    /// # Errors
    /// Those of the file system; what was in the file is still there.
    pub fn write(&self, board: &Board) -> io::Result<()> {
        let mut lines: Vec<Line> = Vec::new();
        for (check, entry) in board.all() {
            let seen = entry.seen();
            if seen.state == State::Unknown {
                continue;
            }
            let since = seen.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let since = u64::try_from(since).unwrap_or(u64::MAX);
            lines.push(Line { key: key(&check), is_up: seen.state == State::Up, since });
        }
        lines.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        files::replace(&self.0, &serde_json::to_vec(&lines)?)
    }
}

impl Memory {
    /// What is remembered of a check; the next time, nothing.
    pub(super) fn take(&mut self, check: &Check) -> Option<(State, SystemTime)> {
        if self.0.is_empty() { None } else { self.0.remove(&key(check)) }
    }

    /// What these checks would say.
    #[must_use]
    pub fn verdicts(&self, checks: impl IntoIterator<Item = Check>) -> Verdicts {
        let mut verdicts = Verdicts::default();
        if self.0.is_empty() {
            return verdicts;
        }
        for check in checks {
            if let Some((state, _)) = self.0.get(&key(&check)) {
                verdicts.put(check, Verdict::remembered(*state));
            }
        }
        verdicts
    }
}

impl fmt::Display for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

fn key(check: &Check) -> Key {
    let digest = Sha256::digest(format!("{:?}", check.definition));
    // Enough to tell one from another.
    Key { server: check.server, vip: check.vip, digest: HEXLOWER.encode(&digest[..16]) }
}
