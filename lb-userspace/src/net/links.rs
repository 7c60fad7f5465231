//! Network interfaces.

use futures_util::TryStreamExt as _;
use macaddr::MacAddr6;
use netlink_packet_route::link::{
    InfoData, InfoPortKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, VlanProtocol,
    XdpAttached,
};

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
    /// Whether it is up and has a carrier: frames can leave it.
    pub is_running: bool,
    /// The XDP program attached to it.
    pub xdp: Option<XdpAttachment>,
    /// The bond, team or bridge that it is part of, which has its addresses.
    pub controller: Option<u32>,
    /// What it is, if it is a VLAN of another interface.
    pub vlan: Option<Vlan>,
}

/// A VLAN that is an interface of its own: `eth0.100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// Its number.
    pub id: u16,
    /// The index of the interface whose frames are tagged.
    pub parent: u32,
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
            is_running: message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
            xdp: None,
            controller: None,
            vlan: None,
        };
        let (mut parent, mut id, mut in_vrf) = (None, None, false);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(bytes) => {
                    link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr6::from);
                }
                LinkAttribute::Xdp(attributes) => link.xdp = attributes.iter().find_map(attachment),
                LinkAttribute::Controller(index) => {
                    link.controller = Some(*index).filter(|index| *index != 0)
                }
                LinkAttribute::Link(index) => parent = Some(*index),
                LinkAttribute::LinkInfo(info) => {
                    id = info.iter().find_map(vlan_id);
                    in_vrf = info.contains(&LinkInfo::PortKind(InfoPortKind::Vrf));
                }
                _ => {}
            }
        }
        link.controller = link.controller.filter(|_| !in_vrf);
        link.vlan = id.zip(parent).map(|(id, parent)| Vlan { id, parent });
        (!link.name.is_empty()).then_some(link)
    }
}

/// The number of a VLAN of 802.1Q. Those of 802.1ad, which have tags of another kind, are none to us.
fn vlan_id(info: &LinkInfo) -> Option<u16> {
    let LinkInfo::Data(InfoData::Vlan(data)) = info else { return None };
    let is_other = |data: &InfoVlan| matches!(data, InfoVlan::Protocol(protocol) if *protocol != VlanProtocol::Ieee8021Q);
    if data.iter().any(is_other) {
        return None;
    }
    data.iter().find_map(|data| match data {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })
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

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::InfoKind;

    use super::*;

    fn eth0_100(protocol: VlanProtocol) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.attributes = vec![
            LinkAttribute::IfName("eth0.100".to_owned()),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
            LinkAttribute::Link(3),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Protocol(protocol), InfoVlan::Id(100)])),
            ]),
        ];
        message
    }

    #[test]
    fn a_vlan_knows_its_number_and_its_parent() {
        let link = Link::from_message(&eth0_100(VlanProtocol::Ieee8021Q)).unwrap();
        assert_eq!(link.vlan, Some(Vlan { id: 100, parent: 3 }));
    }

    #[test]
    fn a_vlan_with_service_tags_is_none() {
        assert_eq!(Link::from_message(&eth0_100(VlanProtocol::Ieee8021Ad)).unwrap().vlan, None);
    }

    /// A veth has a parent, too: its peer.
    #[test]
    fn an_interface_that_hangs_on_another_is_no_vlan() {
        let mut message = eth0_100(VlanProtocol::Ieee8021Q);
        message.attributes.truncate(3);
        assert_eq!(Link::from_message(&message).unwrap().vlan, None);
    }
}
