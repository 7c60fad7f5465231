//! The daemon's end of the control socket.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, os::unix::net::UnixStream as StdUnixStream};

use thiserror::Error;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

use super::configuration::ReloadOrder;
use super::connection::serve;
use super::explain::Interfaces;
use super::http;
use super::limits::Limits;
use super::live::{self, Live};
use super::rates::{PERIOD, Rates};
use super::request::Turns;
use super::routes::{Access, router};
use super::session::Sessions;
use super::since::Since;
use crate::dataplane::{Explainer, Observer, Tracer};
use crate::health::Board;
use crate::state::{EventLog, Followed, Happening, Input, Published, PublishedService};
use crate::sync::Board as SyncBoard;
use crate::vrrp::Handle as VrrpHandle;

/// The control socket could not be opened.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Somebody answers on it.
    #[error("another lb daemon answers on {path}; stop it, or choose another director.control_socket", path = path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else is there.
    #[error("{path} is there and is not a socket; remove it, or choose another director.control_socket", path = path.display())]
    NotASocket {
        /// What is there.
        path: PathBuf,
    },
    /// It could not be made.
    #[error("listen on {path}: {source}; choose a director.control_socket whose directory can be written", path = path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What does not change while the daemon runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The interfaces that programs are attached to.
    pub interfaces: Interfaces,
    /// How programs are attached.
    pub xdp_mode: String,
    /// How many connections there is room for.
    pub max_connections: u32,
}

/// The control socket. Who connects waits until it is [run](Self::run); dropping it removes it.
pub struct Server {
    listener: UnixListener,
    place: Place,
}

/// Where the socket is, for as long as it is there.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!("remove {}: {error}", self.0.display());
        }
    }
}

pub(super) struct Shared {
    pub(super) facts: Facts,
    pub(super) published: watch::Receiver<Arc<Published>>,
    /// To whoever changes things.
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) observer: Observer,
    pub(super) explainer: Arc<Explainer>,
    pub(super) tracer: Arc<Tracer>,
    pub(super) configs: watch::Receiver<Followed>,
    pub(super) reloads: mpsc::Sender<ReloadOrder>,
    pub(super) rates: Arc<Rates>,
    pub(super) since: Arc<Since>,
    /// Of administrators at `director.http`.
    sessions: Arc<Mutex<Sessions>>,
    pub(super) live: Live,
    pub(super) events: EventLog,
    pub(super) health: Board,
    pub(super) sync: SyncBoard,
    pub(super) vrrp: VrrpHandle,
    pub(super) access: Access,
    pub(super) limits: Limits,
    pub(super) turns: Turns,
    /// True when the daemon ends.
    pub(super) stopping: watch::Receiver<bool>,
}

/// What is known while the daemon runs, whoever asks.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) rates: Arc<Rates>,
    pub(super) since: Arc<Since>,
    pub(super) sessions: Arc<Mutex<Sessions>>,
}

/// What the daemon that answers is made of.
#[derive(Clone)]
pub struct Parts {
    /// What does not change.
    pub facts: Facts,
    /// What is being done.
    pub published: watch::Receiver<Arc<Published>>,
    /// What is configured.
    pub configs: watch::Receiver<Followed>,
    /// Counters and connections.
    pub observer: Observer,
    /// To whoever changes things.
    pub inputs: mpsc::Sender<Input>,
    /// To whoever loads the configuration file anew.
    pub reloads: mpsc::Sender<ReloadOrder>,
    /// Dry runs.
    pub explainer: Arc<Explainer>,
    /// Frames told of.
    pub tracer: Arc<Tracer>,
    /// What happens.
    pub events: EventLog,
    /// What health checks found.
    pub health: Board,
    /// Connections shared with other directors.
    pub sync: SyncBoard,
    /// Virtual routers.
    pub vrrp: VrrpHandle,
}

impl Server {
    /// Makes the socket, for root only, in place of one that nobody answers on.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn bind(path: &Path) -> Result<Self, ControlError> {
        let failed = |source| ControlError::Listen { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(ControlError::NotASocket { path: path.to_owned() });
            }
            Ok(_) if StdUnixStream::connect(path).is_ok() => {
                return Err(ControlError::InUse { path: path.to_owned() });
            }
            Ok(_) => fs::remove_file(path).map_err(failed)?,
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let place = Place(path.to_owned());
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, place })
    }

    /// Answers, also at `director.http`, until `stop` resolves, then removes the socket.
    pub async fn run(self, parts: Parts, stop: impl Future<Output = ()> + Send + 'static) {
        self.run_within(Limits::default(), parts, stop).await;
    }

    pub(super) async fn run_within(
        self,
        limits: Limits,
        parts: Parts,
        stop: impl Future<Output = ()> + Send + 'static,
    ) {
        let Self { listener, place } = self;
        let (stopped, stopping) = watch::channel(false);
        let events = parts.events.clone();
        let seen = Seen::default();
        let for_all = tokio::spawn(http::keep(parts.clone(), seen.clone(), stopping.clone()));
        let shared = Arc::new(Shared::new(parts, seen, Access::Full, limits, stopping.clone()));
        let followed = Arc::clone(&shared);
        let following = tokio::spawn(async move {
            let (published, health) = (followed.published.clone(), followed.health.clone());
            tokio::join!(followed.since.follow(published, health), live::make(&followed));
        });
        let sampling = tokio::spawn(sample(Arc::clone(&shared)));
        let serving = serve(listener, router(shared, Access::Full), limits, stopping);
        let stop = async {
            stop.await;
            events.report(Happening::DaemonStopping);
            stopped.send_replace(true);
        };
        let _ = tokio::join!(serving, stop, for_all);
        sampling.abort();
        following.abort();
        drop(place);
    }
}

impl Shared {
    pub(super) fn new(
        parts: Parts,
        Seen { rates, since, sessions }: Seen,
        access: Access,
        limits: Limits,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let Parts {
            facts,
            published,
            configs,
            observer,
            inputs,
            reloads,
            explainer,
            tracer,
            events,
            health,
            sync,
            vrrp,
        } = parts;
        let turns = Turns::new(&limits);
        Self {
            facts,
            published,
            inputs,
            observer,
            explainer,
            tracer,
            events,
            health,
            sync,
            vrrp,
            configs,
            reloads,
            rates,
            since,
            sessions,
            live: Live::default(),
            access,
            limits,
            turns,
            stopping,
        }
    }

    /// Those who have signed in at `director.http`.
    pub(super) fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are administrators at `director.http`.
    pub(super) fn is_administered(&self) -> bool {
        self.configs.borrow().config().director.http_admin_file.is_some()
    }
}

async fn sample(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(PERIOD);
    loop {
        ticks.tick().await;
        let published = Arc::clone(&shared.published.borrow());
        let destinations = published
            .services
            .iter()
            .flat_map(PublishedService::all_servers)
            .filter_map(|server| server.destination);
        let counted = destinations.filter_map(|number| Some((number, shared.observer.stats(number).ok()?)));
        shared.rates.sample(counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(path: &Path) -> ControlError {
        Server::bind(path).err().expect("it is refused")
    }

    /// A `control_socket` that named a file by mistake cost that file.
    #[tokio::test]
    async fn what_is_not_a_socket_is_left_alone() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("precious");
        fs::write(&file, "data")?;
        assert!(matches!(error(&file), ControlError::NotASocket { .. }));
        assert_eq!(fs::read_to_string(&file)?, "data");
        assert!(matches!(error(directory.path()), ControlError::NotASocket { .. }));
        let nowhere = directory.path().join("link");
        std::os::unix::fs::symlink(directory.path().join("nothing"), &nowhere)?;
        assert!(matches!(error(&nowhere), ControlError::NotASocket { .. }));
        Ok(())
    }

    #[tokio::test]
    async fn a_socket_that_nobody_answers_on_is_replaced_and_one_in_use_is_not() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("lb.sock");
        drop(std::os::unix::net::UnixListener::bind(&path)?);
        assert!(path.exists(), "as a daemon leaves it that is killed");
        let server = Server::bind(&path).expect("nobody answers");
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        assert!(matches!(error(&path), ControlError::InUse { .. }));
        drop(server);
        assert!(!path.exists(), "it goes with its server");
        Ok(())
    }
}
