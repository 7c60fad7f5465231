//! `health_check`: how real servers are checked, as of their virtual server and each by itself.
//!
//! ```text
//! virtual server's ──┐
//!                    ├─ over() ─> what is written ─ complete() ─> HealthCheck, one for all that are equal
//! real server's ─────┘                  defaults, rules
//! ```

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::address;
use super::contract::CheckSections;
use super::diagnostic::{Code, Diagnostic};
use super::draft::{EffectiveCheck, VirtualServerDraft};
use super::health::{Flap, HealthCheck, Probe, SharedCheck, Target};
use super::machine::Need;
use super::probe::{self, ProbeDraft};
use super::reader::{Table, Value};
use super::report::{Report, Reported};
use super::source::{Located, Span};
use super::suggest::quoted;
use super::value;
use crate::forms::Ports;

/// A check as it was read: what is not written is none.
#[derive(Clone)]
pub(super) struct CheckDraft {
    header: Span,
    enabled: Option<bool>,
    interval: Option<Located<Duration>>,
    timeout: Option<Located<Duration>>,
    connect_timeout: Option<Located<Duration>>,
    retries: Option<u32>,
    retry_delay: Option<Located<Duration>>,
    rise: Option<u32>,
    target: Option<Located<Target>>,
    flap: Option<Flap>,
    bind: Option<Located<IpAddr>>,
    probe: Option<ProbeDraft>,
}

/// keepalived's `delay_loop`.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);
/// keepalived's `connect_timeout`, which there is also how long each part of an answer may take.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Below, a busy machine would be taken for a real server that is down; above, nobody would wait.
const WAITS: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(24 * 60 * 60);

const EXAMPLE: &str = "{ interval = \"6s\", tcp = {} }, or { enabled = false } for no check";

/// The section `health_check` of a virtual server or a real server, if there is one.
pub(super) fn check(
    owner: &Table<'_>,
    sections: &'static CheckSections,
) -> Result<Option<CheckDraft>, Reported> {
    owner.value_or("health_check", None, |value| {
        let table = value.inline_table(&sections.check, EXAMPLE)?;
        let wait = |key| table.value_or(key, None, |value| value::wait(value, WAITS).map(Some));
        let enabled = table.value_or("enabled", None, |value| {
            value.boolean("with false, nothing is checked, whatever else is written").map(Some)
        });
        let (interval, timeout) = (wait("interval"), wait("timeout"));
        let (connect_timeout, retry_delay) = (wait("connect_timeout"), wait("retry_delay"));
        let retries = table.value_or("retries", None, |value| {
            let help = "it is how many more probes have to fail after the first before a real server is down";
            value.integer(0..=MOST, help).map(Some)
        });
        let rise = table.value_or("rise", None, |value| {
            let help = "it is how many probes in a row have to succeed before a real server is up again";
            value.integer(1..=MOST, help).map(Some)
        });
        let target =
            table.value_or("target", None, |value| Ok(Some(value.located(value.choice(&Target::NAMES)?))));
        let flap = table.value_or("flap", None, |value| flap(value, sections).map(Some));
        let bind = table.value_or("bind", None, |value| {
            let text = value.text("write an address of this director in quotes: \"192.168.2.210\"")?;
            let source = address::source(&text)?;
            value
                .report()
                .need(Need::Address, Located { value: source.to_string(), span: source.span.clone() });
            Ok(Some(source))
        });
        let probe = probe::probe(&table, sections);
        Ok(Some(CheckDraft {
            header: table.header(),
            enabled: enabled?,
            interval: interval?,
            timeout: timeout?,
            connect_timeout: connect_timeout?,
            retries: retries?,
            retry_delay: retry_delay?,
            rise: rise?,
            target: target?,
            flap: flap?,
            bind: bind?,
            probe: probe?,
        }))
    })
}

/// The most probes that are counted.
const MOST: u32 = 1000;

fn flap(value: Value<'_>, sections: &'static CheckSections) -> Result<Flap, Reported> {
    let default = Flap::default();
    let table = value.inline_table(&sections.flap, "{ changes = 5, within = \"60s\", hold = \"120s\" }")?;
    let changes = table.value_or("changes", default.changes, |value| {
        value.integer(1..=MOST, "a real server that flips more often than this stays down for `hold`")
    });
    let wait = |key, default| table.value_or(key, default, |value| Ok(value::wait(value, WAITS)?.value));
    let (within, hold) = (wait("within", default.within), wait("hold", default.hold));
    Ok(Flap { changes: changes?, within: within?, hold: hold? })
}

/// How each real server of a virtual server is checked, in their order.
pub(super) fn of_real_servers(draft: &VirtualServerDraft, report: &Report) -> Vec<EffectiveCheck> {
    let service = draft.health_check.as_ref().map(Option::as_ref).map_err(|reported| *reported);
    let servers = &draft.real_servers.read;
    let follows = |own: &Result<Option<CheckDraft>, Reported>| matches!(own, Ok(None));
    // One that is followed by nobody need not be complete.
    let is_followed = servers.is_empty() || servers.iter().any(|server| follows(&server.health_check));
    let of_service = match service {
        Ok(Some(service)) if is_followed || service.probe.is_some() => service.complete(draft, report),
        Ok(_) => Ok(None),
        Err(reported) => Err(reported),
    };
    let mut known: HashSet<SharedCheck> = HashSet::new();
    let mut shared = |check: HealthCheck| {
        let check = SharedCheck::from(check);
        known.get(&check).cloned().unwrap_or_else(|| {
            known.insert(check.clone());
            check
        })
    };
    let of_service = of_service.map(|check| check.map(&mut shared));
    let of_server = |own: &Result<Option<CheckDraft>, Reported>| match (own, service) {
        (Ok(None), _) => of_service.clone(),
        (Ok(Some(own)), Ok(service)) => {
            own.over(service).complete(draft, report).map(|check| check.map(&mut shared))
        }
        (Err(reported), _) => Err(*reported),
        (_, Err(reported)) => Err(reported),
    };
    servers.iter().map(|server| &server.health_check).map(of_server).collect()
}

impl CheckDraft {
    /// What a real server's has not written is as the virtual server's has it.
    fn over(&self, service: Option<&Self>) -> Self {
        let Some(service) = service else { return self.clone() };
        let (own, service) = (self.clone(), service.clone());
        Self {
            header: own.header,
            enabled: own.enabled.or(service.enabled),
            interval: own.interval.or(service.interval),
            timeout: own.timeout.or(service.timeout),
            connect_timeout: own.connect_timeout.or(service.connect_timeout),
            retries: own.retries.or(service.retries),
            retry_delay: own.retry_delay.or(service.retry_delay),
            rise: own.rise.or(service.rise),
            target: own.target.or(service.target),
            flap: own.flap.or(service.flap),
            bind: own.bind.or(service.bind),
            probe: own.probe.or(service.probe),
        }
    }

    /// With the defaults filled in, and all rules looked at; none if nothing is to be checked.
    fn complete(&self, draft: &VirtualServerDraft, report: &Report) -> Result<Option<HealthCheck>, Reported> {
        if self.enabled == Some(false) {
            return Ok(None);
        }
        let times = self.times_fit(report);
        let bind = self.bind_is_of_their_family(draft, report);
        let probe = match &self.probe {
            Some(probe) => port(probe, draft, report).map(|port| probe.at(port.unwrap_or_default())),
            None => Err(self.no_probe(report)),
        };
        let target = match &probe {
            Ok(probe) => self.target_can_be_reached(probe, draft, report),
            Err(reported) => Err(*reported),
        };
        let (bind, probe) = (bind?, probe?);
        times.and(target)?;
        if self.interval.is_none() {
            self.warn_of_default_interval(report);
        }
        let value = |written: &Option<Located<Duration>>| written.as_ref().map(|written| written.value);
        let interval = value(&self.interval).unwrap_or(DEFAULT_INTERVAL);
        let defaults = Defaults::of(&probe, interval);
        let timeout = value(&self.timeout).unwrap_or(defaults.timeout);
        Ok(Some(HealthCheck {
            interval,
            timeout,
            connect_timeout: value(&self.connect_timeout).unwrap_or(DEFAULT_TIMEOUT.min(timeout)),
            retries: self.retries.unwrap_or(defaults.retries),
            retry_delay: value(&self.retry_delay).unwrap_or(defaults.retry_delay),
            rise: self.rise.unwrap_or(1),
            flap: self.flap,
            bind,
            target: self.target.as_ref().map_or(Target::RealServer, |target| target.value),
            probe,
        }))
    }

    fn no_probe(&self, report: &Report) -> Reported {
        let message = "this health check has no probe: it asks nothing";
        let diagnostic = Diagnostic::new(Code::MissingProbe, &self.header, message);
        let help = "write tcp = {} in it, or http = { path = \"/healthz\" }; the probes are icmp, tcp, udp, http, dns, \
                    smtp and exec";
        report.error(diagnostic.help(help))
    }

    /// Defaults fit whatever is written, so only what is written can contradict itself.
    fn times_fit(&self, report: &Report) -> Result<(), Reported> {
        let no_longer = |(name, shorter): (&str, &Option<Located<Duration>>),
                         (other, longer): (&str, &Option<Located<Duration>>)| {
            let (Some(shorter), Some(longer)) = (shorter, longer) else { return Ok(()) };
            if shorter.value <= longer.value {
                return Ok(());
            }
            let time = humantime::format_duration;
            let message =
                format!("`{name}` {} is longer than `{other}` {}", time(shorter.value), time(longer.value));
            let diagnostic = Diagnostic::new(Code::OutOfRange, &shorter.span, message);
            let diagnostic = diagnostic.related(&longer.span, format!("`{other}`"));
            Err(report.error(diagnostic.help(format!("write a `{name}` of at most {}", time(longer.value)))))
        };
        let (interval, timeout) = (("interval", &self.interval), ("timeout", &self.timeout));
        let connect_timeout = ("connect_timeout", &self.connect_timeout);
        let outer = no_longer(timeout, interval);
        // Without a `timeout`, there is still none longer than the interval.
        let around = if self.timeout.is_some() { timeout } else { interval };
        outer.and(no_longer(connect_timeout, around))
    }

    fn warn_of_default_interval(&self, report: &Report) {
        let seconds = DEFAULT_INTERVAL.as_secs();
        let message = format!("`interval` is not written: real servers are checked every {seconds} s");
        let diagnostic = Diagnostic::new(Code::LongInterval, &self.header, message);
        let help = "write interval = \"6s\", or how long connections may go to a real server that is down; 60 s is \
                    keepalived's default, too";
        report.warning(diagnostic.help(help));
    }

    fn bind_is_of_their_family(
        &self,
        draft: &VirtualServerDraft,
        report: &Report,
    ) -> Result<Option<IpAddr>, Reported> {
        let Some(bind) = &self.bind else { return Ok(None) };
        let vips = draft.addresses.read.iter().map(|address| (!address.is_ipv6(), &address.span));
        let servers = draft.real_servers.read.iter().filter_map(|server| server.address.as_ref().ok());
        let servers = servers.map(|server| (server.address.is_ipv4(), &server.address.span));
        match vips.chain(servers).next() {
            Some((is_ipv4, other)) if is_ipv4 != bind.is_ipv4() => {
                let (family, others) = if bind.is_ipv4() { ("IPv4", "IPv6") } else { ("IPv6", "IPv4") };
                let message =
                    format!("{bind} is an {family} address, and the real servers have those of {others}");
                let diagnostic = Diagnostic::new(Code::MixedFamilies, &bind.span, message).label(family);
                let diagnostic = diagnostic.related(other, format!("{others} here"));
                Err(report.error(diagnostic.help(format!("write an {others} address of this director"))))
            }
            _ => Ok(Some(bind.value)),
        }
    }

    /// Only a single address can be asked for, and only by what is spoken without the kernel's sockets.
    fn target_can_be_reached(
        &self,
        probe: &Probe,
        draft: &VirtualServerDraft,
        report: &Report,
    ) -> Result<(), Reported> {
        let (Some(target), Some(written)) = (&self.target, &self.probe) else { return Ok(()) };
        if target.value == Target::RealServer {
            return Ok(());
        }
        let impossible = |message: String, help: &str| {
            let diagnostic = Diagnostic::new(Code::ImpossibleTarget, &target.span, message);
            Err(report.error(diagnostic.related(&written.span, "the probe").help(help)))
        };
        if matches!(probe, Probe::Dns(_) | Probe::Smtp(_) | Probe::Exec(_)) {
            let message = format!("a probe of `{}` cannot be sent to the VIP", written.name);
            let help = "write target = \"real_server\", or a probe of icmp, tcp, udp or http";
            return impossible(message, help);
        }
        draft.addresses.complete?;
        let addresses = &draft.addresses.read;
        let with_host = || addresses.iter().filter(|address| address.vips.host().is_some());
        if with_host().next().is_none() {
            let message =
                "there is no VIP that a probe could be sent to: this virtual server has no single address";
            let help = "write target = \"real_server\", or add the address of one VIP to `addresses`";
            return impossible(message.to_owned(), help);
        }
        let Some(port) = probe.port() else { return Ok(()) };
        if !with_host().any(|address| address.ports.overlap(Ports::one(port))) {
            let place = written.port.as_ref().map_or(&written.span, |port| &port.span);
            let message = format!(
                "no client uses port {port} of the VIP, so this probe takes another way than they do"
            );
            let ports: Vec<String> = with_host().map(|address| address.ports.to_string()).collect();
            let diagnostic = Diagnostic::new(Code::NoEffect, place, message);
            let diagnostic = diagnostic.related(&target.span, "it is to go the way of clients");
            report.warning(
                diagnostic.help(format!("write a port that the virtual server has: {}", ports.join(", "))),
            );
        }
        Ok(())
    }
}

/// What keepalived does where nothing is written, which depends on what is asked.
struct Defaults {
    timeout: Duration,
    retries: u32,
    retry_delay: Duration,
}

impl Defaults {
    /// keepalived.conf(5): `retry`, `delay_before_retry`, `misc_timeout`.
    fn of(probe: &Probe, interval: Duration) -> Self {
        let timeout = DEFAULT_TIMEOUT.min(interval);
        let seconds = Duration::from_secs;
        match probe {
            Probe::Http(_) => Self { timeout, retries: 1, retry_delay: seconds(3) },
            Probe::Dns(_) => Self { timeout, retries: 3, retry_delay: interval },
            Probe::Exec(_) => Self { timeout: interval, retries: 0, retry_delay: seconds(1) },
            Probe::Icmp | Probe::Tcp(_) | Probe::Udp(_) | Probe::Smtp(_) => {
                Self { timeout, retries: 1, retry_delay: seconds(1) }
            }
        }
    }
}

/// The port that is written, or the virtual server's if it has one only, or the one of the protocol.
fn port(probe: &ProbeDraft, draft: &VirtualServerDraft, report: &Report) -> Result<Option<u16>, Reported> {
    if let Some(port) = &probe.port {
        return Ok(Some(port.value));
    }
    if !probe.has_port() {
        return Ok(None);
    }
    draft.addresses.complete?;
    let mut ports = draft.addresses.read.iter().map(|address| address.ports.only());
    let first = ports.next().flatten();
    if let Some(port) = first.filter(|first| ports.all(|port| port == Some(*first))).or(probe.usual_port()) {
        return Ok(Some(port));
    }
    let name = probe.name;
    let why = match &draft.addresses.read[..] {
        [] => "has no address",
        [_] => "has more than one port",
        _ => "has several ports",
    };
    let message = format!("the probe {} needs a `port`: this virtual server {why}", quoted(name));
    let diagnostic = Diagnostic::new(Code::MissingKey, &probe.span, message);
    let help =
        format!("write {name} = {{ port = {} }}: the port that says whether it works", first.unwrap_or(80));
    Err(report.error(diagnostic.help(help)))
}
