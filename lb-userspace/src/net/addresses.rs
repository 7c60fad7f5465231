//! Addresses of interfaces, and which of them are ours.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};

use super::{NetError, Netlink};

/// What addresses that we add are marked with (IFA_PROTO, kernel 5.18; `ip address` shows `proto 0x6c`), so that
/// a daemon that was killed finds its own again, and never removes an administrator's.
const OURS: AddressProtocol = AddressProtocol::Other(0x6c);

/// Whether we added it, as far as the kernel says.
pub(super) fn is_ours(message: &AddressMessage) -> bool {
    message.attributes.iter().any(|attribute| matches!(attribute, AddressAttribute::Protocol(OURS)))
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
    /// Whether we added it.
    pub is_ours: bool,
    /// Whether it goes by itself.
    pub is_limited: bool,
    /// Whether it is said to be of use inside this host only (`scope host`).
    pub is_of_host_scope: bool,
}

impl Address {
    fn from_message(message: &AddressMessage) -> Option<Self> {
        let (mut local, mut is_limited) = (None, false);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(address) => local = Some(*address),
                AddressAttribute::Address(address) => local = local.or(Some(*address)),
                AddressAttribute::CacheInfo(lifetimes) => is_limited = lifetimes.ifa_valid != u32::MAX,
                _ => {}
            }
        }
        let is_of_host_scope = message.header.scope == AddressScope::Host;
        let (prefix, is_ours) = (message.header.prefix_len, is_ours(message));
        local.map(|address| Self { address, prefix, is_ours, is_limited, is_of_host_scope })
    }
}

impl Address {
    /// Whether `other` is in the network that this address is in: not if it is one address alone.
    #[must_use]
    pub fn has_in_its_network(&self, other: IpAddr) -> bool {
        let bits = |address| match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let ((own, length), (other, other_length)) = (bits(self.address), bits(other));
        let shift = 128 - u32::from(self.prefix);
        length == other_length && self.prefix < length && (own ^ other).checked_shr(shift).unwrap_or(0) == 0
    }
}

/// The prefix length that means one address.
pub(super) fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// An address alone, as `ip address` shows it: `192.0.2.1/32`, `2001:db8::1/128`.
#[must_use]
pub fn host_text(address: IpAddr) -> String {
    format!("{address}/{}", host_prefix(address))
}

/// How long an address stays on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until somebody removes it.
    Unlimited,
    /// This long, unless it is added again before; whole seconds, at least one.
    Limited(Duration),
}

impl Lifetime {
    /// As the kernel counts it (`INFINITY_LIFE_TIME` in include/net/addrconf.h).
    fn seconds(self) -> u32 {
        match self {
            Self::Unlimited => u32::MAX,
            Self::Limited(time) => {
                // Not shorter than asked for.
                u32::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u32::MAX - 1).max(1)
            }
        }
    }
}

/// How the kernel is to treat a VIP, where its defaults do not do.
fn vip_attributes(address: IpAddr, prefix: u8, lifetime: Lifetime) -> Vec<AddressAttribute> {
    let mut attributes = vec![AddressAttribute::Protocol(OURS)];
    let mut lifetimes = CacheInfo::default();
    (lifetimes.ifa_preferred, lifetimes.ifa_valid) = (lifetime.seconds(), lifetime.seconds());
    if address.is_ipv6() {
        // Several hosts have a VIP, so nobody is to ask whether it is taken (RFC 4862, section 5.4); and alone it leads
        // to nobody else, so it needs no route of its own.
        let mut flags = AddressFlags::Nodad;
        flags.set(AddressFlags::Noprefixroute, prefix == host_prefix(address));
        attributes.push(AddressAttribute::Flags(flags));
        // Deprecated (RFC 4862, section 5.5.4): for what this host sends by itself it would be chosen as the source
        // before an address with a shorter prefix (`ipv6_get_saddr_eval` in net/ipv6/addrconf.c), and answers to it
        // may arrive at another host.
        lifetimes.ifa_preferred = 0;
    }
    attributes.push(AddressAttribute::CacheInfo(lifetimes));
    attributes
}

impl Netlink {
    /// The addresses of the interface `index`.
    ///
    /// # Errors
    /// [`NetError::Request`].
    pub async fn addresses(&self, index: u32) -> Result<Vec<Address>, NetError> {
        let messages: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .set_link_index_filter(index)
            .execute()
            .try_collect()
            .await
            .map_err(NetError::request(format!("list addresses of interface {index}")))?;
        // Kernels before 4.20 do not filter.
        let messages = messages.iter().filter(|message| message.header.index == index);
        Ok(messages.filter_map(Address::from_message).collect())
    }

    /// Adds `address` alone (/32 or /128) to the interface `index`, marked as ours. Nothing happens if it is there.
    ///
    /// # Errors
    /// [`NetError::Request`].
    pub async fn add_vip(&self, index: u32, address: IpAddr) -> Result<(), NetError> {
        self.add_address(index, (address, host_prefix(address)), Lifetime::Unlimited).await
    }

    /// Adds an address and the length of its network's prefix to the interface `index`, marked as ours. One that is there
    /// stays from now on for as long as this says.
    ///
    /// # Errors
    /// [`NetError::NoIpv6`], [`NetError::Request`].
    pub async fn add_address(
        &self,
        index: u32,
        (address, prefix): (IpAddr, u8),
        lifetime: Lifetime,
    ) -> Result<(), NetError> {
        let mut request = self.handle.address().add(index, address, prefix).replace();
        request.message_mut().attributes.extend(vip_attributes(address, prefix, lifetime));
        let operation = format!("add {address}/{prefix} to interface {index}");
        request.execute().await.map_err(NetError::request(operation)).map_err(|error| match error.errno() {
            // `addrconf_add_dev` in net/ipv6/addrconf.c; a kernel without IPv6.
            Some(libc::EACCES | libc::EOPNOTSUPP) if address.is_ipv6() => NetError::NoIpv6 { address, index },
            _ => error,
        })
    }

    /// Removes `address` alone (/32 or /128) from the interface `index`. Nothing happens if it is not there.
    ///
    /// # Errors
    /// [`NetError::Request`].
    pub async fn remove_vip(&self, index: u32, address: IpAddr) -> Result<(), NetError> {
        self.remove_address(index, (address, host_prefix(address))).await
    }

    /// Removes an address with this length of its network's prefix from the interface `index`. Nothing happens if it is
    /// not there.
    ///
    /// # Errors
    /// [`NetError::Request`].
    pub async fn remove_address(&self, index: u32, (address, prefix): (IpAddr, u8)) -> Result<(), NetError> {
        let mut message = AddressMessage::default();
        message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        (message.header.prefix_len, message.header.index) = (prefix, index);
        message.attributes.push(AddressAttribute::Local(address));
        let operation = format!("remove {address}/{prefix} from interface {index}");
        match self.handle.address().del(message).execute().await.map_err(NetError::request(operation)) {
            Err(error) if matches!(error.errno(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => Ok(()),
            removed => removed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_like_it() {
        let has = |network: &str, prefix, other: &str| {
            let address = network.parse().unwrap();
            let network =
                Address { address, prefix, is_ours: false, is_limited: false, is_of_host_scope: false };
            network.has_in_its_network(other.parse().unwrap())
        };
        assert!(has("192.0.2.1", 24, "192.0.2.240"));
        assert!(!has("192.0.2.1", 25, "192.0.2.240"));
        assert!(!has("192.0.2.1", 32, "192.0.2.1"), "alone");
        assert!(has("2001:db8::1", 64, "2001:db8::ffff"));
        assert!(!has("2001:db8::1", 64, "2001:db8:0:1::1"));
        assert!(!has("::", 0, "192.0.2.1"));
        assert!(has("192.0.2.1", 0, "198.51.100.1"));
    }
}
