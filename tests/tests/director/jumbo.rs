//! Jumbo frames: longer than a page, so that native XDP sees each of them in several buffers.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use lb_lab::frame::{Endpoint, Frame, SYN};
use lb_lab::{Captured, Direction, Director, Host, Lab, SecondNetwork, TestResult, UdpEcho, VirtualServer};

use crate::support::{PATIENCE, counter, lab, lab6, real_servers};

const MTU: usize = 9000;
const PORT: u16 = 7000;

/// Has every cable of a lab carry packets of 9000 bytes.
fn carry_jumbo_frames(lab: &Lab) -> lb_lab::Result<()> {
    lab.hosts().iter().try_for_each(|host| carry(lab, host, host.name(), "eth0"))
}

/// The same for the cable from a port of the switch to an interface of a host.
fn carry(lab: &Lab, host: &Host, port: &str, interface: &str) -> lb_lab::Result<()> {
    let mtu = MTU.to_string();
    let words = |link| ["link", "set", "dev", link, "mtu", mtu.as_str()];
    lab.switch().command("ip").args(words(port)).run()?.success()?;
    host.command("ip").args(words(interface)).run()?.success()?;
    Ok(())
}

fn vips(lab: &Lab) -> [IpAddr; 2] {
    [lab.vip().into(), lab.vip6().into()]
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

/// Frames that a host's cable brings it, longer than a page.
fn jumbo_to_host(direction: Direction, frame: &[u8]) -> bool {
    direction == Direction::Out && frame.len() > 4096
}

fn assert_attached(director: &mut Director, how: &str) -> TestResult {
    let log = director.process()?.log();
    assert!(log.contains(&format!("xdp={how:?}")), "{log}");
    Ok(())
}

/// Datagrams of 9000 bytes through a director whose program is attached in this mode.
fn exchange_datagrams(mode: &str) -> TestResult {
    let lab = lab6(2)?;
    carry_jumbo_frames(&lab)?;
    for vip in vips(&lab) {
        let service = VirtualServer::udp("echo", vip, PORT).hosts(&lab.real_servers());
        let director = Director::on(&lab.director()).config(service);
        let mut director = director.setting("xdp_mode", format!("{mode:?}")).start()?;
        assert_attached(&mut director, mode)?;
        let start = |server: &Host| UdpEcho::start(server, (vip, PORT));
        let _echoes: Vec<UdpEcho> = lab.real_servers().iter().map(start).collect::<lb_lab::Result<_>>()?;
        let headers = if vip.is_ipv4() { 20 + 8 } else { 40 + 8 };
        for server in ["rs2", "rs1"].map(|name| lab.host(name)) {
            let arrived = lab.switch().capture_if(&server, jumbo_to_host)?;
            let sent = payload(MTU - headers);
            // The answer, `NAME: ` before it, is of two fragments, and does not come this way.
            let answer = lab.client().udp_exchange((vip, PORT), &sent, PATIENCE)?;
            let name = server.name();
            assert!(
                answer == [name.as_bytes(), b": ", &sent].concat(),
                "{vip}: not from {name}, or not whole"
            );
            let frames: Vec<Captured> = arrived.finish()?;
            assert_eq!(frames.len(), 1, "{vip}: in one frame");
            assert_eq!(frames[0].bytes.len(), 14 + MTU);
            assert_eq!(frames[0].bytes[..12], [server.mac().0, lab.director().mac().0].concat());
        }
        let listed = real_servers(&director)?;
        assert!(listed.iter().all(|server| server["stats"]["bytes"] == MTU), "{listed:?}");
        assert_eq!(counter(&director, "pass_malformed")?, 0);
    }
    Ok(())
}

#[test]
fn a_datagram_in_one_jumbo_frame_arrives_whole_at_one_real_server() -> TestResult {
    exchange_datagrams("native")
}

#[test]
fn a_datagram_in_one_jumbo_frame_arrives_whole_with_generic_xdp_too() -> TestResult {
    exchange_datagrams("generic")
}

#[test]
fn an_upload_in_jumbo_segments_arrives_whole() -> TestResult {
    let lab = lab6(1)?;
    carry_jumbo_frames(&lab)?;
    let (client, server) = (lab.client(), lab.host("rs1"));
    let story = payload(2_000_000);
    for vip in vips(&lab) {
        let service = VirtualServer::tcp("upload", vip, PORT).hosts(&lab.real_servers());
        let mut director = Director::on(&lab.director()).config(service).start()?;
        assert_attached(&mut director, "native")?;
        let arrived = lab.switch().capture_if(&server, jumbo_to_host)?;
        let listener = server.enter(|| TcpListener::bind((vip, PORT)))?.expect("the VIP is on lo");
        let reader = server.start_thread(move || -> std::io::Result<Vec<u8>> {
            let mut got = Vec::new();
            listener.accept()?.0.read_to_end(&mut got)?;
            Ok(got)
        })?;
        client.enter(|| {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::from((vip, PORT)), PATIENCE)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            stream.write_all(&story)
        })??;
        let got = reader.join().expect("it reads")??;
        assert!(got == story, "to {vip}: {} bytes of {}", got.len(), story.len());
        let jumbo = arrived.finish()?;
        let longest = jumbo.iter().map(|frame| frame.bytes.len()).max();
        assert_eq!(longest, Some(14 + MTU), "to {vip}");
        assert!(jumbo.len() > 100, "to {vip}: {} jumbo frames", jumbo.len());
        assert_eq!(counter(&director, "pass_malformed")?, 0);
    }
    Ok(())
}

/// Whether the kernel's XDP_REDIRECT takes frames in several buffers: from Linux 6.3 on (`xdp_do_redirect`).
fn redirects_several_buffers() -> std::io::Result<bool> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    Ok((numbers.next(), numbers.next()) >= (Some(6), Some(3)))
}

#[test]
fn a_jumbo_frame_goes_out_of_another_interface() -> TestResult {
    if !redirects_several_buffers()? {
        eprintln!("needs Linux 6.3: not run");
        return Ok(());
    }
    let lab = lab(1)?;
    let (director, rs1) = (lab.director(), lab.host("rs1"));
    let network = lab.second_network(&[&director, &rs1])?;
    carry_jumbo_frames(&lab)?;
    for host in [&director, &rs1] {
        carry(&lab, host, &format!("{}-2", host.name()), "eth1")?;
    }
    let service = VirtualServer::udp("echo", lab.vip(), PORT).real_server(SecondNetwork::address(&rs1), 1);
    let running = Director::on(&director).setting("interfaces", r#"["eth0", "eth1"]"#).config(service);
    let mut running = running.start()?;
    assert_attached(&mut running, "native")?;
    let _echo = UdpEcho::start(&rs1, (lab.vip(), PORT))?;
    let arrived = network.capture_if(&rs1, jumbo_to_host)?;
    let sent = payload(8192);
    let answer = lab.client().udp_exchange((lab.vip(), PORT), &sent, PATIENCE)?;
    assert!(answer == [b"rs1: ", sent.as_slice()].concat(), "not whole");
    let frame = arrived.wait_for(PATIENCE, |_| true)?;
    assert_eq!(frame.bytes[..12], [SecondNetwork::mac(&rs1).0, SecondNetwork::mac(&director).0].concat());
    Ok(())
}

#[test]
fn a_jumbo_frame_gets_the_vlan_of_its_real_server() -> TestResult {
    let lab = lab(1)?;
    carry_jumbo_frames(&lab)?;
    lab.switch().command("ethtool").args(["-K", "director", "tx-vlan-offload", "off"]).run()?.success()?;
    let (client, rs1) = (lab.client(), lab.host("rs1"));
    let service = format!(
        "{}[[virtual_server.real_server]]\naddress = \"{}\"\nmac = \"{}\"\nvlan = 100\n",
        VirtualServer::tcp("web", lab.vip(), 80),
        rs1.address(),
        rs1.mac()
    );
    let mut director = Director::on(&lab.director()).config(service).start()?;
    assert_attached(&mut director, "native")?;
    let arrived = lab.switch().capture_if(&rs1, jumbo_to_host)?;
    let to = Endpoint::new(lab.director().mac(), lab.vip(), 80);
    let frame = Frame::between(Endpoint::of(&client, 5000), to).tcp(SYN, &payload(8000));
    client.send_frame(&frame)?;
    let got = arrived.wait_for(PATIENCE, |_| true)?;
    assert_eq!(got.bytes[..12], [rs1.mac().0, lab.director().mac().0].concat());
    assert_eq!(got.bytes[12..16], [0x81, 0, 0, 100]);
    assert!(got.bytes[16..] == frame[12..], "nothing else changes");
    Ok(())
}
