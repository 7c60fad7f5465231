//! Links and addresses, set up with iproute2's `ip` and `bridge`.

use std::fmt;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use crate::error::{Error, Result};

/// The interface of every host.
pub(crate) const INTERFACE: &str = "eth0";
/// The switch's bridge.
pub(crate) const BRIDGE: &str = "bridge";
/// The kernel's IFNAMSIZ without the final zero.
pub(crate) const NAME_LENGTH: usize = 15;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The address that a lab gives to the host with this IP address: 02:00 and its four bytes.
    pub const fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x00, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::Description(format!("{text:?} is no Ethernet address"));
        let bytes: Vec<u8> = text
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).map_err(|_| wrong()))
            .collect::<Result<_>>()?;
        Ok(Self(bytes.try_into().map_err(|_| wrong())?))
    }
}

/// Lines for `ip -batch`.
#[derive(Default)]
pub(crate) struct Batch(String);

impl Batch {
    /// Adds a command without the leading `ip`.
    pub(crate) fn line(&mut self, line: impl fmt::Display) {
        // Writing to a string does not fail.
        _ = writeln!(self.0, "{line}");
    }

    pub(crate) fn lines(self) -> String {
        self.0
    }
}

/// A command that adds or deletes a VIP on `lo`.
pub(crate) fn vip_line(action: &str, vip: IpAddr) -> String {
    format!("address {action} {vip}/{} dev lo", if vip.is_ipv4() { 32 } else { 128 })
}

/// Commands that make the bridge: forwarding at once, and no chatter of its own.
pub(crate) fn make_bridge(batch: &mut Batch) {
    batch.line(format_args!("link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"));
    batch.line(format_args!("link set {BRIDGE} up"));
    batch.line("link set lo up");
}

/// Commands, run in the switch, that make a port and, in the host's namespace, its other end.
pub(crate) fn make_port(batch: &mut Batch, port: &str, namespace: &str, mac: Mac) {
    batch.line(format_args!(
        "link add name {port} type veth peer name {INTERFACE} address {mac} netns {namespace}"
    ));
    batch.line(format_args!("link set dev {port} master {BRIDGE}"));
    batch.line(format_args!("link set dev {port} up"));
}
