//! The command line's end of the control socket.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;

use super::api::Problem;

/// How long the daemon may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The daemon did not answer, or not what was asked for.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("the lb daemon is not running: nobody answers on {path}; start it with `lb run --config FILE`, or name its socket with --control-socket", path = path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The socket may not be used.
    #[error("{path} is for root only; try again with sudo", path = path.display())]
    NotAllowed {
        /// The socket.
        path: PathBuf,
    },
    /// The connection broke.
    #[error("ask the daemon on {path}: {reason}", path = path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// The daemon could not do it.
    #[error("the daemon says: {}", .0.error)]
    Refused(Problem),
}

/// Asks the daemon behind `socket`, and waits for its answer.
///
/// # Errors
/// [`ClientError`].
pub async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, ClientError> {
    patiently(socket, ask(socket, Method::GET, path, Bytes::new())).await
}

/// Tells the daemon behind `socket` something, and waits for its answer.
///
/// # Errors
/// [`ClientError`].
pub async fn post<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    body: &(impl Serialize + Sync),
) -> Result<T, ClientError> {
    let body = serde_json::to_vec(body).map_err(|error| broken(socket)(&error))?;
    patiently(socket, ask(socket, Method::POST, path, body.into())).await
}

async fn patiently<T>(
    socket: &Path,
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(broken(socket)(&format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

fn broken(socket: &Path) -> impl Fn(&dyn std::fmt::Display) -> ClientError {
    move |reason| ClientError::Broken { path: socket.to_owned(), reason: reason.to_string() }
}

/// Asks the daemon behind `socket` for lines, and hands on each as it comes, until `take` has enough; what it then says
/// is the outcome. As long as `take` is busy, the daemon waits.
///
/// # Errors
/// [`ClientError`].
pub async fn lines<B>(
    socket: &Path,
    path: &str,
    mut take: impl FnMut(&[u8]) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, ClientError> {
    let broken = broken(socket);
    let asked = patiently(socket, send(socket, Method::GET, path, Bytes::new())).await?;
    let mut body = asked.into_body();
    let mut rest = Vec::new();
    loop {
        let frame = patiently(socket, async { Ok(body.frame().await) }).await?;
        let Some(frame) = frame.transpose().map_err(|error| broken(&error))? else { break };
        let Ok(data) = frame.into_data() else { continue };
        let mut data = &data[..];
        while let Some(end) = data.iter().position(|byte| *byte == b'\n') {
            let (line, after) = data.split_at(end);
            data = &after[1..];
            let took = if rest.is_empty() {
                take(line)
            } else {
                rest.extend_from_slice(line);
                take(&std::mem::take(&mut rest))
            };
            if took.is_break() {
                return Ok(took);
            }
        }
        rest.extend_from_slice(data);
    }
    Ok(ControlFlow::Continue(()))
}

async fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<T, ClientError> {
    let broken = broken(socket);
    let answer = send(socket, method, path, body).await?;
    let body = answer.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| broken(&error))
}

/// The beginning of an answer that is what was asked for.
async fn send(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Response<Incoming>, ClientError> {
    let broken = broken(socket);
    let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NotRunning { path: socket.to_owned() }
        }
        io::ErrorKind::PermissionDenied => ClientError::NotAllowed { path: socket.to_owned() },
        _ => broken(&error),
    })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    // It ends with the answer.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, "lb")
        .header(hyper::header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| broken(&error))?;
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let body = response.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
    let said = serde_json::from_slice(&body);
    Err(ClientError::Refused(
        said.unwrap_or_else(|_| Problem { error: status.to_string(), ..Problem::default() }),
    ))
}
