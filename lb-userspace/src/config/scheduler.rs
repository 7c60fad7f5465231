//! Schedulers, their flags, and the size of a table.

use lb_common::selector::MAGLEV_SLOTS;

use super::diagnostic::{Code, Diagnostic};
use super::draft::VirtualServerDraft;
use super::reader::Value;
use super::report::{Partial, Report, Reported};
use super::source::{Located, repetitions};
use super::suggest::{alternatives, in_quotes, nearest, quoted};
use crate::scheduler::{self, Flag, Scheduler};

/// One of `scheduler::ALL`, by its name.
pub(super) fn scheduler(value: Value<'_>) -> Result<Located<Scheduler>, Reported> {
    let text = value.text(&names())?;
    if let Some(scheduler) = Scheduler::by_name(&text) {
        return Ok(text.located(scheduler));
    }
    let message = format!("there is no scheduler {}", quoted(&text));
    let diagnostic = Diagnostic::new(Code::UnknownScheduler, &text.span(), message);
    let known = scheduler::ALL.iter().map(|scheduler| scheduler.name());
    let diagnostic = match nearest(&text, known) {
        Some(name) => diagnostic.help(format!("did you mean \"{name}\"?")),
        None => diagnostic,
    };
    Err(value.report().error(diagnostic.help(names())))
}

/// What can be written, in one sentence.
pub(super) fn names() -> String {
    format!("write scheduler = {}", alternatives(scheduler::ALL.iter().map(in_quotes)))
}

/// A list of flags, each by its name.
pub(super) fn flags(value: Value<'_>) -> Partial<Located<Flag>> {
    match value.list("\"sh-port\"") {
        Ok(elements) => Partial::of(elements.into_iter().map(flag)),
        Err(reported) => Partial::none(reported),
    }
}

fn flag(value: Value<'_>) -> Result<Located<Flag>, Reported> {
    let names = || Flag::ALL.iter().map(|flag| flag.name());
    let text = value.text("write each flag in quotes: \"sh-port\"")?;
    Flag::by_name(&text).map(|flag| text.located(flag)).ok_or_else(|| {
        let message = format!("there is no scheduler flag {}", quoted(&text));
        let diagnostic = Diagnostic::new(Code::UnknownValue, &text.span(), message);
        // It compares words as keys are written.
        let keys: Vec<String> = names().map(|name| name.replace('-', "_")).collect();
        let near = nearest(&text, keys.iter().map(String::as_str)).map(|key| key.replace('_', "-"));
        let diagnostic = match near {
            Some(name) => diagnostic.help(format!("did you mean \"{name}\"?")),
            None => diagnostic,
        };
        value
            .report()
            .error(diagnostic.help(format!("the flags are {}", names().collect::<Vec<_>>().join(", "))))
    })
}

/// One of the sizes that IPVS can be built with.
pub(super) fn table_size(value: Value<'_>) -> Result<Located<u32>, Reported> {
    const HELP: &str = "it is the number of slots of mh's table; more slots keep more clients where they are when a \
                        real server leaves, and take longer to fill";
    let size = value.integer(1..=u32::MAX, HELP)?;
    if MAGLEV_SLOTS.contains(&size) {
        return Ok(value.located(size));
    }
    let message = format!("mh has no table of {size} slots");
    let sizes = alternatives(MAGLEV_SLOTS.iter().map(ToString::to_string));
    let help = format!("write mh_table_size = {sizes}: the sizes that IPVS can be built with");
    Err(value.report().error(Diagnostic::new(Code::UnknownValue, &value.span(), message).help(help)))
}

/// Flags and the table's size go with the scheduler.
pub(super) fn parameters_belong_together(draft: &VirtualServerDraft, report: &Report) {
    let flags = draft.scheduler_flags.read.iter().map(|flag| (flag.value, &flag.span));
    for (flag, again, first) in repetitions(flags) {
        let message = format!("the scheduler flag {flag} is set already");
        let diagnostic = Diagnostic::new(Code::DuplicateFlag, again, message).label("the second time");
        report.error(diagnostic.related(first, "the first time").help("remove one of the two"));
    }
    let Ok(scheduler) = &draft.scheduler else { return };
    for flag in &draft.scheduler_flags.read {
        if !scheduler.value.flags().contains(&flag.value) {
            wrong_flag(flag, scheduler, report);
        }
    }
    let Ok(Some(size)) = &draft.mh_table_size else { return };
    if scheduler.value.name() != "mh" {
        let message = format!("`mh_table_size` is for the scheduler mh, and this one is {}", scheduler.value);
        let diagnostic = Diagnostic::new(Code::OtherScheduler, &size.span, message);
        let diagnostic = diagnostic.related(&scheduler.span, "the scheduler");
        report.error(diagnostic.help("remove it, or write scheduler = \"mh\""));
        return;
    }
    let servers = draft.real_servers.read.len();
    if servers > size.value as usize {
        let message = format!("{servers} real servers do not fit into a table of {size} slots");
        let diagnostic = Diagnostic::new(Code::TooMany, &size.span, message);
        let enough =
            MAGLEV_SLOTS.iter().find(|slots| **slots as usize >= servers).unwrap_or(&MAGLEV_SLOTS[9]);
        report.error(diagnostic.help(format!(
            "write mh_table_size = {enough} or more; a hundred slots for each real server share well"
        )));
    }
}

fn wrong_flag(flag: &Located<Flag>, scheduler: &Located<Scheduler>, report: &Report) {
    let owner = scheduler::ALL.into_iter().find(|scheduler| scheduler.flags().contains(&flag.value));
    let owner = owner.map_or("", Scheduler::name);
    let message = format!("{flag} is a flag of the scheduler {owner}, and this one is {}", scheduler.value);
    let diagnostic = Diagnostic::new(Code::OtherScheduler, &flag.span, message);
    let diagnostic = diagnostic.related(&scheduler.span, "the scheduler");
    let suffix = flag.value.name().strip_prefix(owner).unwrap_or_default();
    let own = scheduler.value.flags().iter().find(|own| own.name().ends_with(suffix));
    report.error(match own {
        Some(own) => diagnostic.help(format!("write \"{own}\"")),
        None => diagnostic.help(format!("remove it; {} has no flags", scheduler.value)),
    });
}
