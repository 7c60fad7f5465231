//! `lb doctor`.

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;
use serde::Serialize;

use super::output::{complain, print, print_json};
use super::{ConfigFile, Failure, runtime};
use crate::config::Config;
use crate::doctor::{self, Code, Finding, Patient, Remedy, Severity};

/// Look for what is wrong.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb doctor                          the director itself
  sudo lb doctor --real-servers           and ask its real servers, with some frames
  sudo lb doctor --interface eth0         before there is a configuration
  sudo lb doctor --fix                    do what can be done safely on the director
  sudo lb doctor --json | jq -r '.findings[] | select(.severity == \"problem\") | .fix.commands[]'

Works with or without a running daemon. Exits with 0 if there are no problems (there may be
warnings), with 1 if there are some.")]
pub(super) struct Doctor {
    #[command(flatten)]
    file: ConfigFile,
    /// Look at this interface without a configuration file; repeat for several
    #[arg(long = "interface", value_name = "NAME")]
    interfaces: Vec<String>,
    /// Ask the real servers too: who answers for the VIPs, and who accepts their packets
    #[arg(long)]
    real_servers: bool,
    /// Do what is safe on the director: settings, offloads, an interface that is down, a bpffs
    #[arg(long)]
    fix: bool,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    problems: usize,
    warnings: usize,
    /// What `--fix` did, as the commands that do the same.
    fixed: Vec<String>,
    findings: Vec<Finding>,
}

impl Doctor {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let config = match self.config() {
            Ok(config) => config,
            Err(failure) if self.json => {
                // Whoever reads JSON gets JSON, and the list of mistakes beside it.
                print_json(&Report {
                    problems: 1,
                    warnings: 0,
                    fixed: Vec::new(),
                    findings: vec![unreadable(&self.file.config)],
                })?;
                return Err(failure);
            }
            Err(failure) => return Err(failure),
        };
        let patient = Patient { config, real_servers: self.real_servers };
        let runtime = runtime()?;
        let mut findings = runtime.block_on(doctor::examine(&patient))?;
        let mut fixed = Vec::new();
        if self.fix {
            fixed = runtime.block_on(fix(&findings))?;
            if !fixed.is_empty() {
                findings = runtime.block_on(doctor::examine(&patient))?;
            }
        }
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let (problems, warnings) = (count(Severity::Problem), count(Severity::Warning));
        let report = Report { problems, warnings, fixed, findings };
        if self.json {
            print_json(&report)?
        } else {
            print(&text(&report))?
        }
        if problems == 0 { Ok(()) } else { Err(Failure::silent()) }
    }

    fn config(&self) -> Result<Config, Failure> {
        if self.interfaces.is_empty() {
            return self.file.load().map(|checked| checked.config).map_err(|failure| {
                match failure.message.as_str() {
                    "" => failure,
                    message => Failure::because(format!(
                        "{message}; or look at an interface alone: lb doctor --interface eth0"
                    )),
                }
            });
        }
        Patient::with_interfaces(&self.interfaces).map_err(|diagnostics| {
            complain(&diagnostics);
            Failure::silent()
        })
    }
}

fn unreadable(file: &Path) -> Finding {
    Finding {
        code: Code::Config,
        severity: Severity::Problem,
        subject: file.display().to_string(),
        found: "cannot be read, or is not valid".to_owned(),
        why: Code::Config.why(),
        fix: Some(Remedy {
            commands: vec![format!("lb check --config {}", file.display())],
            ..Remedy::default()
        }),
    }
}

/// Does what can be done, all of it, and says what was done; an error names everything that failed.
async fn fix(findings: &[Finding]) -> Result<Vec<String>, Failure> {
    let (mut fixed, mut failed) = (Vec::new(), Vec::new());
    let remedies = findings.iter().filter_map(|finding| finding.fix.as_ref());
    for (remedy, repair) in remedies.filter_map(|remedy| Some((remedy, remedy.repair.as_ref()?))) {
        match repair.apply().await {
            Ok(()) => fixed.push(remedy.commands.join("; ")),
            Err(error) => failed.push(error.to_string()),
        }
    }
    if failed.is_empty() { Ok(fixed) } else { Err(Failure::because(failed.join("; "))) }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for fixed in &report.fixed {
        let _ = writeln!(text, "fixed    {fixed}");
    }
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::Problem => "PROBLEM",
            Severity::Warning => "warning",
            Severity::Ok => "ok",
        };
        let Finding { code, subject, found, why, .. } = finding;
        let _ = writeln!(text, "{severity:<8} {code}: {subject}: {found}");
        if !why.is_empty() {
            let _ = writeln!(text, "         {why}");
        }
        if let Some(remedy) = &finding.fix {
            say(&mut text, remedy);
        }
    }
    let Report { problems, warnings, .. } = report;
    let ok = report.findings.len() - problems - warnings;
    let plural = |number: usize| if number == 1 { "" } else { "s" };
    let _ = writeln!(
        text,
        "{problems} problem{}, {warnings} warning{}, {ok} ok",
        plural(*problems),
        plural(*warnings)
    );
    text
}

fn say(text: &mut String, remedy: &Remedy) {
    let place = remedy.on.map(|address| format!("on {address}")).unwrap_or_default();
    let by_itself = if remedy.repair.is_some() { "or lb doctor --fix" } else { "" };
    let notes = [place.as_str(), by_itself].into_iter().filter(|note| !note.is_empty());
    let notes = notes.collect::<Vec<_>>().join(", ");
    let notes = if notes.is_empty() { notes } else { format!(" ({notes})") };
    for command in &remedy.commands {
        let _ = writeln!(text, "         fix{notes}: {command}");
    }
    if let Some(advice) = &remedy.advice {
        let _ = writeln!(text, "         {advice}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_shown_with_its_evidence_its_reason_and_its_remedy() {
        let finding = Finding {
            code: Code::ArpAnswersVip,
            severity: Severity::Problem,
            subject: "192.0.2.240 on 192.0.2.51".to_owned(),
            found: "answers ARP for the VIP".to_owned(),
            why: Code::ArpAnswersVip.why(),
            fix: Some(Remedy {
                on: Some("192.0.2.51".parse().unwrap()),
                commands: vec!["lb real-server up --vip 192.0.2.240".to_owned()],
                advice: None,
                repair: None,
            }),
        };
        let report = Report { problems: 1, warnings: 0, fixed: Vec::new(), findings: vec![finding] };
        let expected = "\
PROBLEM  arp-answers-vip: 192.0.2.240 on 192.0.2.51: answers ARP for the VIP
         clients that hear its answer send to this real server alone, past the director
         fix (on 192.0.2.51): lb real-server up --vip 192.0.2.240
1 problem, 0 warnings, 0 ok
";
        assert_eq!(text(&report), expected);
    }
}
