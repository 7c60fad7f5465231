//! More about an interface than forwarding needs: for whoever looks whether it is fit for it.

use std::fs;
use std::path::Path;

use futures_util::TryStreamExt as _;
use netlink_packet_route::link::{LinkAttribute, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, State};
use rtnetlink::LinkUnspec;

use super::{Link, NetError, Netlink};

/// An interface, and what forwarding does not ask about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkDetails {
    /// What forwarding asks about it.
    pub link: Link,
    /// Whether it is Ethernet.
    pub is_ethernet: bool,
    /// Whether anything is at the other end of its cable.
    pub has_carrier: bool,
    /// Bytes of the longest packet.
    pub mtu: u32,
    /// The kernel's id of the XDP program that is attached to it.
    pub xdp_program: Option<u32>,
    /// The driver, or the kind of a virtual interface; none if it is not told.
    pub driver: Option<String>,
}

impl LinkDetails {
    fn from_message(message: &LinkMessage) -> Option<Self> {
        let mut details = Self {
            link: Link::from_message(message)?,
            is_ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            has_carrier: true,
            mtu: 0,
            xdp_program: None,
            driver: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => details.mtu = *mtu,
                LinkAttribute::Carrier(carrier) => details.has_carrier = *carrier != 0,
                LinkAttribute::OperState(State::LowerLayerDown | State::Down) => details.has_carrier = false,
                LinkAttribute::Xdp(attributes) => {
                    details.xdp_program = attributes.iter().find_map(|attribute| match attribute {
                        LinkXdp::ProgId(id) => Some(*id).filter(|id| *id != 0),
                        _ => None,
                    });
                }
                LinkAttribute::LinkInfo(info) => {
                    details.driver = info.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        details.driver = details.driver.or_else(|| driver(&details.link));
        Some(details)
    }
}

/// What sysfs says, if it is that of this network namespace.
fn driver(link: &Link) -> Option<String> {
    let directory = Path::new("/sys/class/net").join(&link.name);
    let index = fs::read_to_string(directory.join("ifindex")).ok()?;
    let path = fs::read_link(directory.join("device/driver")).ok()?;
    let name = path.file_name()?.to_str()?.to_owned();
    (index.trim().parse() == Ok(link.index)).then_some(name)
}

impl Netlink {
    /// All interfaces of this network namespace, in detail.
    ///
    /// # Errors
    /// [`NetError::Request`].
    pub async fn link_details(&self) -> Result<Vec<LinkDetails>, NetError> {
        let links = self.handle.link().get().execute();
        let messages: Vec<LinkMessage> =
            links.try_collect().await.map_err(NetError::request("list network interfaces"))?;
        Ok(messages.iter().filter_map(LinkDetails::from_message).collect())
    }

    /// Takes the interface `index` up.
    ///
    /// # Errors
    /// [`NetError::Request`].
    pub async fn set_up(&self, index: u32) -> Result<(), NetError> {
        let message = LinkUnspec::new_with_index(index).up().build();
        let operation = format!("take interface {index} up");
        self.handle.link().set(message).execute().await.map_err(NetError::request(operation))
    }
}
