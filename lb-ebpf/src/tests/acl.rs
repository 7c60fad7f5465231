//! Clients that are refused, and clients that are not.

use std::vec;
use std::vec::Vec;

use etherparse::PacketBuilder;
use lb_common::acl::{ALL_SERVICES, ALLOW, DENY, Gate};
use lb_common::counter::Reason;

use crate::director::*;

const REFUSED: Went = Went::Nowhere(Reason::DropDenied);
const REFUSED_BY_SERVICE: Went = Went::Nowhere(Reason::DropDeniedByService);

fn tcp_v6(client_port: u16, port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(ROUTER, DIRECTOR)
        .ipv6(CLIENT_V6, VIP_V6, 63)
        .tcp(client_port, port, 1, 1024)
        .syn()
        .write(&mut frame, b"")
        .expect("a vector takes everything");
    frame
}

/// Where a SYN of either family to either service goes, in the first of which rules may refuse it.
fn syns(director: &Director, port: u16) -> [Went; 4] {
    [
        director.tcp(port, WEB, SYN),
        director.tcp(port, HASHED, SYN),
        director.send(&tcp_v6(port, WEB)),
        director.send(&tcp_v6(port, HASHED)),
    ]
}

fn is_let_in(went: &Went) -> bool {
    matches!(went, Went::To(_))
}

#[test]
fn a_denied_client_opens_no_connection_and_keeps_those_it_has() {
    let mut director = Director::new();
    let old = director.tcp(1000, WEB, SYN);
    assert_eq!(director.tcp(1000, WEB, ACK), old);
    director.rules = vec![(ALL_SERVICES, CLIENT.to_vec(), DENY)];
    assert!(syns(&director, 2000).iter().all(is_let_in), "the gate is open");
    director.guard(Gate::guarded(false), Gate::OPEN);
    let [web, hashed, web_v6, hashed_v6] = syns(&director, 3000);
    assert_eq!((web, hashed), (REFUSED, REFUSED));
    assert!(is_let_in(&web_v6) && is_let_in(&hashed_v6));
    // They end when the daemon has swept.
    assert_eq!(director.tcp(1000, WEB, ACK), old);
    // Nobody answers for what is in the middle of a connection, either.
    assert_eq!(director.tcp(4000, WEB, ACK), REFUSED);
    assert_eq!(director.tcp(4000, HASHED, ACK), REFUSED);
}

#[test]
fn where_somebody_is_allowed_nobody_else_is_let_in() {
    let mut director = Director::new();
    director.rules = vec![(ALL_SERVICES, CLIENT_V6.to_vec(), ALLOW)];
    director.guard(Gate::guarded(true), Gate::OPEN);
    let [web, hashed, web_v6, hashed_v6] = syns(&director, 1000);
    assert_eq!((web, hashed), (REFUSED, REFUSED));
    assert!(is_let_in(&web_v6) && is_let_in(&hashed_v6));
}

#[test]
fn a_services_rules_are_for_its_own_clients() {
    let mut director = Director::new();
    director.rules = vec![(0, CLIENT.to_vec(), DENY), (1, CLIENT.to_vec(), DENY)];
    director.guard(Gate::OPEN, Gate::guarded(false));
    let [web, hashed, web_v6, hashed_v6] = syns(&director, 1000);
    assert_eq!(web, REFUSED_BY_SERVICE);
    assert!(is_let_in(&hashed) && is_let_in(&web_v6) && is_let_in(&hashed_v6));
}

#[test]
fn a_client_must_be_let_in_by_both() {
    let mut director = Director::new();
    director.rules = vec![(ALL_SERVICES, CLIENT.to_vec(), ALLOW), (0, CLIENT_V6.to_vec(), ALLOW)];
    director.guard(Gate::guarded(true), Gate::guarded(true));
    let [web, hashed, web_v6, hashed_v6] = syns(&director, 1000);
    assert_eq!((web, web_v6, hashed_v6), (REFUSED_BY_SERVICE, REFUSED, REFUSED));
    assert!(is_let_in(&hashed));
}
