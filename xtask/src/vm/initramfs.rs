//! The file system that the kernel starts with: busybox, modules, a script.

use std::fs;
use std::path::Path;

use super::{Program, Surroundings};
use crate::failure::{Failure, Outcome};
use crate::process::quoted;

const INIT: &str = include_str!("init.sh");
const DIRECTORIES: [&str; 7] = ["bin", "modules", "proc", "lower", "upper", "system", "dev"];

/// The archive with everything that `guest` holds, and the programs to run.
///
/// # Errors
/// A file cannot be read.
pub(super) fn archive(
    guest: &Path,
    surroundings: &Surroundings<'_>,
    programs: &[Program],
) -> Outcome<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in DIRECTORIES {
        archive.add(directory, Kind::Directory, &[]);
    }
    archive.add("init", Kind::Program, INIT.as_bytes());
    archive.add("programs", Kind::File, script(surroundings, programs).as_bytes());
    archive.add("bin/busybox", Kind::Program, &read(&guest.join("busybox"))?);
    let modules = guest.join("modules");
    let failed = |error| Failure::new(format!("read {}: {error}", modules.display()));
    for module in fs::read_dir(&modules).map_err(failed)? {
        let module = module.map_err(failed)?;
        let name = format!("modules/{}", module.file_name().to_string_lossy());
        archive.add(&name, Kind::File, &read(&module.path())?);
    }
    Ok(archive.finish())
}

fn read(file: &Path) -> Outcome<Vec<u8>> {
    fs::read(file).map_err(|error| Failure::new(format!("read {}: {error}", file.display())))
}

/// The part of init.sh that differs from run to run.
fn script(surroundings: &Surroundings<'_>, programs: &[Program]) -> String {
    let mut script = format!("directory={}\n", quoted(surroundings.directory.as_os_str()));
    for (name, value) in surroundings.variables {
        script.push_str(&format!("export {name}={}\n", quoted(value)));
    }
    for program in programs {
        script.push_str(&format!("run {}", quoted(program.path.as_os_str())));
        for argument in &program.arguments {
            script.push_str(&format!(" {}", quoted(argument.as_ref())));
        }
        script.push('\n');
    }
    script
}

#[derive(Clone, Copy)]
enum Kind {
    Directory = 0o040_755,
    Program = 0o100_755,
    File = 0o100_644,
}

/// A cpio archive in the format `newc` (Documentation/driver-api/early-userspace/buffer-format.rst).
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, kind: Kind, content: &[u8]) {
        self.entries += 1;
        self.entry(name, self.entries, kind as u32, content);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, inode: u32, mode: u32, content: &[u8]) {
        let (owner, group, links, time, device) = (0, 0, 1, 0, 0);
        self.bytes.extend_from_slice(b"070701");
        let sizes = (content.len(), name.len() + 1);
        for field in [inode, mode, owner, group, links, time] {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(format!("{:08x}", sizes.0).as_bytes());
        for field in [device; 4] {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        let no_checksum = 0;
        self.bytes.extend_from_slice(format!("{:08x}{no_checksum:08x}{name}\0", sizes.1).as_bytes());
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Archive, Kind, Program, Surroundings, script};

    #[test]
    fn an_archive_is_what_cpio_writes() {
        let mut archive = Archive::default();
        archive.add("init", Kind::Program, b"hello");
        let bytes = archive.finish();
        let expected = "070701\
            00000001000081ed0000000000000000000000010000000000000005\
            000000000000000000000000000000000000000500000000init\0\0hello\0\0\x00070701";
        assert!(bytes.starts_with(expected.as_bytes()), "{}", String::from_utf8_lossy(&bytes));
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn programs_are_written_as_a_shell_reads_them() {
        let surroundings =
            Surroundings { directory: "/a b".into(), variables: &[("LB_BINARY", "/it's".into())] };
        let program = Program { path: "/t/director".into(), arguments: vec!["--skip".into(), "a b".into()] };
        assert_eq!(
            script(&surroundings, &[program]),
            "directory='/a b'\nexport LB_BINARY='/it'\\''s'\nrun /t/director --skip 'a b'\n"
        );
    }
}
