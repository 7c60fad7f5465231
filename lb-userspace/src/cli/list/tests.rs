use super::*;
use crate::control::api::{Persistence, VirtualServer};

fn a_service() -> VirtualServer {
    VirtualServer {
        name: "web".to_owned(),
        addresses: vec!["192.0.2.1:80".to_owned()],
        fwmark: None,
        protocol: "tcp".to_owned(),
        scheduler: "rr".to_owned(),
        scheduler_flags: Vec::new(),
        real_servers: Vec::new(),
        sorry_server: None,
        on_down: "keep".to_owned(),
        one_packet: false,
        runtime: false,
        quorum: true,
        stats: Stats::default(),
        rate: Rate::default(),
        acl: Acl::default(),
        persistence: None,
    }
}

fn a_server() -> RealServer {
    RealServer {
        address: "192.0.2.10".to_owned(),
        weight: 1,
        upper_threshold: 0,
        lower_threshold: 0,
        persistent_connections: None,
        state: State::Up,
        since: None,
        runtime: false,
        mac: None,
        active_connections: 0,
        inactive_connections: 0,
        stats: Stats::default(),
        rate: Rate::default(),
        health: None,
    }
}

#[test]
fn an_address_of_ipv6_is_told_from_its_port() {
    assert_eq!(joined("2001:db8::1", "http"), "[2001:db8::1]:http");
    assert_eq!(joined("www.example.net", "http"), "www.example.net:http");
    assert_eq!(socket_name("[2001:db8::1]:80", "tcp", true), "[2001:db8::1]:80");
    assert_eq!(host_name("2001:db8::10", true), "2001:db8::10");
}

/// Columns are as wide as the longest address of either family.
#[test]
fn columns_stand_below_each_other() {
    let server =
        |address: &str| RealServer { address: address.to_owned(), inactive_connections: 12, ..a_server() };
    let service = |address: &str, real_servers: &[&str]| VirtualServer {
        addresses: vec![address.to_owned()],
        real_servers: real_servers.iter().map(|address| server(address)).collect(),
        acl: Acl {
            deny: Vec::new(),
            allow: vec!["10.0.0.0/8".to_owned(); usize::from(address.contains('['))],
        },
        ..a_service()
    };
    let virtual_servers = vec![
        service("192.0.2.1:80", &["192.0.2.10"]),
        service("[2001:db8::1]:80", &["2001:db8::10", "2001:db8:1234:5678:9abc:def0:1234:5678"]),
    ];
    let expected = "\
Prot LocalAddress:Port Scheduler
  -> RemoteAddress                          Weight ActiveConn InActConn State MAC
TCP  192.0.2.1:80 rr
  -> 192.0.2.10                             1      0          12        up    local
TCP  [2001:db8::1]:80 rr allow 1
  -> 2001:db8::10                           1      0          12        up    local
  -> 2001:db8:1234:5678:9abc:def0:1234:5678 1      0          12        up    local
";
    assert_eq!(
        table(&VirtualServers { virtual_servers }, true, Columns::State, SystemTime::UNIX_EPOCH),
        expected
    );
}

#[test]
fn flags_stand_behind_their_scheduler() {
    let virtual_servers = vec![VirtualServer {
        addresses: vec!["192.0.2.1:53".to_owned(), "192.0.2.2:53".to_owned()],
        protocol: "udp".to_owned(),
        scheduler: "mh".to_owned(),
        scheduler_flags: vec!["mh-fallback".to_owned(), "mh-port".to_owned()],
        acl: Acl { deny: vec!["10.0.0.0/8".to_owned()], allow: Vec::new() },
        ..a_service()
    }];
    let lines = table(&VirtualServers { virtual_servers }, true, Columns::State, SystemTime::UNIX_EPOCH);
    assert!(
        lines.ends_with("UDP  192.0.2.1:53 mh (mh-fallback,mh-port) deny 1\n     192.0.2.2:53\n"),
        "{lines}"
    );
}

/// As ipvsadm marks it (`print_service_entry` of ipvsadm.c).
#[test]
fn one_packet_is_marked_and_so_is_the_sorry_server() {
    let sorry = RealServer {
        address: "192.0.2.250".to_owned(),
        mac: Some("02:00:00:00:00:fa".to_owned()),
        inactive_connections: 3,
        ..a_server()
    };
    let virtual_servers = vec![VirtualServer {
        addresses: vec!["192.0.2.1:53".to_owned()],
        protocol: "udp".to_owned(),
        real_servers: vec![RealServer { address: "192.0.2.10".to_owned(), mac: None, ..sorry.clone() }],
        sorry_server: Some(sorry),
        one_packet: true,
        ..a_service()
    }];
    let expected = "\
Prot LocalAddress:Port Scheduler
  -> RemoteAddress       Weight ActiveConn InActConn State MAC
UDP  192.0.2.1:53 rr ops
  -> 192.0.2.10          1      0          3         up    local
  -> 192.0.2.250 (sorry) 1      0          3         up    02:00:00:00:00:fa
";
    assert_eq!(
        table(&VirtualServers { virtual_servers }, true, Columns::State, SystemTime::UNIX_EPOCH),
        expected
    );
}

#[test]
fn a_group_with_a_number_is_listed_by_it() {
    let virtual_servers = vec![VirtualServer {
        addresses: vec!["192.0.2.0/28:80".to_owned(), "192.0.2.1:8000-8100".to_owned()],
        fwmark: Some(7),
        ..a_service()
    }];
    let lines = table(&VirtualServers { virtual_servers }, false, Columns::State, SystemTime::UNIX_EPOCH);
    assert!(lines.ends_with("FWM  7 rr\nTCP  192.0.2.0/28:80\n     192.0.2.1:8000-8100\n"), "{lines}");
}

/// As ipvsadm prints them (`print_service_entry` of ipvsadm.c).
#[test]
fn a_persistent_service_says_for_how_long() {
    let line = |address: &str, mask: u8| {
        let service = VirtualServer {
            addresses: vec![address.to_owned()],
            scheduler: "sh".to_owned(),
            scheduler_flags: vec!["sh-port".to_owned()],
            persistence: Some(Persistence { timeout: 360, mask }),
            ..a_service()
        };
        let listed = VirtualServers { virtual_servers: vec![service] };
        table(&listed, true, Columns::State, SystemTime::UNIX_EPOCH)
            .lines()
            .nth(2)
            .unwrap_or_default()
            .to_owned()
    };
    for (address, mask, expected) in [
        ("192.0.2.1:80", 32, ""),
        ("192.0.2.1:80", 24, " mask 255.255.255.0"),
        ("192.0.2.1:80", 1, " mask 128.0.0.0"),
        ("[2001:db8::1]:80", 128, ""),
        ("[2001:db8::1]:80", 64, " mask 64"),
        ("[2001:db8::1]:80", 32, " mask 32"),
    ] {
        let expected = format!("TCP  {address} sh (sh-port) persistent 360{expected}");
        assert_eq!(line(address, mask), expected);
    }
}

/// What ipvsadm has for the other direction is left out: a director in direct routing never sees it.
#[test]
fn counters_and_rates_stand_in_columns() {
    let server = |address: &str, n: u64| RealServer {
        address: address.to_owned(),
        stats: Stats { connections: n, packets: 10 * n, bytes: 5000 * n },
        rate: Rate { connections: 0.4, packets: 10.6, bytes: 1e6 },
        ..a_server()
    };
    let real_servers = vec![server("192.0.2.10", 7), server("192.0.2.11", 12_345)];
    let virtual_servers = vec![VirtualServer {
        addresses: vec!["192.0.2.1:80".to_owned(), "192.0.2.1:443".to_owned()],
        scheduler: "wrr".to_owned(),
        stats: real_servers.iter().map(|server| server.stats).sum(),
        rate: real_servers.iter().map(|server| server.rate).sum(),
        real_servers,
        ..a_service()
    }];
    let listed = VirtualServers { virtual_servers };
    let expected = "\
Prot LocalAddress:Port Scheduler
  -> RemoteAddress    Conns InPkts  InBytes
TCP  192.0.2.1:80 wrr 12352 123520 61760000
     192.0.2.1:443
  -> 192.0.2.10           7     70    35000
  -> 192.0.2.11       12345 123450 61725000
";
    assert_eq!(table(&listed, true, Columns::Stats, SystemTime::UNIX_EPOCH), expected);
    let expected = "\
Prot LocalAddress:Port Scheduler
  -> RemoteAddress    CPS InPPS   InBPS
TCP  192.0.2.1:80 wrr   1    21 2000000
     192.0.2.1:443
  -> 192.0.2.10         0    11 1000000
  -> 192.0.2.11         0    11 1000000
";
    assert_eq!(table(&listed, true, Columns::Rate, SystemTime::UNIX_EPOCH), expected);
}

#[test]
fn what_was_changed_while_the_daemon_ran_is_marked() {
    let real_servers = vec![a_server(), RealServer { runtime: true, weight: 10, ..a_server() }];
    let virtual_servers = vec![VirtualServer { real_servers, runtime: true, ..a_service() }];
    let expected = "\
Prot LocalAddress:Port Scheduler
  -> RemoteAddress Weight ActiveConn InActConn State MAC
TCP  192.0.2.1:80 rr runtime
  -> 192.0.2.10    1      0          0         up    local
  -> 192.0.2.10    10     0          0         up    local runtime
";
    assert_eq!(
        table(&VirtualServers { virtual_servers }, true, Columns::State, SystemTime::UNIX_EPOCH),
        expected
    );
}
