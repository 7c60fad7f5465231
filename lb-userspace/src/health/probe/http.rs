//! What a web server answers: HTTP/1.1, a connection for each request, by hyper without its pool.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;

use data_encoding::HEXLOWER;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::text::{plain, quoted};
use super::{Answer, Attempt, Failure, NetworkFailure, agent, redirect, tls};
use crate::config::{Body, Http};

const AGENT: &str = concat!("lb-health/", env!("CARGO_PKG_VERSION"));
/// The longest header of a response, in bytes.
const HEADER: usize = 64 << 10;

/// A web server answered something else.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum HttpFailure {
    /// Another status.
    #[error("status {status}, expected {expected}")]
    Status {
        /// What it said.
        status: u16,
        /// What was expected: "200-299, 301".
        expected: String,
    },
    /// A redirect that is not followed.
    #[error("status {status} redirects to {to}, {why}; expected {expected}")]
    Redirect {
        /// What it said.
        status: u16,
        /// Where it points.
        to: String,
        /// Why it is not followed.
        why: &'static str,
        /// What was expected: "200-299, 301".
        expected: String,
    },
    /// Nothing in the body matches.
    #[error("the body does not match {expected:?}: it begins with {said}")]
    Body {
        /// The regular expression.
        expected: String,
        /// The beginning of the body.
        said: String,
    },
    /// The body is another.
    #[error("the body's SHA-256 is {found}, expected {expected}: it begins with {said}")]
    Sha256 {
        /// Its digest.
        found: String,
        /// What was expected.
        expected: String,
        /// The beginning of the body.
        said: String,
    },
    /// The agent says that the server is down.
    #[error("the agent says {word}{}{reason}", if reason.is_empty() { "" } else { ": " })]
    Agent {
        /// The word: "down".
        word: String,
        /// Its reason, in quotes; empty if it gave none.
        reason: String,
    },
    /// It is no HTTP.
    #[error("the answer is not HTTP: {0}; is it the right port, and TLS as it should be?")]
    Malformed(String),
    /// The header of the response does not end.
    #[error("the answer's header is longer than 64 KiB or has more than 100 lines")]
    HeaderTooLong,
    /// What is configured cannot be asked.
    #[error("it cannot be asked: {0}")]
    Request(String),
}

/// What is asked next.
struct Target {
    method: Method,
    path: String,
}

enum Said {
    Well(Answer),
    Elsewhere { status: u16, location: String },
}

pub(super) async fn ask(http: &Http, attempt: &Attempt<'_>) -> Result<Answer, Failure> {
    let method = Method::from_bytes(http.method.as_bytes())
        .map_err(|error| HttpFailure::Request(error.to_string()))?;
    let mut target = Target { method, path: http.path.clone() };
    let (scheme, default_port) = if http.tls.is_some() { ("https", 443) } else { ("http", 80) };
    let host = http.host.clone().unwrap_or_else(|| host(attempt.path.address(), http.port, default_port));
    // The first request is none that is followed.
    for left in (0..=http.redirects).rev() {
        let (status, location) = match once(http, &target, &host, attempt).await? {
            Said::Well(answer) => return Ok(answer),
            Said::Elsewhere { status, location } => (status, location),
        };
        let refused = |why| {
            let (to, expected) = (plain(location.as_bytes()), ranges(&http.status));
            Err(HttpFailure::Redirect { status, to, why, expected }.into())
        };
        if left == 0 {
            return refused(if http.redirects == 0 {
                "which is not followed"
            } else {
                "one redirect too many"
            });
        }
        let Some(path) = redirect::target(&location, &target.path, scheme, &host) else {
            return refused("which is not the same real server");
        };
        // RFC 9110, section 15.4: as browsers do.
        if status == 303 && target.method != Method::HEAD
            || matches!(status, 301 | 302) && target.method == Method::POST
        {
            target.method = Method::GET;
        }
        target.path = path;
    }
    Err(HttpFailure::Request("nothing was to be asked".to_owned()).into())
}

/// The Host header of an address.
fn host(address: IpAddr, port: u16, default_port: u16) -> String {
    let host = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    if port == default_port { host } else { format!("{host}:{port}") }
}

/// One request on one connection.
async fn once(http: &Http, target: &Target, host: &str, attempt: &Attempt<'_>) -> Result<Said, Failure> {
    let request = request(target, host)?;
    let mut stream = attempt.connect(http.port).await?;
    if let Some(tls) = &http.tls {
        stream = tls::wrapped(stream, http, tls, attempt).await?;
    }
    attempt.awaits("no answer to the request");
    let failed = |error: hyper::Error| failure(&error, http.port, attempt);
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEADER).max_header_size(HEADER);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // Both in this task: where there is another, it outlives a probe that is dropped.
    let (mut connection, mut is_connected) = (pin!(connection), true);
    let mut asked = pin!(async {
        let response = sender.send_request(request).await.map_err(failed)?;
        judged(http, response, attempt).await
    });
    poll_fn(|context| {
        // What ends the connection is told to who waits for the response, or for its body.
        if is_connected && connection.as_mut().poll(context).is_ready() {
            is_connected = false;
        }
        match asked.as_mut().poll(context) {
            // It has written to the connection, or made room.
            Poll::Pending if is_connected => {
                if connection.as_mut().poll(context).is_ready() {
                    is_connected = false;
                    return asked.as_mut().poll(context);
                }
                Poll::Pending
            }
            polled => polled,
        }
    })
    .await
}

fn request(target: &Target, host: &str) -> Result<Request<Empty<Bytes>>, HttpFailure> {
    let wrong = |error: &dyn std::fmt::Display| HttpFailure::Request(error.to_string());
    let mut request = Request::new(Empty::new());
    *request.method_mut() = target.method.clone();
    *request.uri_mut() = target.path.parse::<Uri>().map_err(|error| wrong(&error))?;
    let host = HeaderValue::from_str(host).map_err(|error| wrong(&error))?;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

async fn judged(http: &Http, response: Response<Incoming>, attempt: &Attempt<'_>) -> Result<Said, Failure> {
    let status = response.status().as_u16();
    if !http.status.contains(&status) {
        let location = response.headers().get(LOCATION).filter(|_| matches!(status, 301..=303 | 307 | 308));
        return match location {
            Some(location) => {
                let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
                Ok(Said::Elsewhere { status, location })
            }
            None => Err(HttpFailure::Status { status, expected: ranges(&http.status) }.into()),
        };
    }
    if http.body.is_none() && !http.agent {
        return Ok(Said::Well(Answer::default()));
    }
    attempt.awaits("body not complete");
    let body = read(response.into_body(), http.body_limit as usize);
    let body = body.await.map_err(|error| failure(&error, http.port, attempt))?;
    match &http.body {
        Some(Body::Regex(expected)) if !expected.0.is_match(&body) => {
            return Err(HttpFailure::Body { expected: expected.0.to_string(), said: quoted(&body) }.into());
        }
        Some(Body::Sha256(expected)) => {
            let found: [u8; 32] = Sha256::digest(&body).into();
            if found != *expected {
                let (found, expected) = (HEXLOWER.encode(&found), HEXLOWER.encode(expected));
                return Err(HttpFailure::Sha256 { found, expected, said: quoted(&body) }.into());
            }
        }
        Some(Body::Regex(_)) | None => {}
    }
    Ok(Said::Well(if http.agent { agent::read(&body)? } else { Answer::default() }))
}

/// The body, cut at `limit` bytes.
async fn read(mut body: Incoming, limit: usize) -> Result<Vec<u8>, hyper::Error> {
    let mut read = Vec::new();
    while read.len() < limit {
        let Some(frame) = body.frame().await else { break };
        if let Some(data) = frame?.data_ref() {
            read.extend_from_slice(&data[..data.len().min(limit - read.len())]);
        }
    }
    Ok(read)
}

fn failure(error: &hyper::Error, port: u16, attempt: &Attempt<'_>) -> Failure {
    let doing = "read the answer";
    if error.is_parse_too_large() {
        return HttpFailure::HeaderTooLong.into();
    }
    if error.is_parse() {
        return HttpFailure::Malformed(plain(error.to_string().as_bytes())).into();
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return NetworkFailure::Closed { doing }.into();
    }
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        // What is wrong with a chunk's size, for one, which is hyper's own.
        Some(error) if error.raw_os_error().is_none() && error.kind() != io::ErrorKind::UnexpectedEof => {
            HttpFailure::Malformed(plain(error.to_string().as_bytes())).into()
        }
        Some(error) => NetworkFailure::new(error, attempt.path, Some(port), doing).into(),
        None => HttpFailure::Malformed(plain(error.to_string().as_bytes())).into(),
    }
}

/// "200-204, 301".
fn ranges(status: &BTreeSet<u16>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for &status in status {
        match ranges.last_mut() {
            Some((_, last)) if status == last.saturating_add(1) => *last = status,
            _ => ranges.push((status, status)),
        }
    }
    let shown =
        |(first, last): (u16, u16)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    ranges.into_iter().map(shown).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_statuses_are_told_in_ranges() {
        assert_eq!(ranges(&BTreeSet::from([200])), "200");
        assert_eq!(ranges(&BTreeSet::from([200, 201, 202, 301, 404, 405])), "200-202, 301, 404-405");
    }

    #[test]
    fn an_address_is_a_host_with_a_port_if_it_is_not_the_default_one() {
        let host = |address: &str, port| host(address.parse().expect("an address"), port, 80);
        assert_eq!(
            (host("192.0.2.1", 80), host("192.0.2.1", 8080)),
            ("192.0.2.1".into(), "192.0.2.1:8080".into())
        );
        assert_eq!((host("2001:db8::1", 80), host("::1", 81)), ("[2001:db8::1]".into(), "[::1]:81".into()));
    }
}
