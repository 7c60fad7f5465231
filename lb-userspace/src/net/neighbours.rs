//! The kernel's neighbour table, and how to make it ask.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use macaddr::MacAddr6;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as Nud,
};

use super::{NetError, Netlink};

/// An entry of the neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourEntry {
    /// The interface.
    pub interface: u32,
    /// Whose entry it is.
    pub address: IpAddr,
    /// Its MAC, if the kernel has one.
    pub mac: Option<MacAddr6>,
    /// How far the kernel trusts it.
    pub state: NeighbourState,
}

/// The states of the neighbour table that differ for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// It has just answered.
    Reachable,
    /// The kernel has a MAC that nobody confirmed lately.
    Unconfirmed,
    /// Set by an administrator; the kernel never asks.
    Static,
    /// The kernel is asking for the first time, or has given up.
    Unknown,
}

impl From<Nud> for NeighbourState {
    fn from(state: Nud) -> Self {
        match state {
            Nud::Reachable => Self::Reachable,
            Nud::Stale | Nud::Delay | Nud::Probe => Self::Unconfirmed,
            Nud::Permanent | Nud::Noarp => Self::Static,
            _ => Self::Unknown,
        }
    }
}

impl NeighbourEntry {
    pub(super) fn from_message(message: &NeighbourMessage) -> Option<Self> {
        let mut address = None;
        let mut mac = None;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(found) => address = ip(found),
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr6::from);
                }
                _ => {}
            }
        }
        let interface = message.header.ifindex;
        address.map(|address| Self { interface, address, mac, state: message.header.state.into() })
    }
}

fn ip(address: &NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(address) => Some(IpAddr::V4(*address)),
        NeighbourAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

impl Netlink {
    /// The neighbour table of all interfaces.
    ///
    /// # Errors
    /// [`NetError::Request`].
    pub async fn neighbours(&self) -> Result<Vec<NeighbourEntry>, NetError> {
        let messages: Vec<NeighbourMessage> = self
            .handle
            .neighbours()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(NetError::request("list neighbours"))?;
        Ok(messages.iter().filter_map(NeighbourEntry::from_message).collect())
    }

    /// Makes the kernel ask the neighbour itself whether its MAC is still right: one request to that MAC.
    ///
    /// # Errors
    /// [`NetError::Request`], among others if the kernel has no MAC to ask (EINVAL).
    pub async fn confirm_neighbour(&self, index: u32, address: IpAddr) -> Result<(), NetError> {
        self.set_neighbour(index, address, Nud::Probe, NeighbourFlags::empty(), "confirm").await
    }

    /// Makes the kernel ask everybody who has the address, forgetting the MAC it had.
    ///
    /// # Errors
    /// [`NetError::Request`].
    pub async fn resolve_neighbour(&self, index: u32, address: IpAddr) -> Result<(), NetError> {
        // Only an entry that has failed, or a new one, makes the kernel broadcast at once.
        self.set_neighbour(index, address, Nud::Failed, NeighbourFlags::empty(), "forget").await?;
        self.set_neighbour(index, address, Nud::None, NeighbourFlags::Use, "resolve").await
    }

    async fn set_neighbour(
        &self,
        index: u32,
        address: IpAddr,
        state: Nud,
        flags: NeighbourFlags,
        verb: &str,
    ) -> Result<(), NetError> {
        let request = self.handle.neighbours().add(index, address).state(state).flags(flags).replace();
        let operation = format!("{verb} neighbour {address} on interface {index}");
        request.execute().await.map_err(NetError::request(operation))
    }
}
