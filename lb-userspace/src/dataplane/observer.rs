//! Reading counters and connections, without writing anything.

use std::sync::Arc;
use std::time::Duration;

use aya::maps::{MapData, PerCpuArray};
use aya::programs::Xdp;
use lb_common::counter::{RealServerStats, Reason};
use lb_common::load::{Counts, Load};

use super::clock::KernelClock;
use super::connections::ConnectionReader;
use super::error::{DataplaneError, chain, map_failed};
use super::memory::Memory;
use super::occupancy::Occupancy;
use super::stats::counted;

/// Reads what the programs count and remember.
#[derive(Clone)]
pub struct Observer {
    memory: Arc<Memory>,
    clock: KernelClock,
    /// Where there are programs that count.
    counted: Option<Arc<Counted>>,
    /// Those that are attached, by the place of their interface.
    programs: Arc<[(u8, Xdp)]>,
}

/// How often a program ran, and for how long: as far as the kernel counted (`sysctl kernel.bpf_stats_enabled=1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramRuns {
    /// The place of its interface.
    pub place: u8,
    /// Runs.
    pub runs: u64,
    /// Their time.
    pub time: Duration,
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
        let counted = Some(Arc::new(Counted { counters, real_stats }));
        Self { memory, clock, counted, programs: Arc::new([]) }
    }

    /// From now on these are the programs that run.
    pub(super) fn watch(&mut self, programs: Vec<(u8, Xdp)>) {
        self.programs = programs.into();
    }

    /// An observer of memory that no program writes: nothing was counted.
    ///
    /// # Errors
    /// [`DataplaneError::Clock`].
    pub fn in_process(memory: Arc<Memory>) -> Result<Self, DataplaneError> {
        Ok(Self { memory, clock: KernelClock::in_process()?, counted: None, programs: Arc::new([]) })
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

    /// What the connection tables held when they were last swept.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        self.memory.last_sweep.read()
    }

    /// How long programs ran. One that the kernel tells nothing of is left out.
    #[must_use]
    pub fn program_runs(&self) -> Vec<ProgramRuns> {
        let runs = |(place, program): &(u8, Xdp)| match program.info() {
            Ok(info) => Some(ProgramRuns { place: *place, runs: info.run_count(), time: info.run_time() }),
            Err(error) => {
                tracing::debug!("ask how often a program ran: {}", chain(&error));
                None
            }
        };
        self.programs.iter().filter_map(runs).collect()
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
