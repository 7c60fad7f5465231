//! Addresses of VIPs, real servers and peers, and MACs.

mod v4;
mod v6;
mod vip;

use std::net::{IpAddr, SocketAddr};

use macaddr::MacAddr6;

use super::diagnostic::Code;
use super::model::Peer;
use super::reader::Text;
use super::report::Reported;
use super::source::Located;
use super::suggest::{is_short, quoted};
use super::vrrp::InterfaceAddress;

pub(super) use vip::virtual_address;

const MAC_EXAMPLE: &str = "write six pairs of hexadecimal digits: \"02:00:00:00:00:01\"";

/// What an address is for.
struct Role {
    /// What to write, for IPv4.
    example_v4: &'static str,
    /// What to write, for IPv6.
    example_v6: &'static str,
    /// What such an address is.
    rule: &'static str,
    /// Whether it is reached on this segment only, so that a link-local address does.
    is_neighbour: bool,
}

const VIP: Role = Role {
    example_v4: "write the VIP and the port: \"192.168.2.240:80\"",
    example_v6: "write the VIP in brackets and the port: \"[2001:db8::1]:80\"",
    rule: "a VIP is a unicast address that the network routes to this director",
    is_neighbour: false,
};

const REAL_SERVER: Role = Role {
    example_v4: "write the real server's own address: \"192.168.2.212\"",
    example_v6: "write the real server's own address: \"2001:db8::10\"",
    rule: "a real server is a host in the director's own network",
    is_neighbour: true,
};

const PEER: Role = Role {
    example_v4: "write the MAC or the address of the other director: \"02:00:00:00:00:02\" or \"192.168.2.211\"",
    example_v6: "write the MAC or the address of the other director: \"02:00:00:00:00:02\" or \"2001:db8::2\"",
    rule: "a peer is a host in the director's own network",
    is_neighbour: true,
};

const SOURCE: Role = Role {
    example_v4: "write an address of this director: \"192.168.2.210\"",
    example_v6: "write an address of this director: \"2001:db8::2\"",
    rule: "probes are sent from an address that the director has, and real servers answer to",
    is_neighbour: false,
};

/// An address of the director's own, that probes are sent from.
pub(super) fn source(text: &Text<'_>) -> Result<Located<IpAddr>, Reported> {
    plain(text, SOURCE.example_v4)?;
    Ok(text.located(ip(text, &SOURCE)?))
}

const DIRECTOR: Role = Role {
    example_v4: "write the other director's own address: \"192.168.2.211\"",
    example_v6: "write the other director's own address: \"2001:db8::2\"",
    rule: "adverts are sent to an address that the other director has",
    is_neighbour: true,
};

/// Another director's own address.
pub(super) fn director(text: &Text<'_>) -> Result<Located<IpAddr>, Reported> {
    plain(text, DIRECTOR.example_v4)?;
    Ok(text.located(ip(text, &DIRECTOR)?))
}

const VIRTUAL: Role = Role {
    example_v4: "write the address: \"192.168.2.240/24\"",
    example_v6: "write the address: \"2001:db8::1/64\"",
    rule: "a virtual address is one that the master of several directors has",
    is_neighbour: true,
};

/// An address that an interface gets, with the length of its network's prefix or without.
pub(super) fn of_interface(text: &Text<'_>) -> Result<Located<InterfaceAddress>, Reported> {
    plain(text, VIRTUAL.example_v4)?;
    let (host, length) = match text.halves('/') {
        Some((host, length)) => (host, Some(length)),
        None => (text.clone(), None),
    };
    let address = ip(&host, &VIRTUAL)?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match length {
        None => longest,
        Some(length) => {
            let number = length.parse::<u8>().ok().filter(|number| (1..=longest).contains(number));
            number.ok_or_else(|| {
                let message = format!("{} is no length of a prefix", quoted(&length));
                let help =
                    format!("write a number from 1 to {longest}, or leave it out for the address alone");
                length.error(Code::InvalidPrefix, message, help)
            })?
        }
    };
    Ok(text.located(InterfaceAddress { address, prefix }))
}

/// A real server's address, with the port that some write behind it.
pub(super) struct RealServerAddress {
    pub(super) address: Located<IpAddr>,
    pub(super) port: Option<Located<u16>>,
}

/// What a real server is written as: `192.168.2.212` or `2001:db8::10`, possibly with a port.
pub(super) fn real_server(text: &Text<'_>) -> Result<RealServerAddress, Reported> {
    plain(text, REAL_SERVER.example_v4)?;
    if text.parse::<IpAddr>().is_err()
        && let Some(reported) = missing_brackets(text)
    {
        return Err(reported);
    }
    let (host, port) = host_and_port(text)?;
    let address = ip(&host, &REAL_SERVER);
    let port = port.map(|port| match port.parse::<u16>() {
        Ok(number) => Ok(port.located(number)),
        Err(_) => {
            let message = format!("{} is not a port", quoted(&port));
            Err(port.error(
                Code::InvalidAddress,
                message,
                "leave the port out: a real server is reached on the VIP's",
            ))
        }
    });
    Ok(RealServerAddress { address: text.located(address?), port: port.transpose()? })
}

/// What another director is written as: its MAC or its address.
pub(super) fn peer(text: &Text<'_>) -> Result<Located<Peer>, Reported> {
    plain(text, PEER.example_v4)?;
    let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit() || b":-".contains(&byte));
    let is_mac = hexadecimal && !v6::is_meant(text);
    let peer = if is_mac { Peer::Mac(mac(text)?) } else { Peer::Address(ip(text, &PEER)?) };
    Ok(text.located(peer))
}

/// The MAC of one network card.
pub(super) fn mac(text: &Text<'_>) -> Result<MacAddr6, Reported> {
    let mac = text.parse::<MacAddr6>();
    // MacAddr6 also reads forms without separators and with dots; in a file one form is enough.
    let in_pairs = text.split([':', '-']).map(str::len).eq([2; 6]);
    let Some(mac) = mac.ok().filter(|_| in_pairs) else {
        let help = match mac {
            Ok(mac) => format!("write \"{}\"", mac.to_string().to_lowercase()),
            Err(_) => MAC_EXAMPLE.to_owned(),
        };
        return Err(text.error(Code::InvalidMac, format!("{} is not a MAC", quoted(text)), help));
    };
    let problem = if mac.is_broadcast() {
        "the broadcast MAC"
    } else if mac.is_multicast() {
        "a multicast MAC"
    } else if mac.is_nil() {
        "no network card's MAC"
    } else {
        return Ok(mac);
    };
    let help = "write the MAC of the host's network card, as `ip link` shows it there behind link/ether";
    Err(text.error(Code::UnusableMac, format!("{} is {problem}", text.as_str()), help))
}

/// Neither blank, nor with white space in it, nor a URL.
fn plain(text: &Text<'_>, example: &str) -> Result<(), Reported> {
    if text.trim().is_empty() {
        return Err(text.error(Code::InvalidAddress, "the address is empty", example));
    }
    if text.contains(char::is_whitespace) {
        let without: String = text.split_whitespace().collect();
        let message = format!("{} has white space in it", quoted(text));
        let help = if is_short(&without) { format!("write \"{without}\"") } else { example.to_owned() };
        return Err(text.error(Code::InvalidAddress, message, help));
    }
    if let Some((_, rest)) = text.split_once("://") {
        let rest = rest.split('/').next().unwrap_or_default();
        let message = format!("{} is a URL", quoted(text));
        return Err(text.error(Code::InvalidAddress, message, format!("write {} alone", quoted(rest))));
    }
    Ok(())
}

/// The address and what stands behind it for a port. An IPv6 address with a port is in brackets (RFC 3986,
/// section 3.2.2).
fn host_and_port<'a>(text: &Text<'a>) -> Result<(Text<'a>, Option<Text<'a>>), Reported> {
    const BRACKETS: &str =
        "write the address alone in brackets, and the port behind them: \"[2001:db8::1]:80\"";
    let malformed = |message: String, help: &str| Err(text.error(Code::InvalidAddress, message, help));
    if text.contains(':') && text.parse::<MacAddr6>().is_ok() {
        let help = "write the IP address; a real server's MAC belongs in its key `mac`";
        return malformed(format!("{} is a MAC", quoted(text)), help);
    }
    let (opens, closing) = (text.starts_with('['), text.find(']'));
    match closing {
        Some(closing) if opens => {
            let host = text.part(1..closing);
            let address = host.split('/').next().unwrap_or_default();
            if address.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()) {
                let help = format!("write {} without brackets", host.as_str());
                return malformed("brackets are for IPv6 addresses".to_owned(), &help);
            }
            let rest = text.part(closing + 1..text.len());
            match rest.halves(':') {
                Some((between, port)) if between.is_empty() => Ok((host, Some(port))),
                None if rest.is_empty() => Ok((host, None)),
                _ => {
                    malformed(format!("{} is neither an address nor one with a port", quoted(text)), BRACKETS)
                }
            }
        }
        None if !opens && v6::is_meant(text) => Ok((text.clone(), None)),
        None if !opens => Ok(match text.halves(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text.clone(), None),
        }),
        _ => malformed(format!("a bracket is missing in {}", quoted(text)), BRACKETS),
    }
}

/// An error if this is an IPv6 address whose last group is a port, or may be one.
fn missing_brackets(text: &Text<'_>) -> Option<Reported> {
    let (address, port) = v6::without_brackets(text)?;
    let help = format!("write \"[{address}]:{port}\" for port {port} of {address}");
    let (message, help) = match text.parse() {
        Ok(whole) => (
            format!("whether the last group of {} is a port, nobody can tell", quoted(text)),
            format!("{help}, or \"{}\" for port 80 of {whole}", SocketAddr::new(whole, 80)),
        ),
        Err(_) => (format!("{} has a port, but no brackets", quoted(text)), help),
    };
    Some(text.error(Code::InvalidAddress, message, help))
}

/// An address in a usual form that a host may have in this role.
fn ip(text: &Text<'_>, role: &Role) -> Result<IpAddr, Reported> {
    if let Ok(address) = text.parse() {
        return usable(text, address, role);
    }
    if let Some((address, zone)) = v6::zoned(text) {
        let address = usable(text, address.into(), role)?;
        let message = format!("{} names an interface, {}", quoted(text), quoted(zone));
        let help = format!("write {address} alone: the interface is the one in director.interfaces");
        return Err(text.error(Code::InvalidAddress, message, help));
    }
    if text.is_empty() {
        let message = "the address before the colon is missing";
        return Err(text.error(Code::InvalidAddress, message, role.example_v4));
    }
    let is_v6 = v6::is_meant(text);
    let (family, example) = if is_v6 { ("IPv6", role.example_v6) } else { ("IPv4", role.example_v4) };
    let all =
        |allowed: fn(char) -> bool| text.chars().all(|character| allowed(character) || character == '.');
    if text.contains('/') {
        let message = format!("{} is not an {family} address", quoted(text));
        return Err(text.error(Code::InvalidAddress, message, format!("{example}, without a prefix length")));
    }
    if is_v6 {
        return Err(v6::wrong(text));
    }
    if all(|character| character.is_ascii_digit()) {
        return Err(v4::wrong(text));
    }
    let message = format!("{} is not an IP address", quoted(text));
    let is_name = all(|character| character.is_ascii_alphanumeric() || "-_".contains(character));
    let help = if is_short(text) && is_name {
        let name = text.as_str();
        format!("names are not looked up; {example} (`getent ahosts {name}` may know it)")
    } else {
        example.to_owned()
    };
    Err(text.error(Code::InvalidAddress, message, help))
}

fn usable(text: &Text<'_>, address: IpAddr, role: &Role) -> Result<IpAddr, Reported> {
    let mut help = role.rule.to_owned();
    let canonical = address.to_canonical();
    let problem = if canonical != address {
        // Routers and hosts drop it (RFC 4038, section 4.2): it is a form for programs, not for the wire.
        help = format!("write {canonical}, the IPv4 address that it stands for");
        "is an IPv4 address in the form of IPv6"
    } else if address.is_unspecified() {
        "is no host's address"
    } else if address.is_loopback() {
        "is a loopback address"
    } else if address.is_multicast() {
        "is a multicast address"
    } else {
        match address {
            IpAddr::V4(address) if address.is_broadcast() => "is the broadcast address",
            IpAddr::V6(address) if address.is_unicast_link_local() && !role.is_neighbour => {
                "is a link-local address, which no router forwards to"
            }
            _ => return Ok(address),
        }
    };
    Err(text.error(Code::UnusableAddress, format!("{address} {problem}"), help))
}
