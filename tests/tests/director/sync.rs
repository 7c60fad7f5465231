//! Two directors that share their connections.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lb_lab::frame::{ACK, Endpoint, Frame, SYN};
use lb_lab::{Capture, Director, Host, Lab, Result, TestResult, VirtualServer, try_wait_until, wait_until};
use serde_json::Value;

use crate::support::{OpenConnection, PATIENCE, real_servers};

const GROUP: &str = "group = \"224.0.0.81:8848\"";
const PORT: u16 = 8848;
/// Where datagrams have their version, behind the Ethernet, IPv4 and UDP headers and "lbsy".
const VERSION_AT: usize = 14 + 20 + 8 + 4;

/// A client, the directors `a` and `b`, and three real servers. Frames for the VIP go to `a`.
fn lab() -> Result<Lab> {
    let lab = Lab::builder().client("client").director("a").director("b").real_servers(3).build()?;
    lead_to(&lab, "a")?;
    Ok(lab)
}

/// What a gratuitous ARP does, and moving the VIP.
fn lead_to(lab: &Lab, director: &str) -> Result<()> {
    let (vip, mac) = (lab.vip(), lab.host(director).mac());
    for other in ["a", "b"].into_iter().filter(|other| *other != director) {
        // It may not have it.
        let _ = lab.host(other).remove_address(vip, 32);
    }
    lab.host(director).add_address(vip, 32)?;
    lab.client().pin_neighbour(vip, mac)
}

fn key(lab: &Lab, name: &str) -> PathBuf {
    let path = lab.directory().join(format!("{name}.key"));
    fs::write(&path, format!("a key that is called {name}\n")).expect("the lab has a directory");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is there");
    path
}

fn sync(lab: &Lab, who: &str, key_name: &str) -> String {
    format!("[sync]\ninterface = \"eth0\"\n{who}\nkey_file = {:?}\nrefresh = \"2s\"\n", key(lab, key_name))
}

fn web(lab: &Lab, scheduler: &str) -> VirtualServer {
    VirtualServer::tcp("web", lab.vip(), 80).scheduler(scheduler).hosts(&lab.real_servers())
}

fn start(lab: &Lab, name: &str, sections: impl std::fmt::Display) -> Result<Director> {
    Director::on(&lab.host(name)).setting("manage_vips", false).config(sections).start()
}

fn status(director: &Director) -> Value {
    director.json(["sync"]).expect("the daemon answers")
}

fn count(director: &Director, pointer: &str) -> u64 {
    status(director).pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer}"))
}

/// Both know each other.
fn wait_until_joined(directors: &[&Director]) {
    for director in directors {
        wait_until("a director has joined", Duration::from_secs(12), || {
            let status = status(director);
            let peers = status["peers"].as_array().cloned().unwrap_or_default();
            let all = !peers.is_empty()
                && peers
                    .iter()
                    .all(|peer| peer["introduced"] == true && !peer["snapshot_connections"].is_null());
            if status["phase"] == "joined" && all { Ok(()) } else { Err(status.to_string()) }
        });
    }
}

/// Client and real server of what a director knows: connections, or templates.
fn known(director: &Director, kind: &str) -> Vec<(String, String)> {
    let listed = director.json(["connections"]).expect("the daemon answers");
    let listed = listed["connections"].as_array().expect("a list").clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let is_it = |connection: &&Value| connection["kind"] == kind && connection["half_open"] == false;
    let found = listed.iter().filter(is_it).map(|it| (text(&it["client"]), text(&it["real_server"])));
    let mut found: Vec<_> = found.collect();
    found.sort();
    found
}

fn active(director: &Director) -> u64 {
    let servers = real_servers(director).expect("the daemon answers");
    servers.iter().filter_map(|server| server["active_connections"].as_u64()).sum()
}

/// Opens connections and asks on each; with the names of those who answer.
fn open(lab: &Lab, count: usize) -> Result<Vec<(OpenConnection, String)>> {
    let open = |_| {
        let mut connection = OpenConnection::open(&lab.client(), lab.vip())?;
        let server = connection.ask().expect("it answers");
        Ok((connection, server))
    };
    (0..count).map(open).collect()
}

/// The other director knows all of these, with the same real servers.
fn wait_until_known(director: &Director, lab: &Lab, opened: &[(OpenConnection, String)]) {
    let expected = |(connection, server): &(OpenConnection, String)| {
        (connection.client().expect("it is open").to_string(), lab.host(server).address().to_string())
    };
    let expected: Vec<_> = opened.iter().map(expected).collect();
    wait_until("the other director knows the connections", PATIENCE, || {
        let known = known(director, "connection");
        if expected.iter().all(|one| known.contains(one)) { Ok(()) } else { Err(format!("{known:?}")) }
    });
}

/// Serves a body of so many bytes, slowly, on a port of a real server.
fn serve_slowly(server: &Host, port: u16, bytes: usize) -> Result<()> {
    let (ready, is_ready) = std::sync::mpsc::channel();
    server.start_thread(move || {
        let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port is free");
        ready.send(()).expect("somebody waits");
        let Ok((mut stream, _)) = listener.accept() else { return };
        let piece = vec![b'x'; 64 << 10];
        let mut left = bytes;
        while left > 0 {
            let length = left.min(piece.len());
            if stream.write_all(&piece[..length]).is_err() {
                return;
            }
            left -= length;
        }
    })?;
    is_ready.recv().expect("it listens");
    Ok(())
}

fn survives_a_failover(scheduler: &str) -> TestResult {
    const BYTES: usize = 100 << 20;
    let lab = lab()?;
    let download = lab
        .real_servers()
        .iter()
        .fold(VirtualServer::tcp("download", lab.vip(), 8080).scheduler(scheduler), |service, server| {
            service.real_server(server.address(), 1)
        });
    for server in lab.real_servers() {
        serve_slowly(&server, 8080, BYTES)?;
    }
    let sections = format!("{}\n{download}\n{}", web(&lab, scheduler), sync(&lab, GROUP, "one"));
    let mut a = start(&lab, "a", &sections)?;
    let b = start(&lab, "b", &sections)?;
    wait_until_joined(&[&a, &b]);
    let mut opened = open(&lab, 12)?;
    let (client, vip) = (lab.client(), lab.vip());
    let (progress, progressed) = std::sync::mpsc::channel();
    let downloading = client.start_thread(move || {
        let mut stream = TcpStream::connect((vip, 8080)).expect("it is let in");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket takes a timeout");
        let (mut total, mut buffer) = (0, vec![0; 64 << 10]);
        while total < BYTES {
            let length = stream.read(&mut buffer).expect("it goes on");
            assert!(length > 0, "it ended after {total} bytes");
            total += length;
            let _ = progress.send(total);
        }
        total
    })?;
    while progressed.recv_timeout(PATIENCE).expect("it goes on") < BYTES / 20 {}
    wait_until_known(&b, &lab, &opened);
    assert_eq!(active(&b), 12, "of the first virtual server");
    // The director dies, and its programs with it.
    a.kill()?;
    lab.switch().set_port(&lab.host("a"), false)?;
    lead_to(&lab, "b")?;
    for (connection, server) in &mut opened {
        assert_eq!(connection.ask().expect("it goes on"), *server, "{scheduler}");
    }
    assert_eq!(downloading.join().expect("no panic")?, BYTES);
    assert_eq!(active(&b), 12);
    Ok(())
}

#[test]
fn connections_and_a_download_survive_the_end_of_a_director_with_rr() -> TestResult {
    survives_a_failover("rr")
}

#[test]
fn connections_and_a_download_survive_the_end_of_a_director_with_wlc() -> TestResult {
    survives_a_failover("wlc")
}

#[test]
fn a_director_that_comes_later_is_told_of_all_and_so_is_one_that_comes_back() -> TestResult {
    let lab = lab()?;
    let sections = |own: &str| {
        let other = if own == "a" { "b" } else { "a" };
        let who = format!("peers = [\"{}:{PORT}\"]", lab.host(other).address());
        format!(
            "{}\n{}",
            web(&lab, "rr").line("persistence = { timeout = \"90s\" }"),
            sync(&lab, &who, "one")
        )
    };
    let mut a = start(&lab, "a", sections("a"))?;
    let opened = open(&lab, 5)?;
    assert_eq!(status(&a)["peers"].as_array().map(Vec::len), Some(1), "it is configured");
    let mut b = start(&lab, "b", sections("b"))?;
    wait_until_joined(&[&a, &b]);
    wait_until_known(&b, &lab, &opened);
    assert_eq!(known(&b, "template"), known(&a, "template"));
    assert_eq!(known(&b, "template").len(), 1);
    assert_eq!((active(&a), active(&b)), (5, 5), "each is counted once");
    let shown = b.cli(["sync"])?;
    assert!(shown.contains("joined, on eth0") && shown.contains("told of 6 connections in"), "{shown}");

    // What one has of the other is not told back as its own; a snapshot has all, and nothing that is news.
    assert_eq!((count(&b, "/sent_connections"), count(&a, "/inserted"), count(&a, "/updated")), (0, 0, 0));

    // Its connections are pinned; what it is told changes nothing, and it is another session.
    let before = status(&b)["session"].clone();
    b.restart()?;
    wait_until_joined(&[&a, &b]);
    assert_ne!(status(&b)["session"], before);
    assert_eq!(active(&b), 5);
    wait_until("the other has noticed", PATIENCE, || {
        let peers = status(&a)["peers"].clone();
        if peers[0]["session"] == status(&b)["session"] { Ok(()) } else { Err(peers.to_string()) }
    });
    let more = open(&lab, 3)?;
    wait_until_known(&b, &lab, &more);
    a.restart()?;
    wait_until_joined(&[&a, &b]);
    let again = open(&lab, 3)?;
    wait_until_known(&b, &lab, &again);
    assert_eq!((active(&a), active(&b)), (11, 11));
    Ok(())
}

/// The datagrams that a director sends, as frames.
fn datagrams(capture: &Capture) -> Vec<Vec<u8>> {
    let is_one = |frame: &Vec<u8>| frame.len() > VERSION_AT && &frame[VERSION_AT - 4..VERSION_AT] == b"lbsy";
    capture.frames().into_iter().map(|frame| frame.bytes).filter(is_one).collect()
}

#[test]
fn who_is_not_believed_is_counted_by_cause_and_changes_nothing() -> TestResult {
    let lab = lab()?;
    let sections = format!("{}\n{}", web(&lab, "rr"), sync(&lab, GROUP, "one"));
    let mut a = start(&lab, "a", &sections)?;
    let mut b = start(&lab, "b", &sections)?;
    wait_until_joined(&[&a, &b]);
    let capture = lab.host("b").capture()?;
    let opened = open(&lab, 4)?;
    wait_until_known(&b, &lab, &opened);
    let recorded = wait_until("datagrams have been captured", PATIENCE, || {
        let found = datagrams(&capture);
        if found.len() >= 3 { Ok(found) } else { Err(found.len()) }
    });
    let refused = |cause: &str| count(&b, &format!("/refused/{cause}"));
    let before = known(&b, "connection");
    let strangers = refused("stranger");
    // Once more, as they were.
    for frame in &recorded {
        lab.client().send_frame(frame)?;
    }
    wait_until("they are refused", PATIENCE, || {
        let found = refused("replayed");
        if found == recorded.len() as u64 { Ok(()) } else { Err(format!("{found} of {}", recorded.len())) }
    });
    // Of another version; changed on the way (the checksum of UDP is not looked at if it is 0).
    for (place, with, cause) in [(VERSION_AT, 9, "version"), (VERSION_AT + 30, 0x55, "key")] {
        let mut frame = recorded[0].clone();
        frame[40] = 0;
        frame[41] = 0;
        frame[place] ^= with;
        lab.client().send_frame(&frame)?;
        wait_until("it is refused", PATIENCE, || if refused(cause) == 1 { Ok(()) } else { Err(status(&b)) });
    }
    // Garbage, by datagrams and by connections that say nothing, or anything.
    let target = SocketAddr::from((lab.host("b").address(), PORT));
    let streams = lab.client().enter(|| -> std::io::Result<Vec<TcpStream>> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        for n in 0..20_000u32 {
            let length = (n * 37 % 1500) as usize;
            let garbage: Vec<u8> = (0..length).map(|i| (n as usize * 31 + i * 7).to_le_bytes()[0]).collect();
            socket.send_to(&garbage, target)?;
        }
        let mut streams = Vec::new();
        for _ in 0..64 {
            let mut stream = TcpStream::connect(target)?;
            let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
            streams.push(stream);
            streams.push(TcpStream::connect(target)?);
        }
        Ok(streams)
    })??;
    wait_until("garbage is refused", PATIENCE, || {
        let found = refused("malformed");
        if found > 1000 { Ok(()) } else { Err(found) }
    });
    assert_eq!(known(&b, "connection"), before, "nothing of it is believed");
    let more = open(&lab, 2)?;
    wait_until_known(&b, &lab, &more);
    drop(streams);

    // A recording of an earlier session of the sender: nobody runs it any more.
    a.restart()?;
    wait_until_joined(&[&a, &b]);
    let newcomers = refused("stranger").max(strangers);
    for frame in &recorded {
        lab.client().send_frame(frame)?;
    }
    wait_until("they are strangers'", PATIENCE, || {
        let found = refused("stranger");
        if found >= newcomers + recorded.len() as u64 { Ok(()) } else { Err(found) }
    });
    // Nor is it of use after a restart of the receiver.
    b.restart()?;
    wait_until_joined(&[&a, &b]);
    for frame in &recorded {
        lab.client().send_frame(frame)?;
    }
    wait_until("they are strangers'", PATIENCE, || {
        let found = count(&b, "/refused/stranger");
        if found >= recorded.len() as u64 { Ok(()) } else { Err(found) }
    });

    // With another key.
    let sections = format!("{}\n{}", web(&lab, "rr"), sync(&lab, GROUP, "other"));
    b.change_config(&sections)?;
    b.cli(["reload"])?;
    let another_key_is_refused = |b: &Director, more_than| {
        wait_until("another key is refused", PATIENCE, || {
            let refused = count(b, "/refused/key");
            if refused > more_than { Ok(()) } else { Err(refused) }
        });
    };
    // Who sends and receives has the new key a moment after the reload.
    another_key_is_refused(&b, 0);
    assert!(b.process()?.log().contains("compare sync.key_file on both"));
    let later = open(&lab, 2)?;
    another_key_is_refused(&b, count(&b, "/refused/key"));
    for (connection, _) in &later {
        let client = connection.client()?.to_string();
        assert!(known(&b, "connection").iter().all(|(known, _)| *known != client));
    }
    // And with the right one again, all is known.
    let sections = format!("{}\n{}", web(&lab, "rr"), sync(&lab, GROUP, "one"));
    b.change_config(&sections)?;
    b.cli(["reload"])?;
    wait_until_joined(&[&a, &b]);
    wait_until_known(&b, &lab, &later);
    Ok(())
}

#[test]
fn connections_that_last_are_told_of_again_and_those_that_end_are_too() -> TestResult {
    let lab = lab()?;
    let sections = format!("[timeouts]\ntcp = \"9s\"\n\n{}\n{}", web(&lab, "rr"), sync(&lab, GROUP, "one"));
    let a = start(&lab, "a", &sections)?;
    let b = start(&lab, "b", &sections)?;
    wait_until_joined(&[&a, &b]);
    let mut opened = open(&lab, 2)?;
    wait_until_known(&b, &lab, &opened);
    // Longer than they live without frames.
    for _ in 0..6 {
        std::thread::sleep(Duration::from_secs(2));
        opened[0].0.ask()?;
    }
    let client = opened[0].0.client()?.to_string();
    let other = opened[1].0.client()?.to_string();
    let listed = known(&b, "connection");
    assert!(listed.iter().any(|(known, _)| *known == client), "{listed:?}");
    assert!(!listed.iter().any(|(known, _)| *known == other), "nothing was seen of it: {listed:?}");
    assert!(count(&a, "/refreshed") > 0);
    drop(opened);
    wait_until("the other knows that it ends", PATIENCE, || {
        let states = b.json(["connections"]).expect("the daemon answers");
        let is_open = states.to_string().contains("ESTABLISHED");
        if is_open { Err(states.to_string()) } else { Ok(()) }
    });
    // Whoever changes an entry counts it right after.
    wait_until("it is no longer counted as active", PATIENCE, || active(&b) == 0);
    Ok(())
}

/// Opens connections to `a` as fast as this goes, with two frames each, until it has all up to the last number.
/// Frames that find a veth's ring full are lost on their way: those of a batch with such are sent once more.
fn open_many(lab: &Lab, a: &Director, numbers: Range<u32>) -> TestResult {
    const BATCH: usize = 10_000;
    let frames = lab.client().frame_sender()?;
    let (client, vip) = (lab.client(), Endpoint::new(lab.host("a").mac(), lab.vip(), 80));
    let open = |n: u32| -> TestResult {
        let address = (0x0a32_0000 + n / 50_000).into();
        let port = 10_000 + u16::try_from(n % 50_000).expect("it is a port");
        let frame = Frame::between(Endpoint::new(client.mac(), address, port), vip);
        frames.send(&frame.clone().tcp(SYN, b""))?;
        frames.send(&frame.tcp(ACK, b""))?;
        Ok(())
    };
    for first in numbers.clone().step_by(BATCH) {
        let next = (first + BATCH as u32).min(numbers.end);
        wait_until("they are there", Duration::from_secs(20), || {
            (first..next).try_for_each(open).expect("frames can be sent");
            let found = || match active(a) {
                found if found == u64::from(next) => Ok(()),
                found => Err(format!("{found} of {next}")),
            };
            try_wait_until("all have come", Duration::from_millis(200), found)
        });
    }
    Ok(())
}

#[test]
fn a_hundred_thousand_connections_are_told_of_in_one_go_and_one_by_one() -> TestResult {
    const CONNECTIONS: u32 = 100_000;
    /// At most so many changes of IPv4 connections fit.
    const IN_A_DATAGRAM: u64 = 48;
    let lab = lab()?;
    let sections = format!("{}\n{}", web(&lab, "rr"), sync(&lab, GROUP, "one"));
    let a = start(&lab, "a", &sections)?;
    open_many(&lab, &a, 0..CONNECTIONS)?;
    let b = start(&lab, "b", &sections)?;
    wait_until_joined(&[&a, &b]);
    let peer = status(&b)["peers"][0].clone();
    println!("a snapshot of {} connections took {} ms", peer["snapshot_connections"], peer["snapshot_ms"]);
    let found = active(&b);
    assert!(found >= u64::from(CONNECTIONS) * 999 / 1000, "{found} of {CONNECTIONS}");
    assert_eq!((count(&b, "/unknown_service"), count(&b, "/unknown_server")), (0, 0));

    // As they come.
    let began = Instant::now();
    open_many(&lab, &a, CONNECTIONS..2 * CONNECTIONS)?;
    let took = began.elapsed();
    let lost = wait_until("they are known there too", Duration::from_secs(10), || {
        let (there, lost) = (active(&b), count(&a, "/lost_events"));
        // Datagrams that a full receive buffer costs are asked for later than this waits.
        let missing = count(&b, "/missing");
        assert!(missing * IN_A_DATAGRAM < u64::from(CONNECTIONS) / 10, "{missing} datagrams are missing");
        if there + lost + missing * IN_A_DATAGRAM + 100 >= 2 * u64::from(CONNECTIONS) {
            Ok(lost)
        } else {
            Err(format!("{there} of {}, {lost} lost, {missing} datagrams missing", 2 * CONNECTIONS))
        }
    });
    println!(
        "{:.0} new connections a second: {lost} events lost, {} datagrams missing, {} not sent; all known {} ms after the last",
        f64::from(CONNECTIONS) / took.as_secs_f64(),
        count(&b, "/missing"),
        count(&a, "/send_errors"),
        (began.elapsed() - took).as_millis()
    );
    Ok(())
}

#[test]
fn directors_of_ipv6_share_connections_by_a_group_of_ipv6() -> TestResult {
    let lab = Lab::builder().ipv6().client("client").director("a").director("b").real_servers(3).build()?;
    let service = VirtualServer::tcp("web6", lab.vip6(), 80).hosts(&lab.real_servers());
    let sections = format!("{service}\n{}", sync(&lab, "group = \"[ff02::81]:8848\"", "one"));
    let a = start(&lab, "a", &sections)?;
    let b = start(&lab, "b", &sections)?;
    let lead_to = |director: &str| lab.client().pin_neighbour(lab.vip6(), lab.host(director).mac());
    lead_to("a")?;
    wait_until_joined(&[&a, &b]);
    let open = |_| {
        let mut connection = OpenConnection::open(&lab.client(), lab.vip6())?;
        let server = connection.ask().expect("it answers");
        Ok((connection, server))
    };
    let mut opened = (0..6).map(open).collect::<Result<Vec<_>>>()?;
    wait_until("the other director knows them", PATIENCE, || {
        let found = active(&b);
        if found == 6 { Ok(()) } else { Err(found) }
    });
    lead_to("b")?;
    for (connection, server) in &mut opened {
        assert_eq!(connection.ask().expect("it goes on"), *server);
    }
    Ok(())
}
