//! Labs of several directors: VRRP among them and with keepalived. They need root, keepalived, and what
//! `cargo xtask test` sets.

#![expect(clippy::disallowed_methods, reason = "labs measure real time")]

mod hostile;
mod keepalived;
mod pair;
mod support;
mod survival;
