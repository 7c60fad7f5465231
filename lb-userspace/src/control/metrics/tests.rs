//! What is scraped of a director that has everything.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::sync::SyncPeer;

/// A director with everything, and as many real servers.
fn scrape(servers: usize) -> Scrape {
    let health = json!({
        "check": "http 80 /health?\"quoted\\\"", "state": "up", "since": "2026-11-22T04:00:00.000Z", "in_a_row": 3,
        "last": { "time": "2026-11-22T05:00:00.000Z", "latency_ms": 1.25, "late_ms": 0.5 },
    });
    let server = |n: usize| {
        json!({
            "address": format!("192.0.{}.{}", n / 250, 1 + n % 250), "weight": 3, "state": "up",
            "mac": "02:00:00:00:00:01", "active_connections": 10 + n, "inactive_connections": 2,
            "upper_threshold": 100, "health": health,
            "stats": { "connections": 12, "packets": 345, "bytes": 6_789_012 },
            "rate": { "connections": 0.5, "packets": 1.5, "bytes": 2.5 },
        })
    };
    let mut sorry = server(5000);
    sorry["state"] = "unresolved".into();
    let services = json!({ "virtual_servers": [{
        "name": "web", "addresses": ["203.0.113.1:80"], "protocol": "tcp", "scheduler": "wlc", "quorum": true,
        "real_servers": (0..servers).map(server).collect::<Vec<_>>(), "sorry_server": sorry,
    }] });
    let director = json!({
        "version": "1.2.3", "interface": "eth0,eth1", "xdp_mode": "native", "max_connections": 1_048_576,
        "counters": { "drop_denied": 7, "evicted_live": 1 },
        "connection_tables": {
            "states": { "ESTABLISHED": 10, "TEMPLATE": 4 },
            "tables": [{ "table": "ipv4", "entries": 14, "capacity": 1000, "places": 2500 }],
            "sweeps": 3, "freed": 5,
        },
        "xdp_runs": [{ "interface": "eth0", "runs": 1000, "time_ns": 120_000 }],
    });
    let vrrp = json!({ "instances": [{
        "name": "VI_1", "state": "master", "since": "2026-11-22T04:00:00.000Z", "reason": "", "interface": "eth0",
        "virtual_router_id": 51, "version": 3, "priority": 100, "configured_priority": 120, "held": false,
        "advert_interval_ms": 1000, "unicast_peers": [], "virtual_addresses": [], "split_brain": "somebody",
        "track_scripts": [{ "command": ["/bin/true"], "weight": -20, "up": false }],
        "transitions": { "master": 2, "backup": 1, "fault": 0 },
        "adverts": { "sent": 100, "not_sent": 1, "received": 3, "rejected": { "own_address": 2 } },
    }] });
    let peer = SyncPeer {
        address: "192.0.2.2".to_owned(),
        introduced: true,
        heard_ms: Some(250),
        snapshot_connections: Some(10),
        snapshot_ms: Some(15),
        ..SyncPeer::default()
    };
    let sync =
        SyncStatus { phase: "joined".to_owned(), inserted: 4, peers: vec![peer], ..SyncStatus::default() };
    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("it is what the daemon answers")
    }
    let (director, services, vrrp) = (read(director), read(services), read(vrrp));
    Scrape { director, services, vrrp, sync, sign_in_failures: 3 }
}

#[test]
fn a_director_that_has_everything_tells_all_of_it() {
    insta::assert_snapshot!(scrape(1).into_text());
}

/// A director that was just configured, of which nothing is known yet.
#[test]
fn a_director_that_has_nothing_tells_as_much() {
    let nothing = Scrape {
        director: serde_json::from_value(json!({
            "version": "", "interface": "", "xdp_mode": "", "max_connections": 0, "counters": {},
        }))
        .expect("it is what the daemon answers"),
        services: api::VirtualServers { virtual_servers: Vec::new() },
        vrrp: api::Vrrp { instances: Vec::new() },
        sync: SyncStatus::default(),
        sign_in_failures: 0,
    };
    let text = nothing.into_text();
    assert!(text.contains("lb_sync_state{state=\"off\"} 1\n"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[expect(clippy::disallowed_methods, reason = "a test that measures")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn a_thousand_real_servers_are_told_of_in_a_moment() {
    let measure = |_| {
        let scrape = scrape(1000);
        let begin = now();
        let text = scrape.into_text();
        (begin.elapsed(), text.len())
    };
    // The best: other tests run beside this one.
    let (took, bytes) = (0..10).map(measure).min().expect("ten times");
    eprintln!("{bytes} bytes in {took:?}");
    // The goal, and what a build with fewer optimisations may take on a machine that does something else beside.
    let limit = Duration::from_millis(if cfg!(debug_assertions) { 80 } else { 20 });
    assert!(took < limit, "{took:?} for {bytes} bytes");
}
