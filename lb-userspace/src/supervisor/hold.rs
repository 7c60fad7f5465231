//! Fragments that came before their datagram's first wait here for it: at most a second, and at most 1 MiB of them.

use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::now;
use crate::dataplane::{DataplaneError, Fragment, Fragments};
use crate::net::FrameSender;

const MAX_BYTES: usize = 1 << 20;
const MAX_WAIT: Duration = Duration::from_secs(1);
/// How often it is looked whether a first fragment has come, while others wait for one.
const LOOK: Duration = Duration::from_millis(5);

/// How often it is looked whether this is to end, while nothing comes.
const IDLE: Duration = Duration::from_millis(250);
/// After a failure, which is not likely to be the last.
const PAUSE: Duration = Duration::from_secs(1);

/// Holds fragments, and sends them on when they may go; until `stopped` says so.
pub(super) fn hold_fragments(mut fragments: Fragments, stopped: &Receiver<()>) {
    let mut waiting = Waiting::default();
    let mut sender = FrameSender::default();
    let mut pause = Duration::ZERO;
    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let ran = wait(&fragments, if waiting.is_empty() { IDLE } else { LOOK })
            .map_err(|errno| format!("wait for fragments: {errno}"))
            .and_then(|()| {
                round(&mut fragments, &mut waiting, &mut sender).map_err(|error| error.to_string())
            });
        pause = match ran {
            Ok(()) => Duration::ZERO,
            Err(error) => {
                tracing::warn!("fragments that come before their datagram's first are lost: {error}");
                PAUSE
            }
        };
    }
}

/// Waits for a fragment, but not for longer than `time`.
fn wait(fragments: &Fragments, time: Duration) -> nix::Result<()> {
    let mut ready = [PollFd::new(fragments.as_fd(), PollFlags::POLLIN)];
    match poll(&mut ready, PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Takes what came, and sends on what may go.
fn round(
    fragments: &mut Fragments,
    waiting: &mut Waiting,
    sender: &mut FrameSender,
) -> Result<(), DataplaneError> {
    let mut lost = 0;
    while let Some(fragment) = fragments.take() {
        lost += u64::from(!waiting.push(fragment, now()));
    }
    let (ready, expired) = waiting.sort(now(), |fragment| fragments.has_begun(&fragment.datagram))?;
    for fragment in ready {
        match fragments.forward(&fragment)? {
            Some((interface, frame)) => {
                if let Err(error) = sender.send(interface, &frame) {
                    tracing::debug!("a fragment could not be sent on: {error}");
                    lost += 1;
                }
            }
            None => lost += 1,
        }
    }
    match expired + lost {
        0 => Ok(()),
        lost => fragments.count_expired(lost),
    }
}

/// Fragments in the order in which they came.
#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<(Instant, Fragment)>,
    bytes: usize,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Says whether there was room.
    fn push(&mut self, fragment: Fragment, now: Instant) -> bool {
        let bytes = self.bytes + fragment.frame.len();
        let has_room = bytes <= MAX_BYTES;
        if has_room {
            self.bytes = bytes;
            self.queue.push_back((now, fragment));
        }
        has_room
    }

    /// Takes out what may go, and what has waited for too long: the fragments, and the number of the others.
    fn sort<E>(
        &mut self,
        now: Instant,
        may_go: impl Fn(&Fragment) -> Result<bool, E>,
    ) -> Result<(Vec<Fragment>, u64), E> {
        let (mut ready, mut expired) = (Vec::new(), 0);
        for (since, fragment) in std::mem::take(&mut self.queue) {
            if may_go(&fragment)? {
                ready.push(fragment);
            } else if now.duration_since(since) < MAX_WAIT {
                self.queue.push_back((since, fragment));
            } else {
                expired += 1;
            }
        }
        self.bytes = self.queue.iter().map(|(_, fragment)| fragment.frame.len()).sum();
        Ok((ready, expired))
    }
}

#[cfg(test)]
mod tests {
    use lb_common::fragment::FragmentKey;

    use super::*;

    fn fragment(datagram: u32, length: usize) -> Fragment {
        Fragment { datagram: FragmentKey::new(&[1, 2], datagram), interface: 1, frame: vec![0; length] }
    }

    fn only(datagram: u32) -> impl Fn(&Fragment) -> Result<bool, ()> {
        move |waiting| Ok(waiting.datagram == fragment(datagram, 0).datagram)
    }

    #[test]
    fn fragments_go_when_their_first_has_come_and_others_wait() {
        let (mut waiting, start) = (Waiting::default(), now());
        for (datagram, length) in [(1, 60), (2, 61), (1, 62)] {
            assert!(waiting.push(fragment(datagram, length), start));
        }
        let (ready, expired) = waiting.sort(start, only(1)).expect("it never fails");
        assert_eq!((ready, expired), (vec![fragment(1, 60), fragment(1, 62)], 0));
        assert_eq!((waiting.queue.len(), waiting.bytes), (1, 61));
        let (ready, expired) = waiting.sort(start + MAX_WAIT, only(1)).expect("it never fails");
        assert_eq!((ready, expired, waiting.bytes), (vec![], 1, 0));
    }

    #[test]
    fn there_is_an_end_to_what_is_held() {
        let (mut waiting, start) = (Waiting::default(), now());
        let held = (0..2000).filter(|n| waiting.push(fragment(*n, 1024), start)).count();
        assert_eq!(held, 1024);
        assert_eq!(waiting.sort(start + MAX_WAIT, only(5000)), Ok((vec![], 1024)));
        assert!(waiting.push(fragment(1, 1024), start));
    }
}
