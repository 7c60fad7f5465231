//! What the daemon answers, and how it is asked: HTTP with JSON over a Unix socket.

mod acl;
pub mod api;
mod change;
pub mod client;
mod configuration;
mod connection;
mod connections;
mod director;
mod document;
mod events;
pub mod explain;
mod failure;
mod health;
mod limits;
mod operation;
mod rates;
mod request;
mod routes;
mod server;
mod sync;
mod trace;
mod vrrp;

pub use crate::state::fingerprint;
pub use configuration::ReloadOrder;
pub use rates::Rates;
pub use server::{ControlError, Facts, Parts, Server};

#[cfg(test)]
mod tests;
