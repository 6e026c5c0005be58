//! The lock of a store's folder: at most one process serves it or writes imports into it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::private;

/// Name of the lock file in the store's folder.
const FILE_NAME: &str = "lock";

/// Held while it lives; the operating system frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Takes the lock of the folder `path`, which is made if absent. `None`: another process (or
    /// another holder in this one) has it.
    pub fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        private::create_folder(path)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(private::FILE_MODE)
            .open(path.join(FILE_NAME))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn only_one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = StoreLock::try_acquire(folder.path()).unwrap();
        assert!(first.is_some());
        assert!(StoreLock::try_acquire(folder.path()).unwrap().is_none());
        drop(first);
        assert!(StoreLock::try_acquire(folder.path()).unwrap().is_some());
    }
}
