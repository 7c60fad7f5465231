//! The daemon as the front knows it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tokio::runtime::Runtime;

use super::{Complaint, FAILED, NOT_RUNNING, REFUSED};
use crate::config::SYNC_KEY;
use crate::control::api::{
    Change, Changes, ChangesMade, Connection, Problem, Timeouts, VirtualServers, Zero, Zeroed,
};
use crate::control::client::{self, ClientError};
use crate::sync::SyncStatus;

/// Who does what is asked.
pub(super) trait Daemon {
    /// Makes changes, all of them or none.
    fn change(&mut self, changes: Vec<Change>) -> Result<(), NotDone>;

    /// The virtual servers; with the numbers of clients that real servers keep, which take a while to count.
    fn services(&mut self, with_persistent_connections: bool) -> Result<VirtualServers, Complaint>;

    fn timeouts(&mut self) -> Result<Timeouts, Complaint>;

    /// How connections are shared with other directors.
    fn sync(&mut self) -> Result<SyncStatus, Complaint>;

    /// Whether this machine has the key by which directors share connections.
    fn has_sync_key(&self) -> bool;

    /// Has counters begin anew: of the virtual server with this name, or of all.
    fn zero(&mut self, service: Option<String>) -> Result<(), Complaint>;

    /// Hands on connections until `take` has enough, or fails.
    fn connections(
        &mut self,
        take: &mut dyn FnMut(&Connection) -> ControlFlow<Option<Complaint>>,
    ) -> Result<(), Complaint>;
}

/// Why changes were not made.
#[derive(Clone, Debug)]
pub(super) enum NotDone {
    /// They make no sense.
    Refused(Problem),
    /// The daemon could not be asked.
    Unasked(Complaint),
}

/// The daemon behind a socket.
pub(super) struct Remote {
    runtime: Runtime,
    socket: PathBuf,
}

impl Remote {
    pub(super) fn new(socket: &Path) -> Result<Self, Complaint> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let failed = |error| Complaint::fatal(FAILED, format!("start the async runtime: {error}"));
        Ok(Self { runtime: runtime.map_err(failed)?, socket: socket.to_owned() })
    }
}

impl Daemon for Remote {
    fn change(&mut self, changes: Vec<Change>) -> Result<(), NotDone> {
        let asked = Changes { changes };
        let done = self.runtime.block_on(client::post::<ChangesMade>(&self.socket, "/v1/changes", &asked));
        done.map(drop).map_err(|error| match error {
            ClientError::Refused(problem) => NotDone::Refused(problem),
            error => NotDone::Unasked(error.into()),
        })
    }

    fn services(&mut self, with_persistent_connections: bool) -> Result<VirtualServers, Complaint> {
        let query = if with_persistent_connections { "?persistent_connections=true" } else { "" };
        let path = format!("/v1/virtual_servers{query}");
        Ok(self.runtime.block_on(client::get(&self.socket, &path))?)
    }

    fn timeouts(&mut self) -> Result<Timeouts, Complaint> {
        Ok(self.runtime.block_on(client::get(&self.socket, "/v1/timeouts"))?)
    }

    fn sync(&mut self) -> Result<SyncStatus, Complaint> {
        Ok(self.runtime.block_on(client::get(&self.socket, "/v1/sync"))?)
    }

    fn has_sync_key(&self) -> bool {
        Path::new(SYNC_KEY).exists()
    }

    fn zero(&mut self, service: Option<String>) -> Result<(), Complaint> {
        let asked = Zero { service };
        let zeroed = self.runtime.block_on(client::post::<Zeroed>(&self.socket, "/v1/zero", &asked));
        Ok(zeroed.map(drop)?)
    }

    fn connections(
        &mut self,
        take: &mut dyn FnMut(&Connection) -> ControlFlow<Option<Complaint>>,
    ) -> Result<(), Complaint> {
        let lines =
            client::lines(&self.socket, "/v1/connections", |line| match serde_json::from_slice(line) {
                Ok(connection) => take(&connection),
                Err(error) => {
                    let message = format!("the daemon's answer is of another kind: {error}");
                    ControlFlow::Break(Some(Complaint::fatal(FAILED, message)))
                }
            });
        match self.runtime.block_on(lines)? {
            ControlFlow::Break(Some(complaint)) => Err(complaint),
            _ => Ok(()),
        }
    }
}

impl From<ClientError> for Complaint {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NotRunning { .. } => Self::fatal(NOT_RUNNING, error.to_string()),
            ClientError::Refused(problem) => Self { code: REFUSED, message: problem.error, is_final: false },
            error => Self::fatal(FAILED, error.to_string()),
        }
    }
}
