//! What the connections of these tests log, to see what an operator is told.

use std::io;
use std::sync::{LazyLock, Mutex, PoisonError};

static TEXT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Begins to keep warnings, of all threads.
pub(crate) fn keep() {
    static KEPT: LazyLock<()> = LazyLock::new(|| {
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log);
        log.with_max_level(tracing::Level::WARN).init();
    });
    LazyLock::force(&KEPT);
}

/// Whether something was logged that has this in it.
pub(crate) fn says(words: &str) -> bool {
    let text = TEXT.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&text).contains(words)
}

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        TEXT.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
