//! The connection table.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A line of `GET /v1/connections`, which answers with one JSON object on each line, as they are found; its query is a
/// [`ConnectionFilter`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Connection {
    /// What is remembered.
    pub kind: ConnectionKind,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Its state, as IPVS names it; of a template, `TEMPLATE`.
    pub state: String,
    /// Seconds until it is forgotten, if no frame comes.
    pub expires_in: u32,
    /// The client's address and port; of a template, the client or its network, and 0.
    pub client: String,
    /// The address and port that it connected to; of a template, the first of its virtual server.
    pub virtual_address: String,
    /// The real server that it goes to; null if that was removed meanwhile.
    pub real_server: Option<String>,
    /// The virtual server's name; null if it was removed meanwhile.
    pub service: Option<String>,
    /// Whether only one packet of it was seen, so that a flood of others may take its place.
    pub half_open: bool,
}

/// Which connections are listed: all that are each of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ConnectionFilter {
    /// Of this virtual server: its name, or an address that only it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Of clients in this prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// To this real server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// No more than this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// What an entry of the table remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionKind {
    /// A connection.
    Connection,
    /// Where new connections of a client go.
    Template,
}
