//! Connections of this director in the tables of others, and theirs in this one's.
//!
//! ```text
//!   programs ──events──> sender ──datagrams──> peers          receiver ──> FlowTable ──> tables
//!   table ──refresh──────┘                                      │
//!                                                 known session?├─ yes: sequence, records
//!   introducer ──TCP──> a peer: who are you now? ──snapshot─────┴─ no: introduce first
//!   acceptor <──TCP── a peer that asks the same
//! ```
//!
//! All of it runs on one thread of its own ([`run`]). What it does lies on the [`Board`]. [`datagram`], [`record`] and
//! [`window`] are pure; [`introduction`] speaks over any stream. What is guaranteed against replay and who is believed is in
//! docs/synchronisation.md, why it is so in docs/adr/0016-connection-sync.md.

mod board;
mod datagram;
mod driver;
mod introduction;
mod key;
mod peers;
mod record;
mod sockets;
#[cfg(test)]
mod throughput;
mod window;

pub use board::{Board, SyncPeer, SyncRefused, SyncStatus};
pub use driver::{SyncPhase, Wanted, run};
pub use key::Key;

/// What travels; a director of another version is refused. Changes whenever a record, a datagram or an introduction does.
const VERSION: u8 = 1;

/// A director's run: other bits at each start.
type Session = u128;
