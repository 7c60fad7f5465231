//! Names of hosts and services, as the system's resolver has them (nsswitch.conf(5)).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use dns_lookup::AddrInfoHints;

/// Who knows names.
pub trait Resolver {
    /// The IPv4 address that a host name, or a number as inet_aton(3) reads it, stands for.
    fn address(&self, host: &str) -> Option<Ipv4Addr>;

    /// The port of a service, `http`, of a protocol, `tcp` or `udp`.
    fn port(&self, service: &str, protocol: &str) -> Option<u16>;

    /// Host and service of an address; the number of what has no name.
    fn names(&self, socket: SocketAddr, protocol: &str) -> Option<(String, String)>;
}

/// The system's resolver: hosts(5), services(5), DNS.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Resolver for System {
    fn address(&self, host: &str) -> Option<Ipv4Addr> {
        let hints = AddrInfoHints { address: libc::AF_INET, ..hints("tcp") };
        let found = dns_lookup::getaddrinfo(Some(host), None, Some(hints)).ok()?;
        found.flatten().find_map(|found| match found.sockaddr.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    fn port(&self, service: &str, protocol: &str) -> Option<u16> {
        // A number that is no port would be cut to one.
        if service.is_empty() || service.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mut found = dns_lookup::getaddrinfo(None, Some(service), Some(hints(protocol))).ok()?;
        found.find_map(|found| Some(found.ok()?.sockaddr.port()))
    }

    fn names(&self, socket: SocketAddr, protocol: &str) -> Option<(String, String)> {
        let flags = if protocol == "udp" { libc::NI_DGRAM } else { 0 };
        dns_lookup::getnameinfo(&socket, flags).ok()
    }
}

fn hints(protocol: &str) -> AddrInfoHints {
    let socktype = if protocol == "udp" { libc::SOCK_DGRAM } else { libc::SOCK_STREAM };
    AddrInfoHints { socktype, ..AddrInfoHints::default() }
}
