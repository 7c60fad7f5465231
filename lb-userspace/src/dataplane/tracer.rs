//! Telling what becomes of frames: the program `traced` in the place of the ordinary one, for as long as somebody traces.
//!
//! ```text
//!   begin ──> `traced` loaded for each interface, with WATCH and SAMPLES in common
//!     │       and put in the place of `lb` on each pinned link
//!     ├─ renew, every second: WATCH says that somebody is there, and how many more may be told
//!     ├─ take: samples out of the ring
//!     └─ drop ──> `lb` is back
//! ```
//!
//! A link's program is replaced by one pointer, so that no frame is without one. What a daemon that was killed left is
//! replaced by the next; meanwhile it tells nothing, for nobody renews it.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Map, MapData, RingBuf};
use aya::programs::Xdp;
use lb_common::sample::{SAMPLE_RING_BYTES, Watch};
use nix::time::{ClockId, clock_gettime};

use super::attach::{self, replace};
use super::clock::KernelClock;
use super::error::{DataplaneError, map_failed};
use super::events::EventWatch;
use super::layout::{self, MapLayout};
use super::memory::{Memory, Region};
use super::open::{Constants, Dataplane, handle, load, read_object, read_object_with, xdp_mut};
use super::sampled::Sampled;
use super::wishes::Wishes;
use crate::net::Link;

const ORDINARY: &str = "lb";
const TRACED: &str = "traced";
const WATCH: &str = "WATCH";
pub(super) const SAMPLES: &str = "SAMPLES";

/// What can have the programs tell of frames.
pub struct Tracer {
    memory: Arc<Memory>,
    clock: KernelClock,
    /// Where there are programs.
    programs: Option<Mutex<Programs>>,
}

/// What is on the interfaces, and what may be put there.
struct Programs {
    directory: PathBuf,
    layouts: [MapLayout; layout::MAPS],
    constants: Constants,
    interfaces: Vec<Interface>,
    is_traced: bool,
}

/// An interface with its ordinary program.
struct Interface {
    place: u8,
    link: Link,
    ordinary: Xdp,
}

impl Dataplane {
    /// The program `traced`, loaded and attached to nothing, for those who want to know what the kernel says of it.
    ///
    /// # Errors
    /// What loading a program may fail with.
    pub fn load_traced(&self) -> Result<Ebpf, DataplaneError> {
        let mut ebpf = read_object(&self.directory, &self.layouts, &self.constants)?;
        load(&mut ebpf, TRACED)?;
        Ok(ebpf)
    }

    /// What can trace on these interfaces, which programs are attached to.
    ///
    /// # Errors
    /// [`DataplaneError::Attach`], [`DataplaneError::Missing`].
    pub fn tracer(&mut self, links: &[(u8, Link)]) -> Result<Arc<Tracer>, DataplaneError> {
        let mut interfaces = Vec::new();
        for (place, link) in links {
            let ebpf = if *place == 0 { Some(&mut self.ebpf) } else { self.others.get_mut(place) };
            let program = xdp_mut(ebpf.ok_or(DataplaneError::Missing(ORDINARY))?, ORDINARY)?;
            // A handle of its own: the other one is the data plane's.
            let ordinary = handle(program, &self.directory).map_err(|error| DataplaneError::Attach {
                interface: link.name.clone(),
                reason: format!("open the program again: {error}"),
            })?;
            interfaces.push(Interface { place: *place, link: link.clone(), ordinary });
        }
        let programs = Programs {
            directory: self.directory.clone(),
            layouts: self.layouts,
            constants: self.constants,
            interfaces,
            is_traced: false,
        };
        let (memory, programs) = (Arc::clone(&self.memory), Some(Mutex::new(programs)));
        Ok(Arc::new(Tracer { memory, clock: self.clock(), programs }))
    }
}

impl Tracer {
    /// One on memory that no program reads, so that it traces nothing.
    ///
    /// # Errors
    /// [`DataplaneError::Clock`].
    pub fn in_process(memory: Arc<Memory>) -> Result<Self, DataplaneError> {
        Ok(Self { memory, clock: KernelClock::in_process()?, programs: None })
    }

    /// Has frames that are as wished told of from now on, until what is returned is dropped. Takes some tenths of a second
    /// for each interface, in which all goes on as before.
    ///
    /// # Errors
    /// What loading a program may fail with; [`DataplaneError::Attach`]; [`DataplaneError::Traced`] if somebody traces
    /// already.
    pub fn begin(self: &Arc<Self>, wishes: &Wishes) -> Result<Tracing, DataplaneError> {
        let mut programs = self.programs().ok_or(DataplaneError::Missing(TRACED))?;
        if programs.is_traced {
            return Err(DataplaneError::Traced);
        }
        let mut traced = programs.load()?;
        let (watch, ring) = shared(&mut traced)?;
        let tracing = Tracing { tracer: Arc::clone(self), watch, ring, rate: wishes.rate };
        tracing.wish(wishes);
        let replaced = tracing.renew().and_then(|()| programs.replace_all(&mut traced));
        // Before `tracing`, with which goes what was replaced.
        drop(programs);
        replaced.map(|()| tracing)
    }

    /// Puts the ordinary programs back, if they are not there.
    pub fn end(&self) {
        if let Some(mut programs) = self.programs() {
            programs.put_back();
        }
    }

    fn programs(&self) -> Option<MutexGuard<'_, Programs>> {
        // Whoever panicked had replaced some programs or none: `put_back` knows of all.
        Some(self.programs.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Programs {
    /// The program `traced` for each interface. All have the same maps.
    fn load(&self) -> Result<BTreeMap<u8, Ebpf>, DataplaneError> {
        let shared = [WATCH, SAMPLES].map(|name| (name, self.directory.join(format!("traced-{name}"))));
        let unpin = || {
            for (_, pin) in &shared {
                let _ = fs::remove_file(pin);
            }
        };
        // Of a daemon that was killed while it loaded them.
        unpin();
        let load = |interface: &Interface| {
            let constants = self.constants.at(interface.place);
            let mut ebpf = read_object_with(&self.directory, &self.layouts, &constants, |loader| {
                for (name, pin) in &shared {
                    loader.map_pin_path(name, pin.as_path());
                }
                loader.map_max_entries(SAMPLES, SAMPLE_RING_BYTES);
            })?;
            load(&mut ebpf, TRACED)?;
            Ok((interface.place, ebpf))
        };
        let loaded = self.interfaces.iter().map(load).collect();
        unpin();
        loaded
    }

    fn replace_all(&mut self, traced: &mut BTreeMap<u8, Ebpf>) -> Result<(), DataplaneError> {
        self.is_traced = true;
        for Interface { place, link, .. } in &self.interfaces {
            let ebpf = traced.get_mut(place).ok_or(DataplaneError::Missing(TRACED))?;
            replace(xdp_mut(ebpf, TRACED)?, &attach::pin(&self.directory, link.index), link)?;
        }
        Ok(())
    }

    fn put_back(&mut self) {
        if !std::mem::take(&mut self.is_traced) {
            return;
        }
        for Interface { link, ordinary, .. } in &mut self.interfaces {
            if let Err(error) = replace(ordinary, &attach::pin(&self.directory, link.index), link) {
                tracing::error!(
                    "{error}; the program that traces stays on {}, and tells nothing: restart lb to replace it",
                    link.name
                );
            }
        }
    }
}

/// The maps that the programs have in common.
fn shared(traced: &mut BTreeMap<u8, Ebpf>) -> Result<(Region<Watch>, RingBuf<MapData>), DataplaneError> {
    let first = traced.values_mut().next().ok_or(DataplaneError::Missing(TRACED))?;
    let Some(Map::Array(map)) = first.take_map(WATCH) else { return Err(DataplaneError::Missing(WATCH)) };
    let watch = Region::map(map.fd().as_fd(), 1).map_err(|source| DataplaneError::Map {
        operation: "map",
        map: WATCH,
        source,
    })?;
    let ring = first.take_map(SAMPLES).ok_or(DataplaneError::Missing(SAMPLES))?;
    Ok((watch, RingBuf::try_from(ring).map_err(map_failed("open", SAMPLES))?))
}

/// Frames that are told of, until this is dropped.
pub struct Tracing {
    tracer: Arc<Tracer>,
    watch: Region<Watch>,
    ring: RingBuf<MapData>,
    rate: u32,
}

/// How many frames there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceCounts {
    /// As wished, of those that were looked at.
    pub matched: u64,
    /// Of these, not told because there were too many in that second.
    pub limited: u64,
    /// Of these, not told because nobody took those before in time.
    pub lost: u64,
}

impl Tracing {
    /// Wishes for something else; the rate stays.
    pub fn wish(&self, wishes: &Wishes) {
        wishes.write(&self.watch[0]);
    }

    /// Says that somebody is there. To be called every second: as many frames as the rate says are told till the next.
    ///
    /// # Errors
    /// [`DataplaneError::Clock`].
    pub fn renew(&self) -> Result<(), DataplaneError> {
        let watch = &self.watch[0];
        watch.budget.store(self.rate.into());
        watch.renewed.store(u64::from(self.tracer.clock.now()?).max(1));
        Ok(())
    }

    /// Takes samples until there are `most`, or no more.
    ///
    /// # Errors
    /// [`DataplaneError::Clock`].
    pub fn take(&mut self, samples: &mut Vec<Sampled>, most: usize) -> Result<(), DataplaneError> {
        let since_boot = since_epoch_at_boot()?;
        while samples.len() < most {
            let Some(item) = self.ring.next() else { break };
            samples.extend(Sampled::read(&item, since_boot, &self.tracer.memory));
        }
        Ok(())
    }

    /// How many there were so far.
    #[must_use]
    pub fn counts(&self) -> TraceCounts {
        let Watch { matched, limited, lost, .. } = &self.watch[0];
        TraceCounts { matched: matched.load(), limited: limited.load(), lost: lost.load() }
    }

    /// What waits for samples; within a runtime.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn watch(&self) -> std::io::Result<EventWatch> {
        EventWatch::of(self.ring.as_fd())
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        self.watch[0].renewed.store(0);
        self.tracer.end();
    }
}

/// The time at which `CLOCK_MONOTONIC` was 0, since 1970.
fn since_epoch_at_boot() -> Result<Duration, DataplaneError> {
    let read =
        |clock| clock_gettime(clock).map(Duration::from).map_err(|errno| DataplaneError::Clock(errno.into()));
    Ok(read(ClockId::CLOCK_REALTIME)?.saturating_sub(read(ClockId::CLOCK_MONOTONIC)?))
}
