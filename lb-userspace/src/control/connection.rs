//! Connections to the control socket, or to `director.http`: how many, and for how long.
//!
//! ```text
//!   accept ──> room? ──> header ──> body ──> handler ──> answer ──> closed
//!                │         └─ within a time ─┘              └─ something of it within a time
//!                └ none: whoever keeps the daemon waiting longest gives way
//! ```
//!
//! A connection serves one request: then it is either the daemon that is awaited, or the client, and a connection of
//! which the client is awaited can be closed without losing anybody's work.

use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::limits::Limits;

/// What a connection's reads take at a time; a header must fit.
const BUFFER: usize = 16 << 10;
/// How long accepting pauses when the system has no more file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Where clients connect to.
pub(super) trait Listen: 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// What it is called in the log.
    const NAME: &'static str;

    /// The address that a client asks from, if it has one.
    fn client(stream: &Self::Stream) -> Option<IpAddr>;

    /// The next client.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listen for UnixListener {
    type Stream = UnixStream;
    const NAME: &'static str = "the control socket";

    fn client(_: &UnixStream) -> Option<IpAddr> {
        None
    }

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

impl Listen for TcpListener {
    type Stream = TcpStream;
    const NAME: &'static str = "director.http";

    fn client(stream: &TcpStream) -> Option<IpAddr> {
        stream.peer_addr().ok().map(|address| address.ip().to_canonical())
    }

    async fn next(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

/// Who it is with, and who is awaited.
#[derive(Debug)]
pub(super) struct Standing {
    /// The client's address, if it has one.
    pub(super) client: Option<IpAddr>,
    /// Since when the client keeps the daemon waiting, if it does.
    awaited: Mutex<Option<Instant>>,
}

impl Standing {
    fn new(client: Option<IpAddr>) -> Self {
        Self { client, awaited: Mutex::new(Some(now())) }
    }

    /// The client has to send or to take something.
    pub(super) fn is_awaited(&self) {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(now);
    }

    /// It is the daemon's turn.
    pub(super) fn is_served(&self) {
        *self.awaited.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn since(&self) -> Option<Instant> {
        *self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those that there are.
struct Connections {
    limits: Limits,
    tasks: JoinSet<()>,
    standings: Vec<(AbortHandle, Arc<Standing>)>,
}

/// Serves whoever connects until `stopping` becomes true, and then those who are connected.
pub(super) async fn serve<L: Listen>(
    listener: L,
    router: Router,
    limits: Limits,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connections = Connections { limits, tasks: JoinSet::new(), standings: Vec::new() };
    // One that there is no room for.
    let mut next: Option<L::Stream> = None;
    loop {
        let give_way = connections.give_way();
        tokio::select! {
            () = ended(&mut stopping) => break,
            Some(_) = connections.tasks.join_next() => {
                connections.standings.retain(|(task, _)| !task.is_finished());
            }
            accepted = listener.next(), if next.is_none() => match accepted {
                Ok(stream) => next = Some(stream),
                Err(error) => {
                    tracing::warn!("accept a connection to {}: {error}", L::NAME);
                    sleep(PAUSE).await;
                }
            },
            () = sleep_until(give_way), if next.is_some() => {
                connections.close_longest_awaited();
            }
        }
        if connections.tasks.len() < limits.connections
            && let Some(stream) = next.take()
        {
            connections.begin::<L>(stream, router.clone(), stopping.clone());
        }
    }
    drop(listener);
    while connections.tasks.join_next().await.is_some() {}
}

/// Waits until the daemon ends.
pub(super) async fn ended(stopping: &mut watch::Receiver<bool>) {
    // Without a sender it has ended.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

impl Connections {
    fn begin<L: Listen>(&mut self, stream: L::Stream, router: Router, stopping: watch::Receiver<bool>) {
        let standing = Arc::new(Standing::new(L::client(&stream)));
        let stream = Patient::new(stream, Arc::clone(&standing), self.limits.write);
        let serving = one::<L>(stream, router, Arc::clone(&standing), self.limits.header, stopping);
        self.standings.push((self.tasks.spawn(serving), standing));
    }

    /// When the one that has been awaited longest may be closed.
    fn give_way(&self) -> Instant {
        let since = self.standings.iter().filter_map(|(_, standing)| standing.since()).min();
        // One that begins to be awaited meanwhile is not closed before that either.
        since.unwrap_or_else(now) + self.limits.grace
    }

    fn close_longest_awaited(&mut self) {
        let awaited = self.standings.iter().filter(|(task, _)| !task.is_finished());
        let awaited = awaited.filter_map(|(task, standing)| Some((standing.since()?, task, standing)));
        let longest = awaited.min_by_key(|(since, ..)| *since);
        if let Some((since, task, standing)) = longest
            && since + self.limits.grace <= now()
        {
            task.abort();
            // It is as good as closed.
            standing.is_served();
        }
    }
}

/// Serves one connection.
async fn one<L: Listen>(
    stream: Patient<L::Stream>,
    router: Router,
    standing: Arc<Standing>,
    header: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let answer = service_fn(move |mut request: Request<Incoming>| {
        standing.is_served();
        request.extensions_mut().insert(Arc::clone(&standing));
        TowerToHyperService::new(router.clone()).call(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(header).keep_alive(false).max_buf_size(BUFFER);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), answer));
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = ended(&mut stopping) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!("a client of {}: {error}", L::NAME);
    }
}

/// A stream whose other end has to take something of what is written within some time.
struct Patient<S> {
    stream: S,
    standing: Arc<Standing>,
    patience: Duration,
    /// When patience ends, while something cannot be written.
    end: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    fn new(stream: S, standing: Arc<Standing>, patience: Duration) -> Self {
        Self { stream, standing, patience, end: None }
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.end.take().is_some() {
                self.standing.is_served();
            }
            return written;
        }
        let end = self.end.get_or_insert_with(|| {
            self.standing.is_awaited();
            Box::pin(sleep(self.patience))
        });
        ready!(end.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is who drives connections")]
fn now() -> Instant {
    Instant::now()
}
