//! Why a real server is not well, in words for its operator: what is the same for all probes.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno;
use thiserror::Error;

use super::{DnsFailure, ExecFailure, HttpFailure, SmtpFailure, TlsFailure, UdpFailure};
use crate::health::path::{NoSource, Path};
use crate::health::vip::NoWay;

/// Why a real server is not well, in words for its operator.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Failure {
    /// Nothing came in time.
    #[error("{what} within {after:?}")]
    Timeout {
        /// What did not happen: "no answer", "not connected".
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The network has no way, or the other side wants none.
    #[error(transparent)]
    Network(#[from] NetworkFailure),
    /// TLS could not be spoken.
    #[error(transparent)]
    Tls(#[from] TlsFailure),
    /// A datagram had another answer than expected.
    #[error(transparent)]
    Udp(#[from] UdpFailure),
    /// A web server answered something else.
    #[error(transparent)]
    Http(#[from] HttpFailure),
    /// A name server did not resolve the name.
    #[error(transparent)]
    Dns(#[from] DnsFailure),
    /// A mail server did not greet.
    #[error(transparent)]
    Smtp(#[from] SmtpFailure),
    /// A command did not say that it is well.
    #[error(transparent)]
    Exec(#[from] ExecFailure),
}

impl Failure {
    /// Whether the fault is the director's own, so that nothing is known of the real server.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Network(failure) => failure.is_local(),
            Self::Tls(failure) => matches!(failure, TlsFailure::Authorities { .. } | TlsFailure::Local(_)),
            Self::Exec(failure) => matches!(failure, ExecFailure::Missing { .. } | ExecFailure::Start { .. }),
            Self::Http(failure) => matches!(failure, HttpFailure::Request(_)),
            Self::Dns(failure) => matches!(failure, DnsFailure::Question(_)),
            Self::Timeout { .. } | Self::Udp(_) | Self::Smtp(_) => false,
        }
    }
}

/// The network has no way, or the other side wants none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NetworkFailure {
    /// RST answered SYN, or an ICMP error a datagram.
    #[error("port {port} refused: nothing listens there, or a firewall rejects it")]
    Refused {
        /// The port.
        port: u16,
    },
    /// Nobody has the address, or a router knows no way.
    #[error(
        "{to} is unreachable: nobody on its segment answers for the address, or a router does not reach it"
    )]
    HostUnreachable {
        /// The address.
        to: IpAddr,
    },
    /// There is no way to a VIP at its MAC.
    #[error(transparent)]
    NoWay(#[from] NoWay),
    /// The director has no route.
    #[error("there is no route to {to}: see `ip route get {to}`")]
    NoRoute {
        /// The address.
        to: IpAddr,
    },
    /// The kernel gave up before the probe did.
    #[error("{doing}: the kernel gave up waiting for {to}")]
    GaveUp {
        /// What was done: "connect".
        doing: &'static str,
        /// The address.
        to: IpAddr,
    },
    /// RST, after a connection was there.
    #[error("the server reset the connection ({doing})")]
    Reset {
        /// What was done: "read the greeting".
        doing: &'static str,
    },
    /// The end, before everything was said.
    #[error("the server closed the connection before the end ({doing})")]
    Closed {
        /// What was done: "read the greeting".
        doing: &'static str,
    },
    /// The configured source is not the director's.
    #[error(
        "probes cannot be sent from {source_address}: this machine does not have the address; add it, or change `bind`"
    )]
    Source {
        /// The configured address.
        source_address: IpAddr,
    },
    /// All local ports are in use.
    #[error("no local port is free for {to}: see `net.ipv4.ip_local_port_range`")]
    Ports {
        /// The address.
        to: IpAddr,
    },
    /// A rule of the director, or a missing capability.
    #[error(
        "{doing}: this machine does not permit it: its firewall or a prohibiting route, or CAP_NET_RAW is missing"
    )]
    Forbidden {
        /// What was done: "connect".
        doing: &'static str,
    },
    /// Descriptors or memory ran out.
    #[error(
        "{doing}: the director has no room for another probe ({cause}); for descriptors, raise `LimitNOFILE=` of its unit"
    )]
    Exhausted {
        /// What was done: "connect".
        doing: &'static str,
        /// What the kernel said.
        cause: String,
    },
    /// Something else.
    #[error("{doing}: {cause}")]
    Other {
        /// What was done: "connect".
        doing: &'static str,
        /// What the kernel said.
        cause: String,
    },
}

impl NetworkFailure {
    /// What an error of the way to a real server means.
    pub(super) fn new(error: &io::Error, path: &Path, port: Option<u16>, doing: &'static str) -> Self {
        let to = path.address();
        match (error.kind(), port) {
            (ErrorKind::ConnectionRefused, Some(port)) => Self::Refused { port },
            (ErrorKind::HostUnreachable, _) => match error.get_ref() {
                None => Self::HostUnreachable { to },
                Some(cause) => match cause.downcast_ref::<NoWay>() {
                    Some(no_way) => Self::NoWay(no_way.clone()),
                    None => Self::Other { doing, cause: cause.to_string() },
                },
            },
            (ErrorKind::NetworkUnreachable, _) => Self::NoRoute { to },
            (ErrorKind::TimedOut, _) => Self::GaveUp { doing, to },
            (ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe, _) => {
                Self::Reset { doing }
            }
            (ErrorKind::UnexpectedEof, _) => Self::Closed { doing },
            (ErrorKind::PermissionDenied, _) => Self::Forbidden { doing },
            (ErrorKind::AddrNotAvailable, _) => {
                match error.get_ref().and_then(|error| error.downcast_ref()) {
                    Some(NoSource(source)) => Self::Source { source_address: *source },
                    None => Self::Ports { to },
                }
            }
            _ => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EAGAIN) => {
                    Self::Exhausted { doing, cause: error.to_string() }
                }
                _ => Self::Other { doing, cause: error.to_string() },
            },
        }
    }

    fn is_local(&self) -> bool {
        match self {
            Self::NoWay(no_way) => no_way.is_local(),
            Self::NoRoute { .. }
            | Self::Source { .. }
            | Self::Ports { .. }
            | Self::Forbidden { .. }
            | Self::Exhausted { .. } => true,
            Self::Refused { .. }
            | Self::HostUnreachable { .. }
            | Self::GaveUp { .. }
            | Self::Reset { .. }
            | Self::Closed { .. }
            | Self::Other { .. } => false,
        }
    }
}
