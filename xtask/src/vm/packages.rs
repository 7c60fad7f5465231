//! What a virtual machine is made of, from Debian's packages: unpacked into the cache, not installed.
//!
//! A kernel that is installed would be one to boot from, and QEMU's packages may not go together with what the
//! machine has of QEMU already.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::modules;
use crate::console;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::root::find_program;
use crate::setup::apt;
use crate::workspace::cache;

/// The names of Debian 12's kernels begin so, and end so.
const KERNEL: (&str, &str) = ("linux-image-6.1.0-", "-amd64");
const QEMU: &str = "qemu-system-x86_64";

/// Modules of what Debian's kernel does not have built in: the way to this machine's files, then what labs use. libcrc32c asks
/// for a crc32c when it is loaded, which is no dependency that it names.
const MODULES: [&str; 13] = [
    "virtio_pci",
    "9pnet_virtio",
    "9p",
    "overlay",
    "veth",
    "bridge",
    "macvlan",
    "crc32c_generic",
    "ip_vs",
    "ip_vs_rr",
    "ip_vs_wrr",
    "ip_vs_wlc",
    "ip_vs_sh",
];

/// Where the parts are.
pub(super) struct Parts {
    /// A directory with `vmlinuz`, `busybox` and `modules/`, named in the order in which they are loaded.
    pub(super) guest: PathBuf,
    /// QEMU's packages, where this machine has no QEMU.
    qemu: Option<PathBuf>,
}

impl Parts {
    /// QEMU, to be given its options.
    pub(super) fn qemu(&self) -> Command {
        let Some(root) = &self.qemu else { return Command::new(QEMU) };
        let mut command = Command::new(root.join("usr/bin").join(QEMU));
        let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
        let directories = libraries.map(|directory| root.join(directory).into_os_string());
        command.env("LD_LIBRARY_PATH", directories.join(&OsString::from(":")));
        for firmware in ["usr/share/qemu", "usr/share/seabios"] {
            command.arg("-L").arg(root.join(firmware));
        }
        command
    }
}

/// Finds the parts in the cache, or fetches them.
///
/// # Errors
/// They cannot be fetched; the failure says what to do.
pub(super) fn ensure() -> Outcome<Parts> {
    let cache = cache("the virtual machine's kernel")?.join("vm");
    let is_missing = find_program(QEMU).is_none();
    let qemu = is_missing.then(|| qemu(&cache)).transpose()?;
    Ok(Parts { guest: guest(&cache)?, qemu })
}

/// The packages of a user-mode Linux that is an IPVS director; its root is this machine's.
const USER_MODE_LINUX: [&str; 6] =
    ["user-mode-linux", "ipvsadm", "libnl-3-200", "libnl-genl-3-200", "libpopt0", "busybox-static"];

/// Finds these packages unpacked in the cache, or fetches them.
///
/// # Errors
/// They cannot be fetched; the failure says what to do.
pub(super) fn user_mode_linux() -> Outcome<PathBuf> {
    let cache = cache("user-mode Linux")?.join("vm");
    let ready = cache.join("uml");
    if !ready.is_dir() {
        known("user-mode-linux")?;
        let unpacked = unpack(&cache, &USER_MODE_LINUX.map(str::to_owned))?;
        rename(&unpacked, &ready)?;
    }
    Ok(ready)
}

/// QEMU and the packages that it needs beyond this machine's.
fn qemu(cache: &Path) -> Outcome<PathBuf> {
    let ready = cache.join("qemu");
    if ready.is_dir() {
        return Ok(ready);
    }
    known("qemu-system-x86")?;
    let mut simulation = Command::new("apt-get");
    simulation.args(["install", "--simulate", "--no-install-recommends", "qemu-system-x86"]);
    let plan = process::answer(simulation.env("LC_ALL", "C"))
        .ok_or_else(|| Failure::new("apt finds no way to install qemu-system-x86").remedy(by_hand()))?;
    let unpacked = unpack(cache, &to_be_installed(&plan))?;
    rename(&unpacked, &ready)?;
    Ok(ready)
}

/// The newest of Debian 12's kernels that was fetched with all modules, or else that there is.
fn guest(cache: &Path) -> Outcome<PathBuf> {
    let fetched = names(cache);
    let has_all = |kernel: &&str| modules::are_all_in(&names(&cache.join(kernel).join("modules")), &MODULES);
    if let Some(kernel) = newest_kernel(fetched.iter().map(String::as_str).filter(has_all)) {
        return Ok(cache.join(kernel));
    }
    known("linux-image-amd64")?;
    let names = process::answer(Command::new("apt-cache").args(["pkgnames", KERNEL.0])).unwrap_or_default();
    let offered = names.lines().filter(|name| apt::offers(&[name]));
    let kernel = newest_kernel(offered).ok_or_else(|| {
        Failure::new("the package lists have no kernel 6.1: this is not Debian 12").remedy(by_hand())
    })?;
    let unpacked = unpack(cache, &["busybox-static".into(), kernel.into()])?;
    let ready = cache.join(kernel);
    assemble(&unpacked, kernel)
        .and_then(|()| keep_only(&unpacked, &["vmlinuz", "busybox", "modules"]))
        .map_err(|error| Failure::new(format!("unpack {kernel} in {}: {error}", unpacked.display())))?;
    if ready.is_dir() {
        // Fetched when labs used fewer modules.
        fs::remove_dir_all(&ready)
            .map_err(|error| Failure::new(format!("remove {}: {error}", ready.display())))?;
    }
    rename(&unpacked, &ready)?;
    Ok(ready)
}

/// The names of a directory's entries; none if it is not there.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Puts the few files of a machine into the unpacked packages' root.
fn assemble(root: &Path, kernel: &str) -> io::Result<()> {
    let release = kernel.trim_start_matches("linux-image-");
    fs::rename(root.join("boot").join(format!("vmlinuz-{release}")), root.join("vmlinuz"))?;
    fs::rename(root.join("bin/busybox"), root.join("busybox"))?;
    modules::collect(&root.join("lib/modules").join(release), &MODULES, &root.join("modules"))
}

fn newest_kernel<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let number = |name: &&str| name.strip_prefix(KERNEL.0)?.strip_suffix(KERNEL.1)?.parse::<u32>().ok();
    names.filter(|name| number(name).is_some()).max_by_key(number)
}

/// The packages that `apt-get install --simulate` would install.
fn to_be_installed(plan: &str) -> Vec<String> {
    let names = plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
    names.map(str::to_owned).collect()
}

/// Makes sure that there are package lists, and that they know a package.
fn known(package: &str) -> Outcome {
    if !apt::is_here() {
        return Err(Failure::new(
            "the virtual machine is made of Debian's packages, and there is no apt here",
        )
        .remedy("run it on Debian 12, or on Debian or Ubuntu with Debian 12's package lists"));
    }
    if apt::offers(&[package]) {
        return Ok(());
    }
    if let Some(privilege) = crate::root::privilege() {
        apt::update(&privilege)??;
    }
    if apt::offers(&[package]) {
        return Ok(());
    }
    Err(Failure::new(format!("the package lists know no {package}")).remedy(by_hand()))
}

fn by_hand() -> &'static str {
    "`apt-get update`, as root, and look whether Debian 12 (bookworm) is among apt's sources"
}

/// Downloads packages and unpacks them into a new directory of the cache.
fn unpack(cache: &Path, packages: &[String]) -> Outcome<PathBuf> {
    let directory = cache.join(format!("new-{}", std::process::id()));
    let list = packages.join(" ");
    console::step(
        "setup",
        format_args!("fetching Debian packages into {}, once (a minute): {list}", cache.display()),
    );
    let failed =
        |error: io::Error| Failure::new(format!("make the directory {}: {error}", directory.display()));
    fs::create_dir_all(directory.join("packages")).map_err(failed)?;
    let fetched = download(&directory.join("packages"), packages).and_then(|files| {
        files.iter().try_for_each(|file| {
            process::run_quietly(Command::new("dpkg-deb").arg("--extract").arg(file).arg(&directory))
        })
    });
    match fetched {
        Ok(()) => {
            fs::remove_dir_all(directory.join("packages")).map_err(failed)?;
            Ok(directory)
        }
        Err(failure) => {
            let _ = fs::remove_dir_all(&directory);
            Err(failure)
        }
    }
}

fn download(directory: &Path, packages: &[String]) -> Outcome<Vec<PathBuf>> {
    let mut apt = Command::new("apt-get");
    // Root's apt downloads as another user, who may not write into a home directory.
    apt.args(["-qq", "-o", "APT::Sandbox::User=root", "download"]).args(packages).current_dir(directory);
    process::run_quietly(&mut apt)
        .map_err(|failure| if failure.is_interrupt() { failure } else { failure.remedy(by_hand()) })?;
    let files = fs::read_dir(directory)
        .map_err(|error| Failure::new(format!("read {}: {error}", directory.display())))?;
    Ok(files.flatten().map(|entry| entry.path()).collect())
}

fn keep_only(directory: &Path, names: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if names.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// At once and as a whole: what is in the cache is complete.
fn rename(unpacked: &Path, ready: &Path) -> Outcome {
    fs::rename(unpacked, ready).map_err(|error| {
        Failure::new(format!("rename {} to {}: {error}", unpacked.display(), ready.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::{newest_kernel, to_be_installed};

    #[test]
    fn the_newest_kernel_is_the_one_with_the_highest_number() {
        let names = [
            "linux-image-6.1.0-9-amd64",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.1.0-57-cloud-amd64",
            "linux-image-6.1.0-58-amd64-dbg",
            "qemu",
        ];
        assert_eq!(newest_kernel(names.into_iter()), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(newest_kernel(["qemu"].into_iter()), None);
    }

    #[test]
    fn the_plan_of_apt_names_packages() {
        let plan = "Remv qemu-utils [1]\nInst seabios (1.16 Debian:12 [all])\nConf seabios (1.16)\n";
        assert_eq!(to_be_installed(plan), ["seabios"]);
    }
}
