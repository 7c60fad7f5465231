//! `vrrp_instance` and `vrrp_sync_group`.

use std::net::IpAddr;

use super::super::document::{Element, Section, Value};
use super::super::report::Report;
use super::global::Globals;
use super::tree::Statement;
use super::{command, rest, script, seconds, set_number, set_seconds};

const KNOWN: [&str; 26] = [
    "state",
    "interface",
    "virtual_router_id",
    "priority",
    "advert_int",
    "version",
    "nopreempt",
    "preempt",
    "preempt_delay",
    "authentication",
    "virtual_ipaddress",
    "virtual_ipaddress_excluded",
    "track_interface",
    "track_script",
    "unicast_peer",
    "mcast_src_ip",
    "unicast_src_ip",
    "notify",
    "notify_master",
    "notify_backup",
    "notify_fault",
    "notify_stop",
    "lvs_sync_daemon_interface",
    // What lb does anyway.
    "smtp_alert",
    "check_unicast_src",
    "accept",
];

pub(super) fn instance(
    statement: &Statement,
    file: &Statement,
    globals: &Globals,
    report: &mut Report,
) -> Section {
    let mut section = Section::one_of("vrrp_instance", statement.line, statement.text());
    section.set(statement.line, "name", statement.arguments().join(" "));
    if let Some(interface) = statement.find("interface") {
        section.set(interface.line, "interface", interface.argument(1).unwrap_or_default());
    }
    set_number(&mut section, "virtual_router_id", statement.find("virtual_router_id"), report);
    let excluded = addresses(statement, "virtual_ipaddress_excluded", report);
    let addresses = addresses(statement, "virtual_ipaddress", report);
    version(&mut section, statement, &addresses, globals);
    set_number(&mut section, "priority", statement.find("priority"), report);
    set_seconds(&mut section, "advert_interval", statement.find("advert_int"), report);
    preemption(&mut section, statement, report);
    authentication(&mut section, statement, report);
    section.set(statement.line, "virtual_addresses", addresses);
    if !excluded.is_empty() {
        section.set(statement.line, "excluded_addresses", excluded);
    }
    for source in ["mcast_src_ip", "unicast_src_ip"].into_iter().filter_map(|key| statement.find(key)) {
        section.set(source.line, "source_address", source.argument(1).unwrap_or_default());
    }
    let peers = statement.find("unicast_peer").map(|peers| peers.statements()).unwrap_or_default();
    let mut addresses_of_peers = Vec::new();
    for peer in peers.iter().flat_map(|line| Item::all(line, &["min_ttl", "max_ttl"], &[])) {
        peer.report_attributes("lb takes adverts of the peers only", report);
        addresses_of_peers.push(Element::new(peer.line, peer.name));
    }
    if !addresses_of_peers.is_empty() {
        section.set(statement.line, "unicast_peers", addresses_of_peers);
    }
    track_interfaces(&mut section, statement, report);
    notify(&mut section, statement, report);
    section.below = script::tracked(statement, file, report);
    rest(statement, &KNOWN, why, report);
    section
}

/// keepalived takes version 3 for IPv6, whatever is written.
fn version(section: &mut Section, statement: &Statement, addresses: &[Element], globals: &Globals) {
    let is_ipv6 = addresses
        .first()
        .is_some_and(|first| matches!(&first.value, Value::Text(text) if text.contains(':')));
    let own = statement.find("version");
    let written = own.and_then(|version| version.argument(1)?.parse().ok()).or(globals.vrrp_version());
    let version = if is_ipv6 { Some(3) } else { written };
    if let Some(version) = version {
        section.set(own.map_or(statement.line, |own| own.line), "version", version);
    }
}

fn preemption(section: &mut Section, statement: &Statement, report: &mut Report) {
    // "NOTE: For this to work, the initial state must not be MASTER." (keepalived.conf(5))
    let is_master = statement.find("state").and_then(|state| state.argument(1));
    let is_master = is_master.is_some_and(|state| state.eq_ignore_ascii_case("MASTER"));
    if let Some(never) = statement.find("nopreempt") {
        if is_master {
            report.note(
                never.line,
                "nopreempt",
                "does nothing with keepalived's state MASTER, so it is left out",
            );
        } else {
            section.set(never.line, "preempt", false);
        }
    }
    match statement.find("preempt_delay") {
        Some(delay) if is_master => {
            report.note(
                delay.line,
                "preempt_delay",
                "does nothing with keepalived's state MASTER, so it is left out",
            );
        }
        delay => set_seconds(section, "preempt_delay", delay, report),
    }
}

fn authentication(section: &mut Section, statement: &Statement, report: &mut Report) {
    let Some(authentication) = statement.find("authentication") else { return };
    if let Some(kind) = authentication.find("auth_type")
        && !kind.argument(1).is_some_and(|kind| kind.to_ascii_uppercase().starts_with("PASS"))
    {
        report.lost(
            kind.line,
            &kind.text(),
            "lb speaks PASS only; write it on both directors, or no authentication",
        );
        return;
    }
    if let Some(password) = authentication.find("auth_pass") {
        let table = vec![("password", Value::from(password.argument(1).unwrap_or_default()))];
        section.set(password.line, "authentication", Value::Table(table));
    }
    rest(authentication, &["auth_type", "auth_pass"], |_| None, report);
}

/// Attributes of an address with a word behind them, and those without (`ip address add`).
const WITH_VALUE: [&str; 8] =
    ["brd", "broadcast", "dev", "scope", "label", "peer", "preferred_lft", "track_group"];
const WITHOUT: [&str; 8] =
    ["use_vmac", "home", "-nodad", "mngtmpaddr", "noprefixroute", "autojoin", "no_track", "valid_lft"];

fn addresses(statement: &Statement, keyword: &str, report: &mut Report) -> Vec<Element> {
    let interface = statement.find("interface").and_then(|interface| interface.argument(1));
    let mut addresses = Vec::new();
    for list in statement.all(keyword) {
        for item in list.statements().iter().flat_map(|line| Item::all(line, &WITH_VALUE, &WITHOUT)) {
            for (name, value) in &item.attributes {
                let subject = format!("{} {name} {value}", item.name);
                match *name {
                    "dev" if Some(*value) == interface => {}
                    "dev" => {
                        let message = "lb adds addresses to the interface of their instance; write another instance for \
                                       another interface";
                        report.changed(item.line, subject.trim(), message);
                    }
                    "brd" | "broadcast" | "label" => {
                        report.note(item.line, subject.trim(), "left out: lb's addresses need none");
                    }
                    _ => report.lost(item.line, subject.trim(), "lb adds addresses without it"),
                }
            }
            addresses.push(Element::new(item.line, item.name));
        }
    }
    addresses
}

fn track_interfaces(section: &mut Section, statement: &Statement, report: &mut Report) {
    let mut interfaces = Vec::new();
    let lists = statement.all("track_interface").flat_map(|list| list.statements());
    for item in lists.flat_map(|line| Item::all(line, &["weight"], &["reverse", "noreverse"])) {
        let weight = item.attributes.iter().find(|(name, _)| *name == "weight");
        let is_reverse = item.attributes.iter().any(|(name, _)| *name == "reverse");
        if weight.is_some_and(|(_, weight)| *weight != "0") || is_reverse {
            let message = "an interface has no weight with lb; a `track_script` that looks at \
                           /sys/class/net/NAME/carrier can have one";
            report.lost(item.line, &item.text(), message);
        } else {
            interfaces.push(Element::new(item.line, item.name));
        }
    }
    if !interfaces.is_empty() {
        section.set(statement.line, "track_interfaces", interfaces);
    }
}

/// keepalived's scripts of single states.
const OF_STATES: [(&str, &str); 4] = [
    ("notify_master", "MASTER"),
    ("notify_backup", "BACKUP"),
    ("notify_fault", "FAULT"),
    ("notify_stop", "STOP"),
];

/// lb has one command for all states.
fn notify(section: &mut Section, statement: &Statement, report: &mut Report) {
    if let Some(notify) = statement.find("notify")
        && let Some(command) = command::of(notify, report)
    {
        section.set(notify.line, "notify", command);
    }
    let mut cases = Vec::new();
    for (keyword, state) in OF_STATES {
        let Some(script) = statement.find(keyword) else { continue };
        let message = format!(
            "lb has one command for all states, `notify`, called with INSTANCE (or GROUP) NAME STATE PRIORITY; have a \
             script run this one if its third argument is {state}: the TOML has it as a comment"
        );
        report.lost(script.line, &script.text(), message);
        cases.push(format!("    {state}) {} ;;", script.argument(1).unwrap_or_default()));
    }
    if !cases.is_empty() {
        let first = "A script for `notify` that does what keepalived's notify_master and the like did:";
        let lines = [first, "  #!/bin/sh", "  case \"$3\" in"].map(str::to_owned);
        section.comments.extend(lines.into_iter().chain(cases).chain(["  esac".to_owned()]));
    }
}

pub(super) fn sync_group(statement: &Statement, report: &mut Report) -> Section {
    let mut section = Section::one_of("vrrp_sync_group", statement.line, statement.text());
    section.set(statement.line, "name", statement.arguments().join(" "));
    let lines = statement.all("group").flat_map(|group| group.statements());
    let members = lines.flat_map(|line| line.words.iter().map(|word| Element::new(line.line, word.as_str())));
    section.set(statement.line, "instances", members.collect::<Vec<_>>());
    notify(&mut section, statement, report);
    let known =
        ["group", "notify", "notify_master", "notify_backup", "notify_fault", "notify_stop", "smtp_alert"];
    let why = |keyword: &str| match keyword {
        "track_script" | "track_interface" => {
            Some("a group tracks nothing itself: write it in one of its instances")
        }
        "global_tracking" | "sync_group_tracking_weight" => {
            Some("what one instance of a group tracks counts for all of them, as without it")
        }
        _ => why(keyword),
    };
    rest(statement, &known, why, report);
    section
}

fn why(keyword: &str) -> Option<&'static str> {
    Some(match keyword {
        "virtual_routes" | "virtual_rules" => "lb adds no routes and rules; have the `notify` command do it",
        "use_vmac" | "vmac_xmit_base" | "use_ipvlan" => {
            "not available, and not needed: the new master announces the addresses with its own MAC"
        }
        "track_process" => "lb does not watch processes; a `track_script` with `pidof` says the same",
        "track_file" => "lb does not watch files; a `track_script` can read one",
        "track_bfd" => "lb has no BFD",
        "auth_hmac" => "lb has no such authentication",
        "mcast_dst_ip" => "lb uses the groups of the RFCs; write `unicast_peers` where those are taken",
        "dont_track_primary" => "the instance is in fault while its interface is down",
        "no_accept" => "a director has to accept what is sent to its VIPs",
        keyword if keyword.starts_with("garp_") => "lb chooses how often addresses are announced",
        "debug" => "what lb logs is chosen by RUST_LOG",
        "native_ipv6" | "promote_secondaries" => "not needed",
        "unicast_ttl" => "adverts have the TTL 255, and none with another one is taken",
        "down_timer_adverts" => "three adverts, as in the RFCs",
        _ => return None,
    })
}

/// An element of a list with its attributes; several may stand on one line.
pub(super) struct Item<'a> {
    pub(super) line: usize,
    pub(super) name: &'a str,
    /// An empty value if there is none.
    pub(super) attributes: Vec<(&'a str, &'a str)>,
}

impl<'a> Item<'a> {
    pub(super) fn all(line: &'a Statement, with_value: &[&str], without: &[&str]) -> Vec<Self> {
        let mut items: Vec<Self> = Vec::new();
        let mut words = line.words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match items.last_mut() {
                Some(item) if with_value.contains(&word) => {
                    item.attributes.push((word, words.next().unwrap_or_default()));
                }
                Some(item) if without.contains(&word) => item.attributes.push((word, "")),
                _ => items.push(Self { line: line.line, name: word, attributes: Vec::new() }),
            }
        }
        items
    }

    pub(super) fn text(&self) -> String {
        let attributes = self.attributes.iter().flat_map(|(name, value)| [" ", name, " ", value]);
        format!("{}{}", self.name, attributes.collect::<String>()).trim().to_owned()
    }

    fn report_attributes(&self, text: &str, report: &mut Report) {
        if !self.attributes.is_empty() {
            report.lost(self.line, &self.text(), text);
        }
    }
}

/// Whether a text is an address, perhaps with the length of a prefix.
pub(super) fn is_address(text: &str) -> bool {
    text.split('/').next().is_some_and(|address| address.parse::<IpAddr>().is_ok())
}

/// A number of seconds, where there has to be one.
pub(super) fn seconds_of(statement: &Statement) -> Option<f64> {
    statement.argument(1).and_then(seconds)
}
