//! Reading counters and connections, without writing anything.

use std::sync::Arc;

use aya::maps::{MapData, PerCpuArray};
use lb_common::counter::{RealServerStats, Reason};
use lb_common::load::{Counts, Load};

use super::clock::KernelClock;
use super::connections::ConnectionReader;
use super::error::{DataplaneError, map_failed};
use super::memory::Memory;
use super::stats::counted;

/// Reads what the programs count and remember.
#[derive(Clone)]
pub struct Observer {
    memory: Arc<Memory>,
    clock: KernelClock,
    /// Where there are programs that count.
    counted: Option<Arc<Counted>>,
}

struct Counted {
    counters: PerCpuArray<MapData, u64>,
    real_stats: PerCpuArray<MapData, RealServerStats>,
}

impl Observer {
    pub(super) fn new(
        memory: Arc<Memory>,
        clock: KernelClock,
        counters: PerCpuArray<MapData, u64>,
        real_stats: PerCpuArray<MapData, RealServerStats>,
    ) -> Self {
        Self { memory, clock, counted: Some(Arc::new(Counted { counters, real_stats })) }
    }

    /// An observer of memory that no program writes: nothing was counted.
    ///
    /// # Errors
    /// [`DataplaneError::Clock`].
    pub fn in_process(memory: Arc<Memory>) -> Result<Self, DataplaneError> {
        Ok(Self { memory, clock: KernelClock::in_process()?, counted: None })
    }

    /// The counters of verdicts and events, summed over CPUs.
    ///
    /// # Errors
    /// [`DataplaneError::Map`].
    pub fn counters(&self) -> Result<Vec<(Reason, u64)>, DataplaneError> {
        let read = |reason: &Reason| {
            let Some(counted) = &self.counted else { return Ok((*reason, 0)) };
            let values =
                counted.counters.get(&(*reason as u32), 0).map_err(map_failed("read", "COUNTERS"))?;
            Ok((*reason, values.iter().sum()))
        };
        Reason::ALL.iter().map(read).collect()
    }

    /// What was forwarded to a destination since it was last zeroed.
    ///
    /// # Errors
    /// [`DataplaneError::Map`].
    pub fn stats(&self, destination: u32) -> Result<RealServerStats, DataplaneError> {
        let Some(maps) = &self.counted else { return Ok(RealServerStats::default()) };
        let counted = counted(&maps.real_stats, destination)?;
        let baseline = self.memory.baselines.get(destination as usize);
        Ok(baseline.map_or(counted, |baseline| baseline.since(counted)))
    }

    /// A reader of the connection tables.
    #[must_use]
    pub fn connection_reader(&self) -> ConnectionReader {
        ConnectionReader::new(Arc::clone(&self.memory), self.clock)
    }

    /// The connections of a destination.
    #[must_use]
    pub fn connections(&self, destination: u32) -> Counts {
        self.memory.loads.get(destination as usize).map(Load::counts).unwrap_or_default()
    }
}
