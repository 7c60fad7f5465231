//! Reading counters and connections, without writing anything.

use std::collections::HashMap;
use std::sync::Arc;

use aya::maps::{MapData, PerCpuArray};
use lb_common::connection::{State, Timeouts};
use lb_common::counter::{RealServerStats, Reason};
use lb_common::hash::FlowSeed;

use super::clock::KernelClock;
use super::connections::{ConnectionReader, live};
use super::error::{DataplaneError, map_failed};
use super::memory::{self, Memory};
use super::stats::counted;

/// Reads what the programs count and remember.
#[derive(Clone)]
pub struct Observer {
    memory: Arc<Memory>,
    clock: KernelClock,
    counters: Arc<PerCpuArray<MapData, u64>>,
    real_stats: Arc<PerCpuArray<MapData, RealServerStats>>,
}

/// Live connections of a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Connections in states that IPVS calls active.
    pub active: u64,
    /// The others.
    pub inactive: u64,
}

impl Observer {
    pub(super) fn new(
        memory: Arc<Memory>,
        clock: KernelClock,
        counters: PerCpuArray<MapData, u64>,
        real_stats: PerCpuArray<MapData, RealServerStats>,
    ) -> Self {
        Self { memory, clock, counters: Arc::new(counters), real_stats: Arc::new(real_stats) }
    }

    /// The counters of verdicts and events, summed over CPUs.
    ///
    /// # Errors
    /// [`DataplaneError::Map`].
    pub fn counters(&self) -> Result<Vec<(Reason, u64)>, DataplaneError> {
        let read = |reason: &Reason| {
            let values = self.counters.get(&(*reason as u32), 0).map_err(map_failed("read", "COUNTERS"))?;
            Ok((*reason, values.iter().sum()))
        };
        Reason::ALL.iter().map(read).collect()
    }

    /// What was forwarded to a destination since it was last zeroed.
    ///
    /// # Errors
    /// [`DataplaneError::Map`].
    pub fn stats(&self, destination: u32) -> Result<RealServerStats, DataplaneError> {
        let counted = counted(&self.real_stats, destination)?;
        let baseline = self.memory.baselines.get(destination as usize);
        Ok(baseline.map_or(counted, |baseline| baseline.since(counted)))
    }

    /// A reader of the connection tables.
    #[must_use]
    pub fn connection_reader(&self) -> ConnectionReader {
        ConnectionReader::new(Arc::clone(&self.memory), self.clock)
    }

    /// Counts live connections of each destination, by reading the tables from end to end: some 50 ms for a
    /// million.
    ///
    /// # Errors
    /// [`DataplaneError::Clock`].
    pub fn connections(&self) -> Result<HashMap<u32, Connections>, DataplaneError> {
        let now = self.clock.now()?;
        let settings = self.memory.settings();
        let [first, second] = &settings.flow_seed;
        let seed = FlowSeed { first: first.load(), second: second.load() };
        let mut counts = HashMap::new();
        count(&self.memory.v4, seed, &settings.timeouts, now, &mut counts);
        count(&self.memory.v6, seed, &settings.timeouts, now, &mut counts);
        Ok(counts)
    }
}

/// Adds one family's live connections.
fn count<const K: usize>(
    family: &memory::Connections<K>,
    seed: FlowSeed,
    timeouts: &Timeouts,
    now: u32,
    counts: &mut HashMap<u32, Connections>,
) {
    for half_open in [false, true] {
        let buckets = (0..).map_while(|i| live(family, half_open, i, seed, timeouts, now));
        for (_, meta) in buckets.flatten() {
            let count = counts.entry(meta.destination()).or_default();
            if State::from_number(meta.state()).is_some_and(State::is_active) {
                count.active += 1;
            } else {
                count.inactive += 1;
            }
        }
    }
}
