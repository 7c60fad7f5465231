//! What happens to a frame on its way: nothing but two MACs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lb_lab::frame::{ACK, Endpoint, Frame, SYN};
use lb_lab::{Captured, Direction, Director, Lab, Load, TestResult, UdpEcho, VirtualServer};

use crate::support::{PATIENCE, answers, counter, lab, real_servers, web};

/// IPv4 frames to the VIP that pass a host's cable.
fn to_vip(lab: &Lab) -> impl Fn(Direction, &[u8]) -> bool + Send + 'static {
    let vip = lab.vip().octets();
    move |_, frame| frame.len() >= 34 && frame[12..14] == [8, 0] && frame[30..34] == vip
}

fn without_macs(frames: &[Captured]) -> Vec<&[u8]> {
    frames.iter().map(|frame| &frame.bytes[12..]).collect()
}

#[test]
fn real_servers_see_the_clients_frames_and_clients_see_the_vip() -> TestResult {
    let lab = lab(1)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let (client, rs1) = (lab.client(), lab.host("rs1"));
    let at_client = client.capture_if({
        let is_to_vip = to_vip(&lab);
        move |direction, frame| direction == Direction::Out && is_to_vip(direction, frame)
    })?;
    let at_director = lab.switch().capture_if(&lab.director(), to_vip(&lab))?;
    let at_server = lab.switch().capture_if(&rs1, to_vip(&lab))?;
    let vip = lab.vip().octets();
    let replies = client.capture_if(move |direction, frame| {
        direction == Direction::In && frame.len() >= 34 && frame[12..14] == [8, 0] && frame[26..30] == vip
    })?;

    assert_eq!(answers(&lab, 3)?, ["rs1"; 3]);
    let sent = at_client.wait_for_some(15, PATIENCE, |_| true)?;
    let count = sent.len();
    let received = at_server.wait_for_some(count, PATIENCE, |frame| frame.direction == Direction::Out)?;
    let at_director = at_director.wait_for_some(2 * count, PATIENCE, |_| true)?;
    let (forwarded, arrived): (Vec<Captured>, Vec<Captured>) =
        at_director.into_iter().partition(|frame| frame.direction == Direction::In);

    // Byte for byte: source address, TTL, ports, checksums, everything behind the MACs.
    assert_eq!(without_macs(&received), without_macs(&sent));
    assert_eq!(without_macs(&forwarded), without_macs(&arrived));
    for frame in &received {
        assert_eq!(frame.bytes[..6], rs1.mac().0, "to the real server");
        assert_eq!(frame.bytes[6..12], lab.director().mac().0, "from the director");
        assert_eq!(frame.bytes[26..30], client.address().octets(), "the client's own address");
    }
    // The client's stack would not have taken answers from anybody but the VIP; they come from the real
    // server's MAC, past the director.
    let reply = replies.wait_for(PATIENCE, |_| true)?;
    assert_eq!(reply.bytes[6..12], rs1.mac().0);
    assert_eq!(real_servers(&director)?[0]["stats"]["packets"], count);
    Ok(())
}

#[test]
fn udp_datagrams_reach_one_real_server_per_flow() -> TestResult {
    let lab = lab(2)?;
    let service = VirtualServer::udp("dns", lab.vip(), 53).hosts(&lab.real_servers());
    let _director = Director::on(&lab.director()).config(service).start()?;
    let _echo: Vec<UdpEcho> = lab
        .real_servers()
        .iter()
        .map(|server| UdpEcho::start(server, (lab.vip(), 53)))
        .collect::<lb_lab::Result<_>>()?;
    let exchange = || lab.client().udp_exchange((lab.vip(), 53), b"ping", PATIENCE);
    let answers: Vec<Vec<u8>> = (0..4).map(|_| exchange()).collect::<lb_lab::Result<_>>()?;
    assert_eq!(answers, [&b"rs2: ping"[..], b"rs1: ping", b"rs2: ping", b"rs1: ping"]);
    Ok(())
}

#[test]
fn flooded_frames_are_forwarded_by_nobody() -> TestResult {
    let lab = Lab::builder()
        .client("client")
        .director("director")
        .real_servers(2)
        .host(lb_lab::HostSpec::other("bystander"));
    let lab = lab.build()?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    lab.director().set_promiscuous(true)?;
    lab.switch().set_flooding(true)?;
    let forwarded = lab.switch().capture_if(&lab.director(), {
        let is_to_vip = to_vip(&lab);
        move |direction, frame| direction == Direction::In && is_to_vip(direction, frame)
    })?;
    assert_eq!(answers(&lab, 4)?, ["rs2", "rs1", "rs2", "rs1"]);
    let seen_by_flooding = counter(&director, "pass_not_for_us")?;
    assert!(seen_by_flooding > 10, "the switch floods: {seen_by_flooding}");
    // A frame for the VIP at somebody else's MAC, which the switch shows to the director too.
    let client = lab.client();
    let stray = Frame::between(
        Endpoint::of(&client, 4000),
        Endpoint::new(lab.host("bystander").mac(), lab.vip(), 80),
    )
    .tcp(SYN, b"");
    client.send_frame(&stray)?;
    lb_lab::wait_until("the director has seen the stray frame", PATIENCE, || {
        counter(&director, "pass_not_for_us").is_ok_and(|count| count > seen_by_flooding)
    });
    let stats = real_servers(&director)?;
    let counted: u64 = stats.iter().filter_map(|server| server["stats"]["packets"].as_u64()).sum();
    let frames = forwarded.finish()?;
    assert_eq!(frames.len() as u64, counted, "as many frames left the director as it counted");
    let stray_again = frames.iter().filter(|frame| frame.bytes[34..36] == 4000u16.to_be_bytes());
    assert_eq!(stray_again.count(), 0);
    Ok(())
}

#[test]
fn a_segment_nobody_remembers_is_answered_with_a_reset() -> TestResult {
    let lab = lab(1)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let client = lab.client();
    let from = Endpoint::of(&client, 5555);
    let answers = client.capture_if(|direction, frame| {
        direction == Direction::In && frame.len() >= 48 && frame[36..38] == 5555u16.to_be_bytes()
    })?;
    let segment = Frame::between(from, Endpoint::new(lab.director().mac(), lab.vip(), 80))
        .numbers(100, 200)
        .tcp(ACK, b"data");
    client.send_frame(&segment)?;
    let reset = answers.wait_for(PATIENCE, |_| true)?;
    assert_eq!(reset.bytes[47] & 0x04, 0x04, "RST: {}", lb_lab::frame::describe(&reset.bytes));
    assert_eq!(counter(&director, "pass_no_connection")?, 1);
    Ok(())
}

#[test]
fn ten_thousand_requests_in_parallel_are_all_answered_and_all_counted() -> TestResult {
    let lab = lab(3)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let vip = lab.vip().octets();
    let ports = Arc::new(Mutex::new(BTreeMap::<[u8; 2], u64>::new()));
    let opened = lab.client().capture_if({
        let ports = Arc::clone(&ports);
        move |direction, frame| {
            let is_syn =
                direction == Direction::Out && frame.len() >= 54 && frame[30..34] == vip && frame[47] == SYN;
            if is_syn && let Ok(mut ports) = ports.lock() {
                *ports.entry([frame[34], frame[35]]).or_default() += 1;
            }
            false
        }
    })?;
    let load = Load::to((lab.vip(), 80)).requests(10_000).duration(Duration::from_secs(30));
    let report = load.run(&lab.client())?;
    assert_eq!((report.failed(), report.answered), (0, 10_000), "{report:?}");
    opened.finish()?;
    let ports = ports.lock().expect("no thread panicked");
    let (flows, syns) = (ports.len() as u64, ports.values().sum::<u64>());
    let listed = real_servers(&director)?;
    let counts: Vec<u64> =
        listed.iter().filter_map(|server| server["stats"]["connections"].as_u64()).collect();
    // A port that the client uses again soon is, to IPVS and to us, the connection it was; unless that had got as far as
    // TIME_WAIT or CLOSE.
    let scheduled = counts.iter().sum::<u64>();
    assert!((flows..=syns).contains(&scheduled), "{scheduled} of {flows} flows with {syns} SYNs");
    assert!(counts.iter().all(|count| count.abs_diff(scheduled / 3) <= 1), "{counts:?}");
    assert_eq!(counter(&director, "insert_lost")?, 0);
    Ok(())
}
