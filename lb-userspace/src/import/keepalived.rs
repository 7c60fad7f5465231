//! `keepalived.conf` (`keepalived.conf(5)`, keepalived 1.1 to 2.3) to sections.
//!
//! ```text
//! text ─ lexer ─> words, braces ─ variables ─ tree ─> statements ─┬─ global ──────────> [timeouts] [smtp]
//!                                            (grammar)             ├─ vrrp, script ────> [[vrrp_instance]] …
//!                                                                  └─ virtual_server ──> [[virtual_server]]
//!                                                                       checker            health_check
//! ```

mod checker;
mod command;
mod global;
mod grammar;
mod group;
mod hexadecimal;
mod lexer;
mod script;
mod tree;
mod variables;
mod virtual_server;
mod vrrp;

use super::document::{Document, Section};
use super::report::Report;
use global::Globals;
use tree::Statement;

/// Sections for what the text says, without `[director]`, and the interfaces of its virtual routers.
pub(super) fn convert(text: &str, report: &mut Report) -> (Document, Vec<String>) {
    let tokens = variables::substituted(&lexer::tokens(text, report), report);
    let file = Statement { below: Some(tree::statements(&tokens, report)), ..Statement::default() };
    let mut document = Document::default();
    let globals = Globals::read(&file, report);
    document.sections.extend(globals.timeouts(report));
    document.sections.extend(globals.mail(report));
    let mut interfaces = Vec::new();
    for instance in file.all("vrrp_instance") {
        interfaces.extend(
            instance.find("interface").and_then(|interface| interface.argument(1)).map(str::to_owned),
        );
        document.sections.push(vrrp::instance(instance, &file, &globals, report));
    }
    document.sections.extend(file.all("vrrp_sync_group").map(|group| vrrp::sync_group(group, report)));
    script::are_used(&file, report);
    let servers =
        file.all("virtual_server").filter_map(|server| virtual_server::convert(server, &file, report));
    let servers: Vec<Section> = servers.collect();
    document.sections.extend(servers);
    document.tail = globals.sync(&file, report);
    for other in file.statements() {
        leftover(other, report);
    }
    (document, interfaces)
}

/// Whether a line is of such a file.
pub(super) fn is_section(line: &str) -> bool {
    lexer::begins_section(line)
}

/// Statements outside of sections, and sections that lb has nothing of.
fn leftover(statement: &Statement, report: &mut Report) {
    let text = match statement.keyword {
        "global_defs"
        | "vrrp_instance"
        | "vrrp_sync_group"
        | "vrrp_script"
        | "virtual_server"
        | "virtual_server_group" => return,
        "static_ipaddress" | "static_routes" | "static_rules" => {
            "addresses, routes and rules that are always there belong into the network's own configuration"
        }
        "vrrp_track_process" | "track_process" => {
            "lb does not watch processes; a `track_script` with `pidof` says the same"
        }
        "vrrp_track_file" | "track_file" => "lb does not watch files; a `track_script` can read one",
        "bfd_instance" => "lb has no BFD",
        "SSL" => {
            "lb has no client certificates for checks; `ca_file` of a check's `tls` names certificate authorities"
        }
        "net_namespace" | "net_namespace_ipvs" => {
            "start lb in the namespace: `ip netns exec`, or NetworkNamespacePath="
        }
        "" if statement.words.is_empty() => return,
        "" if statement.below.is_none() => "it stands outside of every section; nothing is known of it there",
        _ => "lb has no equivalent",
    };
    report.lost(statement.line, &statement.text(), text);
}

/// Seconds, perhaps with a fraction, as a duration; none if it is no number.
fn seconds(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|seconds| seconds.is_finite() && (0.0..=1e9).contains(seconds))
}

/// As the file has them: `"6s"`, `"1500ms"`.
fn duration(seconds: f64) -> String {
    let milliseconds = (seconds * 1000.0).round();
    if milliseconds % 1000.0 == 0.0 {
        format!("{}s", milliseconds / 1000.0)
    } else {
        format!("{milliseconds}ms")
    }
}

/// Sets a key to a number of seconds, if the statement has one.
fn set_seconds(section: &mut Section, key: &'static str, statement: Option<&Statement>, report: &mut Report) {
    let Some(statement) = statement else { return };
    match statement.argument(1).and_then(seconds) {
        Some(seconds) => section.set(statement.line, key, duration(seconds)),
        None => no_number(statement, report),
    }
}

/// Sets a key to a whole number, if the statement has one.
fn set_number(section: &mut Section, key: &'static str, statement: Option<&Statement>, report: &mut Report) {
    let Some(statement) = statement else { return };
    match statement.argument(1).and_then(|text| text.parse::<i64>().ok()) {
        Some(number) => section.set(statement.line, key, number),
        None => no_number(statement, report),
    }
}

fn no_number(statement: &Statement, report: &mut Report) {
    report.lost(statement.line, &statement.text(), "there is no number where one belongs");
}

/// Whether a switch is on: by its name alone, or by what stands behind it.
fn is_on(statement: &Statement) -> bool {
    !statement
        .argument(1)
        .is_some_and(|word| ["off", "no", "false"].iter().any(|off| word.eq_ignore_ascii_case(off)))
}

/// Statements that nobody has asked for: what is not in `known` has no equivalent, for a reason that `why` may know.
fn rest(
    statement: &Statement,
    known: &[&str],
    why: impl Fn(&str) -> Option<&'static str>,
    report: &mut Report,
) {
    for below in statement.statements() {
        if known.contains(&below.keyword) && !below.keyword.is_empty() {
            continue;
        }
        let text = match below.keyword {
            "" => "not a word that keepalived has here, as far as lb knows",
            keyword => why(keyword).unwrap_or("lb has no equivalent"),
        };
        report.lost(below.line, &below.text(), text);
    }
}

#[cfg(test)]
mod tests;
