//! Addresses of VIPs, real servers and peers, and MACs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use macaddr::MacAddr6;

use super::contract::not_available;
use super::diagnostic::Code;
use super::model::Peer;
use super::reader::Text;
use super::report::Reported;
use super::source::Located;
use super::suggest::{is_short, quoted};

const VIP_EXAMPLE: &str = "write the VIP and the port: \"192.168.2.240:80\"";
const REAL_SERVER_EXAMPLE: &str = "write the real server's own address: \"192.168.2.212\"";
const MAC_EXAMPLE: &str = "write six pairs of hexadecimal digits: \"02:00:00:00:00:01\"";

/// A real server's address, with the port that some write behind it.
pub(super) struct RealServerAddress {
    pub(super) address: Located<IpAddr>,
    pub(super) port: Option<Located<u16>>,
}

/// What a VIP is written as: `192.168.2.240:80`.
pub(super) fn virtual_address(text: &Text<'_>) -> Result<Located<SocketAddr>, Reported> {
    plain(text, VIP_EXAMPLE)?;
    let Some((host, port)) = text.halves(':') else {
        // The address may be wrong as well; without it there is no example of what is missing.
        let address = vip(text)?;
        let message = format!("the port of {address} is missing");
        return Err(text.error(Code::InvalidAddress, message, format!("write \"{address}:80\" for port 80")));
    };
    // Both parts are looked at, so that both can be corrected at once.
    let (address, port) = (vip(&host), virtual_port(&port));
    Ok(text.located(SocketAddr::new(address?.into(), port?)))
}

fn vip(text: &Text<'_>) -> Result<Ipv4Addr, Reported> {
    if let Some((host, prefix)) = text.halves('/')
        && host.parse::<Ipv4Addr>().is_ok()
        && prefix.parse::<u8>().is_ok_and(|length| length <= 32)
    {
        return Err(lacking(text, "prefixes of VIPs", "list each VIP by itself"));
    }
    let address = ipv4(text, VIP_EXAMPLE)?;
    usable(text, address, "a VIP is a unicast address that the network routes to this director")
}

fn virtual_port(text: &Text<'_>) -> Result<u16, Reported> {
    const RANGE: &str = "a port is a number from 1 to 65535";
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if text.is_empty() {
        let help = "write the number of the port behind the colon: \"192.168.2.240:80\"";
        return Err(text.error(Code::InvalidAddress, "the port is missing", help));
    }
    if let Some((first, last)) = text.halves('-')
        && is_number(&first)
        && is_number(&last)
    {
        return Err(lacking(text, "port ranges", "list each port by itself, with its VIP"));
    }
    if text.as_str() == "0" {
        return Err(lacking(text, "any-port services (port 0)", "list each port by itself, with its VIP"));
    }
    let help = match (text.trim_start_matches('0'), text.parse::<u16>()) {
        _ if !is_number(text) => "write the number of the port: 80 for http, 443 for https".to_owned(),
        ("", _) | (_, Err(_)) => RANGE.to_owned(),
        (number, Ok(_)) if number.len() < text.len() => format!("write {number} without leading zeros"),
        (_, Ok(port)) => return Ok(port),
    };
    Err(text.error(Code::InvalidAddress, format!("{} is not a port", quoted(text)), help))
}

/// What a real server is written as: `192.168.2.212`, possibly with a port.
pub(super) fn real_server(text: &Text<'_>) -> Result<RealServerAddress, Reported> {
    plain(text, REAL_SERVER_EXAMPLE)?;
    let (host, port) = match text.halves(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text.clone(), None),
    };
    let address = ipv4(&host, REAL_SERVER_EXAMPLE)
        .and_then(|address| usable(&host, address, "a real server is a host in the director's own network"));
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
    Ok(RealServerAddress { address: text.located(address?.into()), port: port.transpose()? })
}

/// What another director is written as: its MAC or its address.
pub(super) fn peer(text: &Text<'_>) -> Result<Located<Peer>, Reported> {
    const EXAMPLE: &str =
        "write the MAC or the address of the other director: \"02:00:00:00:00:02\" or \"192.168.2.211\"";
    plain(text, EXAMPLE)?;
    let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit() || b":-".contains(&byte));
    let peer = if hexadecimal {
        Peer::Mac(mac(text)?)
    } else {
        let address = ipv4(text, EXAMPLE)?;
        Peer::Address(usable(text, address, "a peer is a host in the director's own network")?.into())
    };
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

/// Neither blank, nor with white space in it, nor a URL, nor of IPv6.
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
    let host = text.split('/').next().unwrap_or_default();
    if text.starts_with('[') || host.parse::<Ipv6Addr>().is_ok() {
        return Err(lacking(text, "IPv6 addresses", "use the IPv4 address"));
    }
    Ok(())
}

fn lacking(text: &Text<'_>, what: &str, help: &str) -> Reported {
    text.error(Code::NotAvailable, not_available(what, "are"), help)
}

/// An IPv4 address in its one usual form. `example` says what to write.
fn ipv4(text: &Text<'_>, example: &str) -> Result<Ipv4Addr, Reported> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if text.is_empty() {
        return Err(text.error(Code::InvalidAddress, "the address before the colon is missing", example));
    }
    let message = format!("{} is not an IPv4 address", quoted(text));
    let all =
        |allowed: fn(char) -> bool| text.chars().all(|character| allowed(character) || character == '.');
    if all(|character| character.is_ascii_digit()) {
        return Err(numbers(text, message));
    }
    let help = if text.contains('/') {
        format!("{example}, without a prefix length")
    } else if is_short(text) && all(|character| character.is_ascii_alphanumeric() || "-_".contains(character))
    {
        let name = text.as_str();
        format!("names are not looked up; {example} (`getent ahostsv4 {name}` may know it)")
    } else {
        example.to_owned()
    };
    Err(text.error(Code::InvalidAddress, message, help))
}

/// What is wrong with digits and dots that are not an address.
fn numbers(text: &Text<'_>, message: String) -> Reported {
    let count = text.split('.').count();
    if count != 4 {
        let help = format!("an address has four numbers, this has {count}");
        return text.error(Code::InvalidAddress, message, help);
    }
    let mut start = 0;
    for number in text.split('.') {
        let part = text.part(start..start + number.len());
        start += number.len() + 1;
        if number.parse::<u8>().is_err() {
            return part.error(Code::InvalidAddress, message, "each of the four numbers is from 0 to 255");
        }
        if number.len() > 1 && number.starts_with('0') {
            // Some programs read such a number as octal.
            let value = number.trim_start_matches('0');
            let value = if value.is_empty() { "0" } else { value };
            return part.error(Code::InvalidAddress, message, format!("write {value} without leading zeros"));
        }
    }
    text.error(Code::InvalidAddress, message, "write four numbers from 0 to 255, with dots between them")
}

fn usable(text: &Text<'_>, address: Ipv4Addr, help: &str) -> Result<Ipv4Addr, Reported> {
    let problem = if address.is_unspecified() {
        "is no host's address"
    } else if address.is_loopback() {
        "is a loopback address"
    } else if address.is_multicast() {
        "is a multicast address"
    } else if address.is_broadcast() {
        "is the broadcast address"
    } else {
        return Ok(address);
    };
    Err(text.error(Code::UnusableAddress, format!("{address} {problem}"), help))
}
