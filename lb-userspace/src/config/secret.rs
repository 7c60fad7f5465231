//! A file with a secret: one that several machines have in common, or what administrators sign in with.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What prints one: a line of text, so that no editor changes it.
pub const MAKE_SECRET: &str = "head -c 32 /dev/urandom | base64";

/// Bytes that a secret has to have. Fewer could be guessed.
const SHORTEST: usize = 16;
const LONGEST: u64 = 4096;

/// A key file that cannot be used.
#[derive(Debug, Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("read the key {path}: {cause}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// It is too short.
    #[error(
        "the key {path} has {length} bytes; write at least {SHORTEST}: {MAKE_SECRET} > {path}",
        path = path.display()
    )]
    Short {
        /// The file.
        path: PathBuf,
        /// Its length, without what ends the line.
        length: usize,
    },
    /// It is too long.
    #[error("the key {path} has more than {LONGEST} bytes: is it a key?", path = path.display())]
    Long {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner may read it.
    #[error(
        "others than its owner may read the key {path}, and do with it what only you may: chmod 600 {path}",
        path = path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a secret, without what ends its line.
///
/// # Errors
/// [`SecretError`].
pub fn read_secret(path: &Path) -> Result<Vec<u8>, SecretError> {
    let failed = |cause| SecretError::Read { path: path.to_owned(), cause };
    let file = fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o044 != 0 {
        return Err(SecretError::Open { path: path.to_owned() });
    }
    let mut secret = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut secret).map_err(failed)?;
    if secret.len() as u64 > LONGEST {
        return Err(SecretError::Long { path: path.to_owned() });
    }
    // Editors and `echo` end a line where others do not.
    secret.truncate(secret.trim_ascii_end().len());
    if secret.len() < SHORTEST {
        return Err(SecretError::Short { path: path.to_owned(), length: secret.len() });
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(mode: u32, content: &[u8]) -> io::Result<(tempfile::TempDir, PathBuf)> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("sync.key");
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok((directory, path))
    }

    #[test]
    fn a_key_is_read_without_the_end_of_its_line() -> io::Result<()> {
        let (_first, one) = write(0o600, b"0123456789abcdef")?;
        let (_second, other) = write(0o400, b"0123456789abcdef\n")?;
        for path in [one, other] {
            assert_eq!(read_secret(&path).expect("it is a key"), b"0123456789abcdef");
        }
        Ok(())
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_to_do() -> io::Result<()> {
        let long = vec![b'x'; 5000];
        for (mode, content, says) in [
            (0o600, &b"short\n"[..], "has 5 bytes; write at least 16: head -c 32 /dev/urandom"),
            (0o644, b"0123456789abcdef", "chmod 600"),
            (0o640, b"0123456789abcdef", "chmod 600"),
            (0o600, &long, "is it a key?"),
        ] {
            let (_directory, path) = write(mode, content)?;
            let error = read_secret(&path).expect_err("it is none").to_string();
            assert!(error.contains(says), "{error}");
        }
        let error = read_secret(Path::new("/nowhere/sync.key")).expect_err("it is not there").to_string();
        assert!(error.contains("read the key /nowhere/sync.key: No such file"), "{error}");
        Ok(())
    }
}
