//! Names of hosts, by which others know them.

use std::net::{IpAddr, Ipv6Addr};

use super::diagnostic::Code;
use super::reader::Text;
use super::report::Reported;
use super::suggest::quoted;

/// RFC 1035, section 2.3.4.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// A name that a host may have: letters, digits, hyphens and, as in practice, underscores (RFC 1123, section 2.1).
pub(super) fn name(text: &Text<'_>, help: &str) -> Result<String, Reported> {
    let problem = if text.parse::<IpAddr>().is_ok() {
        Some("is an address, and no name".to_owned())
    } else {
        problem_of(text)
    };
    refuse(text, problem, help)
}

/// A name that a name server may be asked for: also the root, and one that ends with a dot.
pub(super) fn domain(text: &Text<'_>, help: &str) -> Result<String, Reported> {
    let relative = text.strip_suffix('.').unwrap_or(text);
    let problem = if text.as_str() == "." { None } else { problem_of(relative) };
    refuse(text, problem, help)
}

/// What a mail client may call itself: a name, or an address in brackets (RFC 5321, section 4.1.3).
pub(super) fn helo(text: &Text<'_>) -> Result<String, Reported> {
    const HELP: &str = "write a name such as \"lb.example.net\", or an address in brackets: \"[192.0.2.1]\"";
    let literal = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let is_literal = literal.is_some_and(|literal| {
        let v6 = literal.strip_prefix("IPv6:").and_then(|literal| literal.parse::<Ipv6Addr>().ok());
        v6.is_some() || literal.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4())
    });
    if is_literal { Ok(text.as_str().to_owned()) } else { name(text, HELP) }
}

/// A name or an address.
pub(super) fn name_or_address(text: &Text<'_>, help: &str) -> Result<String, Reported> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => name(text, help),
    }
}

fn refuse(text: &Text<'_>, problem: Option<String>, help: &str) -> Result<String, Reported> {
    match problem {
        None => Ok(text.as_str().to_owned()),
        Some(problem) => {
            let message = format!("{} cannot be the name of a host: it {problem}", quoted(text));
            Err(text.error(Code::InvalidHost, message, help))
        }
    }
}

fn problem_of(name: &str) -> Option<String> {
    let is_allowed = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    if name.is_empty() {
        return Some("is empty".to_owned());
    }
    if name.len() > LONGEST_NAME {
        return Some(format!("has more than {LONGEST_NAME} characters"));
    }
    if let Some(bad) = name.chars().find(|character| *character != '.' && !is_allowed(*character)) {
        return Some(format!("has {} in it", quoted(&bad.to_string())));
    }
    // A name whose last label is a number would be taken for an address that is mistyped.
    if name.rsplit('.').next().is_some_and(|last| last.chars().all(|character| character.is_ascii_digit())) {
        return Some("ends with a number".to_owned());
    }
    name.split('.').find_map(|label| {
        if label.is_empty() {
            Some("has two dots in a row, or begins or ends with one".to_owned())
        } else if label.len() > LONGEST_LABEL {
            Some(format!("has more than {LONGEST_LABEL} characters between two dots"))
        } else if label.starts_with('-') || label.ends_with('-') {
            Some(format!("has a hyphen at an end of {}", quoted(label)))
        } else {
            None
        }
    })
}
