//! What the product chooses, worked out by its scheduler and its selector without a program: for schedulers that hash.

use std::net::IpAddr;

use lb_common::selector::{Options, Selector, fallback_slot, hash_slot, hashed, maglev_slot, word};
use lb_userspace::scheduler::{Parameters, Scheduler, Server, Slot};

/// A virtual server's slot table, read as the data plane reads it (`lb-ebpf/src/select.rs`).
pub struct HashTable {
    selector: Selector,
    options: Options,
    slots: Vec<Slot>,
}

impl HashTable {
    /// The table for real servers in the order of addition; nothing if the scheduler's choice takes more than a hash.
    pub fn new(scheduler: Scheduler, servers: &[Server], parameters: &Parameters) -> Option<Self> {
        let selector = scheduler.selector();
        let options = scheduler.options(parameters);
        selector.is_reproducible().then(|| Self {
            selector,
            options,
            slots: scheduler.slots(servers, parameters),
        })
    }

    /// The real server of a new flow.
    pub fn pick(&self, client: IpAddr, port: u16, vip: IpAddr) -> Slot {
        let length = u32::try_from(self.slots.len()).ok().filter(|length| *length > 0)?;
        let port = if self.options.contains(Options::PORT) { port } else { 0 };
        let client = hashed(word(client), port);
        let own = match self.selector {
            Selector::Source => hash_slot(client),
            Selector::Destination => hash_slot(hashed(word(vip), 0)),
            Selector::Maglev => maglev_slot(client, length),
            _ => return None,
        };
        let slot = self.slots[own as usize];
        if slot.is_some() || !self.options.contains(Options::FALLBACK) {
            return slot;
        }
        (0..length)
            .find_map(|nth| self.slots[fallback_slot(self.selector, client, length, own, nth) as usize])
    }
}
