//! The data plane as the daemon sees it: the programs and maps in the kernel.
//!
//! ```text
//!   open ──> maps pinned below the bpffs directory, programs loaded against them
//!     │
//!     ├─ attach ──> the program on the interface, its link pinned
//!     ├─ Tables: the one writer of services, slots and destinations
//!     ├─ Observer: reads counters and connections, writes nothing
//!     ├─ Explainer: runs the program on made-up frames, which change nothing
//!     └─ Sweeper: frees expired connections
//! ```
//!
//! This is the only room that knows aya or touches a BPF map. The maps are mapped into the daemon's memory as
//! slices of [`lb_common`]'s records; on memory of the process itself ([`Memory::in_process`]) everything but
//! the programs works the same, which is what tests use.

mod addresses;
mod attach;
mod clock;
mod error;
mod explain;
mod explanation;
mod layout;
mod memory;
mod migrate;
mod object;
mod observer;
mod open;
mod sweeper;
mod tables;
mod view;

pub use attach::Attached;
pub use clock::KernelClock;
pub use error::DataplaneError;
pub use explain::{Explainer, Question};
pub use explanation::{Action, Choice, Explanation, Known, Parsed, Sent, Table};
pub use layout::Capacity;
pub use memory::Memory;
pub use observer::{Connections, Observer};
pub use open::{Constants, Dataplane, FlowLog, Options};
pub use sweeper::{Sweeper, Swept};
pub use tables::{Operation, Tables};
pub use view::{DestinationView, InterfaceView, ServiceAddress, ServiceView, View};

#[cfg(test)]
mod tests;
