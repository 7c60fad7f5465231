//! What the real program prints and returns, recorded (`golden/`): ours is the same.

use super::{Noting, Outcome, server, service};
use crate::control::api::{Connection, ConnectionKind, Persistence, VirtualServer};

const TRANSCRIPT: &str = include_str!("../golden/ipvsadm-transcript.txt");
const REFUSALS: &str = include_str!("../golden/ipvsadm-refusals.txt");

/// Command lines, each with what came of it.
fn recorded(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("\n$ ipvsadm ").skip(1).map(|part| part.split_once('\n').unwrap_or((part, "")))
}

/// The virtual servers that the transcript's head describes.
fn setup() -> Vec<VirtualServer> {
    let mut web = service(&["10.99.0.100:80"], "wlc", &[("10.0.0.1", 3), ("10.0.0.2", 1)]);
    web.persistence = Some(Persistence { timeout: 60, mask: 32 });
    let mut dns = service(&["10.99.0.100:53"], "mh", &[("10.0.0.3", 1)]);
    dns.protocol = "udp".to_owned();
    dns.scheduler_flags = vec!["mh-fallback".to_owned(), "mh-port".to_owned()];
    (dns.real_servers[0].upper_threshold, dns.real_servers[0].lower_threshold) = (100, 50);
    let mut group = service(&["10.99.0.100:1000-1100"], "rr", &[("10.0.0.2", 1)]);
    group.fwmark = Some(7);
    // Not in the order in which they are to be listed.
    vec![group, dns, web]
}

fn connections() -> Vec<Connection> {
    let connection = |port: u16, expires_in, server: &str| Connection {
        kind: ConnectionKind::Connection,
        protocol: "tcp".to_owned(),
        state: "SYN_RECV".to_owned(),
        expires_in,
        client: "10.99.0.1:30020".to_owned(),
        virtual_address: format!("10.99.0.100:{port}"),
        real_server: Some(server.to_owned()),
        service: Some("of 10.99.0.100:1000-1100".to_owned()),
        half_open: true,
    };
    vec![
        connection(1020, 58, "10.0.0.2"),
        connection(1019, 52, "10.0.0.1"),
        connection(1017, 42, "10.0.0.2"),
        connection(1016, 36, "10.0.0.2"),
    ]
}

#[test]
fn listings_are_those_of_the_transcript() {
    let mut compared = 0;
    let mut listed = setup();
    for (words, expected) in recorded(TRANSCRIPT) {
        let words = words.split("  ").next().unwrap_or(words);
        if words.starts_with("-a -t 10.99.0.100:80 -r 10.0.0.9") {
            let web = listed.last_mut().expect("there is one");
            web.real_servers.push(server("10.0.0.9", 1));
            web.real_servers[1].active_connections = 1;
        }
        let is_listing = words.starts_with("-L") || words.starts_with("-S");
        // Of changed timeouts the fake daemon knows nothing.
        if !is_listing || expected.contains("100 20 30") {
            continue;
        }
        let mut daemon = Noting::with(listed.clone());
        daemon.connections = connections();
        // Where it was recorded there was no services(5).
        daemon.is_nameless = true;
        let outcome = daemon.run(words);
        let expected = expected.split("\n\n").next().unwrap_or(expected);
        assert_eq!(outcome.out.trim_end_matches('\n'), expected.trim_end_matches('\n'), "{words}");
        assert_eq!(outcome.code, 0, "{words}");
        compared += 1;
    }
    assert_eq!(compared, 12, "listings in the transcript");
}

/// Before anybody is asked, whatever there is: what the real program says of its own.
#[test]
fn command_lines_that_make_no_sense_are_refused_in_the_same_words() {
    let mut compared = 0;
    for (words, expected) in recorded(REFUSALS) {
        let (text, code) =
            expected.trim_end_matches('\n').rsplit_once("\nrc ").expect("a message and a code");
        let mut daemon = Noting::default();
        let outcome = daemon.run(words);
        let expected =
            Outcome { code: code.parse().expect("a number"), out: String::new(), err: format!("{text}\n") };
        assert_eq!(outcome, expected, "{words}");
        assert_eq!(daemon.asked, 0, "{words}");
        compared += 1;
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn refusals_of_the_daemon_are_in_the_words_of_ipvs() {
    let errors = TRANSCRIPT.split_once("\nErrors: ").expect("the transcript has errors").1;
    let mut compared = 0;
    for (words, expected) in recorded(errors) {
        let words = words.split("  ").next().unwrap_or(words);
        let mut daemon = Noting::with(setup());
        let kind = match expected.lines().next() {
            Some("Service already exists") => "service_exists",
            Some("No such service") => "no_such_service",
            Some("Destination already exists") => "server_exists",
            Some("No such destination") => "no_such_server",
            _ => "invalid",
        };
        // Whatever is asked for.
        let _ = daemon.run(words);
        let asked: Vec<String> = daemon.changes();
        daemon.refused.extend(asked.into_iter().map(|change| (change, kind)));
        let Some((text, code)) = expected.trim_end().rsplit_once("rc ") else { continue };
        if code == "0" {
            continue;
        }
        let outcome = daemon.run(words);
        assert_eq!((outcome.err.as_str(), outcome.code.to_string().as_str()), (text, code), "{words}");
        compared += 1;
    }
    assert_eq!(compared, 8, "refusals in the transcript");
}
