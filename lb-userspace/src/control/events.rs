//! `/v1/events`: what happens, a JSON object on each line as it happens.
//!
//! Lines rather than server-sent events (`text/event-stream`): every other answer is JSON, lists of connections come as
//! lines too, and `jq` and shells read lines. An empty line now and then says that the daemon is there, and finds out
//! whether the client still is.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use futures_util::stream::try_unfold;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use super::api::EventFilter;
use super::connection::ended;
use super::failure::Failure;
use super::server::Shared;
use crate::state::{Event, Happening};

/// How many events go out together.
const TOGETHER: usize = 64;

/// Somebody who reads.
struct Follower {
    shared: Arc<Shared>,
    /// What is still to be sent.
    pending: VecDeque<Arc<Event>>,
    /// What follows, if that is wanted.
    next: Option<Receiver<Arc<Event>>>,
    stopping: watch::Receiver<bool>,
    /// Of the event that was seen last.
    sequence: u64,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn follow(shared: Arc<Shared>, asked: EventFilter) -> Result<Body, Failure> {
    let place = shared.turns.follower()?;
    let sequence = shared.events.count();
    let (pending, next) = shared.events.follow(asked.last.unwrap_or(0));
    let next = asked.follow.unwrap_or(true).then_some(next);
    let stopping = shared.stopping.clone();
    let follower = Follower { shared, pending: pending.into(), next, stopping, sequence, _place: place };
    Ok(Body::from_stream(try_unfold(follower, |follower| follower.lines())))
}

impl Follower {
    /// The next lines, if any are to come.
    async fn lines(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.pending.is_empty() {
            let Some(next) = &mut self.next else { return Ok(None) };
            let heartbeat = self.shared.limits.heartbeat;
            let received = tokio::select! {
                biased;
                received = timeout(heartbeat, next.recv()) => received,
                // What was reported before is there already.
                () = ended(&mut self.stopping) => return Ok(None),
            };
            match received {
                Err(_) => return Ok(Some((Bytes::from_static(b"\n"), self))),
                Ok(Ok(event)) => self.pending.push_back(event),
                Ok(Err(RecvError::Lagged(events))) => self.lose(events),
                Ok(Err(RecvError::Closed)) => return Ok(None),
            }
        }
        self.gather();
        let mut lines = Vec::new();
        for event in self.pending.drain(..) {
            self.sequence = event.sequence;
            serde_json::to_writer(&mut lines, &*event)?;
            lines.push(b'\n');
        }
        Ok(Some((lines.into(), self)))
    }

    /// Takes in what has come besides.
    fn gather(&mut self) {
        while self.pending.len() < TOGETHER
            && let Some(next) = &mut self.next
        {
            match next.try_recv() {
                Ok(event) => self.pending.push_back(event),
                Err(TryRecvError::Lagged(events)) => self.lose(events),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Tells of events that came too fast.
    fn lose(&mut self, events: u64) {
        let seen = self.pending.back().map_or(self.sequence, |event| event.sequence);
        // The last that was lost.
        let lost = self.shared.events.stamped(seen + events, Happening::Lost { events });
        self.pending.push_back(Arc::new(lost));
    }
}
