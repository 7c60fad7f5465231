//! `cargo xtask package`: a Debian package.
//!
//! ```text
//!   lb ──> manual pages, completions ──┐
//!   packaging/ ────────────────────────┴─> tree ──dpkg-deb──> <target>/debian/lb_VERSION_ARCHITECTURE.deb
//! ```

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build;
use crate::console;
use crate::docs::files_below;
use crate::failure::{Failure, Outcome};
use crate::process;
use crate::root::find_program;
use crate::workspace::{Profile, Workspace};

/// That of the whole workspace.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

const PROGRAM: u32 = 0o755;
const FILE: u32 = 0o644;

/// What is in the package as it is in the repository.
const FILES: &[(&str, &str, u32)] = &[
    ("packaging/systemd/lb.service", "usr/lib/systemd/system/lb.service", FILE),
    ("packaging/systemd/lb-real-server@.service", "usr/lib/systemd/system/lb-real-server@.service", FILE),
    ("packaging/lb.toml", "usr/share/doc/lb/examples/lb.toml", FILE),
    ("packaging/debian/copyright", "usr/share/doc/lb/copyright", FILE),
    ("README.md", "usr/share/doc/lb/README.md", FILE),
    ("CHANGELOG.md", "usr/share/doc/lb/NEWS.md", FILE),
    ("packaging/debian/postinst", "DEBIAN/postinst", PROGRAM),
    ("packaging/debian/prerm", "DEBIAN/prerm", PROGRAM),
    ("packaging/debian/postrm", "DEBIAN/postrm", PROGRAM),
];

/// Files for programs that lb works with, and where they are in the package: as they are below `contrib`, and never
/// compressed, for they are to be copied and imported.
const EXAMPLES: (&str, &str) = ("contrib", "usr/share/doc/lb/examples");

/// Names under which `lb` is ipvsadm. Not where they would be in the way of the package ipvsadm.
const IPVSADM: [&str; 3] = ["ipvsadm", "ipvsadm-save", "ipvsadm-restore"];

/// Where shells look for completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/lb"),
    ("zsh", "usr/share/zsh/vendor-completions/_lb"),
    ("fish", "usr/share/fish/vendor_completions.d/lb.fish"),
];

/// `cargo xtask package`.
pub(crate) fn run(workspace: &Workspace) -> Outcome {
    check_tools()?;
    build::product(workspace, Profile::Release)?;
    let package = make(workspace, Profile::Release, VERSION)?;
    console::result(package.display());
    Ok(())
}

fn check_tools() -> Outcome {
    for tool in ["dpkg-deb", "dpkg", "gzip", "strip", "md5sum"] {
        if find_program(tool).is_none() {
            return Err(Failure::new(format!(
                "a Debian package is made with `{tool}`, which is not installed"
            ))
            .remedy(
                "install dpkg, gzip, binutils and coreutils; Debian has all but binutils from the start",
            ));
        }
    }
    Ok(())
}

/// Makes a package of an `lb` that is built.
///
/// # Errors
/// Something is missing, or a tool failed.
pub(crate) fn make(workspace: &Workspace, profile: Profile, version: &str) -> Outcome<PathBuf> {
    check_tools()?;
    let directory = workspace.target.join("debian");
    let tree = Tree(directory.join("tree"));
    tree.begin().map_err(failed("prepare", &tree.0))?;
    let lb = workspace.executable(profile, "lb");
    for (from, to, mode) in FILES {
        tree.copy(&workspace.root.join(from), to, *mode)?;
    }
    let (contrib, place) = (workspace.root.join(EXAMPLES.0), EXAMPLES.1);
    for file in files_below(&contrib).map_err(failed("list", &contrib))? {
        let name = file.strip_prefix(&contrib).unwrap_or(&file).display();
        tree.copy(&file, &format!("{place}/{name}"), FILE)?;
    }
    tree.copy(&lb, "usr/bin/lb", PROGRAM)?;
    process::run_quietly(Command::new("strip").arg(tree.path("usr/bin/lb")))?;
    tree.directory("etc/lb")?;
    for name in IPVSADM {
        tree.link("../../bin/lb", &format!("usr/lib/lb/{name}"))?;
    }
    for (shell, to) in COMPLETIONS {
        tree.write(to, &process::output(Command::new(&lb).args(["completions", shell]))?, FILE)?;
    }
    let manual = tree.directory("usr/share/man/man1")?;
    process::run_quietly(Command::new(&lb).args(["man", "--output"]).arg(&manual))?;

    let pages = list(&manual).map_err(failed("list", &manual))?;
    for page in &pages {
        // Written with whatever umask there is.
        fs::set_permissions(page, fs::Permissions::from_mode(FILE))
            .map_err(failed("set the mode of", page))?;
    }

    let date = Date::of_the_last_commit(workspace);
    tree.write("usr/share/doc/lb/changelog", &changelog(version, &date.readable), FILE)?;
    let mut gzip = Command::new("gzip");
    gzip.args(["-9n"])
        .arg(tree.path("usr/share/doc/lb/changelog"))
        .arg(tree.path("usr/share/doc/lb/NEWS.md"));
    process::run_quietly(gzip.args(&pages))?;

    let architecture = process::output(Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    tree.write("DEBIAN/control", &tree.control(version, architecture)?, FILE)?;
    let mut sums = Command::new("sh");
    sums.args(["-c", "find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum"]).current_dir(&tree.0);
    tree.write("DEBIAN/md5sums", &process::output(&mut sums)?, FILE)?;

    let package = directory.join(format!("lb_{version}_{architecture}.deb"));
    let mut dpkg_deb = Command::new("dpkg-deb");
    dpkg_deb.args(["--root-owner-group", "--build"]).arg(&tree.0).arg(&package);
    // The same sources make the same package, to the byte.
    process::run(dpkg_deb.env("SOURCE_DATE_EPOCH", date.epoch))?;
    Ok(package)
}

/// What will be at `/`, and DEBIAN.
struct Tree(PathBuf);

impl Tree {
    fn begin(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&self.0)?,
        }
        fs::set_permissions(&self.0, fs::Permissions::from_mode(PROGRAM))
    }

    fn path(&self, place: &str) -> PathBuf {
        self.0.join(place)
    }

    /// Makes a directory and those above it, whatever the umask.
    fn directory(&self, place: &str) -> Outcome<PathBuf> {
        let mut path = self.0.clone();
        for part in Path::new(place) {
            path.push(part);
            if !path.is_dir() {
                let made = fs::create_dir(&path)
                    .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(PROGRAM)));
                made.map_err(failed("create", &path))?;
            }
        }
        Ok(path)
    }

    /// The path of a file whose directory there is now.
    fn file(&self, place: &str) -> Outcome<PathBuf> {
        if let Some((directory, _)) = place.rsplit_once('/') {
            self.directory(directory)?;
        }
        Ok(self.path(place))
    }

    fn copy(&self, from: &Path, place: &str, mode: u32) -> Outcome {
        let to = self.file(place)?;
        fs::copy(from, &to)
            .and_then(|_| fs::set_permissions(&to, fs::Permissions::from_mode(mode)))
            .map_err(failed("copy", from))
    }

    fn write(&self, place: &str, text: &str, mode: u32) -> Outcome {
        let to = self.file(place)?;
        fs::write(&to, text)
            .and_then(|()| fs::set_permissions(&to, fs::Permissions::from_mode(mode)))
            .map_err(failed("write", &to))
    }

    fn link(&self, target: &str, place: &str) -> Outcome {
        let path = self.file(place)?;
        symlink(target, &path).map_err(failed("link", &path))
    }

    fn control(&self, version: &str, architecture: &str) -> Outcome<String> {
        let lb = self.path("usr/bin/lb");
        let program = fs::read(&lb).map_err(failed("read", &lb))?;
        let libc = newest_glibc(&program);
        let libc =
            libc.map_or_else(|| "libc6".to_owned(), |(major, minor)| format!("libc6 (>= {major}.{minor})"));
        let kilobytes = size(&self.path("usr")).map_err(failed("measure", &self.0))?.div_ceil(1024);
        let variable = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
        // The variables of Debian's own tools (debchange(1)).
        let maintainer = format!(
            "{} <{}>",
            variable("DEBFULLNAME", "lb developers"),
            variable("DEBEMAIL", "lb@localhost")
        );
        Ok(format!(
            "Package: lb
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {kilobytes}
Depends: {libc}, libgcc-s1, init-system-helpers (>= 1.54~)
Recommends: systemd (>= 247)
Conflicts: live-build
Section: net
Priority: optional
Description: layer-4 load balancer in direct-routing mode, in XDP
 Makes a machine an LVS-DR director: frames for a virtual IP address are sent on
 to real servers by an XDP program in the NIC's driver. Replaces ipvsadm and
 keepalived with one program and one file, chooses real servers exactly as IPVS
 does, and survives its own restart without losing a frame.
 .
 On real servers it puts the virtual IP address on the loopback interface and
 keeps the machine quiet about it.
"
        ))
    }
}

fn failed(action: &str, path: &Path) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::new(format!("{action} {}: {error}", path.display()))
}

fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
}

/// Bytes in all files below a directory.
fn size(directory: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for path in list(directory)? {
        let found = fs::symlink_metadata(&path)?;
        sum += if found.is_dir() { size(&path)? } else { found.len() };
    }
    Ok(sum)
}

/// The newest version of glibc whose symbols a program asks for: an older one cannot run it.
fn newest_glibc(program: &[u8]) -> Option<(u32, u32)> {
    const MARK: &[u8] = b"GLIBC_";
    let names = program.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    let version = |at: usize| {
        let rest = &program[at + MARK.len()..];
        let end = rest.iter().position(|byte| *byte == 0)?;
        let (major, minor) = std::str::from_utf8(&rest[..end]).ok()?.split_once('.')?;
        // Of a third number, as in 2.2.5, only old symbols have one.
        Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
    };
    names.filter_map(|(at, _)| version(at)).max()
}

fn changelog(version: &str, date: &str) -> String {
    format!(
        "lb ({version}) unstable; urgency=medium\n\n  * What is new: /usr/share/doc/lb/NEWS.md.gz\n\n -- lb developers <lb@localhost>  {date}\n"
    )
}

struct Date {
    /// Seconds.
    epoch: String,
    /// As RFC 5322 writes it.
    readable: String,
}

impl Date {
    /// The beginning of time for sources without a history.
    fn of_the_last_commit(workspace: &Workspace) -> Self {
        let mut git = workspace.command(Path::new("git"));
        let answer = process::answer(git.args(["log", "-1", "--format=%ct%n%cD"])).unwrap_or_default();
        match answer.trim().split_once('\n') {
            Some((epoch, readable)) => Self { epoch: epoch.to_owned(), readable: readable.to_owned() },
            None => Self { epoch: "0".to_owned(), readable: "Thu, 01 Jan 1970 00:00:00 +0000".to_owned() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::newest_glibc;

    #[test]
    fn the_newest_version_of_glibc_counts() {
        let program = b"\x7fELF\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0GLIBC_PRIVATE\0GLIBC_ABI\0GLIBC_2.";
        assert_eq!(newest_glibc(program), Some((2, 34)));
        assert_eq!(newest_glibc(b"static"), None);
    }
}
