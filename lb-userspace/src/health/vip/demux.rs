//! Which probe a frame is for: by VIP and port. A probe has a port of its own as long as it lives.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_common::probe::FIRST_PORT;
use macaddr::MacAddr6;
use tokio::sync::mpsc;

use super::reply::{Protocol, Reply, Says, read};
use super::way::{Leg, Ways};
use crate::net::mac_text;

/// How many frames may wait for a probe. Of more, later ones are lost, and sent again.
const WAITING: usize = 32;
/// How many probes of a VIP there can be at a time.
const PORTS: u16 = u16::MAX - FIRST_PORT + 1;

/// Gives frames to the probes they are for.
#[derive(Default)]
pub(super) struct Demux {
    vips: Mutex<HashMap<IpAddr, Vip>>,
}

/// The probes of a VIP.
struct Vip {
    /// The port that the next probe gets, if it is free: one after the other, so that whatever still comes for a probe
    /// that has ended comes to nobody.
    next: u16,
    waiting: HashMap<u16, Waiter>,
}

/// A probe that waits.
struct Waiter {
    protocol: Protocol,
    source: IpAddr,
    server: MacAddr6,
    sender: mpsc::Sender<Arrival>,
}

/// What arrives for a probe.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A packet of TCP.
    Segment(Vec<u8>),
    /// What is in a datagram from this port.
    Datagram(u16, Vec<u8>),
    /// An echo.
    Echo,
    /// What was sent did not arrive; nobody is at the port, or it is not allowed.
    Unreachable {
        /// Whether nobody is at the port.
        no_such_port: bool,
    },
    /// Another real server answered in its place.
    Foreign(MacAddr6),
}

impl Arrival {
    /// The error of a probe of which this is the end; `None` if it is none.
    pub(super) fn failure(&self, leg: &Leg) -> Option<io::Error> {
        match self {
            Self::Segment(_) | Self::Datagram(..) | Self::Echo => None,
            Self::Unreachable { no_such_port: true } => Some(io::ErrorKind::ConnectionRefused.into()),
            Self::Unreachable { no_such_port: false } => Some(io::Error::new(
                io::ErrorKind::HostUnreachable,
                "it says that what was sent is not allowed (ICMP): look at its packet filter",
            )),
            Self::Foreign(mac) => Some(io::Error::new(
                io::ErrorKind::HostUnreachable,
                format!(
                    "{} answered in place of {}: does that one forward what is for {}, for want of the address (`lb real-server status` there)?",
                    mac_text(*mac),
                    mac_text(leg.way.server_mac),
                    leg.vip
                ),
            )),
        }
    }
}

impl Demux {
    /// A port for a probe.
    ///
    /// # Errors
    /// All are taken, or there is no randomness.
    pub(super) fn open(self: &Arc<Self>, leg: &Leg, protocol: Protocol) -> io::Result<Port> {
        let (sender, arrivals) = mpsc::channel(WAITING);
        let waiter = Waiter { protocol, source: leg.source, server: leg.way.server_mac, sender };
        let number = {
            let mut vips = self.locked();
            let vip = match vips.entry(leg.vip) {
                Entry::Occupied(vip) => vip.into_mut(),
                Entry::Vacant(place) => {
                    // Not where the daemon before us began: real servers may remember its connections.
                    let random = getrandom::u32().map_err(io::Error::other)? % u32::from(PORTS);
                    place.insert(Vip { next: FIRST_PORT + random as u16, waiting: HashMap::new() })
                }
            };
            vip.take(waiter).ok_or_else(|| {
                let message = format!("all {PORTS} ports for probes to {} are taken", leg.vip);
                io::Error::new(io::ErrorKind::AddrNotAvailable, message)
            })?
        };
        Ok(Port { demux: Arc::clone(self), vip: leg.vip, number, arrivals })
    }

    /// Gives a frame to the probe that it is for, if it is for one.
    pub(super) fn deliver(&self, frame: &[u8], ways: &Ways) {
        let Some(Reply { mac, vip, destination, number, says }) = read(frame) else { return };
        let sender = {
            let vips = self.locked();
            let Some(waiter) = vips.get(&vip).and_then(|vip| vip.waiting.get(&number)) else { return };
            if waiter.protocol != says.protocol() || waiter.source != destination {
                return;
            }
            if mac != waiter.server && is_another(mac, ways) {
                // No room: the probe has enough to read.
                let _ = waiter.sender.try_send(Arrival::Foreign(mac));
                return;
            }
            waiter.sender.clone()
        };
        let arrival = match says {
            Says::Segment(packet) => Arrival::Segment(packet.to_vec()),
            Says::Datagram(port, payload) => Arrival::Datagram(port, payload.to_vec()),
            Says::Echo => Arrival::Echo,
            Says::Unreachable { no_such_port, .. } => Arrival::Unreachable { no_such_port },
        };
        let _ = sender.try_send(arrival);
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<IpAddr, Vip>> {
        self.vips.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a MAC is that of some real server. One that is nobody's may be another NIC of the one that was asked.
fn is_another(mac: MacAddr6, ways: &Ways) -> bool {
    ways.values().flatten().any(|way| way.server_mac == mac)
}

impl Vip {
    /// The next port that is free.
    fn take(&mut self, waiter: Waiter) -> Option<u16> {
        for _ in 0..PORTS {
            let number = self.next;
            self.next = number.checked_add(1).unwrap_or(FIRST_PORT);
            if let Entry::Vacant(place) = self.waiting.entry(number) {
                place.insert(waiter);
                return Some(number);
            }
        }
        None
    }
}

/// A probe's port, free again when this is dropped.
pub(super) struct Port {
    demux: Arc<Demux>,
    vip: IpAddr,
    pub(super) number: u16,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Some(vip) = self.demux.locked().get_mut(&self.vip) {
            vip.waiting.remove(&self.number);
        }
    }
}

impl fmt::Debug for Demux {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting: usize = self.locked().values().map(|vip| vip.waiting.len()).sum();
        f.debug_struct("Demux").field("waiting", &waiting).finish()
    }
}
