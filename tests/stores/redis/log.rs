//! What the connections of these tests log, to see what an operator is told.

use std::io;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

use shunt::storage::redis::Redis;

use super::{SOON, until};

static TEXT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Connects until a connection fails for a cause that has these words in it. Only the first failure
/// of each is told, and that may be one of time on a busy machine.
pub(crate) async fn until_told(words: &str, start: impl Fn() -> Redis) -> Redis {
    keep();
    let begun = Instant::now();
    loop {
        let n = failures();
        let redis = start();
        until(|| failures() > n).await;
        if says(words) {
            return redis;
        }
        assert!(begun.elapsed() < SOON, "nobody said {words}");
    }
}

/// Begins to keep warnings, of all threads.
fn keep() {
    static KEPT: LazyLock<()> = LazyLock::new(|| {
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log);
        log.with_max_level(tracing::Level::WARN).init();
    });
    LazyLock::force(&KEPT);
}

fn says(words: &str) -> bool {
    text().contains(words)
}

fn failures() -> usize {
    text().matches("Redis cannot be reached").count()
}

fn text() -> String {
    let text = TEXT.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&text).into_owned()
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
