//! Addresses of a virtual server: its own, or those of a `virtual_server_group`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::document::Element;
use super::super::report::Report;
use super::tree::Statement;
use super::vrrp::is_address;

/// What clients of a virtual server connect to.
#[derive(Default)]
pub(super) struct Addresses {
    pub(super) elements: Vec<Element>,
    /// The ports of them; 0 is any.
    pub(super) ports: Vec<u16>,
    pub(super) fwmark: Option<(usize, u32)>,
    /// The group's name, if it is one.
    pub(super) group: Option<String>,
}

/// More are no longer listed one by one.
const MOST: u32 = 1024;

impl Addresses {
    /// `virtual_server IP PORT`, `fwmark N` or `group NAME`; none if there are none.
    pub(super) fn of(server: &Statement, file: &Statement, report: &mut Report) -> Option<Self> {
        let mut addresses = Self::default();
        match server.argument(1).unwrap_or_default() {
            kind if kind.eq_ignore_ascii_case("group") => {
                let name = server.argument(2).unwrap_or_default();
                let groups = file.all("virtual_server_group");
                let mut groups = groups.filter(|group| group.argument(1) == Some(name)).peekable();
                if groups.peek().is_none() {
                    report.lost(server.line, &server.text(), "there is no virtual_server_group of this name");
                    return None;
                }
                addresses.group = Some(name.to_owned());
                for line in groups.flat_map(|group| group.statements()) {
                    addresses.add_line(line, report);
                }
            }
            _ => addresses.add(server, server.arguments(), report),
        }
        if addresses.elements.is_empty() && addresses.fwmark.is_none() {
            report.lost(server.line, &server.text(), "left out: it has no address");
            return None;
        }
        Some(addresses)
    }

    /// A line of a group, on which several may stand: an address and a port each.
    fn add_line(&mut self, line: &Statement, report: &mut Report) {
        let begins = |word: &&String| {
            is_address(word) || word.contains(['.', ':']) || word.eq_ignore_ascii_case("fwmark")
        };
        let mut rest = &line.words[..];
        while !rest.is_empty() {
            let end =
                rest.iter().skip(1).position(|word| begins(&word)).map_or(rest.len(), |place| place + 1);
            self.add(line, &rest[..end], report);
            rest = &rest[end..];
        }
    }

    fn add(&mut self, statement: &Statement, words: &[String], report: &mut Report) {
        let line = statement.line;
        let text = words.join(" ");
        let (first, second) = (words.first().map_or("", String::as_str), words.get(1).map(String::as_str));
        if first.eq_ignore_ascii_case("fwmark") {
            return self.add_mark(line, &text, second, report);
        }
        let port = match second.map_or(Ok(0), str::parse::<u16>) {
            Ok(port) => port,
            Err(_) => {
                return report.lost(line, &text, "left out: the port is no number from 0 to 65535");
            }
        };
        let Some(hosts) = hosts(first) else {
            return report.lost(
                line,
                &text,
                format!("left out: {first} is no address, and no range of at most {MOST}"),
            );
        };
        self.ports.push(port);
        let written = hosts.into_iter().map(|host| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        });
        self.elements.extend(written.map(|address| Element::new(line, address)));
    }

    fn add_mark(&mut self, line: usize, text: &str, number: Option<&str>, report: &mut Report) {
        let Some(number) = number.and_then(|number| number.parse().ok()).filter(|number| *number > 0) else {
            return report.lost(line, text, "left out: a mark is a number from 1 on");
        };
        if let Some((_, first)) = self.fwmark {
            return report.lost(
                line,
                text,
                format!("a virtual server has one number, and this one has {first}"),
            );
        }
        let message = "lb sees no marks of iptables or nftables: write what those mark in `addresses`, with prefixes and \
                       ranges of ports if need be";
        report.changed(line, text, message);
        self.fwmark = Some((line, number));
    }
}

/// The addresses that `10.0.0.1`, `10.0.0.1-9`, `10.0.0.1-10.0.1.9` or `10.0.0.0/28` stand for; a prefix is one.
fn hosts(text: &str) -> Option<Vec<String>> {
    if is_address(text) {
        return Some(vec![text.to_owned()]);
    }
    let (first, last) = text.split_once('-')?;
    match first.parse().ok()? {
        IpAddr::V4(first) => {
            let last = match last.parse::<Ipv4Addr>() {
                Ok(last) => last,
                Err(_) => {
                    let [a, b, c, _] = first.octets();
                    Ipv4Addr::new(a, b, c, last.parse().ok()?)
                }
            };
            let (first, last) = (first.to_bits(), last.to_bits());
            let is_short = last.checked_sub(first)? < MOST;
            is_short.then(|| (first..=last).map(|bits| Ipv4Addr::from_bits(bits).to_string()).collect())
        }
        IpAddr::V6(first) => {
            let last = match last.parse::<Ipv6Addr>() {
                Ok(last) => last,
                Err(_) => {
                    let mut segments = first.segments();
                    segments[7] = u16::from_str_radix(last, 16).ok()?;
                    Ipv6Addr::from(segments)
                }
            };
            let (first, last) = (first.to_bits(), last.to_bits());
            let is_short = last.checked_sub(first)? < u128::from(MOST);
            is_short.then(|| (first..=last).map(|bits| Ipv6Addr::from_bits(bits).to_string()).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_every_address_in_them() {
        let joined = |text| hosts(text).map(|hosts| hosts.join(" "));
        assert_eq!(joined("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(
            joined("192.0.2.254-192.0.3.1").as_deref(),
            Some("192.0.2.254 192.0.2.255 192.0.3.0 192.0.3.1")
        );
        assert_eq!(joined("192.0.2.3-5").as_deref(), Some("192.0.2.3 192.0.2.4 192.0.2.5"));
        assert_eq!(joined("2001:db8::e-10").as_deref(), Some("2001:db8::e 2001:db8::f 2001:db8::10"));
        assert_eq!(joined("192.0.2.0/28").as_deref(), Some("192.0.2.0/28"));
        for wrong in ["192.0.2.5-3", "10.0.0.0-10.255.0.0", "192.0.2.1-", "a-b", "web", "::-ffff:ffff::"] {
            assert_eq!(joined(wrong), None, "{wrong}");
        }
    }
}
