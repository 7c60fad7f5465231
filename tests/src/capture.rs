//! Capturing frames: every frame that passes an interface, in order, with time and direction.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Doing, Error, Result};
use crate::frame;
use crate::host::locked;
use crate::namespace::Namespace;
use crate::packet::{EVERYTHING, PacketSocket, Received};
use crate::wait::try_wait_until;

/// The longest frame: 64 KiB of IP and its headers.
const LONGEST_FRAME: usize = 66_000;
/// Frames that are received before it is asked whether the capture is to end.
const FRAMES_AT_ONCE: usize = 1024;
/// Frames that an error shows at most.
const SHOWN: usize = 20;

/// Which way a frame passed the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the wire to the host.
    In,
    /// From the host to the wire.
    Out,
}

/// A frame that was captured.
#[derive(Clone, PartialEq, Eq)]
pub struct Captured {
    /// From the destination address to the last byte of payload, VLAN tags included.
    pub bytes: Vec<u8>,
    /// Which way it passed.
    pub direction: Direction,
    /// When it passed, since the epoch. Comparable between all captures.
    pub at: Duration,
}

impl std::fmt::Debug for Captured {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?} {}", self.direction, frame::describe(&self.bytes))
    }
}

/// A capture that is running; it ends when dropped.
pub struct Capture {
    interface: String,
    frames: Arc<Mutex<Vec<Captured>>>,
    /// Dropping it stops the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Capture {
    /// Captures all frames from now on for which the filter says yes.
    pub(crate) fn start(
        namespace: &Namespace,
        interface: &str,
        filter: impl Fn(Direction, &[u8]) -> bool + Send + 'static,
    ) -> Result<Self> {
        let socket = PacketSocket::open(namespace, interface, EVERYTHING)?;
        let interface = format!("{interface} of {}", namespace.name);
        let doing = || format!("capture on {interface}");
        let (stop, stopped) = UnixStream::pair().doing(doing)?;
        let frames = Arc::new(Mutex::new(Vec::new()));
        let found = Arc::clone(&frames);
        let capture = move || receive(&socket, &stopped, &filter, &found);
        let thread = thread::Builder::new().name("lab-capture".into()).spawn(capture).doing(doing)?;
        Ok(Self { interface, frames, stop: Some(stop), thread: Some(thread) })
    }

    /// What was captured until now.
    pub fn frames(&self) -> Vec<Captured> {
        locked(&self.frames).clone()
    }

    /// Waits for a frame that is wanted and returns the first, also if it came before this call.
    pub fn wait_for(&self, timeout: Duration, wanted: impl FnMut(&Captured) -> bool) -> Result<Captured> {
        let mut frames = self.wait_for_some(1, timeout, wanted)?;
        Ok(frames.swap_remove(0))
    }

    /// Waits until so many frames are there that are wanted, and returns those, in order.
    pub fn wait_for_some(
        &self,
        count: usize,
        timeout: Duration,
        mut wanted: impl FnMut(&Captured) -> bool,
    ) -> Result<Vec<Captured>> {
        let what = format!("{count} wanted frames pass {}", self.interface);
        try_wait_until(&what, timeout, || {
            let frames = locked(&self.frames);
            let found: Vec<_> = frames.iter().filter(|frame| wanted(frame)).cloned().collect();
            if found.len() >= count { Ok(found) } else { Err(list(found.len(), &frames)) }
        })
    }

    /// Ends the capture and returns all frames that had arrived. An error if the kernel had no room for some.
    pub fn finish(mut self) -> Result<Vec<Captured>> {
        self.end()?;
        Ok(std::mem::take(&mut *locked(&self.frames)))
    }

    fn end(&mut self) -> Result<()> {
        drop(self.stop.take());
        let Some(thread) = self.thread.take() else { return Ok(()) };
        match thread.join() {
            Ok(result) => result,
            // The filter panicked.
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Who wants to know about failures calls `finish`.
            _ = thread.join();
        }
    }
}

fn receive(
    socket: &PacketSocket,
    stopped: &UnixStream,
    filter: &dyn Fn(Direction, &[u8]) -> bool,
    frames: &Mutex<Vec<Captured>>,
) -> Result<()> {
    let mut buffer = vec![0; LONGEST_FRAME];
    let doing = || "capture frames".into();
    loop {
        let ready = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut sources = [ready(socket.as_fd()), ready(stopped.as_fd())];
        poll(&mut sources, PollTimeout::NONE).doing(doing)?;
        let stop = sources[1].any().unwrap_or(true);
        if stop {
            socket.take_no_more().doing(doing)?;
        }
        // However fast they come, whoever wants it to end is heard.
        let at_once = if stop { usize::MAX } else { FRAMES_AT_ONCE };
        for _ in 0..at_once {
            let Some(received) = socket.receive(&mut buffer).doing(doing)? else { break };
            let captured = Captured::from(received);
            if filter(captured.direction, &captured.bytes) {
                locked(frames).push(captured);
            }
        }
        if stop {
            let lost = socket.lost().doing(doing)?;
            return if lost == 0 { Ok(()) } else { Err(Error::Lost(lost)) };
        }
    }
}

impl From<Received> for Captured {
    fn from(received: Received) -> Self {
        let direction = if received.outgoing { Direction::Out } else { Direction::In };
        Self { bytes: received.bytes, direction, at: received.at.into() }
    }
}

fn list(found: usize, frames: &[Captured]) -> String {
    let mut text = format!("{found} of {} frames are wanted:", frames.len());
    for frame in frames.iter().take(SHOWN) {
        text.push_str(&format!("\n  {frame:?}"));
    }
    if frames.len() > SHOWN {
        text.push_str("\n  …");
    }
    text
}
