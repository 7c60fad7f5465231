//! Local routes of interfaces: prefixes whose addresses are all this machine's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt as _;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::RouteMessageBuilder;

use super::{NetError, Netlink};
use crate::forms::Prefix;

/// What routes that we add are marked with (`ip route` shows `proto 108`).
const OURS: RouteProtocol = RouteProtocol::Other(0x6c);

/// `RT_TABLE_LOCAL` (include/uapi/linux/rtnetlink.h): what the kernel asks first.
const LOCAL: u32 = 255;

/// The prefix of a local route of the interface `index`.
fn local_prefix(message: &RouteMessage, index: u32) -> Option<Prefix> {
    let header = &message.header;
    let is_local = header.kind == RouteType::Local && u32::from(header.table) == LOCAL;
    let mut destination = None;
    let mut is_there = false;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(oif) => is_there = *oif == index,
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                destination = Some(IpAddr::V4(*address))
            }
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                destination = Some(IpAddr::V6(*address));
            }
            _ => {}
        }
    }
    Prefix::new(destination.filter(|_| is_local && is_there)?, header.destination_prefix_length)
}

fn message(index: u32, prefix: Prefix) -> RouteMessage {
    fn finish<T>(builder: RouteMessageBuilder<T>, index: u32) -> RouteMessage {
        let builder = builder.output_interface(index).table_id(LOCAL);
        builder.kind(RouteType::Local).scope(RouteScope::Host).protocol(OURS).build()
    }
    let length = prefix.length();
    match prefix.first() {
        IpAddr::V4(first) => {
            finish(RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(first, length), index)
        }
        IpAddr::V6(first) => {
            finish(RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(first, length), index)
        }
    }
}

impl Netlink {
    /// The prefixes that are local on the interface `index`, whoever made them so.
    ///
    /// # Errors
    /// [`NetError::Request`].
    pub async fn local_prefixes(&self, index: u32) -> Result<Vec<Prefix>, NetError> {
        let mut found = Vec::new();
        for family in
            [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()]
        {
            let routes = self.handle.route().get(family).execute();
            let routes: Vec<RouteMessage> =
                routes.try_collect().await.map_err(NetError::request("list local routes"))?;
            found.extend(routes.iter().filter_map(|route| local_prefix(route, index)));
        }
        Ok(found)
    }

    /// Makes all addresses of `prefix` local on the interface `index`, as `ip route add local` does.
    ///
    /// # Errors
    /// [`NetError::Request`].
    pub async fn add_local_prefix(&self, index: u32, prefix: Prefix) -> Result<(), NetError> {
        let operation = format!("add the local route {prefix} to interface {index}");
        let request = self.handle.route().add(message(index, prefix)).replace();
        request.execute().await.map_err(NetError::request(operation))
    }

    /// Undoes [`add_local_prefix`](Self::add_local_prefix).
    ///
    /// # Errors
    /// [`NetError::Request`].
    pub async fn remove_local_prefix(&self, index: u32, prefix: Prefix) -> Result<(), NetError> {
        let operation = format!("remove the local route {prefix} from interface {index}");
        self.handle.route().del(message(index, prefix)).execute().await.map_err(NetError::request(operation))
    }
}
