//! What the data plane in the kernel and the daemon in userspace must agree on.
//!
//! ```text
//!   lb-ebpf (XDP)  ──┐
//!                    ├──>  lb-common: layouts of map values, hashes, the connection table,
//!   lb-userspace  ───┘                names of counters, limits
//! ```
//!
//! Nothing here allocates, does I/O or knows a BPF library. Every value that lies in a BPF map is
//! `#[repr(C)]`, has its size asserted, and holds fields that change while packets flow as a [`Word`].

#![no_std]
// `core` for the BPF target has no compare-and-swap; its intrinsics compile to BPF's atomic instructions.
#![cfg_attr(target_arch = "bpf", allow(internal_features, reason = "see atomic.rs"))]
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics))]
// A shift of which the compiler makes no branch: see selector/search.rs.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod acl;
mod atomic;
pub mod clock;
pub mod connection;
pub mod counter;
pub mod destination;
pub mod form;
pub mod fragment;
pub mod hash;
pub mod interface;
pub mod limits;
pub mod load;
pub mod locality;
pub mod persistence;
pub mod policy;
pub mod probe;
pub mod sample;
pub mod selector;
pub mod service;
pub mod settings;
pub mod siphash;
pub mod sync;
pub mod trace;
mod word;

pub use atomic::{Setting, Word};
