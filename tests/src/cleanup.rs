//! Removes labs: all of a lab, whoever made it and however far it got, and nothing else.
//!
//! It goes by names alone (see `place`), so the same steps serve a lab that is dropped, one whose process
//! got a signal, and one whose process was killed.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Doing, Error, Result};
use crate::namespace::NAMESPACES;
use crate::place::{self, Owner, STATE};
use crate::signals;
use crate::wait::try_wait_until;

/// Time for killed processes to be gone.
const END_OF_PROCESSES: Duration = Duration::from_secs(5);

/// All labs of this machine, with their owners.
pub fn labs() -> Vec<(String, Owner)> {
    let entries = fs::read_dir(STATE).into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut labs: Vec<_> = ids.filter_map(|id| place::owner(&id).map(|owner| (id, owner))).collect();
    labs.sort_by(|(left, _), (right, _)| left.cmp(right));
    labs
}

/// Removes the labs whose creators ended without doing so; returns their ids.
///
/// Every new lab begins with this.
pub fn remove_stale() -> Result<Vec<String>> {
    let _creating = signals::creating()?;
    let _turn = place::take_turn()?;
    remove_stale_in_turn()
}

/// Removes a lab whose creator has ended, also one that was kept.
pub fn remove(id: &str) -> Result<()> {
    let _turn = place::take_turn()?;
    match place::owner(id) {
        Some(Owner::Kept | Owner::Gone) => remove_lab(id),
        Some(Owner::Alive) => Err(Error::Description(format!("lab {id} is in use: end its process instead"))),
        None => Err(Error::Description(format!("there is no lab {id}"))),
    }
}

pub(crate) fn remove_stale_in_turn() -> Result<Vec<String>> {
    let stale = labs().into_iter().filter(|(_, owner)| *owner == Owner::Gone);
    stale.map(|(id, _)| remove_lab(&id).map(|()| id)).collect()
}

/// Removes everything that bears the lab's name. What fails does not stop the rest; the first failure is
/// returned. May run twice at once.
pub(crate) fn remove_lab(id: &str) -> Result<()> {
    let namespaces = namespaces_of(id);
    let mut results = vec![end_processes(&namespaces), remove_tree(&place::bpffs(id))];
    results.extend(namespaces.iter().map(|path| remove_namespace(path)));
    results.into_iter().collect::<Result<()>>()?;
    // Last, and only if all else is gone: without it nobody would know the lab by name.
    remove_tree(&place::directory(id))
}

fn namespaces_of(id: &str) -> Vec<PathBuf> {
    let prefix = place::namespace_prefix(id);
    let entries = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    let ours =
        entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)));
    ours.map(|entry| entry.path()).collect()
}

/// Kills what runs in the namespaces and waits until it is gone.
fn end_processes(namespaces: &[PathBuf]) -> Result<()> {
    let own = fs::metadata("/proc/self/ns/net").doing(|| "look at the own namespace".into())?;
    // A name that is no namespace (yet) lies on another file system; and the own one is never a lab's.
    let is_ours = |found: &Metadata| found.dev() == own.dev() && found.ino() != own.ino();
    let inodes: Vec<u64> = namespaces
        .iter()
        .filter_map(|path| fs::metadata(path).ok().filter(is_ours).map(|found| found.ino()))
        .collect();
    if inodes.is_empty() {
        return Ok(());
    }
    try_wait_until("the processes of the lab end", END_OF_PROCESSES, || {
        let processes = processes_in(&inodes, own.dev());
        for &process in &processes {
            // It may have ended by itself in the meantime.
            _ = kill(process, Signal::SIGKILL);
        }
        if processes.is_empty() { Ok(()) } else { Err(format!("still there: {processes:?}")) }
    })
}

/// Processes in one of the namespaces, but no person's shell (labs' processes have no terminal).
fn processes_in(inodes: &[u64], device: u64) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let others = ids.filter(|&id: &i32| id != std::process::id().cast_signed());
    let inside = others.filter(|id| {
        let namespace = fs::metadata(format!("/proc/{id}/ns/net"));
        namespace.is_ok_and(|found| found.dev() == device && inodes.contains(&found.ino()))
    });
    inside.filter(|id| !has_terminal(*id)).map(Pid::from_raw).collect()
}

fn has_terminal(process: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // proc_pid_stat(5): the name in parentheses may hold anything; then state, ppid, pgrp, session, tty_nr.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    fields.split_whitespace().nth(4).is_some_and(|terminal| terminal != "0")
}

fn remove_namespace(path: &Path) -> Result<()> {
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(errno) => return Err(errno).doing(|| format!("unmount {}", path.display())),
    }
    gone(fs::remove_file(path)).doing(|| format!("remove {}", path.display()))
}

fn remove_tree(path: &Path) -> Result<()> {
    gone(fs::remove_dir_all(path)).doing(|| format!("remove {}", path.display()))
}

/// To find nothing to remove is success.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
