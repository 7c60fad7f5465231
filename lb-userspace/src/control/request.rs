//! What comes with a request: so many bytes, within so much time, and each kind in its turn.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::connection::Standing;
use super::failure::Failure;
use super::limits::Limits;

/// How many bytes a body may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Small,
    Large,
}

/// Who may do something now, of those that may do it only so many at a time.
#[derive(Debug)]
pub(super) struct Turns {
    large_bodies: Arc<Semaphore>,
    changes: Arc<Semaphore>,
    readings: Arc<Semaphore>,
    followers: Arc<Semaphore>,
    listeners: Arc<Semaphore>,
    secrets: Arc<Semaphore>,
}

impl Turns {
    pub(super) fn new(limits: &Limits) -> Self {
        let of = |count| Arc::new(Semaphore::new(count));
        Self {
            large_bodies: of(limits.large_bodies),
            changes: of(limits.changes),
            readings: of(limits.readings),
            followers: of(limits.followers),
            listeners: of(limits.listeners),
            secrets: of(1),
        }
    }

    /// The right to change something.
    pub(super) async fn change(&self, limits: &Limits) -> Result<OwnedSemaphorePermit, Failure> {
        turn(&self.changes, limits.turn).await
    }

    /// The right to read many records.
    pub(super) async fn reading(&self, limits: &Limits) -> Result<OwnedSemaphorePermit, Failure> {
        turn(&self.readings, limits.turn).await
    }

    /// The right to read what administrators know, one at a time, within so long.
    pub(super) async fn secret(&self, patience: Duration) -> Result<OwnedSemaphorePermit, Failure> {
        turn(&self.secrets, patience).await
    }

    /// The right to follow events; nobody waits for those who may follow for days.
    pub(super) fn follower(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.followers).try_acquire_owned().map_err(|_| Failure::busy())
    }

    /// The right to be shown everything again and again, likewise.
    pub(super) fn listener(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.listeners).try_acquire_owned().map_err(|_| Failure::busy())
    }
}

async fn turn(turns: &Arc<Semaphore>, patience: Duration) -> Result<OwnedSemaphorePermit, Failure> {
    let turn = timeout(patience, Arc::clone(turns).acquire_owned()).await;
    turn.map_err(|_| Failure::busy())?.map_err(|_| Failure::stopping())
}

/// What was sent, and the right to have sent so much.
pub(super) struct Sent<Q> {
    pub(super) asked: Q,
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// Reads the JSON that came with a request.
pub(super) async fn read<Q: DeserializeOwned + Send + 'static>(
    request: Request,
    size: Size,
    turns: &Turns,
    limits: &Limits,
) -> Result<Sent<Q>, Failure> {
    if !is_json(request.headers()) {
        return Err(Failure::not_json());
    }
    let standing = request.extensions().get::<Arc<Standing>>().cloned();
    if let Some(standing) = &standing {
        standing.is_awaited();
    }
    let collected = timeout(limits.body, collect(request, size, turns, limits)).await;
    let (bytes, permit) = collected.map_err(|_| Failure::too_slow(limits.body))??;
    if let Some(standing) = &standing {
        standing.is_served();
    }
    // A large one takes a moment, in which others are answered.
    let read = move || Json::from_bytes(&bytes);
    let read = match &permit {
        Some(_) => spawn_blocking(read).await.map_err(|_| Failure::stopping())?,
        None => read(),
    };
    let Json(asked) = read?;
    Ok(Sent { asked, permit })
}

/// What a browser sends without asking for leave first is of other types.
fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/json")
}

async fn collect(
    request: Request,
    size: Size,
    turns: &Turns,
    limits: &Limits,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Failure> {
    let most = match size {
        Size::Small => limits.small_body,
        Size::Large => limits.large_body,
    };
    let announced = request.headers().get(CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok()).unwrap_or(0);
    if announced > most {
        return Err(Failure::too_large(most));
    }
    let mut permit = None;
    let mut bytes = Vec::new();
    let mut body: Body = request.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::bad_request(format!("read the body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > most {
            return Err(Failure::too_large(most));
        }
        if permit.is_none() && bytes.len() + data.len() > limits.small_body {
            permit = Some(turn(&turns.large_bodies, limits.turn).await?);
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.into(), permit))
}
