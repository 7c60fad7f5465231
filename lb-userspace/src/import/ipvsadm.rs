//! What `ipvsadm-save` prints, or a script of `ipvsadm` commands, to sections: line by line, by ipvsadm's own grammar.

use std::net::SocketAddr;

use super::document::{Document, Section, Value};
use super::method::Method;
use super::report::Report;
use crate::ipvsadm::{Request, Server, Service, Terms, request};
use crate::names::Resolver;

/// A virtual server that the lines so far have made.
struct Made {
    line: usize,
    subject: String,
    service: Service,
    terms: Terms,
    servers: Vec<(usize, String, Server)>,
}

/// What all lines so far have made.
#[derive(Default)]
struct Table {
    services: Vec<Made>,
    timeouts: Option<Section>,
    sync: Vec<String>,
}

/// Sections for what the lines make, without `[director]`.
pub(super) fn convert(text: &str, resolver: &dyn Resolver, report: &mut Report) -> Document {
    let mut table = Table::default();
    for (number, line) in text.lines().enumerate() {
        let line_words: Vec<String> = line
            .split_whitespace()
            .take_while(|word| !word.starts_with('#'))
            .map(|word| word.trim_matches(['"', '\'']).to_owned())
            .collect();
        if !line_words.is_empty() {
            table.line(number + 1, &line_words, resolver, report);
        }
    }
    Document {
        sections: table.timeouts.into_iter().chain(table.services.iter().map(Made::section)).collect(),
        tail: table.sync,
        ..Document::default()
    }
}

/// Whether a line is one of ipvsadm's: `-A -t …`, `ipvsadm -A -t …`, `sudo /sbin/ipvsadm …`.
pub(super) fn is_rule(line: &str) -> bool {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    options(&words).is_some()
}

/// The words behind the program's name.
fn options(words: &[String]) -> Option<&[String]> {
    let name = words.iter().take(3).position(|word| word.to_ascii_lowercase().ends_with("ipvsadm"));
    let options = &words[name.map_or(0, |name| name + 1)..];
    let is_option = |word: &String| word.len() > 1 && word.starts_with('-');
    options.first().filter(|first| is_option(first)).map(|_| options)
}

impl Table {
    fn line(&mut self, line: usize, words: &[String], resolver: &dyn Resolver, report: &mut Report) {
        let text = words.join(" ");
        let Some(options) = options(words) else {
            return report.lost(line, &text, "it is no line of ipvsadm");
        };
        let (options, method) = as_direct(options);
        let request = match request(&options, resolver) {
            Ok(request) => request,
            Err(complaint) => return report.lost(line, &text, format!("left out: {}", complaint.trim_end())),
        };
        match request {
            Request::AddService(service, terms) => self.add_service((line, text), service, terms, report),
            Request::EditService(service, terms) => match self.find(service) {
                Some(made) => made.terms = terms,
                None => report.lost(line, &text, NO_SERVICE),
            },
            Request::RemoveService(service) => self.services.retain(|made| made.service != service),
            Request::AddServer(service, server) | Request::EditServer(service, server) => {
                self.add_server((line, text), service, (server, method), report);
            }
            Request::RemoveServer { service, server, .. } => {
                if let Some(made) = self.find(service) {
                    made.servers.retain(|(_, _, other)| other.address != server);
                }
            }
            Request::Clear => self.services.clear(),
            Request::SetTimeouts(timeouts) => self.set_timeouts((line, text), timeouts),
            Request::StartDaemon { interface, group, port } => {
                report.lost(line, &text, super::sync::REMARK);
                let group = SocketAddr::new(group, u16::try_from(port).unwrap_or(u16::MAX));
                let origin = format!("{}:{line}: {text}", report.file());
                self.sync = super::sync::section(&origin, interface.as_deref().unwrap_or("eth0"), group);
            }
            Request::List { .. }
            | Request::Save { .. }
            | Request::Restore
            | Request::Zero(_)
            | Request::StopDaemon
            | Request::Help
            | Request::Version => {
                report.note(line, &text, "it makes no virtual server, so there is nothing to convert");
            }
        }
    }

    fn find(&mut self, service: Service) -> Option<&mut Made> {
        self.services.iter_mut().find(|made| made.service == service)
    }

    fn add_service(
        &mut self,
        (line, subject): (usize, String),
        service: Service,
        terms: Terms,
        report: &mut Report,
    ) {
        if self.find(service).is_some() {
            return report.lost(line, &subject, "left out: the virtual server exists already");
        }
        if let Service::Mark { .. } = service {
            let message = "lb sees no marks of iptables or nftables: write what those mark in `addresses`, with prefixes and \
                           ranges of ports if need be";
            report.changed(line, &subject, message);
        }
        if let Some(engine) = &terms.persistence_engine {
            report.lost(line, &format!("--pe {engine}"), "lb tells clients apart by their addresses only");
        }
        self.services.push(Made { line, subject, service, terms, servers: Vec::new() });
    }

    fn add_server(
        &mut self,
        (line, subject): (usize, String),
        service: Service,
        (server, method): (Server, Method),
        report: &mut Report,
    ) {
        let Some(made) = self.find(service) else {
            return report.lost(line, &subject, NO_SERVICE);
        };
        let ports = match service {
            Service::Address { address, .. } => vec![address.port()],
            Service::Mark { .. } => Vec::new(),
        };
        if !method.reaches(server.port, &ports, (line, &subject), report) {
            return;
        }
        if let Some(remedy) = method.remedy() {
            report.changed(line, &subject, remedy);
        }
        // `-e`, or the same once more.
        made.servers.retain(|(_, _, other)| other.address != server.address);
        made.servers.push((line, subject, server));
    }

    fn set_timeouts(&mut self, (line, subject): (usize, String), timeouts: [u32; 3]) {
        let mut section = Section::table("timeouts", line, subject);
        for (key, seconds) in
            ["tcp", "tcp_fin", "udp"].into_iter().zip(timeouts).filter(|(_, seconds)| *seconds > 0)
        {
            section.set(line, key, format!("{seconds}s"));
        }
        if !section.keys.is_empty() {
            self.timeouts = Some(section);
        }
    }
}

const NO_SERVICE: &str = "left out: no line before it adds this virtual server";

/// The same options for direct routing, and how they were meant.
fn as_direct(options: &[String]) -> (Vec<String>, Method) {
    let mut method = Method::Direct;
    let options = options.iter().map(|word| match word.as_str() {
        "-m" | "--masquerading" => {
            method = Method::Nat;
            "-g".to_owned()
        }
        "-i" | "--ipip" => {
            method = Method::Tunnel;
            "-g".to_owned()
        }
        _ => word.clone(),
    });
    (options.collect(), method)
}

impl Made {
    fn section(&self) -> Section {
        let Self { line, terms, .. } = self;
        let line = *line;
        let mut section = Section::one_of("virtual_server", line, self.subject.as_str());
        let is_ipv6 = match self.service {
            Service::Address { is_udp, address } => {
                section.set(line, "addresses", vec![address.to_string()]);
                section.set(line, "protocol", if is_udp { "udp" } else { "tcp" });
                address.is_ipv6()
            }
            Service::Mark { mark, is_ipv6 } => {
                section.set(line, "fwmark", i64::from(mark));
                is_ipv6
            }
        };
        section.set(line, "scheduler", terms.scheduler.as_str());
        if !terms.flags.is_empty() {
            let flags: Vec<String> = terms.flags.iter().map(ToString::to_string).collect();
            section.set(line, "scheduler_flags", flags);
        }
        if let Some((seconds, bits)) = terms.persistence {
            let mut table = vec![("timeout", Value::Text(format!("{seconds}s")))];
            let (mask, longest) = if is_ipv6 { ("mask_v6", 128) } else { ("mask_v4", 32) };
            if bits != longest {
                table.push((mask, i64::from(bits).into()));
            }
            section.set(line, "persistence", Value::Table(table));
        }
        if terms.one_packet {
            section.set(line, "one_packet", true);
        }
        for (line, subject, server) in &self.servers {
            let mut below = Section::one_of("virtual_server.real_server", *line, subject.as_str());
            below.set(*line, "address", server.address.to_string());
            below.set(*line, "weight", i64::from(server.weight));
            for (key, threshold) in
                [("upper_threshold", server.upper_threshold), ("lower_threshold", server.lower_threshold)]
            {
                if threshold > 0 {
                    below.set(*line, key, i64::from(threshold));
                }
            }
            section.below.push(below);
        }
        section
    }
}
