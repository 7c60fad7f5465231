//! Child processes: started, waited for, and judged by how they end.
//!
//! Children share xtask's process group, so the terminal's Ctrl-C reaches them directly. xtask only notes it,
//! waits until they have cleaned up, and returns 130.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::console;
use crate::failure::{Failure, Outcome};

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on Ctrl-C is noted, instead of ending xtask before its children.
///
/// A handler (not `SIG_IGN`, which children would inherit) leaves the default action to every child.
pub(crate) fn note_interrupts() -> Outcome {
    let flag = INTERRUPTED.get_or_init(Arc::default);
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(flag))
        .map_err(|error| Failure::new(format!("install a handler for Ctrl-C: {error}")))?;
    Ok(())
}

/// Whether Ctrl-C was pressed.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Shows and runs a command; anything but success is a failure.
pub(crate) fn run(command: &mut Command) -> Outcome {
    show(command);
    run_quietly(command)
}

/// Runs a command without showing it first; for what has been announced in better words.
pub(crate) fn run_quietly(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    judge(command, status)
}

/// Says how a child that has ended fared.
pub(crate) fn judge(command: &Command, status: ExitStatus) -> Outcome {
    if interrupted() {
        return Err(Failure::interrupted());
    }
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("`{}` failed ({status})", text(command))))
}

/// Shows and runs a command; what it prints on stdout.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    show(command);
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| cannot_start(command, &error))?;
    judge(command, output.status)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a command prints on stdout, if it runs and succeeds. For questions, not for work: stderr is dropped.
pub(crate) fn answer(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Becomes the command: from here on signals and the exit code are its own. Returns only if that fails.
pub(crate) fn become_command(command: &mut Command) -> Failure {
    show(command);
    let error = command.exec();
    cannot_start(command, &error)
}

/// Prints a command as one would type it.
pub(crate) fn show(command: &Command) {
    console::step("xtask", format_args!("$ {}", text(command)));
}

pub(crate) fn cannot_start(command: &Command, error: &io::Error) -> Failure {
    Failure::new(format!("start `{}`: {error}", text(command)))
}

/// The command line, with the program's bare name and quotes only where a shell needs them.
///
/// Of the variables only flags are shown: with others the compiler does the same.
fn text(command: &Command) -> String {
    let flags = command.get_envs().find_map(|(name, value)| value.filter(|_| name == "RUSTFLAGS"));
    let flags = flags.map(|flags| format!("RUSTFLAGS={}", quoted(flags)));
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args()).map(quoted);
    flags.into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

pub(crate) fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::text;
    use std::process::Command;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "--test", "*", "it's", ""]);
        command.env("RUSTFLAGS", "--cfg loom").env("PATH", "/bin");
        assert_eq!(text(&command), r"RUSTFLAGS='--cfg loom' cargo test --test '*' 'it'\''s' ''");
    }
}
