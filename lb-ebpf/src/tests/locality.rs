//! lblc and lblcr: what addresses keep.

use lb_common::selector::{Selector, Slot};
use lb_common::service::{SLOT_HEADER, SlotTable};

use crate::director::*;

/// A director whose first service has these real servers, of weight 1.
fn serve(director: &Director, selector: Selector, servers: &[u32]) {
    for (i, number) in servers.iter().enumerate() {
        director.slots[SLOT_HEADER as usize + i].store(Slot::new(*number, 1).word());
    }
    let length = u32::try_from(servers.len()).expect("they are few");
    let table = SlotTable { selector: selector as u8, base: 0, length };
    director.services[0].table.store(table.word());
}

/// Numbers of servers that were removed are given to others, and what addresses have is not looked through for them.
#[test]
fn a_number_that_is_another_virtual_servers_now_gets_no_connections() {
    for selector in [Selector::Locality, Selector::ReplicatedLocality] {
        let director = Director::new();
        serve(&director, selector, &[1, 0]);
        assert_eq!(director.tcp(1000, WEB, SYN), Went::To(1));
        serve(&director, selector, &[0]);
        director.belongs_to(1, 1);
        assert_eq!(director.tcp(1001, WEB, SYN), Went::To(0), "{selector:?}");
    }
}
