//! `director.http`, `director.http_names` and `director.http_admin_file`: where browsers and programs on other machines
//! may ask, and what those know who may change something there.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::diagnostic::{Code, Diagnostic};
use super::host;
use super::machine::Need;
use super::reader::{Table, Value};
use super::report::{Partial, Reported};
use super::suggest::quoted;
use super::value;

const HELP: &str = "write an address of this machine and a port: \"127.0.0.1:9811\", or \"[::1]:9811\"; \"0.0.0.0:9811\" \
                    and \"[::]:9811\" are all of them";

/// Where to listen.
pub(super) fn address(value: Value<'_>) -> Result<SocketAddr, Reported> {
    let text = value.text(HELP)?;
    if let Ok(ip) = text.parse::<IpAddr>() {
        let message = format!("{} has no port", quoted(&text));
        let help = format!("write \"{}\"", SocketAddr::new(ip, 9811));
        return Err(text.error(Code::InvalidAddress, message, help));
    }
    let Ok(address) = text.parse::<SocketAddr>() else {
        return Err(text.error(
            Code::InvalidAddress,
            format!("{} is no address with a port", quoted(&text)),
            HELP,
        ));
    };
    if address.port() == 0 {
        let message = "nobody would know which port it is";
        let help = format!("write \"{}\"", SocketAddr::new(address.ip(), 9811));
        return Err(text.error(Code::InvalidAddress, message, help));
    }
    let is_broadcast = matches!(address.ip(), IpAddr::V4(ip) if ip.is_broadcast());
    if is_broadcast || address.ip().is_multicast() {
        let message = format!("{} is no address that a machine has", address.ip());
        return Err(text.error(Code::UnusableAddress, message, HELP));
    }
    Ok(address)
}

/// By which names it is known, if there is anything to be known.
pub(super) fn names(director: &Table<'_>) -> Result<Vec<String>, Reported> {
    director.value_or("http_names", Vec::new(), |value| {
        let span = value.span();
        let report = value.report();
        let elements = value.list("\"lb.example.net\"")?;
        let help = "write a name of this machine, without a port: \"lb.example.net\"";
        let names = elements.iter().map(|element| host::name(&element.text(help)?, help));
        let names = Partial::of(names).all()?;
        if director.optional("http").is_none() {
            let message = "nothing is served, so nothing depends on `http_names`";
            let help = "write http = \"127.0.0.1:9811\" to have a status page, or remove `http_names`";
            report.warning(Diagnostic::new(Code::NoEffect, &span, message).help(help));
        }
        Ok(names.into_iter().map(|name| name.to_ascii_lowercase()).collect())
    })
}

/// Where the secret of administrators is, if nothing says that it is elsewhere.
const ADMIN_FILE: &str = "/etc/lb/admin.key";

/// The file of administrators' secret. It makes sense with an address only, and crosses the network to that in clear.
pub(super) fn admin_file(
    director: &Table<'_>,
    address: Option<SocketAddr>,
) -> Result<Option<PathBuf>, Reported> {
    director.value_or("http_admin_file", None, |value| {
        let path = value::secret(value, Need::Secret, ADMIN_FILE)?;
        let (span, report) = (value.span(), value.report());
        if director.optional("http").is_none() {
            let message = "there is nowhere to sign in: `http` says where, and is not there";
            let help = "write http = \"127.0.0.1:9811\" to have a status page, or remove `http_admin_file`";
            return Err(report.error(Diagnostic::new(Code::MissingKey, &span, message).help(help)));
        }
        if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
            let message = format!("this secret crosses the network to {address} in clear: there is no TLS");
            let help = "write http = \"127.0.0.1:9811\" and use `ssh -L 9811:127.0.0.1:9811`, or a reverse proxy with TLS \
                        on this machine";
            report.warning(Diagnostic::new(Code::SecretInClear, &span, message).help(help));
        }
        Ok(Some(path))
    })
}
