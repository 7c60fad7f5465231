//! `director.http`: for whoever reaches it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::super::{check_http, client};
use super::*;

/// Long enough for anything here on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// A file with this address.
fn with_http(address: SocketAddr) -> Document {
    let http = format!("[director]\nhttp = \"{address}\"\nhttp_names = [\"LB.example.net\"]");
    document(&FILE.replace("[director]", &http))
}

/// An address that nobody listens on.
fn free() -> SocketAddr {
    let listener = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    listener.local_addr().expect("it is bound")
}

/// What is answered there, head and body, as soon as somebody does.
async fn get(address: SocketAddr, method: &str, path: &str) -> String {
    let asking = async {
        loop {
            match get_once(address, method, path).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    sleep(Duration::from_millis(20)).await;
                }
                answer => return answer.expect("an answer"),
            }
        }
    };
    timeout(SOON, asking).await.expect("somebody listens soon")
}

async fn get_once(address: SocketAddr, method: &str, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_there_reads_and_changes_nothing() {
    let address = free();
    let daemon = World::with(with_http(address)).serve(Limits::default());
    let answer = get(address, "GET", "/v1/virtual_servers").await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    for header in
        ["cache-control: no-store", "x-content-type-options: nosniff", "referrer-policy: no-referrer"]
    {
        assert!(head.contains(header), "{header}: {head}");
    }
    let listed: Value = client::get(&daemon.socket, "/v1/virtual_servers").await.expect("an answer");
    assert_eq!(serde_json::from_str::<Value>(body).expect("it is JSON"), listed);
    let head = get(address, "HEAD", "/v1/virtual_servers").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    let page = get(address, "GET", "/").await;
    let policy = "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; ";
    assert!(page.contains(policy) && page.contains("<title>lb</title>"), "{page}");
    for path in ["/page.css", "/page.js", "/admin.js", "/director.js", "/elements.js", "/icon.svg"] {
        assert!(get(address, "GET", path).await.starts_with("HTTP/1.1 200"), "{path}");
    }
    let table = get(address, "GET", "/status.csv").await;
    let line = "web,192.0.2.1:80 192.0.2.1:443,tcp,sh,192.0.2.10,real,up,";
    assert!(table.contains("text/csv") && table.contains(line), "{table}");
    assert!(table.contains(",192.0.2.12,sorry,") && table.ends_with("\r\n"), "{table}");
    for path in ["/v1/configuration", "/v1/connections"] {
        let answer = get(address, "GET", path).await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("read_only"), "{path}: {answer}");
    }
    for path in ["/v1/weight", "/v1/reload", "/v1/changes", "/v1/zero"] {
        let answer = get(address, "POST", path).await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("read_only"), "{path}: {answer}");
    }
}

/// Taken by somebody else, the address is tried until it is free, and everything else is done meanwhile; a reload may
/// name another.
#[tokio::test(flavor = "multi_thread")]
async fn the_address_is_had_when_it_can_be_and_may_change() {
    let taken = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let address = taken.local_addr().expect("it is bound");
    let (first, other) = (with_http(address), with_http(free()));
    let refused = check_http(other.config(), first.config()).expect_err("it is in use").to_string();
    let expected = format!("listen on director.http = \"{address}\": Address already in use");
    assert!(refused.starts_with(&expected) && refused.contains("`ss -ltnp sport = "), "{refused}");
    let nowhere = with_http(SocketAddr::from(([192, 0, 2, 77], 9811)));
    let refused = check_http(other.config(), nowhere.config()).expect_err("no such address").to_string();
    assert!(refused.contains("choose an address that `ip address` shows"), "{refused}");
    let unchanged = check_http(first.config(), first.config());
    assert!(unchanged.is_ok(), "this daemon listens there itself: {unchanged:?}");

    let daemon = World::with(first).serve(Limits::default());
    let listed: Value = client::get(&daemon.socket, "/v1/virtual_servers").await.expect("an answer");
    assert_eq!(listed["virtual_servers"][0]["name"], "web");
    drop(taken);
    assert!(get(address, "GET", "/v1/director").await.starts_with("HTTP/1.1 200"));

    let mut follower = TcpStream::connect(address).await.expect("somebody listens");
    let follow = format!("GET /v1/events?last=1 HTTP/1.1\r\nHost: {address}\r\n\r\n");
    follower.write_all(follow.as_bytes()).await.expect("it is taken");
    let mut events = String::new();
    while !events.contains("daemon_started") {
        let mut some = [0; 1024];
        let count = follower.read(&mut some).await.expect("it is told");
        events.push_str(std::str::from_utf8(&some[..count]).expect("it is text"));
    }
    let second = other.config().director.http.expect("it is configured");
    let (done, reloaded) = oneshot::channel();
    let input = Input::Reload { file: Box::new(other), kind: ReloadKind::Stays, done };
    daemon.inputs.send(input).await.expect("the reconciler runs");
    reloaded.await.expect("an answer").expect("reloaded");
    assert!(get(second, "GET", "/v1/director").await.starts_with("HTTP/1.1 200"));
    let ended = timeout(SOON, follower.read_to_string(&mut events)).await.expect("the stream ends");
    assert!(ended.is_ok() && events.ends_with("0\r\n\r\n"), "in order: {events}");
    let before = get_once(address, "GET", "/v1/director").await;
    assert_eq!(before.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionRefused));

    let (done, reloaded) = oneshot::channel();
    let input = Input::Reload { file: Box::new(file()), kind: ReloadKind::Stays, done };
    daemon.inputs.send(input).await.expect("the reconciler runs");
    reloaded.await.expect("an answer").expect("reloaded");
    let gone = async {
        while get_once(second, "GET", "/v1/director").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, gone).await.expect("nobody listens any more");
    let _ = daemon.stop.send(());
    timeout(SOON, daemon.serving).await.expect("the daemon ends").expect("in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_idle_connections_keep_neither_readers_nor_root_out() {
    let address = free();
    let daemon = World::with(with_http(address)).serve(Limits::default());
    get(address, "GET", "/v1/director").await;
    let mut idle = Vec::new();
    let connecting = async {
        for _ in 0..1000 {
            idle.push(TcpStream::connect(address).await.expect("the daemon accepts"));
        }
    };
    timeout(SOON, connecting).await.expect("they are let in");
    let before = now();
    assert!(get(address, "GET", "/v1/director").await.starts_with("HTTP/1.1 200"));
    let readers = before.elapsed();
    let before = now();
    let _: Value = client::get(&daemon.socket, "/v1/virtual_servers").await.expect("an answer");
    let root = before.elapsed();
    println!("a reader {readers:?}, root {root:?}");
    assert!(readers < SOON / 2 && root < Duration::from_secs(2), "a reader {readers:?}, root {root:?}");
}

/// A name that somebody else's page has resolve to this machine is not answered, whatever it asks for.
#[tokio::test]
async fn only_names_of_this_machine_are_answered() {
    let (_directory, router) = World::with(with_http(free())).router(Access::Anybody);
    let ask = async |host: &str, path: &str| {
        let request = Request::get(path).header("host", host).body(Body::empty()).expect("a request");
        let answer = TowerToHyperService::new(router.clone()).call(request).await.expect("an answer");
        let status = answer.status();
        (status, answer.into_body().collect().await.expect("a whole answer").to_bytes())
    };
    let own = dns_lookup::get_hostname().expect("this machine has a name");
    for host in [
        "127.0.0.1:9811",
        "192.0.2.1",
        "[::1]:9811",
        "[2001:db8::1]",
        "localhost:9811",
        "localhost.",
        "lb.localhost",
        "lb.example.net",
        "Lb.Example.NET.:80",
        &format!("{own}:9811"),
    ] {
        assert_eq!(ask(host, "/v1/director").await.0, StatusCode::OK, "{host}");
    }
    for host in [
        "attacker.example",
        "lb.example.net.attacker.example:9811",
        "localhost.attacker.example",
        "127.0.0.1.attacker.example",
        "127.0.0.1@attacker.example",
        "attacker.example@127.0.0.1.attacker.example:80",
        "[::1].attacker.example",
        "0x7f000001",
        "",
        " ",
    ] {
        for path in ["/v1/director", "/v1/nothing", "/v1/reload"] {
            let (status, body) = ask(host, path).await;
            assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{host} {path}");
            let problem: Value = serde_json::from_slice(&body).expect("it is JSON");
            assert_eq!(problem["kind"], json!("wrong_host"));
        }
    }
    let (status, _) = ask("127.0.0.1", "http://attacker.example/v1/director").await;
    assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "a whole address in the first line counts too");
}
