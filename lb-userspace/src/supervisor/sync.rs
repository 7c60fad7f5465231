//! Connection synchronisation in the daemon: what is wanted of it, and the thread that does it.

use futures_util::FutureExt as _;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::RunError;
use crate::config::Config;
use crate::dataplane::{FlowEvents, FlowTable};
use crate::net::Netlink;
use crate::state::Followed;
use crate::sync::{Board, Key, SyncPhase, Wanted};

/// What synchronisation needs.
pub(super) struct Sync {
    pub(super) netlink: Netlink,
    pub(super) configs: watch::Receiver<Followed>,
    pub(super) events: FlowEvents,
    pub(super) table: FlowTable,
    pub(super) board: Board,
}

impl Sync {
    /// Starts the tasks. What is done is on the board.
    ///
    /// The answer is how far this director is: `Off` if it shares no connections; `Joining` until it knows those of
    /// another director, nobody has answered for three seconds, or ten have passed; then `Joined`. Whoever holds VRRP's
    /// priority down waits until it is not `Joining`, for ten seconds at most. It is `Joining` from the beginning if
    /// synchronisation is configured, and again when a reload changes how.
    pub(super) fn start(
        self,
        tasks: &mut JoinSet<&'static str>,
    ) -> Result<watch::Receiver<SyncPhase>, RunError> {
        let Self { netlink, configs, events, table, board } = self;
        let is_wanted = configs.borrow().config().sync.is_some();
        let (phase, phases) = watch::channel(if is_wanted { SyncPhase::Joining } else { SyncPhase::Off });
        let (wanted, wanted_receiver) = watch::channel(None);
        // Nothing is done before it is known what.
        let (first, first_known) = oneshot::channel();
        tasks.spawn(
            want(netlink, configs, wanted, board.clone(), first).map(|()| "choice of synchronisation"),
        );
        let started = |error| RunError::Os("start the thread of synchronisation", error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(started)?;
        let (ended, end) = oneshot::channel::<()>();
        let run = move || {
            runtime.block_on(async {
                if first_known.await.is_ok() {
                    crate::sync::run(wanted_receiver, events, table, board, phase).await;
                }
            });
            drop(ended);
        };
        std::thread::Builder::new().name("sync".to_owned()).spawn(run).map_err(started)?;
        tasks.spawn(end.map(|_| "connection synchronisation"));
        Ok(phases)
    }
}

/// Keeps `wanted` what is configured. The key file is read again whenever something is: a new key takes a reload.
async fn want(
    netlink: Netlink,
    mut configs: watch::Receiver<Followed>,
    wanted: watch::Sender<Option<Wanted>>,
    board: Board,
    first: oneshot::Sender<()>,
) {
    let mut first = Some(first);
    loop {
        let config = std::sync::Arc::clone(configs.borrow_and_update().config());
        match find(&config, &netlink).await {
            Ok(found) => {
                board.set_problem(None);
                wanted.send_if_modified(|before| {
                    let is_new = *before != found;
                    *before = found;
                    is_new
                });
            }
            // What was shared before is shared as it was.
            Err(problem) => {
                tracing::error!("share connections with other directors: {problem}");
                board.set_problem(Some(problem));
            }
        }
        if let Some(first) = first.take() {
            let _ = first.send(());
        }
        if configs.changed().await.is_err() {
            return;
        }
    }
}

async fn find(config: &Config, netlink: &Netlink) -> Result<Option<Wanted>, String> {
    let Some(settings) = config.sync.clone() else { return Ok(None) };
    let key = Key::read(&settings.key_file).map_err(|error| error.to_string())?;
    let links = netlink.links().await.map_err(|error| error.to_string())?;
    let link = links.iter().find(|link| link.name == settings.interface.value);
    let interface = link.map(|link| link.index).ok_or_else(|| {
        format!(
            "there is no interface {:?}: set sync.interface to one that there is",
            settings.interface.value
        )
    })?;
    Ok(Some(Wanted { settings, key, interface }))
}
