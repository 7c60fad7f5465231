//! Taking over what is pinned, or beginning anew: maps, programs, the lock.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aya::maps::{DevMap, Map, MapData, MapError, MapInfo, PerCpuArray};
use aya::pin::PinError;
use aya::programs::{Program, ProgramError, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use aya_obj::programs::XdpAttachType;
use lb_common::hash::FlowSeed;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::acl::Tries;
use super::clock::KernelClock;
use super::error::{DataplaneError, chain};
use super::explain::Explainer;
use super::layout::{self, Capacity, MapLayout, TableBuckets};

use super::memory::{Connections, Memory, Moves, Region};
use super::migrate::{self, Previous};
use super::object::OBJECT;
use super::observer::Observer;
use super::occupancy::LastSweep;
use super::probe_replies::ProbeReplies;
use super::stats::open_baselines;
use super::sweeper::Sweeper;
use super::tables::Tables;
use super::tracer::SAMPLES;
use super::upgrade::Directory;

/// Where and how large.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where maps and links are pinned (`director.bpffs`).
    pub bpffs: PathBuf,
    /// How many connections there is room for.
    pub capacity: Capacity,
    /// Whether programs tell of every flow they schedule. Costs nothing when off.
    pub log_flows: bool,
}

/// What a program is told when it is loaded, and never again: its read-only globals.
#[derive(Clone, Copy, Debug)]
pub struct Constants {
    /// The interface's place in the settings.
    interface: u32,
    tick_reciprocal: u64,
    flow_seed: [u64; 2],
    v4: TableBuckets,
    v6: TableBuckets,
    log_level: u8,
}

impl Constants {
    /// The same for the program of the interface at another place.
    pub(super) fn at(self, place: u8) -> Self {
        Self { interface: place.into(), ..self }
    }

    /// Sets them in an object that is about to be loaded against the same maps.
    pub fn set<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        loader
            .override_global("INTERFACE", &self.interface, true)
            .override_global("TICK_RECIPROCAL", &self.tick_reciprocal, true)
            .override_global("FLOW_SEED", &self.flow_seed, true)
            .override_global("CONNECTION_BUCKETS_V4", &self.v4.main, true)
            .override_global("HALF_OPEN_BUCKETS_V4", &self.v4.half_open, true)
            .override_global("CONNECTION_BUCKETS_V6", &self.v6.main, true)
            .override_global("HALF_OPEN_BUCKETS_V6", &self.v6.half_open, true)
            .override_global("AYA_LOG_LEVEL", &self.log_level, true);
    }
}

/// The programs and maps of one director.
pub struct Dataplane {
    /// The programs for the interface at place 0, and `clock`.
    pub(super) ebpf: Ebpf,
    /// Those for interfaces at other places.
    pub(super) others: BTreeMap<u8, Ebpf>,
    pub(super) devices: DevMap<MapData>,
    pub(super) layouts: [MapLayout; layout::MAPS],
    pub(super) memory: Arc<Memory>,
    pub(super) observer: Observer,
    explainer: Arc<Explainer>,
    probe_replies: Option<ProbeReplies>,
    clock: KernelClock,
    seed: FlowSeed,
    pub(super) constants: Constants,
    pub(super) directory: PathBuf,
    taken_over: bool,
    previous: Previous,
    /// Keeps other daemons out, and knows what other versions left.
    pub(super) opened: Directory,
}

/// Lines that the programs wrote, for whoever polls its file descriptor and flushes it.
pub type FlowLog = aya_log::EbpfLogger<&'static dyn log::Log>;

impl Dataplane {
    /// Opens the maps pinned below `options.bpffs`, or creates them, and loads the programs against them.
    /// Nothing is attached yet, and traffic through programs that are goes on.
    ///
    /// # Errors
    /// Every variant of [`DataplaneError`] but `Attach`.
    pub fn open(options: &Options) -> Result<Self, DataplaneError> {
        let bpffs = &options.bpffs;
        ensure_mounted(bpffs)?;
        let opened = Directory::open(bpffs, &layout::READABLE)?;
        let directory = opened.path.clone();
        let layouts = layout::maps(options.capacity);
        let previous = migrate::set_aside(&directory, &layouts)?;
        for layout in &layouts {
            check_pinned(&directory, layout)?;
        }
        let seed = pinned_seed(&directory)?;
        let taken_over = seed.is_some();
        let seed = match seed {
            Some(seed) => seed,
            None => FlowSeed { first: random()?, second: random()? },
        };
        let constants = Constants {
            interface: 0,
            tick_reciprocal: KernelClock::in_process()?.reciprocal(),
            flow_seed: [seed.first, seed.second],
            v4: options.capacity.v4(),
            v6: options.capacity.v6(),
            // Of aya_log_common::Level: off, or debug.
            log_level: if options.log_flows { 4 } else { 0 },
        };
        let mut ebpf = read_object(&directory, &layouts, &constants)?;
        // Before the maps are taken out of `ebpf`: programs refer to their descriptors.
        for program in ["lb", "explain", "clock"] {
            load(&mut ebpf, program)?;
        }
        let probe_replies = Some(ProbeReplies::open(&mut ebpf, &directory)?);
        let memory = Arc::new(map_memory(&mut ebpf, &layouts, &directory)?);
        let [first, second] = &memory.settings().flow_seed;
        first.store(seed.first);
        second.store(seed.second);
        let clock = KernelClock::measure(|| jiffies(&ebpf))?;
        memory.settings().timeouts.protect_writers();
        if taken_over {
            memory.free_abandoned(clock.now()?);
        }
        let devices = devices(&mut ebpf)?;
        let explainer = Explainer::open(&mut ebpf, &directory, Arc::clone(&memory), clock)?;
        let counters = per_cpu(&mut ebpf, "COUNTERS")?;
        let real_stats = per_cpu(&mut ebpf, "REAL_STATS")?;
        let observer = Observer::new(Arc::clone(&memory), clock, counters, real_stats);
        let dataplane = Self {
            ebpf,
            others: BTreeMap::new(),
            devices,
            layouts,
            memory,
            observer,
            explainer: Arc::new(explainer),
            probe_replies,
            clock,
            seed,
            constants,
            directory,
            taken_over,
            previous,
            opened,
        };
        dataplane.migrate()?;
        Ok(dataplane)
    }

    /// Whether maps of an earlier daemon were found.
    #[must_use]
    pub fn has_taken_over(&self) -> bool {
        self.taken_over
    }

    /// The writer of services, slots and destinations. There must be one only.
    ///
    /// # Errors
    /// [`DataplaneError::Map`].
    pub fn tables(&self) -> Result<Tables, DataplaneError> {
        let failed = |error: MapError| DataplaneError::Map {
            operation: "open",
            map: "REAL_STATS",
            source: io::Error::other(error),
        };
        let stats = MapData::from_pin(self.directory.join("REAL_STATS")).map_err(failed)?;
        let stats = PerCpuArray::try_from(Map::PerCpuArray(stats)).map_err(failed)?;
        let tries = Tries::open(|name| MapData::from_pin(self.directory.join(name)))?;
        Ok(Tables::new(Arc::clone(&self.memory), Some(stats), tries, wait_for_programs))
    }

    /// A reader of counters and connections, and, once programs are attached, of how often they ran.
    #[must_use]
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Asks the program what it would do.
    #[must_use]
    pub fn explainer(&self) -> Arc<Explainer> {
        Arc::clone(&self.explainer)
    }

    /// What keeps answers to probes of VIPs from the kernel's stack; none if somebody has it already.
    pub fn take_probe_replies(&mut self) -> Option<ProbeReplies> {
        self.probe_replies.take()
    }

    /// Frees expired connections. There must be one only.
    #[must_use]
    pub fn sweeper(&self) -> Sweeper {
        Sweeper::new(Arc::clone(&self.memory), self.clock, self.seed, wait_for_programs)
    }

    /// The product's program, for those who want to run it on a made-up frame.
    ///
    /// # Errors
    /// [`DataplaneError::Missing`].
    pub fn program(&self) -> Result<&Xdp, DataplaneError> {
        xdp(&self.ebpf, "lb")
    }

    /// All loaded programs with their names, for those who want to know what the kernel says of them.
    pub fn programs(&self) -> impl Iterator<Item = (&str, &Program)> {
        self.ebpf.programs().filter(|(_, program)| program.fd().is_ok())
    }

    /// What the programs were loaded with, for tools that load others against the same maps.
    #[must_use]
    pub fn constants(&self) -> &Constants {
        &self.constants
    }

    /// The maps, for tools that fill them with connections of their own making.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The clock of entries in the connection tables.
    #[must_use]
    pub fn clock(&self) -> KernelClock {
        self.clock
    }

    /// The secret of the connection tables' hash.
    #[must_use]
    pub fn flow_seed(&self) -> FlowSeed {
        self.seed
    }

    /// Where everything is pinned.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The programs' logs of flows they schedule, if [`Options::log_flows`] is on: one for each interface. To be
    /// asked for when programs are attached.
    ///
    /// # Errors
    /// [`DataplaneError::Missing`].
    pub fn flow_logs(&mut self) -> Result<Vec<FlowLog>, DataplaneError> {
        let log = |ebpf| aya_log::EbpfLogger::init(ebpf).map_err(|_| DataplaneError::Missing("AYA_LOGS"));
        [&mut self.ebpf].into_iter().chain(self.others.values_mut()).map(log).collect()
    }

    pub(super) fn migrate(&self) -> Result<(), DataplaneError> {
        let timeouts = &self.memory.settings().timeouts;
        let copied = self.previous.copy_into(&self.memory, self.seed, timeouts, self.clock.now()?);
        if copied > 0 {
            tracing::info!("connection tables of another size: moved {copied} connections to the new ones");
        }
        Ok(())
    }

    /// Takes the director out of service: detaches the programs and removes every pin.
    ///
    /// # Errors
    /// [`DataplaneError::Directory`].
    pub fn remove(self) -> Result<(), DataplaneError> {
        let failed = |source| DataplaneError::Directory { directory: self.directory.clone(), source };
        fs::remove_dir_all(&self.directory).map_err(failed)
    }
}

/// Bytes of a ring that nothing is written to; made a page of it.
const SMALLEST_RING: u32 = 1 << 12;

/// Reads the object, to be used with the pinned maps.
pub(super) fn read_object(
    directory: &Path,
    layouts: &[MapLayout],
    constants: &Constants,
) -> Result<Ebpf, DataplaneError> {
    read_object_with(directory, layouts, constants, |loader| {
        // Of whoever traces; here nothing is.
        loader.map_max_entries(SAMPLES, SMALLEST_RING);
    })
}

/// The same, with something set besides.
pub(super) fn read_object_with<'a>(
    directory: &Path,
    layouts: &[MapLayout],
    constants: &'a Constants,
    set: impl FnOnce(&mut EbpfLoader<'a>),
) -> Result<Ebpf, DataplaneError> {
    let mut loader = EbpfLoader::new();
    // There is nothing to relocate against the kernel's types.
    loader.btf(None).verifier_log_level(VerifierLogLevel::DEBUG);
    for layout in layouts {
        loader.map_pin_path(layout.name, directory.join(layout.name));
        loader.map_max_entries(layout.name, layout.max_entries);
    }
    constants.set(&mut loader);
    set(&mut loader);
    loader.load(OBJECT).map_err(|error| DataplaneError::Load(Box::new(error)))
}

/// The usual place of a bpffs.
const BPFFS: &str = "/sys/fs/bpf";

/// Whether a directory is, or would be made, on a bpffs.
#[must_use]
pub fn is_on_bpffs(directory: &Path) -> bool {
    let is_bpffs = |path: &Path| statfs(path).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
    directory.ancestors().find(|path| path.exists()).is_some_and(is_bpffs)
}

/// Where a bpffs is mounted if this directory is on none.
#[must_use]
pub fn bpffs_mount_point(directory: &Path) -> &Path {
    if directory.starts_with(BPFFS) { Path::new(BPFFS) } else { directory }
}

/// Makes the directory, and mounts a bpffs if it is on none.
///
/// # Errors
/// [`DataplaneError::Directory`], [`DataplaneError::Mount`].
pub fn ensure_mounted(directory: &Path) -> Result<(), DataplaneError> {
    let failed = |source| DataplaneError::Directory { directory: directory.to_owned(), source };
    if is_on_bpffs(directory) {
        return fs::create_dir_all(directory).map_err(failed);
    }
    let place = bpffs_mount_point(directory);
    fs::create_dir_all(place).map_err(failed)?;
    mount(Some("bpf"), place, Some("bpf"), MsFlags::empty(), None::<&str>)
        .map_err(|errno| DataplaneError::Mount { place: place.to_owned(), source: errno.into() })?;
    tracing::info!("mounted a bpffs on {}", place.display());
    fs::create_dir_all(directory).map_err(failed)
}

/// A map that is pinned under this name must be what the program expects: opening it by name checks nothing.
pub(super) fn check_pinned(directory: &Path, layout: &MapLayout) -> Result<(), DataplaneError> {
    let pin = directory.join(layout.name);
    if !pin.exists() {
        return Ok(());
    }
    match difference(&pin, layout) {
        None => Ok(()),
        Some(difference) => Err(DataplaneError::Layout { pin, directory: directory.to_owned(), difference }),
    }
}

/// How a pinned map differs from what it should be.
pub(super) fn difference(pin: &Path, layout: &MapLayout) -> Option<String> {
    let info = match MapInfo::from_pin(pin) {
        Ok(info) => info,
        Err(error) => return Some(format!("it cannot be opened: {error}")),
    };
    let found_type = info.map_type().ok();
    if found_type != Some(layout.kind) {
        return Some(format!("its type is {found_type:?}, not {:?}", layout.kind));
    }
    let sizes = [
        ("key size", info.key_size(), layout.key_size),
        ("value size", info.value_size(), layout.value_size),
        ("number of entries", info.max_entries(), layout.max_entries),
        ("flags", info.map_flags(), layout.flags),
    ];
    sizes
        .into_iter()
        .find(|(_, found, expected)| found != expected)
        .map(|(name, found, expected)| format!("its {name} is {found}, not {expected}"))
}

/// The secret of pinned tables, if there are any.
fn pinned_seed(directory: &Path) -> Result<Option<FlowSeed>, DataplaneError> {
    let pin = directory.join("SETTINGS");
    if !pin.exists() {
        return Ok(None);
    }
    let failed = |source| DataplaneError::Map { operation: "open", map: "SETTINGS", source };
    let map = MapData::from_pin(&pin).map_err(|error| failed(io::Error::other(error)))?;
    let region = Region::<lb_common::settings::Settings>::map(map.fd().as_fd(), 1).map_err(failed)?;
    let [first, second] = &region[0].flow_seed;
    let seed = FlowSeed { first: first.load(), second: second.load() };
    // Killed between making the map and writing the secret: no flow has been recorded.
    Ok((seed.first != 0 || seed.second != 0).then_some(seed))
}

fn random() -> Result<u64, DataplaneError> {
    getrandom::u64().map_err(DataplaneError::Random)
}

fn map_memory(ebpf: &mut Ebpf, layouts: &[MapLayout], directory: &Path) -> Result<Memory, DataplaneError> {
    fn region<T: super::memory::Record>(
        ebpf: &mut Ebpf,
        layouts: &[MapLayout],
        name: &'static str,
    ) -> Result<Region<T>, DataplaneError> {
        let layout = layouts.iter().find(|layout| layout.name == name);
        let Some((Map::Array(map), layout)) = ebpf.take_map(name).zip(layout) else {
            return Err(DataplaneError::Missing(name));
        };
        let failed = |source| DataplaneError::Map { operation: "map", map: name, source };
        Region::map(map.fd().as_fd(), layout.max_entries).map_err(failed)
    }
    let settings = Arc::new(region(ebpf, layouts, "SETTINGS")?);
    Ok(Memory {
        services_v4: region(ebpf, layouts, "SERVICES_V4")?,
        services_v6: region(ebpf, layouts, layout::SERVICES_V6)?,
        forms_v4: region(ebpf, layouts, "FORMS_V4")?,
        forms_v6: region(ebpf, layouts, "FORMS_V6")?,
        form_ports_v4: region(ebpf, layouts, "FORM_PORTS_V4")?,
        form_ports_v6: region(ebpf, layouts, "FORM_PORTS_V6")?,
        services: region(ebpf, layouts, "SERVICES")?,
        slots: region(ebpf, layouts, "SLOTS")?,
        destinations: region(ebpf, layouts, "DESTINATIONS")?,
        loads: region(ebpf, layouts, "LOADS")?,
        v4: Connections::new(
            region(ebpf, layouts, layout::CONNECTIONS_V4)?,
            region(ebpf, layouts, layout::HALF_OPEN_V4)?,
            &settings,
            |settings| &settings.extents_v4,
        ),
        v6: Connections::new(
            region(ebpf, layouts, layout::CONNECTIONS_V6)?,
            region(ebpf, layouts, layout::HALF_OPEN_V6)?,
            &settings,
            |settings| &settings.extents_v6,
        ),
        settings,
        acls: Mutex::default(),
        baselines: open_baselines(directory)?,
        last_sweep: LastSweep::default(),
        moves: Moves::default(),
    })
}

fn devices(ebpf: &mut Ebpf) -> Result<DevMap<MapData>, DataplaneError> {
    let map = ebpf.take_map("DEVICES").ok_or(DataplaneError::Missing("DEVICES"))?;
    DevMap::try_from(map).map_err(|error| DataplaneError::Map {
        operation: "open",
        map: "DEVICES",
        source: io::Error::other(error),
    })
}

fn per_cpu<V: aya::Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<PerCpuArray<MapData, V>, DataplaneError> {
    let map = ebpf.take_map(name).ok_or(DataplaneError::Missing(name))?;
    PerCpuArray::try_from(map).map_err(|error| DataplaneError::Map {
        operation: "open",
        map: name,
        source: io::Error::other(error),
    })
}

/// Another handle on an XDP program.
pub(super) fn handle(program: &mut Xdp, directory: &Path) -> Result<Xdp, io::Error> {
    through_pin(directory, |pin| program.pin(pin), |pin| Xdp::from_pin(pin, XdpAttachType::Interface))
}

/// Pins a program for a moment, to have another handle on it. Asking the kernel for one by the program's number would take
/// CAP_SYS_ADMIN (`bpf_prog_get_fd_by_id` in kernel/bpf/syscall.c); one that is pinned may be opened with CAP_BPF.
pub(super) fn through_pin<P>(
    directory: &Path,
    pinned: impl FnOnce(&Path) -> Result<(), PinError>,
    open: impl FnOnce(&Path) -> Result<P, ProgramError>,
) -> Result<P, io::Error> {
    let pin = directory.join("handle");
    // Of a daemon that was killed in between.
    let _ = fs::remove_file(&pin);
    pinned(&pin).map_err(|error| io::Error::other(chain(&error)))?;
    let handle = open(&pin);
    fs::remove_file(&pin)?;
    handle.map_err(|error| io::Error::other(chain(&error)))
}

pub(super) fn xdp<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a Xdp, DataplaneError> {
    ebpf.program(name).and_then(|program| program.try_into().ok()).ok_or(DataplaneError::Missing(name))
}

pub(super) fn xdp_mut<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, DataplaneError> {
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or(DataplaneError::Missing(name))
}

pub(super) fn load(ebpf: &mut Ebpf, program: &'static str) -> Result<(), DataplaneError> {
    let loaded = xdp_mut(ebpf, program)?.load();
    loaded.map_err(refused(program))
}

/// The error of a program that the kernel does not take.
pub(super) fn refused(program: &'static str) -> impl Fn(ProgramError) -> DataplaneError {
    move |error| DataplaneError::Program { program, reason: reason(&error) }
}

/// Why a program was not loaded: of the verifier's log, which may be thousands of lines, the last ones.
fn reason(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(8)..].join("\n  ");
            if last.is_empty() {
                io_error.to_string()
            } else {
                format!("{io_error}; the verifier's last words:\n  {last}\n")
            }
        }
        other => other.to_string(),
    }
}

/// Runs the program `clock`, which writes the counter into its frame.
fn jiffies(ebpf: &Ebpf) -> io::Result<u64> {
    let failed = |error: ProgramError| io::Error::other(error);
    let program = xdp(ebpf, "clock").map_err(io::Error::other)?;
    let mut frame = [0; 64];
    let options =
        TestRunOptions { data_in: Some(&[0; 64]), data_out: Some(&mut frame), ..TestRunOptions::new() };
    program.test_run(options).map_err(failed)?;
    let [jiffies, ..] = frame.as_chunks::<8>().0 else { return Ok(0) };
    Ok(u64::from_le_bytes(*jiffies))
}

/// Waits until no program runs that was running when this was called.
fn wait_for_programs() {
    // SAFETY: the call takes numbers only. MEMBARRIER_CMD_GLOBAL is 1 (linux/membarrier.h); it waits for a grace
    // period of RCU, and an XDP program runs within one.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, 1, 0, 0) };
    if done != 0 {
        // Not on kernels with nohz_full. A program takes microseconds; nothing preempts it for longer than this.
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}
