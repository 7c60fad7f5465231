//! Fragments that came before their datagram's first: how the daemon gets them, and how it sends them on.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{HashMap, MapData, PerCpuArray, PerCpuValues, RingBuf};

use aya::programs::{ProgramError, TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use lb_common::counter::Reason;
use lb_common::fragment::{FragmentKey, FragmentRoute, HeldFragment};

use super::error::DataplaneError;

/// `XDP_TX` (include/uapi/linux/bpf.h).
const XDP_TX: u32 = 3;

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

/// Fragments as they come from the program, and the way back through it.
pub struct Fragments {
    ring: RingBuf<MapData>,
    routes: HashMap<MapData, FragmentKey, FragmentRoute>,
    counters: PerCpuArray<MapData, u64>,
    program: Xdp,
}

impl Fragments {
    pub(super) fn new(
        ring: RingBuf<MapData>,
        routes: HashMap<MapData, FragmentKey, FragmentRoute>,
        counters: PerCpuArray<MapData, u64>,
        program: &Xdp,
    ) -> Result<Self, DataplaneError> {
        let failed =
            |error: ProgramError| DataplaneError::Program { program: "lb", reason: error.to_string() };
        let info = program.info().map_err(failed)?;
        let program = Xdp::from_program_info(info, Cow::Borrowed("lb"), XdpAttachType::Interface);
        Ok(Self { ring, routes, counters, program: program.map_err(failed)? })
    }

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
            Err(error) => Err(failed("read", "FRAGMENTS")(error)),
        }
    }

    /// Runs the program on a fragment once more: the frame to send out of the interface it came in on. `None` if it is
    /// not to be forwarded that way after all.
    ///
    /// # Errors
    /// [`DataplaneError::Program`].
    pub fn forward(&self, fragment: &Fragment) -> Result<Option<Vec<u8>>, DataplaneError> {
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
        let ran = self.program.test_run(options).map_err(|error| DataplaneError::Program {
            program: "lb",
            reason: format!("run it on a fragment: {error}"),
        })?;
        frame.truncate(ran.data_size_out as usize);
        Ok((ran.return_value == XDP_TX).then_some(frame))
    }

    /// Counts fragments that were held in vain.
    ///
    /// # Errors
    /// [`DataplaneError::Map`].
    pub fn count_expired(&mut self, fragments: u64) -> Result<(), DataplaneError> {
        // Nobody else writes this counter.
        let key = Reason::FragmentExpired as u32;
        let values = self.counters.get(&key, 0).map_err(failed("read", "COUNTERS"))?;
        let mut values = values.to_vec();
        if let Some(first) = values.first_mut() {
            *first += fragments;
        }
        let values = PerCpuValues::try_from(values).map_err(|source| DataplaneError::Map {
            operation: "write",
            map: "COUNTERS",
            source,
        })?;
        self.counters.set(key, values, 0).map_err(failed("write", "COUNTERS"))
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

fn failed(operation: &'static str, map: &'static str) -> impl Fn(aya::maps::MapError) -> DataplaneError {
    move |error| DataplaneError::Map { operation, map, source: io::Error::other(error) }
}
