//! Probes on a wire of the tests' own, at the other end of which is a real server.

mod garbage;
mod server;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_common::probe::FIRST_PORT;
use macaddr::MacAddr6;
use tokio::io::ReadBuf;
use tokio::sync::watch;
use tokio::time::timeout;

use super::*;
use server::{Behaviour, RealServer};

pub(super) const OWN_MAC: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 0, 1);
pub(super) const SERVER_MAC: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 1, 1);
const OTHER_MAC: MacAddr6 = MacAddr6::new(2, 0, 0, 0, 1, 2);
const PATIENCE: Duration = Duration::from_secs(5);
const IMPATIENCE: Duration = Duration::from_millis(30);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn way(server_mac: MacAddr6, vlan: Option<u16>) -> Way {
    Way {
        interface: 7,
        name: "eth0".to_owned(),
        own_mac: OWN_MAC,
        addresses: vec![ip("192.0.2.1"), ip("2001:db8::1")],
        mtu: 1500,
        vlan,
        server_mac,
    }
}

/// A stack with one real server, 192.0.2.51, that has the VIPs 192.0.2.100 and 2001:db8::100; and another.
pub(super) struct Bench {
    stack: Stack,
    pub(super) server: Arc<Mutex<RealServer>>,
    pub(super) ways: watch::Sender<Arc<Ways>>,
}

impl Bench {
    pub(super) fn new(behaviour: Behaviour) -> Self {
        Self::with(behaviour, None)
    }

    fn with(behaviour: Behaviour, vlan: Option<u16>) -> Self {
        let ways = Ways::from([
            (ip("192.0.2.51"), Ok(Arc::new(way(SERVER_MAC, vlan)))),
            (ip("192.0.2.52"), Ok(Arc::new(way(OTHER_MAC, None)))),
            (ip("192.0.2.53"), Err(NoWay::Unresolved { server: ip("192.0.2.53") })),
        ]);
        let (ways, receiver) = watch::channel(Arc::new(ways));
        let server = Arc::new(Mutex::new(RealServer::new(behaviour)));
        let opener = {
            let server = Arc::clone(&server);
            move |_, demux, ways| -> io::Result<Arc<dyn Wire>> {
                Ok(Arc::new(server::FakeWire { server: Arc::clone(&server), demux, ways }))
            }
        };
        Self { stack: Stack::with(receiver, Box::new(opener)), server, ways }
    }

    fn v4(&self) -> Path {
        self.stack.path(ip("192.0.2.51"), ip("192.0.2.100"), None)
    }

    fn v6(&self) -> Path {
        self.stack.path(ip("192.0.2.51"), ip("2001:db8::100"), None)
    }

    fn demux(&self) -> Arc<Demux> {
        Arc::clone(&self.stack.shared.demux)
    }

    fn sent(&self) -> Vec<Vec<u8>> {
        self.server.lock().expect("no panic").sent.clone()
    }
}

/// Reads once; nothing at the end.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut place = [0; 4096];
    let mut buffer = ReadBuf::new(&mut place);
    std::future::poll_fn(|context| Pin::new(&mut *stream).poll_read(context, &mut buffer)).await?;
    Ok(buffer.filled().to_vec())
}

async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let some = read(stream).await?;
        if some.is_empty() {
            return Ok(all);
        }
        all.extend(some);
    }
}

/// What there is room for at once.
async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let written = std::future::poll_fn(|context| Pin::new(&mut *stream).poll_write(context, bytes)).await?;
    assert_eq!(written, bytes.len());
    Ok(())
}

fn no_probe_is_left(bench: &Bench) -> bool {
    format!("{:?}", bench.demux()).contains("waiting: 0")
}

/// Byte 13 of the TCP header of a frame without tags and options.
fn tcp_flags(frame: &[u8]) -> u8 {
    if frame[12] == 8 { frame[14 + 20 + 13] } else { frame[14 + 40 + 13] }
}

const RST: u8 = 4;
const SYN: u8 = 2;

#[tokio::test]
async fn a_connection_carries_bytes_both_ways_to_its_end() {
    let bench = Bench::new(Behaviour::Serve);
    for path in [bench.v4(), bench.v6()] {
        let mut stream = timeout(PATIENCE, path.connect(80)).await.expect("in time").expect("accepted");
        write(&mut stream, b"GET /\n").await.expect("written");
        let answer =
            timeout(PATIENCE, read_to_end(&mut stream)).await.expect("in time").expect("a proper end");
        assert!(answer.starts_with(b"GET /\n") && answer.len() == server::ANSWER, "{}", answer.len());
        drop(stream);
    }
    assert!(no_probe_is_left(&bench));
    let sent = bench.sent();
    assert_eq!(tcp_flags(sent.last().expect("frames")) & RST, RST, "neither side has to remember it");
    assert!(
        sent.iter()
            .all(|frame| frame[..6] == SERVER_MAC.into_array() && frame[6..12] == OWN_MAC.into_array())
    );
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let bench = Bench::new(Behaviour::Serve);
    for path in [bench.v4(), bench.v6()] {
        let refused =
            timeout(PATIENCE, path.connect(81)).await.expect("in time").expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
    assert!(no_probe_is_left(&bench));
}

#[tokio::test]
async fn a_reset_is_told() {
    let bench = Bench::new(Behaviour::Reset);
    let mut stream = timeout(PATIENCE, bench.v4().connect(80)).await.expect("in time").expect("accepted");
    write(&mut stream, b"GET /\n").await.expect("written");
    let read = timeout(PATIENCE, read(&mut stream)).await.expect("in time");
    assert_eq!(read.expect_err("reset").kind(), io::ErrorKind::ConnectionReset);
    let written = write(&mut stream, b"more").await;
    assert_eq!(written.expect_err("reset").kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn who_waits_in_vain_and_gives_up_leaves_nothing() {
    let bench = Bench::new(Behaviour::BlackHole);
    let path = bench.v4();
    assert!(timeout(IMPATIENCE, path.connect(80)).await.is_err());
    assert!(timeout(IMPATIENCE, path.exchange(53, b"question")).await.is_err());
    assert!(timeout(IMPATIENCE, path.echo()).await.is_err());
    assert!(no_probe_is_left(&bench));
    let sent = bench.sent();
    assert_eq!(sent.len(), 4, "nothing is sent again so soon");
    assert_eq!((tcp_flags(&sent[0]), tcp_flags(&sent[1]) & RST), (SYN, RST), "a late answer opens nothing");
}

#[tokio::test]
async fn a_port_is_used_again_only_after_all_others() {
    let bench = Bench::new(Behaviour::Serve);
    let mut ports = Vec::new();
    for _ in 0..3 {
        drop(bench.v4().connect(80).await.expect("accepted"));
        let sent = bench.sent();
        let last = sent.last().expect("frames");
        ports.push(u16::from_be_bytes([last[34], last[35]]));
    }
    let next = |port: u16| port.checked_add(1).unwrap_or(FIRST_PORT);
    assert_eq!(ports, [ports[0], next(ports[0]), next(next(ports[0]))]);
    assert!(ports.iter().all(|port| *port >= FIRST_PORT));
}

#[tokio::test]
async fn frames_for_a_probe_that_has_ended_are_for_nobody() {
    let bench = Bench::new(Behaviour::Serve);
    drop(bench.v4().connect(80).await.expect("accepted"));
    let answers = bench.server.lock().expect("no panic").answered.clone();
    assert!(!answers.is_empty());
    let path = bench.v4();
    let _open = path.connect(80).await.expect("accepted");
    let before = bench.sent().len();
    for answer in answers {
        bench.demux().deliver(&answer, &bench.ways.borrow());
    }
    assert_eq!(bench.sent().len(), before, "nobody answers them");
}

#[tokio::test]
async fn two_thousand_wait_at_once_and_one_port_too_many_is_an_error() {
    let bench = Bench::new(Behaviour::BlackHole);
    let path = bench.v4();
    let mut waiting = Vec::new();
    for _ in 0..2000 {
        let path = path.clone();
        waiting.push(tokio::spawn(async move { path.connect(80).await.map(drop) }));
    }
    while bench.sent().len() < 2000 {
        tokio::task::yield_now().await;
    }
    assert!(waiting.iter().all(|probe| !probe.is_finished()));
    for probe in &waiting {
        probe.abort();
    }
    for probe in waiting {
        let _ = probe.await;
    }
    assert!(no_probe_is_left(&bench));
    let leg = bench.v4().leg().expect("a way").0;
    let held: Vec<_> = (0..=u16::MAX - FIRST_PORT)
        .map(|_| bench.demux().open(&leg, reply::Protocol::Tcp).expect("a free port"))
        .collect();
    let full = path.connect(80).await.expect_err("none is left");
    assert!(full.to_string().contains("all 4536 ports for probes to 192.0.2.100 are taken"), "{full}");
    drop(held);
}

#[tokio::test]
async fn a_datagram_is_answered_or_refused() {
    let bench = Bench::new(Behaviour::Serve);
    for path in [bench.v4(), bench.v6()] {
        let answer = timeout(PATIENCE, path.exchange(53, b"question")).await.expect("in time");
        assert_eq!(answer.expect("an answer"), b"question");
        let refused = timeout(PATIENCE, path.exchange(54, b"question")).await.expect("in time");
        assert_eq!(refused.expect_err("nobody is there").kind(), io::ErrorKind::ConnectionRefused);
        let long = path.exchange(53, &[0; 1500]).await.expect_err("no fragments");
        assert_eq!(long.kind(), io::ErrorKind::InvalidInput);
    }
    assert!(no_probe_is_left(&bench));
}

#[tokio::test]
async fn an_echo_comes_back() {
    let bench = Bench::new(Behaviour::Serve);
    for path in [bench.v4(), bench.v6()] {
        timeout(PATIENCE, path.echo()).await.expect("in time").expect("an echo");
    }
}

#[tokio::test]
async fn an_answer_in_its_place_by_another_real_server_is_an_error() {
    let bench = Bench::new(Behaviour::AnswerFrom(OTHER_MAC));
    let error = timeout(PATIENCE, bench.v4().connect(80)).await.expect("in time").expect_err("foreign");
    assert!(
        error.to_string().contains("02:00:00:00:01:02 answered in place of 02:00:00:00:01:01"),
        "{error}"
    );
    // Bonds and second NICs send from MACs of their own.
    let bench = Bench::new(Behaviour::AnswerFrom(MacAddr6::new(2, 0, 0, 0, 9, 9)));
    timeout(PATIENCE, bench.v4().connect(80)).await.expect("in time").expect("accepted");
}

#[tokio::test]
async fn in_a_vlan_without_an_interface_frames_are_tagged() {
    let bench = Bench::with(Behaviour::BlackHole, Some(100));
    assert!(timeout(IMPATIENCE, bench.v4().echo()).await.is_err());
    let sent = bench.sent();
    assert_eq!(sent[0][12..18], [0x81, 0, 0, 100, 8, 0]);
    assert_eq!(sent[0][18], 0x45);
}

#[tokio::test]
async fn without_a_way_the_error_says_why() {
    let bench = Bench::new(Behaviour::Serve);
    let echo = async |server: &str, bind: Option<&str>| {
        let path = bench.stack.path(ip(server), ip("2001:db8::100"), bind.map(ip));
        path.echo().await.expect_err("no way").to_string()
    };
    assert_eq!(echo("192.0.2.53", None).await, "its MAC is not known: nobody answers ARP for 192.0.2.53");
    assert_eq!(echo("192.0.2.99", None).await, "it is not known yet where 192.0.2.99 is");
    let mut without = way(SERVER_MAC, None);
    without.addresses.retain(IpAddr::is_ipv4);
    bench.ways.send_replace(Arc::new(Ways::from([(ip("192.0.2.51"), Ok(Arc::new(without)))])));
    let none = "eth0 has no IPv6 address but VIPs: give it one, or set health_check.bind";
    assert_eq!(echo("192.0.2.51", None).await, none);
}
