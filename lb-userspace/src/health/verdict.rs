//! What the checks say of real servers, for whoever gives them connections.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use lb_common::limits::MAX_WEIGHT;

use super::Check;
use super::fsm::State;
use super::probe::Advice;

/// What a check says of its real server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is known of it.
    pub state: State,
    /// When it came up again after it was down; none if it was not.
    pub up_since: Option<Instant>,
    /// What it wants as its weight.
    pub advice: Option<Advice>,
    /// Why it is down, in words.
    pub reason: Option<Arc<str>>,
}

impl Verdict {
    /// What is said of a real server of which only that is known.
    #[must_use]
    pub fn remembered(state: State) -> Self {
        let reason = (state == State::Down).then(|| "it was when it was last checked".into());
        Self { state, reason, ..Self::default() }
    }

    /// The weight of a real server that is configured to have this one. One that is quiesced by its operator stays so.
    #[must_use]
    pub fn weight(&self, configured: u32) -> u32 {
        let percent = |percent: u8| (u64::from(configured) * u64::from(percent.min(100))).div_ceil(100);
        match self.advice {
            _ if configured == 0 => 0,
            None => configured,
            Some(Advice::Weight(weight)) => weight.min(MAX_WEIGHT),
            Some(Advice::Percent(share)) => u32::try_from(percent(share)).unwrap_or(configured),
        }
    }
}

/// What all checks say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts(HashMap<Check, Verdict>);

impl Verdicts {
    /// What a check says; unknown if it has not said anything.
    #[must_use]
    pub fn of(&self, check: &Check) -> Verdict {
        self.0.get(check).cloned().unwrap_or_default()
    }

    /// Takes what a check says now.
    pub fn put(&mut self, check: Check, verdict: Verdict) {
        self.0.insert(check, verdict);
    }

    /// Forgets checks that are configured no more. Of one that took the place of another, that is known for now which
    /// was known of the other: a real server is not up because its interval was changed.
    pub fn keep(&mut self, configured: &HashSet<Check>) {
        let replaced = replaced(configured, self.0.keys());
        let inherited: Vec<(Check, Verdict)> =
            replaced.into_iter().map(|(new, old)| (new.clone(), self.of(old))).collect();
        self.0.retain(|check, _| configured.contains(check));
        self.0.extend(inherited);
    }
}

/// Checks that are new among those that are configured, each with the one whose place it takes: of the same real server,
/// by the same way. One that asks the same, or else one that is not configured any more, if there is no doubt which.
pub(super) fn replaced<'a>(
    configured: &'a HashSet<Check>,
    known: impl Iterator<Item = &'a Check>,
) -> Vec<(&'a Check, &'a Check)> {
    let (mut kept, mut by_server) = (HashSet::new(), HashMap::<_, Vec<&Check>>::new());
    for check in known {
        by_server.entry((check.server, check.vip)).or_default().push(check);
        if configured.contains(check) {
            kept.insert(check);
        }
    }
    let before = |new: &Check| {
        let all = by_server.get(&(new.server, new.vip))?;
        let gone = || all.iter().copied().filter(|old| !kept.contains(old));
        let asks_the_same = |old: &&Check| old.definition.probe == new.definition.probe;
        let only = || gone().next().filter(|_| gone().nth(1).is_none());
        let same = gone().find(asks_the_same).or_else(|| all.iter().copied().find(asks_the_same));
        same.or_else(only)
    };
    let new = configured.iter().filter(|check| !kept.contains(check));
    new.filter_map(|check| Some((check, before(check)?))).collect()
}
