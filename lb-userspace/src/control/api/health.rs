//! Health checks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /v1/health`, and the answer to `POST /v1/check_now`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthChecks {
    /// Each once, in the order of the configuration.
    pub checks: Vec<HealthCheck>,
}

/// A health check: a real server, and how it is checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthCheck {
    /// The real server's address.
    pub server: String,
    /// The names of the virtual servers that it counts for.
    pub virtual_servers: Vec<String>,
    /// What it found.
    #[serde(flatten)]
    pub health: Health,
}

/// What a health check found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// What it asks, such as `http 80 /healthz`.
    pub check: String,
    /// What it says.
    pub state: HealthState,
    /// Since when it says so; RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Until when it says so whatever probes find, because it changed too often; RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<String>,
    /// How many probes in a row ended as the last did.
    #[serde(default)]
    pub in_a_row: u32,
    /// The last probe, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Probed>,
}

/// What a health check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Nothing yet.
    Unknown,
    /// The real server is well.
    Up,
    /// It is not.
    Down,
    /// It does not ask: the director does not have the VIP (`ha_suspend`).
    Suspended,
}

impl HealthState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Up, Self::Down, Self::Suspended];

    /// As it is printed.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Suspended => "suspended",
        }
    }
}

/// A probe that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Probed {
    /// When it began; RFC 3339, UTC.
    pub time: String,
    /// How long it took, in milliseconds.
    pub latency_ms: f64,
    /// How much later it began than it should have, in milliseconds.
    pub late_ms: f64,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the real server wants as its weight, such as `50%` or `7`, if it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
}

/// `POST /v1/check_now`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckNow {
    /// The real server's address; all of its checks are done.
    pub server: String,
}
