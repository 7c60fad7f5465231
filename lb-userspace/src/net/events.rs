//! What changes in the network, as it changes.

use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::MulticastGroup;
use tokio::task::JoinSet;

use super::addresses::is_ours;
use super::{Link, NeighbourEntry, NetError};

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interface appeared or changed.
    Link(Link),
    /// An interface is gone.
    LinkGone {
        /// The index it had.
        index: u32,
    },
    /// A neighbour appeared or changed.
    Neighbour(NeighbourEntry),
    /// A neighbour is gone.
    NeighbourGone(NeighbourEntry),
    /// An address or a route appeared, changed or is gone.
    Way,
    /// Messages were lost: the kernel sent them faster than they were read. Look at everything again.
    Lost,
}

/// The stream of changes. It ends only when the netlink socket fails.
pub struct Events(BoxStream<'static, Event>);

impl Events {
    /// Changes of links, addresses and routes, from now on.
    ///
    /// # Errors
    /// [`NetError::Open`].
    pub fn of_topology() -> Result<Self, NetError> {
        Self::subscribe(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ])
    }

    /// Changes of links and addresses, from now on.
    ///
    /// # Errors
    /// [`NetError::Open`].
    pub fn of_interfaces() -> Result<Self, NetError> {
        Self::subscribe(&[MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr])
    }

    /// Changes of the neighbour table, from now on.
    ///
    /// # Errors
    /// [`NetError::Open`].
    pub fn of_neighbours() -> Result<Self, NetError> {
        Self::subscribe(&[MulticastGroup::Neigh])
    }

    fn subscribe(groups: &[MulticastGroup]) -> Result<Self, NetError> {
        let (connection, handle, messages) =
            rtnetlink::new_multicast_connection(groups).map_err(NetError::Open)?;
        // It ends with this, at once: one that goes on complains of each message that nobody takes.
        let mut task = JoinSet::new();
        task.spawn(connection);
        let events = messages.filter_map(move |(message, _)| {
            // The connection lives as long as its handle.
            let _keep = (&handle, &task);
            std::future::ready(event(message.payload))
        });
        Ok(Self(events.boxed()))
    }

    /// Waits, and forgets what has come until then: for those who look at everything anew. Whether there will be more.
    pub async fn settle(&mut self, time: Duration) -> bool {
        tokio::time::sleep(time).await;
        while let Some(event) = self.next().now_or_never() {
            if event.is_none() {
                return false;
            }
        }
        true
    }

    /// The next change; `None` once the socket has failed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.next().await
    }
}

fn event(payload: NetlinkPayload<RouteNetlinkMessage>) -> Option<Event> {
    match payload {
        NetlinkPayload::Overrun(_) => Some(Event::Lost),
        NetlinkPayload::InnerMessage(message) => match message {
            RouteNetlinkMessage::NewLink(link) => Link::from_message(&link).map(Event::Link),
            // It has left a bridge, and is there (`br_ifinfo_notify` of net/bridge/br_netlink.c).
            RouteNetlinkMessage::DelLink(link) if link.header.interface_family == AddressFamily::Bridge => {
                None
            }
            RouteNetlinkMessage::DelLink(link) => Some(Event::LinkGone { index: link.header.index }),
            RouteNetlinkMessage::NewNeighbour(entry) => {
                NeighbourEntry::from_message(&entry).map(Event::Neighbour)
            }
            RouteNetlinkMessage::DelNeighbour(entry) => {
                NeighbourEntry::from_message(&entry).map(Event::NeighbourGone)
            }
            // One of ours that lives on for another while, as every second; if it is new, so is a route.
            RouteNetlinkMessage::NewAddress(address) if is_ours(&address) => None,
            RouteNetlinkMessage::NewAddress(_)
            | RouteNetlinkMessage::DelAddress(_)
            | RouteNetlinkMessage::NewRoute(_)
            | RouteNetlinkMessage::DelRoute(_) => Some(Event::Way),
            _ => None,
        },
        _ => None,
    }
}
