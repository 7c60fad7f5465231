//! Fragments that came before their datagram's first: how the daemon gets them, and how it sends them on.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use aya::maps::{HashMap, Map, MapData, PerCpuArray, PerCpuValues, RingBuf};

use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use lb_common::counter::Reason;
use lb_common::fragment::{FragmentKey, FragmentRoute, HeldFragment};

use super::error::{DataplaneError, map_failed};
use super::memory::Memory;
use super::open::{Dataplane, handle, xdp_mut};

/// `enum xdp_action` (include/uapi/linux/bpf.h).
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// A fragment on hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The datagram.
    pub datagram: FragmentKey,
    /// The index of the interface it came in on.
    pub interface: u32,
    /// The frame.
    pub frame: Vec<u8>,
}

/// Fragments as they come from the programs, and the way back through them.
pub struct Fragments {
    ring: RingBuf<MapData>,
    routes: HashMap<MapData, FragmentKey, FragmentRoute>,
    counters: PerCpuArray<MapData, u64>,
    /// By the index of the interface.
    programs: BTreeMap<u32, Xdp>,
    /// The interfaces' indices, by place.
    interfaces: BTreeMap<u8, u32>,
    memory: Arc<Memory>,
}

impl Dataplane {
    /// Fragments that came before their datagram's first, on the interfaces that are attached. There must be one only:
    /// each comes once.
    ///
    /// # Errors
    /// [`DataplaneError::Missing`], [`DataplaneError::Map`], [`DataplaneError::Program`].
    pub fn fragments(&mut self) -> Result<Fragments, DataplaneError> {
        let ring = self.ebpf.take_map("HELD").ok_or(DataplaneError::Missing("HELD"))?;
        let ring = RingBuf::try_from(ring).map_err(map_failed("open", "HELD"))?;
        let routes = self.ebpf.take_map("FRAGMENTS").ok_or(DataplaneError::Missing("FRAGMENTS"))?;
        let routes = HashMap::try_from(routes).map_err(map_failed("open", "FRAGMENTS"))?;
        let counters =
            MapData::from_pin(self.directory.join("COUNTERS")).map_err(map_failed("open", "COUNTERS"))?;
        let counters =
            PerCpuArray::try_from(Map::PerCpuArray(counters)).map_err(map_failed("open", "COUNTERS"))?;
        let interfaces = self.held()?;
        let program = |(place, index): (&u8, &u32)| {
            let ebpf = if *place == 0 { &mut self.ebpf } else { self.others.get_mut(place)? };
            let failed =
                |error: io::Error| DataplaneError::Program { program: "lb", reason: error.to_string() };
            let program =
                xdp_mut(ebpf, "lb").and_then(|program| handle(program, &self.directory).map_err(failed));
            Some(program.map(|program| (*index, program)))
        };
        let programs = interfaces.iter().filter_map(program).collect::<Result<_, _>>()?;
        let memory = Arc::clone(&self.memory);
        Ok(Fragments { ring, routes, counters, programs, interfaces, memory })
    }
}

impl Fragments {
    /// The next fragment that came, if there is one.
    pub fn take(&mut self) -> Option<Fragment> {
        loop {
            let item = self.ring.next()?;
            if let Some(fragment) = decode(&item) {
                return Some(fragment);
            }
        }
    }

    /// Whether the datagram's first fragment has come.
    ///
    /// # Errors
    /// [`DataplaneError::Map`].
    pub fn has_begun(&self, datagram: &FragmentKey) -> Result<bool, DataplaneError> {
        match self.routes.get(datagram, 0) {
            Ok(_) => Ok(true),
            Err(aya::maps::MapError::KeyNotFound) => Ok(false),
            Err(error) => Err(map_failed("read", "FRAGMENTS")(error)),
        }
    }

    /// Runs the program on a fragment once more: the frame to send, and the index of the interface to send it out of.
    /// `None` if it is not to be forwarded after all.
    ///
    /// # Errors
    /// [`DataplaneError::Program`].
    pub fn forward(&self, fragment: &Fragment) -> Result<Option<(u32, Vec<u8>)>, DataplaneError> {
        let Some(program) = self.programs.get(&fragment.interface) else { return Ok(None) };
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let length = u32::try_from(fragment.frame.len()).unwrap_or(u32::MAX);
        let context = [0, length, 0, fragment.interface, 0, 0].map(u32::to_ne_bytes).concat();
        // Room for a VLAN tag.
        let mut frame = vec![0; fragment.frame.len() + 4];
        let options = TestRunOptions {
            data_in: Some(&fragment.frame),
            data_out: Some(&mut frame),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let ran = program.test_run(options).map_err(|error| DataplaneError::Program {
            program: "lb",
            reason: format!("run it on a fragment: {error}"),
        })?;
        frame.truncate(ran.data_size_out as usize);
        let interface = match ran.return_value {
            XDP_TX => Some(fragment.interface),
            XDP_REDIRECT => self.behind(&fragment.datagram),
            _ => None,
        };
        Ok(interface.map(|interface| (interface, frame)))
    }

    /// The interface that the datagram's real server is behind.
    fn behind(&self, datagram: &FragmentKey) -> Option<u32> {
        let route = self.routes.get(datagram, 0).ok()?;
        let destination = self.memory.destinations.get(route.destination as usize)?;
        let place = u8::try_from(destination.detour().interface()?).ok()?;
        self.interfaces.get(&place).copied()
    }

    /// Counts fragments that were held in vain.
    ///
    /// # Errors
    /// [`DataplaneError::Map`].
    pub fn count_expired(&mut self, fragments: u64) -> Result<(), DataplaneError> {
        // Nobody else writes this counter.
        let key = Reason::FragmentExpired as u32;
        let values = self.counters.get(&key, 0).map_err(map_failed("read", "COUNTERS"))?;
        let mut values = values.to_vec();
        if let Some(first) = values.first_mut() {
            *first += fragments;
        }
        let values = PerCpuValues::try_from(values).map_err(|source| DataplaneError::Map {
            operation: "write",
            map: "COUNTERS",
            source,
        })?;
        self.counters.set(key, values, 0).map_err(map_failed("write", "COUNTERS"))
    }
}

/// Readable when a fragment has come.
impl AsFd for Fragments {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

fn decode(bytes: &[u8]) -> Option<Fragment> {
    if bytes.len() < size_of::<HeldFragment>() {
        return None;
    }
    // SAFETY: there are as many bytes, and any are a value.
    let held = unsafe { bytes.as_ptr().cast::<HeldFragment>().read_unaligned() };
    let frame = held.frame.get(..held.length as usize)?.to_vec();
    Some(Fragment { datagram: held.key, interface: held.interface, frame })
}
