//! A configuration as the rest of the program sees it: every value is within its limits, and the sections fit
//! together.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use lb_common::load::Thresholds;
use lb_common::persistence;
use lb_common::policy::OnDown;
use macaddr::MacAddr6;

use super::health::{Mail, Quorum, SharedCheck, Target};
use super::source::Located;
use super::sync::Sync;
use super::vrrp::{VrrpInstance, VrrpSyncGroup};
use crate::forms::{Ports, Prefix, VirtualAddress};
use crate::scheduler::{Flag, Parameters, Scheduler};

/// Everything that the file says, with the defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[director]`.
    pub director: Director,
    /// `[timeouts]`.
    pub timeouts: Timeouts,
    /// `[acl]`.
    pub acl: Acl,
    /// `[smtp]`: where mail goes, if any is sent.
    pub mail: Option<Mail>,
    /// `[sync]`: how connections are shared with other directors, if they are.
    pub sync: Option<Sync>,
    /// `[[virtual_server]]`, in the order of the file; possibly none.
    pub virtual_servers: Vec<VirtualServer>,
    /// `[[vrrp_instance]]`, in the order of the file.
    pub vrrp_instances: Vec<VrrpInstance>,
    /// `[[vrrp_sync_group]]`, in the order of the file; all of instances that there are.
    pub vrrp_sync_groups: Vec<VrrpSyncGroup>,
}

impl Config {
    /// Whether the daemon adds the VIPs to the interfaces as long as it runs, because no other director may have them.
    #[must_use]
    pub fn has_vips_always(&self) -> bool {
        self.director.manage_vips && self.vrrp_instances.is_empty()
    }
}

/// The director itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Director {
    /// The network interfaces that receive and forward: at least one, at most
    /// [`MAX_INTERFACES`](lb_common::limits::MAX_INTERFACES), each once.
    pub interfaces: Vec<Located<String>>,
    /// Where in the kernel the program runs.
    pub xdp_mode: XdpMode,
    /// The directory of the pinned maps, in a bpf file system.
    pub bpffs: PathBuf,
    /// Where the daemon answers the command line; at most [`Director::MAX_SOCKET_PATH`] bytes long.
    pub control_socket: PathBuf,
    /// How many connections are remembered at once.
    pub max_connections: u32,
    /// What becomes of forwarding when the daemon stops.
    pub on_exit: OnExit,
    /// Whether the daemon adds the VIPs to the interface and announces them.
    pub manage_vips: bool,
    /// Other directors: what they forward is never scheduled again.
    pub peers: Vec<Peer>,
    /// What becomes of the NICs' removal of VLAN tags.
    pub vlan_offload: VlanOffload,
    /// Where the status page and the API for everybody are, if they are anywhere.
    pub http: Option<SocketAddr>,
    /// Names under which browsers may ask for them, besides the machine's own; in lower case.
    pub http_names: Vec<String>,
    /// The file with the secret of those who may change weights there, if anybody may.
    pub http_admin_file: Option<PathBuf>,
}

impl Director {
    pub(super) const DEFAULT_BPFFS: &str = "/sys/fs/bpf/lb";
    pub(super) const DEFAULT_CONTROL_SOCKET: &str = "/run/lb/lb.sock";
    pub(super) const DEFAULT_MAX_CONNECTIONS: u32 = 1 << 20;

    /// The longest path of a Unix socket in bytes: `sun_path` of unix(7), without its terminating NUL.
    pub const MAX_SOCKET_PATH: usize = 107;
}

/// Where in the kernel an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver if it can, else like [`XdpMode::Generic`].
    Auto,
    /// In the driver.
    Native,
    /// In the network stack: slower, with any driver.
    Generic,
}

impl XdpMode {
    pub(super) const NAMES: [(&str, Self); 3] =
        [("auto", Self::Auto), ("native", Self::Native), ("generic", Self::Generic)];
}

/// What becomes of forwarding when the daemon stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// It goes on.
    Keep,
    /// It ends.
    Detach,
}

impl OnExit {
    pub(crate) const NAMES: [(&'static str, Self); 2] = [("keep", Self::Keep), ("detach", Self::Detach)];
}

/// What becomes of the NICs' removal of VLAN tags from frames that arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VlanOffload {
    /// It is switched off where there are VLANs: a program would not see tags that were removed.
    Auto,
    /// It stays as it is.
    Keep,
}

impl VlanOffload {
    pub(crate) const NAMES: [(&'static str, Self); 2] = [("auto", Self::Auto), ("keep", Self::Keep)];
}

/// Another director, by what identifies its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// By its MAC address.
    Mac(MacAddr6),
    /// By its address, whose MAC is resolved.
    Address(IpAddr),
}

/// How long a connection without frames is remembered; whole seconds (`ipvsadm --set`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// An established TCP connection.
    pub tcp: Duration,
    /// A TCP connection after a FIN.
    pub tcp_fin: Duration,
    /// UDP.
    pub udp: Duration,
}

impl Default for Timeouts {
    /// IPVS's (`tcp_timeouts` in `ip_vs_proto_tcp.c`, `udp_timeouts` in `ip_vs_proto_udp.c`).
    fn default() -> Self {
        Self {
            tcp: Duration::from_secs(15 * 60),
            tcp_fin: Duration::from_secs(2 * 60),
            udp: Duration::from_secs(5 * 60),
        }
    }
}

impl From<&Timeouts> for lb_common::connection::Timeouts {
    fn from(timeouts: &Timeouts) -> Self {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        Self::with(seconds(timeouts.tcp), seconds(timeouts.tcp_fin), seconds(timeouts.udp))
    }
}

/// A service: what clients connect to, and who answers.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualServer {
    /// Unique; made of the protocol and the first address if the file gives none.
    pub name: String,
    /// VIPs and ports, at least one unless `fwmark` names the group, all of one family; no other virtual server of this protocol has any of them, or
    /// one that would count as much for the same packets.
    pub addresses: Vec<VirtualAddress>,
    /// The number by which the group is edited in the manner of IPVS; unique, not 0.
    pub fwmark: Option<u32>,
    /// One protocol for all addresses.
    pub protocol: Protocol,
    /// Who chooses the real server of a new connection.
    pub scheduler: Scheduler,
    /// What is asked of it besides; flags of its own only.
    pub scheduler_flags: BTreeSet<Flag>,
    /// Slots of its table if it is `mh`: one of [`MAGLEV_SLOTS`](lb_common::selector::MAGLEV_SLOTS), at least as many
    /// as real servers.
    pub mh_table_size: u32,
    /// Of the family of the addresses; each address once; in the order of the file.
    pub real_servers: Vec<RealServer>,
    /// Who gets new connections when none of those is usable: of their family, and none of them.
    pub sorry_server: Option<IpAddr>,
    /// What becomes of the TCP connections of a real server that is down.
    pub on_down: OnDown,
    /// Whether every datagram is scheduled by itself, and none remembered; of UDP only.
    pub one_packet: bool,
    /// Its own, beside `[acl]`; all of the family of the addresses.
    pub acl: Acl,
    /// How long clients keep their real server, if they do.
    pub persistence: Option<Persistence>,
    /// How many of its real servers have to be usable.
    pub quorum: Quorum,
    /// Whether a real server that is down stays, with weight 0, and so keeps its connections.
    pub inhibit_on_failure: bool,
    /// In what time a real server that is up again gets its whole share; 0 is at once.
    pub slow_start: Duration,
    /// Whether nothing is checked while another director is master.
    pub ha_suspend: bool,
    /// Whether real servers get nothing until a check has succeeded (keepalived's `alpha`).
    pub alpha: bool,
    /// The command that is told of each real server that is up or down; none if empty.
    pub notify: Vec<String>,
}

/// For how long new connections of a client go where its last one went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// Since its last new connection; whole seconds.
    pub timeout: Duration,
    /// Bits of an IPv4 client's address that count, from 1 to 32.
    pub mask_v4: u8,
    /// Bits of an IPv6 client's address that count, from 1 to 128.
    pub mask_v6: u8,
}

impl Default for Persistence {
    /// ipvsadm's (`-p` without a number, no `-M`).
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5 * 60), mask_v4: 32, mask_v6: 128 }
    }
}

impl Persistence {
    /// Bits of a client's address that count, in a family.
    #[must_use]
    pub const fn mask(self, is_ipv6: bool) -> u8 {
        if is_ipv6 { self.mask_v6 } else { self.mask_v4 }
    }
}

impl VirtualServer {
    /// The family of its addresses.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.addresses.first().is_some_and(|address| address.is_ipv6())
    }

    /// Everybody who may have its connections: its real servers, then the sorry server.
    pub fn all_servers(&self) -> impl Iterator<Item = RealServer> {
        self.real_servers.iter().cloned().chain(self.sorry_server.map(RealServer::at))
    }

    /// The VIP that a probe of this port is sent to where checks go to the VIP: one that has the port, if any has.
    #[must_use]
    pub fn probed_vip(&self, port: Option<u16>) -> Option<IpAddr> {
        let hosts =
            || self.addresses.iter().filter_map(|address| Some((address.vips.host()?, address.ports)));
        let with_port = hosts().find(|(_, ports)| port.is_some_and(|port| ports.overlap(Ports::one(port))));
        with_port.or_else(|| hosts().next()).map(|(host, _)| host)
    }

    /// What the scheduler's slot table depends on besides the real servers.
    ///
    /// The port of a real server is the service's in direct routing. A group has none, as one of IPVS's by firewall
    /// mark, unless all of its addresses have the same.
    #[must_use]
    pub fn parameters(&self) -> Parameters {
        let mut ports = self.addresses.iter().map(|address| address.ports.only());
        let first = ports.next().flatten().filter(|_| self.fwmark.is_none());
        let port = first.filter(|first| ports.all(|port| port == Some(*first)));
        Parameters {
            flags: self.scheduler_flags.clone(),
            table_size: self.mh_table_size,
            port: port.unwrap_or(0),
        }
    }

    /// How the data plane remembers clients.
    #[must_use]
    pub fn persistence_of_clients(&self) -> persistence::Persistence {
        let is_ipv6 = self.is_ipv6();
        self.persistence.map_or(persistence::Persistence::NONE, |persistence| {
            let seconds = u32::try_from(persistence.timeout.as_secs()).unwrap_or(u32::MAX);
            persistence::Persistence::new(seconds, persistence.mask(is_ipv6))
        })
    }
}

/// Whose new connections are let in.
///
/// What is denied stays denied, however short the prefix and whatever is allowed besides. If anything is allowed,
/// nothing else is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// Clients that are refused.
    pub deny: BTreeSet<Prefix>,
    /// Clients that are let in; if there are any, only these.
    pub allow: BTreeSet<Prefix>,
}

impl Acl {
    /// Whether everybody is let in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deny.is_empty() && self.allow.is_empty()
    }

    /// All prefixes.
    pub fn prefixes(&self) -> impl Iterator<Item = Prefix> {
        self.deny.iter().chain(&self.allow).copied()
    }
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// The protocol with this number, if it is one of them.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }

    /// The protocol of this name, if it is one of them.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find_map(|(known, protocol)| (*known == name).then_some(*protocol))
    }

    pub(crate) const NAMES: [(&'static str, Self); 2] = [("tcp", Self::Tcp), ("udp", Self::Udp)];
}

/// A host that answers for a VIP.
#[derive(Clone, Debug, PartialEq)]
pub struct RealServer {
    /// Its own address, by which its MAC is resolved.
    pub address: IpAddr,
    /// Its share of new connections, at most [`lb_common::limits::MAX_WEIGHT`]; 0 takes none.
    pub weight: u32,
    /// Its MAC, if it is not to be resolved.
    pub mac: Option<MacAddr6>,
    /// Its VLAN, from 1 to 4094, if the route to it does not tell.
    pub vlan: Option<u16>,
    /// How many connections it gets at most.
    pub thresholds: Thresholds,
    /// How it is checked: as is written of it, and where nothing is, as of its virtual server.
    pub health_check: Option<SharedCheck>,
}

impl RealServer {
    /// Of weight 1, with nothing else said about it.
    #[must_use]
    pub const fn at(address: IpAddr) -> Self {
        let thresholds = Thresholds { upper: 0, lower: 0 };
        Self { address, weight: 1, mac: None, vlan: None, thresholds, health_check: None }
    }
}

/// Names as the file has them, by which a value is shown too.
macro_rules! displayed_by_name {
    ($($kind:ty),*) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let name = Self::NAMES.iter().find_map(|(name, value)| (value == self).then_some(*name));
                f.pad(name.unwrap_or_default())
            }
        }
    )*};
}

displayed_by_name!(XdpMode, OnExit, Protocol, VlanOffload, Target);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}
