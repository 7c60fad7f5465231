//! (VIP, port, protocol) to a virtual server.

use lb_common::service::{ADDRESS_WORDS_V4, ADDRESS_WORDS_V6, NO_SERVICE, key_v4, key_v6};
use lb_common::settings::Settings;
use lb_common::trace::Note;

use crate::tables::Family;
use crate::{Packet, PacketV4, PacketV6};

/// What a packet is looked up by: the key of its service address, of `W` words.
pub(crate) trait Addressed<const W: usize> {
    /// The key of destination address, destination port and protocol.
    fn service_key(&self) -> [u64; W];
}

impl Addressed<ADDRESS_WORDS_V4> for PacketV4 {
    #[inline(always)]
    fn service_key(&self) -> [u64; ADDRESS_WORDS_V4] {
        key_v4(self.destination(), self.destination_port(), self.protocol())
    }
}

impl Addressed<ADDRESS_WORDS_V6> for PacketV6 {
    #[inline(always)]
    fn service_key(&self) -> [u64; ADDRESS_WORDS_V6] {
        key_v6([self.key[2], self.key[3]], self.destination_port(), self.protocol())
    }
}

/// The number of the virtual server with the packet's destination, or [`NO_SERVICE`].
#[inline(always)]
pub(crate) fn match_service<const K: usize, const W: usize, T: Family<K, W>>(
    packet: &Packet<K>,
    settings: &Settings,
    tables: &T,
) -> u32
where
    Packet<K>: Addressed<W>,
{
    tables.see(packet);
    let index = tables.index(settings);
    if index.is_empty() {
        return NO_SERVICE;
    }
    let key = packet.service_key();
    let service = match tables.addresses(index.position(&key)) {
        Some(bucket) => bucket.find(&key),
        None => NO_SERVICE,
    };
    // A port of any, a range, a prefix: only where there is such a service, and only for what no exact one has.
    let service =
        if service == NO_SERVICE && index.has_forms() { tables.find_form(index, &key) } else { service };
    tables.note(Note::Service, u64::from(service));
    service
}
