//! The Virtual Router Redundancy Protocol: which one of the directors holds the virtual addresses.
//!
//! ```text
//!   socket ──bytes──> Advert::decode ──Advert──┐
//!                        └──> Rejected         ├──> Machine (one for each virtual router, pure)
//!   links, scripts, time, shutdown ────────────┘      │       ^
//!                                                     │       └── Group: the members of a sync group, kept alike
//!   socket, Holder: addresses, ARP <──────Action──────┘
//! ```
//!
//! `machine`, `group`, `packet`, `timing` and what `track` and `lookout` decide by do no I/O and read no clock; `driver`,
//! `router`, `socket`, `holder` and the tasks of those two are their hands ([ADR 17](../../docs/adr/0017-vrrp.md)).
//! Versions 2 (RFC 3768) and 3 (RFC 5798, RFC 9568) are spoken as keepalived 2.2.7 speaks them; where it and an RFC differ,
//! the line says what is done and why.

mod clock;
mod driver;
mod group;
mod handle;
mod holder;
mod lookout;
mod machine;
mod packet;
mod quiet;
mod router;
mod socket;
mod status;
pub mod timing;
mod track;

pub use driver::{Driver, Order};
pub use group::Group;
pub use handle::Handle;
pub use holder::{Holder, ToDriver, ToHolder, between};
pub use lookout::look_out;
pub use machine::{
    Action, Fault, Link, Machine, Master, Parameters, Reason, State, Status, Tracking, Transitions,
};
pub use packet::{
    Advert, Cause, Envelope, Expectation, GROUP_V4, GROUP_V6, PROTOCOL, Rejected, TTL, Version,
};

pub use router::Change;
pub use status::{Counters, RouterStatus};
pub use track::Runner;

/// The priority of whoever owns the addresses: it is master whenever it is there (RFC 9568, section 5.2.4).
pub const OWNER: u8 = 255;
/// The priority that a master announces when it stops (RFC 9568, section 5.2.4).
pub const RELEASE: u8 = 0;
/// The least priority that competes.
pub const LEAST: u8 = 1;
