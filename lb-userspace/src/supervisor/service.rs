//! What the service manager is told, if one has started the daemon: sd_notify(3).
//!
//! ```text
//!   published ─────────> STATUS=, one line ───────────────┐
//!   reloader ──────────> RELOADING=1, and READY=1 again ──┼─> NOTIFY_SOCKET
//!   reconciler,  <─ask─┐                                  │
//!   control server ────┴─> WATCHDOG=1, if both answer ────┘
//! ```

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;
use serde::de::IgnoredAny;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::control::client::{self, ClientError};
use crate::state::{Input, Published, ServerState};

/// Changes of the status line within this time are told together.
const STATUS_PAUSE: Duration = Duration::from_millis(200);

/// Whoever tells the service manager. Clones speak for the same daemon; without a service manager nothing is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Service(Arc<Mutex<Status>>);

impl Service {
    /// Forwarding has begun.
    pub(super) fn ready(&self, published: &Published) {
        let status = self.change(|status| status.count(published)).1;
        tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// The configuration file is being loaded anew.
    pub(super) fn reloading(&self) {
        // With the time it is also right for `Type=notify-reload`, which tells this reload from the one before by it.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!("read the clock: {error}"),
        }
    }

    /// The configuration file has been loaded anew, or was not because it is refused.
    pub(super) fn reloaded(&self, is_refused: bool) {
        let status = self.change(|status| status.is_file_refused = is_refused).1;
        tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// The daemon ends.
    pub(super) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// Keeps the status line true.
    pub(super) async fn follow(self, mut published: watch::Receiver<Arc<Published>>) {
        while published.changed().await.is_ok() {
            let now = Arc::clone(&published.borrow_and_update());
            let (is_different, status) = self.change(|status| status.count(&now));
            if is_different {
                tell(&[NotifyState::Status(&status)]);
            }
            sleep(STATUS_PAUSE).await;
        }
    }

    /// Whether the line is another one now, and the line.
    fn change(&self, change: impl FnOnce(&mut Status)) -> (bool, String) {
        // A line is whole whatever panicked beside it.
        let mut status = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = status.clone();
        change(&mut status);
        (before != *status, status.to_string())
    }
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(
            "tell the service manager ({}): {error}",
            what.first().map_or_else(String::new, ToString::to_string)
        );
    }
}

/// What `systemctl status` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Status {
    virtual_servers: usize,
    real_servers: usize,
    up: usize,
    /// At the last reload.
    is_file_refused: bool,
}

impl Status {
    fn count(&mut self, published: &Published) {
        let servers = || published.services.iter().flat_map(|service| &service.servers);
        self.virtual_servers = published.services.len();
        self.real_servers = servers().count();
        self.up = servers().filter(|server| server.state == ServerState::Up).count();
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { virtual_servers, real_servers, up, is_file_refused } = self;
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        write!(formatter, "{virtual_servers} virtual server{}, ", plural(*virtual_servers))?;
        write!(formatter, "{up} of {real_servers} real server{} up", plural(*real_servers))?;
        if *is_file_refused {
            formatter.write_str("; the configuration file was not reloaded, see the log")?;
        }
        Ok(())
    }
}

/// Those that have to answer for the daemon to count as alive.
///
/// A timer alone would go on telling that all is well when they are stuck.
#[derive(Debug)]
pub(super) struct Watchdog {
    timeout: Duration,
    inputs: mpsc::Sender<Input>,
    control_socket: PathBuf,
}

impl Watchdog {
    /// One that tells the service manager in time, if it wants to be told (`WatchdogSec=`).
    pub(super) fn if_wanted(inputs: mpsc::Sender<Input>, control_socket: PathBuf) -> Option<Self> {
        let timeout = sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero())?;
        Some(Self { timeout, inputs, control_socket })
    }

    /// Tells that the daemon is alive, as often as sd_watchdog_enabled(3) asks for and as long as it is.
    pub(super) async fn run(self) {
        loop {
            match self.ask().await {
                Ok(()) => tell(&[NotifyState::Watchdog]),
                Err(Silence(who)) => {
                    tracing::error!("{who} does not answer; a watchdog will have lb started again")
                }
            }
            sleep(self.timeout / 2).await;
        }
    }

    /// Asks those that have to answer.
    async fn ask(&self) -> Result<(), Silence> {
        let patience = self.timeout / 4;
        let reconciler = timeout(patience, self.ask_the_reconciler()).await;
        reconciler.ok().flatten().ok_or(Silence("the reconciler"))?;
        let answer = client::get::<IgnoredAny>(&self.control_socket, "/v1/director");
        match timeout(patience, answer).await {
            // Too much to do is an answer: whoever floods the socket does not get the daemon killed.
            Ok(Ok(IgnoredAny) | Err(ClientError::Refused(_))) => Ok(()),
            _ => Err(Silence("the control server")),
        }
    }

    async fn ask_the_reconciler(&self) -> Option<()> {
        let (done, answer) = oneshot::channel();
        self.inputs.send(Input::Answer { done }).await.ok()?;
        answer.await.ok()
    }
}

/// Who did not answer.
#[derive(Debug, PartialEq, Eq)]
struct Silence(&'static str);

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use axum::Router;
    use axum::http::StatusCode;
    use tokio::net::UnixListener;

    use super::*;

    #[test]
    fn the_status_is_a_line_that_people_read() {
        let mut status = Status { virtual_servers: 3, real_servers: 8, up: 7, is_file_refused: false };
        assert_eq!(status.to_string(), "3 virtual servers, 7 of 8 real servers up");
        status = Status { virtual_servers: 1, real_servers: 1, up: 0, is_file_refused: true };
        assert_eq!(
            status.to_string(),
            "1 virtual server, 0 of 1 real server up; the configuration file was not reloaded, see the log"
        );
    }

    fn watchdog(control_socket: &Path) -> (Watchdog, mpsc::Receiver<Input>) {
        let (inputs, received) = mpsc::channel(1);
        let timeout = Duration::from_millis(800);
        (Watchdog { timeout, inputs, control_socket: control_socket.to_owned() }, received)
    }

    async fn reconcile(mut received: mpsc::Receiver<Input>) {
        while let Some(Input::Answer { done }) = received.recv().await {
            let _ = done.send(());
        }
    }

    /// Answers every request with `status`.
    fn serve(socket: &Path, status: StatusCode) -> io::Result<()> {
        let router = Router::new().fallback(move || async move { (status, "{}") });
        let serving = axum::serve(UnixListener::bind(socket)?, router);
        tokio::spawn(serving.into_future());
        Ok(())
    }

    #[tokio::test]
    async fn a_daemon_whose_reconciler_and_server_answer_is_alive() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        for (name, status) in [("idle", StatusCode::OK), ("busy", StatusCode::SERVICE_UNAVAILABLE)] {
            let socket = directory.path().join(name);
            serve(&socket, status)?;
            let (watchdog, received) = watchdog(&socket);
            tokio::spawn(reconcile(received));
            assert_eq!(watchdog.ask().await, Ok(()), "{name}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_stuck_reconciler_is_not_alive_also_with_a_full_queue() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("socket");
        serve(&socket, StatusCode::OK)?;
        let (watchdog, received) = watchdog(&socket);
        for _ in 0..3 {
            assert_eq!(watchdog.ask().await, Err(Silence("the reconciler")));
        }
        drop(received);
        assert_eq!(watchdog.ask().await, Err(Silence("the reconciler")), "nor one that has ended");
        Ok(())
    }

    #[tokio::test]
    async fn a_server_that_accepts_and_says_nothing_is_not_alive() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("socket");
        let _listener = UnixListener::bind(&socket)?;
        let (watchdog, received) = watchdog(&socket);
        tokio::spawn(reconcile(received));
        assert_eq!(watchdog.ask().await, Err(Silence("the control server")));
        Ok(())
    }
}
