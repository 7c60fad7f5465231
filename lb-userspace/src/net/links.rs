//! Network interfaces.

use futures_util::TryStreamExt as _;
use macaddr::MacAddr6;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp, XdpAttached};

use super::{NetError, Netlink};

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index, unique in the network namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC; none if it is not an Ethernet interface.
    pub mac: Option<MacAddr6>,
    /// Whether it is administratively up.
    pub is_up: bool,
    /// The XDP program attached to it.
    pub xdp: Option<XdpAttachment>,
}

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpAttachment {
    /// Run by the driver, before a socket buffer is made.
    Native,
    /// Run by the network stack on a socket buffer.
    Generic,
    /// Run by the NIC, or several at once.
    Other,
}

impl Link {
    pub(super) fn from_message(message: &LinkMessage) -> Option<Self> {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            is_up: message.header.flags.contains(LinkFlags::Up),
            xdp: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(bytes) => {
                    link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr6::from);
                }
                LinkAttribute::Xdp(attributes) => link.xdp = attributes.iter().find_map(attachment),
                _ => {}
            }
        }
        (!link.name.is_empty()).then_some(link)
    }
}

fn attachment(attribute: &LinkXdp) -> Option<XdpAttachment> {
    match attribute {
        LinkXdp::Attached(XdpAttached::Driver) => Some(XdpAttachment::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(XdpAttachment::Generic),
        LinkXdp::Attached(XdpAttached::None) => None,
        LinkXdp::Attached(_) => Some(XdpAttachment::Other),
        _ => None,
    }
}

impl Netlink {
    /// All interfaces of this network namespace.
    ///
    /// # Errors
    /// [`NetError::Request`].
    pub async fn links(&self) -> Result<Vec<Link>, NetError> {
        let messages: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(NetError::request("list network interfaces"))?;
        Ok(messages.iter().filter_map(Link::from_message).collect())
    }
}
