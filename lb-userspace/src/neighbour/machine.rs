//! One address: when to ask, and what to believe. Pure; time comes in as an argument.

use std::time::{Duration, Instant};

use macaddr::MacAddr6;

use super::Resolution;
use crate::net::NeighbourState;

/// A MAC that was confirmed is asked again after this time.
pub(super) const CONFIRMED_FOR: Duration = Duration::from_millis(400);
/// An answer that has not come after this time is not expected any more.
pub(super) const REPLY: Duration = Duration::from_millis(200);
/// How often everybody is asked who has an address that nobody answers for.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// An address that has been silent for this long is not reachable.
pub(super) const SILENT: Duration = Duration::from_secs(3);

/// What the kernel is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Ask the MAC it has whether it is still right.
    Confirm,
    /// Ask everybody who has the address.
    Resolve,
}

/// One address.
#[derive(Clone, Debug)]
pub(super) struct Neighbour {
    mac: Option<MacAddr6>,
    phase: Phase,
    /// When it last answered; `None` if never.
    answered: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The MAC was set by an administrator.
    Static,
    /// It answered; ask again at `ask`.
    Confirmed { ask: Instant },
    /// Its MAC was asked; everybody will be at `give_up`.
    Confirming { give_up: Instant },
    /// Everybody was asked, or will be; again at `ask`.
    Resolving { ask: Instant },
}

impl Neighbour {
    /// An address that nothing is known of: everybody is asked at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { mac: None, phase: Phase::Resolving { ask: now }, answered: None }
    }

    /// An address that was at `mac` when somebody last asked: believed, and everybody is asked at once, because
    /// the kernel may not have an entry.
    pub(super) fn remembered(mac: MacAddr6, now: Instant) -> Self {
        Self { mac: Some(mac), phase: Phase::Resolving { ask: now }, answered: Some(now) }
    }

    /// The kernel says that its entry is now in `state`, with `mac`.
    ///
    /// `jitter` moves the next request forward, so that those for many addresses do not come all at once.
    pub(super) fn handle_entry(
        &mut self,
        state: NeighbourState,
        mac: Option<MacAddr6>,
        now: Instant,
        jitter: Duration,
    ) {
        match (state, mac) {
            (NeighbourState::Static, Some(_)) => {
                self.mac = mac;
                self.phase = Phase::Static;
            }
            (NeighbourState::Reachable, Some(_)) => {
                self.mac = mac;
                self.answered = Some(now);
                self.phase = Phase::Confirmed { ask: now + CONFIRMED_FOR.saturating_sub(jitter) };
            }
            // Learned from an announcement or a request of its own: believed, and asked about at once. Our own
            // requests come back here too, with the MAC we have.
            (NeighbourState::Unconfirmed, Some(_)) if mac != self.mac || self.phase == Phase::Static => {
                self.mac = mac;
                self.answered = Some(now);
                self.phase = Phase::Confirmed { ask: now };
            }
            // The kernel has given up by itself, or the entry is gone. While we are resolving that is our doing.
            (NeighbourState::Unknown, _) | (_, None) => self.handle_refusal(now),
            (NeighbourState::Unconfirmed, Some(_)) => {}
        }
    }

    /// The kernel has no MAC to ask for confirmation.
    pub(super) fn handle_refusal(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Resolving { .. }) {
            self.phase = Phase::Resolving { ask: now };
        }
    }

    /// When [`poll_action`](Self::poll_action) or [`resolution`](Self::resolution) may next say something new.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let next = match self.phase {
            Phase::Static => return None,
            Phase::Confirmed { ask } | Phase::Resolving { ask } => ask,
            Phase::Confirming { give_up } => give_up,
        };
        let silent = self.answered.map(|answered| answered + SILENT).filter(|silent| *silent > now);
        Some(silent.map_or(next, |silent| next.min(silent)))
    }

    /// What the kernel is to do now.
    pub(super) fn poll_action(&mut self, now: Instant) -> Option<Action> {
        match self.phase {
            Phase::Confirmed { ask } if ask <= now => {
                self.phase = Phase::Confirming { give_up: now + REPLY };
                Some(Action::Confirm)
            }
            Phase::Confirming { give_up } if give_up <= now => {
                self.phase = Phase::Resolving { ask: now + RETRY };
                Some(Action::Resolve)
            }
            Phase::Resolving { ask } if ask <= now => {
                self.phase = Phase::Resolving { ask: now + RETRY };
                Some(Action::Resolve)
            }
            _ => None,
        }
    }

    /// What is known of the address.
    pub(super) fn resolution(&self, now: Instant) -> Resolution {
        let answers = self.answered.is_some_and(|answered| now < answered + SILENT);
        Resolution {
            mac: self.mac,
            is_reachable: self.mac.is_some() && (self.phase == Phase::Static || answers),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's time begins somewhere")]
mod tests {
    use super::*;

    const OLD: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 0, 1);
    const NEW: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 0, 2);

    /// A server on a segment, the kernel in between, and time.
    struct Lab {
        neighbour: Neighbour,
        server: Option<MacAddr6>,
        /// What the kernel's entry holds.
        entry: Option<MacAddr6>,
        now: Instant,
        asked: Vec<Action>,
    }

    impl Lab {
        fn new(server: Option<MacAddr6>) -> Self {
            let now = Instant::now();
            Self { neighbour: Neighbour::new(now), server, entry: None, now, asked: Vec::new() }
        }

        fn run(&mut self, time: Duration) {
            let end = self.now + time;
            loop {
                while let Some(action) = self.neighbour.poll_action(self.now) {
                    self.asked.push(action);
                    self.ask(action);
                }
                match self.neighbour.poll_timeout(self.now) {
                    Some(next) if next <= end => {
                        assert!(next > self.now, "time goes on");
                        self.now = next;
                    }
                    _ => break,
                }
            }
            self.now = end;
        }

        fn ask(&mut self, action: Action) {
            if action == Action::Resolve {
                self.entry = None;
            }
            let asked = match action {
                Action::Confirm => self.entry,
                Action::Resolve => self.server,
            };
            match asked {
                Some(mac) if self.server == Some(mac) => {
                    self.entry = self.server;
                    self.tell(NeighbourState::Reachable);
                }
                Some(_) => {}
                None if action == Action::Confirm => self.neighbour.handle_refusal(self.now),
                None => {}
            }
        }

        fn tell(&mut self, state: NeighbourState) {
            self.neighbour.handle_entry(state, self.entry, self.now, Duration::ZERO);
        }

        fn resolution(&self) -> Resolution {
            self.neighbour.resolution(self.now)
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_server_that_answers_is_resolved_at_once_and_confirmed_again_and_again() {
        let mut lab = Lab::new(Some(OLD));
        lab.run(Duration::from_millis(1));
        assert_eq!(lab.resolution(), Resolution { mac: Some(OLD), is_reachable: true });
        lab.run(10 * SECOND);
        assert_eq!(lab.asked[0], Action::Resolve);
        assert!(lab.asked[1..].iter().all(|action| *action == Action::Confirm));
        assert!((20..=26).contains(&lab.asked.len()), "{} in ten seconds", lab.asked.len());
    }

    #[test]
    fn a_mac_that_changes_silently_is_right_again_within_a_second() {
        for phase in 0..10 {
            let mut lab = Lab::new(Some(OLD));
            lab.run(SECOND + Duration::from_millis(50) * phase);
            lab.server = Some(NEW);
            lab.run(Duration::from_millis(700));
            assert_eq!(lab.resolution(), Resolution { mac: Some(NEW), is_reachable: true }, "phase {phase}");
        }
    }

    #[test]
    fn a_mac_that_is_announced_is_believed_at_once() {
        let mut lab = Lab::new(Some(OLD));
        lab.run(SECOND);
        (lab.server, lab.entry) = (Some(NEW), Some(NEW));
        lab.tell(NeighbourState::Unconfirmed);
        assert_eq!(lab.resolution().mac, Some(NEW));
        lab.asked.clear();
        lab.run(Duration::from_millis(1));
        assert_eq!(lab.asked, [Action::Confirm]);
    }

    #[test]
    fn a_server_that_falls_silent_is_unreachable_after_a_while_and_its_mac_is_kept() {
        let mut lab = Lab::new(Some(OLD));
        lab.run(SECOND);
        lab.server = None;
        lab.run(2 * SECOND);
        assert!(lab.resolution().is_reachable, "it may only be busy");
        lab.run(2 * SECOND);
        assert_eq!(lab.resolution(), Resolution { mac: Some(OLD), is_reachable: false });
        lab.asked.clear();
        lab.run(10 * SECOND);
        assert!((9..=11).contains(&lab.asked.len()), "retried every second: {}", lab.asked.len());
        lab.server = Some(OLD);
        lab.run(SECOND);
        assert!(lab.resolution().is_reachable);
    }

    #[test]
    fn a_server_that_never_answered_is_asked_for_until_it_does() {
        let mut lab = Lab::new(None);
        lab.run(5 * SECOND);
        assert_eq!(lab.resolution(), Resolution { mac: None, is_reachable: false });
        lab.server = Some(NEW);
        lab.run(SECOND + Duration::from_millis(1));
        assert_eq!(lab.resolution(), Resolution { mac: Some(NEW), is_reachable: true });
    }

    #[test]
    fn a_remembered_mac_is_believed_until_nobody_answers() {
        let mut lab = Lab::new(None);
        lab.neighbour = Neighbour::remembered(OLD, lab.now);
        assert_eq!(lab.resolution(), Resolution { mac: Some(OLD), is_reachable: true });
        lab.run(2 * SECOND);
        assert!(lab.resolution().is_reachable);
        assert_eq!(lab.asked[0], Action::Resolve);
        lab.run(2 * SECOND);
        assert!(!lab.resolution().is_reachable);
    }

    #[test]
    fn an_administrators_entry_is_neither_asked_nor_doubted() {
        let mut lab = Lab::new(None);
        lab.entry = Some(OLD);
        lab.tell(NeighbourState::Static);
        lab.run(100 * SECOND);
        assert_eq!(lab.resolution(), Resolution { mac: Some(OLD), is_reachable: true });
        assert!(lab.asked.is_empty());
        lab.entry = None;
        lab.tell(NeighbourState::Unknown);
        lab.run(Duration::from_millis(1));
        assert_eq!(lab.asked, [Action::Resolve], "it was deleted");
    }
}
