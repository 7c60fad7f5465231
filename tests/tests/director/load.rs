//! As many frames as one core sends, while the daemon is killed and its configuration changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use lb_lab::frame::{ACK, SYN};
use lb_lab::{Director, Host, Lab, Result, Stream, TestResult, VirtualServer};

use crate::support::{answers, lab};

const FLOWS: u32 = 1 << 14;
/// How many frames are sent between two looks whether it is over.
const FRAMES: u64 = 100_000;
/// Real servers that the flows have from the beginning. Whatever becomes of their weights, they stay; the others come
/// and go.
const OWN: usize = 3;

/// For each restart the real servers, by number from 1 on, and their weights: added, removed, re-weighted, drained, in
/// another order.
const CONFIGURATIONS: [&[(usize, u32)]; 10] = [
    &[(1, 1), (2, 1), (3, 1), (4, 1)],
    &[(1, 5), (2, 1), (3, 3), (4, 1)],
    &[(1, 0), (2, 1), (3, 1), (4, 1), (5, 2)],
    &[(3, 1), (5, 1), (2, 65_535), (1, 0)],
    &[(2, 0), (3, 0), (1, 1)],
    &[(4, 1), (3, 1), (2, 1), (1, 1)],
    &[(5, 9), (4, 0), (1, 2), (2, 0), (3, 7)],
    &[(1, 0), (2, 0), (3, 0), (5, 1)],
    &[(1, 100), (2, 10), (3, 1)],
    &[(3, 1), (2, 1), (1, 1), (4, 1), (5, 1)],
];

fn web(lab: &Lab, servers: &[Host], configuration: &[(usize, u32)]) -> VirtualServer {
    let service = VirtualServer::tcp("web", lab.vip(), 80).scheduler("wrr");
    let add = |service: VirtualServer, (n, weight): &(usize, u32)| {
        service.real_server(servers[n - 1].address(), *weight)
    };
    configuration.iter().fold(service, add)
}

/// Kills the daemon and starts it with the next file, ten times; new connections go where that says.
fn restart_ten_times(lab: &Lab, servers: &[Host], daemon: &mut Director) -> Result<()> {
    for configuration in CONFIGURATIONS {
        daemon.kill()?;
        daemon.change_config(web(lab, servers, configuration))?;
        daemon.start()?;
        let takes_some = |server: &Host| {
            configuration.iter().any(|(n, weight)| *weight > 0 && servers[n - 1].name() == server.name())
        };
        for answer in answers(lab, 3)? {
            let answered = servers.iter().find(|server| server.name() == answer);
            assert!(answered.is_some_and(takes_some), "{answer} of {configuration:?}");
        }
    }
    Ok(())
}

#[test]
fn at_full_speed_the_daemon_is_killed_ten_times_and_no_frame_is_lost_or_goes_elsewhere() -> TestResult {
    let lab = lab(5)?;
    let (director, servers) = (lab.director(), lab.real_servers());
    let first = VirtualServer::tcp("web", lab.vip(), 80).scheduler("wrr").hosts(&servers[..OWN]);
    let mut daemon = Director::on(&director).config(first).start()?;
    let mut stream = Stream::new(&lab.client(), &servers, FLOWS)?;
    let [opening, segment] = [SYN, ACK].map(|flags| stream.frame(&director, lab.vip(), 80).tcp(flags, &[]));
    assert_eq!(stream.send(&opening, FLOWS.into())?, 0);
    let (begin, is_over) = (Instant::now(), AtomicBool::new(false));
    let (sent, lost) = thread::scope(|threads| {
        let sending = threads.spawn(|| -> Result<_> {
            let (mut sent, mut lost) = (0, 0);
            while lost == 0 && !is_over.load(Ordering::Relaxed) {
                lost += stream.send(&segment, FRAMES)?;
                sent += FRAMES;
            }
            Ok((sent, lost))
        });
        let restarted = restart_ten_times(&lab, &servers, &mut daemon);
        is_over.store(true, Ordering::Relaxed);
        restarted.and(sending.join().expect("it ends"))
    })?;
    println!("{sent} frames, {:.0} in a second", sent as f64 / begin.elapsed().as_secs_f64());
    assert_eq!(lost, 0, "of {sent}");
    assert!(sent > FRAMES, "there was load: {sent}");
    let received = stream.received()?;
    assert_eq!(received.iter().flatten().sum::<u64>(), sent + u64::from(FLOWS));
    let misdirected: Vec<_> =
        received.iter().filter(|servers| servers.iter().filter(|frames| **frames > 0).count() != 1).collect();
    assert_eq!(misdirected, Vec::<&Vec<u64>>::new(), "flows with not exactly one real server");
    let of_server = |n: usize| received.iter().filter(|servers| servers[n] > 0).count();
    assert!((0..OWN).all(|n| of_server(n) > FLOWS as usize / 4), "they were spread");
    assert!((OWN..servers.len()).all(|n| of_server(n) == 0), "those that came later got none");
    Ok(())
}
