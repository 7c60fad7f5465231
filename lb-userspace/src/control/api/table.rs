//! The connection tables and the programs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the connection tables hold, as the last sweep found it: some ten seconds ago at most, unless they are very large.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionTables {
    /// Live entries by their state, as `lb connections` names it. Those in state `TEMPLATE` are no connections: they say
    /// where new ones of a client go.
    pub states: BTreeMap<String, u64>,
    /// Each table: `ipv4`, `ipv6`, and those of flows of which one packet was seen, `ipv4_half_open`, `ipv6_half_open`.
    /// None before the first sweep.
    pub tables: Vec<ConnectionTable>,
    /// Sweeps since the daemon began.
    pub sweeps: u64,
    /// Entries that they freed.
    pub freed: u64,
}

/// A connection table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionTable {
    /// Its name.
    pub table: String,
    /// Live entries.
    pub entries: u64,
    /// As many as it holds while fewer than one new flow in 10,000 takes the place of a live one.
    pub capacity: u64,
    /// Places for entries.
    pub places: u64,
}

/// How often the program of an interface ran, and for how long, since the daemon began. The kernel counts that only while
/// `sysctl kernel.bpf_stats_enabled` is 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct XdpRuns {
    /// The interface.
    pub interface: String,
    /// Runs: one for each frame.
    pub runs: u64,
    /// Nanoseconds.
    pub time_ns: u64,
}

/// `GET /metrics`: the text format of OpenMetrics 1.0.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Metrics(pub String);
