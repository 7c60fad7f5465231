//! Virtual routers. Their name is in the label `vrrp_instance`: `instance` is what Prometheus calls who it scrapes.

use std::fmt;

use super::super::api::{Vrrp, VrrpInstance};
use super::families::{Families, Labels};
use crate::vrrp::{Cause, State};

/// The cause of adverts that come from this director's own address, as `/v1/vrrp` has it.
const OWN_ADDRESS: &str = "own_address";

pub(super) fn encode(families: &mut Families<'_>, vrrp: &Vrrp) -> fmt::Result {
    let each = || vrrp.instances.iter().map(|instance| (labels(instance), instance));
    families.states(
        "vrrp_state".into(),
        "What a virtual router is: 1 for the state that it is in.",
        &State::ALL.map(State::name),
        each().map(|(labels, instance)| (labels, instance.state.as_str())),
    )?;
    families.gauge(
        "vrrp_priority".into(),
        "The priority that it competes with.",
        each().map(|(labels, instance)| (labels, u32::from(instance.priority))),
    )?;
    families.gauge(
        "vrrp_configured_priority".into(),
        "The priority that is configured.",
        each().map(|(labels, instance)| (labels, u32::from(instance.configured_priority))),
    )?;
    families.gauge(
        "vrrp_held".into(),
        "Whether it competes with the lowest priority until it knows the other directors' connections: 1 if so.",
        each().map(|(labels, instance)| (labels, u32::from(instance.held))),
    )?;
    families.gauge(
        "vrrp_split_brain".into(),
        "Whether somebody else has its addresses and is not the master: 1 if so.",
        each().map(|(labels, instance)| (labels, u32::from(instance.split_brain.is_some()))),
    )?;
    let transitions = each().flat_map(|([name, interface], VrrpInstance { transitions, .. })| {
        [
            (State::Master, transitions.master),
            (State::Backup, transitions.backup),
            (State::Fault, transitions.fault),
        ]
        .map(|(state, count)| ([name, interface, ("state", state.name())], count))
    });
    families.counter("vrrp_transitions".into(), "How often it entered a state.", transitions)?;
    let scripts = each().flat_map(|([name, interface], VrrpInstance { track_scripts, .. })| {
        [("up", Some(true)), ("down", Some(false)), ("unknown", None)].map(|(state, is)| {
            let count = track_scripts.iter().filter(|script| script.up == is).count();
            ([name, interface, ("state", state)], count as u64)
        })
    });
    families.gauge("vrrp_track_scripts".into(), "Its scripts, by what they say.", scripts)?;
    adverts(families, vrrp)
}

fn adverts(families: &mut Families<'_>, vrrp: &Vrrp) -> fmt::Result {
    let each = || vrrp.instances.iter().map(|instance| (labels(instance), &instance.adverts));
    families.counter(
        "vrrp_adverts_sent".into(),
        "Adverts sent.",
        each().map(|(labels, adverts)| (labels, adverts.sent)),
    )?;
    families.counter(
        "vrrp_adverts_not_sent".into(),
        "Adverts that the kernel did not send.",
        each().map(|(labels, adverts)| (labels, adverts.not_sent)),
    )?;
    families.counter(
        "vrrp_adverts_received".into(),
        "Adverts received and listened to.",
        each().map(|(labels, adverts)| (labels, adverts.received)),
    )?;
    let causes = || Cause::ALL.iter().map(|cause| cause.name()).chain([OWN_ADDRESS]);
    let rejected = each().flat_map(|([name, interface], adverts)| {
        causes().map(move |cause| {
            let count = adverts.rejected.get(cause).copied().unwrap_or(0);
            ([name, interface, ("reason", cause)], count)
        })
    });
    families.counter(
        "vrrp_adverts_rejected".into(),
        "Messages that were not listened to, by reason.",
        rejected,
    )
}

fn labels(instance: &VrrpInstance) -> Labels<'_, 2> {
    [("vrrp_instance", instance.name.as_str()), ("interface", instance.interface.as_str())]
}
