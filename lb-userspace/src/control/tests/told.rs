//! The stream of events.

use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::json;

use super::super::client;
use super::*;
use crate::state::Happening;

/// The events that come until `take` has enough.
async fn follow(socket: &Path, query: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut events = Vec::new();
    let path = format!("/v1/events?{query}");
    let followed = client::lines(socket, &path, |line| {
        if !line.is_empty() {
            events.push(serde_json::from_slice(line).expect("a line is JSON"));
        }
        if enough(&events) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let followed = tokio::time::timeout(Duration::from_secs(20), followed).await;
    followed.expect("it comes soon").expect("the daemon answers").is_break();
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_as_they_are_made_and_the_last_are_remembered() {
    let daemon = World::new().serve(Limits::default());
    let socket = daemon.socket.clone();
    let begun = follow(&socket, "last=1&follow=false", |_| false).await;
    assert_eq!(begun.len(), 1);
    assert_eq!((&begun[0]["kind"], &begun[0]["sequence"]), (&json!("daemon_started"), &json!(1)));
    let following = tokio::spawn(async move { follow(&socket, "last=1", |events| events.len() == 3).await });
    let weight = json!({ "service": "web", "server": "192.0.2.10", "weight": 0 });
    let _: Value = client::post(&daemon.socket, "/v1/weight", &weight).await.expect("it is changed");
    let told = following.await.expect("it is told");
    assert_eq!(told[1]["kind"], "real_server_weight");
    assert_eq!((&told[2]["before"], &told[2]["after"]), (&json!("up"), &json!("draining")));
    assert_eq!(told[2]["sequence"], 3);
}

/// Whoever reloads and confirms is told of, and the end of the daemon ends the stream.
#[tokio::test(flavor = "multi_thread")]
async fn the_stream_ends_with_the_daemon() {
    let daemon = World::new().serve(Limits::default());
    let socket = daemon.socket.clone();
    let _: Value =
        client::post(&socket, "/v1/reload", &json!({ "confirm_within": 60 })).await.expect("reloaded");
    let _: Value = client::post(&socket, "/v1/confirm", &json!(null)).await.expect("confirmed");
    let (began, has_begun) = oneshot::channel();
    let following = tokio::spawn(async move {
        let began = std::sync::Mutex::new(Some(began));
        follow(&socket, "last=100", move |_| {
            let _ = began.lock().expect("nobody panicked").take().map(|began| began.send(()));
            false
        })
        .await
    });
    has_begun.await.expect("something was told");
    daemon.stop.send(()).expect("it runs");
    let told = following.await.expect("it ends");
    let kinds: Vec<&str> = told.iter().filter_map(|event| event["kind"].as_str()).collect();
    assert_eq!(kinds, ["daemon_started", "reload_confirmed", "daemon_stopping"]);
    daemon.serving.await.expect("the server ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_told_how_much_it_lost() {
    let world = World::new();
    let events = world.parts.events.clone();
    let (_directory, router) = world.router(Access::Full);
    let response = send(&router, "GET", "/v1/events", None).await;
    for _ in 0..3000 {
        events.report(Happening::MapsMended);
    }
    let mut body = response.into_body();
    let first = body.frame().await.expect("lines").expect("lines").into_data().expect("lines");
    let first: Vec<Value> = first
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("a line is JSON"))
        .collect();
    assert_eq!(first[0]["kind"], "lost");
    let lost = first[0]["events"].as_u64().expect("a number");
    assert_eq!(
        first[1]["sequence"].as_u64().expect("a number"),
        1 + lost + 1,
        "the one after those, and the start"
    );
    assert_eq!(first[0]["sequence"].as_u64().expect("a number"), 1 + lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_follow() {
    let world = World::new();
    let (_directory, router) = world.router(Access::Full);
    let mut following = Vec::new();
    for _ in 0..Limits::default().followers {
        following.push(send(&router, "GET", "/v1/events", None).await);
    }
    let (status, answer) = ask(&router, "GET", "/v1/events", None).await;
    assert_eq!((status.as_u16(), &answer["kind"]), (503, &json!("busy")));
    following.pop();
    assert_eq!(send(&router, "GET", "/v1/events", None).await.status(), 200, "there is room again");
}
