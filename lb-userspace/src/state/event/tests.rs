use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::dataplane::{Capacity, Memory, Tables};
use crate::health::Verdicts;
use crate::neighbour::{Resolution, Resolutions};
use crate::state::{Circumstances, Configuration, Document, Network, desired};

const MAC: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 0, 1);

/// What is done where a file has these sections, and these real servers answer.
fn published(sections: &str, answering: &[(&str, u8)]) -> Published {
    let text = format!("[director]\ninterfaces = [\"eth0\"]\n{sections}");
    let file = Document::parse("lb.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let (configuration, _) = Configuration::new(Path::new("lb.toml"), file, &[]);
    let resolutions: Resolutions = answering
        .iter()
        .map(|(address, last)| {
            let mac = Some(MacAddr6::new(2, 0, 0, 0, 1, *last));
            (address.parse().expect("an address"), Resolution { mac, is_reachable: true })
        })
        .collect();
    let memory = Memory::in_process(Capacity { max_connections: 1024, has_ipv6: true });
    let view = Tables::in_process(Arc::new(memory.expect("there is memory"))).view();
    let verdicts = Verdicts::default();
    #[expect(clippy::disallowed_methods, reason = "a time, and it does not matter which")]
    let now = std::time::Instant::now();
    let circumstances = Circumstances {
        network: &Network::of_one(MAC),
        resolutions: &resolutions,
        verdicts: &verdicts,
        without_quorum: &BTreeSet::new(),
        view: &view,
        now,
    };
    let desired = desired(configuration.config(), &circumstances);
    Published::of(&configuration, &desired, &view, &verdicts)
}

fn service(name: &str, port: u16, rest: &str, servers: &[(&str, u32)]) -> String {
    let address = SocketAddr::from(([192, 0, 2, 1], port));
    let mut text = format!("[[virtual_server]]\nname = \"{name}\"\naddresses = [\"{address}\"]\n{rest}\n");
    for (server, weight) in servers {
        text += &format!("[[virtual_server.real_server]]\naddress = \"{server}\"\nweight = {weight}\n");
    }
    text
}

fn json(before: &Published, after: &Published) -> Vec<serde_json::Value> {
    let json = |happening| serde_json::to_value(happening).expect("it is JSON");
    happenings(before, after).into_iter().map(json).collect()
}

#[test]
fn nothing_happens_between_equals() {
    let web = service("web", 80, "", &[("192.0.2.10", 1)]);
    assert_eq!(happenings(&published(&web, &[]), &published(&web, &[])), []);
}

#[test]
fn a_real_server_that_answers_drains_and_leaves_is_told_step_by_step() {
    let of = |weight| service("web", 80, "", &[("192.0.2.10", weight), ("192.0.2.11", 1)]);
    let other = ("192.0.2.11", 11);
    let silent = published(&of(3), &[other]);
    let up = published(&of(3), &[other, ("192.0.2.10", 10)]);
    let server = |rest: serde_json::Value| {
        let mut event = serde_json::json!({ "service": "web", "server": "192.0.2.10" });
        for (key, value) in rest.as_object().expect("an object") {
            event[key] = value.clone();
        }
        event
    };
    let expect = |before, after, events: &[serde_json::Value]| {
        let events: Vec<_> = events.iter().cloned().map(server).collect();
        assert_eq!(json(before, after), events);
    };
    let mac = serde_json::json!({ "kind": "real_server_mac", "before": null, "after": "02:00:00:00:01:0a" });
    let state =
        |before, after| serde_json::json!({ "kind": "real_server_state", "before": before, "after": after });
    expect(&silent, &up, &[mac, state("unresolved", "up")]);
    let draining = published(&of(0), &[other, ("192.0.2.10", 10)]);
    let weight = serde_json::json!({ "kind": "real_server_weight", "before": 3, "after": 0 });
    expect(&up, &draining, &[weight, state("up", "draining")]);
    let gone = published(&service("web", 80, "", &[("192.0.2.11", 1)]), &[other]);
    expect(&draining, &gone, &[serde_json::json!({ "kind": "real_server_removed" })]);
    let back = serde_json::json!({ "kind": "real_server_added", "weight": 3, "state": "up" });
    expect(&gone, &up, &[back]);
}

#[test]
fn virtual_servers_come_change_and_go_as_one_event_each() {
    let servers = [("192.0.2.10", 1), ("192.0.2.11", 1)];
    let before = published(&service("web", 80, "", &servers), &[]);
    let both = service("web", 80, "scheduler = \"sh\"\nsorry_server = \"192.0.2.9\"", &servers)
        + &service("tls", 443, "", &servers);
    let after = published(&both, &[]);
    assert_eq!(
        json(&before, &after),
        [
            serde_json::json!({ "kind": "virtual_server_changed", "service": "web",
                "changed": ["scheduler", "sorry_server"] }),
            serde_json::json!({ "kind": "virtual_server_added", "service": "tls", "protocol": "tcp",
                "addresses": ["192.0.2.1:443"], "scheduler": "wlc", "real_servers": 2 }),
        ]
    );
    let removed = json(&after, &Published { services: Vec::new(), ..after.clone() });
    assert_eq!(removed.len(), 2, "{removed:?}");
    assert_eq!(removed[0], serde_json::json!({ "kind": "virtual_server_removed", "service": "web" }));
}

#[test]
fn the_sorry_server_has_states_too() {
    let web = service("web", 80, "sorry_server = \"192.0.2.9\"", &[]);
    let found = happenings(&published(&web, &[]), &published(&web, &[("192.0.2.9", 9)]));
    assert!(
        matches!(&found[1], Happening::RealServerState { server, .. } if server == "192.0.2.9"),
        "{found:?}"
    );
}

#[test]
fn timeouts_and_rules_are_told_and_many_rules_are_counted() {
    let before = published("", &[]);
    let denied: Vec<String> = (0..20).map(|n| format!("\"198.51.{n}.0/24\"")).collect();
    let text = format!("[timeouts]\ntcp = \"5m\"\n[acl]\ndeny = [{}]\n", denied.join(", "));
    let found = happenings(&before, &published(&text, &[]));
    assert_eq!(found[0], Happening::TimeoutsChanged { tcp: 300, tcp_fin: 120, udp: 300 });
    let Happening::AclChanged { service: None, added, removed, more: 4 } = &found[1] else {
        panic!("{found:?}")
    };
    assert_eq!((added.len(), added[0].as_str()), (NAMED, "deny 198.51.0.0/24"));
    assert_eq!(removed.len(), 0);
}
