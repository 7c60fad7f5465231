//! Listings besides those of the transcript.

use std::collections::BTreeSet;

use super::{Noting, server, service};
use crate::control::api::{Connection, ConnectionKind, Persistence, Rate, State, Stats};

fn lines(daemon: &mut Noting, words: &str) -> Vec<String> {
    let outcome = daemon.run(words);
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{words}");
    outcome.out.lines().map(str::to_owned).collect()
}

/// As the real program prints them: recorded from it, with the same services.
#[test]
fn both_families_and_names_are_listed_as_by_ipvsadm() {
    let mut six = service(&["[2001:db8::1]:80"], "rr", &[]);
    six.persistence = Some(Persistence { timeout: 360, mask: 64 });
    let mut four = service(&["192.0.2.1:80"], "rr", &[("192.0.2.1", 1)]);
    four.persistence = Some(Persistence { timeout: 360, mask: 24 });
    let mut ops = service(&["192.0.2.1:53"], "rr", &[]);
    (ops.protocol, ops.one_packet) = ("udp".to_owned(), true);
    let mut mark = service(&[], "rr", &[("2001:db8::11", 1), ("2001:db8::10", 1)]);
    mark.fwmark = Some(7);
    let any = service(&["1.0.0.2:0"], "rr", &[("127.0.0.1", 65_535)]);
    let mut daemon = Noting::with(vec![mark, six, ops, four, any]);
    let expected = "\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  1.0.0.2:0 rr
  -> 127.0.0.1:0                  Route   65535  0          0         
TCP  www.example.net:http rr persistent 360 mask 255.255.255.0
  -> www.example.net:http         Route   1      0          0         
UDP  www.example.net:53 rr ops
TCP  [2001:db8::1]:http rr persistent 360 mask 64
FWM  7 IPv6 rr
  -> [2001:db8::10]:0             Route   1      0          0         
  -> [2001:db8::11]:0             Route   1      0          0         
";
    assert_eq!(daemon.run("-L").out, expected);
    assert_eq!(daemon.run("").out, expected);
    let reversed = lines(&mut daemon, "-Ln --nosort");
    assert_eq!(reversed[3], "FWM  7 IPv6 rr");
    assert!(reversed[4].starts_with("  -> [2001:db8::10]:0 ") && reversed[5].contains("[2001:db8::11]"));
    let one = lines(&mut daemon, "-L -n -f 7 -6");
    assert_eq!(
        (one[0].as_str(), one[2].as_str(), one.len()),
        ("Prot LocalAddress:Port Scheduler Flags", "FWM  7 IPv6 rr", 5)
    );
    assert_eq!(daemon.run("-L -f 7").code, 1, "that would be one of IPv4");
    let tunnels = lines(&mut daemon, "-Ln --tun-info");
    assert_eq!(
        tunnels[4],
        "  -> 127.0.0.1:0                  Route   n/a           65535  0          0         "
    );
    assert!(tunnels[2].ends_with("Forward TunnelInfo    Weight ActiveConn InActConn"));
}

#[test]
fn what_is_too_long_for_its_column_is_cut_in_ipv4_only() {
    let mut daemon = Noting::with(vec![
        service(&["255.255.255.255:10000-20000"], "rr", &[]),
        service(&["[2001:db8:1111:2222:3333:4444:5555:6666]:65535"], "rr", &[]),
    ]);
    let listed = lines(&mut daemon, "-Ln");
    assert_eq!(listed[3], "TCP  255.255.255.255:10000-20000 rr");
    assert_eq!(listed[4], "TCP  [2001:db8:1111:2222:3333:4444:5555:6666]:65535 rr");
    let mut daemon = Noting::with(vec![service(&["192.168.100.100/28:10000-20000"], "rr", &[])]);
    assert_eq!(lines(&mut daemon, "-Ln")[3], "TCP  192.168.100.100/28:10000-200 rr");
}

/// `print_largenum`.
#[test]
fn large_counters_are_shortened_unless_exact() {
    let mut web = service(&["192.0.2.1:80"], "rr", &[("10.0.0.1", 1)]);
    let stats = Stats { connections: 99_999_999, packets: 100_000_000, bytes: 123_456_789_012_345 };
    let rate = Rate { connections: 1.4, packets: 200_000_000.5, bytes: 200_000_000.0 };
    (web.stats, web.rate) = (stats, rate);
    (web.real_servers[0].stats, web.real_servers[0].rate) = (stats, rate);
    let mut daemon = Noting::with(vec![web]);
    let shown = |daemon: &mut Noting, words: &str| lines(daemon, words)[3..].to_vec();
    assert_eq!(
        shown(&mut daemon, "-Ln --stats"),
        [
            "TCP  192.0.2.1:80                 99999999  100000K        0     123T        0",
            "  -> 10.0.0.1:80                  99999999  100000K        0     123T        0"
        ]
    );
    assert_eq!(
        shown(&mut daemon, "-Ln --stats --exact"),
        [
            "TCP  192.0.2.1:80                 99999999 100000000        0 123456789012345        0",
            "  -> 10.0.0.1:80                  99999999 100000000        0 123456789012345        0"
        ]
    );
    assert_eq!(
        shown(&mut daemon, "-Ln --rate"),
        [
            "TCP  192.0.2.1:80                        1  200000K        0  200000K        0",
            "  -> 10.0.0.1:80                         1 200000001        0  200000K        0"
        ]
    );
}

#[test]
fn a_real_server_that_is_the_director_is_local() {
    let mut web = service(&["192.0.2.1:80"], "rr", &[("10.0.0.1", 1), ("10.0.0.2", 1)]);
    for server in &mut web.real_servers {
        server.mac = None;
    }
    web.real_servers[1].state = State::Unresolved;
    let listed = lines(&mut Noting::with(vec![web]), "-Ln");
    assert!(listed[4].contains("Local  ") && listed[5].contains("Route  "), "{listed:?}");
}

#[test]
fn templates_are_listed_as_the_kernel_does() {
    let mut group = service(&["192.0.2.1:80"], "rr", &[("10.0.0.1", 1)]);
    group.fwmark = Some(7);
    let template = Connection {
        kind: ConnectionKind::Template,
        protocol: "tcp".to_owned(),
        state: "TEMPLATE".to_owned(),
        expires_in: 5999,
        client: "198.51.100.7:0".to_owned(),
        virtual_address: "192.0.2.1:80".to_owned(),
        real_server: Some("10.0.0.1".to_owned()),
        service: Some("of 192.0.2.1:80".to_owned()),
        half_open: false,
    };
    let connection = Connection {
        kind: ConnectionKind::Connection,
        state: "ESTABLISHED".to_owned(),
        client: "[2001:db8:1234:5678::7]:40000".to_owned(),
        virtual_address: "[2001:db8::1]:80".to_owned(),
        real_server: Some("2001:db8::10".to_owned()),
        service: None,
        ..template.clone()
    };
    let mut daemon = Noting::with(vec![group]);
    daemon.connections = vec![template, connection];
    let expected = [
        "IPVS connection entries",
        "pro expire state       source             virtual            destination",
        "IP  99:59  NONE        198.51.100.7:0     0.0.0.7:0          10.0.0.1:0",
        "TCP 99:59  ESTABLISHED [2001:db8:1234:5678::7]:40000 [2001:db8::1]:80   [2001:db8::10]:80",
    ];
    assert_eq!(lines(&mut daemon, "-lcn"), expected);
    let named = lines(&mut daemon, "-L --connection");
    assert!(named[3].contains("[2001:db8::1]:http"), "{named:?}");
    let engines = lines(&mut daemon, "-Lnc --persistent-conn");
    assert!(engines[1].ends_with("destination        pe name          pe_data"), "{engines:?}");
}

#[test]
fn what_is_saved_can_be_restored_and_what_cannot_be_said_is_warned_of() {
    let mut web = service(&["192.0.2.1:80"], "sh", &[("10.0.0.2", 0), ("10.0.0.1", 3)]);
    web.scheduler_flags = vec!["sh-fallback".to_owned(), "sh-port".to_owned()];
    web.persistence = Some(Persistence { timeout: 60, mask: 16 });
    let mut ops = service(&["[2001:db8::1]:53"], "rr", &[("2001:db8::10", 1)]);
    (ops.protocol, ops.one_packet) = ("udp".to_owned(), true);
    let group = service(&["192.0.2.3:80", "192.0.2.3:443"], "rr", &[("10.0.0.1", 1)]);
    let ranges = service(&["192.0.2.4:1-9"], "rr", &[("10.0.0.1", 1)]);
    let mut mark = service(&["192.0.2.5:80"], "rr", &[("10.0.0.1", 1)]);
    mark.fwmark = Some(9);
    let mut daemon = Noting::with(vec![web, ops, group, ranges, mark]);
    let saved = daemon.run("-S -n");
    let expected = "\
-A -t 192.0.2.1:80 -s sh -p 60 -M 255.255.0.0 -b sh-fallback,sh-port
-a -t 192.0.2.1:80 -r 10.0.0.1:80 -g -w 3
-a -t 192.0.2.1:80 -r 10.0.0.2:80 -g -w 0
-A -t 192.0.2.3:80 -s rr
-a -t 192.0.2.3:80 -r 10.0.0.1:80 -g -w 1
-A -t 192.0.2.3:443 -s rr
-a -t 192.0.2.3:443 -r 10.0.0.1:443 -g -w 1
-A -u [2001:db8::1]:53 -s rr -o
-a -u [2001:db8::1]:53 -r [2001:db8::10]:53 -g -w 1
-A -f 9 -s rr
-a -f 9 -r 10.0.0.1:0 -g -w 1
";
    assert_eq!((saved.code, saved.out.as_str()), (0, expected));
    let warnings: Vec<&str> = saved.err.lines().collect();
    for (warning, words) in warnings.iter().zip([
        "\"of 192.0.2.3:80\" is saved as a service for each of its addresses, 192.0.2.3:80, 192.0.2.3:443;",
        "\"of 192.0.2.4:1-9\" is left out for 192.0.2.4:1-9:",
        "the addresses of group 9 are not part of the rules: 192.0.2.5:80;",
    ]) {
        assert!(warning.contains(words), "{warning}");
    }
    assert_eq!(warnings.len(), 3);

    let mut other = Noting::default();
    assert_eq!(other.run_with("-R", &saved.out).code, 0);
    let changes: BTreeSet<String> = other.changes().into_iter().collect();
    assert_eq!(changes.len(), saved.out.lines().count());
    assert_eq!(other.made.len(), 1, "they are one change");
    let named = daemon.call(|session| session.save(&[]));
    assert!(named.out.starts_with("-A -t www.example.net:http -s sh"), "{}", named.out);
    let wrong = daemon.call(|session| session.save(&["-x".to_owned()]));
    assert_eq!((wrong.code, wrong.out.as_str()), (1, ""));
}

#[test]
fn a_server_without_a_known_weight_is_no_matter() {
    let mut web = service(&["192.0.2.1:80"], "rr", &[]);
    web.real_servers = vec![server("10.0.0.1", 0)];
    let listed = lines(&mut Noting::with(vec![web]), "-Ln --persistent-conn");
    assert_eq!(listed[4], "  -> 10.0.0.1:80                  0         0           0          0         ");
}
