//! Connection synchronisation in the daemon: what is wanted of it, and the thread that does it.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::RunError;
use super::thread::on_own_thread;
use crate::config::Config;
use crate::dataplane::{FlowEvents, FlowTable};
use crate::net::Netlink;
use crate::state::Followed;
use crate::sync::{Board, Key, SyncPhase, Wanted};

/// When what is not there is looked for again.
const AGAIN: Duration = Duration::from_secs(5);

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
        let running = on_own_thread("sync", || {
            Ok(|| async {
                if first_known.await.is_ok() {
                    crate::sync::run(wanted_receiver, events, table, board, phase).await;
                }
            })
        })?;
        tasks.spawn(running.map(|()| "connection synchronisation"));
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
        let found = find(&config, &netlink).await;
        let is_found = found.is_ok();
        match found {
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
                if board.set_problem(Some(problem.clone())) {
                    tracing::error!("share connections with other directors: {problem}");
                }
            }
        }
        if let Some(first) = first.take() {
            let _ = first.send(());
        }
        // The interface may come, and the key be written.
        let again = tokio::time::sleep(if is_found { Duration::MAX } else { AGAIN });
        tokio::select! {
            changed = configs.changed() => if changed.is_err() { return },
            () = again => {}
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
