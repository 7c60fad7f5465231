//! The rewrite: destination MAC = real server, source MAC = the interface's own. Nothing else changes.

use lb_common::counter::Reason;
use lb_common::destination::Destination;

use crate::tables::Tables;
use crate::{Frame, Packet, Verdict};

/// Rewrites and counts a frame that goes to `destination`, whose number is `number`.
#[inline(always)]
pub(crate) fn forward<const K: usize, F: Frame, T: Tables>(
    frame: &mut F,
    packet: &Packet<K>,
    number: u32,
    destination: &Destination,
    tables: &T,
) -> Verdict {
    if !frame.set_macs(destination.ethernet.load(), destination.source_tail.load() as u32) {
        return Verdict::Pass(Reason::PassMalformed);
    }
    tables.count_forwarded(number, packet.length());
    Verdict::Transmit
}
