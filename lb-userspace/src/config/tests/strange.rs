//! Texts that nobody would write: whatever they say, they are read without a panic, and refused with a reason.

use std::collections::HashSet;

use lb_common::limits::MAX_INTERFACES;
use proptest::prelude::*;

use super::super::contract::SECTIONS;
use super::super::{Checked, Code, parse};
use super::{DIRECTOR, file_with, files};

/// What must hold of any text, whatever it says.
fn looked_at(text: &str) {
    match parse("lb.toml", text) {
        Ok(Checked { config, warnings, .. }) => {
            assert!(!warnings.has_errors());
            let interfaces: HashSet<_> = config.director.interfaces.iter().map(|name| &name.value).collect();
            assert_eq!(config.director.interfaces.len(), interfaces.len());
            assert!((1..=MAX_INTERFACES).contains(&interfaces.len()));
            let mut addresses = HashSet::new();
            let mut names = HashSet::new();
            for server in &config.virtual_servers {
                assert!(names.insert(&server.name));
                assert!(!server.addresses.is_empty());
                assert!(!server.real_servers.is_empty());
                for address in &server.addresses {
                    assert!(address.ports.first <= address.ports.last);
                    assert!(addresses.insert((address, server.protocol)));
                }
            }
        }
        Err(diagnostics) => {
            assert!(diagnostics.has_errors(), "whoever refuses a file says why");
            for diagnostic in &diagnostics {
                let shown = diagnostic.to_string();
                assert!(shown.contains(&format!("--> {}\n", diagnostic.span)), "{shown}");
                assert!(!diagnostic.help.is_empty() || diagnostic.code == Code::Syntax, "{shown}");
            }
        }
    }
}

/// Pieces that are likely to mean something to one check or another.
fn token() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "[director]",
            "[[director]]",
            "[timeouts]",
            "[[virtual_server]]",
            "[[virtual_server.real_server]]",
            "[virtual_server.health_check]",
            "[virtual_server.health_check.http]",
            "[virtual_server.real_server.health_check]",
            "[smtp]",
            "interval",
            "retries",
            "http",
            "exec",
            "flap",
            "port",
            "status",
            "body_regex",
            "quorum",
            "notify",
            "interfaces",
            "addresses",
            "real_server",
            "address",
            "scheduler",
            "weight",
            "peers",
            "mac",
            "tcp",
            "name",
            "protocol",
            " = ",
            "\n",
            "\r\n",
            "\t",
            "\"",
            "\"\"\"",
            "'",
            "[",
            "]",
            "{",
            "}",
            ",",
            ".",
            ":",
            "#",
            "\\",
            "\\u0000",
            "\"eth0\"",
            "\"192.168.2.240:80\"",
            "\"192.168.2.240\"",
            "\"[2001:db8::1]:80\"",
            "\"2001:db8::1:80\"",
            "%eth0",
            "\"0.0.0.0:0\"",
            "\"[::1]:80\"",
            "\"rr\"",
            "\"wlc\"",
            "\"15m\"",
            "\"100ms\"",
            "\"200-299\"",
            "\"/bin/true\"",
            "\"(?i)a{1,9}|[b\"",
            "\"vip\"",
            "\"18446744073709551615s\"",
            "\"1000ms\"",
            "-1",
            "0x7fffffffffffffffffff",
            "1e400",
            "nan",
            "2024-02-30",
            "true",
            "負荷分散",
            "\u{301}",
            "\u{202e}",
            "\u{feff}",
            "\u{0}",
            "\u{7f}",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
        "[0-9a-f:./-]{0,20}",
    ]
}

/// The file of a case, with some of its text replaced.
fn mutated() -> impl Strategy<Value = String> {
    let texts: Vec<String> = files().into_iter().map(|(_, text)| text).collect();
    let edit = (any::<proptest::sample::Index>(), 0..40usize, token());
    (proptest::sample::select(texts), proptest::collection::vec(edit, 1..6)).prop_map(|(mut text, edits)| {
        for (place, length, token) in edits {
            let start = text.floor_char_boundary(place.index(text.len() + 1));
            let end = text.ceil_char_boundary((start + length).min(text.len()));
            text.replace_range(start..end, &token);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_too_strange(text in any::<String>()) {
        looked_at(&text);
    }

    #[test]
    fn no_sequence_of_tokens_is_too_strange(tokens in proptest::collection::vec(token(), 0..40)) {
        looked_at(&tokens.concat());
    }

    #[test]
    fn no_edit_of_a_file_is_too_strange(text in mutated()) {
        looked_at(&text);
    }

    #[test]
    fn no_value_is_too_strange(section in any::<proptest::sample::Index>(), key in any::<proptest::sample::Index>(), text in token()) {
        let with_keys: Vec<_> = SECTIONS.into_iter().filter(|section| !section.keys.is_empty()).collect();
        let section = section.get(&with_keys);
        let keys = section.keys;
        let key = key.get(keys);
        let string = toml::Value::String(text.clone()).to_string();
        for value in [string.clone(), format!("[{string}]"), text] {
            looked_at(&file_with(section, key, &value));
        }
    }

    #[test]
    fn no_duration_is_too_strange(text in "([0-9]{1,20}(ns|us|ms|s|m|h|d|w|M|y| |\\.)){1,3}") {
        looked_at(&format!("{DIRECTOR}[timeouts]\ntcp = \"{text}\"\n"));
    }
}
