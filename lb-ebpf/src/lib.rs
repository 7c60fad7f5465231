//! The data plane, stage by stage.
//!
//! ```text
//!   frame ──> parse ──> match_service ──> track ──established──> forward ──> XDP_TX
//!               │             │             └──> decide ──> select ──┘
//!               └─────────────┴─> XDP_PASS                    └─> XDP_DROP
//! ```
//!
//! Each stage is a small file. They are generic over where the bytes lie ([`Frame`]) and where the tables lie
//! ([`Tables`], [`Family`]), so the same Rust runs in the kernel on a frame and on BPF maps, and on the host on a slice
//! and on vectors; and on tables that are read only ([`DryRun`]), which is how `lb explain` asks; and on tables that note what became of the
//! frame ([`Traced`]), which is how `lb trace` knows. Beside them, [`probe_replies`] is a program of its own behind XDP. The programs that tie them to the kernel are `main.rs` (the product's) and `bin/testbed.rs` (what
//! labs and benchmarks need); they build for the BPF target only.

#![no_std]

pub mod acl;
#[cfg(not(target_arch = "bpf"))]
mod buffers;
mod dry_run;
pub mod first;
pub mod forward;
mod frame;
pub mod locality;
mod match_service;
pub mod network;
mod packet;
pub mod parse;
pub mod persist;
mod plain;
pub mod probe_replies;
mod process;
pub mod reset;
mod same;
pub mod select;
mod tables;
pub mod tell;
mod traced;
pub mod track;
mod unusual;
mod verdict;

#[cfg(target_arch = "bpf")]
pub mod kernel;

#[cfg(not(target_arch = "bpf"))]
pub use buffers::Buffers;
pub use dry_run::{DryRun, Rehearsal};
pub use frame::Frame;
pub use packet::{Packet, PacketV4, PacketV6};
pub use process::process;
pub use tables::{Families, Family, Tables};
pub use traced::Traced;
pub use verdict::{Outcome, Verdict};

#[cfg(not(target_arch = "bpf"))]
extern crate alloc;
#[cfg(any(test, feature = "host"))]
extern crate std;
#[cfg(any(test, feature = "host"))]
#[cfg_attr(not(test), expect(dead_code, reason = "some of it only tests look at"))]
#[expect(clippy::expect_used, reason = "for tests: it fails where it is surprised")]
mod director;
#[cfg(any(test, feature = "host"))]
pub mod host;
#[cfg(test)]
mod tests;
