//! Health checks are sections within sections, which changes must leave whole.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::super::configuration::Configuration;
use super::super::super::difference::difference;
use super::super::*;
use super::change;
use crate::config::Probe;

const FILE: &str = r#"[director]
interfaces = ["eth0"]

[smtp]
server = "192.0.2.25"
from = "lb@example.net"
to = ["ops@example.net"]

[[virtual_server]]
name = "web"
addresses = ["192.0.2.1:80"]

  # Not too often.
  [virtual_server.health_check]
  interval = "6s"   # it is enough
  [virtual_server.health_check.http]
  path = "/healthz"   # as nginx has it

  [[virtual_server.real_server]]
  address = "192.0.2.10"
  # The old one has no nginx.
  [virtual_server.real_server.health_check]
  [virtual_server.real_server.health_check.tcp]
  port = 22

  [[virtual_server.real_server]]
  address = "192.0.2.11"

[[virtual_server]]
name = "bare"
addresses = ["192.0.2.2:80"]
real_server = [{ address = "192.0.2.10" }]
  [virtual_server.health_check.http]
"#;

fn document() -> Document {
    Document::parse("lb.toml", FILE).expect("it is valid")
}

fn changed(from: &Document, json: Value) -> Document {
    let (changed, mut done) = from.change(&[&[change(json)]]);
    assert_eq!(done.remove(0), Ok(true));
    let changed = changed.expect("it is different");
    let again = Document::parse("lb.toml", &changed.text()).expect("it is valid");
    assert_eq!(again.config(), changed.config(), "the text says what is done");
    changed
}

/// Interval and probe of each real server of the first virtual server.
fn checks(document: &Document) -> Vec<(String, u64, &'static str)> {
    let servers = &document.config().virtual_servers[0].real_servers;
    let check = |server: &config::RealServer| {
        let check = server.health_check.as_ref().expect("it is checked");
        let probe = match &check.probe {
            Probe::Http(_) => "http",
            Probe::Tcp(_) => "tcp",
            _ => "another",
        };
        (server.address.to_string(), check.interval.as_secs(), probe)
    };
    servers.iter().map(check).collect()
}

fn of(list: &[(&str, u64, &'static str)]) -> Vec<(String, u64, &'static str)> {
    list.iter().map(|(address, interval, probe)| ((*address).to_owned(), *interval, *probe)).collect()
}

#[test]
fn real_servers_come_and_go_beside_health_checks() {
    let one = document();
    assert_eq!(checks(&one), of(&[("192.0.2.10", 6, "tcp"), ("192.0.2.11", 6, "http")]));
    let add = json!({ "op": "add_server", "service": "web", "server": {
        "address": "192.0.2.12", "health_check": { "interval": "2s", "http": { "status": ["200-299", 304] } } } });
    let two = changed(&one, add);
    let all = [("192.0.2.10", 6, "tcp"), ("192.0.2.11", 6, "http"), ("192.0.2.12", 2, "http")];
    assert_eq!(checks(&two), of(&all));
    let edit =
        json!({ "op": "edit_server", "service": "web", "server": "192.0.2.10", "set": { "weight": 7 } });
    let three = changed(&two, edit);
    assert_eq!(checks(&three), of(&all));
    let four = changed(&three, json!({ "op": "remove_server", "service": "web", "server": "192.0.2.10" }));
    assert_eq!(checks(&four), of(&all[1..]));
    for kept in ["# Not too often.", "# it is enough", "# as nginx has it"] {
        assert!(four.text().contains(kept), "{kept}: {}", four.text());
    }
    assert!(!four.text().contains("port = 22"), "{}", four.text());
    let five = changed(&four, json!({ "op": "remove_service", "service": "web" }));
    assert!(!five.text().contains("healthz"), "{}", five.text());
}

#[test]
fn an_edit_of_a_health_check_leaves_what_stays_where_it_was() {
    let edit =
        |check: Value| json!({ "op": "edit_service", "service": "web", "set": { "health_check": check } });
    let slower = changed(&document(), edit(json!({ "interval": "9s", "http": { "path": "/healthz" } })));
    assert_eq!(slower.text(), FILE.replace("\"6s\"", "\"9s\""));
    let more = json!({ "interval": "6s", "http": { "path": "/healthz", "tls": {} } });
    let more = changed(&document(), edit(more));
    assert!(more.text().contains("path = \"/healthz\"   # as nginx has it\ntls = {}\n"), "{}", more.text());
    let other = changed(&document(), edit(json!({ "interval": "6s", "tcp": {} })));
    assert_eq!(checks(&other), of(&[("192.0.2.10", 6, "tcp"), ("192.0.2.11", 6, "tcp")]));
    assert!(other.text().contains("# it is enough"), "{}", other.text());
    let bare = json!({ "op": "edit_service", "service": "bare", "set": { "health_check": { "interval": "1s", "icmp": {} } } });
    let bare = changed(&document(), bare);
    let server = &bare.config().virtual_servers[1].real_servers[0];
    assert_eq!(server.health_check.as_ref().map(|check| &check.probe), Some(&Probe::Icmp));
    let none = json!({ "op": "edit_service", "service": "bare", "set": { "health_check": null } });
    let none = changed(&document(), none);
    assert_eq!(none.config().virtual_servers[1].real_servers[0].health_check, None);
}

#[test]
fn a_health_check_that_is_wrong_is_refused_as_in_the_file() {
    for (set, problem) in [
        (json!({ "health_check": { "interval": "2s" } }), "has no probe"),
        (
            json!({ "health_check": { "interval": "2s", "timeout": "3s", "tcp": {} } }),
            "longer than `interval`",
        ),
        (json!({ "quorum": 2, "hysteresis": 2 }), "`hysteresis` 2 is not below `quorum` 2"),
    ] {
        let edit = change(json!({ "op": "edit_service", "service": "bare", "set": set }));
        let (_, mut done) = document().change(&[&[edit]]);
        let refused = done.remove(0).expect_err("it is wrong").to_string();
        assert!(refused.contains(problem), "{refused}");
    }
}

#[test]
fn a_file_with_another_health_check_is_a_difference_that_is_taken_over() {
    let path = std::path::Path::new("lb.toml");
    let (mut configuration, _) = Configuration::new(path, document(), &[]);
    let weight =
        json!({ "op": "edit_server", "service": "web", "server": "192.0.2.11", "set": { "weight": 3 } });
    configuration.change(&[&[change(weight)]]);
    let text = FILE
        .replace("\"6s\"", "\"3s\"")
        .replace("port = 22", "port = 23")
        .replace("192.0.2.25", "192.0.2.26");
    let (reloaded, done) = configuration.reload(Document::parse("lb.toml", &text).expect("it is valid"));
    let expected = [
        json!({ "op": "set_smtp", "set": { "server": "192.0.2.26" } }),
        json!({ "op": "edit_service", "service": "web", "set": {
            "health_check": { "interval": "3s", "http": { "path": "/healthz" } } } }),
        json!({ "op": "edit_server", "service": "web", "server": "192.0.2.10", "set": {
            "health_check": { "tcp": { "port": 23 } } } }),
    ];
    assert_eq!(done.changes, expected.map(change));
    assert_eq!(done.forgotten, []);
    let servers = &reloaded.config().virtual_servers[0].real_servers;
    assert_eq!(servers[0].health_check.as_ref().and_then(|check| check.probe.port()), Some(23));
    assert_eq!(servers[1].health_check.as_ref().map(|check| check.interval.as_secs()), Some(3));
    assert_eq!(servers[1].weight, 3, "what was changed while the daemon ran counts on");
    assert_eq!(reloaded.config().mail.as_ref().map(|mail| mail.server.as_str()), Some("192.0.2.26"));
}

#[test]
fn mail_that_is_no_longer_sent_leaves_no_empty_section() {
    let set = json!({ "op": "set_smtp", "set": { "server": null, "from": null, "to": null } });
    let without = changed(&document(), set);
    assert_eq!(without.config().mail, None);
    assert!(!without.text().contains("smtp"), "{}", without.text());
    let back = difference(&without, &document());
    let (back, _) = without.change(&[&back]);
    assert_eq!(back.expect("it is different").config(), document().config());
}

#[test]
fn connections_that_are_no_longer_shared_leave_no_empty_section() {
    let keys = json!({ "interface": "eth0", "group": "224.0.0.81:8848", "key_file": "/etc/lb/sync.key" });
    let with = changed(&document(), json!({ "op": "set_sync", "set": keys }));
    assert_eq!(with.config().sync.as_ref().map(|sync| sync.port), Some(8848));
    let back = difference(&with, &document());
    let (without, _) = with.change(&[&back]);
    let without = without.expect("it is different");
    assert!(without.config().sync.is_none() && !without.text().contains("sync"), "{}", without.text());
}

/// Right and wrong values of all kinds.
fn any_value() -> impl Strategy<Value = Value> {
    let right = proptest::sample::select(vec![
        json!("2s"),
        json!("10ms"),
        json!("1day"),
        json!("9ms"),
        json!(0),
        json!(1),
        json!(80),
        json!(404),
        json!(65_536),
        json!(-1),
        json!(4_294_967_296_u64),
        json!(true),
        json!(false),
        json!([]),
        json!({}),
        json!("vip"),
        json!("/healthz"),
        json!("a.example.net"),
        json!("192.0.2.200"),
        json!("2001:db8::200"),
        json!("SOA"),
        json!("0a 1b"),
        json!([200, "300-399"]),
        json!(["/bin/true", "x"]),
        json!({ "changes": 2, "hold": "3s" }),
        json!({ "server_name": "example.net", "verify": false }),
    ]);
    prop_oneof![4 => right, 1 => any::<String>().prop_map(Value::from), 1 => "[(a-c|)*?+{}0-9\\[\\]]{0,9}".prop_map(Value::from)]
}

/// A check with any of its keys; where they are right, one that is right.
fn any_check() -> impl Strategy<Value = Value> {
    let keys = |names: &'static [&'static str]| {
        proptest::collection::btree_map(proptest::sample::select(names), any_value(), 0..3)
            .prop_map(|keys| json!(keys))
    };
    let times = keys(&[
        "enabled",
        "interval",
        "timeout",
        "connect_timeout",
        "retries",
        "retry_delay",
        "rise",
        "target",
        "flap",
        "bind",
    ]);
    let probe = prop_oneof![
        (Just("tcp"), keys(&["port"])),
        (Just("icmp"), Just(json!({}))),
        (Just("udp"), keys(&["port", "payload", "payload_hex", "require_reply", "reply_regex"])),
        (
            Just("http"),
            keys(&[
                "port",
                "method",
                "path",
                "host",
                "status",
                "body_regex",
                "body_limit",
                "redirects",
                "agent",
                "tls"
            ])
        ),
        (Just("dns"), keys(&["port", "name", "type", "tcp"])),
        (Just("smtp"), keys(&["port", "helo_name"])),
        (Just("exec"), keys(&["command", "dynamic"])),
    ];
    (times, probe).prop_map(|(mut check, (name, probe))| {
        check[name] = probe;
        check
    })
}

/// What a virtual server does about its checks.
fn any_reaction() -> impl Strategy<Value = Value> {
    const KEYS: &[&str] = &[
        "quorum",
        "hysteresis",
        "quorum_up",
        "inhibit_on_failure",
        "slow_start",
        "ha_suspend",
        "alpha",
        "notify",
    ];
    proptest::collection::btree_map(proptest::sample::select(KEYS), any_value(), 0..2)
        .prop_map(|keys| json!(keys))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is written, somebody says what is wrong with it, or its text means what was done.
    #[test]
    fn what_is_valid_survives_as_text(checks in proptest::array::uniform3(any_check()), reaction in any_reaction()) {
        let [first, second, third] = checks;
        let changes = [
            json!({ "op": "edit_service", "service": "bare", "set": { "health_check": first } }),
            json!({ "op": "edit_service", "service": "web", "set": { "health_check": second } }),
            json!({ "op": "edit_service", "service": "web", "set": reaction }),
            json!({ "op": "add_server", "service": "web", "server": { "address": "192.0.2.12", "health_check": third } }),
        ].map(change);
        let path = std::path::Path::new("lb.toml");
        let (mut configuration, _) = Configuration::new(path, document(), &[]);
        for change in &changes {
            configuration.change(&[std::slice::from_ref(change)]);
        }
        let saved = Document::parse("lb.toml", &configuration.text()).expect("it is valid");
        prop_assert_eq!(saved.config(), configuration.config());
        let (_, done) = configuration.reload(saved);
        prop_assert_eq!(done.changes, vec![], "nothing is different");
    }
}
