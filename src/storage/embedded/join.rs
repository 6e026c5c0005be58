//! Joins small chunks of single clicks, which every fold leaves behind.
//!
//! Chunks of a shard and day that follow one another become one, under the first one's number. Only
//! those that the page of sums covers are touched, so that its mark holds on; roll-ups of the day
//! are made again. What is joined is at least twice as large as each of its parts: a click is
//! written again fifteen times at the most until its chunk is full. A chunk that is damaged stays
//! where it is, and so do its neighbours.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::check::is_of;
use super::days::{Mark, Place};
use super::epochs;
use super::fault::{Outcome, or_damaged};
use super::outline::{self, CLICKS_PER_CHUNK, Outline};
use crate::domain::counted::{CountedClick, Surplus};
use crate::domain::words::Lexicon;
use crate::storage::chunk::clicks as chunks;
use crate::storage::chunk::sums::Numbering;

/// Bytes that are joined into one chunk at most. One step takes as much memory, a few times over.
const BYTES_MAX: u64 = 4 << 20;
/// Pause between two passes. In each of them, roll-ups of the days where it joins are made again.
const PASS_EVERY: Duration = Duration::from_secs(3_600);
/// Places that one step passes over in which there is nothing to join.
const PLACES_PER_STEP: usize = 64;

/// Looks for small chunks now and then: at first on all days, then on those to which clicks still
/// come.
pub(super) struct Joiner {
    /// Row from which on it looks next.
    from: i64,
    /// When it goes on.
    at: Instant,
}

impl Joiner {
    pub(super) fn new() -> Self {
        Self { from: 0, at: Instant::now() }
    }

    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.at
    }

    /// One step. One that fails ends the pass. Call inside a transaction.
    pub(super) fn step(&mut self, conn: &Connection, today: u32) -> Outcome<()> {
        let done = step(conn, self.from);
        match done {
            Ok(Some(next)) => self.from = next,
            Ok(None) | Err(_) => {
                self.from = Place { day: today.saturating_sub(1), shard: 0 }.chunk(0);
                self.at = Instant::now() + PASS_EVERY;
            }
        }
        done.map(|_| ())
    }
}

/// One step from row `from` on: joins one run of chunks, or passes over some places. Answers where
/// to go on; `None` when that was all. Call inside a transaction.
fn step(conn: &Connection, mut from: i64) -> Outcome<Option<i64>> {
    for _ in 0..PLACES_PER_STEP {
        let Some(place) = outline::next_place(conn, from)? else { return Ok(None) };
        from = from.max(place.chunk(0));
        if let Some(next) = join_from(conn, place, from)? {
            return Ok(Some(next));
        }
        from = place.end();
    }
    Ok(Some(from))
}

/// Joins what there is to join in a place. Call inside a transaction.
pub(super) fn join_all(conn: &Connection, place: Place) -> Outcome<()> {
    let mut from = place.chunk(0);
    while let Some(next) = join_from(conn, place, from)? {
        from = next;
    }
    Ok(())
}

/// Joins the first run of a place from row `from` on; answers where the next may be.
fn join_from(conn: &Connection, place: Place, from: i64) -> Outcome<Option<i64>> {
    // One that is damaged is met, and mended, when its place is written to.
    let Some(mark) = or_damaged(Mark::read(conn, place))? else { return Ok(None) };
    let covered = outline::between(conn, from, place.chunk(mark.folded_seq))?;
    let Some(run) = first_run(&covered) else { return Ok(None) };
    let (mut lexicon, mut all) = (Lexicon::default(), Clicks::default());
    let mut n_whole = 0;
    for one in run {
        let chunk = outline::read(conn, one.id, |body| Ok(chunks::decode(one.id, body)?));
        let whole = or_damaged(chunk)?.filter(|chunk| is_of(chunk, place, one));
        let Some(chunk) = whole else { break };
        let (clicks, surplus) = chunk.in_words_of(&mut lexicon);
        all.0.extend(clicks);
        all.1.extend(surplus);
        n_whole += 1;
    }
    let (whole, rest) = run.split_at(n_whole);
    if first_run(whole).is_some_and(|run| run.len() == whole.len()) {
        write(conn, whole, &lexicon, all)?;
        epochs::touch(conn, place.day)?;
    }
    Ok(Some(rest.first().map_or(run[0].id, |damaged| damaged.id + 1)))
}

/// By link, then time, once they are sorted.
type Clicks = (Vec<CountedClick>, Vec<Surplus>);

fn write(
    conn: &Connection,
    run: &[Outline],
    lexicon: &Lexicon,
    (mut clicks, mut surplus): Clicks,
) -> Outcome<()> {
    // Stable, because it merges what is in order already: each chunk is.
    clicks.sort_by_key(|click| (click.link, click.at));
    surplus.sort_by_key(|row| (row.link, row.minute));
    let (first, last) = (run[0].id, run[run.len() - 1].id);
    let mut numbering = Numbering::new(lexicon.words());
    outline::write(conn, first, lexicon.words(), &mut numbering, (&clicks, &surplus))?;
    conn.prepare_cached("DELETE FROM click_events WHERE id > ?1 AND id <= ?2")?
        .execute((first, last))?;
    Ok(())
}

/// The first run of neighbours that makes a chunk twice as large as each of them, as long as it may
/// be.
fn first_run(chunks: &[Outline]) -> Option<&[Outline]> {
    (0..chunks.len()).find_map(|first| {
        let chunks = &chunks[first..];
        let (mut n_clicks, mut bytes, mut largest, mut run) = (0, 0, 0, None);
        for (index, one) in chunks.iter().enumerate() {
            n_clicks += one.n_clicks;
            bytes += one.bytes;
            largest = largest.max(one.n_clicks);
            if n_clicks > CLICKS_PER_CHUNK as u64 || bytes > BYTES_MAX {
                break;
            }
            if index > 0 && largest * 2 <= n_clicks {
                run = Some(&chunks[..=index]);
            }
        }
        run
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::domain::day::start_of;
    use crate::domain::id::Id;
    use crate::domain::words::Words;
    use crate::storage::embedded::check::look_at;
    use crate::storage::embedded::pages::shard_of;
    use crate::storage::embedded::{EmbeddedConfig, days, open_for_writing};

    #[test]
    fn what_the_page_of_sums_does_not_cover_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shunt.db");
        let conn = open_for_writing(&file, &EmbeddedConfig::default()).unwrap();
        let (words, link) = (Words::default(), Id(7));
        let place = Place { day: 20_200, shard: shard_of(link) };
        let click = CountedClick { link, at: start_of(place.day, 5), ..CountedClick::default() };
        let add = || {
            let mut numbering = Numbering::new(&words);
            days::append(&conn, place, &words, &mut numbering, (&[click], &[])).unwrap();
        };
        (0..4).for_each(|_| add());
        days::fold_all(&conn, place).unwrap();
        (0..4).for_each(|_| add());
        join_all(&conn, place).unwrap();
        let chunks = outline::of_place(&conn, place).unwrap();
        let sizes: Vec<u64> = chunks.iter().map(|chunk| chunk.n_clicks).collect();
        assert_eq!(sizes, [4, 1, 1, 1, 1]);
        let mark = Mark::read(&conn, place).unwrap();
        assert!(look_at(&conn, place, &mark).unwrap().fits(&mark));
        days::fold_all(&conn, place).unwrap();
        join_all(&conn, place).unwrap();
        assert_eq!(outline::of_place(&conn, place).unwrap().len(), 1);
    }
}
