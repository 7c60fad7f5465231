//! Whole frames: sent, captured, and returned by XDP.

use lb_lab::frame::{Endpoint, Frame, SYN, describe, marker};
use lb_lab::{Direction, Lab, Mac, TestResult, try_wait_until};

use crate::{SOON, pair};

#[test]
fn a_capture_has_every_byte_that_was_sent() -> TestResult {
    let lab = pair()?;
    let (client, server) = (lab.client(), lab.host("rs1"));
    let (from, to) = (Endpoint::of(&client, 1234), Endpoint::of(&server, 9));
    let frames = [
        Frame::between(from, to).ttl(7).tcp(SYN, b""),
        Frame::between(from, to).udp(b"datagram"),
        Frame::between(from, to).fragment(185, false).identification(77).ip(17, &[1; 100]),
        // The kernel takes VLAN tags out of what it captures; they must come back.
        Frame::between(from, to).vlan(100).udp(b"tagged"),
        Frame::between(from, to).udp(&[0x55; 1472]),
        marker(from.mac, to.mac, b"odd"),
    ];
    let (sent, received) = (client.capture()?, server.capture()?);
    let port = lab.switch().capture(&client)?;
    for frame in &frames {
        client.send_frame(frame)?;
    }
    for frame in &frames {
        let description = describe(frame);
        let what = format!("{description} passes");
        for (capture, direction) in
            [(&sent, Direction::Out), (&port, Direction::In), (&received, Direction::In)]
        {
            let found = capture
                .wait_for(SOON, |captured| captured.bytes == *frame && captured.direction == direction);
            found.map_err(|error| format!("{what}: {error}"))?;
        }
    }
    // The times of what comes are those of its arrival: what the host has answered by then may lie between.
    let received = received.finish()?;
    let times: Vec<_> =
        received.iter().filter(|frame| frame.direction == Direction::In).map(|frame| frame.at).collect();
    assert!(times.is_sorted(), "{times:?}");
    Ok(())
}

#[test]
fn a_capture_keeps_only_what_its_filter_wants() -> TestResult {
    let lab = pair()?;
    let (client, server) = (lab.client(), lab.host("rs1"));
    let capture =
        server.capture_if(|direction, frame| direction == Direction::In && frame.ends_with(b"yes"))?;
    for text in [b"no!", b"yes", b"no!"] {
        client.send_frame(&marker(client.mac(), server.mac(), text))?;
    }
    capture.wait_for(SOON, |_| true)?;
    client.send_frame(&marker(client.mac(), Mac::BROADCAST, b"yes"))?;
    capture.wait_for_some(2, SOON, |_| true)?;
    assert_eq!(capture.finish()?.len(), 2);
    Ok(())
}

#[test]
fn a_capture_that_ends_at_once_has_what_came_before() -> TestResult {
    let lab = pair()?;
    let (client, server) = (lab.client(), lab.host("rs1"));
    for round in 0..300 {
        let capture =
            client.capture_if(|direction, frame| direction == Direction::Out && frame.ends_with(b"here"))?;
        client.send_frame(&marker(client.mac(), server.mac(), b"here"))?;
        assert_eq!(capture.finish()?.len(), 1, "round {round}");
    }
    Ok(())
}

#[test]
fn xdp_tx_comes_back_through_a_directors_port() -> TestResult {
    let lab = Lab::builder().client("client").director("director").build()?;
    let (client, director) = (lab.client(), lab.director());
    let program = director.attach_xdp("swap")?;
    let capture = client.capture_if(|direction, _| direction == Direction::In)?;
    let cable = lab.switch().capture(&director)?;
    let frame = Frame::between(Endpoint::of(&client, 4000), Endpoint::of(&director, 80)).tcp(SYN, b"");
    let expected = [&frame[6..12], &frame[..6], &frame[12..]].concat();
    client.send_frame(&frame)?;
    capture.wait_for(SOON, |captured| captured.bytes == expected)?;
    cable.wait_for(SOON, |captured| captured.direction == Direction::Out && captured.bytes == frame)?;
    cable.wait_for(SOON, |captured| captured.direction == Direction::In && captured.bytes == expected)?;

    // Without the program the director answers itself: there is no listener, so with a RST.
    drop(program);
    let reply = |captured: &lb_lab::Captured| describe(&captured.bytes).contains("RST");
    try_wait_until("the director answers itself", SOON, || -> Result<_, lb_lab::Error> {
        client.send_frame(&frame)?;
        capture.wait_for(SOON / 10, reply)
    })?;
    Ok(())
}

#[test]
fn a_built_frame_has_right_checksums() -> TestResult {
    let lab = pair()?;
    let (client, server) = (lab.client(), lab.host("rs1"));
    let capture = client.capture_if(|direction, _| direction == Direction::In)?;
    // Only a segment with right checksums is answered.
    let (from, to) = (Endpoint::of(&client, 4321), Endpoint::of(&server, 80));
    client.send_frame(&Frame::between(from, to).numbers(1000, 0).tcp(SYN, b""))?;
    let answer = capture.wait_for(SOON, |captured| describe(&captured.bytes).contains("SYN+ACK"))?;
    assert_eq!(answer.bytes[42..46], 1001_u32.to_be_bytes(), "the acknowledgment number");
    Ok(())
}
