//! Flows that are under way stay where they are, whatever is changed.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lb_lab::{Director, Host, Result, TestResult, UdpEcho, VirtualServer};

use crate::support::{PATIENCE, lab};

/// Flows of UDP that ask again and again until it is over, with a pause between: every answer names the real server that
/// got the frame.
pub(crate) fn ask_all(
    client: &Host,
    vip: SocketAddr,
    flows: usize,
    pause: Duration,
    is_over: &AtomicBool,
) -> Result<Vec<Asked>> {
    client.enter(|| {
        let sockets: Vec<UdpSocket> = (0..flows)
            .map(|_| {
                let socket = UdpSocket::bind("0.0.0.0:0").expect("a port is free");
                socket.connect(vip).expect("there is a route");
                socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                socket
            })
            .collect();
        let mut asked = vec![Asked::default(); flows];
        let mut number = 0u64;
        while !is_over.load(Ordering::Relaxed) {
            thread::sleep(pause);
            // All under way at once: a lost or misdirected one is seen when its flow is answered by nobody or another.
            number += 1;
            for socket in &sockets {
                socket.send(&number.to_be_bytes()).expect("it is sent");
            }
            for (socket, asked) in sockets.iter().zip(&mut asked) {
                let mut answer = [0; 64];
                let Ok(length) = socket.recv(&mut answer) else {
                    asked.lost += 1;
                    continue;
                };
                let (name, echoed) = answer[..length].split_at(length - 8);
                assert_eq!(echoed, number.to_be_bytes(), "no answer was late");
                asked.answered += 1;
                asked.servers.insert(String::from_utf8_lossy(name).into_owned());
            }
        }
        asked
    })
}

/// What became of a flow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) answered: u64,
    pub(crate) lost: u64,
    /// Who answered.
    pub(crate) servers: BTreeSet<String>,
}

#[test]
fn weights_change_the_daemon_is_killed_and_no_flow_loses_a_frame_or_changes_servers() -> TestResult {
    const FLOWS: usize = 200;
    let lab = lab(3)?;
    let vip = SocketAddr::from((lab.vip(), 53));
    let echoes =
        lab.real_servers().iter().map(|server| UdpEcho::start(server, vip)).collect::<Result<Vec<_>>>()?;
    let service = VirtualServer::udp("dns", lab.vip(), 53).scheduler("wrr").hosts(&lab.real_servers());
    let mut director = Director::on(&lab.director()).config(service).start()?;
    let client = lab.client();
    let is_over = AtomicBool::new(false);
    let asked = thread::scope(|threads| {
        let asking = threads.spawn(|| ask_all(&client, vip, FLOWS, Duration::ZERO, &is_over));
        let changed = (0..40usize).try_for_each(|round| -> Result<()> {
            let server = lab.real_servers()[round % 3].address().to_string();
            director.cli(["weight", "dns", &server, ["0", "3", "65535", "1"][round % 4]])?;
            if round % 20 == 19 {
                director.kill()?;
                director.start()?;
            }
            Ok(())
        });
        is_over.store(true, Ordering::Relaxed);
        let asked = asking.join().expect("it ends");
        changed.and(asked)
    })?;
    drop(echoes);
    let answered: u64 = asked.iter().map(|asked| asked.answered).sum();
    assert!(answered > 10 * u64::try_from(FLOWS)?, "there was load: {answered}");
    assert_eq!(asked.iter().map(|asked| asked.lost).sum::<u64>(), 0, "of {answered}");
    assert!(asked.iter().all(|asked| asked.servers.len() == 1), "{asked:?}");
    let all: BTreeSet<&String> = asked.iter().flat_map(|asked| &asked.servers).collect();
    assert!(all.len() > 1, "they were spread: {all:?}");
    Ok(())
}
