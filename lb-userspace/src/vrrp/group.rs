//! Sync groups: virtual routers that are all master, or all backup, or all in fault. Pure.
//!
//! As keepalived 2.2.7 keeps them (keepalived/vrrp/vrrp_sync.c): a member in fault puts all in fault (`vrrp_sync_fault`); a
//! master that becomes backup makes all backup (`vrrp_sync_backup`); and all become master together, when each of them would
//! be (`vrrp_sync_can_goto_master`). So a network that loses adverts, but no link, does not make a group flap.

use std::collections::BTreeMap;
use std::time::Instant;

use super::machine::{Machine, State};

/// A sync group. Its members have [`is_grouped`](super::Parameters::is_grouped) set.
#[derive(Clone, Debug)]
pub struct Group {
    state: State,
    /// The state that each member had when it was last looked at.
    seen: BTreeMap<String, State>,
}

impl Default for Group {
    fn default() -> Self {
        Self::new()
    }
}

impl Group {
    /// A group that has not looked at its members yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Init, seen: BTreeMap::new() }
    }

    /// The state that its members have in common.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Makes its members alike: called after events that they were handed, before actions are taken from any.
    ///
    /// The names are those of the members in messages. Members may come and go between calls; those that are leaving or have
    /// stopped count no more. Returns the group's state, if it is another now.
    pub fn settle(&mut self, members: &mut [(&str, &mut Machine)], now: Instant) -> Option<State> {
        share_faults(members, now);
        self.share_defeat(members, now);
        share_mastership(members, now);
        self.seen = members.iter().map(|(name, machine)| ((*name).to_owned(), machine.state())).collect();
        let state = common_state(members).unwrap_or(self.state);
        (std::mem::replace(&mut self.state, state) != state).then_some(state)
    }

    /// A member that was master is backup: so are all.
    fn share_defeat(&self, members: &mut [(&str, &mut Machine)], now: Instant) {
        let is_deposed = |(name, machine): &&(&str, &mut Machine)| {
            machine.state() == State::Backup && self.seen.get(*name) == Some(&State::Master)
        };
        if let Some(deposed) = members.iter().find(is_deposed).map(|(name, _)| *name) {
            members.iter_mut().for_each(|(_, machine)| machine.force_backup(deposed, now));
        }
    }
}

/// A member is in fault while any is. The one that is has a reason of its own.
fn share_faults(members: &mut [(&str, &mut Machine)], now: Instant) {
    let is_faulty = |(_, machine): &&(&str, &mut Machine)| takes_part(machine) && machine.fault().is_some();
    let faulty = members.iter().find(is_faulty).map(|(name, _)| *name);
    members.iter_mut().for_each(|(_, machine)| machine.force_fault(faulty, now));
}

/// All are master when each of them is, or would be. One that was added to a group of masters joins them in this way.
fn share_mastership(members: &mut [(&str, &mut Machine)], now: Instant) {
    let would_be = |machine: &Machine| machine.state() == State::Master || machine.wants_master();
    if members.iter().filter(|(_, machine)| takes_part(machine)).all(|(_, machine)| would_be(machine)) {
        members.iter_mut().for_each(|(_, machine)| machine.force_master(now));
    }
}

/// `None`: some are masters, and one that was added is not yet.
fn common_state(members: &[(&str, &mut Machine)]) -> Option<State> {
    let mut states = members.iter().map(|(_, machine)| machine.state());
    let first = states.next()?;
    if states.all(|state| state == first) {
        return Some(first);
    }
    members.iter().any(|(_, machine)| machine.state() == State::Fault).then_some(State::Fault)
}

fn takes_part(machine: &Machine) -> bool {
    !matches!(machine.state(), State::Leaving | State::Stopped)
}

#[cfg(test)]
mod tests;
