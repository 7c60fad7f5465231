//! The program that keeps answers to probes of VIPs from the kernel's stack, on the interfaces where they arrive.
//!
//! It is not pinned: it goes with the process that has it, and so do the probes. What a killed daemon left is nothing
//! (from kernel 6.6 on, where links attach programs to ingress), or a filter that drops answers to probes that nobody
//! sends any more, until the next daemon removes it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData};
use aya::programs::tc::{SchedClassifierLink, qdisc_add_clsact, qdisc_detach_program};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use aya::util::KernelVersion;
use lb_common::probe::{VipKey, vip_key, vip_key_v6};

use super::error::{DataplaneError, chain, map_failed};
use super::open::{refused, through_pin};

const PROGRAM: &str = "probe_replies";
/// The VIPs that are probed. Not pinned: each daemon has its own.
const PROBED: &str = "PROBED_VIPS";

/// Drops answers to probes behind the packet sockets that are to see them.
pub struct ProbeReplies {
    program: SchedClassifier,
    map: HashMap<MapData, VipKey, u8>,
    vips: BTreeSet<IpAddr>,
    /// By index.
    attached: BTreeMap<u32, SchedClassifierLink>,
}

impl ProbeReplies {
    /// Loads the program of an object that is just being opened.
    pub(super) fn open(ebpf: &mut Ebpf, directory: &Path) -> Result<Self, DataplaneError> {
        let missing = || DataplaneError::Missing(PROGRAM);
        let program: &mut SchedClassifier =
            ebpf.program_mut(PROGRAM).and_then(|program| program.try_into().ok()).ok_or_else(missing)?;
        program.load().map_err(refused(PROGRAM))?;
        let handle = through_pin(directory, |pin| program.pin(pin), |pin| SchedClassifier::from_pin(pin));
        let handle = handle.map_err(|error| refused(PROGRAM)(ProgramError::IOError(error)))?;
        let map: Map = ebpf.take_map(PROBED).ok_or(DataplaneError::Missing(PROBED))?;
        let map = HashMap::try_from(map).map_err(map_failed("open", PROBED))?;
        Ok(Self { program: handle, map, vips: BTreeSet::new(), attached: BTreeMap::new() })
    }

    /// Has answers of these VIPs dropped on these interfaces (index and name), and of no others on no others. To be
    /// called before the first probe goes there; with nothing, the program is attached nowhere.
    ///
    /// # Errors
    /// [`DataplaneError::Map`]; [`DataplaneError::AttachProbeReplies`] for the first interface where it cannot be
    /// attached; on all others it is.
    pub fn follow(
        &mut self,
        interfaces: &BTreeMap<u32, String>,
        vips: &BTreeSet<IpAddr>,
    ) -> Result<(), DataplaneError> {
        for gone in self.vips.difference(vips) {
            self.map.remove(&key(*gone)).map_err(map_failed("remove from", PROBED))?;
        }
        for new in vips.difference(&self.vips) {
            self.map.insert(key(*new), 1, 0).map_err(map_failed("write", PROBED))?;
        }
        self.vips.clone_from(vips);
        // Whoever drops a link detaches what it attaches.
        self.attached.retain(|index, _| interfaces.contains_key(index));
        let mut result = Ok(());
        for (index, name) in interfaces {
            if self.attached.contains_key(index) {
                continue;
            }
            match self.attach(name) {
                Ok(link) => {
                    self.attached.insert(*index, link);
                }
                Err(error) => {
                    let reason = chain(&error);
                    result = result
                        .and(Err(DataplaneError::AttachProbeReplies { interface: name.clone(), reason }));
                }
            }
        }
        result
    }

    /// The indices of the interfaces where it is attached.
    pub fn interfaces(&self) -> impl Iterator<Item = u32> {
        self.attached.keys().copied()
    }

    fn attach(&mut self, interface: &str) -> Result<SchedClassifierLink, ProgramError> {
        if KernelVersion::current().is_ok_and(|version| version < KernelVersion::new(6, 6, 0)) {
            // Of a daemon that was killed. None there is an error, too.
            let _ = qdisc_detach_program(interface, TcAttachType::Ingress, PROGRAM);
            // That there is one already is an error; if it is another, attaching tells.
            let _ = qdisc_add_clsact(interface);
        }
        let link = self.program.attach(interface, TcAttachType::Ingress)?;
        self.program.take_link(link)
    }
}

fn key(vip: IpAddr) -> VipKey {
    match vip {
        IpAddr::V4(vip) => vip_key(u32::from_le_bytes(vip.octets())),
        IpAddr::V6(vip) => vip_key_v6(vip.octets()),
    }
}
