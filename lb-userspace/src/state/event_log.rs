//! What happened last, and whoever wants to know what happens next.
//!
//! Nobody who reports waits for anybody who reads: a reader that is too slow loses events, and learns how many.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::broadcast;

use super::event::{Event, Happening};

/// How many events are remembered.
const REMEMBERED: usize = 256;
/// By how many events a reader may be late.
const LATENESS: usize = 1024;
/// How much of a reason is remembered, in characters.
const REASON: usize = 2000;

/// The log. A clone is the same log.
#[derive(Clone, Debug)]
pub struct EventLog {
    clock: fn() -> SystemTime,
    recorded: Arc<Mutex<Recorded>>,
}

#[derive(Debug)]
struct Recorded {
    count: u64,
    last: VecDeque<Arc<Event>>,
    readers: broadcast::Sender<Arc<Event>>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self::new(now)
    }
}

impl EventLog {
    /// An empty log that asks this clock.
    #[must_use]
    pub fn new(clock: fn() -> SystemTime) -> Self {
        let readers = broadcast::Sender::new(LATENESS);
        let recorded = Recorded { count: 0, last: VecDeque::new(), readers };
        Self { clock, recorded: Arc::new(Mutex::new(recorded)) }
    }

    /// Records what has just happened.
    pub fn report(&self, happening: Happening) {
        let happening = match happening {
            Happening::ReloadRefused { reason } => {
                Happening::ReloadRefused { reason: reason.chars().take(REASON).collect() }
            }
            other => other,
        };
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.count += 1;
        let event = Arc::new(self.stamped(recorded.count, happening));
        if recorded.last.len() == REMEMBERED {
            recorded.last.pop_front();
        }
        recorded.last.push_back(Arc::clone(&event));
        // There may be no readers.
        let _ = recorded.readers.send(event);
    }

    /// An event of this moment that is nobody's but the reader's.
    #[must_use]
    pub fn stamped(&self, sequence: u64, happening: Happening) -> Event {
        let time = humantime::format_rfc3339_millis((self.clock)()).to_string();
        Event { sequence, time, happening }
    }

    /// How many events there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// The last events, as many of them as are remembered and no more than this, and all that follow.
    #[must_use]
    pub fn follow(&self, last: usize) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let before = recorded.last.len().saturating_sub(last);
        (recorded.last.iter().skip(before).cloned().collect(), recorded.readers.subscribe())
    }
}

#[expect(clippy::disallowed_methods, reason = "what is reported is stamped with the time")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;

    fn log() -> EventLog {
        EventLog::new(|| SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn events_are_counted_and_stamped_and_the_last_are_remembered() {
        let log = log();
        for _ in 0..300 {
            log.report(Happening::MapsMended);
        }
        let (last, mut next) = log.follow(2);
        assert_eq!(last.iter().map(|event| event.sequence).collect::<Vec<_>>(), [299, 300]);
        assert_eq!(last[0].time, "1970-01-01T00:00:00.000Z");
        assert_eq!(log.follow(usize::MAX).0.len(), REMEMBERED);
        assert_eq!(next.try_recv(), Err(TryRecvError::Empty), "what was before does not come again");
        log.report(Happening::ReloadConfirmed);
        assert_eq!(next.try_recv().expect("it came").sequence, 301);
    }

    /// Whoever does not read costs the daemon neither time nor memory.
    #[test]
    fn a_reader_that_is_too_slow_loses_events_and_learns_how_many() {
        let log = log();
        let (_, mut slow) = log.follow(0);
        for _ in 0..LATENESS + 10 {
            log.report(Happening::MapsMended);
        }
        assert_eq!(slow.try_recv(), Err(TryRecvError::Lagged(10)));
        assert_eq!(slow.try_recv().expect("the rest is there").sequence, 11);
    }

    #[test]
    fn a_long_reason_is_cut() {
        let log = log();
        log.report(Happening::ReloadRefused { reason: "ä".repeat(1 << 20) });
        let (last, _) = log.follow(1);
        let Happening::ReloadRefused { reason } = &last[0].happening else { panic!("{last:?}") };
        assert_eq!(reason.chars().count(), REASON);
    }
}
