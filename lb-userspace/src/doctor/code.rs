//! What the doctor can find: one list of names, and of why each matters.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $why:literal;)*) => {
        /// What a finding is about. Its name is stable: scripts may rely on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// As `lb doctor` prints it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Why it matters, in one sentence.
            #[must_use]
            pub const fn why(self) -> &'static str {
                match self { $(Self::$variant => $why,)* }
            }
        }
    };
}

codes! {
    /// The configuration file.
    Config = "config", "without a valid configuration `lb run` does not start";
    /// The kernel's version.
    Kernel = "kernel", "the programs are checked by the verifier of Linux 6.1 and later; an older one may reject them";
    /// `bpf_loop`.
    BpfLoop = "bpf-loop", "schedulers that compare real servers walk over them with bpf_loop (Linux 5.17)";
    /// The JIT compiler.
    BpfJit = "bpf-jit", "an interpreted program takes ten times as long for a frame";
    /// `RLIMIT_MEMLOCK`.
    Memlock = "memlock", "before Linux 5.11 maps count as locked memory, and those of lb do not fit into the limit";
    /// The file system that keeps maps and programs.
    Bpffs = "bpffs", "maps and programs are pinned there, so that forwarding survives the daemon";
    /// Pins of another version.
    BpffsLayout = "bpffs-layout", "connections in maps that this version of lb does not read begin anew when it takes over";
    /// Rights of whoever asks.
    NotLookedAt = "not-looked-at", "what was not looked at may be wrong";
    /// An interface that is not there.
    Interface = "interface", "the program is attached to the interfaces of director.interfaces";
    /// An interface that is no Ethernet interface.
    NotEthernet = "not-ethernet", "direct routing rewrites MACs, and this interface has none";
    /// An interface that is down.
    LinkDown = "link-down", "no frame arrives on an interface that is down";
    /// A cable that is not plugged in.
    NoCarrier = "no-carrier", "nothing is at the other end of the cable";
    /// Somebody else's program.
    XdpForeign = "xdp-foreign", "an interface runs one XDP program: lb cannot attach its own";
    /// How the program runs, or could.
    XdpNative = "xdp-native", "generic XDP works with every driver, and costs several times as much for a frame";
    /// Frames that do not fit into one buffer.
    XdpMtu = "xdp-mtu", "this driver gives XDP frames of one buffer only, and refuses native XDP with a larger MTU";
    /// Frames from another interface.
    XdpRedirect = "xdp-redirect", "frames for real servers behind this interface that came in on another one are dropped";
    /// Receive queues.
    RxQueues = "rx-queues", "each queue is served by one CPU: those without a queue forward nothing";
    /// Segments merged by the NIC beyond repair.
    Lro = "lro", "merged segments cannot be forwarded as they came, and drivers refuse native XDP with it";
    /// Segments merged by the NIC.
    GroHw = "gro-hw", "merged segments are longer than the MTU, and drivers refuse native XDP with it";
    /// Tags removed by the NIC.
    VlanOffload = "vlan-offload", "the program does not see tags that the NIC removed: frames would leave in another VLAN";
    /// VIPs on the director.
    Vip = "vip", "only the director that answers ARP and neighbour solicitations for the VIP gets its traffic";
    /// VIPs that somebody else has.
    VipDuplicate = "vip-duplicate", "clients send to whoever answered last";
    /// The reverse path filter.
    RpFilter = "rp-filter", "the director's own stack drops packets, and does not answer ARP requests, of clients that are routed through another interface";
    /// Real servers in a place where frames cannot get.
    RealServerElsewhere = "real-server-elsewhere", "real servers that are not behind one of director.interfaces get no connections";
    /// Real servers behind a router.
    RealServerRouted = "real-server-routed", "direct routing rewrites MACs: a frame does not get over a router to a real server";
    /// Real servers that answer nothing.
    RealServerSilent = "real-server-silent", "a real server whose MAC nobody tells gets no connections";
    /// Two machines with one address.
    DuplicateAddress = "duplicate-address", "its connections go to whoever answered last, and break when that changes";
    /// Two machines with one MAC.
    DuplicateMac = "duplicate-mac", "the switch sends frames of both to whichever of them spoke last";
    /// A MAC in the file that is not the machine's.
    PinnedMac = "pinned-mac", "frames go to the MAC in the configuration, where the real server is not";
    /// A MAC that changed.
    NeighbourChanged = "neighbour-changed", "until the director's neighbour table is right, frames go to the old MAC";
    /// Real servers that say that they have the VIP.
    ArpAnswersVip = "arp-answers-vip", "clients that hear its answer send to this real server alone, past the director";
    /// Real servers without the VIP.
    VipNotAccepted = "vip-not-accepted", "the real server drops what the director forwards to it: connections hang";
    /// Real servers with another MTU.
    MtuMismatch = "mtu-mismatch", "large frames that the director forwards are lost: connections open, and hang with the first large request";
    /// Real servers with which all is well.
    RealServer = "real-server", "it gets connections and answers them";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_reasons_are_one_sentence() {
        let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!(!code.why().ends_with('.') && !code.why().is_empty(), "{code}");
        }
    }
}
