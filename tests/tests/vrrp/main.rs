//! Labs of several directors: VRRP among them and with keepalived. They need root, keepalived, and what
//! `cargo xtask test` sets.

mod keepalived;
mod pair;
mod support;
