//! What is not a VIP's traffic is not touched.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use lb_lab::{Director, TestResult};

use crate::support::{PATIENCE, answers, counter, lab, web};

#[test]
fn ping_arp_and_other_ports_work_on_the_director_and_on_the_vip() -> TestResult {
    let lab = lab(2)?;
    let director = Director::on(&lab.director()).config(web(&lab)).start()?;
    let client = lab.client();
    for address in [lab.director().address(), lab.vip()] {
        client.run(["ping", "-c", "3", "-i", "0.05", "-W", "2", &address.to_string()])?;
        // Another service of the director's own, as ssh would be.
        let listener = lab.director().enter(|| TcpListener::bind(SocketAddr::from((address, 2222))))?;
        let listener = listener.expect("the director can listen");
        let served = lab.director().start_thread(move || {
            let (mut stream, peer) = listener.accept()?;
            stream.write_all(b"SSH-2.0-test\r\n")?;
            std::io::Result::Ok(peer)
        })?;
        let banner = client.enter(|| {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::from((address, 2222)), PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let mut banner = String::new();
            stream.read_to_string(&mut banner)?;
            std::io::Result::Ok(banner)
        })?;
        assert_eq!(banner.expect("it connects"), "SSH-2.0-test\r\n");
        let peer = served.join().expect("no panic")?.expect("it served");
        assert_eq!(peer.ip(), client.address());
    }
    // One owner of the VIP: the real servers keep quiet.
    let answer = client.run(["arping", "-c", "3", "-w", "3", "-I", "eth0", &lab.vip().to_string()])?;
    let owners: Vec<&str> = answer.lines().filter(|line| line.contains("reply from")).collect();
    let mac = lab.director().mac().to_string().to_uppercase();
    assert!(!owners.is_empty() && owners.iter().all(|line| line.to_uppercase().contains(&mac)), "{answer}");
    assert!(counter(&director, "pass_not_a_vip")? > 0);
    assert!(counter(&director, "pass_not_tcp_udp")? > 0);
    assert_eq!(answers(&lab, 2)?, ["rs2", "rs1"]);
    Ok(())
}
