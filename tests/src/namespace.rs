//! Network namespaces: making one, and running threads and programs inside.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{Doing, Error, Result};
use crate::host::locked;
use crate::signals;

/// Where `ip netns` looks for namespaces.
pub(crate) const NAMESPACES: &str = "/run/netns";

/// A network namespace with a name.
///
/// Only the network is another one: files, processes and `/sys/fs/bpf` are everybody's.
#[derive(Clone)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    /// `None` once the lab is gone.
    handle: Arc<Mutex<Option<Handle>>>,
}

/// Keeps a namespace, and moves threads and processes into it.
#[derive(Clone)]
pub(crate) struct Handle(Arc<OwnedFd>);

impl Handle {
    /// Moves the calling thread, or a process that is about to run a program.
    pub(crate) fn enter(&self) -> nix::Result<()> {
        setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET)
    }
}

impl Namespace {
    /// Makes a namespace that stays until its name is unmounted. `settings` are sysctls below `net/`.
    pub(crate) fn create(name: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let _creating = signals::creating()?;
        share_directory()?;
        let path = Path::new(NAMESPACES).join(name);
        File::create_new(&path).doing(|| format!("create {}", path.display()))?;
        let make = || -> Result<OwnedFd> {
            unshare(CloneFlags::CLONE_NEWNET).doing(|| "make a network namespace".into())?;
            let own = "/proc/thread-self/ns/net";
            mount(Some(own), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .doing(|| format!("mount the namespace on {}", path.display()))?;
            for (key, value) in settings {
                set(key, value)?;
            }
            Ok(File::open(own).doing(|| format!("open {own}"))?.into())
        };
        let handle =
            thread::scope(|scope| scope.spawn(make).join()).unwrap_or_else(|panic| resume_unwind(panic))?;
        let handle = Arc::new(Mutex::new(Some(Handle(Arc::new(handle)))));
        Ok(Self { name: name.into(), handle })
    }

    /// Runs the closure on a thread inside, and waits for it. A panic in it goes on in the caller.
    pub(crate) fn enter<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Result<T> {
        let handle = self.handle()?;
        let inside = || handle.enter().doing(|| format!("enter namespace {}", self.name)).map(|()| closure());
        thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Starts a thread inside. The result arrives when it is inside, before it runs the closure.
    pub(crate) fn start_thread<T: Send + 'static>(
        &self,
        purpose: &str,
        closure: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let (handle, name) = (self.handle()?, self.name.clone());
        let inside = move || handle.enter().doing(|| format!("enter namespace {name}")).map(|()| closure());
        thread::Builder::new()
            .name(purpose.into())
            .spawn(inside)
            .doing(|| format!("start a thread: {purpose}"))
    }

    /// The way in, as long as the lab exists.
    pub(crate) fn handle(&self) -> Result<Handle> {
        let handle = locked(&self.handle).clone();
        handle.ok_or_else(|| Error::Description(format!("namespace {} is gone with its lab", self.name)))
    }

    /// Nothing gets in any more, and nothing here keeps the kernel from removing the namespace.
    pub(crate) fn close(&self) {
        drop(locked(&self.handle).take());
    }
}

/// Writes a sysctl of the calling thread's namespace; `key` is the path below `net/`.
pub(crate) fn set(key: &str, value: &str) -> Result<()> {
    let path = PathBuf::from("/proc/sys/net").join(key);
    fs::write(&path, value).doing(|| format!("write {value} to {}", path.display()))
}

/// Does what `ip netns add` does first: makes the directory a shared mount. Were that left to a later
/// `ip netns add`, it would mount the directory over itself and hide the mounts made until then.
fn share_directory() -> Result<()> {
    let doing = || format!("make {NAMESPACES} a shared mount");
    fs::create_dir_all(NAMESPACES).doing(doing)?;
    // iproute2 takes the same lock.
    let lock = File::open(NAMESPACES).doing(doing)?;
    lock.lock().doing(doing)?;
    let change = |source: Option<&str>, flags| mount(source, NAMESPACES, None::<&str>, flags, None::<&str>);
    let shared = MsFlags::MS_SHARED | MsFlags::MS_REC;
    match change(None, shared) {
        Err(Errno::EINVAL) => {
            change(Some(NAMESPACES), MsFlags::MS_BIND | MsFlags::MS_REC).doing(doing)?;
            change(None, shared).doing(doing)
        }
        other => other.doing(doing),
    }
}
