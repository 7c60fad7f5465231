//! The tasks that probe: one for each check.
//!
//! ```text
//!   wanted checks ──> prober ──starts, ends──> task: probe, machine, board
//!                                                │
//!                                    (Check, Verdict), when one is new ──> whoever gives connections
//! ```
//!
//! Tasks wait for nobody but who takes verdicts. A probe that takes long delays no other: each has its own task, and
//! its own sockets.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::Check;
use super::board::{Board, Entry, Probed};
use super::fsm::{Machine, Rules, State, Transition};
use super::memory::Memory;
use super::path::Path;
use super::probe::{Answer, Failure, Limits, probe};
use super::verdict::{Verdict, replaced};

/// Between the first probes of checks that begin together: 5,000 take a second.
const STAGGER: Duration = Duration::from_micros(200);
/// A probe begins earlier than its interval says by up to this part of it, or those that began together, as after a
/// time in which this machine did nothing, would do so for good.
const JITTER: f64 = 0.05;

/// How probes of a check get to its real server.
pub type FindPath = Arc<dyn Fn(&Check) -> Path + Send + Sync>;

/// Whoever starts and ends checks.
pub struct Prober {
    wanted: watch::Receiver<Arc<HashSet<Check>>>,
    find_path: FindPath,
    board: Board,
    verdicts: mpsc::Sender<(Check, Verdict)>,
    /// What an earlier daemon knew.
    memory: Memory,
    running: HashMap<Check, AbortHandle>,
    tasks: JoinSet<()>,
}

impl Prober {
    /// A prober of the checks that are wanted, which says what they found on a board, and what is new by verdicts.
    #[must_use]
    pub fn new(
        wanted: watch::Receiver<Arc<HashSet<Check>>>,
        find_path: FindPath,
        board: Board,
        verdicts: mpsc::Sender<(Check, Verdict)>,
        memory: Memory,
    ) -> Self {
        let (running, tasks) = (HashMap::new(), JoinSet::new());
        Self { wanted, find_path, board, verdicts, memory, running, tasks }
    }

    /// Runs until nobody wants anything any more.
    pub async fn run(mut self) {
        self.follow();
        loop {
            tokio::select! {
                changed = self.wanted.changed() => match changed {
                    Ok(()) => self.follow(),
                    Err(_) => return,
                },
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!("a health check ended unexpectedly; this is a bug in lb: {error}");
                    }
                }
            }
        }
    }

    fn follow(&mut self) {
        let wanted = Arc::clone(&self.wanted.borrow_and_update());
        let replaced: HashMap<&Check, (State, SystemTime)> = replaced(&wanted, self.running.keys())
            .into_iter()
            .filter_map(|(new, old)| {
                let seen = self.board.get(old)?.seen();
                Some((new, (seen.state, seen.since)))
            })
            .collect();
        let new: Vec<&Check> = wanted.iter().filter(|check| !self.running.contains_key(check)).collect();
        let begin: Vec<(Check, (State, SystemTime))> = new
            .into_iter()
            .map(|check| {
                let known = replaced.get(check).copied().or_else(|| self.memory.take(check));
                (check.clone(), known.unwrap_or_else(|| (State::Unknown, wall_clock())))
            })
            .collect();
        let board = &self.board;
        self.running.retain(|check, task| {
            let is_wanted = wanted.contains(check);
            if !is_wanted {
                task.abort();
                board.remove(check);
            }
            is_wanted
        });
        for ((check, (state, since)), place) in begin.into_iter().zip(0..) {
            let entry = Arc::new(Entry::new(state, since));
            self.board.put(check.clone(), Arc::clone(&entry));
            let task = Task {
                path: (self.find_path)(&check),
                check: check.clone(),
                entry,
                verdicts: self.verdicts.clone(),
                machine: Machine::new(Rules::from(&*check.definition), state),
                verdict: Verdict::remembered(state),
                is_unknowing: false,
            };
            let first = now() + STAGGER * place;
            self.running.insert(check, self.tasks.spawn(task.run(first)));
        }
    }
}

/// One check.
struct Task {
    check: Check,
    path: Path,
    entry: Arc<Entry>,
    verdicts: mpsc::Sender<(Check, Verdict)>,
    machine: Machine,
    /// What was said last.
    verdict: Verdict,
    /// Whether the last probe failed for a reason that has nothing to do with the real server.
    is_unknowing: bool,
}

impl Task {
    /// Probes from `next` on, until nobody takes verdicts any more.
    async fn run(mut self, mut next: Instant) {
        if self.verdict.state != State::Unknown && !self.say().await {
            return;
        }
        let definition = self.check.definition.clone();
        let limits = Limits { timeout: definition.timeout, connect_timeout: definition.connect_timeout };
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                () = self.entry.now.notified() => next = now(),
            }
            self.entry.begin();
            let (began, began_at) = (now(), wall_clock());
            let result = probe(&definition.probe, &self.path, limits).await;
            let ended = now();
            let probed = Probed {
                began: began_at,
                late: began.saturating_duration_since(next),
                took: ended.saturating_duration_since(began),
                result,
            };
            if self.decide(probed, ended) && !self.say().await {
                return;
            }
            let is_early = self.is_unknowing || self.machine.is_retrying();
            let pause = if is_early { definition.retry_delay } else { definition.interval };
            // One that took longer than that is followed at once.
            next = (began + pause.mul_f64(1.0 - JITTER * random())).max(ended);
        }
    }

    /// Takes what a probe found. Whether there is something new to say.
    fn decide(&mut self, probed: Probed, now: Instant) -> bool {
        let unknowing = probed.result.as_ref().err().filter(|failure| failure.is_local());
        let knew = !std::mem::replace(&mut self.is_unknowing, unknowing.is_some());
        if let Some(failure) = unknowing {
            // Else a director that lost its route or its descriptors would take all real servers out of service.
            if knew {
                let server = self.check.server;
                tracing::warn!(
                    "{} of {server} cannot be done: {failure}; {server} counts as before",
                    self.check
                );
            }
            self.entry.record(|seen| {
                seen.in_a_row = 0;
                seen.last = Some(probed);
            });
            return false;
        }
        let was_down = self.machine.state() == State::Down;
        let transition = self.machine.observe(probed.result.is_ok(), now);
        let (state, in_a_row) = (self.machine.state(), self.machine.in_a_row());
        let held_for = self.machine.held_until().map(|until| until.saturating_duration_since(now));
        let mut verdict = Verdict { state, ..self.verdict.clone() };
        match &probed.result {
            // What was said of the weight counts until something else is, or nothing is any more.
            Ok(Answer { advice, .. }) => verdict.advice = *advice,
            Err(failure) if transition == Some(Transition::Down) => {
                verdict.reason = Some(reason(failure, in_a_row).into());
            }
            Err(_) => {}
        }
        match transition {
            Some(Transition::Up) => {
                verdict.reason = None;
                verdict.up_since = was_down.then_some(now);
            }
            Some(Transition::Held) => {
                let hold = humantime::format_duration(held_for.unwrap_or_default());
                verdict.reason = Some(format!("it flips too often, and is down for {hold}").into());
            }
            Some(Transition::Down) | None => {}
        }
        let at = probed.began + probed.took;
        self.entry.record(|seen| {
            if transition.is_some() {
                (seen.state, seen.since) = (state, at);
            }
            seen.held_until = held_for.map(|left| at + left);
            seen.in_a_row = in_a_row;
            seen.last = Some(probed);
        });
        let is_new = verdict != self.verdict;
        self.verdict = verdict;
        is_new
    }

    /// Says what is known. Whether somebody takes it.
    async fn say(&self) -> bool {
        self.verdicts.send((self.check.clone(), self.verdict.clone())).await.is_ok()
    }
}

fn reason(failure: &Failure, in_a_row: u32) -> String {
    match in_a_row {
        1 => failure.to_string(),
        times => format!("{failure} ({times} times in a row)"),
    }
}

/// From 0 to 1.
fn random() -> f64 {
    // Nobody guesses anything from these, so without the system's they may all be the same.
    f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX)
}

#[expect(clippy::disallowed_methods, reason = "a prober reads the clock for the machines it drives")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "what is shown has dates")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests;
