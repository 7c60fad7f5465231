//! `director.http`: the same API for everybody who reaches an address of this machine, where no secret is told and nothing
//! can be changed, except weights by administrators, if there are any.
//!
//! It has its own bounds, so that nobody here takes anything from whoever is at the control socket. An address that
//! cannot be had is tried again and again, and keeps nothing else from being done: it may be a virtual one, which this
//! director has when it is master.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::connection::{ended, serve};
use super::limits::Limits;
use super::live;
use super::routes::{Access, router};
use super::server::{Parts, Seen, Shared};
use crate::config::Config;
use crate::state::Followed;

/// How often an address is tried that could not be had.
const RETRY: Duration = Duration::from_secs(3);
/// How long those may take to end who are connected to an address that is given up.
const LEAVE: Duration = Duration::from_secs(1);

/// `director.http` cannot be listened on.
#[derive(Debug, Error)]
#[error("listen on director.http = \"{address}\": {source}; {}", self.remedy())]
pub struct HttpError {
    address: SocketAddr,
    source: io::Error,
}

impl HttpError {
    fn remedy(&self) -> String {
        let port = self.address.port();
        match self.source.kind() {
            io::ErrorKind::AddrInUse => format!(
                "`ss -ltnp sport = {port}` shows who listens there: stop that, or choose another port"
            ),
            io::ErrorKind::AddrNotAvailable => {
                "choose an address that `ip address` shows, or \"0.0.0.0\" or \"[::]\" for all of them"
                    .to_owned()
            }
            io::ErrorKind::PermissionDenied => "choose a port above 1023".to_owned(),
            _ => "choose another address".to_owned(),
        }
    }
}

/// Whether `director.http` of `after` can be listened on, if that of `before` is.
///
/// # Errors
/// [`HttpError`].
pub fn check_http(before: &Config, after: &Config) -> Result<(), HttpError> {
    let (before, after) = (before.director.http, after.director.http);
    match after {
        // What this daemon itself listens on may be in the way of another address with that port.
        Some(address) if before.is_none_or(|before| before.port() != address.port()) => {
            bind(address).map(drop)
        }
        _ => Ok(()),
    }
}

fn bind(address: SocketAddr) -> Result<StdTcpListener, HttpError> {
    let listener = StdTcpListener::bind(address);
    let listener = listener.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.map_err(|source| HttpError { address, source })
}

/// Serves at the address that is configured, and at another when it changes, until `stopping` becomes true.
pub(super) async fn keep(parts: Parts, seen: Seen, mut stopping: watch::Receiver<bool>) {
    let mut configs = parts.configs.clone();
    while !*stopping.borrow() {
        let wanted = configs.borrow_and_update().config().director.http;
        let (stop, stopped) = watch::channel(false);
        let mut serving = pin!(hold(wanted, &parts, &seen, stopped));
        tokio::select! {
            () = ended(&mut stopping) => {}
            () = changed(&mut configs, wanted) => {}
            () = &mut serving => continue,
        }
        stop.send_replace(true);
        // Who is still being answered is not waited for.
        let _ = timeout(LEAVE, serving).await;
    }
}

/// Waits until another address is configured.
async fn changed(configs: &mut watch::Receiver<Followed>, wanted: Option<SocketAddr>) {
    let is_other = |followed: &Followed| followed.configuration.config().director.http != wanted;
    if configs.wait_for(is_other).await.is_err() {
        // Nobody changes it any more.
        std::future::pending().await
    }
}

/// Serves at this address until `stopping` becomes true.
async fn hold(address: Option<SocketAddr>, parts: &Parts, seen: &Seen, mut stopping: watch::Receiver<bool>) {
    let listener = match address {
        None => None,
        Some(address) => listen(address, &mut stopping).await,
    };
    let Some(listener) = listener else { return ended(&mut stopping).await };
    let (limits, access) = (Limits::for_anybody(), Access::Anybody);
    let shared = Arc::new(Shared::new(parts.clone(), seen.clone(), access, limits, stopping.clone()));
    tokio::select! {
        () = serve(listener, router(Arc::clone(&shared), access), limits, stopping) => {}
        () = live::make(&shared) => {}
    }
}

/// Listens as soon as that is possible, unless `stopping` becomes true before.
async fn listen(address: SocketAddr, stopping: &mut watch::Receiver<bool>) -> Option<TcpListener> {
    let mut told = None;
    loop {
        let error = match bind(address) {
            Ok(listener) => match TcpListener::from_std(listener) {
                Ok(listener) => {
                    tracing::info!("the status page is at http://{address}/");
                    return Some(listener);
                }
                Err(source) => HttpError { address, source },
            },
            Err(error) => error,
        };
        let kind = error.source.kind();
        if told != Some(kind) {
            tracing::error!("{error}; trying again until then");
            told = Some(kind);
        }
        tokio::select! {
            () = ended(stopping) => return None,
            () = sleep(RETRY) => {}
        }
    }
}
