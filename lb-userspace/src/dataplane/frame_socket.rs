//! A socket for whole frames of one interface (packet(7)), for what goes past the kernel's stack.
//!
//! It listens to all protocols, because only then is it served before ingress: what it has seen, a program there may
//! drop (`__netif_receive_skb_core` in net/core/dev.c). A filter in the kernel leaves all other frames uncopied.

use std::io::{self, Read as _};
use std::mem::zeroed;
use std::os::fd::AsRawFd as _;

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Room for this many bytes of frames that have not been read, counted as the kernel does, with its own of each.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Sends and receives whole frames, from the destination's MAC on.
#[derive(Debug)]
pub struct FrameSocket(AsyncFd<Socket>);

impl FrameSocket {
    /// Opens one on the interface `index`, which receives what `filter` (classic BPF, on frames without their outer VLAN tag)
    /// accepts of the frames that arrive there.
    ///
    /// # Errors
    /// There is no such interface, or the caller may not (CAP_NET_RAW).
    ///
    /// # Panics
    /// Outside a runtime of tokio's.
    pub fn open(index: u32, filter: &[SockFilter]) -> io::Result<Self> {
        // Of protocol 0: it receives nothing before it is bound, or frames would slip in past the filter.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), Some(Protocol::from(0)))?;
        socket.attach_filter(filter)?;
        // What there is without the right to more (CAP_NET_ADMIN) will do.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        ignore_outgoing(&socket)?;
        socket.bind(&address(index)?)?;
        // SAFETY: a socket owns its descriptor, and nobody closes it or puts another in its place.
        let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// Sends a frame, without waiting.
    ///
    /// # Errors
    /// The interface is down or gone, its queue is full, or the frame is longer than it takes.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.0.get_ref().send(frame).map(drop)
    }

    /// The next frame: how many bytes of the buffer it takes, at most all. Whoever drops this loses none.
    ///
    /// # Errors
    /// The interface was taken down since the last call ([`io::ErrorKind::NetworkDown`]); or the socket is of no more use.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.async_io(Interest::READABLE, |mut socket| socket.read(buffer)).await
    }
}

/// Has the kernel not make copies of what this host sends.
fn ignore_outgoing(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    let (level, name) = (libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING);
    // SAFETY: the value lives during the call and has the length that is given.
    let failed = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), length) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// All protocols of the interface `index`.
fn address(index: u32) -> io::Result<SockAddr> {
    let make = |storage: *mut socket2::SockAddrStorage, length: *mut libc::socklen_t| {
        // SAFETY: a structure of integers, for which zeros are valid.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index.cast_signed();
        // SAFETY: the storage has room for every address, and the length is this one's.
        unsafe {
            storage.cast::<libc::sockaddr_ll>().write(address);
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        }
        Ok(())
    };
    // SAFETY: it is initialised, and its length set.
    unsafe { SockAddr::try_init(make) }.map(|((), address)| address)
}
