//! What other directors are told.

use lb_common::connection::State;
use lb_common::persistence::Persistence;

use crate::director::*;

const ESTABLISHED: u32 = State::Established as u32;
const FIN_WAIT: u32 = State::FinWait as u32;
const CLOSE: u32 = State::Close as u32;

#[test]
fn nobody_is_told_of_anything_without_other_directors() {
    let director = Director::new();
    for flags in [SYN, ACK, FIN | ACK] {
        director.tcp(1000, WEB, flags);
    }
    assert_eq!(director.told(), []);
}

#[test]
fn a_connection_is_told_of_when_it_is_confirmed_and_when_its_state_changes() {
    let director = Director::new();
    director.synchronise();
    director.tcp(1000, WEB, SYN);
    director.tcp(1000, WEB, SYN);
    assert_eq!(director.told(), [], "a flood of SYNs is no other director's");
    director.tcp(1000, WEB, ACK);
    assert_eq!(director.told(), [(2, ESTABLISHED)]);
    for _ in 0..5 {
        director.tcp(1000, WEB, ACK);
        director.wait(10);
    }
    assert_eq!(director.told(), [], "an established one changes nothing that is told");
    director.tcp(1000, WEB, FIN | ACK);
    assert_eq!(director.told(), [(2, FIN_WAIT)]);
    director.tcp(1000, WEB, ACK);
    director.tcp(1000, WEB, RST);
    assert_eq!(director.told(), [(2, CLOSE)]);
    director.tcp(1000, WEB, SYN);
    assert_eq!(director.told(), [(1, State::SynRecv as u32)], "scheduled anew");
    director.tcp(1000, WEB, ACK);
    assert_eq!(director.told(), [(1, ESTABLISHED)]);
}

#[test]
fn a_flow_of_datagrams_is_told_of_with_the_second_one() {
    let director = Director::new();
    director.synchronise();
    director.send(&udp(1000, WEB));
    assert_eq!(director.told(), []);
    for _ in 0..3 {
        director.send(&udp(1000, WEB));
    }
    assert_eq!(director.told(), [(2, State::Udp as u32)]);
}

#[test]
fn a_template_is_told_of_before_the_connection_that_it_was_made_for() {
    let director = Director::new();
    director.persist(Persistence::new(60, 32));
    director.synchronise();
    director.tcp(1000, WEB, SYN);
    assert_eq!(director.told(), []);
    director.tcp(1000, WEB, ACK);
    assert_eq!(director.told(), [(2, State::Template as u32), (2, ESTABLISHED)]);
    director.tcp(1001, WEB, SYN);
    director.tcp(1001, WEB, ACK);
    assert_eq!(director.told(), [(2, ESTABLISHED)], "it is there already");
    // Its real server is gone: it leads elsewhere.
    director.take_away(2);
    director.tcp(1002, WEB, SYN);
    director.tcp(1002, WEB, ACK);
    let [template, connection] = director.told()[..] else { panic!("two are told of") };
    assert_eq!((template.1, connection.1), (State::Template as u32, ESTABLISHED));
    assert_eq!(template.0, connection.0);
    assert_ne!(template.0, 2);
}
