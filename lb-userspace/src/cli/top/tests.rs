//! What is on the screen of two sizes, and what keys do.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::frame::{draw, short};
use super::view::{Mode, Order, Sample, Sort, Step, View};
use crate::control::api::WeightChanged;

fn server(address: &str, state: &str, weight: u32, active: u64, rate: f64) -> Value {
    let error = (state == "down").then_some("connection refused");
    json!({
        "address": address, "weight": weight, "state": state, "mac": null,
        "active_connections": active, "inactive_connections": 3 * active,
        "stats": { "connections": 1000 * active, "packets": 12_345 * active, "bytes": 9_876_543 * active },
        "rate": { "connections": rate, "packets": 9.0 * rate, "bytes": 1200.0 * rate },
        "health": {
            "check": "http 80 /", "state": "up", "in_a_row": 2,
            "last": { "time": "2026-11-22T05:00:00Z", "latency_ms": 1.26, "late_ms": 0.0, "error": error },
        },
    })
}

fn sample(drops: u64) -> Sample {
    let rate = |rate: f64| json!({ "connections": rate, "packets": 9.0 * rate, "bytes": 1200.0 * rate });
    let stats = json!({ "connections": 7_000, "packets": 86_415, "bytes": 69_135_801 });
    let sample = json!({
        "director": {
            "version": "1.2.3", "interface": "eth0", "xdp_mode": "native", "max_connections": 1000,
            "counters": { "drop_denied": drops, "evicted_live": drops / 10, "pass_not_ip": 50 * drops },
            "connection_tables": {
                "states": { "ESTABLISHED": 1300, "SYN_RECV": 7, "CLOSE": 0 },
                "tables": [
                    { "table": "ipv4", "entries": 1300, "capacity": 10_000, "places": 25_000 },
                    { "table": "ipv6", "entries": 0, "capacity": 10_000, "places": 25_000 },
                ],
                "sweeps": 1, "freed": 0,
            },
        },
        "virtual_servers": [
            {
                "name": "web", "addresses": ["192.0.2.240:80", "192.0.2.240:443"], "protocol": "tcp",
                "scheduler": "wlc", "quorum": true, "stats": stats, "rate": rate(161.5),
                "real_servers": [
                    server("192.0.2.10", "up", 3, 7, 123.4), server("192.0.2.11", "draining", 0, 2, 0.0),
                    server("192.0.2.12", "down", 1, 0, 0.0), server("192.0.2.13", "up", 1, 1250, 38.1),
                ],
                "sorry_server": server("192.0.2.250", "up", 1, 0, 0.0),
            },
            {
                "name": "a-name-that-is-rather-long", "addresses": ["[2001:db8::1]:53"], "protocol": "udp",
                "scheduler": "sh", "quorum": false, "stats": stats, "rate": rate(0.0),
                "real_servers": [server("2001:db8:1234:5678:9abc:def0:1234:5678", "unresolved", 1, 0, 0.0)],
            },
        ],
        "vrrp": { "instances": [{
            "name": "VI_1", "state": "master", "since": "2026-11-22T04:00:00Z", "reason": "", "interface": "eth0",
            "virtual_router_id": 51, "version": 3, "priority": 100, "configured_priority": 100, "held": false,
            "advert_interval_ms": 1000, "unicast_peers": [], "virtual_addresses": [], "track_scripts": [],
            "transitions": { "master": 1, "backup": 1, "fault": 0 },
            "adverts": { "sent": 1, "not_sent": 0, "received": 0, "rejected": {} },
        }] },
    });
    serde_json::from_value(sample).expect("it is what the daemon answers")
}

/// A view after two looks, two seconds apart.
fn view() -> View {
    let mut view = View::default();
    view.hear(sample(0), Duration::from_secs(2));
    view.hear(sample(100), Duration::from_secs(2));
    view
}

fn screen(view: &View, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("it is in memory");
    terminal.draw(|frame| draw(frame, view)).expect("it is in memory");
    terminal.backend().to_string()
}

fn press(view: &mut View, keys: &str) -> Step {
    let press = |letter| match letter {
        '↓' => KeyCode::Down,
        '↑' => KeyCode::Up,
        '⏎' => KeyCode::Enter,
        '⎋' => KeyCode::Esc,
        letter => KeyCode::Char(letter),
    };
    keys.chars().map(|key| view.press(KeyEvent::from(press(key)))).last().unwrap_or(Step::Nothing)
}

#[test]
fn it_fits_80_by_24() {
    insta::assert_snapshot!(screen(&view(), 80, 24));
}

#[test]
fn at_120_by_40_there_is_more_of_each() {
    insta::assert_snapshot!(screen(&view(), 120, 40));
}

#[test]
fn help_lies_above_the_list() {
    let mut view = view();
    assert_eq!(press(&mut view, "?"), Step::Nothing);
    insta::assert_snapshot!(screen(&view, 80, 24));
    press(&mut view, "x");
    assert_eq!(view.mode, Mode::Look, "any key closes it");
}

#[test]
fn a_daemon_that_is_gone_is_told_of_and_what_it_said_stays() {
    let mut view = view();
    view.miss("nobody answers on /run/lb/lb.sock".to_owned(), Duration::from_secs(12));
    let shown = screen(&view, 80, 24);
    assert!(shown.contains("the daemon is gone for 12 s, asking again: nobody answers"), "{shown}");
    assert!(shown.contains("192.0.2.10"), "{shown}");
    press(&mut view, "↓d");
    assert_eq!(view.mode, Mode::Look, "nobody would do it");
    view.hear(sample(100), Duration::from_secs(14));
    assert!(!screen(&view, 80, 24).contains("gone"));
}

#[test]
fn what_has_no_room_is_cut_off_and_nothing_panics() {
    let mut view = view();
    for mode in ["", "?", "x/we", "⏎↓d"] {
        press(&mut view, mode);
        for (width, height) in [(1, 1), (10, 3), (40, 8), (300, 100)] {
            screen(&view, width, height);
        }
    }
    let empty = screen(&View::default(), 80, 24);
    assert!(empty.contains("lb top"), "{empty}");
}

#[test]
fn the_selected_line_is_always_seen() {
    let mut view = view();
    press(&mut view, "↓↓↓↓↓↓↓↓↓↓");
    let shown = screen(&view, 80, 12);
    assert!(shown.contains("2001:db8:") && !shown.contains("192.0.2.10"), "{shown}");
}

#[test]
fn draining_and_enabling_are_asked_about_and_the_weight_comes_back() {
    let mut view = view();
    press(&mut view, "↓d");
    let drain = Order { service: "web".into(), server: "192.0.2.10".into(), before: 3, weight: 0 };
    assert_eq!(view.mode, Mode::Confirm(drain.clone()));
    let shown = screen(&view, 80, 24);
    assert!(shown.contains("drain 192.0.2.10 of web (now 3)? y/n"), "{shown}");
    assert_eq!(press(&mut view, "n"), Step::Nothing);
    assert_eq!(view.note.as_deref(), Some("nothing was changed"));
    assert_eq!(press(&mut view, "dy"), Step::Do(drain));
    view.finish(Ok(WeightChanged {
        service: "web".into(),
        server: "192.0.2.10".into(),
        changed: true,
        before: 3,
        weight: 0,
    }));
    assert_eq!(view.note.as_deref(), Some("192.0.2.10 of web is drained: e gives it weight 3 again"));
    let mut drained = sample(100);
    drained.listed.virtual_servers[0].real_servers[0].weight = 0;
    view.hear(drained, Duration::from_secs(2));
    let enable = Order { service: "web".into(), server: "192.0.2.10".into(), before: 0, weight: 3 };
    assert_eq!(press(&mut view, "ey"), Step::Do(enable));
    view.finish(Err("the daemon says: no".to_owned()));
    assert!(screen(&view, 80, 24).contains("the daemon says: no"));
    // One that somebody else drained.
    press(&mut view, "↓e");
    let enable = Order { service: "web".into(), server: "192.0.2.11".into(), before: 0, weight: 1 };
    assert_eq!(view.mode, Mode::Confirm(enable));
}

#[test]
fn what_cannot_be_drained_says_why() {
    let mut view = view();
    for (keys, note) in [
        ("d", "select a real server first"),
        ("↓e", "192.0.2.10 of web is not drained"),
        ("↓d", "192.0.2.11 of web is drained already"),
        ("↓↓↓d", "a sorry server has no weight"),
    ] {
        assert_eq!(press(&mut view, keys), Step::Nothing);
        assert_eq!(view.mode, Mode::Look);
        assert!(view.note.as_deref().is_some_and(|said| said.contains(note)), "{keys}: {:?}", view.note);
    }
}

fn servers(view: &View) -> Vec<String> {
    view.rows().iter().filter_map(|row| Some(row.server?.address.clone())).collect()
}

#[test]
fn lines_are_sorted_by_the_chosen_column_within_their_virtual_server() {
    let mut view = view();
    press(&mut view, "sss");
    assert_eq!(view.sort, Sort::Active);
    let sorted = servers(&view);
    assert_eq!(sorted[..2], ["192.0.2.13", "192.0.2.10"]);
    press(&mut view, "r");
    let reversed = servers(&view);
    assert_eq!(reversed.last(), Some(&"192.0.2.13".to_owned()), "{reversed:?}");
    press(&mut view, "rSsss");
    assert_eq!(view.sort, Sort::Connections);
    assert_eq!(servers(&view)[..2], ["192.0.2.10", "192.0.2.13"]);
}

#[test]
fn a_filter_leaves_what_matches_with_its_virtual_server() {
    let mut view = view();
    press(&mut view, "/DOWN⏎");
    assert_eq!(servers(&view), ["192.0.2.12"]);
    assert!(screen(&view, 80, 24).contains("filter: DOWN"));
    assert_eq!(press(&mut view, "⎋"), Step::Nothing);
    press(&mut view, "/:443q⏎");
    assert!(servers(&view).is_empty(), "q is a letter here");
    press(&mut view, "⎋/:443⏎");
    assert_eq!(servers(&view).len(), 5, "all of the virtual server");
    assert!(view.selected().is_some());
}

#[test]
fn q_and_control_c_quit_everywhere_they_should() {
    assert_eq!(press(&mut view(), "q"), Step::Quit);
    for keys in ["?", "/", "↓d"] {
        let mut view = view();
        press(&mut view, keys);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(view.press(control_c), Step::Quit);
    }
}

#[test]
fn numbers_have_five_places_at_most() {
    for (number, shown) in [
        (0.0, "0"),
        (0.04, "0.0"),
        (3.44, "3.4"),
        (99.94, "99.9"),
        (999.4, "999"),
        (999.9, "1.0k"),
        (12_345.0, "12.3k"),
        (1_234_567.0, "1.2M"),
        (9.8e9, "9.8G"),
        (3.2e15, "3200T"),
    ] {
        assert_eq!(short(number), shown);
    }
}
