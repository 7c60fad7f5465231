//! What can go wrong between the daemon and the kernel, and what to do about it.

use std::io;
use std::path::PathBuf;

use lb_common::limits::MAX_ACL_PREFIXES;
use thiserror::Error;

/// What to do where the kernel does not let us.
pub(super) const RIGHTS: &str = "it takes root, or CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW and CAP_PERFMON";

/// An operation on the data plane that failed.
#[derive(Debug, Error)]
pub enum DataplaneError {
    /// The bpffs directory cannot be used.
    #[error("prepare {directory}: {source}; {RIGHTS}, and a director.bpffs below a bpffs that may be written", directory = directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no bpffs, and none could be mounted.
    #[error("mount a bpffs on {place}: {source}; that takes CAP_SYS_ADMIN, which lb needs for nothing else: mount it before lb starts (`mount -t bpf bpf {place}`; systemd does so on /sys/fs/bpf), or choose director.bpffs below one that is there", place = place.display())]
    Mount {
        /// Where.
        place: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another daemon holds the directory.
    #[error("{directory} is in use by another lb daemon; stop that one, or give this one a director.bpffs of its own", directory = directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// Something is pinned there that this version cannot take over.
    #[error("{pin} was pinned by another version of lb ({difference}); once its traffic may be interrupted, remove it with `rm -r {directory}` and start again", pin = pin.display(), directory = directory.display())]
    Layout {
        /// What is pinned.
        pin: PathBuf,
        /// The directory to remove.
        directory: PathBuf,
        /// What differs.
        difference: String,
    },
    /// The kernel did not take the maps or programs.
    #[error("load the eBPF object: {}; lb needs Linux 6.1 or later; {RIGHTS}", chain(.0))]
    Load(#[source] Box<aya::EbpfError>),
    /// The kernel's verifier rejected a program.
    #[error("load the program `{program}`: {reason}; lb needs Linux 6.1 or later; {RIGHTS}")]
    Program {
        /// Its name.
        program: &'static str,
        /// Why.
        reason: String,
    },
    /// The object lacks what it should have.
    #[error("the eBPF object has no {0}; this lb binary was built with another one")]
    Missing(&'static str),
    /// A map did not do what a map does.
    #[error("{operation} map {map}: {source}")]
    Map {
        /// What was asked for.
        operation: &'static str,
        /// Of which map.
        map: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// No XDP program could be attached.
    #[error("attach xdp to {interface}: {reason}")]
    Attach {
        /// The interface.
        interface: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// Answers to probes of VIPs would reach the kernel's stack.
    #[error(
        "attach probe_replies to the ingress of {interface}: {reason}; without it no VIP can be probed (health_check.target = \"vip\"), for the kernel would answer its answers with resets; {RIGHTS}"
    )]
    AttachProbeReplies {
        /// The interface.
        interface: String,
        /// Why not.
        reason: String,
    },
    /// VLAN tags are removed before programs see them.
    #[error(
        "{interface} removes VLAN tags before XDP sees the frames, and cannot be made to leave them (`ethtool -K {interface} rx-vlan-offload off`: {source}): frames of VLANs would be sent on without their tags; use another NIC for VLANs, or set director.vlan_offload = \"keep\" if its driver gives XDP the tags nevertheless"
    )]
    VlanOffload {
        /// The interface.
        interface: String,
        /// What the driver said.
        source: io::Error,
    },
    /// The slot map has no room.
    #[error(
        "no room for a slot table of {slots} slots; use fewer real servers, or weights with a common divisor"
    )]
    SlotsFull {
        /// How long a table was to be stored.
        slots: u32,
    },
    /// The address map has no room.
    #[error("no room for {addresses} service addresses")]
    AddressesFull {
        /// How many there were.
        addresses: usize,
    },
    /// The maps of allowed and denied prefixes have no room.
    #[error(
        "no room for another prefix that is allowed or denied; lb holds {MAX_ACL_PREFIXES} of each family: use one shorter prefix instead of neighbouring ones"
    )]
    AclFull,
    /// A dry run could not be made.
    #[error("run the program on a made-up frame: {0}")]
    Explain(io::Error),
    /// There is one tracer at a time.
    #[error(
        "somebody else traces already, and one does at a time; wait for the end, or have it end (`lb trace` ends with Ctrl-C)"
    )]
    Traced,
    /// No randomness.
    #[error("draw random numbers: {0}")]
    Random(getrandom::Error),
    /// The kernel's clock could not be read.
    #[error("read the kernel's tick: {0}")]
    Clock(io::Error),
}

/// The error of an operation on a map.
pub(super) fn map_failed(
    operation: &'static str,
    map: &'static str,
) -> impl Fn(aya::maps::MapError) -> DataplaneError {
    move |error| DataplaneError::Map { operation, map, source: io::Error::other(error) }
}

/// An error with its causes, as one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
