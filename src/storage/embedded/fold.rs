//! Folds what flushes brought: single clicks go to their shards and days, counts to the pages of
//! links, one group of shards at a time.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::clicks::read_page;
use super::days::{self, Place};
use super::deltas::{self, Delta};
use super::epochs;
use super::fault::{Fault, Outcome};
use super::mend::mend;
use super::pages::{self, Entry, PageKind, page_id, parse_page_id, shard_of};
use super::unfolded;
use crate::domain::counted::{CountedClick, Surplus};
use crate::domain::day::day_of;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::domain::words::Lexicon;
use crate::storage::StorageErrorKind;
use crate::storage::chunk::clicks::Chunk;
use crate::storage::chunk::sums::Numbering;

/// Rows that are folded together at most: what a long pause or a damaged page left is worked off
/// bit by bit.
const ROWS_PER_FOLD: usize = 262_144;

/// Moves the oldest clicks and deltas of a group to where they stay; a shard whose pages are
/// damaged is mended. Where even that fails, its deltas stay, the other shards go on, and the fault
/// is answered. Call inside a transaction.
pub(super) fn fold(conn: &Connection, group: u64) -> Outcome<Folded> {
    let taken = deltas::take(conn, group, ROWS_PER_FOLD)?;
    let mut folded = Folded { is_empty: taken.is_empty(), ..Folded::default() };
    let days: BTreeSet<u32> =
        taken.iter().filter_map(|row| row.minute).map(|minute| minute / 1_440).collect();
    days.into_iter().try_for_each(|day| epochs::touch(conn, day))?;
    let mut kept = spread_deltas(conn, taken, &mut folded)?;
    let chunks = unfolded::take(conn, group, ROWS_PER_FOLD)?;
    folded.is_empty &= chunks.is_empty();
    let counts = gather(conn, chunks, &mut folded)?;
    kept.append(&mut spread_deltas(conn, counts, &mut folded)?);
    deltas::store(conn, kept)?;
    Ok(folded)
}

/// Adds deltas, in any order, to the pages of their shards; answers those of shards that are stuck.
fn spread_deltas(conn: &Connection, rows: Vec<Delta>, folded: &mut Folded) -> Outcome<Vec<Delta>> {
    let mut shards: BTreeMap<u64, Vec<Delta>> = BTreeMap::new();
    for row in rows {
        shards.entry(shard_of(Id(row.link))).or_default().push(row);
    }
    let mut kept = Vec::new();
    for (shard, mut rows) in shards {
        // Stable, because it merges what is in order already: each delta is.
        rows.sort_by_key(|row| (row.link, row.minute));
        if let Err(fault) = fold_shard(conn, shard, &rows) {
            if fault.kind() != StorageErrorKind::Corrupt || conn.is_autocommit() {
                return Err(fault);
            }
            kept.append(&mut rows);
            folded.stuck = Some((shard, fault));
        }
    }
    Ok(kept)
}

/// Moves the clicks of chunks to the places where they stay, of each shard and day; answers what
/// they add to the counts of links.
fn gather(conn: &Connection, taken: Vec<Chunk>, folded: &mut Folded) -> Outcome<Vec<Delta>> {
    let mut lexicon = Lexicon::default();
    let mut places: BTreeMap<Place, (Vec<CountedClick>, Vec<Surplus>)> = BTreeMap::new();
    let place = |link: Id, day: u32| Place { day, shard: shard_of(link) };
    let same =
        |a: &CountedClick, b: &CountedClick| a.link == b.link && day_of(a.at) == day_of(b.at);
    for chunk in taken {
        let (clicks, surplus) = chunk.in_words_of(&mut lexicon);
        for clicks in clicks.chunk_by(same) {
            let (own, _) = places.entry(place(clicks[0].link, day_of(clicks[0].at))).or_default();
            own.extend_from_slice(clicks);
        }
        for row in surplus {
            places.entry(place(row.link, row.minute / 1_440)).or_default().1.push(row);
        }
    }
    let words = lexicon.into_words();
    let mut numbering = Numbering::new(&words);
    let (mut counts, mut last_day) = (Vec::new(), None);
    for (place, (mut clicks, mut surplus)) in places {
        clicks.sort_by_key(|click| (click.link, click.at));
        surplus.sort_by_key(|row| (row.link, row.minute));
        let mark = days::append(conn, place, &words, &mut numbering, (&clicks, &surplus))?;
        if mark.is_due() {
            folded.due.push(place);
        }
        if last_day.replace(place.day) != Some(place.day) {
            epochs::grew(conn, place.day)?;
        }
        count(place.day, &clicks, &surplus, &mut counts);
    }
    Ok(counts)
}

/// What clicks of people, by link, add to the counts of their links on a day.
fn count(day: u32, clicks: &[CountedClick], surplus: &[Surplus], counts: &mut Vec<Delta>) {
    let minute = Some(day * PageKind::Day.minutes());
    let mut add = |link: Id, clicks, last_at: Timestamp| {
        let last_at = last_at.as_millis().max(0) as u64;
        counts.push(Delta { link: link.0, minute, clicks, last_at });
    };
    for clicks in clicks.chunk_by(|a, b| a.link == b.link) {
        let people = clicks.iter().filter(|click| !click.is_bot());
        if let Some(last) = people.clone().map(|click| click.at).max() {
            add(clicks[0].link, people.count() as u64, last);
        }
    }
    for row in surplus {
        if let Some(times) = row.stats.people_at {
            add(row.link, row.stats.counts().people, times.last);
        }
    }
}

/// What a fold did.
#[derive(Default)]
pub(super) struct Folded {
    /// There was nothing to fold.
    pub(super) is_empty: bool,
    /// A shard whose deltas stay where they are, and why.
    pub(super) stuck: Option<(u64, Fault)>,
    /// Places whose pages of sums are due.
    pub(super) due: Vec<Place>,
}

/// Folds a group until nothing is left of it. Fails when a shard is stuck.
pub(super) fn fold_all(conn: &Connection, group: u64) -> Outcome<()> {
    while !fold_some(conn, group)? {}
    Ok(())
}

/// Folds some of a group; true when there was nothing to fold. Fails when a shard is stuck.
pub(super) fn fold_some(conn: &Connection, group: u64) -> Outcome<bool> {
    let folded = fold(conn, group)?;
    folded.stuck.map_or(Ok(folded.is_empty), |(_, fault)| Err(fault))
}

fn fold_shard(conn: &Connection, shard: u64, rows: &[Delta]) -> Outcome<()> {
    match in_savepoint(conn, || add_to_shard(conn, shard, rows)) {
        Err(fault) if fault.kind() == StorageErrorKind::Corrupt && !conn.is_autocommit() => {
            in_savepoint(conn, || {
                mend(conn, shard)?;
                add_to_shard(conn, shard, rows)
            })
        }
        done => done,
    }
}

fn add_to_shard(conn: &Connection, shard: u64, rows: &[Delta]) -> Outcome<()> {
    for (id, entries) in spread(shard, rows) {
        add_to_page(conn, id, &entries)?;
    }
    Ok(())
}

/// Runs `work` so that it can be taken back alone.
fn in_savepoint(conn: &Connection, work: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
    conn.prepare_cached("SAVEPOINT fold")?.execute([])?;
    let done = work();
    if conn.is_autocommit() {
        // The store took back the whole transaction; nothing is left to end.
        return done;
    }
    if done.is_err() {
        conn.prepare_cached("ROLLBACK TO fold")?.execute([])?;
    }
    conn.prepare_cached("RELEASE fold")?.execute([])?;
    done
}

/// What the rows of a shard, in order, add to its pages.
fn spread(shard: u64, rows: &[Delta]) -> BTreeMap<i64, Vec<Entry>> {
    let mut pages = BTreeMap::new();
    for row in rows {
        let mut add = |kind, bucket, last_at| {
            let page: &mut Vec<Entry> = pages.entry(page_id(kind, shard, bucket)).or_default();
            match page.last_mut() {
                Some(last) if last.link == row.link => {
                    last.clicks = last.clicks.saturating_add(row.clicks);
                    last.last_at = last.last_at.max(last_at);
                }
                _ => page.push(Entry { link: row.link, clicks: row.clicks, last_at }),
            }
        };
        match row.minute {
            Some(minute) => add(PageKind::Day, minute / PageKind::Day.minutes(), 0),
            None => add(PageKind::Brought, 0, 0),
        }
        add(PageKind::Total, 0, row.last_at);
    }
    pages
}

/// `more` is ordered by link and has each link once.
fn add_to_page(conn: &Connection, id: i64, more: &[Entry]) -> Outcome<()> {
    let Some((kind, shard, bucket)) = parse_page_id(id) else {
        return Err(pages::damaged());
    };
    let page = read_page(conn, kind, shard, bucket)?;
    write_page(conn, kind, id, &pages::merge(&page, more))
}

pub(super) fn write_page(
    conn: &Connection,
    kind: PageKind,
    id: i64,
    page: &[Entry],
) -> Outcome<()> {
    if page.is_empty() {
        conn.prepare_cached("DELETE FROM click_pages WHERE id = ?1")?.execute([id])?;
    } else {
        conn.prepare_cached(
            "INSERT INTO click_pages (id, body) VALUES (?1, ?2)
             ON CONFLICT (id) DO UPDATE SET body = excluded.body",
        )?
        .execute((id, pages::encode(kind, id, page)))?;
    }
    Ok(())
}
