//! Probes of servers in this process, over the kernel's loopback: well-behaved ones, and those that are not.

mod dns;
mod exec;
mod hostile;
mod http;
mod measured;
mod network;
mod smtp;
mod tls;
mod words;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use regex::bytes::Regex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Answer, Failure, Limits, NetworkFailure, probe};
use crate::config::{Http, Pattern, Probe};
use crate::health::path::Path;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// For what is to come: nobody waits that long.
const PATIENT: Limits = limits(60_000);

const fn limits(milliseconds: u64) -> Limits {
    let time = Duration::from_millis(milliseconds);
    Limits { timeout: time, connect_timeout: time }
}

fn direct(server: IpAddr) -> Path {
    Path::Direct { server, bind: None }
}

fn pattern(text: &str) -> Pattern {
    Pattern(Regex::new(text).expect("a regular expression"))
}

async fn asked(asked: &Probe) -> Result<Answer, Failure> {
    probe(asked, &direct(V4), PATIENT).await
}

/// A server on the loopback, and its port. It ends with the test's runtime.
async fn serve<Talk>(address: IpAddr, talk: impl Fn(TcpStream) -> Talk + Send + 'static) -> u16
where
    Talk: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(SocketAddr::new(address, 0)).await.expect("listen");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    });
    port
}

/// A server that reads the header of a request, and says this, and closes.
async fn says(said: impl Into<Vec<u8>>) -> u16 {
    let said: Arc<[u8]> = said.into().into();
    serve(V4, move |mut stream| {
        let said = Arc::clone(&said);
        async move {
            header(&mut stream).await;
            // A prober that has heard enough is gone.
            let _ = stream.write_all(&said).await;
        }
    })
    .await
}

/// The header of a request.
async fn header(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => read.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(read).expect("a header in ASCII")
}

/// A port on which nobody listens.
async fn closed_port(address: IpAddr) -> u16 {
    let listener = TcpListener::bind(SocketAddr::new(address, 0)).await.expect("listen");
    listener.local_addr().expect("an address").port()
}

fn http(port: u16) -> Http {
    Http {
        port,
        method: "GET".to_owned(),
        path: "/health?full=1".to_owned(),
        host: None,
        status: BTreeSet::from([200]),
        body: None,
        body_limit: 65_536,
        redirects: 0,
        agent: false,
        tls: None,
    }
}

async fn asked_http(http: Http) -> Result<Answer, Failure> {
    asked(&Probe::Http(Box::new(http))).await
}

/// The words of a failure.
fn words(result: Result<Answer, Failure>) -> String {
    result.expect_err("it is not well").to_string()
}

fn closed(doing: &'static str) -> Failure {
    NetworkFailure::Closed { doing }.into()
}
