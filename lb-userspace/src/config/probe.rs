//! Probes: what is asked of a real server, each in a table of its own.

mod http;

use regex::bytes::Regex;

use super::contract::{CheckSections, PROBES, Section};
use super::diagnostic::{Code, Diagnostic};
use super::health::{Dns, Exec, Pattern, Probe, Smtp, Tcp, Udp};
use super::host;
use super::reader::{Table, Text, Value};
use super::report::Reported;
use super::source::{Located, Span};
use super::suggest::quoted;
use super::value;

/// A probe as it was read.
#[derive(Clone)]
pub(super) struct ProbeDraft {
    /// What it is called in the file.
    pub(super) name: &'static str,
    /// Its table.
    pub(super) span: Span,
    /// None if the file gives none.
    pub(super) port: Option<Located<u16>>,
    /// With port 0 where it has one.
    probe: Probe,
}

impl ProbeDraft {
    /// Whether it goes to a port.
    pub(super) fn has_port(&self) -> bool {
        !matches!(self.probe, Probe::Icmp | Probe::Exec(_))
    }

    /// The port of its protocol, where that has one.
    pub(super) fn usual_port(&self) -> Option<u16> {
        match &self.probe {
            Probe::Http(http) => Some(if http.tls.is_some() { 443 } else { 80 }),
            Probe::Dns(_) => Some(53),
            Probe::Smtp(_) => Some(25),
            _ => None,
        }
    }

    /// The probe with its port.
    pub(super) fn at(&self, number: u16) -> Probe {
        let mut probe = self.probe.clone();
        match &mut probe {
            Probe::Icmp | Probe::Exec(_) => {}
            Probe::Tcp(Tcp { port })
            | Probe::Udp(Udp { port, .. })
            | Probe::Dns(Dns { port, .. })
            | Probe::Smtp(Smtp { port, .. }) => *port = number,
            Probe::Http(http) => http.port = number,
        }
        probe
    }
}

/// The one probe of a check; none if there is none.
pub(super) fn probe(
    table: &Table<'_>,
    sections: &'static CheckSections,
) -> Result<Option<ProbeDraft>, Reported> {
    let mut written: Vec<(&'static str, Value<'_>)> =
        PROBES.into_iter().filter_map(|name| Some((name, table.optional(name)?))).collect();
    written.sort_by_key(|(_, value)| value.span().start());
    let probes: Vec<_> = written.iter().map(|(name, value)| read(name, *value, sections)).collect();
    if let [(_, first), (_, second), ..] = &written[..] {
        let names: Vec<String> = written.iter().map(|(name, _)| format!("`{name}`")).collect();
        let message = format!("a health check has one probe, and this one has {}", names.join(" and "));
        let diagnostic = Diagnostic::new(Code::SeveralProbes, &second.span(), message).label("the second");
        let help = "remove all but one; the one that goes furthest says most: http before tcp before icmp";
        return Err(table.report().error(diagnostic.related(&first.span(), "the first").help(help)));
    }
    match probes.into_iter().next() {
        Some(probe) => probe.map(Some),
        // It was meant to be one perhaps.
        None => table.unknown_key().map_or(Ok(None), Err),
    }
}

fn read(
    name: &'static str,
    value: Value<'_>,
    sections: &'static CheckSections,
) -> Result<ProbeDraft, Reported> {
    let table = |section: &'static Section, example: &str| value.inline_table(section, example);
    let no_port = |probe| Ok((None, probe));
    let (port, probe) = match name {
        "icmp" => table(&sections.icmp, "{}").and_then(|_| no_port(Probe::Icmp)),
        "tcp" => tcp(&table(&sections.tcp, "{ port = 80 }")?),
        "udp" => udp(&table(&sections.udp, "{ port = 53 }")?),
        "http" => http::http(&table(&sections.http, "{ path = \"/healthz\" }")?, sections),
        "dns" => dns(&table(&sections.dns, "{ name = \"example.net\" }")?),
        "smtp" => smtp(&table(&sections.smtp, "{ port = 25 }")?),
        _ => exec(&table(&sections.exec, "{ command = [\"/etc/lb/check.sh\"] }")?).and_then(no_port),
    }?;
    Ok(ProbeDraft { name, span: value.span(), port, probe })
}

/// The port as it was written, and the probe without it.
type Read = Result<(Option<Located<u16>>, Probe), Reported>;

fn tcp(table: &Table<'_>) -> Read {
    Ok((port(table)?, Probe::Tcp(Tcp { port: 0 })))
}

fn udp(table: &Table<'_>) -> Read {
    let port = port(table);
    let text = table.value_or("payload", None, |value| {
        let text = value.text("write what is sent in quotes: \"ping\\r\\n\"")?;
        checked_length(&text, text.len())?;
        Ok(Some(value.located(text.as_bytes().to_vec())))
    });
    let bytes = table.value_or("payload_hex", None, |value| {
        let text = value.text("write the bytes in quotes: \"0a 1b 2c\"")?;
        let bytes = hex(&text, "write two hexadecimal digits for each byte: \"0a 1b 2c\"")?;
        checked_length(&text, bytes.len())?;
        Ok(Some(value.located(bytes)))
    });
    let require_reply = table.value_or("require_reply", None, |value| {
        let help = "with true, the real server has to answer; else it only must not refuse";
        Ok(Some(value.located(value.boolean(help)?)))
    });
    let reply = table.value_or("reply_regex", None, |value| pattern(value).map(Some));
    let (text, bytes, require_reply, reply) = (text?, bytes?, require_reply?, reply?);
    if let (Some(text), Some(bytes)) = (&text, &bytes) {
        let message = "`payload` and `payload_hex` are both there";
        let diagnostic = Diagnostic::new(Code::Contradiction, &bytes.span, message);
        let diagnostic = diagnostic.related(&text.span, "as text here");
        return Err(table.report().error(diagnostic.help("remove one of the two")));
    }
    if let (Some(required), Some(_)) = (&require_reply, &reply)
        && !required.value
    {
        let message = "an answer is to match `reply_regex`, and yet none is required";
        let diagnostic = Diagnostic::new(Code::Contradiction, &required.span, message);
        return Err(table.report().error(diagnostic.help("remove `require_reply`, or `reply_regex`")));
    }
    let payload = text.or(bytes).map(|payload| payload.value).unwrap_or_default();
    let require_reply = require_reply.map_or(reply.is_some(), |required| required.value);
    Ok((port?, Probe::Udp(Udp { port: 0, payload, require_reply, reply })))
}

/// A datagram that needs no fragments on any network (RFC 8200, section 5: 1280 bytes, less both headers).
fn checked_length(text: &Text<'_>, length: usize) -> Result<(), Reported> {
    const LONGEST: usize = 1232;
    if length <= LONGEST {
        return Ok(());
    }
    let message = format!("the payload has {length} bytes; a probe sends at most {LONGEST}");
    Err(text.error(
        Code::InvalidPayload,
        message,
        "write a shorter one: a probe is one unfragmented datagram",
    ))
}

fn dns(table: &Table<'_>) -> Read {
    let port = port(table);
    let name = table.value_or("name", ".".to_owned(), |value| {
        const HELP: &str =
            "write the name that is asked for in quotes: \"example.net\", or \".\" for the root";
        host::domain(&value.text(HELP)?, HELP)
    });
    let record = table.value_or("type", Dns::DEFAULT_RECORD, |value| value.choice(&Dns::RECORDS));
    let tcp = table.value_or("tcp", false, |value| value.boolean("with true, it is asked over TCP"));
    let (name, record) = (name?, record?.to_owned());
    Ok((port?, Probe::Dns(Dns { port: 0, name, record, tcp: tcp? })))
}

fn smtp(table: &Table<'_>) -> Read {
    let port = port(table);
    let helo_name = table.value_or("helo_name", None, |value| {
        host::helo(&value.text("write the name in quotes: \"lb.example.net\"")?).map(Some)
    });
    Ok((port?, Probe::Smtp(Smtp { port: 0, helo_name: helo_name? })))
}

fn exec(table: &Table<'_>) -> Result<Probe, Reported> {
    const EXAMPLE: &str = "/etc/lb/check.sh";
    let help = format!("write command = [\"{EXAMPLE}\"]: the program's absolute path, then its arguments");
    let command = table.required("command", help).and_then(|value| value::command(value, EXAMPLE));
    let dynamic = table.value_or("dynamic", false, |value| {
        value.boolean("with true, exit codes from 2 to 255 are good, and the weight is to be the code less 2")
    });
    Ok(Probe::Exec(Exec { command: command?, dynamic: dynamic? }))
}

fn port(table: &Table<'_>) -> Result<Option<Located<u16>>, Reported> {
    table.value_or("port", None, |value| {
        let number = value.integer(1..=65_535, "it is the port that the probe goes to: port = 80")?;
        Ok(u16::try_from(number).ok().map(|number| value.located(number)))
    })
}

/// A regular expression, as the crate `regex` has them.
fn pattern(value: Value<'_>) -> Result<Pattern, Reported> {
    let text = value.text("write the regular expression in quotes: \"ok|ready\"")?;
    Regex::new(&text).map(Pattern).map_err(|error| {
        // The last line says what is wrong, those before it show where.
        let told = error.to_string();
        let problem = told.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let message = format!("{} is not a regular expression: {problem}", quoted(&text));
        let help = "write one as in docs.rs/regex, without look-around and back-references; in single quotes \
                    'backslashes\\.' stay as they are";
        text.error(Code::InvalidRegex, message, help)
    })
}

/// Bytes, with white space between them or without.
fn hex(text: &Text<'_>, help: &str) -> Result<Vec<u8>, Reported> {
    let digits: Vec<char> = text.chars().filter(|character| !character.is_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high.to_digit(16)? << 4 | low.to_digit(16)?).ok(),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().ok_or_else(|| {
        let problem = match digits.iter().find(|character| !character.is_ascii_hexdigit()) {
            Some(bad) => format!("{} is no hexadecimal digit", quoted(&bad.to_string())),
            None => "the last byte has one digit".to_owned(),
        };
        text.error(Code::InvalidPayload, format!("{} is not hexadecimal: {problem}", quoted(text)), help)
    })
}
