//! From what should be to what is: configuration and neighbours to the maps.
//!
//! ```text
//!   config ─┐
//!           ├─> desired() ─> Desired ─┐
//!   MACs,   │     (pure)              ├─> plan() ─> operations, in order ─> Tables::apply
//!   routes ─┘          maps ─> View ──┘   (pure)            (reconcile: the only caller)
//! ```

mod change;
mod configuration;
mod desired;
mod difference;
mod document;
mod event;
mod event_log;
mod journal;
mod names;
mod network;
mod plan;
mod published;
mod ramp;
mod reconcile;
mod ways;

pub use change::{AclAction, Change, ChangeError, Changed, Keys, Refused};
pub use configuration::{Configuration, Reloaded, Remembered, Unconfirmed, fingerprint};
pub use desired::{
    Circumstances, Desired, DesiredServer, DesiredService, addresses_to_locate, addresses_to_resolve,
    desired, vips,
};
pub use difference::difference;
pub use document::Document;
pub use event::{Event, Happening, happenings};
pub use event_log::EventLog;
pub use journal::Journal;
pub use names::NameError;
pub use network::{Location, Network, Places, addressed, locate};
pub use plan::{PlanError, plan};
pub use published::{Published, PublishedServer, PublishedService, ServerState};
pub use reconcile::{Followed, Input, ReconcileError, Reconciler, ReloadError, ReloadKind};
pub use ways::ways;

#[cfg(test)]
mod tests;
