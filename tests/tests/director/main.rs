//! The daemon with real clients, real servers and a real kernel in between.

#![expect(clippy::disallowed_methods, reason = "labs measure real time")]
#![expect(clippy::expect_used, reason = "a test that is surprised fails")]

mod acl;
mod api;
mod checks;
mod coexistence;
mod command_line;
mod connections;
mod down;
mod explain;
mod forms;
mod forwarding;
mod fragments;
mod health;
mod health_scale;
mod http;
mod import;
mod interfaces;
mod ipv6;
mod ipv6_forwarding;
mod ipvsadm;
mod jumbo;
mod limits;
mod load;
mod local;
mod metrics;
mod neighbours;
mod operating;
mod peers;
mod persistence;
mod quick_start;
mod readme;
mod real_server;
mod reload;
mod restart;
mod scale;
mod schedulers;
mod service;
mod steadiness;
mod support;
mod sync;
mod top;
mod trace;
mod verifier;
mod vip_probe;
mod vips;
mod vlan;
