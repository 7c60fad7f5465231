//! Arguments of options to values: addresses, masks, numbers, as ipvsadm reads them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::names::Resolver;

/// A number in a range, as strtol(3) reads it.
pub(super) fn number<T: TryFrom<i64>>(text: &str, range: std::ops::RangeInclusive<i64>) -> Option<T> {
    let number = text.trim_start().parse().ok().filter(|number| range.contains(number))?;
    T::try_from(number).ok()
}

/// The digits that a text begins with, as atoi(3) reads them.
pub(super) fn leading_number(text: &str) -> Option<u8> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// A host, and a port if there is one: `192.0.2.1:80`, `www:http`, `[2001:db8::1]:80`, `2001:db8::1`. Names are of
/// IPv4, and services of the protocol, if that is known by now (`parse_service` of ipvsadm.c).
pub(super) fn host_and_port(
    text: &str,
    protocol: Option<&str>,
    resolver: &dyn Resolver,
) -> Option<(IpAddr, Option<u16>)> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, port) = bracketed.split_once("]:")?;
            // A name in brackets loses its port.
            (host, host.parse::<Ipv6Addr>().is_ok().then_some(port))
        }
        None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let address = match host.parse() {
        Ok(address) => address,
        Err(_) => resolver.address(host)?.into(),
    };
    let port = match port {
        Some(text) => {
            let named = || resolver.port(text, protocol?);
            Some(number(text, 0..=65_535).or_else(named)?)
        }
        None => None,
    };
    Some((address, port))
}

/// `[2001:db8::1]:80` as `([2001:db8::1], 80)`: what an address of a virtual server is sorted by. A prefix counts as its
/// first address, and a range as its first port.
pub(super) fn first_of(address: &str) -> Option<SocketAddr> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.split('/').next()?.trim_matches(['[', ']']);
    let port = port.split('-').next()?;
    Some(SocketAddr::new(host.parse().ok()?, port.parse().ok()?))
}
