//! What may be changed while the daemon runs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use crate::state::{AclAction, Change};

/// `POST /v1/changes`: all are made, in this order, or none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// What to change.
    pub changes: Vec<Change>,
}

/// The answer to [`Changes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangesMade {
    /// Whether anything is different now.
    pub changed: bool,
}

/// `GET /v1/configuration`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Configuration {
    /// The configuration file.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// Its text as it was read.
    pub file: String,
    /// The text that says what is done, with the file's comments.
    pub text: String,
    /// What was changed since the file was read.
    pub changes: Vec<Change>,
    /// Whether the file's text is still to be confirmed.
    pub awaits_confirmation: bool,
}

/// `POST /v1/reload`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// What counted before counts again unless the reload is confirmed within this many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within: Option<u64>,
    /// For `lb save`: by what it knows the text that it wrote to the file. What is done stays then, also what was changed
    /// since that text was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved: Option<u64>,
}

/// The answer to [`Reload`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// What is different now.
    pub changes: Vec<Change>,
    /// What else is, by name: sections of VRRP (`[[vrrp_instance]] VI_1`), and keys of `[director]` that count at once
    /// (`director.peers`).
    #[serde(default)]
    pub others: Vec<String>,
    /// Keys of `[director]` that count from the next start on.
    pub at_restart: Vec<String>,
    /// What was changed while the daemon ran, makes no sense any more, and was forgotten: why, in words.
    pub forgotten: Vec<String>,
    /// Warnings about the file, each with its place.
    pub warnings: String,
}

/// The answer to `POST /v1/confirm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Confirmed {
    /// Whether there was anything to confirm.
    pub confirmed: bool,
}

/// Whose new connections are let in: prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acl {
    /// Clients that are refused, whatever is allowed besides.
    pub deny: Vec<String>,
    /// Clients that are let in; if there are any, only these.
    pub allow: Vec<String>,
}

/// `GET /v1/acl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acls {
    /// For all virtual servers.
    #[serde(flatten)]
    pub all: Acl,
    /// For each of them besides, in the order of the configuration.
    pub virtual_servers: Vec<ServiceAcl>,
}

/// The rules of one virtual server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceAcl {
    /// Its name.
    pub name: String,
    /// Whose clients are let in.
    #[serde(flatten)]
    pub acl: Acl,
}

/// `POST /v1/acl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

/// The answer to [`AclChange`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AclChanged {
    /// The prefix as it is understood.
    pub prefix: String,
    /// Whether anything is different now.
    pub changed: bool,
    /// The rules that there are now, in the place where the change was made.
    pub acl: Acl,
}

/// `GET /v1/timeouts`: how long a connection without frames is remembered, in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateTimeout {
    /// The state, as `lb connections` shows it.
    pub state: String,
    /// In seconds.
    pub timeout: u64,
    /// Which of the three it is: `tcp`, `tcp_fin` or `udp`; none if it is fixed.
    pub setting: Option<String>,
}

/// `POST /v1/timeouts`, in seconds: what is left out stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimeoutsChanged {
    /// Whether anything is different now.
    pub changed: bool,
    /// The timeouts that there are now.
    #[serde(flatten)]
    pub timeouts: Timeouts,
}

/// `POST /v1/weight`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Zero {
    /// The virtual server whose counters begin anew: its name, or an address that only it has; without it, all.
    #[serde(default)]
    pub service: Option<String>,
}

/// The answer to [`Zero`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Zeroed {
    /// The names of the virtual servers whose counters begin anew.
    pub virtual_servers: Vec<String>,
}
