//! What is right on one machine and wrong on another: looked at when the daemon starts, and by `lb check` as a
//! warning, because a configuration may be written elsewhere.

use super::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use super::model::Config;
use super::suggest::quoted;

/// What this machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The names of its network interfaces.
    pub interfaces: Vec<String>,
}

/// What depends on the machine: a warning in `lb check`, an error in `lb run`.
#[must_use]
pub fn check_machine(config: &Config, machine: &Machine, severity: Severity) -> Diagnostics {
    let exists = |name: &str| machine.interfaces.iter().any(|existing| existing == name);
    let missing = config.director.interfaces.iter().filter(|interface| !exists(interface));
    let diagnostics = missing.map(|interface| {
        let message = format!("this machine has no interface {}", quoted(interface));
        let diagnostic = Diagnostic::new(Code::NoSuchInterface, &interface.span, message);
        Diagnostic { severity, ..diagnostic.help(existing(machine)) }
    });
    Diagnostics::new(diagnostics.collect())
}

/// Containers give a machine hundreds of them: the first are enough to see what they are called.
fn existing(machine: &Machine) -> String {
    const SHOWN: usize = 16;
    let mut names: Vec<&str> = machine.interfaces.iter().map(String::as_str).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    match (names.is_empty(), more) {
        (true, _) => "it has none at all".to_owned(),
        (false, 0) => format!("it has {}", names.join(", ")),
        (false, more) => format!("it has {} and {more} more", names.join(", ")),
    }
}
