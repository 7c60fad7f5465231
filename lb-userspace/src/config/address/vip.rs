//! Addresses of virtual servers: a VIP or a prefix of VIPs, with a port, a range of ports or any port.

use std::net::IpAddr;

use super::super::diagnostic::Code;
use super::super::reader::Text;
use super::super::report::Reported;
use super::super::source::Located;
use super::super::suggest::quoted;
use super::{VIP, host_and_port, ip, missing_brackets, plain, usable};
use crate::forms::{Ports, Prefix, VirtualAddress};

/// Shorter prefixes hold addresses that no host can have, and are mistakes.
const SHORTEST_V4: u8 = 8;
const SHORTEST_V6: u8 = 16;

/// What is written for clients to connect to: `192.168.2.240:80`, `[2001:db8::1]:80`, `192.0.2.0/28:8000-8100`,
/// `192.168.2.240:0` for any port.
pub(in super::super) fn virtual_address(text: &Text<'_>) -> Result<Located<VirtualAddress>, Reported> {
    plain(text, VIP.example_v4)?;
    let (host, ports) = host_and_port(text)?;
    let Some(ports) = ports else {
        if let Some(reported) = missing_brackets(text) {
            return Err(reported);
        }
        // The address may be wrong as well; without it there is no example of what is missing.
        let vips = vips(&host)?;
        let message = format!("the port of {vips} is missing");
        let help = format!("write \"{}\" for port 80", VirtualAddress { vips, ports: Ports::one(80) });
        return Err(text.error(Code::InvalidAddress, message, help));
    };
    // Both parts are looked at, so that both can be corrected at once.
    let (vips, ports) = (vips(&host), virtual_ports(&ports));
    Ok(text.located(VirtualAddress { vips: vips?, ports: ports? }))
}

fn vips(text: &Text<'_>) -> Result<Prefix, Reported> {
    match text.halves('/') {
        Some((host, length)) => match host.parse() {
            Ok(address) => prefix(text, address, &length),
            Err(_) => ip(&host, &VIP).map(Prefix::from),
        },
        None => ip(text, &VIP).map(Prefix::from),
    }
}

fn prefix(text: &Text<'_>, address: IpAddr, length: &Text<'_>) -> Result<Prefix, Reported> {
    let (family, shortest, longest) =
        if address.is_ipv4() { ("IPv4", SHORTEST_V4, 32) } else { ("IPv6", SHORTEST_V6, 128) };
    let number = length.parse::<u8>().ok().filter(|number| number.to_string() == length.as_str());
    let found =
        number.filter(|number| *number >= shortest).and_then(|number| Prefix::around(address, number));
    let Some(prefix) = found else {
        let message = format!("{} is no length of a prefix of {family} VIPs", quoted(length));
        let help = format!("write a number from {shortest} to {longest}");
        return Err(length.error(Code::InvalidAddress, message, help));
    };
    if prefix.first() != address {
        let message = format!("{} is not the first address of its prefix", quoted(text));
        let help = format!("write {address} for this VIP alone, or {prefix} for all that begin alike");
        return Err(text.error(Code::InvalidAddress, message, help));
    }
    usable(text, address, &VIP)?;
    Ok(prefix)
}

fn virtual_ports(text: &Text<'_>) -> Result<Ports, Reported> {
    if text.is_empty() {
        let help = "write the number of the port behind the colon: 80 for http, 443 for https";
        return Err(text.error(Code::InvalidAddress, "the port is missing", help));
    }
    if text.as_str() == "0" {
        return Ok(Ports::ANY);
    }
    let Some((first, last)) = text.halves('-').filter(|(first, last)| is_number(first) && is_number(last))
    else {
        return port(text).map(Ports::one);
    };
    let (first, last) = (port(&first), port(&last));
    let (first, last) = (first?, last?);
    if first >= last {
        let message = format!("{} is not a range of ports", quoted(text));
        let help = if first == last {
            format!("write {first} for this port alone")
        } else {
            format!("write the lower port first: {last}-{first}")
        };
        return Err(text.error(Code::InvalidAddress, message, help));
    }
    Ok(Ports { first, last })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn port(text: &Text<'_>) -> Result<u16, Reported> {
    let help = match (text.trim_start_matches('0'), text.parse::<u16>()) {
        _ if !is_number(text) => "write the number of the port: 80 for http, 443 for https".to_owned(),
        ("", _) | (_, Err(_)) => "a port is a number from 1 to 65535; 0 alone means any port".to_owned(),
        (number, Ok(_)) if number.len() < text.len() => format!("write {number} without leading zeros"),
        (_, Ok(port)) => return Ok(port),
    };
    Err(text.error(Code::InvalidAddress, format!("{} is not a port", quoted(text)), help))
}
