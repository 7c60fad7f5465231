//! Durations, paths, commands and names.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use lb_common::clock::MAX_TIMEOUT_SECONDS;

use super::diagnostic::{Code, Diagnostic};
use super::machine::Need;
use super::reader::{Text, Value};
use super::report::{Partial, Reported};
use super::source::Located;
use super::suggest::quoted;

/// A timeout of the connection table, which counts whole seconds.
pub(super) fn timeout(value: Value<'_>) -> Result<Duration, Reported> {
    let (text, duration) = readable_duration(value, "\"90s\", \"15m\" or \"2h\"")?;
    if duration.subsec_nanos() != 0 {
        let message = format!("{} is not a whole number of seconds", quoted(&text));
        return Err(text.error(
            Code::InvalidDuration,
            message,
            "timeouts are counted in seconds: \"1s\" is the shortest",
        ));
    }
    if !(1..=u64::from(MAX_TIMEOUT_SECONDS)).contains(&duration.as_secs()) {
        let message = format!("{} is out of range for a timeout", quoted(&text));
        let days = MAX_TIMEOUT_SECONDS / (24 * 60 * 60);
        let help = format!("write at least \"1s\" and at most \"{days}days\"");
        return Err(text.error(Code::OutOfRange, message, help));
    }
    Ok(duration)
}

/// A time that the daemon itself waits, which may be a part of a second.
pub(super) fn wait(
    value: Value<'_>,
    limits: RangeInclusive<Duration>,
) -> Result<Located<Duration>, Reported> {
    let (text, duration) = readable_duration(value, "\"100ms\", \"2s\" or \"1m\"")?;
    if !limits.contains(&duration) {
        let message = format!("{} is out of range for `{}`", quoted(&text), value.key());
        let (least, most) = limits.into_inner();
        let (least, most) = (humantime::format_duration(least), humantime::format_duration(most));
        let help = format!("write at least \"{least}\" and at most \"{most}\"");
        return Err(text.error(Code::OutOfRange, message, help));
    }
    Ok(text.located(duration))
}

/// `examples` are durations as they may be written.
fn readable_duration<'a>(value: Value<'a>, examples: &str) -> Result<(Text<'a>, Duration), Reported> {
    let example = format!("write a number and a unit: {examples}");
    let text = value.text(&example)?;
    match duration(&text) {
        Some(duration) => Ok((text, duration)),
        None => {
            let help = match text.parse::<u64>() {
                Ok(number) => format!("write \"{number}s\" for seconds, \"{number}m\" for minutes"),
                Err(_) => example,
            };
            let message = format!("{} is not a duration", quoted(&text));
            Err(text.error(Code::InvalidDuration, message, help))
        }
    }
}

/// A duration as the file has it.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    // humantime 2.4 panics on a sum of 2^64 seconds ("5124095576030431h15s1000ms"). It takes 26 characters to
    // write one; no duration that makes sense here is that long.
    let sensible = text.len() <= 24;
    sensible.then(|| humantime::parse_duration(text).ok()).flatten()
}

/// A path that does not depend on where the daemon was started.
pub(super) fn absolute_path(value: Value<'_>, default: &str) -> Result<PathBuf, Reported> {
    let help = format!("write an absolute path: \"{default}\"");
    path_of(&value.text(&help)?, &help)
}

/// The path of a file with a secret, which this machine has to have.
pub(super) fn secret(value: Value<'_>, need: Need, default: &str) -> Result<PathBuf, Reported> {
    let path = absolute_path(value, default)?;
    value.report().need(need, value.located(path.display().to_string()));
    Ok(path)
}

fn path_of(text: &Text<'_>, help: &str) -> Result<PathBuf, Reported> {
    let problem = if text.is_empty() {
        "is empty"
    } else if text.contains('\0') {
        "has a zero byte in it"
    } else if !text.starts_with('/') {
        "is not absolute"
    } else {
        return Ok(PathBuf::from(text.as_str()));
    };
    Err(text.error(Code::InvalidPath, format!("the path {} {problem}", quoted(text)), help))
}

/// A program and its arguments; it is looked for when the configuration is used on a machine.
pub(super) fn command(value: Value<'_>, example: &str) -> Result<Vec<String>, Reported> {
    let help =
        format!("write {} = [\"{example}\"]: the program's absolute path, then its arguments", value.key());
    let words = value.list(&format!("\"{example}\""))?;
    if words.is_empty() {
        let message = format!("`{}` is empty: there is nothing to run", value.key());
        let diagnostic = Diagnostic::new(Code::InvalidCommand, &value.span(), message);
        return Err(value.report().error(diagnostic.help(help)));
    }
    let words = words.into_iter().enumerate().map(|(place, word)| {
        let text = word.text(&help)?;
        if place == 0 {
            return program(&value, &text, &help);
        }
        if text.contains('\0') {
            let message = format!("the argument {} has a zero byte in it", quoted(&text));
            return Err(text.error(
                Code::InvalidCommand,
                message,
                "remove it: no argument of a program can have one",
            ));
        }
        Ok(text.as_str().to_owned())
    });
    Partial::of(words).all()
}

/// The same, or the path of a program without arguments.
pub(super) fn command_or_program(value: Value<'_>, example: &str) -> Result<Vec<String>, Reported> {
    if !value.is_text() {
        return command(value, example);
    }
    let help = format!("write the program's absolute path: \"{example}\"");
    Ok(vec![program(&value, &value.text(&help)?, &help)?])
}

fn program(value: &Value<'_>, text: &Text<'_>, help: &str) -> Result<String, Reported> {
    path_of(text, help)?;
    value.report().need(Need::Program, text.located(text.as_str().to_owned()));
    Ok(text.as_str().to_owned())
}

/// A path that a Unix socket can be bound to.
pub(super) fn socket_path(value: Value<'_>, default: &str, longest: usize) -> Result<PathBuf, Reported> {
    let path = absolute_path(value, default)?;
    let length = path.as_os_str().len();
    if length > longest {
        let message = format!("the path of a socket has at most {longest} bytes, this one has {length}");
        let help = format!("write a shorter path: \"{default}\"");
        return Err(value
            .report()
            .error(Diagnostic::new(Code::InvalidPath, &value.span(), message).help(help)));
    }
    Ok(path)
}

/// The name of an interface.
pub(super) fn interface(value: Value<'_>) -> Result<Located<String>, Reported> {
    let text = value.text("write the interface's name in quotes: \"eth0\"")?;
    interface_name(&text)?;
    Ok(text.located(text.as_str().to_owned()))
}

/// A name that Linux accepts for an interface (`dev_valid_name` in `net/core/dev.c`).
pub(super) fn interface_name(text: &Text<'_>) -> Result<(), Reported> {
    const LONGEST: usize = 15;
    let problem = if text.is_empty() {
        "is empty".to_owned()
    } else if text.len() > LONGEST {
        format!("has more than {LONGEST} bytes")
    } else if matches!(text.as_str(), "." | "..") {
        "means a directory".to_owned()
    } else if text.contains(char::is_whitespace) {
        "has white space in it".to_owned()
    } else if let Some(bad) = text.chars().find(|character| matches!(character, '/' | ':' | '\0')) {
        format!("has {} in it", quoted(&bad.to_string()))
    } else {
        return Ok(());
    };
    let message = format!("Linux names no interface {}: it {problem}", quoted(text));
    Err(text.error(Code::InvalidInterface, message, "write a name that `ip link` lists, such as \"eth0\""))
}

/// The name of an interface that this machine has to have.
pub(super) fn needed_interface(value: Value<'_>) -> Result<Located<String>, Reported> {
    let interface = interface(value)?;
    value.report().need(Need::Interface, interface.clone());
    Ok(interface)
}

/// The name of a virtual server: what `lb list` shows and other commands take.
pub(super) fn name(text: &Text<'_>) -> Result<(), Reported> {
    const LONGEST: usize = 128;
    let problem = if text.trim().is_empty() {
        "is empty".to_owned()
    } else if text.len() > LONGEST {
        format!("has more than {LONGEST} bytes")
    } else if text.contains(char::is_control) {
        "has a control character in it".to_owned()
    } else if text.trim() != text.as_str() {
        "begins or ends with white space".to_owned()
    } else {
        return Ok(());
    };
    let message = format!("the name {} {problem}", quoted(text));
    Err(text.error(Code::InvalidName, message, "write a short name such as \"web\", or leave `name` out"))
}
