//! What is wrong with something that was meant as an IPv6 address (RFC 4291, section 2.2).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::diagnostic::Code;
use super::super::reader::Text;
use super::super::report::Reported;
use super::super::suggest::quoted;

/// Whether this is more like an IPv6 address than like a MAC, or anything else with one colon or none.
pub(super) fn is_meant(text: &str) -> bool {
    let address = text.split(['%', '/']).next().unwrap_or_default();
    let groups: Vec<&str> = address.split(':').collect();
    let like_groups = groups.iter().take(2).all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let like_a_mac = groups.len() <= 6 && groups.iter().all(|group| (1..=2).contains(&group.len()));
    groups.len() > 2 && like_groups && !like_a_mac
}

/// An address, and a port behind it that may as well be its last group.
pub(super) fn without_brackets(text: &str) -> Option<(String, u16)> {
    let (address, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let address = match address.split_once('/') {
        Some((address, length)) => format!("{}/{length}", address.parse::<Ipv6Addr>().ok()?),
        None => address.parse::<Ipv6Addr>().ok()?.to_string(),
    };
    Some((address, port))
}

/// An address with a zone (RFC 4007, section 11): `fe80::1%eth0`.
pub(super) fn zoned<'a>(text: &'a Text<'_>) -> Option<(Ipv6Addr, &'a str)> {
    let (address, zone) = text.split_once('%')?;
    Some((address.parse().ok()?, zone))
}

/// What is wrong with groups and colons that are not an address.
pub(super) fn wrong(text: &Text<'_>) -> Reported {
    let message = format!("{} is not an IPv6 address", quoted(text));
    let mut start = 0;
    for group in text.split(':') {
        let part = text.part(start..start + group.len());
        start += group.len() + 1;
        let is_last = start > text.len();
        if is_last && group.contains('.') {
            if group.parse::<Ipv4Addr>().is_err() {
                return super::v4::wrong(&part);
            }
        } else if group.len() > 4 || !group.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return part.error(
                Code::InvalidAddress,
                message,
                "each group has at most four hexadecimal digits",
            );
        }
    }
    let help = match (text.matches("::").count(), text.contains(":::")) {
        (_, true) => "write two colons where groups of zeros are left out".to_owned(),
        (2.., _) => {
            "write `::` once: where it is there twice, nobody can tell how many zeros each stands for"
                .to_owned()
        }
        (1, _) => "an address has eight groups; `::` stands for those that are 0".to_owned(),
        _ => {
            let count = text.split(':').count();
            format!("an address has eight groups, this has {count}; write `::` for groups that are 0")
        }
    };
    text.error(Code::InvalidAddress, message, help)
}
