//! Who the other directors are: pure, but for what is said of them.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Session;
use super::introduction::{Identity, Wish};
use super::window::{Place, Window};

/// How many other directors there may be.
pub(super) const MOST: usize = 32;
/// After an introduction that failed, or that was of no use; and more with each that follows.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long datagrams that are missing may still come, before their connections are asked for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two snapshots because of missing datagrams.
const BETWEEN_SNAPSHOTS: Duration = Duration::from_secs(60);
/// Who was never introduced is forgotten then, unless the configuration names it.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Another director.
#[derive(Debug)]
pub(super) struct Peer {
    /// Where it answers.
    pub(super) address: SocketAddr,
    is_configured: bool,
    /// The session that it proved to run, and what came of it.
    pub(super) known: Option<(Session, Window)>,
    /// When a datagram of its session came last.
    pub(super) heard: Option<Instant>,
    found: Instant,
    /// When it may be asked again.
    next: Instant,
    failures: u32,
    is_busy: bool,
    wants_snapshot: bool,
    /// Whether it may run another session by now.
    is_doubted: bool,
    /// Datagrams that were missing when the last snapshot was asked for.
    missed: u64,
    /// Since when more are missing.
    misses: Option<Instant>,
    last_snapshot: Option<Instant>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Peers(Vec<Peer>);

/// What a datagram of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is to be taken.
    Taken { is_late: bool },
    /// It was taken before.
    Replayed,
    /// Nobody is known to run that session.
    Stranger,
}

impl Peers {
    /// Those that the configuration names.
    pub(super) fn new(configured: &[SocketAddr], now: Instant) -> Self {
        let peer = |address| Peer { is_configured: true, ..Peer::new(address, now) };
        Self(configured.iter().copied().map(peer).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.0.iter()
    }

    /// A datagram of a session came.
    pub(super) fn take(&mut self, session: Session, number: u64, now: Instant) -> Arrival {
        let of_session = |peer: &&mut Peer| peer.known.as_ref().is_some_and(|(known, _)| *known == session);
        let Some(peer) = self.0.iter_mut().find(of_session) else { return Arrival::Stranger };
        let Some((_, window)) = &mut peer.known else { return Arrival::Stranger };
        let is_late = match window.take(number) {
            Place::Newest => false,
            Place::Late => true,
            Place::Replayed => return Arrival::Replayed,
        };
        if window.missing() > peer.missed {
            peer.misses.get_or_insert(now);
        } else {
            peer.misses = None;
        }
        peer.heard = Some(now);
        Arrival::Taken { is_late }
    }

    /// Somebody may be a director: whoever has the key made the datagram, though perhaps long ago.
    pub(super) fn find(&mut self, address: SocketAddr, now: Instant) {
        if self.0.iter().any(|peer| peer.address.ip() == address.ip()) {
            return;
        }
        if self.0.len() >= MOST {
            let worst = self.0.iter().enumerate().filter(|(_, peer)| peer.is_spare());
            let Some((worst, _)) = worst.min_by_key(|(_, peer)| peer.found) else { return };
            self.0.swap_remove(worst);
        }
        self.0.push(Peer::new(address, now));
    }

    /// Who is to be asked now, and what for; each is told of once.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(SocketAddr, Wish)> {
        self.0.retain(|peer| !peer.is_spare() || now.duration_since(peer.found) < FORGOTTEN);
        let due = self.0.iter_mut().filter_map(|peer| peer.due(now));
        due.collect()
    }

    /// A director has proved who it is; whether it runs another session than before.
    pub(super) fn introduce(&mut self, address: SocketAddr, identity: Identity, now: Instant) -> bool {
        let knows = |peer: &Peer| peer.known.as_ref().is_some_and(|(known, _)| *known == identity.session);
        if self.0.iter().any(knows) {
            return false;
        }
        self.find(address, now);
        let Some(peer) = self.0.iter_mut().find(|peer| peer.address.ip() == address.ip()) else {
            return false;
        };
        peer.known = Some((identity.session, Window::new(identity.number)));
        peer.heard = Some(now);
        (peer.wants_snapshot, peer.missed, peer.misses, peer.failures) = (true, 0, None, 0);
        peer.next = now;
        true
    }

    /// What became of asking: a snapshot came, or none was asked for; or it failed.
    pub(super) fn asked(&mut self, address: SocketAddr, wish: Wish, has_succeeded: bool, now: Instant) {
        let Some(peer) = self.0.iter_mut().find(|peer| peer.address.ip() == address.ip()) else { return };
        peer.is_busy = false;
        if has_succeeded && wish == Wish::Snapshot {
            peer.wants_snapshot = false;
            peer.last_snapshot = Some(now);
        }
        peer.failures = if has_succeeded { 0 } else { peer.failures.saturating_add(1) };
        if has_succeeded && peer.wants_snapshot {
            // It has just been introduced.
            peer.next = now;
            return;
        }
        peer.next = now + (PAUSE * 2u32.pow(peer.failures.min(4))).min(LONGEST_PAUSE);
    }

    /// A session came from there that nobody is known to run: either a new one, or an old one that somebody recorded.
    pub(super) fn doubt(&mut self, address: IpAddr) {
        if let Some(peer) = self.0.iter_mut().find(|peer| peer.address.ip() == address) {
            peer.is_doubted = true;
        }
    }
}

impl Peer {
    fn new(address: SocketAddr, now: Instant) -> Self {
        Self {
            address,
            is_configured: false,
            known: None,
            heard: None,
            found: now,
            next: now,
            failures: 0,
            is_busy: false,
            wants_snapshot: true,
            is_doubted: false,
            missed: 0,
            misses: None,
            last_snapshot: None,
        }
    }

    /// Whether nothing is lost with it.
    fn is_spare(&self) -> bool {
        !self.is_configured && self.known.is_none() && !self.is_busy
    }

    fn due(&mut self, now: Instant) -> Option<(SocketAddr, Wish)> {
        if self.is_busy || now < self.next {
            return None;
        }
        let is_overdue = |since: Instant| now.duration_since(since) >= PATIENCE;
        let may_again = self.last_snapshot.is_none_or(|last| now.duration_since(last) >= BETWEEN_SNAPSHOTS);
        if self.misses.is_some_and(is_overdue) && may_again {
            self.missed = self.known.as_ref().map_or(0, |(_, window)| window.missing());
            (self.misses, self.wants_snapshot) = (None, true);
        }
        let wish = if self.wants_snapshot { Wish::Snapshot } else { Wish::Introduction };
        if !self.wants_snapshot && !std::mem::take(&mut self.is_doubted) {
            return None;
        }
        self.is_busy = true;
        Some((self.address, wish))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::driver;

    fn at(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 8848))
    }

    const SNAPSHOT: Wish = Wish::Snapshot;
    const TAKEN: Arrival = Arrival::Taken { is_late: false };

    fn of(session: Session) -> Identity {
        Identity { session, number: 100 }
    }

    #[test]
    fn who_is_configured_is_asked_at_once_and_again_when_that_fails() {
        let start = driver::now();
        let mut peers = Peers::new(&[at(1)], start);
        assert_eq!(peers.due(start), [(at(1), SNAPSHOT)]);
        assert_eq!(peers.due(start), [], "while it is being asked");
        let mut now = start;
        for pause in [4, 8, 16, 30, 30] {
            peers.asked(at(1), SNAPSHOT, false, now);
            assert_eq!(peers.due(now + Duration::from_secs(pause - 1)), []);
            now += Duration::from_secs(pause);
            assert_eq!(peers.due(now), [(at(1), SNAPSHOT)], "after {pause} s");
        }
        assert!(peers.introduce(at(1), of(7), now), "it is new");
        assert!(!peers.introduce(at(1), of(7), now), "it is known");
        peers.asked(at(1), SNAPSHOT, true, now);
        assert_eq!(peers.due(now + Duration::from_secs(3600)), [], "there is nothing more to ask");
    }

    #[test]
    fn sessions_count_once_they_are_proved_and_old_ones_no_more() {
        let now = driver::now();
        let mut peers = Peers::new(&[], now);
        assert_eq!(peers.take(7, 101, now), Arrival::Stranger);
        peers.find(at(1), now);
        peers.introduce(at(1), of(7), now);
        assert_eq!((peers.take(7, 101, now), peers.take(7, 101, now)), (TAKEN, Arrival::Replayed));
        assert_eq!(peers.take(7, 100, now), Arrival::Replayed, "from before it was proved");
        assert!(peers.introduce(at(1), of(8), now), "it has begun anew");
        assert_eq!((peers.take(7, 102, now), peers.take(8, 101, now)), (Arrival::Stranger, TAKEN));
    }

    /// A recording of an old session would otherwise have a snapshot sent for each datagram.
    #[test]
    fn a_doubted_session_is_asked_about_and_nothing_more() {
        let now = driver::now();
        let mut peers = Peers::new(&[at(1)], now);
        peers.due(now);
        peers.introduce(at(1), of(7), now);
        peers.asked(at(1), SNAPSHOT, true, now);
        let later = now + Duration::from_secs(5);
        for _ in 0..1000 {
            peers.doubt(at(1).ip());
        }
        assert_eq!(peers.due(later), [(at(1), Wish::Introduction)]);
        peers.introduce(at(1), of(7), later);
        peers.asked(at(1), Wish::Introduction, true, later);
        peers.doubt(at(1).ip());
        assert_eq!(peers.due(later), [], "not again at once");
        // It has really begun anew: then it is asked for all, at once.
        let later = later + Duration::from_secs(5);
        assert_eq!(peers.due(later), [(at(1), Wish::Introduction)]);
        assert!(peers.introduce(at(1), of(8), later));
        peers.asked(at(1), Wish::Introduction, true, later);
        assert_eq!(peers.due(later), [(at(1), SNAPSHOT)]);
    }

    #[test]
    fn what_is_missing_is_asked_for_when_it_does_not_come() {
        let start = driver::now();
        let mut peers = Peers::new(&[at(1)], start);
        peers.due(start);
        peers.introduce(at(1), of(7), start);
        peers.asked(at(1), SNAPSHOT, true, start);
        let after = |seconds| start + Duration::from_secs(seconds);
        peers.take(7, 103, after(100));
        peers.take(7, 101, after(101));
        peers.take(7, 102, after(101));
        assert_eq!(peers.due(after(110)), [], "they have come late");
        peers.take(7, 110, after(120));
        assert_eq!(peers.due(after(124)), []);
        assert_eq!(peers.due(after(125)), [(at(1), SNAPSHOT)]);
        peers.asked(at(1), SNAPSHOT, true, after(126));
        peers.take(7, 111, after(127));
        assert_eq!(peers.due(after(185)), [], "nothing new is missing");
        peers.take(7, 120, after(128));
        assert_eq!(peers.due(after(140)), [], "not so soon");
        assert_eq!(peers.due(after(187)), [(at(1), SNAPSHOT)]);
    }

    #[test]
    fn whoever_sends_recordings_from_everywhere_keeps_nobody_out() {
        let start = driver::now();
        let mut peers = Peers::new(&[at(1)], start);
        peers.find(at(2), start);
        peers.introduce(at(2), of(7), start);
        for n in 0..10_000u32 {
            let from = SocketAddr::new(IpAddr::from((0x0b00_0000 + n).to_be_bytes()), 8848);
            peers.find(from, start + Duration::from_millis(n.into()));
        }
        assert_eq!(peers.iter().count(), MOST);
        let is_there = |peers: &Peers, n| peers.iter().any(|peer| peer.address == at(n));
        assert!(is_there(&peers, 1) && is_there(&peers, 2), "neither who is configured, nor who is known");
        peers.find(at(3), start + Duration::from_secs(20));
        assert!(is_there(&peers, 3));
        let later = start + Duration::from_secs(3600);
        peers.due(later);
        assert_eq!(peers.iter().count(), 2, "who was never introduced is forgotten");
    }
}
