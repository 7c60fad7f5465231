//! Where a lab keeps its things, and how others know that it is alive.
//!
//! ```text
//! /run/lb-lab/ID/            config files, sockets, logs; `lock` is locked as long as the creator lives
//! /run/netns/lb-lab-ID-HOST  one network namespace for each host, and one for the switch
//! /sys/fs/bpf/lb-lab-ID/     everything pinned
//! ```
//!
//! The kernel releases the lock when the creator ends, however it ends. So a directory whose lock is free
//! belongs to nobody, unless it holds a file `kept`: then a person wants it to stay.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::Uid;

use crate::error::{Doing, Error, Result};
use crate::{cleanup, signals};

/// One directory for each lab.
pub(crate) const STATE: &str = "/run/lb-lab";
/// Where pins are.
pub(crate) const BPFFS: &str = "/sys/fs/bpf";
const LOCK: &str = "lock";
const KEPT: &str = "kept";

/// A lab's claim to its names: as long as it lives, no other lab has them and nobody cleans them up.
pub(crate) struct Place {
    id: String,
    /// Whether the lab can outlive its creator.
    pub(crate) keepable: bool,
    _lock: File,
}

impl Place {
    /// Claims names that nobody uses, and removes what ended creators left behind.
    pub(crate) fn claim(keepable: bool) -> Result<Self> {
        if !Uid::effective().is_root() {
            return Err(Error::NotRoot);
        }
        signals::watch()?;
        let _creating = signals::creating()?;
        let _turn = take_turn()?;
        cleanup::remove_stale_in_turn()?;
        let (id, lock) = free_id()?;
        signals::register(&id);
        let place = Self { id, keepable, _lock: lock };
        mount_bpffs()?;
        fs::create_dir(place.bpffs()).doing(|| format!("create {}", place.bpffs().display()))?;
        Ok(place)
    }

    /// The part of all names that is this lab's own.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// For files.
    pub(crate) fn directory(&self) -> PathBuf {
        directory(&self.id)
    }

    /// For pins.
    pub(crate) fn bpffs(&self) -> PathBuf {
        bpffs(&self.id)
    }

    /// The name of a host's namespace.
    pub(crate) fn namespace(&self, host: &str) -> String {
        format!("{}{host}", namespace_prefix(&self.id))
    }

    /// From now on the lab stays when its creator ends.
    pub(crate) fn keep(&self) -> Result<()> {
        let mark = self.directory().join(KEPT);
        File::create(&mark).doing(|| format!("create {}", mark.display()))?;
        signals::unregister(&self.id);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        signals::unregister(&self.id);
    }
}

/// What the names of all namespaces of a lab begin with.
pub(crate) fn namespace_prefix(id: &str) -> String {
    format!("lb-lab-{id}-")
}

pub(crate) fn directory(id: &str) -> PathBuf {
    Path::new(STATE).join(id)
}

pub(crate) fn bpffs(id: &str) -> PathBuf {
    Path::new(BPFFS).join(format!("lb-lab-{id}"))
}

/// Whose a lab is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A running process.
    Alive,
    /// The process has ended and left the lab for a person.
    Kept,
    /// The process has ended without removing the lab.
    Gone,
}

/// Whose the lab is; nothing if there is no such lab.
pub(crate) fn owner(id: &str) -> Option<Owner> {
    let directory = directory(id);
    // Without a lock file it is no lab of ours: leave it alone.
    let lock = File::open(directory.join(LOCK)).ok()?;
    Some(match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Owner::Alive,
        Err(TryLockError::Error(_)) => return None,
        Ok(()) if directory.join(KEPT).exists() => Owner::Kept,
        Ok(()) => Owner::Gone,
    })
}

/// Waits until no other process claims or removes labs, and keeps others waiting.
pub(crate) fn take_turn() -> Result<File> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(STATE).doing(|| format!("create {STATE}"))?;
    let path = Path::new(STATE).join(".turn");
    let turn = File::options().create(true).write(true).truncate(false).open(&path);
    let turn = turn.doing(|| format!("open {}", path.display()))?;
    turn.lock().doing(|| format!("lock {}", path.display()))?;
    Ok(turn)
}

fn free_id() -> Result<(String, File)> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", std::process::id());
        let directory = directory(&id);
        match fs::create_dir(&directory) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error).doing(|| format!("create {}", directory.display())),
        }
        let path = directory.join(LOCK);
        let lock = File::create(&path).doing(|| format!("create {}", path.display()))?;
        lock.lock().doing(|| format!("lock {}", path.display()))?;
        return Ok((id, lock));
    }
}

fn mount_bpffs() -> Result<()> {
    let mounted = statfs(BPFFS).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
    if mounted {
        return Ok(());
    }
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), Some("mode=700"))
        .doing(|| format!("mount bpffs on {BPFFS}"))
}
