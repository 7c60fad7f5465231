//! A host: a network namespace with `eth0`, and what can be run and observed on it.

use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::capture::{Capture, Direction};
use crate::command::Command;
use crate::error::Result;
use crate::http::{Request, Response};
use crate::link::{Batch, INTERFACE, Mac};
use crate::namespace::Namespace;
use crate::packet::FrameSender;
use crate::place::Place;
use crate::process::Process;
use crate::spec::{HostSpec, Role};
use crate::switch::Switch;
use crate::testbed::Attachment;

/// A host of a lab. Clones are the same host; with the lab gone, all its functions return errors.
#[derive(Clone)]
pub struct Host {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) spec: HostSpec,
    pub(crate) address: Ipv4Addr,
    pub(crate) vips: Vec<Ipv4Addr>,
    /// In a lab with IPv6.
    pub(crate) address6: Option<Ipv6Addr>,
    /// Those beside the VIPs; none in a lab without IPv6.
    pub(crate) vips6: Vec<Ipv6Addr>,
    pub(crate) namespace: Namespace,
    pub(crate) place: Arc<Place>,
    pub(crate) switch: Switch,
    pub(crate) mac: Mutex<Mac>,
    /// The web server of a real server.
    pub(crate) web: Mutex<Option<Process>>,
    /// What lets the host's XDP_TX through, on its port of the switch.
    pub(crate) port: Mutex<Option<Attachment>>,
    /// Opened with the first frame.
    pub(crate) sender: Mutex<Option<FrameSender>>,
}

impl Host {
    /// Its name in the lab.
    pub fn name(&self) -> &str {
        &self.inner.spec.name
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.inner.spec.role
    }

    /// Whether it serves VIPs.
    pub fn serves(&self) -> bool {
        self.inner.spec.serves
    }

    /// Its own address; more can be added.
    pub fn address(&self) -> Ipv4Addr {
        self.inner.address
    }

    /// Its own IPv6 address.
    ///
    /// # Panics
    /// If the lab was built without [`ipv6`](crate::LabBuilder::ipv6).
    #[track_caller]
    pub fn address6(&self) -> Ipv6Addr {
        match self.inner.address6 {
            Some(address) => address,
            None => panic!("the lab was built without IPv6"),
        }
    }

    /// The Ethernet address of its `eth0`, as it is now.
    pub fn mac(&self) -> Mac {
        *locked(&self.inner.mac)
    }

    /// The VIPs it was described to serve.
    pub fn vips(&self) -> &[Ipv4Addr] {
        &self.inner.vips
    }

    /// VIPs of both families.
    pub(crate) fn all_vips(&self) -> impl Iterator<Item = IpAddr> {
        let v6 = self.inner.vips6.iter().copied().map(IpAddr::V6);
        self.inner.vips.iter().copied().map(IpAddr::V4).chain(v6)
    }

    /// The name of its network namespace, for `ip netns` and people.
    pub fn namespace(&self) -> &str {
        &self.inner.namespace.name
    }

    /// A program to run here.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        Command::new(&self.inner.namespace, &self.inner.place, self.name(), program)
    }

    /// Runs a program that must succeed within 10 s, and returns its standard output.
    pub fn run<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Result<String> {
        self.words(words).run()?.success()
    }

    /// Starts a program beside the test.
    pub fn spawn<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Result<Process> {
        self.words(words).spawn()
    }

    fn words<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Command {
        let mut words = words.into_iter();
        // Nothing to run fails like a program that does not exist.
        let command = words.next().map_or_else(|| self.command(""), |program| self.command(program));
        command.args(words)
    }

    /// Runs the closure on a thread whose sockets are this host's, and waits for it.
    /// A panic in it goes on in the caller.
    pub fn enter<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Result<T> {
        self.inner.namespace.enter(closure)
    }

    /// Starts a thread whose sockets are this host's.
    pub fn start_thread<T: Send + 'static>(
        &self,
        closure: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        self.inner.namespace.start_thread(self.name(), closure)
    }

    /// Gets `/` from an HTTP server on a new connection, as a client on this host.
    pub fn http_get(&self, server: impl Into<SocketAddr>, timeout: Duration) -> Result<Response> {
        Request::get(server).timeout(timeout).send(self)
    }

    /// Sends one datagram from a new socket and returns the first answer from that address.
    pub fn udp_exchange(
        &self,
        server: impl Into<SocketAddr>,
        datagram: &[u8],
        timeout: Duration,
    ) -> Result<Vec<u8>> {
        crate::udp::exchange(self, server.into(), datagram, timeout)
    }

    /// Sends a frame out of `eth0` as it is, from the destination address to the last byte of payload.
    pub fn send_frame(&self, frame: &[u8]) -> Result<()> {
        let mut sender = locked(&self.inner.sender);
        let sender = match &mut *sender {
            Some(sender) => sender,
            none => none.insert(self.frame_sender()?),
        };
        sender.send(frame)
    }

    /// A socket that sends frames out of `eth0`, for many of them or from another thread.
    pub fn frame_sender(&self) -> Result<FrameSender> {
        FrameSender::open(&self.inner.namespace, INTERFACE)
    }

    /// Captures what passes `eth0` from now on. Frames that XDP answers or drops do not get that far: see
    /// [`Switch::capture`].
    pub fn capture(&self) -> Result<Capture> {
        self.capture_if(|_, _| true)
    }

    /// Captures those frames of `eth0` from now on for which the filter says yes.
    pub fn capture_if(&self, filter: impl Fn(Direction, &[u8]) -> bool + Send + 'static) -> Result<Capture> {
        Capture::start(&self.inner.namespace, INTERFACE, filter)
    }

    /// Attaches an XDP program of the testbed to `eth0` in native mode, and lets its XDP_TX through.
    pub fn attach_xdp(&self, program: &str) -> Result<Attachment> {
        self.let_xdp_through()?;
        Attachment::new(&self.inner.namespace, INTERFACE, program)
    }

    /// Puts the host into VLAN 7 or 100 of a trunk, as far as its IP packets go, with priority 5 and eligible to be
    /// dropped (0xb007, 0xb064): they are tagged at its port of the switch, and whatever tag comes is removed before
    /// its stack. No VLANs of the kernel's are needed.
    ///
    /// # Panics
    /// If it is another VLAN.
    pub fn attach_vlan(&self, id: u16) -> Result<[Attachment; 2]> {
        let program = match id {
            7 => "tag_7",
            100 => "tag_100",
            _ => panic!("the testbed has no program for VLAN {id}"),
        };
        self.switch().keep_tags_in_frames(self)?;
        Ok([
            self.switch().attach(self.name(), program)?,
            Attachment::new(&self.inner.namespace, INTERFACE, "untag")?,
        ])
    }

    /// The switch it is plugged into.
    pub fn switch(&self) -> &Switch {
        &self.inner.switch
    }

    /// A veth accepts XDP_TX only from a peer that runs an XDP program too.
    pub(crate) fn let_xdp_through(&self) -> Result<()> {
        let mut port = locked(&self.inner.port);
        if port.is_none() {
            *port = Some(self.inner.switch.attach(self.name(), "pass")?);
        }
        Ok(())
    }

    /// Runs lines of `ip -batch` here.
    pub(crate) fn ip(&self, batch: Batch) -> Result<()> {
        self.command("ip").args(["-batch", "-"]).input(batch.lines()).run()?.success().map(drop)
    }

    /// Ends what the lab started here, and lets nobody in any more.
    pub(crate) fn stop(&self) {
        self.inner.namespace.close();
        drop(locked(&self.inner.web).take());
        drop(locked(&self.inner.port).take());
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({}, {})", self.name(), self.address(), self.mac())
    }
}

/// Data that is right even if a thread panicked beside it.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
