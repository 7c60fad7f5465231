//! Clients that are slow, stuck, many, or mean harm.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::super::client;
use super::*;

/// Long enough for anything here on a busy machine, and too short for nothing to happen.
const SOON: Duration = Duration::from_secs(10);

/// Bounds that a test can wait for.
fn short() -> Limits {
    let short = Duration::from_millis(200);
    Limits { header: short, body: short, write: short, turn: short, ..Limits::default() }
}

async fn connect(daemon: &Daemon) -> UnixStream {
    UnixStream::connect(&daemon.socket).await.expect("the daemon accepts")
}

/// Writes all of it, unless the daemon closes.
async fn write(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// All that comes until the daemon closes.
async fn rest(stream: &UnixStream) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            stream.readable().await?;
            match stream.try_read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Closed with something unread, a socket is reset; what was sent before is there.
                Err(error) => return Err(error),
            }
        }
    };
    let _: io::Result<()> = timeout(SOON, reading).await.expect("the daemon closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `lb list`, and how long it took.
async fn list(daemon: &Daemon) -> Duration {
    let before = now();
    let listed: Value = client::get(&daemon.socket, "/v1/virtual_servers").await.expect("an answer");
    assert_eq!(listed["virtual_servers"][0]["name"], "web");
    before.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_never_ends_is_not_waited_for() {
    let daemon = World::new().serve(short());
    let silent = connect(&daemon).await;
    rest(&silent).await;
    let stream = connect(&daemon).await;
    write(&stream, b"GET /v1/director HTTP/1.1\r\nHost: lb\r\n").await.expect("it is taken");
    // A byte now and then does not prolong it.
    let drip = async {
        while write(&stream, b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, drip).await.expect("the daemon closes");
    list(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_ends_is_refused() {
    let daemon = World::new().serve(short());
    let post = "POST /v1/weight HTTP/1.1\r\nHost: lb\r\nContent-Type: application/json\r\n";
    let stream = connect(&daemon).await;
    write(&stream, format!("{post}Content-Length: 100\r\n\r\n{{").as_bytes()).await.expect("it is taken");
    let answer = rest(&stream).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("too_slow"), "{answer}");
    // One that says beforehand that it is too long, and one that only turns out to be.
    let stream = connect(&daemon).await;
    write(&stream, format!("{post}Content-Length: 100000\r\n\r\n").as_bytes()).await.expect("it is taken");
    let answer = rest(&stream).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("65536 bytes"), "{answer}");
    let stream = connect(&daemon).await;
    write(&stream, format!("{post}Transfer-Encoding: chunked\r\n\r\n").as_bytes())
        .await
        .expect("it is taken");
    let chunk = [b"1000\r\n".as_slice(), &[b' '; 0x1000], b"\r\n"].concat();
    while write(&stream, &chunk).await.is_ok() {}
    let answer = rest(&stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    list(&daemon).await;
}

/// What a client does not take is neither kept for it nor waited for.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_reads_is_given_up() {
    let daemon = World::new().serve(short());
    // An answer that no socket's buffer has room for.
    let rules: Vec<String> = (0..20_000u32).map(|n| Ipv4Addr::from(n << 8).to_string()).collect();
    let changes = json!({ "changes": [{ "op": "set_acl", "set": { "deny": rules } }] });
    let done: Value = client::post(&daemon.socket, "/v1/changes", &changes).await.expect("made");
    assert_eq!(done["changed"], true);
    let mut streams = Vec::new();
    for _ in 0..20 {
        let stream = connect(&daemon).await;
        write(&stream, b"GET /v1/acl HTTP/1.1\r\nHost: lb\r\n\r\n").await.expect("it is taken");
        streams.push(stream);
    }
    tokio::time::sleep(2 * short().write).await;
    list(&daemon).await;
    for stream in streams {
        let answer = rest(&stream).await;
        let length = answer.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
        let length: usize = length.expect("a length").parse().expect("a number");
        assert!(answer.len() < length, "{} of {length} bytes", answer.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_keep_nobody_out() {
    let daemon = World::new().serve(Limits::default());
    let mut idle = Vec::new();
    let connecting = async {
        for _ in 0..2000 {
            idle.push(connect(&daemon).await);
        }
    };
    timeout(SOON, connecting).await.expect("they are let in");
    let took = list(&daemon).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(idle);
}

/// It was read by recursion until the stack ended; and 127 levels are JSON, but no configuration.
#[tokio::test(flavor = "multi_thread")]
async fn nesting_is_bounded() {
    let daemon = World::new().serve(Limits::default());
    for depth in [100, 127, 1_000_000] {
        let nested = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let change = r#"{"changes":[{"op":"edit_service","service":"web","set":{"acl":"#;
        let body = format!("{change}{nested}}}}}]}}");
        let stream = connect(&daemon).await;
        let head = "POST /v1/changes HTTP/1.1\r\nHost: lb\r\nContent-Type: application/json\r\n";
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        write(&stream, request.as_bytes()).await.expect("it is taken");
        let answer = rest(&stream).await;
        assert!(answer.starts_with("HTTP/1.1 4") && answer.contains("\"invalid\""), "{depth}: {answer}");
    }
    list(&daemon).await;
}

/// Fifty clients that change things as fast as they can: others are answered, and what links and neighbours tell the
/// reconciler gets through.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_changes_delays_others_little() {
    let daemon = World::new().serve(Limits::default());
    let mut flood = tokio::task::JoinSet::new();
    for client in 0..50u32 {
        let socket = daemon.socket.clone();
        flood.spawn(async move {
            for n in 1.. {
                let weight =
                    json!({ "service": "web", "server": "192.0.2.11", "weight": (n * 50 + client) % 1000 });
                let _: Value = client::post(&socket, "/v1/weight", &weight).await.expect("it is changed");
            }
        });
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        slowest = slowest.max(list(&daemon).await);
        let (done, answer) = oneshot::channel();
        let before = now();
        daemon.inputs.send(Input::Zero { service: None, done }).await.expect("the reconciler runs");
        answer.await.expect("an answer").expect("zeroed");
        slowest = slowest.max(before.elapsed());
    }
    assert!(flood.try_join_next().is_none(), "nobody of the flood was refused");
    flood.abort_all();
    println!("slowest of 50: {slowest:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

/// One request holds up the reconciler for no longer than its changes take: there may be only so many of them.
#[tokio::test(flavor = "multi_thread")]
async fn one_request_makes_only_so_many_changes() {
    let daemon = World::new().serve(Limits::default());
    let rule =
        |n: u32| json!({ "op": "acl", "action": "deny", "prefix": Ipv4Addr::from(n << 8).to_string() });
    let most = Limits::default().changes_at_once;
    let rules = |count: usize| json!({ "changes": (0u32..).take(count).map(rule).collect::<Vec<_>>() });
    let refused = client::post::<Value>(&daemon.socket, "/v1/changes", &rules(most + 1)).await;
    let refused = refused.expect_err("they are too many").to_string();
    assert!(refused.contains(&most.to_string()), "{refused}");
    let before = now();
    let _: Value = client::post(&daemon.socket, "/v1/changes", &rules(most)).await.expect("they are made");
    let took = before.elapsed();
    println!("{most} changes took {took:?}");
    assert!(took < SOON, "{took:?}");
}
