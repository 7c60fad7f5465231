//! Loading the configuration file anew.
//!
//! ```text
//!   SIGHUP ─────┐                 ┌─ coming ──> topology, neighbour driver: where its real servers are
//!               ├─> read, check ──┤                  │
//!   lb reload ──┘                 └─> reconciler <───┘ found, or not in time
//!                                        ^
//!   not confirmed in time ───────────────┘ the text that counted before
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;

use super::now;
use super::service::Service;
use crate::config::{self, Checked, Config, Diagnostics, LoadError, Severity};
use crate::control::{HttpError, ReloadOrder, check_http};
use crate::neighbour::{FIRST_ANSWERS, Resolutions};
use crate::state::{
    Document, EventLog, Followed, Happening, Input, ReloadError, ReloadKind, Reloaded, addresses_to_locate,
    fingerprint,
};

/// Whoever loads the file anew.
pub(super) struct Reloader {
    /// The configuration file.
    pub(super) path: PathBuf,
    /// To whom it says what comes.
    pub(super) configs: watch::Sender<Followed>,
    pub(super) resolved: watch::Receiver<Resolutions>,
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) events: EventLog,
    /// To whom it says that it is at it.
    pub(super) service: Service,
}

impl Reloader {
    /// Serves orders until there are no more senders.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<ReloadOrder>) {
        let mut deadline: Option<Instant> = None;
        loop {
            let order = tokio::select! {
                order = orders.recv() => order,
                () = sleep_until(deadline.unwrap_or_else(now).into()), if deadline.is_some() => {
                    deadline = None;
                    self.undo().await;
                    continue;
                }
            };
            let Some(ReloadOrder { confirm_within, saved, done }) = order else { return };
            self.service.reloading();
            let reloaded = self.reload(confirm_within.is_some(), saved).await;
            self.service.reloaded(reloaded.is_err());
            if reloaded.is_ok() {
                deadline = confirm_within.and_then(|within| now().checked_add(within));
            }
            log(&reloaded);
            self.events.report(happening(&reloaded, confirm_within.is_some()));
            // Whoever asked may have gone away.
            let _ = done.send(reloaded);
        }
    }

    async fn reload(
        &mut self,
        awaits: bool,
        saved: Option<u64>,
    ) -> Result<(Reloaded, Diagnostics), ReloadError> {
        if self.unconfirmed().is_some() {
            return Err(ReloadError::Unconfirmed);
        }
        let checked = config::load(&self.path)?;
        let missing = config::check_files(&checked, Severity::Error);
        let warnings = checked.warnings.clone().merge(missing);
        if warnings.has_errors() {
            return Err(LoadError::Invalid(warnings).into());
        }
        let failed = |error: HttpError| ReloadError::Failed(error.to_string());
        check_http(self.configs.borrow().config(), &checked.config).map_err(failed)?;
        let kind = match (awaits, saved) {
            (true, _) => ReloadKind::AwaitsConfirmation,
            (_, Some(saved)) if saved == fingerprint(&checked.text) => ReloadKind::Saved,
            _ => ReloadKind::Stays,
        };
        Ok((self.adopt(checked, kind).await?, warnings))
    }

    /// Has the text count that counted before, unless the last one was confirmed.
    async fn undo(&mut self) {
        let Some(text) = self.unconfirmed() else { return };
        tracing::warn!(
            "the reload was not confirmed in time: what {} said before counts again; `lb reload` loads it anew",
            self.path.display()
        );
        let undone = match config::parse(&self.path.display().to_string(), &text) {
            Ok(before) => self.adopt(before, ReloadKind::Undo).await,
            Err(error) => Err(LoadError::from(error).into()),
        };
        match undone {
            Ok(_) => self.events.report(Happening::ReloadUndone),
            Err(ReloadError::Confirmed) => tracing::info!("{}", ReloadError::Confirmed),
            Err(error) => tracing::error!("undo the reload: {error}"),
        }
    }

    fn unconfirmed(&self) -> Option<String> {
        self.configs.borrow().configuration.unconfirmed().map(str::to_owned)
    }

    async fn adopt(&mut self, checked: Checked, kind: ReloadKind) -> Result<Reloaded, ReloadError> {
        let file = Box::new(Document::new(checked));
        self.look_for_new(file.config()).await;
        let (done, answer) = oneshot::channel();
        let stopping = || ReloadError::Failed("the daemon is stopping".to_owned());
        // Or those that were just found might not be known there yet.
        let resolutions = self.resolved.borrow().clone();
        self.inputs.send(Input::Resolutions(resolutions)).await.map_err(|_| stopping())?;
        let input = Input::Reload { file, kind, done };
        self.inputs.send(input).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Waits until the real servers have been found that a configuration names anew, but not for long: new connections would
    /// have nowhere to go meanwhile.
    async fn look_for_new(&mut self, coming: &Arc<Config>) {
        let known = servers(self.configs.borrow().config());
        let new: BTreeSet<IpAddr> = servers(coming).difference(&known).copied().collect();
        if new.is_empty() {
            return;
        }
        self.configs.send_modify(|followed| followed.coming = Some(Arc::clone(coming)));
        let are_found = |resolutions: &Resolutions| {
            new.iter().all(|address| resolutions.get(address).is_some_and(|found| found.is_reachable))
        };
        // Not in time: they get connections when they answer.
        let _ = tokio::time::timeout(FIRST_ANSWERS, self.resolved.wait_for(are_found)).await;
    }
}

fn servers(config: &Config) -> BTreeSet<IpAddr> {
    addresses_to_locate(config).into_keys().collect()
}

fn happening(
    reloaded: &Result<(Reloaded, Diagnostics), ReloadError>,
    awaits_confirmation: bool,
) -> Happening {
    match reloaded {
        Ok((reloaded, _)) => Happening::Reloaded {
            changes: reloaded.count(),
            at_restart: reloaded.at_restart.iter().map(|key| (*key).to_owned()).collect(),
            forgotten: reloaded.forgotten.len(),
            awaits_confirmation,
        },
        // Lines of the file may have passwords in them, and anybody may follow events at `director.http`.
        Err(ReloadError::Invalid(LoadError::Invalid(_))) => Happening::ReloadRefused {
            reason: "the file is not valid: the log and `lb check` say what is wrong".to_owned(),
        },
        Err(error) => Happening::ReloadRefused { reason: error.to_string() },
    }
}

fn log(reloaded: &Result<(Reloaded, Diagnostics), ReloadError>) {
    match reloaded {
        Ok((reloaded, warnings)) => {
            if !warnings.is_empty() {
                tracing::warn!("{warnings}");
            }
            for (_, refused) in &reloaded.forgotten {
                tracing::warn!("a change that was made while lb ran is forgotten: {refused}");
            }
            for key in &reloaded.at_restart {
                tracing::warn!("director.{key} is different in the file; it counts when lb is restarted");
            }
            tracing::info!(changes = reloaded.count(), "reloaded");
        }
        Err(error) => tracing::error!("not reloaded, everything is as before: {error}"),
    }
}
