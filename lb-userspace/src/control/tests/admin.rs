//! Administrators at `director.http`.

use std::fs;
use std::net::{Ipv4Addr, TcpListener as StdTcpListener};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::client;
use super::super::operation::Effect;
use super::super::routes::operations;
use super::described::{Document as Described, schema};
use super::*;

const SECRET: &str = "correct horse battery staple";
const HOST: (&str, &str) = ("host", "192.0.2.1:9811");
const OWN: (&str, &str) = ("origin", "http://192.0.2.1:9811");
const JSON: (&str, &str) = ("content-type", "application/json");

/// A file with a secret.
struct Key {
    directory: TempDir,
}

impl Key {
    fn new() -> Self {
        let key = Self { directory: tempfile::tempdir().expect("there is room for files") };
        key.write(SECRET);
        key
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("admin.key")
    }

    fn write(&self, secret: &str) {
        fs::write(self.path(), format!("{secret}\n")).expect("it is written");
        fs::set_permissions(self.path(), fs::Permissions::from_mode(0o600)).expect("it is changed");
    }

    /// A configuration file that names it.
    fn file(&self, http: &str) -> Document {
        let keys = format!("[director]\nhttp = \"{http}\"\nhttp_admin_file = \"{}\"", self.path().display());
        document(&FILE.replace("[director]", &keys))
    }
}

/// `director.http` of a director that has administrators.
struct Site {
    router: Router,
    key: Key,
    inputs: mpsc::Sender<Input>,
    _directory: TempDir,
}

struct Answer {
    status: u16,
    headers: axum::http::HeaderMap,
    body: Value,
}

impl Answer {
    fn kind(&self) -> &str {
        self.body["kind"].as_str().unwrap_or_default()
    }

    fn cookie(&self) -> &str {
        self.headers["set-cookie"].to_str().expect("text")
    }
}

/// Somebody who has signed in.
struct Session {
    cookie: String,
    token: String,
}

impl Session {
    fn headers(&self) -> [(&str, &str); 5] {
        [HOST, OWN, JSON, ("cookie", &self.cookie), ("x-csrf-token", &self.token)]
    }
}

impl Site {
    fn new() -> Self {
        let key = Key::new();
        let world = World::with(key.file("192.0.2.1:9811"));
        let inputs = world.inputs.clone();
        let (directory, router) = world.router(Access::Anybody);
        Self { router, key, inputs, _directory: directory }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() { Body::empty() } else { body.to_string().into() };
        let request = request.body(body).expect("a request");
        let answer = TowerToHyperService::new(self.router.clone()).call(request).await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.into_body().collect().await.expect("a whole answer").to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        Answer { status, headers, body }
    }

    async fn try_to_sign_in(&self, secret: &str) -> Answer {
        self.ask("POST", "/v1/session", &[HOST, OWN, JSON], &json!({ "token": secret })).await
    }

    async fn sign_in(&self) -> Session {
        let answer = self.try_to_sign_in(SECRET).await;
        assert_eq!((answer.status, &answer.body["signed_in"]), (200, &json!(true)), "{}", answer.body);
        let (cookie, _) = answer.cookie().split_once(';').expect("attributes");
        let token = answer.body["csrf_token"].as_str().expect("a token").to_owned();
        Session { cookie: cookie.to_owned(), token }
    }

    async fn set_weight(&self, headers: &[(&str, &str)], weight: u32) -> Answer {
        let body = json!({ "service": "web", "server": "192.0.2.10", "weight": weight });
        self.ask("POST", "/v1/weight", headers, &body).await
    }

    /// What the first real server's weight is.
    async fn weight(&self) -> Value {
        let (_, listed) = ask(&self.router, "GET", "/v1/virtual_servers", None).await;
        listed["virtual_servers"][0]["real_servers"][0]["weight"].clone()
    }

    async fn reload(&self, file: Document) {
        let (done, reloaded) = oneshot::channel();
        let input = Input::Reload { file: Box::new(file), kind: ReloadKind::Stays, done };
        self.inputs.send(input).await.expect("the reconciler runs");
        reloaded.await.expect("an answer").expect("reloaded");
    }
}

#[tokio::test]
async fn without_the_key_nobody_signs_in_and_nothing_is_changed() {
    let mut site = Site::new();
    (site._directory, site.router) = World::new().router(Access::Anybody);
    let bearer = format!("Bearer {SECRET}");
    for (method, path) in
        [("GET", "/v1/session"), ("POST", "/v1/session"), ("DELETE", "/v1/session"), ("POST", "/v1/weight")]
    {
        let headers = [HOST, OWN, JSON, ("authorization", bearer.as_str())];
        let answer = site.ask(method, path, &headers, &json!({ "token": SECRET })).await;
        assert_eq!((answer.status, answer.kind()), (403, "read_only"), "{method} {path}: {}", answer.body);
    }
    assert_eq!(site.set_weight(&[HOST, ("authorization", &bearer), JSON], 0).await.status, 403);
    assert_eq!(site.weight().await, 1);
    let (_, shown) = ask(&site.router, "GET", "/v1/live?follow=false", None).await;
    assert_eq!(shown[0]["admin"], false);
}

/// The whole list, so that nothing that is added to it is let through by mistake.
#[tokio::test]
async fn whoever_has_proved_it_changes_weights_and_nothing_else() {
    let site = Site::new();
    let session = site.sign_in().await;
    let bearer = format!("Bearer {SECRET}");
    let with_bearer = [HOST, JSON, ("authorization", bearer.as_str())];
    let mut opened = Vec::new();
    for operation in operations() {
        let (method, path) = (operation.method_name(), operation.path);
        let proofs = [&[HOST, JSON][..], &with_bearer, &session.headers()];
        if [Effect::Reads, Effect::Proves].contains(&operation.effect) {
            continue;
        }
        let mut found = Vec::new();
        for proof in proofs {
            let answer = site.ask(method, path, proof, &json!({})).await;
            found.push((answer.status, answer.kind().to_owned()));
        }
        let refused = (403, "read_only".to_owned());
        if found == [refused.clone(), refused.clone(), refused] {
            continue;
        }
        // What was sent is no question.
        let (signed_out, invalid) = ((401, "signed_out".to_owned()), (422, "invalid".to_owned()));
        assert_eq!(found, [signed_out, invalid.clone(), invalid], "{method} {path}");
        opened.push((method, path));
    }
    assert_eq!(opened, [("POST", "/v1/weight")]);
    let answer = site.set_weight(&session.headers(), 0).await;
    assert_eq!((answer.status, &answer.body["before"]), (200, &json!(1)), "{}", answer.body);
    assert_eq!(site.weight().await, 0);
    let answer = site.set_weight(&with_bearer, 5).await;
    assert_eq!((answer.status, site.weight().await), (200, json!(5)), "{}", answer.body);
    let unknown = json!({ "service": "web", "server": "192.0.2.99", "weight": 1 });
    let answer = site.ask("POST", "/v1/weight", &with_bearer, &unknown).await;
    assert_eq!((answer.status, answer.kind()), (404, "no_such_server"), "as root is told");
}

#[tokio::test]
async fn a_session_is_a_cookie_that_no_program_and_no_other_site_has() {
    let site = Site::new();
    let answer = site.try_to_sign_in(SECRET).await;
    let parts: Vec<&str> = answer.cookie().split("; ").collect();
    let (name, id) = parts[0].split_once('=').expect("a name and a value");
    assert_eq!((name, id.len()), ("lb_session_9811", 64), "two directors behind ssh -L differ in the port");
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(parts.contains(&part), "{parts:?}");
    }
    assert_eq!(parts.len(), 4, "neither for long nor for others: {parts:?}");
    assert_eq!(answer.body["expires_in"], 30 * 60);
    assert!(!answer.body.to_string().contains(id), "the page is not told");
    let other = site.try_to_sign_in(SECRET).await;
    assert_ne!(other.cookie(), answer.cookie());
    assert_ne!(other.body["csrf_token"], answer.body["csrf_token"]);
    let proxied =
        [("host", "lb.localhost"), ("origin", "https://lb.localhost"), JSON, ("x-forwarded-proto", "https")];
    let answer = site.ask("POST", "/v1/session", &proxied, &json!({ "token": SECRET })).await;
    assert!(
        answer.cookie().starts_with("lb_session=") && answer.cookie().contains("; Secure"),
        "{}",
        answer.cookie()
    );
}

#[tokio::test]
async fn after_some_wrong_secrets_none_is_looked_at_for_a_while() {
    let site = Site::new();
    let session = site.sign_in().await;
    for attempt in 0..10 {
        // However they come.
        let answer = match attempt % 2 {
            0 => site.try_to_sign_in(&format!("{SECRET}{attempt}")).await,
            _ => site.set_weight(&[HOST, JSON, ("authorization", "Bearer guessed")], 0).await,
        };
        assert_eq!((answer.status, answer.kind()), (401, "wrong_secret"), "{}", answer.body);
        assert_eq!(answer.headers["www-authenticate"], "Bearer realm=\"lb\"");
        assert!(!answer.headers.contains_key("set-cookie"));
    }
    let answer = site.try_to_sign_in(SECRET).await;
    assert_eq!((answer.status, answer.kind()), (429, "too_many_attempts"), "also the right one");
    let after: u64 = answer.headers["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=60).contains(&after), "{after}");
    assert_eq!(site.set_weight(&session.headers(), 7).await.status, 200, "who is in stays in");
    let (_, metrics) = ask(&site.router, "GET", "/metrics", None).await;
    assert!(metrics.as_str().expect("text").contains("lb_http_sign_in_failures_total 10\n"));
}

/// What a browser sends for a page of somebody else, and what it sends for this one.
#[tokio::test]
async fn only_the_page_itself_changes_anything() {
    let site = Site::new();
    let session = site.sign_in().await;
    let (cookie, token) = (("cookie", session.cookie.as_str()), ("x-csrf-token", session.token.as_str()));
    let other = site.sign_in().await;
    let other_token = ("x-csrf-token", other.token.as_str());
    let foreign = ("origin", "http://attacker.example");
    let site_is = |site| ("sec-fetch-site", site);
    for (headers, status, kind) in [
        (vec![cookie, OWN, token], 200, ""),
        (vec![cookie, site_is("same-origin"), token], 200, ""),
        (vec![cookie, site_is("same-origin"), foreign, token], 200, ""),
        (vec![cookie, OWN], 403, "no_csrf_token"),
        (vec![cookie, OWN, other_token], 403, "no_csrf_token"),
        (vec![cookie, OWN, ("x-csrf-token", "")], 403, "no_csrf_token"),
        (vec![cookie, token], 403, "other_origin"),
        (vec![cookie, foreign, token], 403, "other_origin"),
        (vec![cookie, ("origin", "null"), token], 403, "other_origin"),
        (vec![cookie, ("origin", "http://192.0.2.1:8080"), token], 403, "other_origin"),
        (vec![cookie, ("origin", "http://192.0.2.1:98111"), token], 403, "other_origin"),
        (vec![cookie, OWN, site_is("cross-site"), token], 403, "other_origin"),
        (vec![cookie, OWN, site_is("same-site"), token], 403, "other_origin"),
        (vec![cookie, OWN, site_is("none"), token], 403, "other_origin"),
        (vec![OWN, token], 401, "signed_out"),
        (vec![("cookie", "lb_session_9811=0123"), OWN, token], 401, "signed_out"),
    ] {
        let headers: Vec<_> = headers.into_iter().chain([HOST, JSON]).collect();
        let before = site.weight().await;
        let answer = site.set_weight(&headers, if before == 3 { 4 } else { 3 }).await;
        assert_eq!((answer.status, answer.kind()), (status, kind), "{headers:?}: {}", answer.body);
        assert_eq!(answer.body["error"].is_string(), status != 200);
        assert_eq!(site.weight().await == before, status != 200, "{headers:?}");
    }
    let form = [cookie, OWN, token, HOST, ("content-type", "text/plain")];
    assert_eq!(site.set_weight(&form, 0).await.status, 415, "what a form can send");

    // Nor does another page sign anybody in or out.
    for (headers, kind) in [(vec![HOST, foreign, JSON], "other_origin"), (vec![HOST, JSON], "other_origin")] {
        let answer = site.ask("POST", "/v1/session", &headers, &json!({ "token": SECRET })).await;
        assert_eq!((answer.status, answer.kind()), (403, kind));
    }
    let answer = site.ask("DELETE", "/v1/session", &[HOST, OWN, cookie], &Value::Null).await;
    assert_eq!((answer.status, answer.kind()), (403, "no_csrf_token"));
    let answer = site.ask("DELETE", "/v1/session", &[HOST, foreign, cookie, token], &Value::Null).await;
    assert_eq!((answer.status, answer.kind()), (403, "other_origin"));
    assert_eq!(site.set_weight(&session.headers(), 2).await.status, 200, "still signed in");
}

#[tokio::test]
async fn a_session_ends_by_signing_out_and_with_the_secret_that_it_was_begun_with() {
    let site = Site::new();
    let shown = async |session: &Session| {
        site.ask("GET", "/v1/session", &[HOST, ("cookie", &session.cookie)], &Value::Null).await.body
    };
    let session = site.sign_in().await;
    let found = shown(&session).await;
    assert_eq!((&found["signed_in"], &found["csrf_token"]), (&json!(true), &json!(session.token)));
    let answer = site.ask("DELETE", "/v1/session", &session.headers(), &Value::Null).await;
    assert_eq!((answer.status, &answer.body["signed_out"]), (200, &json!(true)));
    assert!(answer.cookie().starts_with("lb_session_9811=; ") && answer.cookie().contains("Max-Age=0"));
    assert_eq!(shown(&session).await, json!({ "signed_in": false }));
    let answer = site.set_weight(&session.headers(), 0).await;
    assert_eq!(
        (answer.status, answer.kind()),
        (401, "signed_out"),
        "a cookie that was kept is worth nothing"
    );

    let session = site.sign_in().await;
    site.key.write("another secret altogether");
    assert_eq!(site.set_weight(&session.headers(), 0).await.status, 401);
    assert_eq!(site.try_to_sign_in(SECRET).await.status, 401);
    assert_eq!(site.try_to_sign_in("another secret altogether").await.status, 200);

    site.key.write(SECRET);
    let session = site.sign_in().await;
    fs::set_permissions(site.key.path(), fs::Permissions::from_mode(0o644)).expect("it is changed");
    let answer = site.set_weight(&session.headers(), 0).await;
    assert_eq!((answer.status, answer.kind()), (500, "failed"), "{}", answer.body);
    assert!(!answer.body.to_string().contains("admin.key"), "no paths for everybody: {}", answer.body);
    site.key.write(SECRET);
    assert_eq!(site.set_weight(&session.headers(), 6).await.status, 200);

    site.reload(file()).await;
    let answer = site.set_weight(&session.headers(), 0).await;
    assert_eq!((answer.status, answer.kind()), (403, "read_only"), "without the key there is nobody");
    assert_eq!(site.weight().await, 6);
}

/// With the address that it came from, as the connection says.
#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_who_changed_what() {
    let listener = StdTcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let key = Key::new();
    let daemon = World::with(key.file(&address.to_string())).serve(Limits::default());
    let body = json!({ "service": "web", "server": "192.0.2.11", "weight": 0 }).to_string();
    let request = format!(
        "POST /v1/weight HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {SECRET}\r\n\
         X-Forwarded-For: 203.0.113.9\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // The same a second time changes nothing.
    for _ in 0..2 {
        let mut stream = loop {
            match TcpStream::connect(address).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        };
        stream.write_all(request.as_bytes()).await.expect("it is taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let weight = json!({ "service": "web", "server": "192.0.2.11", "weight": 3 });
    let _: Value = client::post(&daemon.socket, "/v1/weight", &weight).await.expect("root may too");
    let mut told = Vec::new();
    let take = |line: &[u8]| {
        told.push(serde_json::from_slice::<Value>(line).expect("a line is JSON"));
        std::ops::ControlFlow::<()>::Continue(())
    };
    let all = client::lines(&daemon.socket, "/v1/events?last=100&follow=false", take).await;
    assert!(all.expect("events").is_continue());
    let told: Vec<_> = told.iter().filter(|event| event["kind"] == "admin_change").collect();
    let [event] = told[..] else { panic!("{told:?}") };
    assert_eq!(event["client"], "127.0.0.1", "what a client says of itself does not count");
    assert_eq!((&event["service"], &event["server"]), (&json!("web"), &json!("192.0.2.11")));
    assert_eq!((&event["before"], &event["after"]), (&json!(3), &json!(0)));
}

#[tokio::test]
async fn the_document_has_what_administrators_may() {
    let site = Site::new();
    let document = Described::of(&site.router).await;
    let session = site.sign_in().await;
    for (method, path, body) in [
        ("GET", "/v1/session", Value::Null),
        ("POST", "/v1/session", json!({ "token": SECRET })),
        ("POST", "/v1/weight", json!({ "service": "web", "server": "192.0.2.10", "weight": 7 })),
        ("DELETE", "/v1/session", Value::Null),
    ] {
        let operation = document.operation(method, path);
        if !body.is_null() {
            let question = schema(&operation["requestBody"], "application/json");
            assert_eq!(document.differs(&question, &body), None, "{method} {path}");
        }
        let answer = site.ask(method, path, &session.headers(), &body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
        let schema = schema(&operation["responses"]["200"], "application/json");
        assert_eq!(document.differs(&schema, &answer.body), None, "{method} {path}: {}", answer.body);
    }
    let open = operations()
        .into_iter()
        .filter(|operation| [Effect::Reads, Effect::Administers, Effect::Proves].contains(&operation.effect));
    assert_eq!(document.operations().len(), open.count());
}
