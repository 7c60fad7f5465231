//! The file in which the daemon remembers what was changed while it ran, for the next start.
//!
//! It lies beside the control socket, and so, like the pinned maps, is gone when the machine starts anew: then the
//! configuration file counts alone. `lb save` is for what is to last.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::configuration::Remembered;
use crate::files::{self, with_suffix};

/// The file.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// What is in it.
    written: Option<Remembered>,
}

impl Journal {
    /// The one of the daemon that answers on this socket.
    #[must_use]
    pub fn beside(control_socket: &Path) -> Self {
        Self { path: with_suffix(control_socket, "state.json"), written: None }
    }

    /// What an earlier daemon remembered; nothing if there was none. A file that makes no sense is set aside.
    pub fn read(&mut self) -> Remembered {
        let remembered = match fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Remembered::default()),
            Err(error) => Err(error),
        };
        let remembered = remembered.unwrap_or_else(|error| {
            let aside = with_suffix(&self.path, "damaged");
            let _ = fs::rename(&self.path, &aside);
            tracing::error!(
                "{} cannot be read: {error}; what was changed while lb ran is lost, the configuration file counts alone; the file is {} now",
                self.path.display(),
                aside.display()
            );
            Remembered::default()
        });
        self.written = Some(remembered.clone());
        remembered
    }

    /// Writes the file as a whole or not at all. One with nothing in it is removed.
    ///
    /// # Errors
    /// Those of the file system; what was in the file is still there.
    pub fn write(&mut self, remembered: Remembered) -> io::Result<()> {
        if self.written.as_ref() == Some(&remembered) {
            return Ok(());
        }
        if remembered == Remembered::default() {
            match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        } else {
            files::replace(&self.path, &serde_json::to_vec(&remembered)?)?;
        }
        self.written = Some(remembered);
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::Change;
    use super::super::configuration::Unconfirmed;
    use super::*;

    #[test]
    fn what_is_remembered_is_there_at_the_next_start_and_what_is_damaged_is_set_aside() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("lb.sock");
        let mut journal = Journal::beside(&socket);
        assert_eq!(journal.read(), Remembered::default());
        let remembered = Remembered {
            changes: vec![Change::Clear],
            unconfirmed: Some(Unconfirmed { before: "text".to_owned(), refused: 1 }),
        };
        journal.write(remembered.clone())?;
        assert_eq!(Journal::beside(&socket).read(), remembered);
        fs::write(journal.path(), "{\"changes\": [{\"op\": \"add_se")?;
        let mut next = Journal::beside(&socket);
        assert_eq!(next.read(), Remembered::default());
        assert!(with_suffix(next.path(), "damaged").exists() && !next.path().exists());
        next.write(remembered)?;
        next.write(Remembered::default())?;
        assert!(!next.path().exists(), "there is nothing to remember");
        Ok(())
    }
}
