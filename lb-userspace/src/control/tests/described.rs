//! The OpenAPI document says of the server what is true.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::super::api;
use super::super::operation::{Described, Effect};
use super::super::routes::operations;
use super::*;

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

/// The document, as a server gives it.
pub(super) struct Document(Value);

impl Document {
    pub(super) async fn of(router: &Router) -> Self {
        let (status, document) = ask(router, "GET", "/v1/openapi.json", None).await;
        assert_eq!(status, StatusCode::OK);
        Self(document)
    }

    /// Each path with its methods.
    pub(super) fn operations(&self) -> BTreeSet<(String, String)> {
        let paths = self.0["paths"].as_object().expect("paths");
        let methods = |item: &Value| item.as_object().expect("methods").keys().cloned().collect::<Vec<_>>();
        let of = paths.iter().flat_map(|(path, item)| {
            methods(item).into_iter().map(move |method| (method.to_uppercase(), path.clone()))
        });
        of.collect()
    }

    pub(super) fn operation(&self, method: &str, path: &str) -> &Value {
        &self.0["paths"][path][method.to_lowercase()]
    }

    /// Why `value` is not what `schema` says, if it is not.
    pub(super) fn differs(&self, schema: &Value, value: &Value) -> Option<String> {
        let mut whole = schema.clone();
        whole["components"] = self.0["components"].clone();
        let validator = jsonschema::draft202012::new(&whole).expect("a schema");
        validator.validate(value).err().map(|error| format!("{error} at {}", error.instance_path()))
    }
}

pub(super) fn schema(holder: &Value, media: &str) -> Value {
    holder["content"][media]["schema"].clone()
}

/// Requests that are answered as they should be, for every operation.
fn requests() -> Vec<(&'static str, &'static str, Option<Value>)> {
    let explain = json!({ "source": "198.51.100.7:40000", "destination": "192.0.2.1:80", "protocol": "tcp" });
    let server = json!({ "address": "192.0.2.13", "weight": 5 });
    let add = json!({ "op": "add_server", "service": "web", "server": server });
    let rule = json!({ "op": "acl", "action": "deny", "prefix": "203.0.113.0/24" });
    let edit =
        json!({ "op": "edit_server", "service": "web", "server": "192.0.2.11", "set": { "weight": 0 } });
    vec![
        ("GET", "/v1/openapi.json", None),
        ("GET", "/v1/director", None),
        ("POST", "/v1/changes", Some(json!({ "changes": [add, rule, edit] }))),
        ("GET", "/v1/virtual_servers", None),
        ("GET", "/v1/connections?limit=5&service=web", None),
        ("POST", "/v1/explain", Some(explain)),
        ("POST", "/v1/acl", Some(json!({ "action": "allow", "prefix": "2001:db8::/32", "service": "dns" }))),
        ("GET", "/v1/acl", None),
        ("POST", "/v1/timeouts", Some(json!({ "tcp": 600 }))),
        ("GET", "/v1/timeouts", None),
        ("POST", "/v1/weight", Some(json!({ "service": "web", "server": "192.0.2.10", "weight": 7 }))),
        ("POST", "/v1/zero", Some(json!({ "service": "web" }))),
        ("POST", "/v1/reload", Some(json!({ "confirm_within": 60 }))),
        ("GET", "/v1/configuration", None),
        ("POST", "/v1/confirm", None),
        ("GET", "/v1/health", None),
        ("GET", "/v1/vrrp", None),
        ("GET", "/v1/sync", None),
        ("GET", "/metrics", None),
        ("POST", "/v1/check_now", Some(json!({ "server": "192.0.2.10" }))),
        ("GET", "/v1/events?last=100&follow=false", None),
        ("GET", "/v1/live?last=100&follow=false", None),
        ("GET", "/v1/trace?client=198.51.100.0/24&service=web&count=1", None),
    ]
}

#[tokio::test]
async fn every_answer_is_as_the_document_says() {
    let (_directory, router) = World::new().router(Access::Full);
    let document = Document::of(&router).await;
    let mut asked = BTreeSet::new();
    for (method, path, body) in requests() {
        let (plain, _) = path.split_once('?').unwrap_or((path, ""));
        asked.insert((method.to_owned(), plain.to_owned()));
        let operation = document.operation(method, plain);
        if let Some(body) = &body {
            let question = schema(&operation["requestBody"], "application/json");
            assert_eq!(document.differs(&question, body), None, "{method} {path} asks {body}");
        }
        let (status, answer) = ask(&router, method, path, body.as_ref()).await;
        // There is no program in this process that could be asked.
        let expected = if ["/v1/explain", "/v1/trace"].contains(&plain) { 500 } else { 200 };
        assert_eq!(status, expected, "{method} {path}: {answer}");
        let response = match status {
            StatusCode::OK => &operation["responses"]["200"],
            _ => &operation["responses"]["default"],
        };
        let streams = ["application/x-ndjson", "text/event-stream"];
        let (answers, schema) =
            match streams.into_iter().find(|media| response["content"].get(media).is_some()) {
                Some(media) => (answer.as_array().expect("a stream").clone(), schema(response, media)),
                None => {
                    let kinds = response["content"].as_object();
                    let (media, _) = kinds.and_then(|kinds| kinds.iter().next()).expect("one");
                    (vec![answer], schema(response, media))
                }
            };
        if plain == "/v1/events" || plain == "/v1/live" {
            assert!(answers.len() > 5, "every change above: {answers:?}");
        }
        for answer in answers {
            assert_eq!(document.differs(&schema, &answer), None, "{method} {path}: {answer}");
        }
    }
    assert_eq!(asked, document.operations(), "every operation is tried here");
}

/// A lab has the explanations of real programs; here is one of each of the other things that none of the above has.
#[tokio::test]
async fn what_a_daemon_without_programs_never_answers_is_as_the_document_says() {
    let (_directory, router) = World::new().router(Access::Full);
    let document = Document::of(&router).await;
    let connection = api::Connection {
        kind: api::ConnectionKind::Template,
        protocol: "tcp".to_owned(),
        state: "TEMPLATE".to_owned(),
        expires_in: 5,
        client: "198.51.100.7:0".to_owned(),
        virtual_address: "192.0.2.1:80".to_owned(),
        real_server: None,
        service: None,
        half_open: false,
    };
    let lines = &document.operation("GET", "/v1/connections")["responses"]["200"];
    let lines = schema(lines, "application/x-ndjson");
    let connection = serde_json::to_value(connection).expect("it is JSON");
    assert_eq!(document.differs(&lines, &connection), None);
    let wrong = json!({ "kind": "connection" });
    assert!(document.differs(&lines, &wrong).is_some(), "a schema that takes everything proves nothing");
}

#[tokio::test]
async fn the_server_answers_what_the_document_has_and_nothing_else() {
    let (_directory, router) = World::new().router(Access::Full);
    let document = Document::of(&router).await;
    let listed: Vec<_> =
        operations().into_iter().filter(|operation| Access::Full.allows(operation.effect, false)).collect();
    let described = document.operations();
    assert_eq!(described.len(), listed.len(), "each operation once");
    let paths: BTreeSet<&str> = listed.iter().map(|operation| operation.path).collect();
    for path in paths {
        for method in METHODS {
            let is_described = described.contains(&(method.to_owned(), path.to_owned()));
            // Nothing is sent, so that nothing is changed.
            let response = send(&router, method, &format!("{path}?follow=false&limit=x"), None).await;
            let is_wrong = response.status() == StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(is_described, !is_wrong, "{method} {path}: {}", response.status());
        }
    }
    assert_eq!(document.0["openapi"], "3.1.0");
}

/// A type's name is its address in the document.
#[test]
fn no_two_types_have_the_same_name() {
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    let operations = operations().into_iter();
    let types = operations.flat_map(|operation| [Some(operation.answer), operation.question]).flatten();
    for (name, schema) in types.chain([Described::of::<api::Problem>()]).flat_map(|of| of.schemas) {
        let schema = serde_json::to_value(&schema).expect("it is JSON");
        let first = known.entry(name.clone()).or_insert_with(|| schema.clone());
        assert_eq!(*first, schema, "two types are called {name}");
    }
}

#[tokio::test]
async fn what_is_refused_is_refused_in_json_and_says_what_would_be_right() {
    let (_directory, router) = World::new().router(Access::Full);
    let document = Document::of(&router).await;
    let problem = json!({ "$ref": "#/components/schemas/Problem" });
    let weight = |weight: Value| json!({ "service": "web", "server": "192.0.2.10", "weight": weight });
    let change = |change: Value| json!({ "changes": [change] });
    let wrong_key = json!({ "op": "edit_service", "service": "web", "set": { "shceduler": "rr" } });
    for (method, path, body, status, kind, says) in [
        ("GET", "/v1/nothing", None, 404, "no_such_path", "there is no /v1/nothing; GET /v1/openapi.json"),
        ("GET", "/", None, 404, "no_such_path", "/v1/openapi.json"),
        ("DELETE", "/v1/acl", None, 405, "no_such_method", "/v1/acl does not answer DELETE"),
        ("GET", "/v1/reload", None, 405, "no_such_method", "/v1/reload does not answer GET"),
        ("GET", "/v1/connections?colour=red", None, 400, "invalid", "colour"),
        ("GET", "/v1/events?last=-1", None, 400, "invalid", "last"),
        ("POST", "/v1/weight", None, 400, "invalid", "JSON"),
        ("POST", "/v1/weight", Some(weight(json!("many"))), 422, "invalid", "weight"),
        ("POST", "/v1/weight", Some(weight(json!(-1))), 422, "invalid", "weight"),
        ("POST", "/v1/changes", Some(change(wrong_key)), 400, "invalid", "scheduler"),
        ("POST", "/v1/zero", Some(json!({ "service": "wbe" })), 404, "no_such_service", "web"),
        ("POST", "/v1/zero", Some(json!({ "server": "web" })), 422, "invalid", "server"),
    ] {
        let (found, answer) = ask(&router, method, path, body.as_ref()).await;
        assert_eq!((found.as_u16(), &answer["kind"]), (status, &json!(kind)), "{method} {path}: {answer}");
        assert!(answer["error"].as_str().expect("words").contains(says), "{method} {path}: {answer}");
        assert_eq!(document.differs(&problem, &answer), None, "{answer}");
    }
    let allow = send(&router, "PUT", "/v1/acl", None).await;
    let allow = allow.headers()["allow"].to_str().expect("text").to_owned();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    let request = Request::post("/v1/zero").body(Body::from("{}")).expect("a request");
    let answer = TowerToHyperService::new(router.clone()).call(request).await.expect("an answer");
    assert_eq!(answer.status(), 415, "what a form in a browser could send");
}

#[tokio::test]
async fn read_only_reads_and_reveals_nothing() {
    let (_directory, router) = World::new().router(Access::Anybody);
    let document = Document::of(&router).await;
    for operation in operations() {
        let method = operation.method_name();
        if operation.effect == Effect::Reads {
            // Or the answer would not end.
            let streams = ["/v1/events", "/v1/live"];
            let query = if streams.contains(&operation.path) { "?follow=false" } else { "" };
            let path = format!("{}{query}", operation.path);
            assert_eq!(send(&router, method, &path, None).await.status(), 200, "{path}");
            continue;
        }
        let (status, answer) = ask(&router, method, operation.path, Some(&json!({}))).await;
        assert_eq!(
            (status.as_u16(), &answer["kind"]),
            (403, &json!("read_only")),
            "{method} {}",
            operation.path
        );
        assert!(document.operation(method, operation.path).is_null(), "it is not in the document either");
    }
    let readable: Vec<_> = document.operations().into_iter().map(|(_, path)| path).collect();
    assert_eq!(
        readable,
        [
            "/metrics",
            "/v1/acl",
            "/v1/director",
            "/v1/events",
            "/v1/health",
            "/v1/live",
            "/v1/openapi.json",
            "/v1/sync",
            "/v1/timeouts",
            "/v1/virtual_servers",
            "/v1/vrrp"
        ]
    );
}
