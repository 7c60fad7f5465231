//! (VIP, port, protocol) to a virtual server.

use lb_common::service::{Index, key_v4};
use lb_common::settings::Settings;

use crate::{Packet, Tables};

/// The number of the virtual server with the packet's destination, if there is one.
#[inline(always)]
pub(crate) fn match_service<T: Tables>(packet: &Packet, settings: &Settings, tables: &T) -> Option<u32> {
    let index = Index::from_word(settings.services_v4.load());
    if index.is_empty() {
        return None;
    }
    let key = key_v4(packet.destination(), packet.destination_port(), packet.protocol);
    tables.addresses(index.position(key))?.find(key)
}
