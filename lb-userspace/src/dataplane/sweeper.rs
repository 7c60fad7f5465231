//! Freeing what has expired, and finding out what is still referred to.

use std::collections::BTreeMap;
use std::sync::Arc;

use lb_common::Word;
use lb_common::clock::MAX_TIMEOUT_SECONDS;
use lb_common::connection::{
    Buckets as _, Extent, Extents, Meta, State, Sweep, Sweeping, Terms, clear_recent, entries, gather, sweep,
};
use lb_common::destination::Destination;
use lb_common::hash::FlowSeed;
use lb_common::load::{Counts, Load, Reading, account};
use lb_common::persistence::is_template;

use super::acl::{AclScope, AclView, Clients, client};
use super::clock::KernelClock;
use super::error::DataplaneError;
use super::memory::{ConnectionTable, Memory};
use super::tables::Wait;
use super::templates::{Ending, of_destination};

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
    /// How many destinations were said to have other connections than they have.
    pub corrected: usize,
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

    /// Frees entries that have expired, those of destinations that are gone, and those of clients that are refused; and
    /// corrects what destinations are said to have where nothing else happened meanwhile.
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
        let settings = memory.settings();
        // What an earlier daemon was moving when it was killed.
        self.gather(&memory.v4.main, &settings.extents_v4);
        self.gather(&memory.v6.main, &settings.extents_v6);
        let acls = memory.acls().clone();
        let mut visitor = Visitor {
            memory,
            refusals: Refusals::new(&acls),
            before: memory.loads.iter().map(Load::read).collect(),
            found: vec![Counts::default(); memory.destinations.len()],
            referenced: vec![false; memory.destinations.len()],
            states: [0; State::ALL.len()],
            ending: Ending::default(),
            now: self.clock.now()?,
        };
        let now = visitor.now;
        let half_open_v4 = self.sweep_table(&memory.v4.half_open, now, &mut visitor);
        let half_open_v6 = self.sweep_table(&memory.v6.half_open, now, &mut visitor);
        // Who was seen there in time is in the main table by then.
        (self.wait)();
        let main_v4 = self.sweep_table(&memory.v4.main, now, &mut visitor);
        let main_v6 = self.sweep_table(&memory.v6.main, now, &mut visitor);
        let mut ending = std::mem::take(&mut visitor.ending);
        let ended = [
            ending.settle(&memory.v4, memory, self.seed, now),
            ending.settle(&memory.v6, memory, self.seed, now),
        ];
        let ended = ended.as_flattened();
        // In the order of the counts of templates that have ended.
        let mut found = [main_v4, half_open_v4, main_v6, half_open_v6];
        for (found, ended) in found.iter_mut().zip(ended) {
            (found.live, found.freed) = (found.live.saturating_sub(*ended), found.freed + ended);
        }
        let templates = &mut visitor.states[State::Template as usize];
        *templates = templates.saturating_sub(ended.iter().sum());
        let total = Sweep {
            live: found.iter().map(|found| found.live).sum(),
            freed: found.iter().map(|found| found.freed).sum(),
        };
        memory.last_sweep.record(memory, visitor.states, found.map(|found| found.live), total.freed);
        let corrected = self.correct_loads(&visitor);
        if corrected > 0 {
            tracing::debug!("corrected the connections of {corrected} real servers");
        }
        self.fit(&memory.v4.main, &settings.extents_v4, found[0].live);
        self.fit(&memory.v6.main, &settings.extents_v6, found[2].live);
        Ok(Swept { total, corrected, referenced: visitor.referenced })
    }

    fn sweep_table<const K: usize>(
        &self,
        table: &ConnectionTable<K>,
        now: u32,
        visitor: &mut Visitor<'_>,
    ) -> Sweep {
        let mut displaced = vec![false; table.len() as usize];
        // Who is to forget a template is not decided by how old it is alone.
        let timeouts = self.memory.settings().timeouts.clone().with_templates(MAX_TIMEOUT_SECONDS);
        sweep(table, self.seed, &timeouts, now, &mut displaced, visitor)
    }

    /// Has a table use as much of it as so many connections need, if that is more or less than it uses.
    fn fit<const K: usize>(&self, table: &ConnectionTable<K>, word: &Word, connections: u64) {
        let extents = table.extents();
        let next = extents.now.next(connections, table.len());
        if next == extents.now || extents.are_two() {
            return;
        }
        let is_done = self.use_part(table, word, next);
        tracing::debug!(
            buckets = next.buckets(table.len()),
            is_done,
            "moved connections closer together, or apart"
        );
    }

    /// Has a table use a part of it, whatever part it used before. `word` tells all which one. Says whether everything is
    /// where it belongs; what is not is found where it is, and moved with the next sweep.
    pub(super) fn use_part<const K: usize>(
        &self,
        table: &ConnectionTable<K>,
        word: &Word,
        now: Extent,
    ) -> bool {
        let before = table.extents().now;
        self.memory.moves.publish(word, Extents { now, before });
        // From here on flows are recorded where they are to be, and looked for also where they were.
        (self.wait)();
        self.gather(table, word)
    }

    /// Moves entries to the part of a table that is in use now, if another was before and nobody runs any more who may have
    /// read that it still is. Says whether everything is where it belongs.
    fn gather<const K: usize>(&self, table: &ConnectionTable<K>, word: &Word) -> bool {
        let extents = table.extents();
        if !extents.are_two() {
            return true;
        }
        let Ok(now) = self.clock.now() else { return false };
        let timeouts = self.memory.settings().timeouts.clone().with_templates(MAX_TIMEOUT_SECONDS);
        let terms = Terms { now, timeouts: &timeouts, ranks: &timeouts };
        let loads = |number: u32| self.memory.loads.get(number as usize);
        let count = |before, after| account(loads, before, after);
        let is_done = self.memory.moves.during(|| gather(table, self.seed, terms, count));
        if is_done {
            self.memory.moves.publish(word, Extents::of(extents.now));
        }
        is_done
    }

    /// Corrects what was not right before `seen` and did not change since. A daemon that was killed between freeing an
    /// entry and accounting for it leaves such, and so do connections for which a smaller table had no room. Returns how
    /// many there were.
    fn correct_loads(&self, seen: &Visitor<'_>) -> usize {
        let loads = &self.memory.loads;
        let is_wrong = |number: &usize| {
            let before = seen.before[*number];
            before.counts() != seen.found[*number] && loads[*number].read() == before
        };
        let wrong: Vec<usize> = (0..loads.len()).filter(is_wrong).collect();
        if wrong.is_empty() {
            return 0;
        }
        // A connection may have been seen that was opened, but not accounted for yet. From here on it is, and its real
        // server's load is another one.
        (self.wait)();
        // After just 256 changes it looks the same. Then the sum is hardly what it was.
        let mut again = vec![Counts::default(); loads.len()];
        let Memory { v4, v6, .. } = &*self.memory;
        v4.tables().into_iter().for_each(|table| count(table, &mut again));
        v6.tables().into_iter().for_each(|table| count(table, &mut again));
        let correct = |number: &&usize| {
            let found = seen.found[**number];
            again[**number] == found && loads[**number].correct(seen.before[**number], found)
        };
        wrong.iter().filter(correct).count()
    }
}

/// Adds up what the entries of a table count as.
fn count<const K: usize>(table: &ConnectionTable<K>, counts: &mut [Counts]) {
    for (_, entry) in (0..table.len()).filter_map(|i| table.bucket(i)).flat_map(entries) {
        if let Some(counts) = counts.get_mut(entry.meta.destination() as usize) {
            *counts = counts.plus(Counts::of(entry.meta));
        }
    }
}

/// What a sweep sees.
struct Visitor<'a> {
    memory: &'a Memory,
    refusals: Refusals<'a>,
    /// What destinations were said to have when the sweep began, less what it freed.
    before: Vec<Reading>,
    /// What they have.
    found: Vec<Counts>,
    /// Destinations that live entries refer to.
    referenced: Vec<bool>,
    /// How many live entries are in each state.
    states: [u64; State::ALL.len()],
    /// Templates that are about to expire.
    ending: Ending,
    /// When the sweep began.
    now: u32,
}

impl<const K: usize> Sweeping<K> for Visitor<'_> {
    fn is_gone(&self, key: &[u64; K], meta: Meta) -> bool {
        let destination = self.memory.destinations.get(meta.destination() as usize);
        if is_template(key) {
            // It is of several clients, perhaps, of whom some are refused; those have no connections.
            return !destination.is_some_and(Destination::is_usable)
                || of_destination(meta, self.memory).is_none();
        }
        !destination.is_some_and(|destination| {
            destination.is_usable() && self.refusals.let_in(key, destination.service.load())
        })
    }

    fn lives(&mut self, key: &[u64; K], meta: Meta) {
        if is_template(key) {
            self.ending.note(key, meta, of_destination(meta, self.memory), self.now);
        }
        if let Some(count) = self.states.get_mut(meta.state() as usize) {
            *count += 1;
        }
        let number = meta.destination() as usize;
        if let Some(referenced) = self.referenced.get_mut(number) {
            *referenced = true;
        }
        if let Some(found) = self.found.get_mut(number) {
            *found = found.plus(Counts::of(meta));
        }
    }

    fn freed(&mut self, meta: Meta) {
        account(|number| self.memory.loads.get(number as usize), meta, Meta::from_word(0));
        if let Some(before) = self.before.get_mut(meta.destination() as usize) {
            *before = before.without(meta);
        }
    }
}
