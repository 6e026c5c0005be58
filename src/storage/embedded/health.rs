//! Whether the store takes writes, and whether its file is where the next start will look for it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::writer::Lost;
use crate::storage::StorageErrorKind;

/// How long a failure is told without another look: the small write that looks may find room where
/// the next command does not.
const RECENT: Duration = Duration::from_secs(2);

/// What the writer knows of itself; others may ask at any time.
pub(super) struct Health {
    file: Arc<Path>,
    /// Device and number of the file that was opened.
    opened: (u64, u64),
    trouble: Mutex<Option<Trouble>>,
}

/// A write that failed, with no other after it that did not.
#[derive(Clone)]
pub(super) struct Trouble {
    pub(super) text: String,
    at: Instant,
}

impl Trouble {
    /// Too young to look whether it has passed.
    pub(super) fn recent(&self) -> bool {
        self.at.elapsed() < RECENT
    }
}

impl Health {
    pub(super) fn of(file: Arc<Path>) -> io::Result<Self> {
        let opened = identity(&file)?;
        Ok(Self { file, opened, trouble: Mutex::default() })
    }

    /// Fails when the file was deleted or replaced below the open store. SQLite would go on with
    /// what no path leads to, and every write since then would end with the process.
    pub(super) fn find_file(&self) -> Result<(), Lost> {
        let text = match identity(&self.file) {
            Ok(found) if found == self.opened => return Ok(()),
            Ok(_) => "was replaced while it was in use; restart".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                "was deleted while it was in use; stop, and bring a backup back with \
                 `shunt restore`"
                    .to_owned()
            }
            Err(error) => format!("cannot be found any more: {error}"),
        };
        let text = format!("{} {text}", self.file.display());
        Err(Lost { kind: StorageErrorKind::Unavailable, text })
    }

    /// How the last batch went.
    pub(super) fn note(&self, trouble: Option<String>) {
        let trouble = trouble.map(|text| Trouble { text, at: Instant::now() });
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn identity(file: &Path) -> io::Result<(u64, u64)> {
    let found = fs::metadata(file)?;
    Ok((found.dev(), found.ino()))
}
