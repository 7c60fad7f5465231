//! `virtual_server` with its real servers.

use std::net::Ipv4Addr;

use super::super::document::{Section, Value};
use super::super::method::Method;
use super::super::report::Report;
use super::checker::{self, Check};
use super::group::Addresses;
use super::tree::Statement;
use super::{command, duration, is_on, rest, set_number};

const KNOWN: [&str; 34] = [
    "lvs_sched",
    "lb_algo",
    "lvs_method",
    "lb_kind",
    "protocol",
    "persistence_timeout",
    "persistence_granularity",
    "sh-port",
    "sh-fallback",
    "mh-port",
    "mh-fallback",
    "flag-1",
    "flag-2",
    "ops",
    "ha_suspend",
    "alpha",
    "quorum",
    "hysteresis",
    "quorum_up",
    "quorum_down",
    "sorry_server",
    "sorry_server_lvs_method",
    "inhibit_on_failure",
    "weight",
    "real_server",
    // What checks are made of.
    "virtualhost",
    "connect_timeout",
    "retry",
    "nb_get_retry",
    "delay_before_retry",
    "delay_loop",
    // lb mails whatever happens, if it is told where; and the family is that of the addresses.
    "smtp_alert",
    "ip_family",
    "warmup",
];

const KNOWN_OF_REAL_SERVERS: [&str; 13] = [
    "weight",
    "lvs_method",
    "lb_kind",
    "inhibit_on_failure",
    "uthreshold",
    "lthreshold",
    "virtualhost",
    "connect_timeout",
    "retry",
    "nb_get_retry",
    "delay_before_retry",
    "delay_loop",
    "smtp_alert",
];

/// One of keepalived's virtual servers; none if nothing of it is left.
pub(super) fn convert(server: &Statement, file: &Statement, report: &mut Report) -> Option<Section> {
    let protocol = server.find("protocol").and_then(|protocol| protocol.argument(1)).unwrap_or("TCP");
    let protocol = protocol.to_ascii_lowercase();
    if protocol == "sctp" {
        report.lost(server.line, &server.text(), "left out: lb forwards TCP and UDP");
        return None;
    }
    let addresses = Addresses::of(server, file, report)?;
    let mut section = Section::one_of("virtual_server", server.line, server.text());
    if let Some(group) = &addresses.group {
        section.set(server.line, "name", group.as_str());
    }
    if !addresses.elements.is_empty() {
        section.set(server.line, "addresses", addresses.elements.clone());
    }
    if let Some((line, fwmark)) = addresses.fwmark {
        section.set(line, "fwmark", i64::from(fwmark));
    }
    section.set(server.line, "protocol", protocol);
    scheduling(&mut section, server);
    persistence(&mut section, server, report);
    for (key, keyword) in [("one_packet", "ops"), ("ha_suspend", "ha_suspend"), ("alpha", "alpha")] {
        if let Some(switch) = server.find(keyword).filter(|switch| is_on(switch)) {
            section.set(switch.line, key, true);
        }
    }
    for key in ["quorum", "hysteresis"] {
        set_number(&mut section, key, server.find(key), report);
    }
    for key in ["quorum_up", "quorum_down"] {
        if let Some(statement) = server.find(key)
            && let Some(command) = command::of(statement, report)
        {
            section.set(statement.line, key, command);
        }
    }
    let method = method_of(server).unwrap_or_else(|| default_method(server, report));
    sorry_server(&mut section, server, method, &addresses.ports, report);
    inhibit(&mut section, server, report);
    real_servers(&mut section, server, (method, &addresses.ports), report);
    rest(server, &KNOWN, why, report);
    Some(section)
}

fn scheduling(section: &mut Section, server: &Statement) {
    let scheduler = ["lvs_sched", "lb_algo"].into_iter().find_map(|keyword| server.find(keyword));
    if let Some(scheduler) = scheduler {
        let name = scheduler.argument(1).unwrap_or_default().to_ascii_lowercase();
        section.set(scheduler.line, "scheduler", name);
    }
    let name = scheduler.and_then(|scheduler| scheduler.argument(1)).unwrap_or_default();
    let mut flags = Vec::new();
    for below in server.statements() {
        // `ipvsadm -b flag-1` is the fallback of both schedulers, and `flag-2` the port.
        let flag = match below.keyword {
            "sh-port" | "sh-fallback" | "mh-port" | "mh-fallback" => below.keyword.to_owned(),
            "flag-1" => format!("{}-fallback", name.to_ascii_lowercase()),
            "flag-2" => format!("{}-port", name.to_ascii_lowercase()),
            _ => continue,
        };
        if !flags.contains(&flag) {
            flags.push(flag);
        }
    }
    if !flags.is_empty() {
        section.set(server.line, "scheduler_flags", flags);
    }
}

/// keepalived's `persistence_timeout` without a number.
const PERSISTENCE: &str = "360";

fn persistence(section: &mut Section, server: &Statement, report: &mut Report) {
    let (timeout, granularity) = (server.find("persistence_timeout"), server.find("persistence_granularity"));
    let Some(line) = timeout.or(granularity).map(|statement| statement.line) else { return };
    let text = timeout.and_then(|timeout| timeout.argument(1)).unwrap_or(PERSISTENCE);
    let Some(seconds) = super::seconds(text) else {
        return report.lost(line, &format!("persistence_timeout {text}"), "it is no number of seconds");
    };
    if seconds == 0.0 {
        return;
    }
    let mut table = vec![("timeout", Value::Text(duration(seconds)))];
    if let Some(granularity) = granularity {
        let mask = granularity.argument(1).unwrap_or_default();
        match (mask.parse::<Ipv4Addr>(), mask.parse::<i64>()) {
            (Ok(mask), _) if mask.to_bits().leading_ones() == mask.to_bits().count_ones() => {
                table.push(("mask_v4", Value::Number(mask.to_bits().count_ones().into())));
            }
            (_, Ok(bits)) => table.push(("mask_v6", Value::Number(bits))),
            _ => {
                report.lost(granularity.line, &granularity.text(), "it is no netmask whose bits are in a row")
            }
        }
    }
    section.set(line, "persistence", Value::Table(table));
}

/// How frames are sent, as far as a statement says.
fn method_of(statement: &Statement) -> Option<Method> {
    let method = ["lvs_method", "lb_kind"].into_iter().find_map(|keyword| statement.find(keyword))?;
    Method::named(method.argument(1)?)
}

/// "Override default LVS forwarding method (default is NAT)." (keepalived.conf(5))
fn default_method(server: &Statement, report: &mut Report) -> Method {
    let message = format!(
        "no lvs_method that lb knows, so NAT with keepalived; {}",
        Method::Nat.remedy().unwrap_or_default()
    );
    report.changed(server.line, &server.text(), message);
    Method::Nat
}

fn warn_of_method(statement: &Statement, report: &mut Report) {
    let written = ["lvs_method", "lb_kind"].into_iter().find_map(|keyword| statement.find(keyword));
    if let (Some(written), Some(remedy)) = (written, method_of(statement).and_then(Method::remedy)) {
        report.changed(written.line, &written.text(), remedy);
    }
}

/// Whether a server that is written with a port can be reached.
fn port_fits(server: &Statement, method: Method, ports: &[u16], report: &mut Report) -> bool {
    let port = server.argument(2).and_then(|port| port.parse::<u16>().ok());
    method.reaches(port, ports, (server.line, &server.text()), report)
}

fn sorry_server(
    section: &mut Section,
    server: &Statement,
    method: Method,
    ports: &[u16],
    report: &mut Report,
) {
    let Some(sorry) = server.find("sorry_server") else { return };
    let own = server.find("sorry_server_lvs_method").and_then(|method| Method::named(method.argument(1)?));
    if port_fits(sorry, own.unwrap_or(method), ports, report) {
        section.set(sorry.line, "sorry_server", sorry.argument(1).unwrap_or_default());
    }
}

/// keepalived has it for each real server, lb for all of a virtual server.
fn inhibit(section: &mut Section, server: &Statement, report: &mut Report) {
    let of_all = server.find("inhibit_on_failure").filter(|switch| is_on(switch));
    let (mut with, mut without) = (None, false);
    for real_server in server.all("real_server") {
        match real_server.find("inhibit_on_failure").or(of_all).filter(|switch| is_on(switch)) {
            Some(switch) => with = with.or(Some(switch)),
            None => without = true,
        }
    }
    match with {
        Some(switch) if without => {
            let message =
                "lb has it for all real servers of a virtual server or for none, and here some have it not";
            report.lost(switch.line, "inhibit_on_failure", message);
        }
        Some(switch) => section.set(switch.line, "inhibit_on_failure", true),
        None => {}
    }
}

fn real_servers(
    section: &mut Section,
    server: &Statement,
    (method, ports): (Method, &[u16]),
    report: &mut Report,
) {
    warn_of_method(server, report);
    let mut found: Vec<(Section, Option<Check>)> = Vec::new();
    for real_server in server.all("real_server") {
        let own = method_of(real_server);
        warn_of_method(real_server, report);
        if !port_fits(real_server, own.unwrap_or(method), ports, report) {
            continue;
        }
        let mut below = Section::one_of("virtual_server.real_server", real_server.line, real_server.text());
        below.set(real_server.line, "address", real_server.argument(1).unwrap_or_default());
        let weight = real_server.find("weight").or(server.find("weight"));
        set_number(&mut below, "weight", weight, report);
        set_number(&mut below, "upper_threshold", real_server.find("uthreshold"), report);
        set_number(&mut below, "lower_threshold", real_server.find("lthreshold"), report);
        notifiers(real_server, report);
        let check = checker::check(real_server, server, ports, report);
        rest(real_server, &[&KNOWN_OF_REAL_SERVERS[..], &checker::KEYWORDS].concat(), why, report);
        found.push((below, check));
    }
    // What all have in common is written once.
    let common = match &found[..] {
        [(_, Some(first)), others @ ..] if others.iter().all(|(_, check)| check.as_ref() == Some(first)) => {
            Some(first.clone())
        }
        _ => None,
    };
    if let Some(common) = &common {
        section.below.push(common.section("virtual_server.health_check"));
    }
    for (mut below, check) in found {
        if let (Some(check), None) = (check, &common) {
            below.below.push(check.section("virtual_server.real_server.health_check"));
        }
        section.below.push(below);
    }
}

fn notifiers(real_server: &Statement, report: &mut Report) {
    for (keyword, state) in [("notify_up", "UP"), ("notify_down", "DOWN")] {
        for notifier in real_server.all(keyword) {
            let address = real_server.argument(1).unwrap_or_default();
            let message = format!(
                "lb has one command for all real servers of a virtual server, `notify`, called with real_server NAME \
                 ADDRESS and UP or DOWN; have a script run this one for {address} {state}"
            );
            report.lost(notifier.line, &notifier.text(), message);
        }
    }
}

fn why(keyword: &str) -> Option<&'static str> {
    Some(match keyword {
        "omega" => "when lb stops, connections and real servers stay as they are (`on_exit`); nobody is told",
        "persistence_engine" => "lb tells clients apart by their addresses only",
        "sorry_server_inhibit" => "the sorry server is not checked",
        "warmup" => "the first check is made at once",
        "snmp_name" => "lb has no SNMP; write a `name`",
        "flag-3" => "no scheduler of lb has a third flag",
        "notify_up" | "notify_down" => return None,
        _ => return None,
    })
}
