//! Which real servers are well: checks, what they found, and what becomes of it.
//!
//! ```text
//!   config ──checks()──> prober: a task for each check ──probe──> Result<Answer, Failure>
//!                            │                                        │
//!                            │                     fsm: rise, retries, flaps (pure)
//!                            └──Verdicts, on a watch channel <────────┘
//! ```
//!
//! A check belongs to a real server and a definition: the same one under ten virtual servers runs once.

pub mod path;
pub mod probe;
pub mod vip;

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::HealthCheck;

/// Something that is checked: a real server, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// The real server's own address.
    pub server: IpAddr,
    /// The VIP that probes go to, at the real server's MAC; if none, they go to its own address.
    pub vip: Option<IpAddr>,
    /// How.
    pub definition: Arc<HealthCheck>,
}
