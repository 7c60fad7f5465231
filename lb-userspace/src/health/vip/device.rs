//! What smoltcp takes for its network interface: packets that have arrived for one probe, and a wire to send through.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;

use smoltcp::phy::{self, Checksum, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use super::way::Leg;
use super::wire::Wire;

/// One probe's.
pub(super) struct Device {
    pub(super) leg: Leg,
    wire: Arc<dyn Wire>,
    pub(super) arrived: VecDeque<Vec<u8>>,
    /// Why the last packet could not be sent.
    pub(super) failed: Option<io::Error>,
}

impl Device {
    pub(super) fn new(leg: Leg, wire: Arc<dyn Wire>) -> Self {
        Self { leg, wire, arrived: VecDeque::new(), failed: None }
    }
}

impl phy::Device for Device {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Departing<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Arrived, Departing<'_>)> {
        let packet = self.arrived.pop_front()?;
        Some((Arrived(packet), Departing(self)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Departing<'_>> {
        Some(Departing(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut checksum = ChecksumCapabilities::default();
        // See `reply::read`.
        (checksum.ipv4, checksum.tcp) = (Checksum::Tx, Checksum::Tx);
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        // The segments that the real server sends are at most as long: of this the MSS that we announce is made. It is the
        // packet's length with this medium, as it is in Linux.
        capabilities.max_transmission_unit = self.leg.way.mtu as usize;
        capabilities.checksum = checksum;
        capabilities
    }
}

/// A packet that has arrived.
pub(super) struct Arrived(Vec<u8>);

impl phy::RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

/// A packet that is about to be sent.
pub(super) struct Departing<'a>(&'a mut Device);

impl phy::TxToken for Departing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let (mut frame, start) = self.0.leg.frame(length);
        let result = write(frame.get_mut(start..).unwrap_or_default());
        self.0.failed = self.0.wire.send(&frame).err();
        result
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.leg.fmt(f)
    }
}
