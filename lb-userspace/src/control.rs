//! What the daemon answers, and how it is asked: HTTP with JSON over a Unix socket.

mod acl;
pub mod api;
mod change;
pub mod client;
mod connections;
pub mod explain;
mod failure;
mod rates;
mod server;

pub use rates::Rates;
pub use server::{ControlError, Facts, Server};
