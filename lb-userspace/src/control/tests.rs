//! A server on a data plane in this process: everything but the programs is the daemon's.

mod admin;
mod described;
mod hostile;
mod live;
mod open;
mod told;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use macaddr::MacAddr6;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use super::explain::Interfaces;
use super::limits::Limits;
use super::routes::{Access, router};
use super::server::Shared;
use super::{Facts, Parts, ReloadOrder, Server};
use crate::config::Diagnostics;
use crate::dataplane::{Capacity, Explainer, Memory, Observer, Tables, Tracer};
use crate::health::{Board, Verdicts};
use crate::neighbour::{Resolution, Resolutions};
use crate::state::{Configuration, Document, Followed, Input, Journal, Network, Reconciler, ReloadKind};

const FILE: &str = r#"
[director]
interfaces = ["eth0"]

[acl]
deny = ["198.51.100.0/24"]

[[virtual_server]]
name = "web"
addresses = ["192.0.2.1:80", "192.0.2.1:443"]
scheduler = "sh"
scheduler_flags = ["sh-port"]
sorry_server = "192.0.2.12"
persistence = { timeout = "60s" }

  [[virtual_server.real_server]]
  address = "192.0.2.10"

  [[virtual_server.real_server]]
  address = "192.0.2.11"
  weight = 3

[[virtual_server]]
name = "dns"
addresses = ["[2001:db8::1]:53"]
protocol = "udp"
one_packet = true
"#;

#[expect(clippy::disallowed_methods, reason = "a test drives what it tests")]
fn now() -> Instant {
    Instant::now()
}

/// What a daemon is made of. One real server answers.
struct World {
    directory: TempDir,
    parts: Parts,
    inputs: mpsc::Sender<Input>,
}

impl World {
    fn new() -> Self {
        Self::with(file())
    }

    fn with(file: Document) -> Self {
        let directory = tempfile::tempdir().expect("there is room for files");
        let (configuration, _) = Configuration::new(Path::new("lb.toml"), file, &[]);
        let (configs, followed) = watch::channel(Followed { configuration, coming: None });
        let capacity = Capacity { max_connections: 1024, has_ipv6: true };
        let memory = Arc::new(Memory::in_process(capacity).expect("there is memory"));
        let mac = Some(MacAddr6::new(2, 0, 0, 0, 1, 10));
        let answers = Resolution { mac, is_reachable: true };
        let resolutions = Resolutions::from([("192.0.2.10".parse().expect("an address"), answers)]);
        let network = Network::of_one(MacAddr6::new(2, 0, 0, 0, 0, 1));
        let (sweeper, _) = std::sync::mpsc::channel();
        let journal = Journal::beside(&directory.path().join("lb.sock"));
        let tables = Tables::in_process(Arc::clone(&memory));
        let mut reconciler =
            Reconciler::new(tables, configs, journal, network, resolutions, Verdicts::default(), sweeper);
        reconciler.reconcile(now()).expect("the maps have room");
        let (inputs, received) = mpsc::channel(64);
        let (reloads, orders) = mpsc::channel(4);
        let parts = Parts {
            facts: Facts {
                interfaces: Interfaces(vec![(0, "eth0".to_owned())]),
                xdp_mode: "native".to_owned(),
                max_connections: 1024,
            },
            published: reconciler.subscribe(),
            configs: followed,
            observer: Observer::in_process(Arc::clone(&memory)).expect("there is a clock"),
            inputs: inputs.clone(),
            reloads,
            tracer: Arc::new(Tracer::in_process(Arc::clone(&memory)).expect("there is a clock")),
            explainer: Arc::new(Explainer::in_process(memory).expect("there is a clock")),
            events: reconciler.events(),
            health: Board::default(),
            vrrp: crate::vrrp::Handle::new().0,
            sync: crate::sync::Board::default(),
        };
        spawn_blocking(move || reconciler.run(received));
        tokio::spawn(reload(orders, inputs.clone()));
        Self { directory, parts, inputs }
    }

    /// A router that answers in this process.
    fn router(self, access: Access) -> (TempDir, Router) {
        let (_, stopping) = watch::channel(false);
        let shared = Shared::new(self.parts, Default::default(), access, Limits::default(), stopping);
        (self.directory, router(Arc::new(shared), access))
    }

    /// A server on a socket.
    fn serve(self, limits: Limits) -> Daemon {
        let socket = self.directory.path().join("lb.sock");
        let server = Server::bind(&socket).expect("nobody else is there");
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            server.run_within(limits, self.parts, stopped).await;
        });
        Daemon { socket, stop, serving, inputs: self.inputs, _directory: self.directory }
    }
}

fn file() -> Document {
    document(FILE)
}

fn document(text: &str) -> Document {
    Document::parse("lb.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The file never changes.
async fn reload(mut orders: mpsc::Receiver<ReloadOrder>, inputs: mpsc::Sender<Input>) {
    while let Some(ReloadOrder { confirm_within, done, .. }) = orders.recv().await {
        let (reloaded, answer) = oneshot::channel();
        let kind = if confirm_within.is_some() { ReloadKind::AwaitsConfirmation } else { ReloadKind::Stays };
        let input = Input::Reload { file: Box::new(file()), kind, done: reloaded };
        if inputs.send(input).await.is_err() {
            return;
        }
        if let Ok(reloaded) = answer.await {
            let _ = done.send(reloaded.map(|reloaded| (reloaded, Diagnostics::default())));
        }
    }
}

/// A server that runs.
struct Daemon {
    socket: PathBuf,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    inputs: mpsc::Sender<Input>,
    _directory: TempDir,
}

/// What a router answers; lines are made a list of.
async fn ask(router: &Router, method: &str, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
    let response = send(router, method, path, body).await;
    let status = response.status();
    let media = response.headers()["content-type"].to_str().expect("it is text").to_owned();
    let bytes = response.into_body().collect().await.expect("a whole answer").to_bytes();
    if media == "application/x-ndjson" {
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let lines = lines.map(|line| serde_json::from_slice::<Value>(line).expect("a line is JSON"));
        return (status, lines.collect());
    }
    if media.starts_with("application/openmetrics-text") {
        return (status, String::from_utf8(bytes.into()).expect("it is text").into());
    }
    if media == "text/event-stream" {
        let text = String::from_utf8(bytes.into()).expect("it is text");
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        return (
            status,
            data.map(|data| serde_json::from_str::<Value>(data).expect("data are JSON")).collect(),
        );
    }
    assert_eq!(media, "application/json", "{method} {path}");
    (status, serde_json::from_slice(&bytes).expect("it is JSON"))
}

async fn send(router: &Router, method: &str, path: &str, body: Option<&Value>) -> Response<Body> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let body = body.map_or_else(Body::empty, |body| body.to_string().into());
    let request = request.body(body).expect("a request");
    TowerToHyperService::new(router.clone()).call(request).await.expect("a router never fails")
}
