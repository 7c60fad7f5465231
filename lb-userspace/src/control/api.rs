//! What goes over the control socket, and what `--json` prints.

mod change;
mod connections;
mod events;
mod health;
mod overview;
mod session;
mod table;
mod trace;
mod vrrp;

use std::collections::BTreeMap;
use std::iter::Sum;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub use crate::state::{Event, Happening, Keys, ServerState as State};
pub use change::{
    Acl, AclAction, AclChange, AclChanged, Acls, Change, Changes, ChangesMade, Configuration, Confirmed,
    Reload, Reloaded, ServiceAcl, StateTimeout, Timeouts, TimeoutsChange, TimeoutsChanged, WeightChange,
    WeightChanged, Zero, Zeroed,
};
pub use connections::{Connection, ConnectionFilter, ConnectionKind};
pub use events::EventFilter;
pub use health::{CheckNow, Health, HealthCheck, HealthChecks, HealthState, Probed};
pub use overview::{Counted, CountedKind, LiveEvent, Overview};
pub use session::{Session, SignIn, SignedOut};
pub use table::{ConnectionTable, ConnectionTables, Metrics, XdpRuns};
pub use trace::{TraceCounts, TraceFilter, TraceLine, TraceVerdict, TracedFrame};
pub use vrrp::{Vrrp, VrrpAdverts, VrrpInstance, VrrpMaster, VrrpScript, VrrpTransitions};

/// The query of `GET /v1/virtual_servers`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListOptions {
    /// Whether the clients that keep a real server are counted: that takes a walk over the connection table.
    #[serde(default)]
    pub persistent_connections: bool,
}

/// Why a request was not answered with what was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// In words, with a remedy.
    pub error: String,
    /// In one word, for programs: `no_such_service`, `no_such_server`, `no_such_prefix`, `service_exists`,
    /// `server_exists`, `conflict`, `invalid`, `failed`, `stopping`, `busy`, `too_large`, `too_slow`, `no_such_path`,
    /// `no_such_method`, `read_only`, `wrong_host`, `signed_out`, `wrong_secret`, `too_many_attempts`, `other_origin`,
    /// `no_csrf_token`.
    #[serde(default)]
    pub kind: String,
    /// Which of several changes is to blame, counted from 0, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<usize>,
}

/// `GET /v1/virtual_servers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VirtualServers {
    /// In the order of the configuration.
    pub virtual_servers: Vec<VirtualServer>,
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VirtualServer {
    /// Its name.
    pub name: String,
    /// `VIP:port`, as in the configuration.
    pub addresses: Vec<String>,
    /// The number of the group, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fwmark: Option<u32>,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The scheduler's name.
    pub scheduler: String,
    /// What is asked of it besides: names of flags, as `ipvsadm -b` takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scheduler_flags: Vec<String>,
    /// In the order of addition.
    pub real_servers: Vec<RealServer>,
    /// Who gets new connections when none of those is usable, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sorry_server: Option<RealServer>,
    /// What becomes of the connections of a real server that is down: `keep`, `reschedule` or `reset`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub on_down: String,
    /// Whether every datagram is scheduled by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_packet: bool,
    /// Whether anything of it, besides its real servers, was changed while the daemon ran (`lb save` writes that to the
    /// configuration file).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub runtime: bool,
    /// Whether enough of its real servers are usable.
    #[serde(default)]
    pub quorum: bool,
    /// Of its real servers together, since they were last zeroed.
    #[serde(default)]
    pub stats: Stats,
    /// Of its real servers together, per second.
    #[serde(default)]
    pub rate: Rate,
    /// Whose clients are let in, beside the rules for all.
    #[serde(default)]
    pub acl: Acl,
    /// How long clients keep their real server, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
}

/// For how long new connections of a client go where its last one went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Persistence {
    /// Seconds since its last new connection.
    pub timeout: u64,
    /// Bits of a client's address that count: 32, or 128, if each client is remembered by itself.
    pub mask: u8,
}

/// A real server of a virtual server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RealServer {
    /// Its address.
    pub address: String,
    /// Its weight.
    pub weight: u32,
    /// How many connections it gets at most; 0 for as many as come.
    #[serde(default)]
    pub upper_threshold: u32,
    /// Below how many it gets new ones again, after it had so many; 0 for three quarters of them.
    #[serde(default)]
    pub lower_threshold: u32,
    /// How many clients keep it: templates, if they were asked for ([`ListOptions`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_connections: Option<u64>,
    /// What it may get.
    pub state: State,
    /// Since when; RFC 3339, UTC. Not there in the moment in which that changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Whether it, or anything of it, was changed while the daemon ran.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub runtime: bool,
    /// Where its frames go; null if nobody ever answered for its address, and of one that is up or draining if it is
    /// the director itself.
    pub mac: Option<String>,
    /// Live connections in states that IPVS calls active.
    pub active_connections: u64,
    /// Other live connections.
    pub inactive_connections: u64,
    /// Since the maps were made, or last zeroed.
    pub stats: Stats,
    /// Per second.
    pub rate: Rate,
    /// What its health check found, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// What was forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// Connections scheduled.
    pub connections: u64,
    /// Frames.
    pub packets: u64,
    /// Bytes of their IP packets.
    pub bytes: u64,
}

impl Sum for Stats {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            connections: sum.connections + part.connections,
            packets: sum.packets + part.packets,
            bytes: sum.bytes + part.bytes,
        })
    }
}

/// What is forwarded in a second: IPVS's estimate, which follows a change within some ten seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rate {
    /// Connections scheduled.
    pub connections: f64,
    /// Frames.
    pub packets: f64,
    /// Bytes of their IP packets.
    pub bytes: f64,
}

impl Sum for Rate {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            connections: sum.connections + part.connections,
            packets: sum.packets + part.packets,
            bytes: sum.bytes + part.bytes,
        })
    }
}

/// `GET /v1/director`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Director {
    /// Of the daemon.
    pub version: String,
    /// Since when the daemon runs; RFC 3339, UTC.
    #[serde(default)]
    pub since: String,
    /// Where frames come in and go out; several are separated by commas.
    pub interface: String,
    /// `native` or `generic`; if interfaces differ, of each.
    pub xdp_mode: String,
    /// How many connections there is room for.
    pub max_connections: u32,
    /// Frames that were not forwarded, by reason, and events in the connection table, since the maps were made.
    pub counters: BTreeMap<String, u64>,
    /// What the connection tables hold.
    #[serde(default)]
    pub connection_tables: ConnectionTables,
    /// What running the programs took, for each interface.
    #[serde(default)]
    pub xdp_runs: Vec<XdpRuns>,
}
