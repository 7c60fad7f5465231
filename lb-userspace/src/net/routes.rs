//! Which way the kernel would send to an address.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use rtnetlink::RouteMessageBuilder;

use super::addresses::host_prefix;
use super::{NetError, Netlink};

/// The way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// It is this host's own.
    Local,
    /// It is on the segment of the interface with this index.
    Direct(u32),
    /// A router knows, on the segment of the interface with this index.
    Through(u32),
}

impl Route {
    fn from_message(message: &RouteMessage) -> Option<Self> {
        let mut interface = None;
        let mut has_gateway = false;
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Oif(index) => interface = Some(*index),
                RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => has_gateway = true,
                _ => {}
            }
        }
        match message.header.kind {
            RouteType::Local => Some(Self::Local),
            RouteType::Unicast if has_gateway => interface.map(Self::Through),
            RouteType::Unicast => interface.map(Self::Direct),
            _ => None,
        }
    }
}

impl Netlink {
    /// The way to `address`; none if there is none.
    ///
    /// # Errors
    /// [`NetError::Request`].
    pub async fn route(&self, address: IpAddr) -> Result<Option<Route>, NetError> {
        let message = RouteMessageBuilder::<IpAddr>::new().destination_prefix(address, host_prefix(address));
        // The prefix is that of the family.
        let Ok(message) = message.map(RouteMessageBuilder::build) else { return Ok(None) };
        let found: Result<Vec<RouteMessage>, _> =
            self.handle.route().get(message).execute().try_collect().await;
        match found.map_err(NetError::request(format!("look up the route to {address}"))) {
            Ok(routes) => Ok(routes.first().and_then(Route::from_message)),
            Err(error) if error.errno().is_some_and(is_no_route) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// There is no route, or one that says so (`fib_props` in net/ipv4/fib_semantics.c), or no IPv6.
fn is_no_route(errno: i32) -> bool {
    const NO_ROUTE: [i32; 6] =
        [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EINVAL, libc::EACCES, libc::EAGAIN, libc::EAFNOSUPPORT];
    NO_ROUTE.contains(&errno)
}
