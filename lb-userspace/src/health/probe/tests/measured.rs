//! What a probe costs, of the thread that asks. On demand, with an optimised build:
//!
//! `cargo test --release -p lb-userspace --lib -- --ignored --nocapture cpu_time_of_probes`

use std::fmt;
use std::fs;
use std::thread;

use futures_util::future::join_all;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::*;
use crate::config::{Body, Tcp};

const AT_ONCE: usize = 100;
const ROUNDS: usize = 200;

/// Processor time of the calling thread, in nanoseconds (`Documentation/scheduler/sched-stats.rst`).
fn used() -> u64 {
    let used = fs::read_to_string("/proc/thread-self/schedstat").expect("statistics of the scheduler");
    used.split(' ').next().and_then(|used| used.parse().ok()).expect("a number")
}

/// A server on a thread of its own, so that its time is not the prober's.
fn elsewhere() -> u16 {
    let (listens, port) = oneshot::channel();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let port = serve(V4, |mut stream| async move {
                let mut request = [0; 1024];
                if matches!(stream.read(&mut request).await, Ok(1..)) {
                    let said = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
                    let _ = stream.write_all(said).await;
                }
            })
            .await;
            listens.send(port).expect("somebody waits");
            std::future::pending::<()>().await;
        });
    });
    port.blocking_recv().expect("a port")
}

fn measure(what: impl fmt::Display, asked: &Probe) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let path = direct(V4);
    let round = || async {
        for found in join_all((0..AT_ONCE).map(|_| probe(asked, &path, PATIENT))).await {
            found.expect("well");
        }
    };
    runtime.block_on(async {
        round().await;
        let before = used();
        for _ in 0..ROUNDS {
            round().await;
        }
        let each = (used() - before) / (AT_ONCE * ROUNDS) as u64;
        println!("{what}: {}.{} us of processor time each", each / 1000, each % 1000 / 100);
    });
}

#[test]
#[ignore = "a figure, not a test"]
fn cpu_time_of_probes() {
    let port = elsewhere();
    measure("tcp", &Probe::Tcp(Tcp { port }));
    measure("http", &Probe::Http(Box::new(http(port))));
    let body = Some(Body::Regex(pattern("ok")));
    measure("http with a body", &Probe::Http(Box::new(Http { body, ..http(port) })));
    measure("icmp", &Probe::Icmp);
}
