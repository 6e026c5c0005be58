//! Batches of imported links, each taken in exactly once and answered the same again.

use std::borrow::Cow;

use rusqlite::{Connection, OptionalExtension};

use super::audit::Log;
use super::clicks;
use super::fault::{Fault, Outcome};
use super::links::{Inserted, Tally, fetch, insert};
use crate::domain::api_key::KeyDigest;
use crate::domain::limits::CODE_ATTEMPTS_MAX;
use crate::domain::link::{Link, LinkStatus};
use crate::storage::{BatchAnswer, Imported, ImportedLink};

/// Bytes of one remembered outcome: the place of its link and a letter.
const OUTCOME_BYTES: usize = 5;
/// Rows of a batch that a damaged number is believed to mean.
const ROWS_MAX: u32 = 1 << 20;

/// What a column holds that earlier layouts did not have.
type Remembered = Option<Vec<u8>>;

pub(super) fn import(
    conn: &Connection,
    (digest, fingerprint): (&[u8; 16], &KeyDigest),
    batch: &[ImportedLink],
    log: &Log,
) -> Outcome<BatchAnswer> {
    let known: Option<(Remembered, Remembered)> = conn
        .prepare_cached("SELECT outcomes, fingerprint FROM import_batches WHERE digest = ?1")?
        .query_row([digest.as_slice()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((outcomes, of)) = known {
        if of.is_some_and(|of| of != fingerprint) {
            return Ok(BatchAnswer::Mismatch);
        }
        let rows = outcomes.map_or_else(|| Ok(Vec::new()), |bytes| decode(&bytes))?;
        return Ok(BatchAnswer::Known(rows));
    }
    let mut tally = Tally::default();
    let mut brought = Vec::new();
    let mut outcomes = Vec::with_capacity(batch.len());
    for entry in batch {
        let outcome = take_in(conn, entry, &mut tally)?;
        let created = matches!(outcome, Imported::Created | Imported::Recoded(_));
        if created && entry.clicks > 0 {
            brought.push((entry.link.id, entry.clicks, entry.last_clicked_at));
        }
        if entry.foreign_sealed && outcome != Imported::Taken {
            conn.prepare_cached("INSERT OR IGNORE INTO foreign_sealed (domain) VALUES (?1)")?
                .execute([entry.link.domain.0])?;
        }
        outcomes.push(outcome);
    }
    tally.store(conn)?;
    if tally.links > 0 {
        let created = tally.links as usize;
        log.add(conn, |act| act.imported(created, batch.len() - created))?;
    }
    clicks::bring(conn, &brought)?;
    conn.prepare_cached(
        "INSERT INTO import_batches (digest, outcomes, fingerprint) VALUES (?1, ?2, ?3)",
    )?
    .execute((digest.as_slice(), encode(&outcomes), fingerprint.as_slice()))?;
    Ok(BatchAnswer::New(outcomes))
}

/// Puts a link at its code, or at the first free one of its series.
fn take_in(conn: &Connection, entry: &ImportedLink, tally: &mut Tally) -> Outcome<Imported> {
    let mut link = Cow::Borrowed(&entry.link);
    for attempt in 1..=CODE_ATTEMPTS_MAX {
        match insert(conn, &link, tally)? {
            Inserted::Yes if attempt == 1 => return Ok(Imported::Created),
            Inserted::Yes => return Ok(Imported::Recoded(link.key())),
            Inserted::ExternalIdTaken => return Ok(Imported::ExternalIdTaken),
            Inserted::CodeTaken => {
                let there = fetch(conn, &link.key())?;
                if there.is_some_and(|there| is_same(&there, &link)) {
                    return Ok(Imported::Unchanged);
                }
            }
        }
        let Some(series) = entry.series else { return Ok(Imported::Taken) };
        let code = series.code(link.destination.as_str(), attempt);
        link.to_mut().code = code;
    }
    Ok(Imported::Taken)
}

/// The same owner and target; a deleted link is not the same as a living one.
fn is_same(there: &Link, wanted: &Link) -> bool {
    let deleted = |link: &Link| link.status == LinkStatus::Deleted;
    there.workspace == wanted.workspace
        && there.destination == wanted.destination
        && deleted(there) == deleted(wanted)
}

/// The number of outcomes, then those that are not `Created`: of most batches, none.
pub(super) fn encode(outcomes: &[Imported]) -> Vec<u8> {
    let mut bytes = (outcomes.len() as u32).to_le_bytes().to_vec();
    for (place, outcome) in outcomes.iter().enumerate() {
        let letter = match outcome {
            Imported::Created | Imported::Recoded(_) => continue,
            Imported::Unchanged => b'u',
            Imported::Taken => b't',
            Imported::ExternalIdTaken => b'e',
        };
        bytes.extend_from_slice(&(place as u32).to_le_bytes());
        bytes.push(letter);
    }
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Outcome<Vec<Imported>> {
    let damaged = || Fault::corrupt("the outcomes of an import cannot be read");
    let (n_rows, others) = bytes.split_first_chunk().ok_or_else(damaged)?;
    let n_rows = u32::from_le_bytes(*n_rows).min(ROWS_MAX) as usize;
    let mut outcomes = vec![Imported::Created; n_rows];
    for other in others.chunks(OUTCOME_BYTES) {
        let (place, letter) = other.split_first_chunk().ok_or_else(damaged)?;
        let outcome = match letter {
            b"u" => Imported::Unchanged,
            b"t" => Imported::Taken,
            b"e" => Imported::ExternalIdTaken,
            _ => return Err(damaged()),
        };
        let place = u32::from_le_bytes(*place) as usize;
        *outcomes.get_mut(place).ok_or_else(damaged)? = outcome;
    }
    Ok(outcomes)
}
