//! A TCP connection to the VIP at a real server's MAC.
//!
//! It has no task of its own: whoever reads or writes it drives it, and is woken by a packet or by smoltcp's next timer.
//! So a probe that waits costs nothing, and one that is dropped is gone at once.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Duration as Span;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::datagram::{HOPS, sending};
use super::demux::{Arrival, Demux, Port};
use super::device::Device;
use super::reply::Protocol;
use super::way::Leg;
use super::wire::Wire;

/// Bytes that the real server may send before they are read: of an answer as health checks get them, most.
const RECEIVE_BUFFER: usize = 8 << 10;
/// Bytes that may be written before it has acknowledged them: a request, or what TLS begins with.
const SEND_BUFFER: usize = 4 << 10;
/// How often smoltcp may ask to be called again at once.
const AT_ONCE: usize = 4;
/// After that, it has to wait.
const BREATH: Span = Span::from_millis(1);

/// A connection. When it is dropped, the real server is told by a reset, as it is by other health checks: neither side
/// then has to remember it. To be read and written by one task.
pub(super) struct Connection {
    device: Device,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    port: Port,
    /// When smoltcp's time began.
    began: Instant,
    /// Until smoltcp has something to do.
    timer: Pin<Box<Sleep>>,
    /// Why it cannot go on.
    failure: Option<io::Error>,
}

/// Connects to a port of the VIP.
///
/// # Errors
/// `ConnectionRefused` if the real server says no; what keeps the way from being gone. It does not end by itself if nobody
/// answers.
pub(super) async fn connect(
    leg: Leg,
    wire: Arc<dyn Wire>,
    demux: &Arc<Demux>,
    port: u16,
) -> io::Result<Connection> {
    let own = demux.open(&leg, Protocol::Tcp)?;
    let began = now();
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = getrandom::u64().map_err(io::Error::other)?;
    let (vip, source) = (IpAddress::from(leg.vip), IpAddress::from(leg.source));
    if !source.is_unicast() {
        let message = format!("{source} is no address that probes can come from");
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, message));
    }
    let mut device = Device::new(leg, wire);
    let mut interface = Interface::new(config, &mut device, smoltcp::time::Instant::ZERO);
    let alone = IpCidr::new(source, whole(device.leg.source));
    interface.update_ip_addrs(|addresses| {
        // There is room for one (`IFACE_MAX_ADDR_COUNT`).
        let _ = addresses.push(alone);
    });
    let buffer = |size| SocketBuffer::new(vec![0; size]);
    let mut socket = Socket::new(buffer(RECEIVE_BUFFER), buffer(SEND_BUFFER));
    // Requests are written whole; what follows is not to wait for an acknowledgement.
    socket.set_nagle_enabled(false);
    socket.set_hop_limit(Some(HOPS));
    socket.connect(interface.context(), (vip, port), (source, own.number)).map_err(io::Error::other)?;
    let mut sockets = SocketSet::new(Vec::with_capacity(1));
    let handle = sockets.add(socket);
    let timer = Box::pin(sleep_until(began));
    let mut connection =
        Connection { device, interface, sockets, handle, port: own, began, timer, failure: None };
    poll_fn(|context| connection.poll_connected(context)).await?;
    Ok(connection)
}

/// The prefix length of an address alone.
fn whole(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Connection {
    fn poll_connected(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.drive(context)?;
        match self.socket().state() {
            State::Closed => Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into())),
            State::SynSent | State::SynReceived => match self.device.failed.take() {
                // What is lost is sent again; but what cannot be sent at all is worth telling.
                Some(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    Poll::Ready(Err(sending(&self.device.leg, &error)))
                }
                _ => Poll::Pending,
            },
            _ => Poll::Ready(Ok(())),
        }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Takes what has arrived, sends what is due, and has the task woken when there is more to do.
    fn drive(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while let Poll::Ready(Some(arrival)) = self.port.arrivals.poll_recv(context) {
            match arrival.failure(&self.device.leg) {
                Some(failure) => self.failure = Some(failure),
                None => self.device.arrived.extend(match arrival {
                    Arrival::Segment(packet) => Some(packet),
                    _ => None,
                }),
            }
        }
        if let Some(failure) = &self.failure {
            return Err(io::Error::new(failure.kind(), failure.to_string()));
        }
        for attempt in 0.. {
            let now = self.now();
            self.interface.poll(now, &mut self.device, &mut self.sockets);
            let Some(mut due) = self.interface.poll_at(now, &self.sockets) else { break };
            if attempt >= AT_ONCE {
                due = due.max(now + BREATH);
            }
            self.timer
                .as_mut()
                .reset(self.began + std::time::Duration::from(due - smoltcp::time::Instant::ZERO));
            if self.timer.as_mut().poll(context).is_pending() {
                break;
            }
        }
        Ok(())
    }

    /// What time it is for smoltcp.
    fn now(&self) -> smoltcp::time::Instant {
        let passed = now().saturating_duration_since(self.began);
        smoltcp::time::Instant::from_micros(i64::try_from(passed.as_micros()).unwrap_or(i64::MAX))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let driven = self.drive(context);
        let socket = self.socket();
        if socket.can_recv() {
            let read = socket.recv_slice(buffer.initialize_unfilled()).map_err(io::Error::other)?;
            buffer.advance(read);
            // The real server may have waited for room.
            self.drive(context)?;
            return Poll::Ready(Ok(()));
        }
        driven?;
        match self.socket().recv_slice(&mut []) {
            Ok(_) => Poll::Pending,
            Err(smoltcp::socket::tcp::RecvError::Finished) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.drive(context)?;
        let socket = self.socket();
        match socket.send_slice(bytes) {
            Ok(0) if !bytes.is_empty() => Poll::Pending,
            Ok(written) => {
                self.drive(context)?;
                Poll::Ready(Ok(written))
            }
            Err(_) if socket.state() == State::Closed => {
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            Err(_) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// What was written has been sent as far as the real server takes it.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.drive(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().close();
        Poll::Ready(self.drive(context))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !matches!(self.socket().state(), State::Closed | State::TimeWait) {
            self.socket().abort();
            let now = self.now();
            self.interface.poll(now, &mut self.device, &mut self.sockets);
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("leg", &self.device.leg).field("port", &self.port.number).finish()
    }
}

#[expect(clippy::disallowed_methods, reason = "it drives a stack whose machine gets the time as an argument")]
fn now() -> Instant {
    Instant::now()
}
