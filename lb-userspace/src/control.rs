//! What the daemon answers, and how it is asked: HTTP with JSON over a Unix socket.

mod acl;
pub mod api;
pub mod client;
pub mod explain;
mod rates;
mod server;

pub use rates::Rates;
pub use server::{ControlError, Facts, Server};
