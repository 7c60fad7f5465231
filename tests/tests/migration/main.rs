//! The way from keepalived and IPVS to lb, as `docs/migration.md` tells it: every command of its sections, with real keepalived, a
//! kernel's real IPVS, and clients that ask all the time.
//!
//! `cargo xtask test vm migration` runs this on Debian's kernel, which has IPVS; on a machine whose kernel has it, so does
//! `cargo test --test migration` as root, with what `cargo xtask test` sets.

#![expect(clippy::disallowed_methods, reason = "labs measure real time")]
#![expect(clippy::expect_used, reason = "a test that is surprised fails")]

mod clients;
mod guide;
mod ipvs;
mod one_machine;
mod site;
mod two_machines;
