//! icmp, tcp, udp: and what all of them share, the ways to a server.

use std::fs;
use std::io::ErrorKind;

use futures_util::future::join_all;
use nix::unistd::geteuid;
use socket2::{Domain, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::super::UdpFailure;
use super::*;
use crate::config::{Tcp, Udp};

fn tcp(port: u16) -> Probe {
    Probe::Tcp(Tcp { port })
}

fn udp(port: u16) -> Udp {
    Udp { port, payload: b"ping".to_vec(), require_reply: true, reply: Some(pattern("^pong")) }
}

fn bound(server: IpAddr, source: &str) -> Path {
    Path::Direct { server, bind: Some(source.parse().expect("an address")) }
}

/// A server that says this to each datagram, or nothing.
async fn echoes(address: IpAddr, said: Option<&'static [u8]>) -> u16 {
    let socket = UdpSocket::bind(SocketAddr::new(address, 0)).await.expect("bind");
    let port = socket.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let mut buffer = [0; 100];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            assert_eq!(&buffer[..length], b"ping");
            if let Some(said) = said {
                socket.send_to(said, from).await.expect("send");
            }
        }
    });
    port
}

#[tokio::test]
async fn a_server_that_accepts_connections_is_well_and_reads_an_orderly_end() {
    for address in [V4, V6] {
        let (ended, mut ends) = mpsc::unbounded_channel();
        let port = serve(address, move |mut stream| {
            let ended = ended.clone();
            async move {
                let read = stream.read(&mut [0]).await;
                drop(stream);
                let _ = ended.send(read);
            }
        })
        .await;
        assert_eq!(probe(&tcp(port), &direct(address), PATIENT).await, Ok(Answer::default()));
        assert_eq!(ends.recv().await.expect("it ended").expect("in order"), 0);
        assert_eq!(time_waits(port), 0, "what remained of the connection at the director");
    }
}

/// Connections to a port that wait for their time to be over: see `include/net/tcp_states.h`.
fn time_waits(port: u16) -> usize {
    let is_one = |line: &&str| {
        let mut columns = line.split_whitespace().skip(2);
        let is_to = columns.next().is_some_and(|remote| remote.ends_with(&format!(":{port:04X}")));
        is_to && columns.next() == Some("06")
    };
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    tables
        .map(|table| fs::read_to_string(table).expect("a table").lines().filter(is_one).count())
        .iter()
        .sum()
}

#[tokio::test]
async fn a_port_on_which_nobody_listens_refuses() {
    for address in [V4, V6] {
        let port = closed_port(address).await;
        let refused = Err(NetworkFailure::Refused { port }.into());
        assert_eq!(probe(&tcp(port), &direct(address), PATIENT).await, refused);
        assert_eq!(probe(&Probe::Udp(udp(port)), &direct(address), PATIENT).await, refused);
        let silent = Udp { require_reply: false, reply: None, ..udp(port) };
        assert_eq!(probe(&Probe::Udp(silent), &direct(address), PATIENT).await, refused);
    }
}

#[tokio::test]
async fn a_server_that_drops_syns_is_not_connected_in_time() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::new(V4, 0).into()).expect("bind");
    listener.listen(0).expect("listen");
    let address = listener.local_addr().expect("an address").as_socket().expect("of IP");
    // Its queue has room for one, whom it never accepts.
    let _first = TcpStream::connect(address).await.expect("connect");
    let limits = Limits { connect_timeout: Duration::from_millis(100), ..PATIENT };
    let found = probe(&tcp(address.port()), &direct(V4), limits).await;
    assert_eq!(words(found), "not connected within 100ms");
}

#[tokio::test]
async fn probes_come_from_the_configured_address() {
    let (seen, mut sources) = mpsc::unbounded_channel();
    let port = serve(V4, move |stream| {
        let seen = seen.clone();
        async move { seen.send(stream.peer_addr().expect("a peer").ip()).expect("seen") }
    })
    .await;
    probe(&tcp(port), &bound(V4, "127.0.0.7"), PATIENT).await.expect("well");
    assert_eq!(sources.recv().await, Some(IpAddr::from([127, 0, 0, 7])));

    let socket = UdpSocket::bind((V4, 0)).await.expect("bind");
    let port = socket.local_addr().expect("an address").port();
    let asked = Probe::Udp(Udp { require_reply: false, reply: None, ..udp(port) });
    let path = bound(V4, "127.0.0.8");
    let mut buffer = [0; 10];
    let received = tokio::select! {
        received = socket.recv_from(&mut buffer) => received,
        found = probe(&asked, &path, PATIENT) => panic!("nothing came: {found:?}"),
    };
    assert_eq!(received.expect("a datagram").1.ip(), IpAddr::from([127, 0, 0, 8]));
}

#[tokio::test]
async fn an_address_that_the_machine_lacks_is_told() {
    let port = echoes(V4, None).await;
    let expected = "probes cannot be sent from 192.0.2.77: this machine does not have the address; add it, or change \
                    `bind`";
    for asked in [tcp(port), Probe::Udp(udp(port)), Probe::Icmp] {
        let found = probe(&asked, &bound(V4, "192.0.2.77"), PATIENT).await;
        if is_forbidden(&found) {
            continue;
        }
        assert!(found.as_ref().is_err_and(Failure::is_local));
        assert_eq!(words(found), expected, "{asked:?}");
    }
}

#[tokio::test]
async fn a_datagram_is_answered_as_expected() {
    for address in [V4, V6] {
        let port = echoes(address, Some(b"pong 1")).await;
        assert_eq!(probe(&Probe::Udp(udp(port)), &direct(address), PATIENT).await, Ok(Answer::default()));
        let other = Udp { reply: Some(pattern("^ok")), ..udp(port) };
        let failure = UdpFailure::Reply { said: "\"pong 1\"".to_owned(), expected: "^ok".to_owned() };
        assert_eq!(probe(&Probe::Udp(other), &direct(address), PATIENT).await, Err(failure.into()));
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_to_a_datagram_is_well_if_it_need_not() {
    let port = echoes(V4, None).await;
    let silent = Udp { require_reply: false, reply: None, ..udp(port) };
    let same = limits(20);
    assert_eq!(probe(&Probe::Udp(silent), &direct(V4), same).await, Ok(Answer::default()));
    assert_eq!(words(probe(&Probe::Udp(udp(port)), &direct(V4), same).await), "no answer within 20ms");
}

/// Raw sockets are for root.
fn is_forbidden(result: &Result<Answer, Failure>) -> bool {
    !geteuid().is_root() && matches!(result, Err(Failure::Network(NetworkFailure::Forbidden { .. })))
}

#[tokio::test]
async fn echo_requests_are_answered_to_whoever_sent_them() {
    let mut asked = Vec::new();
    for last in 1..=100 {
        asked.push(direct(IpAddr::from([127, 0, 0, last])));
        asked.push(direct(V6));
        asked.push(bound(V4, "127.0.0.9"));
    }
    let answers = join_all(asked.iter().map(|path| probe(&Probe::Icmp, path, PATIENT))).await;
    for (path, answer) in asked.iter().zip(answers) {
        assert!(answer == Ok(Answer::default()) || is_forbidden(&answer), "{path:?}: {answer:?}");
    }
}

#[tokio::test]
async fn nobody_replies_to_an_echo_request_into_the_void() {
    // Multicast to nobody on the loopback: a route is there, an answer is not.
    let nobody = Path::Direct { server: IpAddr::from([239, 255, 77, 77]), bind: Some(V4) };
    let found = probe(&Probe::Icmp, &nobody, limits(50)).await;
    match &found {
        _ if is_forbidden(&found) => {}
        Err(Failure::Network(NetworkFailure::NoRoute { .. })) => {}
        _ => assert_eq!(words(found), "no echo reply within 50ms"),
    }
}

#[test]
fn errors_of_the_kernel_are_told_in_words() {
    let path = direct(IpAddr::from([192, 0, 2, 1]));
    for (errno, expected, is_local) in [
        (
            libc::EHOSTUNREACH,
            "192.0.2.1 is unreachable: nobody on its segment answers for the address, or a router does not reach it",
            false,
        ),
        (libc::ENETUNREACH, "there is no route to 192.0.2.1: see `ip route get 192.0.2.1`", true),
        (libc::ETIMEDOUT, "connect: the kernel gave up waiting for 192.0.2.1", false),
        (libc::ECONNRESET, "the server reset the connection (connect)", false),
        (
            libc::EACCES,
            "connect: this machine does not permit it: its firewall or a prohibiting route, or CAP_NET_RAW is missing",
            true,
        ),
        (
            libc::EADDRNOTAVAIL,
            "no local port is free for 192.0.2.1: see `net.ipv4.ip_local_port_range`",
            true,
        ),
        (
            libc::EMFILE,
            "connect: the director has no room for another probe (Too many open files (os error 24)); for descriptors, raise `LimitNOFILE=` of its unit",
            true,
        ),
        (libc::ENOPROTOOPT, "connect: Protocol not available (os error 92)", false),
    ] {
        let failure =
            NetworkFailure::new(&std::io::Error::from_raw_os_error(errno), &path, Some(80), "connect");
        assert_eq!(failure.to_string(), expected);
        assert_eq!(Failure::from(failure).is_local(), is_local, "{expected}");
    }
    let closed = NetworkFailure::new(&ErrorKind::UnexpectedEof.into(), &path, Some(80), "read");
    assert_eq!(closed.to_string(), "the server closed the connection before the end (read)");
}
