//! Network labs for tests, benchmarks and the demo: namespaces joined by a bridge.
//!
//! ```text
//!            namespace lb-lab-ID-switch
//!          ┌──────────────────────────────┐
//!          │            bridge            │
//!          │  client  director  rs1  rs2  │   ports, named like their hosts;
//!          └────┬────────┬───────┬────┬───┘   a director's runs XDP `pass`
//!             eth0     eth0    eth0  eth0     one namespace for each host: lb-lab-ID-HOST
//! ```
//!
//! ```no_run
//! use lb_lab::{Lab, TestResult};
//!
//! fn real_servers_answer_with_their_names() -> TestResult {
//!     let lab = Lab::builder().client("client").director("director").real_servers(3).build()?;
//!     for server in lab.real_servers() {
//!         let answer = lab.client().http_get((server.address(), 80), std::time::Duration::from_secs(1))?;
//!         assert_eq!(answer.server, server.name());
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Nothing here waits for a fixed time: it waits for what can be seen ([`wait_until`]). Everything is
//! removed when the [`Lab`] is dropped, on a panic and on Ctrl-C; what a killed process leaves behind is
//! removed by the next lab. Clean-up knows a lab's things by their names and touches nothing else.

#![expect(clippy::disallowed_methods, reason = "labs measure real time")]

mod browser;
mod builder;
mod capture;
mod change;
mod choice;
mod cleanup;
mod command;
mod config;
mod director;
mod error;
pub mod frame;
mod host;
mod http;
mod lab;
mod link;
mod load;
mod namespace;
mod nobody;
mod open;
mod openmetrics;
mod packet;
pub mod page;
mod place;
mod plane;
mod process;
mod pulse;
mod second;
mod signals;
mod spec;
mod stream;
mod switch;
mod testbed;
mod traces;
mod udp;
mod wait;
mod web;

pub use browser::Browser;
pub use builder::{LabBuilder, Subnet};
pub use capture::{Capture, Captured, Direction};
pub use choice::HashTable;
pub use cleanup::{labs, remove, remove_stale};
pub use command::{Command, Output};
pub use config::VirtualServer;
pub use director::{Director, DirectorBuilder, Ready};
pub use error::{Error, Failure, Result, TestResult};
pub use host::Host;
pub use http::{Request, Response};
pub use lab::Lab;
pub use link::Mac;
pub use load::{Load, Report, RunningLoad};
pub use nobody::run_as_nobody;
pub use open::{Download, OpenConnection};
pub use openmetrics::{Exposition, Family, Sample};
pub use packet::FrameSender;
pub use place::Owner;
pub use plane::Plane;
pub use process::Process;
pub use pulse::Pulse;
pub use second::SecondNetwork;
pub use signals::{give_way_to_signal, on_signal};
pub use spec::{HostSpec, Role};
pub use stream::{Received, Stream};
pub use switch::Switch;
pub use testbed::Attachment;
pub use traces::traces;
pub use udp::UdpEcho;
pub use wait::{Answer, try_wait_until, wait_until};
