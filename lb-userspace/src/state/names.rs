//! Which virtual server or real server somebody means.

use thiserror::Error;

use crate::config::nearest;
use crate::forms::VirtualAddress;

/// Nothing has this name, or too much.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{problem}; {remedy}")]
pub struct NameError {
    problem: String,
    remedy: String,
}

/// The place of the virtual server with this name among all; an address that only one of them has, as `lb list -n`
/// prints it, is as good as its name.
///
/// # Errors
/// [`NameError`].
pub(super) fn find_service<'a>(
    services: impl IntoIterator<Item = (&'a str, &'a [VirtualAddress])>,
    wanted: &str,
) -> Result<usize, NameError> {
    let services: Vec<_> = services.into_iter().collect();
    if let Some(found) = services.iter().position(|(name, _)| *name == wanted) {
        return Ok(found);
    }
    let has_it = |addresses: &[VirtualAddress]| addresses.iter().any(|address| address.to_string() == wanted);
    let having: Vec<usize> = (0..services.len()).filter(|place| has_it(services[*place].1)).collect();
    match having[..] {
        [one] => Ok(one),
        [] => Err(unknown(
            format!("there is no virtual server {wanted:?}"),
            wanted,
            &services.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        )),
        _ => {
            let names = having.iter().map(|place| format!("{:?}", services[*place].0)).collect::<Vec<_>>();
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
        let services = [("web", &shared[..]), ("dns", &other[..])];
        find_service(services, wanted).map_err(|error| error.to_string())
    }

    #[test]
    fn a_virtual_server_is_known_by_its_name_and_by_an_address_of_its_own() {
        assert_eq!(found("web"), Ok(0));
        assert_eq!(found("192.0.2.1:443"), Ok(0));
        assert_eq!(found("[2001:db8::1]:53"), Ok(1));
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
