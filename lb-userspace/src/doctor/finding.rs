//! One thing that the doctor found.

use std::net::IpAddr;

use serde::Serialize;

use super::code::Code;
use super::repair::Repair;

/// How bad it is; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Traffic is lost, or `lb run` does not start.
    Problem,
    /// It works, and could be better, or will not always.
    Warning,
    /// As it should be.
    Ok,
}

/// What was looked at, and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// The interface, the address or whatever it was found at.
    pub subject: String,
    /// What was seen.
    pub found: String,
    /// Why it matters; empty if it is as it should be.
    pub why: &'static str,
    /// What to do.
    pub fix: Option<Remedy>,
}

/// What to do about a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// The real server on which the commands are to be run; none for the director.
    pub on: Option<IpAddr>,
    /// Commands, word for word; run as root, one after the other.
    pub commands: Vec<String>,
    /// What no command does, or what to know before.
    pub advice: Option<String>,
    /// Whether `lb doctor --fix` does what the commands do.
    #[serde(rename = "automatic", serialize_with = "is_there")]
    pub repair: Option<Repair>,
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn is_there<S: serde::Serializer>(repair: &Option<Repair>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(repair.is_some())
}

impl Finding {
    /// As it should be.
    pub(super) fn ok(code: Code, subject: impl Into<String>, found: impl Into<String>) -> Self {
        let (subject, found) = (subject.into(), found.into());
        Self { code, severity: Severity::Ok, subject, found, why: "", fix: None }
    }

    pub(super) fn warning(code: Code, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, why: code.why(), ..Self::ok(code, subject, found) }
    }

    pub(super) fn problem(code: Code, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { severity: Severity::Problem, ..Self::warning(code, subject, found) }
    }

    pub(super) fn fix(self, remedy: Remedy) -> Self {
        Self { fix: Some(remedy), ..self }
    }
}

impl Remedy {
    /// A command to be run on the director.
    pub(super) fn command(command: impl Into<String>) -> Self {
        Self { commands: vec![command.into()], ..Self::default() }
    }

    /// What is to be thought about.
    pub(super) fn advice(advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..Self::default() }
    }

    pub(super) fn and_advice(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// The commands are to be run on this real server.
    pub(super) fn on(self, real_server: IpAddr) -> Self {
        Self { on: Some(real_server), ..self }
    }

    /// `--fix` does it too.
    pub(super) fn by(self, repair: Repair) -> Self {
        Self { repair: Some(repair), ..self }
    }
}
