//! `http`: what a web server is asked, and what it has to answer.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::super::contract::CheckSections;
use super::super::diagnostic::{Code, Diagnostic};
use super::super::health::{Body, Http, Probe, Tls};
use super::super::host;
use super::super::machine::Need;
use super::super::reader::{Table, Text, Value};
use super::super::report::{Partial, Reported};
use super::super::source::Located;
use super::super::suggest::quoted;
use super::super::value;
use super::{Read, pattern, port};

/// RFC 9110, section 15.
const STATUS: RangeInclusive<u32> = 100..=599;

pub(super) fn http(table: &Table<'_>, sections: &'static CheckSections) -> Read {
    let port = port(table);
    let method = table.value_or("method", Http::DEFAULT_METHOD.to_owned(), method);
    let path = table.value_or("path", Http::DEFAULT_PATH.to_owned(), path);
    let host = table.value_or("host", None, |value| host_header(value).map(Some));
    let status = table.value_or("status", (200..=299).collect(), status);
    let body = body(table, method.as_deref().unwrap_or_default());
    let body_limit = table.value_or("body_limit", Http::DEFAULT_BODY_LIMIT, |value| {
        let help = "it is how many bytes of the answer's body are read; 65536 if it is not written";
        value.integer(1..=Http::MAX_BODY_LIMIT, help)
    });
    let redirects = table.value_or("redirects", 0, |value| {
        value
            .integer(0..=10, "it is how many redirects are followed, as long as they stay at the real server")
    });
    let agent = table.value_or("agent", false, |value| {
        value.boolean("with true, the body says what weight the real server wants, as answers to HAProxy's agent-check do")
    });
    let tls = table.value_or("tls", None, |value| tls(value, sections));
    let http = Http {
        port: 0,
        method: method?,
        path: path?,
        host: host?,
        status: status?,
        body: body?,
        body_limit: body_limit?,
        redirects: redirects?,
        agent: agent?,
        tls: tls?,
    };
    Ok((port?, Probe::Http(Box::new(http))))
}

fn method(value: Value<'_>) -> Result<String, Reported> {
    const LONGEST: usize = 32;
    // RFC 9110, section 9.3, and RFC 5789; without CONNECT, which asks for no resource.
    const USUAL: [&str; 8] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE"];
    const HELP: &str = "write method = \"GET\"";
    let text = value.text(HELP)?;
    // `token` in RFC 9110, section 5.6.2.
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || text.len() > LONGEST || !text.bytes().all(is_token) {
        let message = format!("{} is not a method of HTTP", quoted(&text));
        return Err(text.error(Code::InvalidRequest, message, HELP));
    }
    let capitals = text.to_ascii_uppercase();
    if USUAL.contains(&&*capitals) && capitals != text.as_str() {
        let message = format!("{} is not a method of HTTP: capital letters count", quoted(&text));
        return Err(text.error(Code::InvalidRequest, message, format!("write \"{capitals}\"")));
    }
    Ok(text.as_str().to_owned())
}

fn path(value: Value<'_>) -> Result<String, Reported> {
    const HELP: &str = "write path = \"/healthz\": path and query as they are in a URL, behind the host";
    let text = value.text(HELP)?;
    let bad = text.chars().find(|character| !character.is_ascii_graphic() || *character == '#');
    let problem = if let Some((_, rest)) = text.split_once("://") {
        let path = rest.find('/').map_or("/", |slash| &rest[slash..]);
        let message = format!("the path {} is a whole URL", quoted(&text));
        let help = format!("write {} alone; the rest says `host`, `port` and `tls`", quoted(path));
        return Err(text.error(Code::InvalidRequest, message, help));
    } else if !text.starts_with('/') {
        "begins with no slash".to_owned()
    } else if let Some(bad) = bad {
        format!("has {} in it", quoted(&bad.to_string()))
    } else {
        return Ok(text.as_str().to_owned());
    };
    let message = format!("the path {} {problem}", quoted(&text));
    let help = match bad {
        Some('#') => "remove it and what is behind it: it is not sent to servers",
        Some(' ') => "write %20 for a space",
        Some(_) => {
            "write other characters than ASCII's visible ones as %, and two hexadecimal digits for each byte"
        }
        None => HELP,
    };
    Err(text.error(Code::InvalidRequest, message, help))
}

fn host_header(value: Value<'_>) -> Result<String, Reported> {
    const HELP: &str = "write what browsers would send: \"example.net\", or \"example.net:8080\"";
    let text = value.text(HELP)?;
    let bad = text.chars().find(|character| !character.is_ascii_graphic() || "/?#@".contains(*character));
    let problem = match bad {
        Some(bad) => format!("has {} in it", quoted(&bad.to_string())),
        None if text.is_empty() => "is empty".to_owned(),
        None => return Ok(text.as_str().to_owned()),
    };
    Err(text.error(Code::InvalidHost, format!("{} cannot be the host: it {problem}", quoted(&text)), HELP))
}

fn status(value: Value<'_>) -> Result<BTreeSet<u16>, Reported> {
    const HELP: &str = "write status = [200], or [\"200-299\", 304]: what the real server may answer";
    let elements = value.list("\"200-299\"")?;
    if elements.is_empty() {
        let diagnostic = Diagnostic::new(Code::MissingKey, &value.span(), "no status would be good");
        return Err(value.report().error(diagnostic.help(HELP)));
    }
    let ranges = elements.into_iter().map(|element| {
        let (first, last) = if element.is_text() {
            range(&element.text(HELP)?)?
        } else {
            let status = element.integer(STATUS, HELP)?;
            (status, status)
        };
        Ok((first..=last).filter_map(|status| u16::try_from(status).ok()))
    });
    Ok(Partial::of(ranges).all()?.into_iter().flatten().collect())
}

fn range(text: &Text<'_>) -> Result<(u32, u32), Reported> {
    let number = |text: &str| text.trim().parse().ok().filter(|status| STATUS.contains(status));
    let ends = match text.split_once('-') {
        Some((first, last)) => number(first).zip(number(last)),
        None => number(text).map(|status| (status, status)),
    };
    ends.filter(|(first, last)| first <= last).ok_or_else(|| {
        let message = format!("{} is no range of status codes", quoted(text));
        let help = "write the first and the last, from 100 to 599: \"200-299\"";
        text.error(Code::OutOfRange, message, help)
    })
}

/// What the body has to be, which answers to some methods have none of.
fn body(table: &Table<'_>, method: &str) -> Result<Option<Body>, Reported> {
    let regex =
        table.value_or("body_regex", None, |value| pattern(value).map(|regex| Some(value.located(regex))));
    let digest = table.value_or("body_sha256", None, |value| Ok(Some(value.located(sha256(value)?))));
    let (regex, digest) = (regex?, digest?);
    let span = match (&regex, &digest) {
        (Some(regex), Some(digest)) => {
            let message = "`body_regex` and `body_sha256` are both there";
            let diagnostic = Diagnostic::new(Code::Contradiction, &digest.span, message);
            let diagnostic = diagnostic.related(&regex.span, "the expression");
            return Err(table.report().error(diagnostic.help("remove one of the two: the digest says more")));
        }
        (Some(regex), None) => &regex.span,
        (None, Some(digest)) => &digest.span,
        (None, None) => return Ok(None),
    };
    if method == "HEAD" {
        let message = "the answer to HEAD has no body to look at";
        let diagnostic = Diagnostic::new(Code::Contradiction, span, message);
        return Err(table.report().error(diagnostic.help("write method = \"GET\", or remove it")));
    }
    let regex = regex.map(|regex| Body::Regex(regex.value));
    Ok(regex.or(digest.map(|digest| Body::Sha256(digest.value))))
}

fn sha256(value: Value<'_>) -> Result<[u8; 32], Reported> {
    const HELP: &str = "write the 64 hexadecimal digits that `curl -s URL | sha256sum` prints";
    let text = value.text(HELP)?;
    let digit = |place: usize| text.as_bytes().get(place).and_then(|digit| char::from(*digit).to_digit(16));
    let byte = |place: usize| u8::try_from(digit(2 * place)? << 4 | digit(2 * place + 1)?).ok();
    let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
    bytes.filter(|_| text.len() == 64).and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        let problem = match text.chars().find(|character| !character.is_ascii_hexdigit()) {
            Some(bad) => format!("has {} in it", quoted(&bad.to_string())),
            None => format!("has {} digits", text.len()),
        };
        let message = format!("{} is not a SHA-256 digest: it {problem}", quoted(&text));
        text.error(Code::InvalidDigest, message, HELP)
    })
}

fn tls(value: Value<'_>, sections: &'static CheckSections) -> Result<Option<Tls>, Reported> {
    let table = value.inline_table(&sections.tls, "{ server_name = \"example.net\" }")?;
    let enabled = table.value_or("enabled", true, |value| {
        value.boolean("with true, TLS is spoken, as if it were not written; with false, it is not")
    });
    let verify = table.value_or("verify", true, |value| {
        value.boolean("with true, the certificate has to be valid and for the `server_name`")
    });
    let server_name = table.value_or("server_name", None, |value| {
        const HELP: &str = "write the name that the certificate has: \"example.net\"";
        host::name(&value.text(HELP)?, HELP).map(Some)
    });
    let ca_file = table.value_or("ca_file", None, |value| {
        let path = value::absolute_path(value, "/etc/lb/ca.pem")?;
        Ok(Some(value.located(path)))
    });
    let (enabled, verify, server_name, ca_file) = (enabled?, verify?, server_name?, ca_file?);
    let idle: Vec<String> = ["verify", "server_name", "ca_file"]
        .into_iter()
        .filter(|key| table.optional(key).is_some())
        .map(|key| format!("`{key}`"))
        .collect();
    if !enabled {
        if !idle.is_empty() {
            let message = format!("TLS is not spoken, so nothing depends on {}", idle.join(" and "));
            let diagnostic = Diagnostic::new(Code::NoEffect, &table.header(), message);
            table
                .report()
                .warning(diagnostic.help("remove `enabled = false` if TLS is to be spoken, else `tls`"));
        }
        return Ok(None);
    }
    if let (Some(ca_file), false) = (&ca_file, verify) {
        let message = "certificates are not verified, so `ca_file` does nothing";
        let diagnostic = Diagnostic::new(Code::NoEffect, &ca_file.span, message);
        table.report().warning(diagnostic.help("remove `verify = false`, or `ca_file`"));
    }
    if let Some(ca_file) = &ca_file {
        let path = ca_file.value.display().to_string();
        table.report().need(Need::File, Located { value: path, span: ca_file.span.clone() });
    }
    Ok(Some(Tls { verify, server_name, ca_file: ca_file.map(|file| file.value) }))
}
