//! One daemon for each director: who has the lock on its directory may write its maps.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::DataplaneError;

/// A daemon that was killed has its lock until the kernel has taken its memory apart, which takes a second or two.
const LONGEST: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_millis(50);

/// Keeps other daemons out of a directory for as long as what is returned lives. Waits for one that is about to end by
/// `wait`, for 5 s in all.
///
/// # Errors
/// [`DataplaneError::InUse`] if another daemon still has it, [`DataplaneError::Directory`].
pub(super) fn lock(directory: &Path, mut wait: impl FnMut(Duration)) -> Result<Flock<File>, DataplaneError> {
    let failed = |source: io::Error| DataplaneError::Directory { directory: directory.to_owned(), source };
    let mut file = File::open(directory).map_err(failed)?;
    let mut waited = Duration::ZERO;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, Errno::EWOULDBLOCK)) if waited >= LONGEST => {
                return Err(DataplaneError::InUse { directory: directory.to_owned() });
            }
            Err((again, Errno::EWOULDBLOCK)) => file = again,
            Err((_, errno)) => return Err(failed(errno.into())),
        }
        if waited.is_zero() {
            let (directory, seconds) = (directory.display(), LONGEST.as_secs());
            tracing::info!("{directory} is in use by another lb daemon: waiting {seconds} s for its end");
        }
        wait(INTERVAL);
        waited += INTERVAL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_is_about_to_end_is_waited_for_and_another_is_not_for_long() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut first = Some(lock(directory.path(), |_| {}).expect("nobody has it"));
        let mut waits = 0;
        let second = lock(directory.path(), |_| {
            waits += 1;
            if waits == 3 {
                first = None;
            }
        });
        assert!(second.is_ok());
        assert_eq!(waits, 3);
        let mut waited = Duration::ZERO;
        let third = lock(directory.path(), |time| waited += time);
        assert!(matches!(third, Err(DataplaneError::InUse { .. })));
        assert_eq!(waited, LONGEST);
    }
}
