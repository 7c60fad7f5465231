//! Which MAC each real server has, as long as it answers.
//!
//! ```text
//!   kernel's neighbour table ──events──> machine (one for each address, pure) ──actions──> kernel asks
//!                                            │
//!                                            └──> Resolutions, on a watch channel
//! ```
//!
//! The kernel asks (ARP; for IPv6, neighbour solicitations) and keeps the table; we tell it when. Left to itself it would go on using a MAC for
//! half a minute after its owner has gone. So every address is confirmed twice a second by a request to the MAC
//! it has, and when no answer comes within [`machine::REPLY`], everybody is asked: a real server whose MAC
//! changed is right again within a second, even if it did not announce itself.

mod driver;
mod machine;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use macaddr::MacAddr6;

pub use driver::{Addresses, Driver};

/// How long the first answers of real servers are waited for: who does not answer by then is unresolved for now.
pub const FIRST_ANSWERS: Duration = Duration::from_millis(400);

/// What is known of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// The MAC it has, or had when it last answered.
    pub mac: Option<MacAddr6>,
    /// Whether it answers.
    pub is_reachable: bool,
}

/// What is known of every address that was asked for.
pub type Resolutions = BTreeMap<IpAddr, Resolution>;
