//! Counts again what an earlier process left in the journal.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, warn};

use super::book::{Bounds, Recovered};
use super::enrich::Enricher;
use super::journal::scan::{Head, head, scan};
use super::journal::spool::OldSegment;
use super::shared::Shared;
use crate::domain::words::Words;
use crate::storage::Resume;

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// How often a file is read before what cannot be read is given up; some seconds in all.
const READ_TRIES: u32 = 7;

/// Reads one segment, once the store has told how much of it it has. Waits for the store as long
/// as it takes: to count without that answer would be to guess.
pub(super) async fn recover(shared: Arc<Shared>, old: OldSegment) -> Recovered {
    let resume = resume(&shared, &old).await;
    let contents = read(&old.path).await;
    let reading = (old.clone(), Arc::clone(&shared));
    let counted = tokio::task::spawn_blocking(move || {
        let (old, shared) = reading;
        count(old, resume, &contents, &shared)
    });
    let found = counted.await.unwrap_or_else(|error| {
        error!(%error, path = %old.path.display(), "a journal segment could not be counted");
        nothing(old)
    });
    if found.damaged {
        shared.metrics.journal_segments_damaged.inc();
    }
    found
}

/// What a file holds, as far as it can be read.
struct Contents {
    bytes: Vec<u8>,
    /// Why that is not all.
    error: Option<io::Error>,
}

/// Reads a file. An error may pass, so it is tried again before anything is given up.
async fn read(path: &Path) -> Contents {
    let mut pause = RETRY_FIRST;
    let mut tries = 1;
    loop {
        let path = path.to_owned();
        let reading = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            // What was read before an error stays in there.
            let outcome = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
            Contents { bytes, error: outcome.err() }
        });
        let contents = reading.await.unwrap_or_else(|panic| Contents {
            bytes: Vec::new(),
            error: Some(io::Error::other(panic)),
        });
        if contents.error.is_none() || tries == READ_TRIES {
            return contents;
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
        tries += 1;
    }
}

async fn resume(shared: &Shared, old: &OldSegment) -> Resume {
    let mut pause = RETRY_FIRST;
    loop {
        match shared.store.resume(old.id).await {
            Ok(resume) => return resume,
            Err(error) => {
                warn!(%error, "the journal cannot be counted yet; the store is asked again");
                shared.troubles().flush = Some(error.to_string());
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

fn count(old: OldSegment, resume: Resume, contents: &Contents, shared: &Shared) -> Recovered {
    let Resume { covered: flushed, cut } = resume;
    let Contents { bytes, error: unread } = contents;
    if let Some(error) = unread {
        error!(%error, path = %old.path.display(), read = bytes.len(),
            "a journal segment cannot be read to its end; what was read is counted, the file is \
             kept in `damaged`");
    } else if bytes.iter().all(|byte| *byte == 0) {
        // The machine lost power before even the header was on the disk.
        return Recovered { damaged: false, ..nothing(old) };
    }
    let mut enricher = Enricher::new(Arc::clone(&shared.enrichment));
    let (mut clicks, mut bounds, mut n) = (Vec::new(), Bounds::default(), 0);
    let scanned = scan(bytes, old.id, |record| {
        let at = bounds.time(record.at);
        if n >= flushed {
            clicks.push(enricher.click(&record, at, old.id, n));
        }
        n += 1;
    });
    // The name says whose records these are, and each of them proves it.
    let head = head(bytes, old.id, &scanned);
    if head == Head::Foreign {
        error!(path = %old.path.display(),
            "a file in the journal is no segment; run `shunt verify` and look into it");
        return nothing(old);
    }
    if head == Head::Damaged {
        error!(path = %old.path.display(),
            "the header of a journal segment is damaged; its records are counted, the file is \
             kept in `damaged`");
    }
    if let Some(damage) = scanned.damage {
        error!(path = %old.path.display(), offset = damage.offset, lost = damage.lost,
            "a journal segment is damaged; what is intact is counted, the file is kept in \
             `damaged`; run `shunt verify`");
        // What the store had before the damage is not lost.
        let known = scanned.records + damage.lost;
        shared.drop_damaged(known.saturating_sub(flushed.max(scanned.records)));
    }
    Recovered {
        id: old.id,
        path: old.path,
        clicks,
        words: enricher.take_words(),
        records: scanned.records,
        // The store may have seen records that a loss of power took from the file.
        flushed: if cut.is_some() { flushed } else { flushed.min(scanned.records) },
        cut,
        damaged: head == Head::Damaged || unread.is_some() || scanned.damage.is_some(),
    }
}

/// A file with nothing to count in it, to be set aside.
fn nothing(old: OldSegment) -> Recovered {
    Recovered {
        id: old.id,
        path: old.path,
        clicks: Vec::new(),
        words: Words::default(),
        records: 0,
        flushed: 0,
        cut: None,
        damaged: true,
    }
}
