use clap::Parser as _;
use serde_json::{Value, json};

use super::*;
use crate::cli::{Cli, Command};

/// `lb explain` with these words; what it would ask, or how clap refuses them.
fn asked(words: &str) -> Result<Result<Question, (u8, String)>, String> {
    let words = ["lb", "explain"].into_iter().chain(words.split_whitespace());
    let parsed = Cli::try_parse_from(words).map_err(|error| {
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    })?;
    let Command::Explain(explain) = parsed.command else { panic!("another command") };
    Ok(explain.question().map_err(|failure| (failure.code, failure.message)))
}

#[test]
fn a_question_says_all_that_was_typed() {
    let question =
        asked("[2001:db8::7]:40000 [2001:db8:1::1]:80 tcp --flags fin,ack --vlan 100 --interface eth1");
    let question = question.expect("clap takes it").expect("it is a question");
    assert_eq!((question.source.port(), question.destination.port()), (40_000, 80));
    assert_eq!((question.protocol.as_str(), question.vlan), ("tcp", Some(100)));
    assert_eq!(question.flags, ["fin", "ack"]);
    assert_eq!(question.interface.as_deref(), Some("eth1"));
    assert_eq!(question.frame(0).expect("it is a frame").tcp_flags, 0x11);
}

#[test]
fn tcp_opens_a_connection_unless_told_otherwise() {
    let flags = |words| asked(words).expect("clap takes it").expect("it is a question").flags;
    assert_eq!(flags("192.0.2.7:1 192.0.2.1:80 tcp"), ["syn"]);
    assert!(flags("192.0.2.7:1 192.0.2.1:53 udp").is_empty());
}

#[test]
fn what_is_no_frame_is_wrong_usage_and_says_what_would_be_right() {
    for (words, remedy) in [
        ("192.0.2.7 192.0.2.1:80 tcp", "192.0.2.1:80, or [2001:db8::1]:80"),
        ("2001:db8::7:1 192.0.2.1:80 tcp", "[2001:db8::1]:80"),
        ("192.0.2.7:1 192.0.2.1:80 sctp", "tcp, udp"),
        ("192.0.2.7:1 192.0.2.1:80 tcp --flags nak", "fin, syn, rst"),
        ("192.0.2.7:1 192.0.2.1:80 tcp --vlan 4095", "0..=4094"),
    ] {
        let refused = asked(words).expect_err(words);
        assert!(refused.contains(remedy), "{words}: {refused}");
    }
    for (words, remedy) in [
        ("192.0.2.7:1 [2001:db8::1]:80 tcp", "both as IPv4"),
        ("192.0.2.7:1 192.0.2.1:80 udp --flags syn", "leave --flags out"),
    ] {
        let (code, message) = asked(words).expect("clap takes it").expect_err(words);
        assert_eq!(code, 2);
        assert!(message.contains(remedy), "{words}: {message}");
    }
}

/// The answer about a SYN to a service, with `changes`.
fn shown(changes: &Value) -> String {
    let mut answer = json!({
        "frame": {
            "source": "198.51.100.7:40000", "destination": "192.0.2.1:80", "protocol": "tcp",
            "flags": ["syn"], "vlan": null, "bytes": 54, "interface": "eth0", "mac": "02:00:00:00:00:01",
        },
        "packet": {
            "protocol": "tcp", "flags": ["syn"], "source_port": 40000, "destination_port": 80, "bytes": 40,
        },
        "virtual_server": { "name": "web", "scheduler": "wrr" },
        "near": [], "connection": null, "next": null, "choice": null, "real_server": null,
        "verdict": { "action": "transmit", "reason": null, "because": null, "interface": "eth0" },
        "counters": [],
    });
    for (key, value) in changes.as_object().expect("an object") {
        answer[key] = value.clone();
    }
    table(&serde_json::from_value(answer).expect("an answer"))
}

fn server() -> Value {
    json!({ "address": "192.0.2.12", "mac": "02:00:00:00:01:02", "vlan": null })
}

fn counted(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "real_server": "192.0.2.12", "name": name, "adds": 1 })).collect()
}

#[test]
fn a_new_connection() {
    let shown = shown(&json!({
        "next": { "state": "SYN_RECV", "table": "half_open" },
        "choice": { "by": "turn", "slots": 9, "slot": 3, "turn": 12 },
        "real_server": server(),
        "counters": counted(&["connections", "packets"]),
    }));
    insta::assert_snapshot!(shown, @r"
    frame       198.51.100.7:40000 -> 192.0.2.1:80, 54 bytes, to 02:00:00:00:00:01 of eth0: accepted
    parsed      IPv4 tcp syn, port 40000 -> 80, 40 bytes
    service     web (wrr)
    connection  none; would be recorded as SYN_RECV (half-open)
    scheduler   slot 3 of 9, by turn 12
    goes to     192.0.2.12 at 02:00:00:00:01:02
    verdict     XDP_TX: forward out of eth0
    counts      connections +1 of 192.0.2.12, packets +1 of 192.0.2.12
    ");
}

#[test]
fn an_established_connection() {
    let shown = shown(&json!({
        "connection": {
            "table": "established", "state": "ESTABLISHED", "age": 3, "expires_in": 897,
            "real_server": "192.0.2.12",
        },
        "next": { "state": "FIN_WAIT", "table": null },
        "real_server": { "address": "192.0.2.12", "mac": "02:00:00:00:01:02", "vlan": 100 },
        "counters": counted(&["packets"]),
    }));
    insta::assert_snapshot!(shown, @r"
    frame       198.51.100.7:40000 -> 192.0.2.1:80, 54 bytes, to 02:00:00:00:00:01 of eth0: accepted
    parsed      IPv4 tcp syn, port 40000 -> 80, 40 bytes
    service     web (wrr)
    connection  ESTABLISHED (established) to 192.0.2.12, seen 3 s ago, expires in 897 s; would be FIN_WAIT
    scheduler   not asked
    goes to     192.0.2.12 at 02:00:00:00:01:02, VLAN 100
    verdict     XDP_TX: forward out of eth0
    counts      packets +1 of 192.0.2.12
    ");
}

#[test]
fn an_address_that_no_virtual_server_has() {
    let shown = shown(&json!({
        "virtual_server": null,
        "near": ["tcp 192.0.2.1:443 (tls)"],
        "verdict": {
            "action": "pass", "reason": "pass_not_a_vip",
            "because": "No virtual server has this address, port and protocol.",
        },
        "counters": [{ "real_server": null, "name": "pass_not_a_vip", "adds": 1 }],
    }));
    insta::assert_snapshot!(shown, @r"
    frame       198.51.100.7:40000 -> 192.0.2.1:80, 54 bytes, to 02:00:00:00:00:01 of eth0: accepted
    parsed      IPv4 tcp syn, port 40000 -> 80, 40 bytes
    service     none has this address; there are tcp 192.0.2.1:443 (tls)
    connection  not looked for
    scheduler   not asked
    goes to     no real server
    verdict     XDP_PASS: to the local network stack. No virtual server has this address, port and protocol.
    counts      pass_not_a_vip +1
    ");
}

#[test]
fn a_quiesced_real_server_with_fallback() {
    let choice = |slot, fallback| {
        json!({
            "virtual_server": { "name": "web", "scheduler": "mh", "scheduler_flags": ["mh-fallback", "mh-port"] },
            "choice": { "by": "source and port", "slots": 4093, "slot": slot, "fallback": fallback, "turn": null },
        })
    };
    let line = |changes: &Value, stage: &str| {
        shown(changes).lines().find(|line| line.starts_with(stage)).map(str::to_owned).unwrap_or_default()
    };
    let changes = choice(17, Some(4000));
    assert_eq!(line(&changes, "service"), "service     web (mh (mh-fallback,mh-port))");
    assert_eq!(
        line(&changes, "scheduler"),
        "scheduler   slot 17 of 4093, by the hash of the client's address and port; slot 4000 in its place"
    );
    let nothing_else = line(&choice(17, None), "scheduler");
    assert!(nothing_else.ends_with("the client's address and port"), "{nothing_else}");
}

#[test]
fn a_service_without_a_usable_real_server_and_an_expired_connection() {
    let shown = shown(&json!({
        "connection": {
            "table": "half_open", "state": "SYN_RECV", "age": 61, "expires_in": 0, "real_server": null,
        },
        "choice": { "by": "turn", "slots": 0, "slot": null, "turn": null },
        "verdict": {
            "action": "drop", "reason": "drop_no_real_server",
            "because": "A new connection, and no real server is usable.",
        },
        "counters": [{ "real_server": null, "name": "drop_no_real_server", "adds": 1 }],
    }));
    insta::assert_snapshot!(shown, @r"
    frame       198.51.100.7:40000 -> 192.0.2.1:80, 54 bytes, to 02:00:00:00:00:01 of eth0: accepted
    parsed      IPv4 tcp syn, port 40000 -> 80, 40 bytes
    service     web (wrr)
    connection  SYN_RECV (half-open) to a real server that is gone, seen 61 s ago, expired
    scheduler   no real server is usable
    goes to     no real server
    verdict     XDP_DROP: drop. A new connection, and no real server is usable.
    counts      drop_no_real_server +1
    ");
}

#[test]
fn a_real_server_behind_another_interface() {
    let shown = shown(&json!({
        "real_server": server(),
        "verdict": { "action": "redirect", "reason": null, "because": null, "interface": "eth1" },
    }));
    assert!(shown.contains("verdict     XDP_REDIRECT: forward out of eth1\n"), "{shown}");
}
