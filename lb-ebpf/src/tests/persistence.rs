//! Clients keep their real server.

use std::vec::Vec;

use etherparse::PacketBuilder;
use lb_common::connection::State;
use lb_common::destination::Flags;
use lb_common::persistence::Persistence;

use crate::director::*;
use crate::track::Record::{Confirmed, First};

/// A segment from 198.51.100.`host`.
fn from(director: &Director, host: u8, client_port: u16, flags: u8) -> Went {
    to(director, VIP, host, client_port, WEB, flags)
}

fn to(director: &Director, vip: [u8; 4], host: u8, client_port: u16, port: u16, flags: u8) -> Went {
    let [a, b, c, _] = CLIENT;
    let builder = PacketBuilder::ethernet2(ROUTER, DIRECTOR).ipv4([a, b, c, host], vip, 63);
    let builder = builder.tcp(client_port, port, 1, 1024);
    let mut frame = Vec::new();
    let builder = if flags & SYN != 0 { builder.syn() } else { builder };
    let builder = if flags & FIN != 0 { builder.fin() } else { builder };
    let builder = if flags & ACK != 0 { builder.ack(1) } else { builder };
    builder.write(&mut frame, b"data").expect("a vector takes everything");
    director.send(&frame)
}

fn director(timeout: u32, prefix: u8) -> Director {
    let director = Director::new();
    director.persist(Persistence::new(timeout, prefix));
    director
}

/// `rr` would lead to 2, 1, 0.
#[test]
fn connections_of_a_client_go_to_one_real_server() {
    let director = director(60, 32);
    for (host, server) in [(1, 2), (2, 1), (3, 0), (4, 2)] {
        for port in 1000..1010 {
            assert_eq!(from(&director, host, port, SYN), Went::To(server), "{host}:{port}");
            assert_eq!(from(&director, host, port, ACK), Went::To(server), "{host}:{port}");
        }
    }
    let connections: Vec<u64> = director.connections.borrow().values().copied().collect();
    assert_eq!(connections, [10, 10, 20], "each is counted once");
    let active: Vec<u32> = director.loads.iter().map(|load| load.counts().active).collect();
    assert_eq!(active, [10, 10, 20], "and templates are not");
    assert!(director.counters.borrow().is_empty());
}

#[test]
fn ports_and_addresses_of_a_service_share_templates() {
    let director = director(60, 32);
    assert_eq!(from(&director, 1, 1000, SYN), Went::To(2));
    let [a, b, c, _] = VIP;
    for (low, port) in [(PREFIX.start, RANGE.start), (PREFIX.start + 5, RANGE.end - 1)] {
        assert_eq!(to(&director, [a, b, c, low], 1, 1000, port, SYN), Went::To(2));
    }
    assert_eq!(from(&director, 2, 1000, SYN), Went::To(1), "another client");
}

#[test]
fn another_service_has_templates_of_its_own() {
    let director = director(60, 32);
    let hashed = |host| to(&director, VIP, host, 1000, HASHED, SYN);
    let Went::To(own) = hashed(1) else { panic!("it is forwarded") };
    let other = (2..).find(|host| !matches!(hashed(*host), Went::To(server) if server == own));
    let other = other.expect("sh has two to choose from");
    assert_eq!(from(&director, 1, 1000, SYN), Went::To(2));
    assert_eq!(from(&director, other, 1000, SYN), Went::To(1));
    assert_eq!(hashed(1), Went::To(own));
}

#[test]
fn a_mask_joins_clients() {
    let director = director(60, 30);
    for (host, server) in [(4, 2), (5, 2), (7, 2), (8, 1), (11, 1), (12, 0)] {
        assert_eq!(from(&director, host, 1000, SYN), Went::To(server), "{host}");
    }
}

#[test]
fn a_template_lives_on_with_each_connection_and_expires_without() {
    let director = director(60, 32);
    assert_eq!(from(&director, 1, 1000, SYN), Went::To(2));
    for n in 1..5 {
        director.wait(59);
        assert_eq!(from(&director, 1, 1000 + n, SYN), Went::To(2), "{n}");
    }
    director.wait(60);
    assert_eq!(from(&director, 1, 2000, SYN), Went::To(1), "rr's next");
    assert_eq!(from(&director, 1, 2001, SYN), Went::To(1), "and there it stays");
}

/// Whose connections they are: what moves them is not their client's packets.
#[test]
fn a_template_follows_its_connection_into_the_main_table() {
    let director = director(60, 32);
    let template = State::Template as u32;
    from(&director, 1, 1000, SYN);
    assert_eq!(director.states(First), [State::SynRecv as u32, template]);
    assert_eq!(director.states(Confirmed), []);
    from(&director, 1, 1001, SYN);
    from(&director, 1, 1000, ACK);
    assert_eq!(director.states(First), [0, 0, State::SynRecv as u32], "two that are on their way");
    assert_eq!(director.states(Confirmed), [State::Established as u32, template]);
    director.wait(59);
    assert_eq!(from(&director, 1, 1002, SYN), Went::To(2), "it was brought up to date there");
    director.wait(59);
    assert_eq!(from(&director, 1, 1003, SYN), Went::To(2));
    director.wait(60);
    assert_eq!(from(&director, 1, 1004, SYN), Went::To(1));
    assert_eq!(
        director.states(Confirmed).iter().filter(|state| **state == template).count(),
        1,
        "it is replaced"
    );
}

/// The half-open table has 128 entries.
#[test]
fn a_flood_of_clients_takes_no_connection_and_no_confirmed_template() {
    let director = director(60, 32);
    assert_eq!(from(&director, 1, 1000, SYN), Went::To(2));
    assert_eq!(from(&director, 1, 1000, ACK), Went::To(2));
    director.wait(1);
    for host in 2..=255 {
        for port in 1000..1004 {
            from(&director, host, port, SYN);
        }
    }
    assert_eq!(director.states(Confirmed), [State::Established as u32, State::Template as u32]);
    assert_eq!(from(&director, 1, 1000, ACK), Went::To(2));
    assert_eq!(from(&director, 1, 1001, SYN), Went::To(2));
}

#[test]
fn a_real_server_that_is_gone_or_does_not_answer_loses_its_clients() {
    for gone in [Flags::default(), Flags::ALLOCATED, Flags::ALLOCATED.with(Flags::USABLE).with(Flags::DOWN)] {
        for confirmed in [false, true] {
            let director = director(60, 32);
            assert_eq!(from(&director, 1, 1000, SYN), Went::To(2));
            if confirmed {
                assert_eq!(from(&director, 1, 1000, ACK), Went::To(2));
            }
            director.flag(2, gone);
            assert_eq!(from(&director, 1, 1001, SYN), Went::To(1), "{gone:?}");
            assert_eq!(from(&director, 1, 1002, SYN), Went::To(1), "{gone:?}");
            director.flag(2, Flags::ALLOCATED.with(Flags::USABLE));
            assert_eq!(from(&director, 1, 1003, SYN), Went::To(1), "the template is another now");
        }
    }
}

/// conn_reuse_mode: scheduled anew, "unless the entry is controlled by a template" (`ip_vs_in`).
#[test]
fn a_port_that_is_used_again_keeps_the_real_server() {
    let director = director(300, 32);
    for flags in [SYN, ACK, FIN | ACK] {
        assert_eq!(from(&director, 1, 1000, flags), Went::To(2));
    }
    assert_eq!(from(&director, 2, 1000, SYN), Went::To(1));
    assert_eq!(from(&director, 1, 1000, SYN), Went::To(2));
    assert_eq!(from(&director, 1, 1000, ACK), Went::To(2));
}

/// Its entry is stale and there is no template: both are made anew, for the same real server.
#[test]
fn an_expired_connection_without_a_template_agrees_with_the_next_one() {
    let director = director(60, 32);
    assert_eq!(from(&director, 1, 1000, SYN), Went::To(2));
    assert_eq!(from(&director, 1, 1000, ACK), Went::To(2));
    director.wait(1000);
    assert_eq!(from(&director, 1, 1000, SYN), Went::To(1));
    assert_eq!(from(&director, 1, 1001, SYN), Went::To(1));
    assert_eq!(from(&director, 1, 1000, ACK), Went::To(1));
}

#[test]
fn a_service_that_forgets_its_clients_schedules_again() {
    let director = director(60, 32);
    assert_eq!(from(&director, 1, 1000, SYN), Went::To(2));
    director.persist(Persistence::NONE);
    assert_eq!(from(&director, 1, 1001, SYN), Went::To(1));
    assert_eq!(from(&director, 1, 1002, SYN), Went::To(0));
}
