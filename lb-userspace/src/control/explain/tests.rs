use std::collections::BTreeSet;
use std::net::SocketAddr;

use lb_common::policy::OnDown as Policy;
use serde_json::json;

use super::*;
use crate::config::Acl;
use crate::scheduler::Scheduler;
use crate::state::PublishedService;

fn question(changes: &serde_json::Value) -> Question {
    let mut question =
        json!({ "source": "198.51.100.7:40000", "destination": "192.0.2.1:80", "protocol": "tcp" });
    for (key, value) in changes.as_object().expect("an object") {
        question[key] = value.clone();
    }
    serde_json::from_value(question).expect("a question")
}

#[test]
fn every_flag_has_its_bit() {
    let names: Vec<&str> = TCP_FLAGS.iter().map(|(name, _)| *name).collect();
    let parsed = question(&json!({ "flags": names })).frame(0).expect("there is such a frame");
    assert_eq!(parsed.tcp_flags, 0xff);
    assert_eq!(flag_names(0x12), ["syn", "ack"]);
    assert_eq!(question(&json!({})).frame(0).expect("there is such a frame").tcp_flags, 0);
}

#[test]
fn a_question_about_no_frame_is_refused() {
    let refused = |changes| question(&changes).frame(0).expect_err("there is no such frame");
    assert_eq!(refused(json!({ "protocol": "sctp" })), QuestionError::Protocol("sctp".into()));
    assert_eq!(refused(json!({ "flags": ["nak"] })), QuestionError::Flag("nak".into()));
    assert_eq!(refused(json!({ "protocol": "udp", "flags": ["syn"] })), QuestionError::FlagsOfUdp);
    assert_eq!(refused(json!({ "vlan": 4095 })), QuestionError::Vlan(4095));
    let families = refused(json!({ "source": "[2001:db8::7]:40000" }));
    assert!(matches!(families, QuestionError::Families(_, _)), "{families:?}");
}

#[test]
fn an_interface_is_asked_about_by_its_name_and_the_first_without() {
    let interfaces = Interfaces(vec![(1, "eth0".to_owned()), (0, "eth1".to_owned())]);
    let place = |changes| question(&changes).parse(&interfaces).map(|question| question.interface);
    assert_eq!(place(json!({})), Ok(1));
    assert_eq!(place(json!({ "interface": "eth1" })), Ok(0));
    let unknown = place(json!({ "interface": "eth2" })).expect_err("there is none").to_string();
    assert_eq!(unknown, "lb is not attached to \"eth2\"; the interface is one of eth0, eth1");
}

#[test]
fn addresses_of_the_same_vip_are_nearer_than_others() {
    let service = |name: &str, addresses: &[&str]| PublishedService {
        name: name.to_owned(),
        number: None,
        addresses: addresses
            .iter()
            .map(|address| address.parse::<SocketAddr>().expect("an address").into())
            .collect(),
        acl: Acl::default(),
        persistence: None,
        fwmark: None,
        protocol: Protocol::Tcp,
        scheduler: Scheduler::by_name("rr").expect("it is one"),
        scheduler_flags: BTreeSet::new(),
        servers: Vec::new(),
        sorry_server: None,
        on_down: Policy::Keep,
        one_packet: false,
        is_runtime: false,
        has_quorum: true,
    };
    let services = vec![
        service("web", &["192.0.2.1:80", "192.0.2.2:80"]),
        service("web6", &["[2001:db8::1]:80"]),
        service("tls", &["192.0.2.1:443"]),
    ];
    let published = Published { services, ..Published::default() };
    let near = |to: &str| near(&question(&json!({ "destination": to })), &published);
    assert_eq!(near("192.0.2.1:22"), ["tcp 192.0.2.1:80 (web)", "tcp 192.0.2.1:443 (tls)"]);
    assert_eq!(near("192.0.2.9:80").len(), 3, "no VIP: all of the family");
    assert_eq!(near("[2001:db8::9]:80"), ["tcp [2001:db8::1]:80 (web6)"]);
}
