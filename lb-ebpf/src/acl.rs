//! Whether a client may have a connection: asked for new flows only, and only where there are rules.

use lb_common::acl::{ALL_SERVICES, Gate};

use crate::Packet;
use crate::tables::Family;

/// What the rules say of a client, in one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission(u32);

lb_common::one_word!(Admission, u32);

impl Admission {
    /// It may have a connection.
    pub const ADMITTED: Self = Self(0);
    /// The rules for all virtual servers refuse it.
    pub const DENIED: Self = Self(1);
    /// The virtual server's own rules refuse it.
    pub const DENIED_BY_SERVICE: Self = Self(2);
}

/// Whether the packet's source may have a connection to the virtual server `number`: both the rules for all and its
/// own have to let it in.
#[inline(always)]
pub fn admit<const K: usize, const W: usize, T: Family<K, W>>(
    packet: &Packet<K>,
    number: u32,
    tables: &T,
) -> Admission {
    let is_refused = |gate: u64, scope: u32| {
        let gate = Gate::from_word(gate);
        !gate.is_open() && !gate.lets_in(tables.rule(scope, packet))
    };
    if tables.settings().is_some_and(|settings| is_refused(settings.acl.load(), ALL_SERVICES)) {
        Admission::DENIED
    } else if tables.service(number).is_some_and(|service| is_refused(service.acl.load(), number)) {
        Admission::DENIED_BY_SERVICE
    } else {
        Admission::ADMITTED
    }
}
