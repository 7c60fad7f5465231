//! `/v1/configuration`, `/v1/reload`, `/v1/confirm`: the configuration file.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::api;
use super::director::reading;
use super::failure::Failure;
use super::server::Shared;
use crate::config::Diagnostics;
use crate::state::{Input, ReloadError, Reloaded};

/// The configuration file is to be loaded anew.
#[derive(Debug)]
pub struct ReloadOrder {
    /// What counted before counts again unless this is confirmed within this time.
    pub confirm_within: Option<Duration>,
    /// The [`fingerprint`](crate::state::fingerprint) of the text, if it is what this daemon said is to be saved.
    pub saved: Option<u64>,
    /// Gets what is different now, and warnings about the file.
    pub done: oneshot::Sender<Result<(Reloaded, Diagnostics), ReloadError>>,
}

pub(super) async fn shown(shared: Arc<Shared>) -> Result<api::Configuration, Failure> {
    reading(&shared, |shared| Ok(show(shared))).await
}

fn show(shared: &Shared) -> api::Configuration {
    let configuration = shared.configs.borrow().configuration.clone();
    api::Configuration {
        path: configuration.path().to_owned(),
        file: configuration.file_text().to_string(),
        text: configuration.text(),
        changes: configuration.runtime().to_vec(),
        awaits_confirmation: configuration.unconfirmed().is_some(),
    }
}

/// Who has not confirmed by then never will.
const LONGEST_CONFIRMATION: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) async fn reload(shared: Arc<Shared>, asked: api::Reload) -> Result<api::Reloaded, Failure> {
    let api::Reload { confirm_within, saved } = asked;
    let confirm_within = confirm_within.map(Duration::from_secs);
    if confirm_within.is_some_and(|within| within > LONGEST_CONFIRMATION) {
        let most = humantime::format_duration(LONGEST_CONFIRMATION);
        return Err(Failure::bad_request(format!("a reload can be confirmed within {most} at most")));
    }
    let (done, answer) = oneshot::channel();
    let order = ReloadOrder { confirm_within, saved, done };
    shared.reloads.send(order).await.map_err(|_| Failure::stopping())?;
    let (reloaded, warnings) = answer.await.map_err(|_| Failure::stopping())??;
    let Reloaded { changes, others, at_restart, forgotten } = reloaded;
    Ok(api::Reloaded {
        changes,
        others,
        at_restart: at_restart.into_iter().map(str::to_owned).collect(),
        forgotten: forgotten.into_iter().map(|(_, refused)| refused.to_string()).collect(),
        warnings: warnings.to_string(),
    })
}

pub(super) async fn confirm(shared: Arc<Shared>) -> Result<api::Confirmed, Failure> {
    let (done, answer) = oneshot::channel();
    shared.inputs.send(Input::Confirm { done }).await.map_err(|_| Failure::stopping())?;
    let confirmed = answer.await.map_err(|_| Failure::stopping())?;
    Ok(api::Confirmed { confirmed })
}
