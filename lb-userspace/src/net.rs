//! The network as the kernel describes it, through rtnetlink: links, addresses, neighbours, and what changes.

mod addresses;
mod announce;
mod details;
mod ethtool;
mod events;
pub mod filter_code;
mod genetlink;
mod links;
mod local_routes;
mod neighbours;
mod routes;
mod sysctl;

use std::io;
use std::net::IpAddr;

use macaddr::MacAddr6;
use thiserror::Error;

pub use addresses::{Address, Lifetime, host_text};
pub use announce::{AnnounceError, FrameSender, announce, announcement, packet_channel};
pub use details::LinkDetails;
pub use ethtool::{Channels, Ethtool, Feature, Features, XdpFeatures, xdp_features};
pub use events::{Event, Events};
pub use links::{Link, Vlan, XdpAttachment};
pub use neighbours::{NeighbourEntry, NeighbourState};
pub use routes::Route;
pub use sysctl::{SysctlError, read_sysctl, sysctl_name, write_sysctl};

/// A MAC as everybody else prints it: the crate's own form is in capitals.
#[must_use]
pub fn mac_text(mac: MacAddr6) -> String {
    mac.to_string().to_lowercase()
}

/// What a host is asked with for the MAC of an address: what it does not answer if it is silent.
#[must_use]
pub fn question(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ARP" } else { "neighbour solicitations" }
}

/// A connection to rtnetlink.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: rtnetlink::Handle,
}

/// An operation on the network that failed.
#[derive(Debug, Error)]
pub enum NetError {
    /// No netlink socket.
    #[error("open a netlink socket: {0}")]
    Open(#[source] io::Error),
    /// IPv6 is switched off.
    #[error(
        "add {address} to interface {index}: IPv6 is off there; `sysctl net.ipv6.conf` shows disable_ipv6, which must be 0"
    )]
    NoIpv6 {
        /// The address.
        address: IpAddr,
        /// The interface.
        index: u32,
    },
    /// The kernel refused, or the connection is gone.
    #[error("{operation}: {source}")]
    Request {
        /// What was asked for, and of what object.
        operation: String,
        /// What the kernel said.
        source: Box<rtnetlink::Error>,
    },
}

impl NetError {
    fn request(operation: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Self {
        let operation = operation.into();
        move |source| Self::Request { operation, source: Box::new(source) }
    }

    /// The error number the kernel gave, if it gave one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Request { source, .. } => match source.as_ref() {
                rtnetlink::Error::NetlinkError(message) => Some(message.raw_code().abs()),
                _ => None,
            },
            Self::Open(_) | Self::NoIpv6 { .. } => None,
        }
    }
}

impl Netlink {
    /// Opens a connection for requests. Its task ends when the last clone is gone.
    ///
    /// # Errors
    /// [`NetError::Open`].
    pub fn open() -> Result<Self, NetError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetError::Open)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }
}
