//! `/v1/live`: everything that there is to see, again and again, and what happens, as it happens, as server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>): that is what a browser follows by itself.
//!
//! ```text
//!   every 2 s, or when something is done ─> snapshot ─ made once ─> watch ──┐
//!   event log ──────────────────────────────────────────────────────────────┴─> each listener
//! ```
//!
//! A snapshot is made only while somebody listens. A listener that takes its time gets the newest one when it is ready
//! for another; none is kept for it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use futures_util::stream::try_unfold;
use lb_common::counter::{Kind, Reason};
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::{sleep, timeout};

use super::api;
use super::connection::ended;
use super::director::{director, virtual_servers};
use super::failure::Failure;
use super::health::time;
use super::rates::PERIOD;
use super::server::Shared;
use super::sync::sync;
use super::vrrp::vrrp;
use crate::state::{Event, Happening};

/// What happens within this time is shown together.
const SETTLE: Duration = Duration::from_millis(250);
/// How soon a browser asks again whose connection has ended, in milliseconds.
const RETRY: &str = "retry: 2000\n\n";

/// The newest snapshot, for all who listen.
#[derive(Debug)]
pub(super) struct Live {
    newest: watch::Sender<Option<Bytes>>,
    arrived: Notify,
}

impl Default for Live {
    fn default() -> Self {
        Self { newest: watch::Sender::new(None), arrived: Notify::new() }
    }
}

/// Makes snapshots as long as somebody listens, and waits until somebody does. Never ends.
pub(super) async fn make(shared: &Arc<Shared>) {
    let mut published = shared.published.clone();
    let live = &shared.live;
    loop {
        if live.newest.receiver_count() == 0 {
            // Or the next listener would be shown what was.
            live.newest.send_replace(None);
            live.arrived.notified().await;
        }
        published.mark_unchanged();
        match overview(shared).await {
            Ok(overview) => _ = live.newest.send_replace(Some(framed("snapshot", &overview))),
            Err(failure) => tracing::debug!("a snapshot for the status page: {failure}"),
        }
        tokio::select! {
            () = sleep(PERIOD) => {}
            Ok(()) = published.changed() => sleep(SETTLE).await,
        }
    }
}

async fn overview(shared: &Arc<Shared>) -> Result<api::Overview, Failure> {
    let director = director(Arc::clone(shared)).await?;
    let counted = |reason: &Reason| api::Counted {
        name: reason.name().to_owned(),
        kind: match reason.kind() {
            Kind::Pass => api::CountedKind::Pass,
            Kind::Drop => api::CountedKind::Drop,
            Kind::Event => api::CountedKind::Event,
        },
        description: reason.description().to_owned(),
        count: director.counters.get(reason.name()).copied().unwrap_or(0),
    };
    let reasons = Reason::ALL.iter().map(counted).collect();
    Ok(api::Overview {
        time: time(now()),
        admin: shared.is_administered(),
        reasons,
        virtual_servers: virtual_servers(Arc::clone(shared), api::ListOptions::default())
            .await?
            .virtual_servers,
        vrrp: vrrp(Arc::clone(shared)).await?.instances,
        sync: sync(Arc::clone(shared)).await?,
        director,
    })
}

/// One event of the stream. JSON has no line breaks, so it is one line of data.
fn framed(name: &str, data: &impl Serialize) -> Bytes {
    let mut text = format!("event: {name}\ndata: ").into_bytes();
    // Nothing that is sent has what JSON has not.
    if let Err(error) = serde_json::to_writer(&mut text, data) {
        tracing::error!("write {name} as JSON: {error}");
        return Bytes::new();
    }
    text.extend_from_slice(b"\n\n");
    text.into()
}

/// Snapshots, and what happens.
type Following = (watch::Receiver<Option<Bytes>>, Receiver<Arc<Event>>);

/// Somebody who listens.
struct Listener {
    shared: Arc<Shared>,
    /// What is still to be sent.
    pending: VecDeque<Bytes>,
    /// What follows, if that is wanted.
    next: Option<Following>,
    stopping: watch::Receiver<bool>,
    /// Of the event that was seen last.
    sequence: u64,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn listen(shared: Arc<Shared>, asked: api::EventFilter) -> Result<Body, Failure> {
    let place = shared.turns.listener()?;
    let sequence = shared.events.count();
    let (last, events) = shared.events.follow(asked.last.unwrap_or(0));
    let mut pending = VecDeque::from([Bytes::from_static(RETRY.as_bytes())]);
    let next = if asked.follow.unwrap_or(true) {
        let mut snapshots = shared.live.newest.subscribe();
        snapshots.mark_changed();
        shared.live.arrived.notify_one();
        Some((snapshots, events))
    } else {
        pending.push_back(framed("snapshot", &overview(&shared).await?));
        None
    };
    pending.extend(last.iter().map(|event| framed("happened", &**event)));
    let stopping = shared.stopping.clone();
    let listener = Listener { shared, pending, next, stopping, sequence, _place: place };
    Ok(Body::from_stream(try_unfold(listener, |listener| listener.events())))
}

impl Listener {
    /// The next events of the stream, if any are to come.
    async fn events(mut self) -> io::Result<Option<(Bytes, Self)>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some((event, self)));
            }
            let Some((snapshots, events)) = &mut self.next else { return Ok(None) };
            let heartbeat = self.shared.limits.heartbeat;
            let either = async {
                tokio::select! {
                    biased;
                    event = events.recv() => Either::Event(event),
                    changed = snapshots.changed() => Either::Snapshot(changed.is_ok()),
                }
            };
            let next = tokio::select! {
                biased;
                next = timeout(heartbeat, either) => next,
                () = ended(&mut self.stopping) => return Ok(None),
            };
            match next {
                // A comment: it finds out whether the listener is still there.
                Err(_) => self.pending.push_back(Bytes::from_static(b":\n\n")),
                Ok(Either::Event(Ok(event))) => {
                    self.sequence = event.sequence;
                    self.pending.push_back(framed("happened", &*event));
                }
                Ok(Either::Event(Err(RecvError::Lagged(events)))) => {
                    self.sequence += events;
                    let lost = self.shared.events.stamped(self.sequence, Happening::Lost { events });
                    self.pending.push_back(framed("happened", &lost));
                }
                Ok(Either::Snapshot(true)) => self.pending.extend(snapshots.borrow_and_update().clone()),
                Ok(Either::Event(Err(RecvError::Closed)) | Either::Snapshot(false)) => return Ok(None),
            }
        }
    }
}

enum Either {
    Event(Result<Arc<Event>, RecvError>),
    /// Whether there is another.
    Snapshot(bool),
}

#[expect(clippy::disallowed_methods, reason = "a snapshot says when it was made")]
fn now() -> SystemTime {
    SystemTime::now()
}
