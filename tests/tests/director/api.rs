//! The API of a daemon that forwards: as its document says, and its events as things happen.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use lb_lab::{Director, TestResult};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{PATIENCE, answers, lab, web};

/// What the daemon answers: a status and a body.
pub(crate) fn ask(
    director: &Director,
    method: &str,
    path: &str,
    body: &str,
) -> std::io::Result<(String, String)> {
    let mut stream = UnixStream::connect(director.control_socket())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (media, length) = ("application/json", body.len());
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: lb\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
}

/// Whether a body is what the document says of an operation.
fn check(document: &Value, method: &str, path: &str, body: &str) {
    let media = &document["paths"][path][method]["responses"]["200"]["content"];
    let (media, content) =
        media.as_object().and_then(|media| media.iter().next()).expect("a kind of content");
    let mut schema = content["schema"].clone();
    schema["components"] = document["components"].clone();
    let schema = jsonschema::draft202012::new(&schema).expect("a schema");
    let is_lines = media == "application/x-ndjson";
    let answers: Vec<&str> = if is_lines { body.lines().collect() } else { vec![body] };
    assert!(!answers.is_empty(), "{path} answers nothing");
    for answer in answers.into_iter().filter(|answer| !answer.is_empty()) {
        let answer: Value = serde_json::from_str(answer).expect("it is JSON");
        let differs = schema.validate(&answer).err().map(|error| error.to_string());
        assert_eq!(differs, None, "{path}: {answer}");
    }
}

#[test]
fn what_a_daemon_answers_is_as_its_document_says() -> TestResult {
    let lab = lab(2)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    answers(&lab, 4)?;
    let (status, document) = ask(&director, "GET", "/v1/openapi.json", "")?;
    assert!(status.ends_with("200 OK"), "{status}");
    let document: Value = serde_json::from_str(&document)?;
    let reads = ["director", "virtual_servers", "connections", "acl", "timeouts", "configuration"];
    for path in reads.map(|path| format!("/v1/{path}")) {
        let (status, body) = ask(&director, "GET", &path, "")?;
        assert!(status.ends_with("200 OK"), "{path}: {status}");
        check(&document, "get", &path, &body);
    }
    // Of a new flow, of a connection that there is, and of an address that is nobody's.
    let client = lab.client().address();
    let connections = ask(&director, "GET", "/v1/connections?limit=1", "")?.1;
    let known: Value = serde_json::from_str(connections.lines().next().expect("a connection"))?;
    let known = known["client"].as_str().expect("an address");
    for (source, port) in [(format!("{client}:4"), 80), (known.to_owned(), 80), (format!("{client}:4"), 81)] {
        let vip = lab.vip();
        let body = format!(
            r#"{{"source":"{source}","destination":"{vip}:{port}","protocol":"tcp","flags":["syn"]}}"#
        );
        let (status, body) = ask(&director, "POST", "/v1/explain", &body)?;
        assert!(status.ends_with("200 OK"), "{status}: {body}");
        check(&document, "post", "/v1/explain", &body);
    }
    Ok(())
}

#[test]
fn events_tell_what_happens_to_real_servers_and_files() -> TestResult {
    let lab = lab(2)?;
    let mut director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let socket = director.control_socket().display().to_string();
    let binary = director.binary().display().to_string();
    let mut events = lab.director().spawn([&binary, "events", "--last", "5", "--control-socket", &socket])?;
    events.wait_for_line("began, virtual servers: 1", PATIENCE)?;
    let server = &lab.real_servers()[0];
    let address = server.address().to_string();
    director.cli(["weight", "web", &address, "0"])?;
    events.wait_for_line(&format!("\"web\": {address} is draining (was up)"), PATIENCE)?;
    director.cli(["acl", "deny", "198.51.100.0/24"])?;
    events.wait_for_line("acl: +deny 198.51.100.0/24", PATIENCE)?;
    // Nobody answers for it any more.
    server.run(["ip", "link", "set", "eth0", "down"])?;
    events.wait_for_line(&format!("{address} is unresolved"), PATIENCE)?;
    director.change_config("[[virtual_server]]\nno = \"a password\"\n")?;
    assert_eq!(director.try_cli(["reload"])?.status.code(), Some(1));
    events.wait_for_line("not reloaded: ", PATIENCE)?;
    // Ctrl-C is how it is meant to end.
    events.signal(Signal::SIGINT)?;
    assert_eq!(events.wait(PATIENCE)?.code(), Some(0));
    let last = director.cli(["events", "--last", "1", "--no-follow"])?;
    assert!(last.contains("not reloaded"), "{last}");
    let last: Value = director.json(["events", "--last", "1", "--no-follow"])?;
    assert_eq!(last["kind"], "reload_refused");
    assert!(!last.to_string().contains("a password"), "anybody may read it: {last}");
    // Without a daemon it says so, also one that had begun to listen.
    let mut events = lab.director().spawn([&binary, "events", "--last", "1", "--control-socket", &socket])?;
    events.wait_for_line("not reloaded", PATIENCE)?;
    director.stop()?;
    assert_eq!(events.wait(Duration::from_secs(5))?.code(), Some(3), "{}", events.log());
    Ok(())
}

/// Clients that send nothing, and clients that read nothing, in a daemon that forwards.
#[test]
fn idle_clients_keep_neither_operators_nor_traffic_out() -> TestResult {
    let lab = lab(2)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let idle: std::io::Result<Vec<UnixStream>> =
        (0..500).map(|_| UnixStream::connect(director.control_socket())).collect();
    let mut stuck = UnixStream::connect(director.control_socket())?;
    stuck.write_all(b"GET /v1/events?last=100 HTTP/1.1\r\nHost: lb\r\n\r\n")?;
    let listed = director.json(["list"])?;
    assert_eq!(listed["virtual_servers"][0]["name"], "web");
    assert_eq!(answers(&lab, 4)?.len(), 4);
    drop((idle?, stuck));
    Ok(())
}
