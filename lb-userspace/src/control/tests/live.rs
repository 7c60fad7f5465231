//! What the status page follows.

use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::super::client;
use super::super::since::Since;
use super::*;
use crate::state::ServerState;

/// The names and data of events that come until there are enough.
async fn listen(
    socket: &Path,
    query: &str,
    enough: impl Fn(&[(String, Value)]) -> bool,
) -> Vec<(String, Value)> {
    let (mut events, mut name) = (Vec::new(), String::new());
    let path = format!("/v1/live?{query}");
    let listened = client::lines(socket, &path, |line| {
        let line = std::str::from_utf8(line).expect("it is text");
        if let Some(event) = line.strip_prefix("event: ") {
            name = event.to_owned();
        }
        if let Some(data) = line.strip_prefix("data: ") {
            events.push((name.clone(), serde_json::from_str(data).expect("it is JSON")));
        }
        if enough(&events) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let listened = tokio::time::timeout(Duration::from_secs(20), listened).await;
    listened.expect("it comes soon").expect("the daemon answers").is_break();
    events
}

/// The state of the first real server of a snapshot.
fn state(snapshot: &Value) -> &Value {
    &snapshot["virtual_servers"][0]["real_servers"][0]["state"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_is_shown_everything_at_once_and_what_is_done_soon() {
    let daemon = World::new().serve(Limits::default());
    let socket = daemon.socket.clone();
    let (began, has_begun) = oneshot::channel();
    let listening = tokio::spawn(async move {
        let began = std::sync::Mutex::new(Some(began));
        listen(&socket, "last=1", move |events| {
            if events.len() == 2 {
                let _ = began.lock().expect("nobody panicked").take().map(|began| began.send(()));
            }
            events.iter().any(|(name, data)| name == "snapshot" && *state(data) == "draining")
        })
        .await
    });
    has_begun.await.expect("something was shown");
    let weight = json!({ "service": "web", "server": "192.0.2.10", "weight": 0 });
    let _: Value = client::post(&daemon.socket, "/v1/weight", &weight).await.expect("it is changed");
    let before = now();
    let events = listening.await.expect("it is shown");
    println!("shown after {:?}", before.elapsed());
    let first = events.iter().find(|(name, _)| name == "snapshot").expect("a snapshot");
    assert_eq!(state(&first.1), "up");
    let kinds: Vec<&Value> =
        events.iter().filter(|(name, _)| name == "happened").map(|(_, data)| &data["kind"]).collect();
    let expected = ["daemon_started", "real_server_weight", "real_server_state", "quorum_lost"];
    assert_eq!(kinds, expected, "no other answers");
    // The same as others are told, and more.
    let last = &events.last().expect("it has come").1;
    let listed: Value = client::get(&daemon.socket, "/v1/virtual_servers").await.expect("an answer");
    assert_eq!(last["virtual_servers"], listed["virtual_servers"]);
    assert!(last["virtual_servers"][0]["real_servers"][0]["since"].is_string(), "{last}");
    let held = last["reasons"].as_array().expect("a list");
    assert!(
        held.iter().any(|reason| reason["name"] == "drop_denied" && reason["kind"] == "drop"),
        "{held:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_listen_and_no_more_and_all_end_with_the_daemon() {
    let daemon = World::new().serve(Limits { listeners: 2, ..Limits::default() });
    let mut listening = Vec::new();
    for _ in 0..2 {
        let (socket, (began, has_begun)) = (daemon.socket.clone(), oneshot::channel());
        let began = std::sync::Mutex::new(Some(began));
        listening.push(tokio::spawn(async move {
            listen(&socket, "last=0", move |events| {
                if !events.is_empty() {
                    let _ = began.lock().expect("nobody panicked").take().map(|began| began.send(()));
                }
                false
            })
            .await
        }));
        has_begun.await.expect("something was shown");
    }
    let refused = client::lines(&daemon.socket, "/v1/live", |_| ControlFlow::<()>::Continue(())).await;
    let refused = refused.expect_err("there is no room").to_string();
    assert!(refused.contains("too many others"), "{refused}");
    let _ = daemon.stop.send(());
    for listening in listening {
        listening.await.expect("the stream ends");
    }
}

#[tokio::test]
async fn a_state_lasts_from_when_it_was_first_seen() {
    let world = World::new();
    let mut published = (**world.parts.published.borrow()).clone();
    let (since, health) = (Since::default(), Board::default());
    let time = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    since.look(&published, &health, time(10));
    since.look(&published, &health, time(15));
    let [first, second] = [0, 1].map(|place| published.services[0].servers[place].clone());
    assert_eq!(since.of("web", &first), Some(time(10)));
    assert_eq!(since.of("dns", &first), None, "another's");
    published.services[0].servers[0].state = ServerState::Down;
    let down = published.services[0].servers[0].clone();
    assert_eq!(since.of("web", &down), None, "nobody has looked yet");
    since.look(&published, &health, time(20));
    assert_eq!((since.of("web", &down), since.of("web", &second)), (Some(time(20)), Some(time(10))));
    published.services.remove(0);
    since.look(&published, &health, time(30));
    assert_eq!(since.of("web", &down), None, "it is gone, and is new when it comes back");
}
