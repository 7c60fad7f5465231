//! The director's userspace: one binary that is daemon and command line.

pub mod cli;
pub mod config;
pub mod control;
pub mod dataplane;
pub mod doctor;
mod files;
pub mod forms;
pub mod health;
pub mod import;
pub mod ipvsadm;
pub mod names;
pub mod neighbour;
pub mod net;
pub mod notify;
pub mod process;
pub mod real_server;
pub mod scheduler;
pub mod state;
pub mod supervisor;
pub mod sync;
pub mod vrrp;
