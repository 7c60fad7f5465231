//! What the daemon answers, and how it is asked: HTTP with JSON over a Unix socket, and over TCP for whoever only
//! reads, or is an administrator.

mod acl;
mod admin;
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
mod guard;
mod health;
mod http;
mod limits;
mod live;
mod metrics;
mod operation;
mod page;
mod rates;
mod request;
mod routes;
mod server;
mod session;
mod since;
mod sync;
mod trace;
mod vrrp;

pub use crate::state::fingerprint;
pub use configuration::ReloadOrder;
pub use http::{HttpError, check_http};
pub use rates::Rates;
pub use server::{ControlError, Facts, Parts, Server};

#[cfg(test)]
mod tests;
