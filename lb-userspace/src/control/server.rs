//! The daemon's end of the control socket.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, os::unix::net::UnixStream as StdUnixStream};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Extract};
use axum::routing::{get, post};
use axum::{Json, Router};
use thiserror::Error;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

use super::change::Body;
use super::configuration::{self, ReloadOrder};
use super::explain::{self, Interfaces, answer};
use super::failure::Failure;
use super::rates::{PERIOD, Rates};
use super::{acl, api, change, connections};
use crate::dataplane::{Explainer, Observer};
use crate::net::mac_text;
use crate::state::{Followed, Input, Published, PublishedService, ServerState};

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
    facts: Facts,
    pub(super) published: watch::Receiver<Arc<Published>>,
    /// To whoever changes things.
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) observer: Observer,
    explainer: Arc<Explainer>,
    pub(super) configs: watch::Receiver<Followed>,
    pub(super) reloads: mpsc::Sender<ReloadOrder>,
    pub(super) rates: Rates,
}

/// What the daemon that answers is made of.
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

    /// Answers until `stop` resolves, then removes the socket.
    pub async fn run(self, parts: Parts, stop: impl Future<Output = ()> + Send + 'static) {
        let Self { listener, place } = self;
        let Parts { facts, published, configs, observer, inputs, reloads, explainer } = parts;
        let rates = Rates::default();
        let state =
            Arc::new(Shared { facts, published, configs, observer, inputs, reloads, explainer, rates });
        let router = Router::new()
            .route("/v1/virtual_servers", get(virtual_servers))
            .route("/v1/director", get(director))
            .route("/v1/explain", post(explain))
            .route("/v1/acl", get(acl::list).post(acl::change))
            .route("/v1/connections", get(connections::list))
            .route("/v1/timeouts", get(change::timeouts).post(change::set_timeouts))
            .route("/v1/weight", post(change::set_weight))
            .route("/v1/changes", post(change::change))
            .route("/v1/configuration", get(configuration::shown))
            .route("/v1/reload", post(configuration::reload))
            .route("/v1/confirm", post(configuration::confirm))
            .route("/v1/zero", post(change::zero))
            .with_state(Arc::clone(&state));
        let sampling = tokio::spawn(sample(state));
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop);
        if let Err(error) = serving.await {
            tracing::error!("the control socket failed: {error}");
        }
        sampling.abort();
        drop(place);
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

async fn virtual_servers(
    Extract(shared): Extract<Arc<Shared>>,
    asked: Result<Query<api::ListOptions>, QueryRejection>,
) -> Result<Json<api::VirtualServers>, Failure> {
    let Query(asked) = asked.map_err(|rejection| Failure::bad_request(rejection.body_text()))?;
    let published = Arc::clone(&shared.published.borrow());
    let clients =
        if asked.persistent_connections { Some(connections::clients(&shared).await?) } else { None };
    let mut virtual_servers = Vec::new();
    for service in &published.services {
        let mut real_servers = Vec::new();
        for server in service.all_servers() {
            let number = server.destination;
            let stats = match number {
                Some(number) => shared.observer.stats(number)?,
                None => Default::default(),
            };
            let connections = number.map(|number| shared.observer.connections(number)).unwrap_or_default();
            real_servers.push(api::RealServer {
                address: server.address.to_string(),
                weight: server.weight,
                upper_threshold: server.thresholds.upper,
                lower_threshold: server.thresholds.lower,
                persistent_connections: clients.as_ref().map(|clients| {
                    let of = service.number.map(|number| (number, server.address));
                    of.and_then(|of| clients.get(&of)).copied().unwrap_or(0)
                }),
                state: match server.state {
                    ServerState::Up => api::State::Up,
                    ServerState::Draining => api::State::Draining,
                    ServerState::Unresolved => api::State::Unresolved,
                    ServerState::Unknown => api::State::Unknown,
                },
                runtime: server.is_runtime,
                mac: server.mac.map(mac_text),
                active_connections: connections.active.into(),
                inactive_connections: connections.inactive.into(),
                stats: api::Stats {
                    connections: stats.connections,
                    packets: stats.packets,
                    bytes: stats.bytes,
                },
                rate: number.map(|number| shared.rates.of(number)).unwrap_or_default(),
            });
        }
        let stats = real_servers.iter().map(|server: &api::RealServer| server.stats).sum();
        let rate = real_servers.iter().map(|server| server.rate).sum();
        let sorry_server = service.sorry_server.and_then(|_| real_servers.pop());
        virtual_servers.push(api::VirtualServer {
            name: service.name.clone(),
            addresses: service.addresses.iter().map(ToString::to_string).collect(),
            fwmark: service.fwmark,
            protocol: service.protocol.to_string(),
            scheduler: service.scheduler.name().to_owned(),
            stats,
            rate,
            scheduler_flags: service.scheduler_flags.iter().map(ToString::to_string).collect(),
            real_servers,
            sorry_server,
            on_down: service.on_down.name().to_owned(),
            one_packet: service.one_packet,
            runtime: service.is_runtime,
            acl: acl::shown(&service.acl),
            persistence: service.persistence.map(|persistence| api::Persistence {
                timeout: persistence.timeout.as_secs(),
                mask: persistence.mask(service.addresses.first().is_some_and(|address| address.is_ipv6())),
            }),
        });
    }
    Ok(Json(api::VirtualServers { virtual_servers }))
}

async fn director(Extract(shared): Extract<Arc<Shared>>) -> Result<Json<api::Director>, Failure> {
    let counters = shared.observer.counters()?;
    let facts = &shared.facts;
    Ok(Json(api::Director {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        interface: facts.interfaces.names(),
        xdp_mode: facts.xdp_mode.clone(),
        max_connections: facts.max_connections,
        counters: counters.into_iter().map(|(reason, count)| (reason.name().to_owned(), count)).collect(),
    }))
}

async fn explain(
    Extract(shared): Extract<Arc<Shared>>,
    body: Body<explain::Question>,
) -> Result<Json<explain::Explanation>, Failure> {
    let asked = change::read(body)?;
    let question =
        asked.parse(&shared.facts.interfaces).map_err(|error| Failure::bad_request(error.to_string()))?;
    let found = shared.explainer.explain(&question)?;
    let published = Arc::clone(&shared.published.borrow());
    Ok(Json(answer(&asked, &found, &published, &shared.facts.interfaces)))
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
