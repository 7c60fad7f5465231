//! UDP: a server that answers with its name, and one exchange as a client.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Doing, Result};
use crate::host::Host;

/// The longest datagram.
const LONGEST: usize = 65_507;

/// A server that answers each datagram with `NAME: ` and what it got. It stops when dropped.
pub struct UdpEcho {
    address: SocketAddr,
    /// Dropping it stops the thread.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<Result<io::Result<()>>>>,
}

impl UdpEcho {
    /// Starts the server on a host: with a VIP as the address, as a real server does. It answers from now on.
    pub fn start(host: &Host, address: impl Into<SocketAddr>) -> Result<Self> {
        let address = address.into();
        let doing = || format!("listen on udp {address} on {}", host.name());
        let socket = host.enter(|| UdpSocket::bind(address))?.doing(doing)?;
        let address = socket.local_addr().doing(doing)?;
        let (stop, stopped) = UnixStream::pair().doing(doing)?;
        let name = host.name().to_owned();
        let thread = host.start_thread(move || serve(&name, &socket, &stopped))?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens; with the port that the kernel chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // An error of the server shows in the client that gets no answer.
            _ = thread.join();
        }
    }
}

fn serve(name: &str, socket: &UdpSocket, stopped: &UnixStream) -> io::Result<()> {
    let mut buffer = vec![0; LONGEST];
    socket.set_nonblocking(true)?;
    loop {
        let ready = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut sources = [ready(socket.as_fd()), ready(stopped.as_fd())];
        poll(&mut sources, PollTimeout::NONE)?;
        if sources[1].any().unwrap_or(true) {
            return Ok(());
        }
        // Errors are those of earlier answers (a client that has gone): the next datagram matters.
        let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
        let answer = [name.as_bytes(), b": ", &buffer[..length]].concat();
        _ = socket.send_to(&answer, client);
    }
}

pub(crate) fn exchange(
    host: &Host,
    server: SocketAddr,
    datagram: &[u8],
    timeout: Duration,
) -> Result<Vec<u8>> {
    let exchange = || -> io::Result<Vec<u8>> {
        let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
        let socket = UdpSocket::bind(any)?;
        // Only answers of that address are received.
        socket.connect(server)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.send(datagram)?;
        let mut buffer = vec![0; LONGEST];
        let length = socket.recv(&mut buffer)?;
        buffer.truncate(length);
        Ok(buffer)
    };
    host.enter(exchange)?.doing(|| format!("get an answer from udp {server} on {}", host.name()))
}
