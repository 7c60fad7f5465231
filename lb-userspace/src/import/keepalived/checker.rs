//! Checkers of real servers: keepalived has any number of them, lb has one.

use super::super::document::{Element, Section, Value};
use super::super::report::Report;
use super::hexadecimal::{byte_class, nibbles};
use super::tree::Statement;
use super::{command, duration, is_on, rest, seconds};

/// All of them, and the one that is kept of several: first what speaks the service's own protocol, the further the better,
/// then whatever the operator's program looks at, then transports, and last whether the machine is there at all.
pub(super) const KEYWORDS: [&str; 12] = [
    "HTTP_GET",
    "SSL_GET",
    "SMTP_CHECK",
    "DNS_CHECK",
    "MISC_CHECK",
    "UDP_CHECK",
    "TCP_CHECK",
    "PING_CHECK",
    "FILE_CHECK",
    "BFD_CHECK",
    // Told of by `virtual_server::notifiers`.
    "notify_up",
    "notify_down",
];

/// A check as lb has it.
#[derive(Clone)]
pub(super) struct Check {
    line: usize,
    subject: String,
    keys: Vec<(usize, &'static str, Value)>,
    probe: &'static str,
    of_probe: Vec<(usize, &'static str, Value)>,
}

/// Where it was written does not make it another one.
impl PartialEq for Check {
    fn eq(&self, other: &Self) -> bool {
        let same = |one: &[(usize, &str, Value)], other: &[(usize, &str, Value)]| {
            let values = one.iter().map(|(_, key, value)| (key, value));
            values.eq(other.iter().map(|(_, key, value)| (key, value)))
        };
        self.probe == other.probe && same(&self.keys, &other.keys) && same(&self.of_probe, &other.of_probe)
    }
}

impl Check {
    /// Its section, with this path.
    pub(super) fn section(&self, path: &'static str) -> Section {
        let mut section = Section::table(path, self.line, self.subject.as_str());
        for (line, key, value) in &self.keys {
            section.set(*line, key, value.clone());
        }
        let probe = self.of_probe.iter().map(|(_, key, value)| (*key, value.clone())).collect();
        section.set(self.line, self.probe, Value::Table(probe));
        section
    }
}

/// A checker with what it is in.
struct Checker<'a> {
    checker: &'a Statement,
    real_server: &'a Statement,
    server: &'a Statement,
    ports: &'a [u16],
}

/// How a real server is checked; none if it is not.
pub(super) fn check(
    real_server: &Statement,
    server: &Statement,
    ports: &[u16],
    report: &mut Report,
) -> Option<Check> {
    let mut checkers: Vec<&Statement> = Vec::new();
    for keyword in &KEYWORDS[..10] {
        for checker in real_server.all(keyword) {
            match *keyword {
                "FILE_CHECK" => {
                    report.lost(checker.line, "FILE_CHECK", "lb does not watch files; MISC_CHECK can")
                }
                "BFD_CHECK" => report.lost(
                    checker.line,
                    "BFD_CHECK",
                    "lb has no BFD; check with short intervals instead",
                ),
                _ => checkers.push(checker),
            }
        }
    }
    let (first, others) = checkers.split_first()?;
    for other in others {
        let message = format!(
            "lb makes one check of a real server, and {} says most; to ask for all of them, write a script for `exec`",
            first.keyword
        );
        report.lost(other.line, other.keyword, message);
    }
    let checker = Checker { checker: first, real_server, server, ports };
    checker.convert(report)
}

/// Options that all checkers have.
const KNOWN: [&str; 9] = [
    "connect_ip",
    "connect_port",
    "bindto",
    "connect_timeout",
    "retry",
    "nb_get_retry",
    "delay_before_retry",
    "delay_loop",
    "host",
];

impl Checker<'_> {
    fn convert(&self, report: &mut Report) -> Option<Check> {
        let checker = self.checker;
        let (probe, of_probe, known): (_, _, &[&str]) = match checker.keyword {
            "HTTP_GET" | "SSL_GET" => {
                ("http", self.http(report), &["url", "virtualhost", "enable_sni", "sni_name"])
            }
            "SMTP_CHECK" => ("smtp", self.with_port(&[("helo_name", "helo_name")]), &["helo_name"]),
            "DNS_CHECK" => ("dns", self.dns(), &["name", "type"]),
            "MISC_CHECK" => ("exec", self.misc(report)?, &["misc_path", "misc_timeout", "misc_dynamic"]),
            "UDP_CHECK" => ("udp", self.udp(report), &["payload", "require_reply"]),
            "TCP_CHECK" => ("tcp", self.with_port(&[]), &[]),
            _ => ("icmp", Vec::new(), &[]),
        };
        let subject = checker.keyword.to_owned();
        let keys = self.times(probe, report);
        rest(checker, &[&KNOWN[..], known].concat(), why, report);
        self.other_target(report);
        Some(Check { line: checker.line, subject, keys, probe, of_probe })
    }

    /// What is written of the checker, or its `host`, or around it.
    fn find(&self, keywords: &[&str]) -> Option<&Statement> {
        let host = self.checker.find("host");
        let places = host.into_iter().chain([self.checker, self.real_server, self.server]);
        places.into_iter().find_map(|place| keywords.iter().find_map(|keyword| place.find(keyword)))
    }

    fn own(&self, keyword: &str) -> Option<&Statement> {
        self.checker.find("host").and_then(|host| host.find(keyword)).or(self.checker.find(keyword))
    }

    /// How often, how long, and how often again.
    fn times(&self, probe: &str, report: &mut Report) -> Vec<(usize, &'static str, Value)> {
        let mut keys = Vec::new();
        let mut number = |keywords: &[&str]| {
            let statement = self.find(keywords)?;
            let found = statement.argument(1).and_then(seconds);
            if found.is_none() {
                super::no_number(statement, report);
            }
            Some((statement, found?))
        };
        let interval = number(&["delay_loop"]);
        let timeout = number(if probe == "exec" { &["misc_timeout"] } else { &["connect_timeout"] });
        let retries = number(&["retry", "nb_get_retry"]);
        let retry_delay = number(&["delay_before_retry"]);
        if let Some((statement, seconds)) = interval {
            keys.push((statement.line, "interval", duration(seconds).into()));
        }
        if let Some((statement, seconds)) = timeout {
            // "delay timer for checker polling (60 seconds if not specified)" (keepalived.conf(5))
            let most = interval.map_or(60.0, |(_, seconds)| seconds);
            if seconds > most {
                let message = format!(
                    "longer than the interval of checks, {most} s: cut to that, for lb makes one at a time"
                );
                report.changed(statement.line, &statement.text(), message);
            }
            keys.push((statement.line, "timeout", duration(seconds.min(most)).into()));
        }
        if let Some((statement, retries)) = retries {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "seconds() lets nothing larger than 1e9 through"
            )]
            keys.push((statement.line, "retries", Value::Number(retries as i64)));
        }
        if let Some((statement, seconds)) = retry_delay {
            keys.push((statement.line, "retry_delay", duration(seconds).into()));
        }
        if let Some(bind) = self.own("bindto") {
            keys.push((bind.line, "bind", bind.argument(1).unwrap_or_default().into()));
        }
        keys
    }

    /// The port if it is another than the virtual server's, and values as they are written.
    fn with_port(&self, texts: &[(&'static str, &str)]) -> Vec<(usize, &'static str, Value)> {
        let mut keys = Vec::new();
        let written = self
            .own("connect_port")
            .and_then(|port| Some((port.line, port.argument(1)?.parse::<u16>().ok()?)));
        let of_server = || Some((self.real_server.line, self.real_server.argument(2)?.parse::<u16>().ok()?));
        if let Some((line, port)) = written.or_else(of_server).filter(|(_, port)| *port > 0)
            && (self.ports.is_empty() || self.ports.iter().any(|other| *other != port))
        {
            keys.push((line, "port", i64::from(port).into()));
        } else if let (None, [_, ..]) = (written, self.ports)
            && self.ports.iter().any(|port| *port != self.ports[0])
        {
            // Several ports, of which none is said.
            keys.push((self.real_server.line, "port", i64::from(self.ports[0]).into()));
        }
        for (key, keyword) in texts {
            if let Some(statement) = self.checker.find(keyword) {
                keys.push((statement.line, key, statement.argument(1).unwrap_or_default().into()));
            }
        }
        keys
    }

    fn http(&self, report: &mut Report) -> Vec<(usize, &'static str, Value)> {
        let mut keys = self.with_port(&[]);
        let mut urls = self.checker.all("url");
        let url = urls.next();
        for other in urls {
            let path = other.find("path").map(Statement::text).unwrap_or_default();
            let message =
                "lb asks for one page, the first; have the server give one that says whether all is well";
            report.lost(other.line, &format!("url {path}"), message);
        }
        let in_url = |keyword| url.and_then(|url| url.find(keyword));
        if let Some(path) = in_url("path") {
            keys.push((path.line, "path", path.arguments().join(" ").into()));
        }
        let host = in_url("virtualhost").or_else(|| self.find(&["virtualhost"]));
        if let Some(host) = host {
            keys.push((host.line, "host", host.argument(1).unwrap_or_default().into()));
        }
        if let Some(status) = in_url("status_code") {
            let code = |code: &String| match code.parse::<i64>() {
                Ok(number) => Element::new(status.line, number),
                Err(_) => Element::new(status.line, code.as_str()),
            };
            keys.push((
                status.line,
                "status",
                status.arguments().iter().map(code).collect::<Vec<_>>().into(),
            ));
        }
        if let Some(regex) = in_url("regex") {
            self.body_regex(regex, url, &mut keys, report);
        }
        if let Some(url) = url {
            let known = ["path", "virtualhost", "status_code", "regex", "regex_no_match", "regex_options"];
            rest(url, &known, why, report);
        }
        if self.checker.keyword == "SSL_GET" {
            let mut tls = vec![("verify", Value::Boolean(false))];
            if let Some(name) = self.checker.find("sni_name") {
                tls.push(("server_name", name.argument(1).unwrap_or_default().into()));
            }
            keys.push((self.checker.line, "tls", Value::Table(tls)));
        }
        keys
    }

    fn body_regex(
        &self,
        regex: &Statement,
        url: Option<&Statement>,
        keys: &mut Vec<(usize, &'static str, Value)>,
        report: &mut Report,
    ) {
        let find = |keyword| url.and_then(|url| url.find(keyword));
        if let Some(negation) = find("regex_no_match").filter(|switch| is_on(switch)) {
            let message =
                "lb has no negation: the expression is left out; have the server answer with another status";
            return report.lost(negation.line, "regex_no_match", message);
        }
        let mut flags = String::new();
        for option in find("regex_options").map(Statement::arguments).unwrap_or_default() {
            match option.as_str() {
                "caseless" => flags.push('i'),
                "dotall" => flags.push('s'),
                "multiline" => flags.push('m'),
                "extended" => flags.push('x'),
                "ungreedy" => flags.push('U'),
                other => report.lost(
                    regex.line,
                    &format!("regex_options {other}"),
                    "lb's expressions have no such option",
                ),
            }
        }
        let text = regex.arguments().join(" ");
        let text = if flags.is_empty() { text } else { format!("(?{flags}){text}") };
        keys.push((regex.line, "body_regex", text.into()));
    }

    fn dns(&self) -> Vec<(usize, &'static str, Value)> {
        let mut keys = self.with_port(&[("name", "name")]);
        if let Some(kind) = self.checker.find("type") {
            keys.push((kind.line, "type", kind.argument(1).unwrap_or_default().to_ascii_uppercase().into()));
        }
        keys
    }

    fn misc(&self, report: &mut Report) -> Option<Vec<(usize, &'static str, Value)>> {
        let Some(path) = self.checker.find("misc_path") else {
            report.lost(
                self.checker.line,
                "MISC_CHECK",
                "left out: it has no misc_path, so there is nothing to run",
            );
            return None;
        };
        let mut keys = vec![(path.line, "command", Value::from(command::of_line(path, report)?))];
        if let Some(dynamic) = self.checker.find("misc_dynamic").filter(|switch| is_on(switch)) {
            keys.push((dynamic.line, "dynamic", true.into()));
        }
        Some(keys)
    }

    fn udp(&self, report: &mut Report) -> Vec<(usize, &'static str, Value)> {
        let mut keys = self.with_port(&[]);
        if let Some(payload) = self.checker.find("payload") {
            match nibbles(&payload.arguments().join(" ")) {
                Some(pairs) if pairs.iter().all(|pair| !pair.contains('x')) => {
                    keys.push((payload.line, "payload_hex", pairs.concat().into()));
                }
                _ => report.lost(payload.line, &payload.text(), "it is not hexadecimal"),
            }
        }
        if let Some(reply) = self.checker.find("require_reply") {
            keys.push((reply.line, "require_reply", true.into()));
            let expected = reply.arguments().join(" ");
            match nibbles(&expected)
                .map(|pairs| pairs.iter().map(|pair| byte_class(pair)).collect::<String>())
            {
                Some(bytes) if !bytes.is_empty() => {
                    keys.push((reply.line, "reply_regex", format!("^(?s-u){bytes}").into()));
                }
                Some(_) => {}
                None => report.lost(reply.line, &expected, "it is not hexadecimal: any answer will do"),
            }
        }
        keys
    }

    /// lb checks a real server at its own address.
    fn other_target(&self, report: &mut Report) {
        let own = self.real_server.argument(1);
        if let Some(ip) = self.own("connect_ip").filter(|ip| ip.argument(1) != own) {
            let message = "lb checks the real server's own address; `target = \"vip\"` asks for the VIP at its MAC, anything \
                           else is for a script with `exec`";
            report.changed(ip.line, &ip.text(), message);
        }
        for keyword in ["bind_port", "bind_if", "fwmark"] {
            if let Some(statement) = self.checker.find("host").and_then(|host| host.find(keyword)) {
                report.lost(statement.line, &statement.text(), "lb has no equivalent");
            }
        }
    }
}

fn why(keyword: &str) -> Option<&'static str> {
    Some(match keyword {
        "digest" => {
            "keepalived's is MD5, lb's is SHA-256: write body_sha256 = what `curl -s URL | sha256sum` prints"
        }
        "http_protocol" => "lb speaks HTTP/1.1",
        "warmup" => "the first check is made at once",
        "alpha" => "written for the virtual server: `alpha`",
        "user" => "programs run as the daemon does; for another user write `setpriv` before them",
        "fast_recovery" | "log_all_failures" | "tls_compliant" => "not needed",
        "regex_stack" | "regex_min_offset" | "regex_max_offset" => {
            "lb looks at the whole body, up to `body_limit`"
        }
        "min_reply_length" | "max_reply_length" => "write `reply_regex`: '^(?s-u).{4,}' has at least 4 bytes",
        _ => return None,
    })
}
