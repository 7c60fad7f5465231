//! A small HTTP client: one request on a new connection.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{Doing, Error, Result};
use crate::host::Host;

/// Time for an answer, unless another is given.
pub(crate) const TIME_TO_ANSWER: Duration = Duration::from_secs(2);

/// A GET request.
#[derive(Debug, Clone)]
pub struct Request {
    server: SocketAddr,
    path: String,
    source: Option<SocketAddr>,
    timeout: Duration,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body, without white space at its end.
    pub body: String,
    /// The real server that answered, from the header `X-Real-Server`; empty if there is none.
    pub server: String,
}

impl Request {
    /// A request for `/`.
    pub fn get(server: impl Into<SocketAddr>) -> Self {
        Self { server: server.into(), path: "/".into(), source: None, timeout: TIME_TO_ANSWER }
    }

    /// The path, instead of `/`.
    pub fn path(mut self, path: &str) -> Self {
        self.path = path.into();
        self
    }

    /// The client's address and port, instead of what the kernel chooses. Port 0 leaves the port to it.
    pub fn source(mut self, source: impl Into<SocketAddr>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// How long all of it may take; 2 s if not given.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends it from the host and waits for the answer.
    pub fn send(&self, host: &Host) -> Result<Response> {
        host.enter(|| self.exchange())?
    }

    fn exchange(&self) -> Result<Response> {
        let end = Instant::now() + self.timeout;
        let doing = || format!("get http://{}{}", self.server, self.path);
        // A socket has no timeout if it is zero.
        let left = || end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let socket =
            Socket::new(Domain::for_address(self.server), Type::STREAM, Some(Protocol::TCP)).doing(doing)?;
        if let Some(source) = self.source {
            socket.set_reuse_address(true).doing(doing)?;
            socket.bind(&source.into()).doing(|| format!("use source {source}"))?;
        }
        socket.connect_timeout(&self.server.into(), left()).doing(doing)?;
        socket.set_write_timeout(Some(left())).doing(doing)?;
        (&socket).write_all(&request(self.server, &self.path)).doing(doing)?;
        let mut answer = Vec::new();
        let mut part = [0; 16 << 10];
        loop {
            if Instant::now() >= end {
                return Err(std::io::Error::from(ErrorKind::TimedOut)).doing(doing);
            }
            socket.set_read_timeout(Some(left())).doing(doing)?;
            match (&socket).read(&mut part) {
                Ok(0) => return parse(&answer),
                Ok(length) => answer.extend_from_slice(&part[..length]),
                // Time is up; the check above says so.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).doing(doing),
            }
        }
    }
}

/// The request's bytes. The server closes the connection, so the client keeps no port in TIME_WAIT.
pub(crate) fn request(server: SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n").into_bytes()
}

/// Reads an answer.
pub(crate) fn parse(answer: &[u8]) -> Result<Response> {
    let text = String::from_utf8_lossy(answer);
    let wrong = || Error::Http(text.chars().take(200).collect());
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(wrong)?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).ok_or_else(wrong)?;
    let status = status.split(' ').next().and_then(|code| code.parse().ok()).ok_or_else(wrong)?;
    let (mut server, mut length) = (String::new(), None);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        match name.to_ascii_lowercase().as_str() {
            "x-real-server" => server = value.into(),
            "content-length" => length = value.parse::<usize>().ok(),
            _ => {}
        }
    }
    let head_length = head.len() + 4;
    if length.is_some_and(|length| answer.len() < head_length + length) {
        return Err(Error::Http(text.chars().take(200).collect()));
    }
    Ok(Response { status, body: body.trim_end().into(), server })
}
