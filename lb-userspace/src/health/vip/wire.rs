//! Sockets on the interfaces towards real servers: opened with the first probe, and read by a task each.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::demux::Demux;
use super::filter::answers;
use super::way::{Way, Ways};
use crate::dataplane::FrameSocket;

/// The longest frame: segments that the kernel put together (GRO) are one, of 64 KiB, behind two tags.
const LONGEST_FRAME: usize = 65_536 + 22;

/// Something that frames are sent through.
pub(super) trait Wire: fmt::Debug + Send + Sync {
    /// Sends a frame.
    fn send(&self, frame: &[u8]) -> io::Result<()>;

    /// Whether answers can still come.
    fn is_alive(&self) -> bool;
}

/// The wires to all interfaces.
pub(super) struct Wires {
    demux: Arc<Demux>,
    ways: watch::Receiver<Arc<Ways>>,
    /// By the interface's index.
    open: Mutex<BTreeMap<u32, Arc<dyn Wire>>>,
    opener: Opener,
}

/// What opens a wire to the interface with this index.
pub(super) type Opener =
    Box<dyn Fn(u32, Arc<Demux>, watch::Receiver<Arc<Ways>>) -> io::Result<Arc<dyn Wire>> + Send + Sync>;

impl Wires {
    pub(super) fn new(demux: Arc<Demux>, ways: watch::Receiver<Arc<Ways>>, opener: Opener) -> Self {
        Self { demux, ways, open: Mutex::default(), opener }
    }

    /// The wire to an interface.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(super) fn to(&self, way: &Way) -> io::Result<Arc<dyn Wire>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wire) = open.get(&way.interface)
            && wire.is_alive()
        {
            return Ok(Arc::clone(wire));
        }
        let wire = (self.opener)(way.interface, Arc::clone(&self.demux), self.ways.clone());
        let wire = wire.map_err(|error| {
            let help =
                if error.kind() == io::ErrorKind::PermissionDenied { " (it takes CAP_NET_RAW)" } else { "" };
            io::Error::new(error.kind(), format!("open a packet socket on {}: {error}{help}", way.name))
        })?;
        let ways = self.ways.borrow();
        // Those that lead to nobody any more.
        open.retain(|index, _| ways.values().flatten().any(|way| way.interface == *index));
        open.insert(way.interface, Arc::clone(&wire));
        Ok(wire)
    }
}

/// A socket, and the task that reads it, which ends with this.
struct SocketWire {
    socket: Arc<FrameSocket>,
    reader: JoinHandle<()>,
}

/// Opens a socket.
pub(super) fn open_socket(
    interface: u32,
    demux: Arc<Demux>,
    ways: watch::Receiver<Arc<Ways>>,
) -> io::Result<Arc<dyn Wire>> {
    let socket = Arc::new(FrameSocket::open(interface, &answers())?);
    let reader = tokio::spawn(read(Arc::clone(&socket), demux, ways));
    Ok(Arc::new(SocketWire { socket, reader }))
}

impl Wire for SocketWire {
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame)
    }

    fn is_alive(&self) -> bool {
        !self.reader.is_finished()
    }
}

impl Drop for SocketWire {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl fmt::Debug for SocketWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

/// Reads frames until the socket fails.
async fn read(socket: Arc<FrameSocket>, demux: Arc<Demux>, ways: watch::Receiver<Arc<Ways>>) {
    let mut buffer = vec![0; LONGEST_FRAME];
    loop {
        match socket.receive(&mut buffer).await {
            Ok(length) => demux.deliver(buffer.get(..length).unwrap_or_default(), &ways.borrow()),
            // It was taken down: nothing comes until it is up again.
            Err(error) if error.kind() == io::ErrorKind::NetworkDown => {}
            Err(error) => {
                tracing::debug!("read a packet socket: {error}; it is opened anew");
                return;
            }
        }
    }
}
