//! `lb save`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::output::{count, print, print_json};
use super::{ControlSocket, Failure, answered, runtime, told};
use crate::control::api::{self, Configuration, Reloaded};
use crate::control::{client, fingerprint};
use crate::files;

/// Write what was changed while the daemon ran to the configuration file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo lb save
  sudo lb save --output /etc/lb/new.toml
  sudo lb save --output - | diff /etc/lb/lb.toml -        what would be written?

Comments, order and everything that was not changed stay as they are. The file is replaced as a whole or not at all;
if somebody has edited it since it was loaded, nothing is written: `lb reload` first.")]
pub(super) struct Save {
    /// Write there, and leave the configuration file as it is; `-` for standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: ControlSocket,
}

impl Save {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let socket = &self.socket.control_socket;
        let runtime = runtime()?;
        let found: Configuration = answered(runtime.block_on(client::get(socket, "/v1/configuration")))?;
        if let Some(output) = &self.output {
            if output.as_os_str() == "-" {
                return print(&found.text);
            }
            write(output, &found.text).map_err(|error| failed(output, &error))?;
        } else if !found.changes.is_empty() {
            if found.awaits_confirmation {
                let problem =
                    "the last reload is not confirmed yet: `lb confirm` first, or wait until it is undone";
                return Err(Failure::because(problem.to_owned()));
            }
            let now = fs::read_to_string(&found.path).map_err(|error| failed(&found.path, &error))?;
            if now != found.file {
                return Err(Failure::because(format!(
                    "{} was edited since the daemon loaded it: `lb reload` first, then save",
                    found.path.display()
                )));
            }
            write(&found.path, &found.text).map_err(|error| failed(&found.path, &error))?;
            let saved = api::Reload { saved: Some(fingerprint(&found.text)), ..api::Reload::default() };
            let _: Reloaded = answered(runtime.block_on(client::post(socket, "/v1/reload", &saved)))?;
        }
        if self.json {
            return print_json(&found.changes);
        }
        let path = self.output.as_ref().unwrap_or(&found.path).display();
        let lines: String = found.changes.iter().map(|change| told::change(change) + "\n").collect();
        match found.changes.len() {
            0 => print(&format!("{path} says what is done already\n")),
            changes => print(&format!("{lines}saved to {path}: {}\n", count(changes, "change"))),
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::because(format!("write {}: {error}; nothing was changed", path.display()))
}

/// Replaces a file as a whole, with the owner and the permissions that it had.
fn write(path: &Path, text: &str) -> io::Result<()> {
    // What a link leads to is replaced, not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    // Nor a device, or whatever else is no file.
    if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
        return fs::write(&path, text);
    }
    files::replace(&path, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_with_its_permissions_and_a_link_stays_one() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let (file, link) = (directory.path().join("lb.toml"), directory.path().join("link.toml"));
        fs::write(&file, "old")?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640))?;
        symlink(&file, &link)?;
        write(&link, "new")?;
        assert_eq!(fs::read_to_string(&file)?, "new");
        assert_eq!(fs::metadata(&file)?.mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link)?.is_symlink());
        assert_eq!(fs::read_dir(directory.path())?.count(), 2, "nothing else is left");
        assert!(write(&directory.path().join("missing/lb.toml"), "new").is_err());
        Ok(())
    }
}
