//! What checks have found so far, for those who look; and who wants one to be done at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};

use super::Check;
use super::fsm::State;
use super::probe::{Answer, Failure};

/// All checks that run. A clone is the same board.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<RwLock<HashMap<Check, Arc<Entry>>>>);

/// A check that runs.
#[derive(Debug)]
pub struct Entry {
    seen: Mutex<Seen>,
    /// How many probes have begun.
    begun: AtomicU64,
    /// How many of them have ended.
    ended: watch::Sender<u64>,
    /// Has the next probe begin.
    pub(super) now: Notify,
}

/// What is known of a check.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What is known of the real server.
    pub state: State,
    /// Since when.
    pub since: SystemTime,
    /// Until when it is down because it flipped too often.
    pub held_until: Option<SystemTime>,
    /// How many probes in a row ended as the last did.
    pub in_a_row: u32,
    /// The last probe, if there was one.
    pub last: Option<Probed>,
}

/// A probe that has ended.
#[derive(Clone, Debug)]
pub struct Probed {
    /// When it began.
    pub began: SystemTime,
    /// How much later that was than it should have been.
    pub late: Duration,
    /// How long it took.
    pub took: Duration,
    /// What it found.
    pub result: Result<Answer, Failure>,
}

impl Entry {
    /// A check of which this is known.
    #[must_use]
    pub fn new(state: State, since: SystemTime) -> Self {
        let seen = Seen { state, since, held_until: None, in_a_row: 0, last: None };
        Self {
            seen: Mutex::new(seen),
            begun: AtomicU64::new(0),
            ended: watch::Sender::new(0),
            now: Notify::new(),
        }
    }

    /// What is known.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is known of the real server.
    #[must_use]
    pub fn state(&self) -> State {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).state
    }

    /// Records what a probe that has ended changes.
    pub(super) fn record(&self, record: impl FnOnce(&mut Seen)) {
        record(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        self.ended.send_modify(|count| *count = count.saturating_add(1));
    }

    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Has a probe begin at once, and waits until one that began after this call has ended.
    pub async fn check_now(&self) {
        let mut ended = self.ended.subscribe();
        let wanted = self.begun.load(Ordering::Relaxed) + 1;
        self.now.notify_one();
        // More than any number if the check itself ends.
        let _ = ended.wait_for(|count| *count >= wanted).await;
    }
}

impl Board {
    /// A check, if it runs.
    #[must_use]
    pub fn get(&self, check: &Check) -> Option<Arc<Entry>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(check).cloned()
    }

    /// All checks.
    #[must_use]
    pub fn all(&self) -> Vec<(Check, Arc<Entry>)> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|(check, entry)| (check.clone(), Arc::clone(entry))).collect()
    }

    pub(super) fn put(&self, check: Check, entry: Arc<Entry>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(check, entry);
    }

    pub(super) fn remove(&self, check: &Check) {
        let removed = self.0.write().unwrap_or_else(PoisonError::into_inner).remove(check);
        if let Some(entry) = removed {
            // Whoever waits for its next probe waits no more.
            entry.ended.send_replace(u64::MAX);
        }
    }
}
