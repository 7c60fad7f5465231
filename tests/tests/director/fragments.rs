//! Datagrams in parts, and packets that were too large for a hop on their way.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use lb_lab::{Direction, Director, Host, HostSpec, Lab, TestResult, UdpEcho, VirtualServer, wait_until};

use crate::support::{PATIENCE, counter, lab6};

const DNS: u16 = 53;

/// A UDP service over the lab's real servers, which echo.
fn echo(lab: &Lab, vip: IpAddr) -> lb_lab::Result<(Director, Vec<UdpEcho>)> {
    let service = VirtualServer::udp("dns", vip, DNS).hosts(&lab.real_servers());
    let director = Director::on(&lab.director()).config(service).start()?;
    let servers = lab.real_servers();
    let echoes: lb_lab::Result<_> = servers.iter().map(|server| UdpEcho::start(server, (vip, DNS))).collect();
    Ok((director, echoes?))
}

fn vips(lab: &Lab) -> [IpAddr; 2] {
    [lab.vip().into(), lab.vip6().into()]
}

#[test]
fn a_datagram_in_fragments_arrives_whole_at_one_real_server() -> TestResult {
    let lab = lab6(3)?;
    let payload: Vec<u8> = (0..8192u32).map(|n| (n % 251) as u8).collect();
    for vip in vips(&lab) {
        let (director, _echoes) = echo(&lab, vip)?;
        for server in ["rs3", "rs2", "rs1"] {
            let answer = lab.client().udp_exchange((vip, DNS), &payload, PATIENCE)?;
            assert!(
                answer == [server.as_bytes(), b": ", &payload].concat(),
                "to {vip}: not from {server}, or not whole"
            );
        }
        assert_eq!(counter(&director, "pass_fragment")?, 0);
        assert_eq!(counter(&director, "drop_fragment_held")?, 0, "they came in order");
    }
    Ok(())
}

/// Where the identification of a datagram is in its fragments: in the IPv4 header, or in the fragment header behind the
/// IPv6 header.
fn renumber(frame: &[u8], id: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if frame[12..14] == [0x08, 0x00] {
        frame[18..20].copy_from_slice(&[0xbe, id]);
        frame[24..26].fill(0);
        let words = frame[14..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
        let sum: u32 = words.sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("it is folded");
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    } else {
        frame[58..62].copy_from_slice(&[0xbe, 0, 0, id]);
    }
    frame
}

/// Fragments to or from an address.
fn fragments_of(
    vip: IpAddr,
    wanted: Direction,
    is_source: bool,
) -> impl Fn(Direction, &[u8]) -> bool + Send + 'static {
    move |direction, frame| {
        let address = |v4: usize, v6: usize| match vip {
            IpAddr::V4(vip) => frame.get(v4..v4 + 4) == Some(&vip.octets()[..]) && frame[12..14] == [8, 0],
            IpAddr::V6(vip) => {
                frame.get(v6..v6 + 16) == Some(&vip.octets()[..])
                    && frame[12..14] == [0x86, 0xdd]
                    && frame[20] == 44
            }
        };
        direction == wanted && if is_source { address(26, 22) } else { address(30, 38) }
    }
}

#[test]
fn fragments_in_any_order_wait_for_their_first_and_arrive_whole() -> TestResult {
    let lab = lab6(3)?;
    let payload = vec![0x5a; 8192];
    for vip in vips(&lab) {
        let (director, _echoes) = echo(&lab, vip)?;
        let client = lab.client();
        let sent = client.capture_if(fragments_of(vip, Direction::Out, false))?;
        client.udp_exchange((vip, DNS), &payload, PATIENCE)?;
        // The capture may not have read them yet, on a busy machine.
        let sent = sent.wait_for_some(6, PATIENCE, |_| true)?;
        // Counters outlive a daemon.
        let held = counter(&director, "drop_fragment_held")?;
        let expired = counter(&director, "fragment_expired")?;
        assert_eq!(sent.len(), 6, "8 KB are six frames");

        // The same datagram under other numbers: last fragment first, and shuffled.
        for (id, order) in [(1, [5, 4, 3, 2, 1, 0]), (2, [3, 0, 5, 1, 4, 2])] {
            let answers = client.capture_if(fragments_of(vip, Direction::In, true))?;
            for place in order {
                client.send_frame(&renumber(&sent[place].bytes, id))?;
            }
            answers.wait_for_some(6, PATIENCE, |_| true)?;
        }
        assert_eq!(counter(&director, "drop_fragment_held")? - held, 6, "five before the first, and one");
        assert_eq!(counter(&director, "fragment_expired")?, expired);

        // A datagram whose first never comes.
        client.send_frame(&renumber(&sent[1].bytes, 3))?;
        wait_until("the fragment has waited for long enough", PATIENCE, || {
            match counter(&director, "fragment_expired") {
                Ok(count) if count == expired + 1 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
    Ok(())
}

/// What a real server has to say: more than any packet takes.
const STORY: usize = 100_000;

/// Serves one connection on the VIP with a long story.
fn tell(server: &Host, vip: IpAddr) -> lb_lab::Result<std::thread::JoinHandle<lb_lab::Result<()>>> {
    let listener = server.enter(|| TcpListener::bind((vip, PORT)))?.expect("the VIP is on lo");
    server.start_thread(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        // Whether it all arrives is for the client to say.
        let _ = stream.write_all(&[b'x'; STORY]);
    })
}

const PORT: u16 = 8080;

#[test]
fn path_mtu_discovery_works_through_the_vip() -> TestResult {
    let lab = Lab::builder()
        .ipv6()
        .client("client")
        .host(HostSpec::other("router"))
        .director("director")
        .real_servers(2)
        .build()?;
    let (client, router) = (lab.client(), lab.host("router"));
    for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        router.set_sysctl(key, "1")?;
    }
    for key in ["ipv4/conf/all/send_redirects", "ipv4/conf/eth0/send_redirects"] {
        router.set_sysctl(key, "0")?;
    }
    // The client is behind the router, on a hop that takes packets of 1400 bytes.
    let far: [(IpAddr, u8, IpAddr); 2] = [
        ("10.77.0.2".parse()?, 32, router.address().into()),
        ("2001:db8:77::2".parse()?, 128, router.address6().into()),
    ];
    for (vip, (address, bits, gateway)) in vips(&lab).into_iter().zip(far) {
        let (host, gateway) = (format!("{address}/{bits}"), gateway.to_string());
        client.add_address(address, bits)?;
        let (to, from) = (format!("{vip}/{bits}"), address.to_string());
        client.run(["ip", "route", "replace", &to, "via", &gateway, "dev", "eth0", "src", &from])?;
        router.run(["ip", "route", "replace", &host, "dev", "eth0", "mtu", "lock", "1400"])?;
        for server in lab.real_servers() {
            server.run(["ip", "route", "replace", &host, "via", &gateway, "dev", "eth0"])?;
        }
        let service = VirtualServer::tcp("story", vip, PORT).hosts(&lab.real_servers());
        let _director = Director::on(&lab.director()).config(service).start()?;
        for server in ["rs2", "rs1"].map(|name| lab.host(name)) {
            let teller = tell(&server, vip)?;
            let errors =
                server.capture_if(|direction, frame| direction == Direction::In && is_too_big(frame))?;
            let read = client.enter(|| {
                let mut stream = TcpStream::connect_timeout(&SocketAddr::from((vip, PORT)), PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                let mut story = Vec::new();
                stream.read_to_end(&mut story).map(|_| story.len())
            })?;
            assert_eq!(read?, STORY, "from {vip} on {}", server.name());
            teller.join().expect("it told")?;
            errors.wait_for(Duration::from_secs(1), |_| true)?;
        }
    }
    Ok(())
}

/// ICMP "fragmentation needed" (type 3, code 4), ICMPv6 "packet too big" (type 2).
fn is_too_big(frame: &[u8]) -> bool {
    let at = |offset: usize| frame.get(offset).copied().unwrap_or_default();
    match [at(12), at(13)] {
        [0x08, 0x00] => at(23) == 1 && [at(34), at(35)] == [3, 4],
        [0x86, 0xdd] => at(20) == 58 && at(54) == 2,
        _ => false,
    }
}
