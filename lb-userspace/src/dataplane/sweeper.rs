//! Freeing what has expired, and finding out what is still referred to.

use std::collections::BTreeMap;
use std::sync::Arc;

use lb_common::connection::{Buckets as _, Meta, Sweep, clear_recent, sweep};
use lb_common::hash::FlowSeed;

use super::acl::{AclScope, AclView, Clients, client};
use super::clock::KernelClock;
use super::error::DataplaneError;
use super::memory::{ConnectionTable, Memory};
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

/// What whoever sweeps is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepOrder {
    /// Sweep at once: clients are refused whose connections live.
    Now,
    /// End.
    Stop,
}

/// The rules for clients, of each scope that has any.
struct Refusals<'a>(BTreeMap<AclScope, Clients<'a>>);

impl<'a> Refusals<'a> {
    fn new(acls: &'a BTreeMap<AclScope, Arc<AclView>>) -> Self {
        Self(acls.iter().map(|(scope, acl)| (*scope, Clients::new(acl))).collect())
    }

    /// Whether the client of a flow may have a connection to this virtual server.
    fn let_in<const K: usize>(&self, key: &[u64; K], service: u64) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let service = u32::try_from(service).unwrap_or(u32::MAX);
        let scopes = [AclScope::All, AclScope::Service(service)];
        scopes.iter().filter_map(|scope| self.0.get(scope)).all(|clients| clients.lets_in(client(key)))
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

    /// Frees entries that have expired, those of destinations that are gone, and those of clients that are refused.
    ///
    /// # Errors
    /// [`DataplaneError::Clock`].
    pub fn sweep(&self) -> Result<Swept, DataplaneError> {
        let memory = &self.memory;
        memory.v4.tables().into_iter().for_each(clear_recent);
        memory.v6.tables().into_iter().for_each(clear_recent);
        // From here on every mark that counts is set again by whoever relies on it, and no flow is recorded for a client
        // that was refused before.
        (self.wait)();
        let acls = memory.acls().clone();
        let refusals = Refusals::new(&acls);
        let now = self.clock.now()?;
        let mut swept = Swept { total: Sweep::default(), referenced: vec![false; memory.destinations.len()] };
        self.sweep_table(&memory.v4.half_open, &refusals, now, &mut swept);
        self.sweep_table(&memory.v6.half_open, &refusals, now, &mut swept);
        // Who was seen there in time is in the main table by then.
        (self.wait)();
        self.sweep_table(&memory.v4.main, &refusals, now, &mut swept);
        self.sweep_table(&memory.v6.main, &refusals, now, &mut swept);
        Ok(swept)
    }

    fn sweep_table<const K: usize>(
        &self,
        table: &ConnectionTable<K>,
        refusals: &Refusals<'_>,
        now: u32,
        swept: &mut Swept,
    ) {
        let memory = &self.memory;
        let mut displaced = vec![false; table.len() as usize];
        let is_gone = |key: &[u64; K], meta: Meta| {
            let destination = memory.destinations.get(meta.destination() as usize);
            !destination.is_some_and(|destination| {
                destination.is_usable() && refusals.let_in(key, destination.service.load())
            })
        };
        let found =
            sweep(table, self.seed, &memory.settings().timeouts, now, &mut displaced, is_gone, |_, meta| {
                if let Some(referenced) = swept.referenced.get_mut(meta.destination() as usize) {
                    *referenced = true;
                }
            });
        swept.total.live += found.live;
        swept.total.freed += found.freed;
    }
}
