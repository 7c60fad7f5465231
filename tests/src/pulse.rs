//! A client that asks all the time: how long it was without answers.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Doing, Error, Result};
use crate::host::Host;

/// From a question to the next.
const EVERY: Duration = Duration::from_millis(1);
/// How long answers are waited for when no more is asked.
const LATE: Duration = Duration::from_millis(200);

/// Datagrams that are sent to a server, a thousand a second, from one port. It stops when dropped.
pub struct Pulse {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<io::Result<Vec<Asked>>>>>,
}

/// A question.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    is_answered: bool,
}

impl Pulse {
    /// Starts to ask `server`, which answers with what it gets, such as a [`UdpEcho`](crate::UdpEcho).
    pub fn start(host: &Host, server: impl Into<SocketAddr>) -> Result<Self> {
        let (server, stop) = (server.into(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = host.start_thread(move || ask(server, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops, and says how long the client was without an answer at most: from the last question that was answered to
    /// the next that was.
    pub fn gap(mut self) -> Result<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().map(JoinHandle::join);
        let asked = match thread {
            Some(Ok(asked)) => asked?.doing(|| "ask again and again".to_owned())?,
            _ => return Err(Error::Description("who asks again and again has panicked".into())),
        };
        let answered: Vec<Instant> =
            asked.iter().filter(|asked| asked.is_answered).map(|asked| asked.at).collect();
        let (Some(first), Some(last)) = (answered.first(), answered.last()) else {
            return Err(Error::Description(format!("none of {} questions was answered", asked.len())));
        };
        let before = asked[0].at;
        let after = asked[asked.len() - 1].at;
        let inside = answered.windows(2).map(|pair| pair[1] - pair[0]);
        let all = inside.chain([*first - before, after.saturating_duration_since(*last)]);
        Ok(all.max().unwrap_or_default())
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

fn ask(server: SocketAddr, stopped: &AtomicBool) -> io::Result<Vec<Asked>> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(any)?;
    // Not connected: an ICMP error on the way is no end.
    socket.set_nonblocking(true)?;
    let mut asked: Vec<Asked> = Vec::new();
    let began = Instant::now();
    while !stopped.load(Ordering::Relaxed) {
        let number = u32::try_from(asked.len()).unwrap_or(u32::MAX);
        asked.push(Asked { at: Instant::now(), is_answered: false });
        // Where nobody is known at that address yet, or no interface is up, nothing is sent.
        _ = socket.send_to(&number.to_be_bytes(), server);
        hear(&socket, &mut asked);
        let next = began + EVERY * number.saturating_add(1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let until = Instant::now() + LATE;
    while Instant::now() < until && asked.iter().any(|asked| !asked.is_answered) {
        hear(&socket, &mut asked);
        std::thread::sleep(EVERY);
    }
    Ok(asked)
}

fn hear(socket: &UdpSocket, asked: &mut [Asked]) {
    let mut buffer = [0; 256];
    while let Ok((length, _)) = socket.recv_from(&mut buffer) {
        // What a server says before it repeats the question is its own.
        let number = buffer[..length].last_chunk().map(|number| u32::from_be_bytes(*number));
        if let Some(asked) = number.and_then(|number| asked.get_mut(number as usize)) {
            asked.is_answered = true;
        }
    }
}
