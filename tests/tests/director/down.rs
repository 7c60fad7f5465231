//! Real servers that vanish, sorry servers, and datagrams one by one.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use lb_lab::frame::RST;
use lb_lab::{
    Captured, Direction, Director, Host, Lab, Result, TestResult, UdpEcho, VirtualServer, wait_until,
};
use serde_json::json;

use crate::support::{OpenConnection, PATIENCE, answers, counter, lab, lab6, list, real_servers, web, web6};

/// What neighbour detection takes until a host that is gone is missed.
const DETECTION: Duration = Duration::from_secs(10);
const DNS: u16 = 53;

/// Waits until the real server at this place in the list is up, or not.
fn wait_until_it_is(director: &Director, place: usize, state: &str) {
    wait_until(&format!("a real server is {state}"), DETECTION, || {
        real_servers(director).is_ok_and(|listed| listed[place]["state"] == state)
    });
}

/// The TCP flags of a frame that comes from the VIP; none of any other frame.
fn flags_from(vip: IpAddr, frame: &Captured) -> Option<u8> {
    let bytes = &frame.bytes;
    let (source, transport) = match vip {
        IpAddr::V4(vip) => (bytes.get(26..30)? == vip.octets(), 34),
        IpAddr::V6(vip) => (bytes.get(22..38)? == vip.octets(), 54),
    };
    if source && frame.direction == Direction::In { bytes.get(transport + 13).copied() } else { None }
}

/// rs2 vanishes under an open connection: its client is told within a second of the director's knowing.
fn its_client_fails_fast(lab: &Lab, vip: IpAddr, service: VirtualServer, on_down: &str) -> TestResult {
    let policy = format!("on_down = {on_down:?}");
    let director = Director::on(&lab.director()).config(service.line(&policy)).start()?;
    let mut open = OpenConnection::open(&lab.client(), vip)?;
    assert_eq!(open.ask().expect("it answers"), "rs2");
    let sent = counter(&director, "reset_sent")?;
    lab.host("rs2").set_link(false)?;
    wait_until_it_is(&director, 1, "unresolved");

    let question =
        [open.client().expect("it is connected").to_string(), SocketAddr::from((vip, 80)).to_string()];
    let ask = ["explain", &question[0], &question[1], "tcp", "--flags", "ack"];
    let explained = director.cli(ask)?;
    let said = if on_down == "reset" { "the client gets a reset" } else { "another one is chosen" };
    assert!(explained.contains(&format!("that is down, and {said} (on_down)")), "{explained}");
    assert_eq!(explained.contains("XDP_TX: a TCP reset out of"), on_down == "reset", "{explained}");

    let capture = lab.client().capture()?;
    let from = Instant::now();
    let error = open.ask().expect_err("its real server is gone");
    let elapsed = from.elapsed();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
    let reset =
        capture.wait_for(PATIENCE, |frame| flags_from(vip, frame).is_some_and(|flags| flags & RST != 0))?;
    let is_ours = reset.bytes[6..12] == lab.director().mac().0;
    assert_eq!(is_ours, on_down == "reset", "{reset:?}");
    assert_eq!(counter(&director, "reset_sent")? - sent, u64::from(on_down == "reset"));
    Ok(())
}

#[test]
fn the_client_of_a_real_server_that_vanished_gets_a_reset() -> TestResult {
    let lab = lab(2)?;
    its_client_fails_fast(&lab, lab.vip().into(), web(&lab), "reset")
}

#[test]
fn the_client_of_a_real_server_that_vanished_gets_a_reset_in_ipv6() -> TestResult {
    let lab = lab6(2)?;
    its_client_fails_fast(&lab, lab.vip6().into(), web6(&lab), "reset")
}

#[test]
fn the_client_of_a_real_server_that_vanished_is_reset_by_another() -> TestResult {
    let lab = lab(2)?;
    its_client_fails_fast(&lab, lab.vip().into(), web(&lab), "reschedule")
}

/// One socket of the client, and who answers it.
struct Flow(UdpSocket);

impl Flow {
    fn new(client: &Host, server: SocketAddr) -> Result<Self> {
        let open = || -> std::io::Result<UdpSocket> {
            let socket = UdpSocket::bind(("0.0.0.0", 0))?;
            socket.connect(server)?;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            Ok(socket)
        };
        Ok(Self(client.enter(open)?.expect("a socket")))
    }

    /// The name of the real server that answers a datagram; none if nobody does, or cannot.
    fn ask(&self) -> Option<String> {
        let mut buffer = [0; 64];
        self.0.send(b"ping").ok()?;
        let length = self.0.recv(&mut buffer).ok()?;
        let text = String::from_utf8_lossy(&buffer[..length]);
        text.split_once(": ").map(|(name, _)| name.to_owned())
    }
}

fn dns(lab: &Lab, line: &str) -> Result<(Director, Vec<UdpEcho>)> {
    let service = VirtualServer::udp("dns", lab.vip(), DNS).hosts(&lab.real_servers()).line(line);
    let director = Director::on(&lab.director()).config(service).start()?;
    let servers = lab.real_servers();
    let echoes: Result<_> = servers.iter().map(|host| UdpEcho::start(host, (lab.vip(), DNS))).collect();
    Ok((director, echoes?))
}

#[test]
fn a_flow_of_udp_arrives_elsewhere_when_its_real_server_vanished() -> TestResult {
    let lab = lab(2)?;
    let (director, _echoes) = dns(&lab, "")?;
    let old = Flow::new(&lab.client(), (lab.vip(), DNS).into())?;
    assert_eq!([old.ask(), old.ask()], [Some("rs2".to_owned()), Some("rs2".to_owned())]);
    lab.host("rs2").set_link(false)?;
    let from = Instant::now();
    wait_until("the flow is answered again", DETECTION, || old.ask().is_some_and(|name| name == "rs1"));
    println!("answered again after {:?}", from.elapsed());
    assert_eq!(real_servers(&director)?[1]["state"], "unresolved");
    let new = Flow::new(&lab.client(), (lab.vip(), DNS).into())?;
    assert_eq!(new.ask().as_deref(), Some("rs1"));
    lab.host("rs2").set_link(true)?;
    wait_until_it_is(&director, 1, "up");
    assert_eq!(old.ask().as_deref(), Some("rs1"), "it stays where it came to");
    Ok(())
}

#[test]
fn datagrams_of_one_socket_are_spread_over_real_servers() -> TestResult {
    let lab = lab(3)?;
    let (director, _echoes) = dns(&lab, "one_packet = true")?;
    let flow = Flow::new(&lab.client(), (lab.vip(), DNS).into())?;
    let names: Vec<String> = (0..6).filter_map(|_| flow.ask()).collect();
    assert_eq!(names, ["rs3", "rs2", "rs1", "rs3", "rs2", "rs1"]);
    let shown = director.cli(["list", "-n"])?;
    assert!(shown.contains(&format!("UDP  {}:{DNS} rr ops\n", lab.vip())), "{shown}");
    assert_eq!(list(&director)?["virtual_servers"][0]["one_packet"], true);
    assert_eq!(director.json(["connections"])?["connections"], json!([]), "none is remembered");
    let connections: Vec<_> =
        real_servers(&director)?.iter().map(|server| server["stats"]["connections"].clone()).collect();
    assert_eq!(connections, [2, 2, 2]);
    Ok(())
}

#[test]
fn a_sorry_server_answers_when_nobody_else_does_and_keeps_its_connections() -> TestResult {
    let lab = lab(2)?;
    let (rs1, sorry) = (lab.host("rs1"), lab.host("rs2"));
    let service = VirtualServer::tcp("web", lab.vip(), 80).hosts([&rs1]);
    let service = service.line(&format!("sorry_server = \"{}\"", sorry.address()));
    let director = Director::on(&lab.director()).config(service).start()?;
    assert_eq!(answers(&lab, 3)?, ["rs1"; 3]);
    let listed = list(&director)?["virtual_servers"][0]["sorry_server"].clone();
    assert_eq!((&listed["address"], &listed["state"]), (&json!(sorry.address().to_string()), &json!("up")));
    let shown = director.cli(["list", "-n"])?;
    assert!(shown.contains(&format!("  -> {} (sorry)", sorry.address())), "{shown}");

    rs1.set_link(false)?;
    wait_until_it_is(&director, 0, "unresolved");
    assert_eq!(answers(&lab, 3)?, ["rs2"; 3]);
    let mut open = OpenConnection::open(&lab.client(), lab.vip())?;
    assert_eq!(open.ask().expect("it answers"), "rs2");
    let question = SocketAddr::from((lab.vip(), 80)).to_string();
    let explained = director.cli(["explain", "198.51.100.7:40000", &question, "tcp"])?;
    assert!(explained.contains("no real server is usable: the sorry server"), "{explained}");

    rs1.set_link(true)?;
    wait_until_it_is(&director, 0, "up");
    assert_eq!(answers(&lab, 3)?, ["rs1"; 3]);
    assert_eq!(open.ask().expect("it answers"), "rs2");
    director.cli(["weight", "web", &rs1.address().to_string(), "0"])?;
    assert_eq!(answers(&lab, 1)?, ["rs2"], "all have weight 0");
    Ok(())
}
