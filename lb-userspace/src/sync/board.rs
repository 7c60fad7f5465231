//! What synchronisation did so far, for whoever looks.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::VERSION;
use super::datagram::Refused;
use crate::dataplane::Applied;

/// The state of connection synchronisation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncStatus {
    /// Whether it is configured: `off`, `joining` (no snapshot yet), `joined`, or `failed`.
    pub phase: String,
    /// Why it failed, in a sentence.
    pub error: Option<String>,
    /// The interface that directors are reached by.
    pub interface: Option<String>,
    /// The multicast group and its port, if there is one.
    pub group: Option<String>,
    /// This run of the director: other digits at each start.
    pub session: Option<String>,
    /// When it began (RFC 3339).
    pub since: Option<String>,
    /// The number of the last datagram.
    pub number: u64,
    /// Datagrams that were sent, each to all peers.
    pub sent_datagrams: u64,
    /// Connections and templates in them.
    pub sent_connections: u64,
    /// Those of them that are told of now and then because they last.
    pub refreshed: u64,
    /// Datagrams that the kernel did not take.
    pub send_errors: u64,
    /// Events that the data plane had no room for: nobody was told of these.
    pub lost_events: u64,
    /// Datagrams that were believed.
    pub received_datagrams: u64,
    /// Connections and templates that other directors told of, snapshots included.
    pub received_connections: u64,
    /// Of those: this director did not know it, and does now.
    pub inserted: u64,
    /// It knew it, and has it as it was told.
    pub updated: u64,
    /// It knows better, or the same.
    pub kept: u64,
    /// It had expired when it came.
    pub expired: u64,
    /// This director has no such virtual server, or another persistence.
    pub unknown_service: u64,
    /// The virtual server has no such real server here, or none that frames could be sent to.
    pub unknown_server: u64,
    /// There was no room.
    pub no_room: u64,
    /// Datagrams and introductions that were not believed, by cause.
    pub refused: SyncRefused,
    /// Datagrams of peers that have not come.
    pub missing: u64,
    /// Snapshots that other directors got from this one.
    pub snapshots_sent: u64,
    /// Snapshots that this one got.
    pub snapshots_received: u64,
    /// The other directors.
    pub peers: Vec<SyncPeer>,
}

/// What was refused, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncRefused {
    /// Something else, or cut off.
    pub malformed: u64,
    /// Another version of the protocol.
    pub version: u64,
    /// Another key, or changed on its way.
    pub key: u64,
    /// It has come before.
    pub replayed: u64,
    /// A session that nobody has proved to run: of a director that is about to be asked, or a recording.
    pub stranger: u64,
}

impl SyncRefused {
    /// All together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.malformed + self.version + self.key + self.replayed + self.stranger
    }
}

/// Another director.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncPeer {
    /// Where it answers.
    pub address: String,
    /// Whether it has proved who it is.
    pub introduced: bool,
    /// Its run.
    pub session: Option<String>,
    /// Milliseconds since it was heard; one that is well is heard every second.
    pub heard_ms: Option<u64>,
    /// The number of its newest datagram.
    pub number: u64,
    /// Datagrams of this run that have not come.
    pub missing: u64,
    /// Connections in its last snapshot.
    pub snapshot_connections: Option<u64>,
    /// Milliseconds that its last snapshot took.
    pub snapshot_ms: Option<u64>,
    /// Why it could not be asked last, if it could not.
    pub error: Option<String>,
}

/// Where the state lies; clones are of the same one.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) status: SyncStatus,
    /// What was said of whom, and when.
    said: HashMap<(IpAddr, &'static str), Instant>,
    /// What became of asking each peer.
    pub(super) asked: HashMap<IpAddr, Asked>,
}

/// What came of asking a peer last.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) snapshot: Option<(u64, Duration)>,
    pub(super) error: Option<String>,
}

/// How often the same is said of the same peer.
const QUIET: Duration = Duration::from_secs(60);
/// Of so many.
const MOST_SAID: usize = 256;

impl Board {
    /// What there is to see now.
    #[must_use]
    pub fn status(&self) -> SyncStatus {
        self.lock().status.clone()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is wanted cannot be done, and why. What is being done is done on. Says whether that is news.
    pub(crate) fn set_problem(&self, problem: Option<String>) -> bool {
        let mut inner = self.lock();
        if inner.status.session.is_none() {
            inner.status.phase = if problem.is_some() { "failed" } else { "off" }.to_owned();
        }
        let is_news = inner.status.error != problem;
        inner.status.error = problem;
        is_news
    }

    /// Nothing is shared. If that is not what is wanted, the problem stays.
    pub(super) fn end(&self) {
        let problem = self.lock().status.error.take();
        self.begin(SyncStatus::default());
        self.set_problem(problem);
    }

    /// Begins anew.
    pub(super) fn begin(&self, status: SyncStatus) {
        *self.lock() = Inner { status, ..Inner::default() };
    }
}

impl Inner {
    /// Counts what became of a connection.
    pub(super) fn count(&mut self, applied: Applied) {
        let status = &mut self.status;
        status.received_connections += 1;
        *match applied {
            Applied::Inserted => &mut status.inserted,
            Applied::Updated => &mut status.updated,
            Applied::Kept => &mut status.kept,
            Applied::Expired => &mut status.expired,
            Applied::UnknownService => &mut status.unknown_service,
            Applied::UnknownServer => &mut status.unknown_server,
            Applied::NoRoom => &mut status.no_room,
        } += 1;
    }

    /// Counts what was not believed, and says so now and then.
    pub(super) fn refuse(&mut self, from: IpAddr, refused: Refused, now: Instant) {
        let counts = &mut self.status.refused;
        *match refused {
            Refused::Malformed => &mut counts.malformed,
            Refused::Version(_) => &mut counts.version,
            Refused::Key => &mut counts.key,
            Refused::Replayed => &mut counts.replayed,
            Refused::Stranger => &mut counts.stranger,
        } += 1;
        let (cause, what) = match refused {
            Refused::Malformed => ("malformed", "what it sends is no connection synchronisation".to_owned()),
            Refused::Version(version) => (
                "version",
                format!(
                    "it speaks version {version} of connection synchronisation, and this director version {VERSION}: run the same version of lb on both"
                ),
            ),
            Refused::Key => (
                "key",
                "it has another key, or somebody changed what it sent: compare sync.key_file on both"
                    .to_owned(),
            ),
            Refused::Replayed => (
                "replayed",
                "the same datagram came before: somebody recorded it, or the network doubles frames"
                    .to_owned(),
            ),
            // As at every start of a peer.
            Refused::Stranger => return,
        };
        if self.is_to_be_said(from, cause, now) {
            tracing::warn!("connections told of by {from} are refused: {what} (said once a minute)");
        }
    }

    /// Whether this has not been said for a minute. What many addresses do at once is not said of all.
    pub(super) fn is_to_be_said(&mut self, from: IpAddr, cause: &'static str, now: Instant) -> bool {
        if self.said.len() >= MOST_SAID {
            self.said.retain(|_, when| now.duration_since(*when) < QUIET);
        }
        let is_recent = |when: &Instant| now.duration_since(*when) < QUIET;
        if self.said.get(&(from, cause)).is_some_and(is_recent) || self.said.len() >= MOST_SAID {
            return false;
        }
        self.said.insert((from, cause), now);
        true
    }
}

/// As RFC 3339 has it.
pub(super) fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::driver::now;

    #[test]
    fn the_same_is_said_once_in_a_minute_and_a_flood_is_not_said_at_all() {
        let (mut inner, start) = (Inner::default(), now());
        let from = |n: u32| IpAddr::from(n.to_be_bytes());
        assert!(inner.is_to_be_said(from(1), "key", start) && !inner.is_to_be_said(from(1), "key", start));
        assert!(inner.is_to_be_said(from(1), "version", start) && inner.is_to_be_said(from(2), "key", start));
        assert!(inner.is_to_be_said(from(1), "key", start + QUIET));
        let said = (0..100_000).filter(|n| inner.is_to_be_said(from(*n), "malformed", start)).count();
        assert!(said < MOST_SAID && inner.said.len() <= MOST_SAID, "{said}");
        assert!(inner.is_to_be_said(from(7_000_000), "key", start + 2 * QUIET), "later there is room again");
    }

    #[test]
    fn what_is_refused_is_counted_by_cause() {
        let mut inner = Inner::default();
        for refused in
            [Refused::Malformed, Refused::Version(9), Refused::Key, Refused::Replayed, Refused::Stranger]
        {
            inner.refuse(IpAddr::from([10, 0, 0, 1]), refused, now());
        }
        let expected = SyncRefused { malformed: 1, version: 1, key: 1, replayed: 1, stranger: 1 };
        assert_eq!((inner.status.refused, expected.total()), (expected, 5));
    }
}
