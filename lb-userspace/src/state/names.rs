//! Which virtual server or real server somebody means.

use thiserror::Error;

use crate::config::{Protocol, nearest};
use crate::forms::VirtualAddress;

/// Nothing has this name, or too much.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{problem}; {remedy}")]
pub struct NameError {
    problem: String,
    remedy: String,
}

/// By what a virtual server is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) name: &'a str,
    pub(super) addresses: &'a [VirtualAddress],
    pub(super) protocol: Protocol,
    pub(super) fwmark: Option<u32>,
}

impl Known<'_> {
    /// Whether `wanted` is one of its addresses, as `lb list -n` prints it, perhaps with the protocol behind it, or the
    /// number of its group.
    fn has(&self, wanted: &str) -> bool {
        let (address, protocol) = match wanted.rsplit_once('/') {
            Some((address, name)) if Protocol::by_name(name).is_some() => (address, Protocol::by_name(name)),
            _ => (wanted, None),
        };
        if let Some(mark) = wanted.strip_prefix("fwmark:") {
            return self.fwmark.is_some() && mark.parse().ok() == self.fwmark;
        }
        protocol.is_none_or(|protocol| protocol == self.protocol)
            && self.addresses.iter().any(|known| known.to_string() == address)
    }
}

/// The place of the virtual server with this name among all; what only one of them has is as good as its name.
///
/// # Errors
/// [`NameError`].
pub(super) fn find_service<'a>(
    services: impl IntoIterator<Item = Known<'a>>,
    wanted: &str,
) -> Result<usize, NameError> {
    let services: Vec<_> = services.into_iter().collect();
    if let Some(found) = services.iter().position(|service| service.name == wanted) {
        return Ok(found);
    }
    // Each address is put into words, which takes a while for many: not for a name that nobody has.
    let may_be_address = wanted.contains(':');
    let having = (0..services.len()).filter(|place| may_be_address && services[*place].has(wanted));
    let having: Vec<usize> = having.collect();
    match having[..] {
        [one] => Ok(one),
        [] => Err(unknown(
            format!("there is no virtual server {wanted:?}"),
            wanted,
            &services.iter().map(|service| service.name).collect::<Vec<_>>(),
        )),
        _ => {
            let names = having.iter().map(|place| format!("{:?}", services[*place].name)).collect::<Vec<_>>();
            let problem = format!("{wanted} is an address of several virtual servers");
            Err(NameError { problem, remedy: format!("name one: {}", names.join(", ")) })
        }
    }
}

/// The real server that is meant is not one of the virtual server's.
pub(super) fn unknown_server(service: &str, wanted: &str, known: &[String]) -> NameError {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    unknown(format!("{service:?} has no real server {wanted}"), wanted, &known)
}

fn unknown(problem: String, wanted: &str, known: &[&str]) -> NameError {
    const LISTED: usize = 8;
    let remedy = match nearest(wanted, known.iter().copied()) {
        Some(name) => format!("did you mean {name:?}?"),
        None if known.is_empty() => "there are none at all".to_owned(),
        None if known.len() > LISTED => "`lb list -n` shows those that there are".to_owned(),
        None => format!("there is {}", known.join(", ")),
    };
    NameError { problem, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(wanted: &str) -> Result<usize, String> {
        let address = |text: &str| text.parse::<std::net::SocketAddr>().expect("it is an address").into();
        let shared = [address("192.0.2.1:80"), address("192.0.2.1:443")];
        let other = [address("192.0.2.1:80"), address("[2001:db8::1]:53")];
        let known = |name, addresses, protocol, fwmark| Known { name, addresses, protocol, fwmark };
        let services =
            [known("web", &shared, Protocol::Tcp, None), known("dns", &other, Protocol::Udp, Some(7))];
        find_service(services, wanted).map_err(|error| error.to_string())
    }

    #[test]
    fn a_virtual_server_is_known_by_its_name_and_by_an_address_of_its_own() {
        assert_eq!(found("web"), Ok(0));
        assert_eq!(found("192.0.2.1:443"), Ok(0));
        assert_eq!(found("[2001:db8::1]:53"), Ok(1));
        assert_eq!((found("192.0.2.1:80/tcp"), found("192.0.2.1:80/udp")), (Ok(0), Ok(1)));
        assert_eq!(found("fwmark:7"), Ok(1));
        assert!(found("fwmark:8").is_err() && found("192.0.2.1:443/udp").is_err());
    }

    #[test]
    fn whoever_errs_is_told_what_there_is() {
        for (wanted, message) in [
            ("wbe", "there is no virtual server \"wbe\"; did you mean \"web\"?"),
            ("smtp", "there is no virtual server \"smtp\"; there is web, dns"),
            (
                "192.0.2.1:80",
                "192.0.2.1:80 is an address of several virtual servers; name one: \"web\", \"dns\"",
            ),
        ] {
            assert_eq!(found(wanted), Err(message.to_owned()));
        }
        let servers = ["192.0.2.10".to_owned(), "192.0.2.20".to_owned()];
        let error = unknown_server("web", "192.0.2.11", &servers).to_string();
        assert_eq!(error, "\"web\" has no real server 192.0.2.11; did you mean \"192.0.2.10\"?");
    }
}
