//! From what should be to what is: configuration and neighbours to the maps.
//!
//! ```text
//!   config ─┐
//!           ├─> desired() ─> Desired ─┐
//!   MACs,   │     (pure)              ├─> plan() ─> operations, in order ─> Tables::apply
//!   routes ─┘          maps ─> View ──┘   (pure)            (reconcile: the only caller)
//! ```

mod acl;
mod change;
mod desired;
mod names;
mod network;
mod plan;
mod reconcile;

pub use acl::{AclAction, AclChange, AclError};
pub use change::{Change, ChangeError, Changed, TimeoutsChange, WeightChange};
pub use desired::{
    Desired, DesiredServer, DesiredService, addresses_to_locate, addresses_to_resolve, desired, vips,
};
pub use names::NameError;
pub use network::{Location, Network, Places, addressed, locate};
pub use plan::{PlanError, plan};
pub use reconcile::{
    Input, Published, PublishedServer, PublishedService, ReconcileError, Reconciler, ServerState,
};

#[cfg(test)]
mod tests;
