//! What the daemon answers, and how it is asked: HTTP with JSON over a Unix socket.

mod acl;
pub mod api;
mod change;
pub mod client;
mod configuration;
mod connections;
pub mod explain;
mod failure;
mod rates;
mod server;

pub use configuration::ReloadOrder;
pub use rates::Rates;
pub use server::{ControlError, Facts, Parts, Server};
