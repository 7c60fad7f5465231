//! Reading counters and connections, without writing anything.

use std::sync::Arc;

use aya::maps::{MapData, PerCpuArray};
use lb_common::counter::{RealServerStats, Reason};
use lb_common::load::{Counts, Load};

use super::error::{DataplaneError, map_failed};
use super::memory::Memory;

/// Reads what the programs count and remember.
#[derive(Clone)]
pub struct Observer {
    memory: Arc<Memory>,
    counters: Arc<PerCpuArray<MapData, u64>>,
    real_stats: Arc<PerCpuArray<MapData, RealServerStats>>,
}

impl Observer {
    pub(super) fn new(
        memory: Arc<Memory>,
        counters: PerCpuArray<MapData, u64>,
        real_stats: PerCpuArray<MapData, RealServerStats>,
    ) -> Self {
        Self { memory, counters: Arc::new(counters), real_stats: Arc::new(real_stats) }
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

    /// What was forwarded to a destination, summed over CPUs.
    ///
    /// # Errors
    /// [`DataplaneError::Map`].
    pub fn stats(&self, destination: u32) -> Result<RealServerStats, DataplaneError> {
        let values = self.real_stats.get(&destination, 0).map_err(map_failed("read", "REAL_STATS"))?;
        Ok(values.iter().fold(RealServerStats::default(), |sum, cpu| RealServerStats {
            packets: sum.packets + cpu.packets,
            bytes: sum.bytes + cpu.bytes,
            connections: sum.connections + cpu.connections,
        }))
    }

    /// The connections of a destination.
    #[must_use]
    pub fn connections(&self, destination: u32) -> Counts {
        self.memory.loads.get(destination as usize).map(Load::counts).unwrap_or_default()
    }
}
