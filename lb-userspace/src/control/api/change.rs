//! What may be changed while the daemon runs.

use serde::{Deserialize, Serialize};

/// Whose new connections are let in: prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    /// Clients that are refused, whatever is allowed besides.
    pub deny: Vec<String>,
    /// Clients that are let in; if there are any, only these.
    pub allow: Vec<String>,
}

/// `GET /v1/acl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acls {
    /// For all virtual servers.
    #[serde(flatten)]
    pub all: Acl,
    /// For each of them besides, in the order of the configuration.
    pub virtual_servers: Vec<ServiceAcl>,
}

/// The rules of one virtual server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAcl {
    /// Its name.
    pub name: String,
    /// Whose clients are let in.
    #[serde(flatten)]
    pub acl: Acl,
}

/// `POST /v1/acl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AclChange {
    /// What to do with the prefix.
    pub action: AclAction,
    /// Clients' addresses.
    pub prefix: String,
    /// The name of a virtual server; without it, the rules for all change.
    #[serde(default)]
    pub service: Option<String>,
}

/// What to do with a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AclAction {
    /// Refuse its clients.
    Deny,
    /// Let its clients in, and only those that are allowed.
    Allow,
    /// Say nothing of it any more.
    Remove,
}

/// The answer to [`AclChange`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclChanged {
    /// The prefix as it is understood.
    pub prefix: String,
    /// Whether anything is different now.
    pub changed: bool,
    /// The rules that there are now, in the place where the change was made.
    pub acl: Acl,
}

/// `GET /v1/timeouts`: how long a connection without frames is remembered, in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// An established TCP connection.
    pub tcp: u64,
    /// A TCP connection after a FIN.
    pub tcp_fin: u64,
    /// UDP.
    pub udp: u64,
    /// What that makes for each state, and for those whose timeout is IPVS's and fixed.
    pub states: Vec<StateTimeout>,
}

/// How long a connection in one state is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateTimeout {
    /// The state, as `lb connections` shows it.
    pub state: String,
    /// In seconds.
    pub timeout: u64,
    /// Which of the three it is: `tcp`, `tcp_fin` or `udp`; none if it is fixed.
    pub setting: Option<String>,
}

/// `POST /v1/timeouts`, in seconds: what is left out stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeoutsChange {
    /// An established TCP connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<u64>,
    /// A TCP connection after a FIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_fin: Option<u64>,
    /// UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<u64>,
}

/// The answer to [`TimeoutsChange`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeoutsChanged {
    /// Whether anything is different now.
    pub changed: bool,
    /// The timeouts that there are now.
    #[serde(flatten)]
    pub timeouts: Timeouts,
}

/// `POST /v1/weight`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightChange {
    /// The virtual server: its name, or an address that only it has.
    pub service: String,
    /// The real server's address.
    pub server: String,
    /// Its weight from now on; 0 for no new connections.
    pub weight: u32,
}

/// The answer to [`WeightChange`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightChanged {
    /// The virtual server's name.
    pub service: String,
    /// The real server's address.
    pub server: String,
    /// Whether anything is different now.
    pub changed: bool,
    /// The weight that there was.
    pub before: u32,
    /// The weight that there is now.
    pub weight: u32,
}

/// `POST /v1/zero`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zero {
    /// The virtual server whose counters begin anew: its name, or an address that only it has; without it, all.
    #[serde(default)]
    pub service: Option<String>,
}

/// The answer to [`Zero`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zeroed {
    /// The names of the virtual servers whose counters begin anew.
    pub virtual_servers: Vec<String>,
}
