//! What becomes of a virtual router, by adverts and faults.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::mastership::Mastership;
use super::waiting::{Competitor, Waiting};
use super::{ANNOUNCEMENTS, Action, Fault, Machine, Master, OWNER, RELEASE, Reason, Role, State};
use crate::vrrp::packet::Advert;

impl Machine {
    pub(super) fn handle_advert_as_backup(&mut self, advert: &Advert, sender: Master, now: Instant) {
        let competitor = self.competitor();
        let Role::Backup(waiting) = &mut self.role else { return };
        if advert.priority == RELEASE {
            waiting.release(sender.address, now);
            return;
        }
        waiting.hear(advert, sender, competitor, now);
        self.master = Some(sender);
    }

    pub(super) fn handle_advert_as_master(&mut self, advert: &Advert, sender: Master, now: Instant) {
        let ours = self.effective_priority();
        if is_higher(sender, ours, self.address()) {
            self.master = Some(sender);
            self.enter(
                Role::Backup(Waiting::after(advert, now)),
                Reason::Higher { master: sender, ours },
                now,
            );
            return;
        }
        let Role::Master(mastership) = &mut self.role else { return };
        mastership.sent(self.parameters.interval, now);
        // Whoever stops has nothing left to be contested.
        let announces = advert.priority != RELEASE && mastership.contested(now);
        self.send(ours);
        if announces {
            self.announce();
        }
    }

    fn competitor(&self) -> Competitor {
        // RFC 9568, section 6.1: the owner preempts always.
        let is_owner = self.is_owner();
        Competitor {
            priority: self.effective_priority(),
            preempts: self.parameters.preempt || is_owner,
            delay: if is_owner { Duration::ZERO } else { self.parameters.preempt_delay },
        }
    }

    /// Whether there is a fault has changed, perhaps.
    pub(super) fn reconsider(&mut self, now: Instant) {
        if self.link.is_none() {
            return;
        }
        let fault = self.fault().or_else(|| self.group_fault.clone().map(Fault::Member));
        let is_ready = !self.tracking.is_pending;
        match (fault, &self.role) {
            (_, Role::Stopped) => {}
            (Some(fault), Role::Fault) => self.reason = Reason::Fault(fault),
            // Nobody can be heard any more.
            (Some(fault @ (Fault::Link(_) | Fault::NoAddress(_))), Role::Leaving { .. }) => {
                self.enter(Role::Stopped, Reason::Fault(fault), now);
            }
            (_, Role::Leaving { .. }) => {}
            (Some(fault), role) => {
                let can_send = !matches!(fault, Fault::Link(_) | Fault::NoAddress(_));
                if can_send && matches!(role, Role::Master(_)) {
                    self.send(RELEASE);
                }
                self.enter(Role::Fault, Reason::Fault(fault), now);
            }
            (None, Role::Init) if is_ready => self.begin(Reason::Started, now),
            (None, Role::Fault) if is_ready => self.begin(Reason::Recovered, now),
            (None, _) => {}
        }
    }

    /// It takes part (RFC 9568, section 6.4.1).
    fn begin(&mut self, reason: Reason, now: Instant) {
        let is_master = self.effective_priority() == OWNER;
        if is_master && !self.parameters.is_grouped {
            return self.become_master(Reason::Owner, now);
        }
        self.enter(Role::Backup(Waiting::new(now)), reason, now);
        if is_master {
            self.claim(Reason::Owner, now);
        }
    }

    /// A backup has reason to be master.
    pub(super) fn claim(&mut self, reason: Reason, now: Instant) {
        match &mut self.role {
            Role::Backup(waiting) if self.parameters.is_grouped => waiting.claim(reason, now),
            _ => self.become_master(reason, now),
        }
    }

    /// The advert goes first, so that an old master is gone when the addresses are announced: as keepalived does
    /// (`vrrp_state_master_tx` of keepalived/vrrp/vrrp.c).
    pub(super) fn become_master(&mut self, reason: Reason, now: Instant) {
        self.send(self.effective_priority());
        self.enter(Role::Master(Mastership::new(self.parameters.interval, now)), reason, now);
        self.announce();
    }

    pub(super) fn enter(&mut self, role: Role, reason: Reason, now: Instant) {
        self.role = role;
        self.since = now;
        self.reason = reason.clone();
        let state = self.state();
        self.transitions.count(state);
        if matches!(state, State::Master | State::Fault) {
            self.master = None;
        }
        self.actions.push_back(Action::Become { state, reason });
    }

    pub(super) fn send(&mut self, priority: u8) {
        self.actions.push_back(Action::Send(self.parameters.advert(priority)));
    }

    pub(super) fn announce(&mut self) {
        self.actions.push_back(Action::Announce { repeat: ANNOUNCEMENTS });
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        self.link.and_then(|link| link.address)
    }

    pub(super) fn is_owner(&self) -> bool {
        self.parameters.priority == OWNER
    }
}

/// Whether a master gives way to another (RFC 9568, section 6.4.3): between equal priorities the higher address decides.
fn is_higher(other: Master, ours: u8, address: Option<IpAddr>) -> bool {
    other.priority > ours || (other.priority == ours && Some(other.address) > address)
}
