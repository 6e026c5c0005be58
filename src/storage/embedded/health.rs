//! Whether the store takes writes, and whether its file is where the next start will look for it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::writer::Lost;
use crate::storage::StorageErrorKind;

/// How long a failure is told without another look: the small write that looks may find room where
/// the next command does not.
const RECENT: Duration = Duration::from_secs(2);
/// A batch of writes that takes longer hangs, as far as anybody can tell. Longer than one waits for
/// the lock of another process.
const UNDER_WAY_MAX: Duration = Duration::from_secs(10);

/// What the writer knows of itself; others may ask at any time.
pub(super) struct Health {
    file: Arc<Path>,
    /// Device and number of the file that was opened.
    opened: (u64, u64),
    trouble: Mutex<Option<Trouble>>,
    /// When the batch that is under way was begun.
    begun_at: Mutex<Option<Instant>>,
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
        Ok(Self { file, opened, trouble: Mutex::default(), begun_at: Mutex::default() })
    }

    /// Begins a batch, and is asked again at its end. Fails when the file was deleted or replaced
    /// below the open store. SQLite would go on with what no path leads to, and every write since
    /// then would end with the process.
    pub(super) fn find_file(&self) -> Result<(), Lost> {
        // Before the look: a disk that hangs may not answer even that.
        lock(&self.begun_at).get_or_insert_with(Instant::now);
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
        *lock(&self.trouble) = trouble;
        *lock(&self.begun_at) = None;
    }

    /// Why the last write failed, or that the one under way takes too long.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let under_way = lock(&self.begun_at).map(|begun_at| begun_at.elapsed());
        if let Some(under_way) = under_way.filter(|under_way| *under_way > UNDER_WAY_MAX) {
            let seconds = under_way.as_secs();
            let file = self.file.display();
            let text =
                format!("a write to {file} has been under way for {seconds} s; check its disk");
            return Some(Trouble { text, at: Instant::now() });
        }
        lock(&self.trouble).clone()
    }
}

/// What is behind these is replaced whole, so a thread that panicked left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn identity(file: &Path) -> io::Result<(u64, u64)> {
    let found = fs::metadata(file)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_has_been_under_way_for_long_is_trouble_until_it_ends() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let health = Health::of(file.path().into()).unwrap();
        health.find_file().unwrap_or_else(|lost| panic!("{}", lost.text));
        assert!(health.trouble().is_none(), "it has just begun");
        *lock(&health.begun_at) = Instant::now().checked_sub(UNDER_WAY_MAX * 2);
        // The second look of the same batch does not begin another one.
        health.find_file().unwrap_or_else(|lost| panic!("{}", lost.text));
        let trouble = health.trouble().unwrap();
        assert!(trouble.text.contains("under way for 20 s"), "{}", trouble.text);
        assert!(trouble.recent(), "nobody waits behind it to try a write");
        health.note(None);
        assert!(health.trouble().is_none());
    }
}
