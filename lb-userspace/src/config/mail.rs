//! `[smtp]`: where mail is sent.

use std::time::Duration;

use super::contract::SMTP;
use super::diagnostic::{Code, Diagnostic};
use super::health::Mail;
use super::host;
use super::reader::{Table, Text, Value};
use super::report::{Partial, Reported};
use super::suggest::quoted;
use super::value;

pub(super) fn mail(file: &Table<'_>) -> Result<Option<Mail>, Reported> {
    file.value_or("smtp", None, |value| {
        let table = value.table(&SMTP)?;
        let server = table
            .required("server", SERVER_HELP)
            .and_then(|value| value.text(SERVER_HELP))
            .and_then(|text| server(&text));
        let from = table
            .required("from", FROM_HELP)
            .and_then(|value| value.text(FROM_HELP))
            .and_then(|text| mailbox(&text));
        let to = table.required("to", TO_HELP).and_then(receivers);
        let helo_name = table.value_or("helo_name", None, |value| {
            host::helo(&value.text("write the name in quotes: \"lb.example.net\"")?).map(Some)
        });
        let connect_timeout = table.value_or("connect_timeout", Mail::CONNECT_TIMEOUT, |value| {
            let limits = Duration::from_millis(10)..=Duration::from_secs(10 * 60);
            Ok(value::wait(value, limits)?.value)
        });
        let ((server, port), from, to) = (server?, from?, to?);
        Ok(Some(Mail { server, port, from, to, helo_name: helo_name?, connect_timeout: connect_timeout? }))
    })
}

const SERVER_HELP: &str = "write server = \"192.0.2.25:25\": the mail server's name or address, and its port if \
                           that is not 25";
const FROM_HELP: &str = "write from = \"lb@example.net\": the sender of mail";
const TO_HELP: &str = "write to = [\"ops@example.net\"]: the receivers of mail";

/// A name or an address, with a port or without.
fn server(text: &Text<'_>) -> Result<(String, u16), Reported> {
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok((text.as_str().to_owned(), Mail::PORT));
    }
    let (host, port) = match (text.strip_prefix('['), text.find(']')) {
        (Some(_), Some(closing)) => {
            let host = text.part(1..closing);
            match text.part(closing + 1..text.len()).halves(':') {
                Some((between, port)) if between.is_empty() => (host, Some(port)),
                None if closing + 1 == text.len() => (host, None),
                _ => {
                    let message = format!("{} is no mail server", quoted(text));
                    return Err(text.error(Code::InvalidAddress, message, SERVER_HELP));
                }
            }
        }
        _ => match text.halves(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text.clone(), None),
        },
    };
    let host = host::name_or_address(&host, SERVER_HELP);
    let port = port.map_or(Ok(Mail::PORT), |port| match port.parse::<u16>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(port.error(
            Code::InvalidAddress,
            format!("{} is not a port", quoted(&port)),
            "write a number from 1 to 65535, or leave it out for port 25",
        )),
    });
    Ok((host?, port?))
}

fn receivers(value: Value<'_>) -> Result<Vec<String>, Reported> {
    let elements = value.list("\"ops@example.net\"")?;
    if elements.is_empty() {
        let diagnostic = Diagnostic::new(Code::InvalidMailbox, &value.span(), "nobody receives the mail");
        return Err(value.report().error(diagnostic.help(TO_HELP)));
    }
    Partial::of(elements.into_iter().map(|element| mailbox(&element.text(TO_HELP)?))).all()
}

/// Only what no server would refuse, and what cannot become a second line of the dialogue (RFC 5321, section 4.1.2).
fn mailbox(text: &Text<'_>) -> Result<String, Reported> {
    const LONGEST: usize = 254;
    let problem = if text.len() > LONGEST {
        Some("is too long")
    } else if text.contains(|character: char| character.is_control() || character.is_whitespace()) {
        Some("has white space or a control character in it")
    } else if text.contains(['<', '>', '"', ',', ';', '(', ')', '\\']) {
        Some("has more in it than the address")
    } else {
        match text.split_once('@') {
            Some((user, domain)) if !user.is_empty() && !domain.is_empty() && !domain.contains('@') => None,
            _ => Some("is not a name, an @ and a domain"),
        }
    };
    match problem {
        None => Ok(text.as_str().to_owned()),
        Some(problem) => {
            let message = format!("{} is no mail address: it {problem}", quoted(text));
            Err(text.error(Code::InvalidMailbox, message, "write the address alone: \"ops@example.net\""))
        }
    }
}

impl Mail {
    /// SMTP's.
    const PORT: u16 = 25;
    /// keepalived's `smtp_connect_timeout`.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
}
