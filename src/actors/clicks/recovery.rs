//! Counts again what an earlier process left in the journal.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, warn};

use super::book::Recovered;
use super::journal::scan::{header, scan};
use super::journal::spool::OldSegment;
use super::shared::Shared;
use super::tally::Tally;
use crate::domain::bot::BotMemo;

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Reads one segment, once the store has told how much of it it has. Waits for the store as long
/// as it takes: to count without that answer would be to guess.
pub(super) async fn recover(shared: Arc<Shared>, old: OldSegment) -> Recovered {
    let flushed = flushed(&shared, &old).await;
    let reading = old.clone();
    let counted = tokio::task::spawn_blocking(move || count(reading, flushed, &shared)).await;
    counted.unwrap_or_else(|error| {
        error!(%error, path = %old.path.display(), "a journal segment could not be counted");
        nothing(old)
    })
}

async fn flushed(shared: &Shared, old: &OldSegment) -> u64 {
    let mut pause = RETRY_FIRST;
    loop {
        match shared.store.resume(old.id).await {
            Ok(records) => return records,
            Err(error) => {
                warn!(%error, "the journal cannot be counted yet; the store is asked again");
                shared.troubles().flush = Some(error.to_string());
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

fn count(old: OldSegment, flushed: u64, shared: &Shared) -> Recovered {
    let bytes = match fs::read(&old.path) {
        Ok(bytes) => bytes,
        Err(error) => {
            error!(%error, path = %old.path.display(), "a journal segment cannot be read");
            return nothing(old);
        }
    };
    if bytes.iter().all(|byte| *byte == 0) {
        // The machine lost power before even the header was on the disk.
        return Recovered { damaged: false, ..nothing(old) };
    }
    if header(&bytes).is_none_or(|header| header.segment != old.id) {
        error!(path = %old.path.display(),
            "a file in the journal is no segment; run `shunt verify` and look into it");
        return nothing(old);
    }
    let mut tally = Tally::default();
    let mut n = 0;
    let mut bots = BotMemo::default();
    let scanned = scan(&bytes, old.id, |record| {
        if bots.is_bot(record.user_agent) {
            // Accounted for, and no part of the link's clicks.
        } else if n < flushed {
            tally.add_flushed(record.at, record.link);
        } else {
            tally.add(record.at, record.link);
        }
        n += 1;
    });
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
        tally,
        records: scanned.records,
        // The store may have seen records that a loss of power took from the file.
        flushed: flushed.min(scanned.records),
        damaged: scanned.damage.is_some(),
    }
}

/// A file with nothing to count in it, to be set aside.
fn nothing(old: OldSegment) -> Recovered {
    Recovered {
        id: old.id,
        path: old.path,
        tally: Tally::default(),
        records: 0,
        flushed: 0,
        damaged: true,
    }
}
