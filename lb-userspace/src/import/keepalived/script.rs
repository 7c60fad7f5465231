//! `vrrp_script`, and `track_script` that names it.

use super::super::document::Section;
use super::super::report::Report;
use super::tree::Statement;
use super::vrrp::Item;
use super::{command, rest, set_number, set_seconds};

/// The scripts that an instance tracks: keepalived defines them apart, lb where they are used.
pub(super) fn tracked(instance: &Statement, file: &Statement, report: &mut Report) -> Vec<Section> {
    let lines = instance.all("track_script").flat_map(|list| list.statements());
    let items = lines.flat_map(|line| Item::all(line, &["weight"], &["reverse", "noreverse"]));
    items.filter_map(|item| script(&item, file, report)).collect()
}

fn script(item: &Item<'_>, file: &Statement, report: &mut Report) -> Option<Section> {
    let Some(definition) = file.all("vrrp_script").find(|script| script.argument(1) == Some(item.name))
    else {
        report.lost(item.line, item.name, "there is no vrrp_script of this name");
        return None;
    };
    let Some(program) = definition.find("script") else {
        report.lost(definition.line, &definition.text(), "it has no `script`, so there is nothing to run");
        return None;
    };
    let mut section = Section::one_of("vrrp_instance.track_script", definition.line, definition.text());
    section.set(program.line, "command", command::of_line(program, report)?);
    set_seconds(&mut section, "interval", definition.find("interval"), report);
    timeout(&mut section, definition, report);
    set_number(&mut section, "weight", definition.find("weight"), report);
    if let Some((_, weight)) = item.attributes.iter().find(|(name, _)| *name == "weight")
        && let Ok(weight) = weight.parse::<i64>()
    {
        section.set(item.line, "weight", weight);
    }
    let is_reverse = |words: &[String]| words.iter().any(|word| word == "reverse");
    if item.attributes.iter().any(|(name, _)| *name == "reverse")
        || definition.find("weight").is_some_and(|weight| is_reverse(&weight.words))
    {
        report.lost(item.line, &item.text(), "lb has no `reverse`; have the script fail where it succeeded");
        return None;
    }
    for key in ["fall", "rise"] {
        set_number(&mut section, key, definition.find(key), report);
    }
    let known = ["script", "interval", "timeout", "weight", "fall", "rise"];
    let why = |keyword: &str| match keyword {
        "user" => Some("scripts run as the daemon does; for another user write `setpriv` before the program"),
        "init_fail" => Some("a script counts as succeeding until it has run"),
        _ => None,
    };
    rest(definition, &known, why, report);
    Some(section)
}

/// lb has no run begin while the one before is still allowed to go on.
fn timeout(section: &mut Section, definition: &Statement, report: &mut Report) {
    let seconds = |keyword| definition.find(keyword).and_then(super::vrrp::seconds_of);
    let interval = seconds("interval").unwrap_or(1.0);
    match (seconds("timeout"), definition.find("timeout")) {
        (Some(timeout), Some(statement)) if timeout > interval => {
            let message =
                format!("longer than the interval, {interval} s: cut to that, for runs would overlap");
            report.changed(statement.line, &statement.text(), message);
        }
        (_, statement) => set_seconds(section, "timeout", statement, report),
    }
}

/// Tells of scripts that nothing tracks.
pub(super) fn are_used(file: &Statement, report: &mut Report) {
    for script in file.all("vrrp_script") {
        let name = script.argument(1).unwrap_or_default();
        let lists = file.all("vrrp_instance").flat_map(|instance| instance.all("track_script"));
        let mut words = lists.flat_map(|list| list.statements()).flat_map(|line| &line.words);
        if !words.any(|word| word == name) {
            report.lost(script.line, &script.text(), "no vrrp_instance tracks it");
        }
    }
}
