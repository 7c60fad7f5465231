//! Everything at a glance, for the status page.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Director, VirtualServer, VrrpInstance};
use crate::state::Event;
use crate::sync::SyncStatus;

/// What `GET /v1/live` sends: the data of an event `snapshot`, or of an event `happened`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum LiveEvent {
    /// Of an event `snapshot`: at once, then every two seconds and whenever something is done.
    Snapshot(Box<Overview>),
    /// Of an event `happened`.
    Happened(Event),
}

/// Everything that there is to see at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// The moment; RFC 3339, UTC.
    pub time: String,
    /// Whether those who sign in at `director.http` may change weights (`director.http_admin_file`).
    #[serde(default)]
    pub admin: bool,
    /// The daemon.
    pub director: Director,
    /// In the order of the configuration.
    pub virtual_servers: Vec<VirtualServer>,
    /// Virtual routers, in the order of the configuration.
    pub vrrp: Vec<VrrpInstance>,
    /// Connections shared with other directors.
    pub sync: SyncStatus,
    /// What became of frames that were not forwarded, and what happened in the connection table.
    pub reasons: Vec<Counted>,
}

/// A counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counted {
    /// Its name.
    pub name: String,
    /// What is counted.
    pub kind: CountedKind,
    /// One sentence about it.
    pub description: String,
    /// How often, since the maps were made.
    pub count: u64,
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CountedKind {
    /// Frames handed to the local network stack.
    Pass,
    /// Frames dropped.
    Drop,
    /// Events in the connection table.
    Event,
}
