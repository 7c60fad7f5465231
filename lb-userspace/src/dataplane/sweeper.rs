//! Freeing what has expired, and finding out what is still referred to.

use std::sync::Arc;

use lb_common::connection::{Buckets as _, Sweep, clear_recent, sweep};
use lb_common::destination::Destination;
use lb_common::hash::FlowSeed;

use super::clock::KernelClock;
use super::error::DataplaneError;
use super::memory::{Connections, Memory};
use super::tables::Wait;

/// Sweeps the connection tables.
#[derive(Debug)]
pub struct Sweeper {
    memory: Arc<Memory>,
    clock: KernelClock,
    seed: FlowSeed,
    wait: Wait,
}

/// What a sweep of all tables found.
#[derive(Debug, Default)]
pub struct Swept {
    /// Entries that live and entries that were freed.
    pub total: Sweep,
    /// Destinations that live entries refer to: one bit of the answer for each number.
    referenced: Vec<bool>,
}

impl Swept {
    /// Whether a live connection refers to the destination `number`.
    #[must_use]
    pub fn refers_to(&self, number: u32) -> bool {
        self.referenced.get(number as usize).copied().unwrap_or(false)
    }
}

impl Sweeper {
    pub(super) fn new(memory: Arc<Memory>, clock: KernelClock, seed: FlowSeed, wait: Wait) -> Self {
        Self { memory, clock, seed, wait }
    }

    /// A sweeper of tables that no program reads.
    ///
    /// # Errors
    /// [`DataplaneError::Clock`].
    pub fn in_process(memory: Arc<Memory>, seed: FlowSeed) -> Result<Self, DataplaneError> {
        Ok(Self::new(memory, KernelClock::in_process()?, seed, || {}))
    }

    /// Frees entries that have expired, and those of destinations that are gone.
    ///
    /// # Errors
    /// [`DataplaneError::Clock`].
    pub fn sweep(&self) -> Result<Swept, DataplaneError> {
        let memory = &self.memory;
        memory.v4.tables().into_iter().for_each(clear_recent);
        memory.v6.tables().into_iter().for_each(clear_recent);
        // From here on every mark that counts is set again by whoever relies on it.
        (self.wait)();
        let now = self.clock.now()?;
        let mut swept = Swept { total: Sweep::default(), referenced: vec![false; memory.destinations.len()] };
        self.sweep_family(&memory.v4, now, &mut swept);
        self.sweep_family(&memory.v6, now, &mut swept);
        Ok(swept)
    }

    fn sweep_family<const K: usize>(&self, family: &Connections<K>, now: u32, swept: &mut Swept) {
        let memory = &self.memory;
        let is_usable =
            |number: u32| memory.destinations.get(number as usize).is_some_and(Destination::is_usable);
        for table in family.tables() {
            let mut displaced = vec![false; table.len() as usize];
            let timeouts = &memory.settings().timeouts;
            let found = sweep(
                table,
                self.seed,
                timeouts,
                now,
                &mut displaced,
                |meta| !is_usable(meta.destination()),
                |_, meta| {
                    if let Some(referenced) = swept.referenced.get_mut(meta.destination() as usize) {
                        *referenced = true;
                    }
                },
            );
            swept.total.live += found.live;
            swept.total.freed += found.freed;
        }
    }
}
