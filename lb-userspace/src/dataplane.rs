//! The data plane as the daemon sees it: the programs and maps in the kernel.
//!
//! ```text
//!   open ──> maps pinned below the bpffs directory, programs loaded against them
//!     │
//!     ├─ attach ──> a program on each interface, its link pinned
//!     ├─ Tables: the one writer of services, slots, destinations and rules for clients
//!     ├─ Observer: reads counters and connections, writes nothing; ConnectionReader: lists connections
//!     ├─ FlowEvents, FlowTable: what is told of connections, and what others told written into the tables
//!     ├─ ProbeReplies: keeps answers to probes of VIPs from the kernel's stack
//!     ├─ Tracer: has another program tell what becomes of frames, while somebody wants to know
//!     ├─ Explainer: runs the program on made-up frames, which change nothing
//!     └─ Sweeper: frees expired connections, and those of clients that are refused
//! ```
//!
//! This is the only room that knows aya or touches a BPF map. The maps are mapped into the daemon's memory as
//! slices of [`lb_common`]'s records; on memory of the process itself ([`Memory::in_process`]) everything but
//! the programs works the same, which is what tests use. Beside the maps there is [`FrameSocket`], for frames of the
//! daemon's own that go past the kernel's stack.

mod acl;
mod addresses;
mod attach;
mod clock;
mod connections;
mod error;
mod events;
mod explain;
mod explanation;
mod flows;
mod fragments;
mod frame_socket;
mod inspect;
mod interfaces;
mod layout;
mod lock;
mod memory;
mod migrate;
mod object;
mod observer;
mod occupancy;
mod offload;
mod open;
mod probe_replies;
mod sampled;
mod stats;
mod sweeper;
mod tables;
mod templates;
mod tracer;
mod upgrade;
mod view;
mod wishes;

pub use acl::{AclScope, AclView, AclViews, Rule};
pub use attach::Attached;
pub use clock::KernelClock;
pub use connections::{Connection, ConnectionReader, Cursor, PageSize};
pub use error::DataplaneError;
pub use events::{EventWatch, FlowEvents};
pub use explain::{Explainer, Question};
pub use explanation::{Action, Choice, Down, Explanation, Known, Parsed, Sent, Table};
pub use flows::{Applied, Flow, FlowCursor, FlowTable};
pub use fragments::{Fragment, Fragments};
pub use frame_socket::FrameSocket;
pub use inspect::{XdpProgram, has_bpf_loop, own_program, unreadable_layouts, xdp_program};
pub use layout::Capacity;
pub use memory::Memory;
pub use observer::{Observer, ProgramRuns};
pub use occupancy::{Occupancy, TableOccupancy};
pub use offload::VlanOffload;
pub use open::{Constants, Dataplane, FlowLog, Options, bpffs_mount_point, ensure_mounted, is_on_bpffs};
pub use probe_replies::ProbeReplies;
pub use sampled::{Sampled, SampledFlow};
pub use sweeper::{SweepOrder, Sweeper, Swept};
pub use tables::{Operation, Tables};
pub use tracer::{TraceCounts, Tracer, Tracing};
pub use view::{DestinationView, InterfaceView, ServiceAddress, ServiceView, View, Way};
pub use wishes::Wishes;

#[cfg(test)]
mod tests;
