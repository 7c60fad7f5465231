//! What is left of a lab: for tests that nothing is.

use std::fs;

use crate::namespace::NAMESPACES;
use crate::place::{BPFFS, STATE};

/// Everything on this machine that bears a lab's name: directories, namespaces, pins, mounts, processes.
/// `id` is a lab's, or a process id followed by `-` for all labs of that process.
pub fn traces(id: &str) -> Vec<String> {
    let mut traces = Vec::new();
    for (directory, prefix) in [(STATE, ""), (NAMESPACES, "lb-lab-"), (BPFFS, "lb-lab-")] {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let names = names.filter(|name| name.strip_prefix(prefix).is_some_and(|rest| is_of(rest, id)));
        traces.extend(names.map(|name| format!("{directory}/{name}")));
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    traces.extend(mounts.lines().filter(|line| names(line, "lb-lab-", id)).map(str::to_owned));
    traces.extend(processes(id));
    traces
}

/// Processes that name the lab's directory in their arguments, as its nginx and its director do.
fn processes(id: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let commands = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let commands = commands.map(|command| String::from_utf8_lossy(&command).replace('\0', " "));
    commands.filter(move |command| names(command, &format!("{STATE}/"), id))
}

fn names(text: &str, prefix: &str, id: &str) -> bool {
    text.match_indices(prefix).any(|(at, _)| is_of(&text[at + prefix.len()..], id))
}

/// Whether a name begins with the id, and not with a longer one.
fn is_of(name: &str, id: &str) -> bool {
    let rest = name.strip_prefix(id);
    rest.is_some_and(|rest| id.ends_with('-') || !rest.starts_with(|next: char| next.is_ascii_digit()))
}
