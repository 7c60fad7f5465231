//! A file with a secret: one that several machines have in common, or what administrators sign in with.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
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
    /// It cannot be typed, nor sent in a header.
    #[error(
        "the key {path} cannot be typed into a page: write one line of ASCII letters, digits and signs: {MAKE_SECRET} > {path}",
        path = path.display()
    )]
    Untypeable {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner may read or write it.
    #[error(
        "others than its owner may read or write the key {path}, and do with it what only you may: chmod 600 {path}",
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
    // A pipe or a device would keep whoever opens it waiting.
    let file = fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other("it is no regular file")));
    }
    if metadata.permissions().mode() & 0o066 != 0 {
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

/// [`read_secret`], of one that people type and programs send in a header.
///
/// # Errors
/// [`SecretError`].
pub fn read_typed_secret(path: &Path) -> Result<Vec<u8>, SecretError> {
    let secret = read_secret(path)?;
    let is_line = secret.iter().all(|byte| (b' '..=b'~').contains(byte)) && secret.first() != Some(&b' ');
    if is_line { Ok(secret) } else { Err(SecretError::Untypeable { path: path.to_owned() }) }
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
    fn what_is_typed_is_a_line_of_ascii() -> io::Result<()> {
        let (_first, line) = write(0o600, b"correct horse battery staple\n")?;
        assert_eq!(read_typed_secret(&line).expect("it is one"), b"correct horse battery staple");
        for other in ["\u{fc}ber sechzehn Bytes", "two lines of it\nand more", " begins with a blank"] {
            let (_directory, path) = write(0o600, other.as_bytes())?;
            assert!(read_secret(&path).is_ok(), "{other:?}");
            let error = read_typed_secret(&path).expect_err(other).to_string();
            assert!(error.contains("cannot be typed"), "{error}");
        }
        Ok(())
    }

    #[test]
    fn what_would_keep_its_reader_waiting_is_no_key() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR)?;
        let error = read_secret(&path).expect_err("a pipe").to_string();
        assert!(error.contains("no regular file"), "{error}");
        Ok(())
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
            (0o622, b"0123456789abcdef", "chmod 600"),
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
