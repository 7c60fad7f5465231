//! What a virtual server does when its real servers' checks succeed and fail: quorum, scripts, weights.

use std::time::Duration;

use super::diagnostic::{Code, Diagnostic};
use super::draft::{EffectiveCheck, VirtualServerDraft};
use super::health::Quorum;
use super::reader::Table;
use super::report::{Report, Reported};
use super::source::Located;
use super::suggest::quoted;
use super::value;

/// As it was read: what is not written is none.
pub(super) struct ReactionDraft {
    quorum: Option<Located<u32>>,
    hysteresis: Option<Located<u32>>,
    quorum_up: Option<Located<Vec<String>>>,
    quorum_down: Option<Located<Vec<String>>>,
    inhibit_on_failure: Option<Located<bool>>,
    slow_start: Option<Located<Duration>>,
    ha_suspend: Option<Located<bool>>,
    alpha: Option<Located<bool>>,
    notify: Option<Located<Vec<String>>>,
}

const LONGEST_START: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn reaction(table: &Table<'_>) -> Result<ReactionDraft, Reported> {
    let quorum = table.value_or("quorum", None, |value| {
        let help =
            "it is the sum of weights that usable real servers have to have for the virtual server to be up";
        Ok(Some(value.located(value.integer(1..=u32::MAX, help)?)))
    });
    let hysteresis = table.value_or("hysteresis", None, |value| {
        let help =
            "it is how far the sum of weights has to be above or below `quorum` before anything changes";
        Ok(Some(value.located(value.integer(0..=u32::MAX, help)?)))
    });
    let command = |key, example| {
        table.value_or(key, None, |value| Ok(Some(value.located(value::command(value, example)?))))
    };
    let (quorum_up, quorum_down) =
        (command("quorum_up", "/etc/lb/up.sh"), command("quorum_down", "/etc/lb/down.sh"));
    let notify = command("notify", "/etc/lb/notify.sh");
    let switch = |key, help| table.value_or(key, None, |value| Ok(Some(value.located(value.boolean(help)?))));
    let inhibit_on_failure = switch(
        "inhibit_on_failure",
        "with true, a real server that is down has weight 0 and keeps its connections",
    );
    let ha_suspend = switch("ha_suspend", "with true, nothing is checked while another director is master");
    let alpha = switch("alpha", "with true, real servers get nothing until a check has succeeded");
    let slow_start = table
        .value_or("slow_start", None, |value| value::wait(value, Duration::ZERO..=LONGEST_START).map(Some));
    let draft = ReactionDraft {
        quorum: quorum?,
        hysteresis: hysteresis?,
        quorum_up: quorum_up?,
        quorum_down: quorum_down?,
        inhibit_on_failure: inhibit_on_failure?,
        slow_start: slow_start?,
        ha_suspend: ha_suspend?,
        alpha: alpha?,
        notify: notify?,
    };
    draft.hysteresis_is_below_the_quorum(table.report())?;
    Ok(draft)
}

impl ReactionDraft {
    pub(super) fn quorum(&self) -> Quorum {
        let default = Quorum::default();
        Quorum {
            quorum: self.quorum.as_ref().map_or(default.quorum, |quorum| quorum.value),
            hysteresis: self.hysteresis.as_ref().map_or(default.hysteresis, |hysteresis| hysteresis.value),
            up: written(self.quorum_up.as_ref()),
            down: written(self.quorum_down.as_ref()),
        }
    }

    pub(super) fn inhibit_on_failure(&self) -> bool {
        written(self.inhibit_on_failure.as_ref())
    }

    pub(super) fn slow_start(&self) -> Duration {
        written(self.slow_start.as_ref())
    }

    pub(super) fn ha_suspend(&self) -> bool {
        written(self.ha_suspend.as_ref())
    }

    pub(super) fn alpha(&self) -> bool {
        written(self.alpha.as_ref())
    }

    pub(super) fn notify(&self) -> Vec<String> {
        written(self.notify.as_ref())
    }

    fn hysteresis_is_below_the_quorum(&self, report: &Report) -> Result<(), Reported> {
        let Quorum { quorum, hysteresis, .. } = self.quorum();
        match &self.hysteresis {
            Some(written) if hysteresis >= quorum => {
                let message = format!("`hysteresis` {hysteresis} is not below `quorum` {quorum}");
                let mut diagnostic = Diagnostic::new(Code::OutOfRange, &written.span, message);
                if let Some(quorum) = &self.quorum {
                    diagnostic = diagnostic.related(&quorum.span, "the quorum");
                }
                let help = "write less: a virtual server is down when the sum of weights is below `quorum` less \
                            `hysteresis`, and there is no sum below 0";
                Err(report.error(diagnostic.help(help)))
            }
            _ => Ok(()),
        }
    }
}

fn written<T: Clone + Default>(value: Option<&Located<T>>) -> T {
    value.map(|value| value.value.clone()).unwrap_or_default()
}

/// What of it makes sense with the real servers and their checks.
pub(super) fn fits(draft: &VirtualServerDraft, checks: &[EffectiveCheck], report: &Report) {
    let Ok(reaction) = &draft.reaction else { return };
    quorum_can_be_reached(reaction, draft, checks, report);
    slow_start_has_weights(reaction, draft, report);
    something_is_checked(reaction, draft, checks, report);
}

fn quorum_can_be_reached(
    reaction: &ReactionDraft,
    draft: &VirtualServerDraft,
    checks: &[EffectiveCheck],
    report: &Report,
) {
    let Some(written) = reaction.quorum.as_ref().or(reaction.hysteresis.as_ref()) else { return };
    let servers = &draft.real_servers;
    let is_known = !servers.read.is_empty() && servers.complete.is_ok();
    // A probe may give them other weights.
    let change = |check: &EffectiveCheck| !matches!(check, Ok(check) if check.as_ref().is_none_or(|check| !check.probe.changes_weights()));
    if !is_known || checks.iter().any(change) {
        return;
    }
    let weights: Result<Vec<u32>, _> = servers.read.iter().map(|server| server.weight).collect();
    let Ok(weights) = weights else { return };
    let sum: u64 = weights.into_iter().map(u64::from).sum();
    let Quorum { quorum, hysteresis, .. } = reaction.quorum();
    let needed = u64::from(quorum) + u64::from(hysteresis);
    if needed <= sum {
        return;
    }
    let what = if hysteresis > 0 { "`quorum` and `hysteresis` are" } else { "`quorum` is" };
    let message =
        format!("{what} never reached: {needed} is more than the weights of all real servers, {sum}");
    let diagnostic = Diagnostic::new(Code::NoEffect, &written.span, message);
    report.warning(diagnostic.help(format!("write at most {sum} in all, or larger weights")));
}

/// Schedulers of IPVS that look at a weight only to see whether it is 0 (`ip_vs_rr.c`, `ip_vs_lc.c`, `ip_vs_dh.c`).
const WITHOUT_WEIGHTS: [&str; 3] = ["rr", "lc", "dh"];

fn slow_start_has_weights(reaction: &ReactionDraft, draft: &VirtualServerDraft, report: &Report) {
    let (Some(slow_start), Ok(scheduler)) = (&reaction.slow_start, &draft.scheduler) else { return };
    let name = scheduler.value.name();
    if slow_start.value.is_zero() || !WITHOUT_WEIGHTS.contains(&name) {
        return;
    }
    let message = format!("`slow_start` does nothing with the scheduler {name}, which uses no weights");
    let diagnostic = Diagnostic::new(Code::NoEffect, &slow_start.span, message);
    let diagnostic = diagnostic.related(&scheduler.span, "the scheduler");
    let with_weights = if name == "lc" { "wlc" } else { "wrr" };
    report.warning(diagnostic.help(format!("remove it, or write scheduler = \"{with_weights}\"")));
}

fn something_is_checked(
    reaction: &ReactionDraft,
    draft: &VirtualServerDraft,
    checks: &[EffectiveCheck],
    report: &Report,
) {
    let is_checked = checks.iter().any(|check| !matches!(check, Ok(None)));
    let awaits_servers = draft.real_servers.read.is_empty() && !matches!(draft.health_check, Ok(None));
    if is_checked || awaits_servers {
        return;
    }
    let places = [
        ("quorum_up", reaction.quorum_up.as_ref().map(|up| &up.span)),
        ("quorum_down", reaction.quorum_down.as_ref().map(|down| &down.span)),
        ("notify", reaction.notify.as_ref().map(|notify| &notify.span)),
        ("inhibit_on_failure", reaction.inhibit_on_failure.as_ref().filter(|is| is.value).map(|is| &is.span)),
        ("ha_suspend", reaction.ha_suspend.as_ref().filter(|is| is.value).map(|is| &is.span)),
        ("alpha", reaction.alpha.as_ref().filter(|is| is.value).map(|is| &is.span)),
    ];
    for (key, span) in places.into_iter().filter_map(|(key, span)| Some((key, span?))) {
        let message =
            format!("{} is written, but nothing checks the real servers of this virtual server", quoted(key));
        let help = "write a [virtual_server.health_check]: without one, a real server is up as long as its MAC is known";
        report.warning(Diagnostic::new(Code::NoEffect, span, message).help(help));
    }
}
