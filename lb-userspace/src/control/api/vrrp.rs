//! VRRP.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/vrrp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Vrrp {
    /// `[[vrrp_instance]]`, in the order of the configuration.
    pub instances: Vec<VrrpInstance>,
}

/// A virtual router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VrrpInstance {
    /// Its name.
    pub name: String,
    /// `init`, `backup`, `master`, `fault`, `leaving` (priority 0 was sent, and a successor is awaited) or `stopped`.
    pub state: String,
    /// Since when; RFC 3339, UTC.
    pub since: String,
    /// Why, in words.
    pub reason: String,
    /// The interface that it speaks on.
    pub interface: String,
    /// Its number.
    pub virtual_router_id: u8,
    /// Of the protocol, 2 or 3.
    pub version: u8,
    /// The priority that it competes with.
    pub priority: u8,
    /// The priority that is configured.
    pub configured_priority: u8,
    /// Whether it competes with the lowest priority until it knows the other directors' connections.
    pub held: bool,
    /// How often the master sends an advert, in milliseconds, as it is configured here.
    pub advert_interval_ms: u64,
    /// Who is master, as far as it has heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<VrrpMaster>,
    /// Where its adverts come from, if it can send any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// To whom adverts go; none: to the multicast group.
    pub unicast_peers: Vec<String>,
    /// The addresses that the master has, as `address/prefix length`.
    pub virtual_addresses: Vec<String>,
    /// Those that it has too, and that are not in its adverts.
    #[serde(default)]
    pub excluded_addresses: Vec<String>,
    /// Who else has the addresses and is not the master, in words: a split brain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_brain: Option<String>,
    /// The sync group that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_group: Option<String>,
    /// Its scripts.
    pub track_scripts: Vec<VrrpScript>,
    /// How often it became what.
    pub transitions: VrrpTransitions,
    /// Adverts.
    pub adverts: VrrpAdverts,
}

/// A director that is master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VrrpMaster {
    /// Where its adverts come from.
    pub address: String,
    /// Its priority.
    pub priority: u8,
}

/// A script that is tracked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VrrpScript {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What it changes the priority by; 0: it has to succeed.
    pub weight: i16,
    /// Whether it succeeds; null before its first run has ended.
    pub up: Option<bool>,
}

/// How often an instance became what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VrrpTransitions {
    /// Master.
    pub master: u64,
    /// Backup.
    pub backup: u64,
    /// Fault.
    pub fault: u64,
}

/// What an instance has counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VrrpAdverts {
    /// Sent.
    pub sent: u64,
    /// Not sent: the kernel refused.
    pub not_sent: u64,
    /// Received and listened to.
    pub received: u64,
    /// Not listened to, by cause.
    pub rejected: BTreeMap<String, u64>,
}
