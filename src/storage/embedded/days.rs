//! The clicks of a shard on a day: single ones in chunks, their sums by link on a page.
//!
//! Chunks are added, and joined once the page covers them (see `join`). A page is brought up to
//! date when as many clicks wait as it holds, so that each click is rewritten a few times at most;
//! readers add the chunks that it does not cover. A page that is damaged is made again from the
//! chunks. Layout of a page: CRC-32 of row id and rest, a dictionary, the number of links; per link
//! the distance to the previous link id, the bytes of its sums, and the sums. Numbers are LEB128.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};
use tracing::warn;

use super::epochs;
use super::fault::{Fault, Outcome, or_damaged};
use super::mend;
use super::outline::{self, CLICKS_PER_CHUNK};
use super::pages::{Reader, damaged, put, seal_at};
use super::schema::CLICK_SHARDS;
use crate::domain::counted::{CountedClick, Surplus};
use crate::domain::day::{DayStats, Parts};
use crate::domain::id::Id;
use crate::domain::words::{Lexicon, Translation, Words};
use crate::storage::chunk::clicks::{self as chunks, Chunk};
use crate::storage::chunk::sums::{Numbering, RawWords, put_stats, read_stats};

const SHARD_BITS: u32 = CLICK_SHARDS.trailing_zeros();
/// Chunks of one shard and day that row ids can tell apart.
const SEQUENCE_BITS: u32 = 28;
/// Row id bit of chunks and pages that were set aside. Part of the file format.
pub(super) const ASIDE: i64 = 1 << 61;
/// Tables whose row ids begin with a place, and the bits behind it.
const TABLES: [(&str, u32); 3] =
    [("click_events", SEQUENCE_BITS), ("click_days", 0), ("click_marks", 0)];
/// Clicks that wait for their page at least before it is written.
const PENDING_MIN: u64 = 1_024;
/// Clicks that are added to a page in one step.
const CLICKS_PER_STEP: u64 = 131_072;

/// A shard on a day. Row ids begin with the day, so that a day is one range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) day: u32,
    pub(super) shard: u64,
}

/// What is known of a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Clicks on the page.
    pub(super) folded: u64,
    /// Clicks in chunks that the page does not cover.
    pub(super) pending: u64,
    /// The first chunk that the page does not cover.
    pub(super) folded_seq: u32,
    /// The next chunk.
    pub(super) next_seq: u32,
}

/// The sums of a place, by link.
#[derive(Debug, Default)]
pub(super) struct DayPage {
    pub(super) lexicon: Lexicon,
    pub(super) links: BTreeMap<Id, DayStats>,
}

impl Place {
    pub(super) const fn id(self) -> i64 {
        ((self.day as i64) << SHARD_BITS) | self.shard as i64
    }

    pub(super) const fn of(id: i64) -> Self {
        Self { day: (id >> SHARD_BITS) as u32, shard: id as u64 % CLICK_SHARDS }
    }

    /// Row id of a chunk.
    pub(super) const fn chunk(self, seq: u32) -> i64 {
        (self.id() << SEQUENCE_BITS) | seq as i64
    }

    /// Row id behind all chunks of the place.
    pub(super) const fn end(self) -> i64 {
        (self.id() + 1) << SEQUENCE_BITS
    }

    /// Place of a chunk.
    pub(super) const fn of_chunk(id: i64) -> Self {
        Self::of(id >> SEQUENCE_BITS)
    }
}

/// Row ids of the places of a day: the first, and the one behind the last.
pub(super) const fn places(day: u32) -> (i64, i64) {
    let first = Place { day, shard: 0 }.id();
    (first, first + CLICK_SHARDS as i64)
}

impl Mark {
    /// The page is due: as much waits as it holds.
    pub(super) fn is_due(&self) -> bool {
        self.pending >= self.folded.max(PENDING_MIN)
    }

    pub(super) fn read(conn: &Connection, place: Place) -> Outcome<Self> {
        let mut statement = conn.prepare_cached(
            "SELECT folded, pending, folded_seq, next_seq, checksum, id FROM click_marks
             WHERE id = ?1",
        )?;
        let mut found = statement.query([place.id()])?;
        found.next()?.map_or_else(|| Ok(Self::default()), |row| Ok(Self::of_row(row)?.1))
    }

    /// Columns `folded`, `pending`, `folded_seq`, `next_seq`, `checksum`, `id`, in this order.
    pub(super) fn of_row(row: &rusqlite::Row<'_>) -> Outcome<(Place, Self)> {
        let place = Place::of(row.get(5)?);
        let mark = Self {
            folded: row.get::<_, i64>(0)?.unsigned_abs(),
            pending: row.get::<_, i64>(1)?.unsigned_abs(),
            folded_seq: row.get(2)?,
            next_seq: row.get(3)?,
        };
        if row.get::<_, i64>(4)? != mark.checksum(place) {
            let Place { day, shard } = place;
            return Err(Fault::corrupt(format!(
                "the mark of shard {shard} on day {day} is damaged"
            )));
        }
        Ok((place, mark))
    }

    fn checksum(&self, place: Place) -> i64 {
        let mut crc = crc32fast::Hasher::new();
        for number in [place.id() as u64, self.folded, self.pending] {
            crc.update(&number.to_le_bytes());
        }
        for number in [self.folded_seq, self.next_seq] {
            crc.update(&number.to_le_bytes());
        }
        crc.finalize().into()
    }

    pub(super) fn write(&self, conn: &Connection, place: Place) -> Outcome<()> {
        conn.prepare_cached(
            "INSERT OR REPLACE INTO click_marks
                (id, folded, pending, folded_seq, next_seq, checksum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((
            place.id(),
            self.folded as i64,
            self.pending as i64,
            self.folded_seq,
            self.next_seq,
            self.checksum(place),
        ))?;
        Ok(())
    }
}

impl DayPage {
    pub(super) fn decode(place: Place, body: &[u8]) -> Outcome<Self> {
        let mut reader = Reader::open_at(place.id(), body)?;
        let words = RawWords::read(&mut reader)?;
        let mut page = Self { lexicon: Lexicon::of(words.words()?), links: BTreeMap::new() };
        each_link(&mut reader, |link, mut part| {
            let stats = read_stats(&mut part, &words)?;
            part.finish()?;
            page.links.insert(link, stats);
            Ok(())
        })?;
        Ok(page)
    }

    pub(super) fn encode(&self, place: Place) -> Vec<u8> {
        let mut numbering = Numbering::new(self.lexicon.words());
        numbering.begin();
        let (mut entries, mut stats_of_link, mut previous) = (Vec::new(), Vec::new(), 0);
        for (link, stats) in &self.links {
            stats_of_link.clear();
            put_stats(&mut stats_of_link, stats, |word| numbering.number(word));
            put(&mut entries, link.0 - previous);
            put(&mut entries, stats_of_link.len() as u64);
            entries.extend_from_slice(&stats_of_link);
            previous = link.0;
        }
        let mut out = vec![0; 4];
        numbering.put(&mut out, self.lexicon.words());
        put(&mut out, self.links.len() as u64);
        out.extend_from_slice(&entries);
        seal_at(place.id(), &mut out);
        out
    }

    /// Adds a chunk.
    pub(super) fn add(&mut self, chunk: &Chunk) {
        let (mut parts, mut translation) =
            (Parts::new(&chunk.words), Translation::new(&chunk.words));
        for clicks in chunk.clicks.chunk_by(|a, b| a.link == b.link) {
            let stats = self.links.entry(clicks[0].link).or_default();
            stats.add(clicks, &mut parts, &mut self.lexicon);
        }
        for row in &chunk.surplus {
            let stats = self.links.entry(row.link).or_default();
            stats.merge(&row.stats, &mut translation, &mut self.lexicon);
        }
    }
}

/// The sums of one link on a page, and their dictionary.
pub(super) fn link_on_page(
    place: Place,
    body: &[u8],
    link: Id,
) -> Outcome<Option<(Words, DayStats)>> {
    let mut reader = Reader::open_at(place.id(), body)?;
    let words = RawWords::read(&mut reader)?;
    let mut found = None;
    each_link(&mut reader, |id, mut part| {
        if id == link {
            found = Some(read_stats(&mut part, &words)?);
        }
        Ok(())
    })?;
    found.map(|stats| Ok((words.words()?, stats))).transpose()
}

fn each_link<'a>(
    reader: &mut Reader<'a>,
    mut look: impl FnMut(Id, Reader<'a>) -> Outcome<()>,
) -> Outcome<()> {
    let (n, mut link) = (reader.count(2)?, 0_u64);
    for index in 0..n {
        let step = reader.number()?;
        link = link.checked_add(step).filter(|_| step > 0 || index == 0).ok_or_else(damaged)?;
        let len = reader.count(1)?;
        look(Id(link), reader.part(len)?)?;
    }
    if reader.is_empty() { Ok(()) } else { Err(damaged()) }
}

/// Adds clicks to a place, by link, then time; answers its mark.
pub(super) fn append(
    conn: &Connection,
    place: Place,
    words: &Words,
    numbering: &mut Numbering,
    (clicks, surplus): (&[CountedClick], &[Surplus]),
) -> Outcome<Mark> {
    let mut mark = whole_mark(conn, place)?;
    let (mut clicks_left, mut rows_left) = (clicks, surplus);
    while !clicks_left.is_empty() || !rows_left.is_empty() {
        let (some, rest) = clicks_left.split_at(clicks_left.len().min(CLICKS_PER_CHUNK));
        let room = CLICKS_PER_CHUNK - some.len();
        let (rows, rest_of_rows) = rows_left.split_at(rows_left.len().min(room));
        (clicks_left, rows_left) = (rest, rest_of_rows);
        outline::write(conn, place.chunk(mark.next_seq), words, numbering, (some, rows))?;
        mark.next_seq += 1;
    }
    mark.pending += (clicks.len() + surplus.len()) as u64;
    mark.write(conn, place)?;
    Ok(mark)
}

/// The page of a place; `None` when there is none.
pub(super) fn page_body(conn: &Connection, place: Place) -> Outcome<Option<Vec<u8>>> {
    let mut statement = conn.prepare_cached("SELECT body FROM click_days WHERE id = ?1")?;
    Ok(statement.query_row([place.id()], |row| row.get(0)).optional()?)
}

pub(super) fn write_page(conn: &Connection, place: Place, page: &DayPage) -> Outcome<()> {
    if page.links.is_empty() {
        conn.prepare_cached("DELETE FROM click_days WHERE id = ?1")?.execute([place.id()])?;
    } else {
        conn.prepare_cached("INSERT OR REPLACE INTO click_days (id, body) VALUES (?1, ?2)")?
            .execute((place.id(), page.encode(place)))?;
    }
    Ok(())
}

/// Hands out the chunks of a place from `seq` on, with their number and clicks, while `look` wants
/// more.
pub(super) fn each_chunk(
    conn: &Connection,
    place: Place,
    seq: u32,
    mut look: impl FnMut(i64, u64, &[u8]) -> Outcome<bool>,
) -> Outcome<()> {
    let mut statement = conn.prepare_cached(
        "SELECT id, n_clicks, body FROM click_events WHERE id >= ?1 AND id < ?2 ORDER BY id",
    )?;
    let mut found = statement.query((place.chunk(seq), place.end()))?;
    while let Some(row) = found.next()? {
        let n_clicks = row.get::<_, i64>(1)?.unsigned_abs();
        let body = row.get_ref(2)?.as_blob().map_err(|_| damaged())?;
        if !look(row.get(0)?, n_clicks, body)? {
            break;
        }
    }
    Ok(())
}

/// Brings the page of a place up to date, as far as one step reaches. Damaged chunks are set aside;
/// so is a damaged page, and made again from the chunks that are still there. Call inside a
/// transaction.
pub(super) fn fold(conn: &Connection, place: Place) -> Outcome<()> {
    let mut mark = whole_mark(conn, place)?;
    let body = page_body(conn, place)?;
    let page = body.map_or_else(|| Ok(DayPage::default()), |body| DayPage::decode(place, &body));
    let mut page = match or_damaged(page)? {
        Some(page) => page,
        None => {
            set_page_aside(conn, place)?;
            mark = Mark { folded: 0, folded_seq: 0, ..mark };
            DayPage::default()
        }
    };
    let (mut seen, mut next, mut spoilt) = (0, mark.folded_seq, Vec::new());
    each_chunk(conn, place, mark.folded_seq, |id, n_clicks, body| {
        next = sequence_of(id) + 1;
        match or_damaged(chunks::decode(id, body))? {
            Some(chunk) => {
                page.add(&chunk);
                mark.folded += n_clicks;
            }
            None => spoilt.push(id),
        }
        seen += n_clicks;
        Ok(seen < CLICKS_PER_STEP)
    })?;
    spoilt.iter().try_for_each(|id| set_chunk_aside(conn, *id))?;
    if !spoilt.is_empty() {
        epochs::touch(conn, place.day)?;
    }
    mark.folded_seq = if seen < CLICKS_PER_STEP { mark.next_seq } else { next };
    mark.pending = n_clicks_from(conn, place, mark.folded_seq)?;
    write_page(conn, place, &page)?;
    mark.write(conn, place)
}

/// The mark of a place; one that is damaged is made again.
pub(super) fn whole_mark(conn: &Connection, place: Place) -> Outcome<Mark> {
    or_damaged(Mark::read(conn, place))?.map_or_else(|| mend::mend_sums(conn, place), Ok)
}

/// Brings the page of a place up to date.
pub(super) fn fold_all(conn: &Connection, place: Place) -> Outcome<()> {
    while Mark::read(conn, place)?.pending > 0 {
        fold(conn, place)?;
    }
    Ok(())
}

/// Whether every single click of a place is still there, so that nothing else needs to be asked.
pub(super) fn has_all_chunks(conn: &Connection, place: Place, mark: &Mark) -> Outcome<bool> {
    Ok(n_clicks_from(conn, place, 0)? == mark.folded + mark.pending)
}

/// Moves a chunk to where nobody counts it. It stays in the file for whoever wants to look.
pub(super) fn set_chunk_aside(conn: &Connection, id: i64) -> Outcome<()> {
    let Place { day, shard } = Place::of_chunk(id);
    warn!(day, shard, chunk = sequence_of(id), "damaged clicks are set aside");
    conn.prepare_cached("UPDATE OR REPLACE click_events SET id = ?2 WHERE id = ?1")?
        .execute((id, id | ASIDE))?;
    Ok(())
}

/// The same with the page of a place, which is to be made again.
pub(super) fn set_page_aside(conn: &Connection, place: Place) -> Outcome<()> {
    let Place { day, shard } = place;
    warn!(day, shard, "a damaged page of sums is set aside and made again from its clicks");
    conn.prepare_cached("UPDATE OR REPLACE click_days SET id = ?2 WHERE id = ?1")?
        .execute((place.id(), place.id() | ASIDE))?;
    Ok(())
}

/// Forgets what was set aside of a shard.
pub(super) fn forget_aside(conn: &Connection, shard: u64) -> Outcome<()> {
    for (table, bits) in [("click_events", SEQUENCE_BITS), ("click_days", 0)] {
        let sql = format!("DELETE FROM {table} WHERE id >= ?1 AND (id >> ?2) % ?3 = ?4");
        conn.prepare_cached(&sql)?.execute((ASIDE, bits, CLICK_SHARDS as i64, shard as i64))?;
    }
    Ok(())
}

/// Forgets what was set aside of days before `day`.
pub(super) fn forget_aside_before(conn: &Connection, day: u32) -> Outcome<()> {
    let end = Place { day, shard: 0 };
    for (table, end) in [("click_events", end.chunk(0)), ("click_days", end.id())] {
        let sql = format!("DELETE FROM {table} WHERE id >= ?1 AND id < ?2");
        conn.prepare_cached(&sql)?.execute((ASIDE, ASIDE | end))?;
    }
    Ok(())
}

/// Chunks and pages that were set aside and are still there.
pub(super) fn n_aside(conn: &Connection) -> Outcome<u64> {
    let n: i64 = conn.query_row(
        "SELECT (SELECT count(*) FROM click_events WHERE id >= ?1)
              + (SELECT count(*) FROM click_days WHERE id >= ?1)",
        [ASIDE],
        |row| row.get(0),
    )?;
    Ok(n.unsigned_abs())
}

/// All days of which there are clicks, sums or marks.
pub(super) fn all(conn: &Connection) -> Outcome<Vec<u32>> {
    let mut days = Vec::new();
    let mut next = 0;
    loop {
        let mut first: Option<u32> = None;
        for (table, bits) in TABLES {
            let sql = format!("SELECT min(id) FROM {table} WHERE id >= ?1 AND id < ?2");
            let from = Place { day: next, shard: 0 }.id() << bits;
            let id: Option<i64> =
                conn.prepare_cached(&sql)?.query_row((from, ASIDE), |row| row.get(0))?;
            if let Some(id) = id {
                let day = Place::of(id >> bits).day;
                first = Some(first.map_or(day, |first| first.min(day)));
            }
        }
        let Some(day) = first else { return Ok(days) };
        days.push(day);
        next = day + 1;
    }
}

/// Places of a day of which there are clicks, sums or marks, in order.
pub(super) fn places_with_something(conn: &Connection, day: u32) -> Outcome<Vec<Place>> {
    let mut found = Vec::new();
    for (table, bits) in TABLES {
        let sql = format!("SELECT DISTINCT id >> ?1 FROM {table} WHERE id >= ?2 AND id < ?3");
        let (first, end) = places(day);
        let mut statement = conn.prepare_cached(&sql)?;
        let ids = statement.query_map((bits, first << bits, end << bits), |row| row.get(0))?;
        for id in ids {
            found.push(Place::of(id?));
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The first day from `day` on of which there are single clicks.
pub(super) fn next_day_of_chunks(conn: &Connection, day: u32) -> Outcome<Option<u32>> {
    let id: Option<i64> = conn
        .prepare_cached("SELECT min(id) FROM click_events WHERE id >= ?1 AND id < ?2")?
        .query_row((Place { day, shard: 0 }.chunk(0), ASIDE), |row| row.get(0))?;
    Ok(id.map(|id| Place::of_chunk(id).day))
}

/// Number of a chunk among those of its place.
pub(super) const fn sequence_of(id: i64) -> u32 {
    (id & ((1 << SEQUENCE_BITS) - 1)) as u32
}

pub(super) fn n_clicks_from(conn: &Connection, place: Place, seq: u32) -> Outcome<u64> {
    let n: i64 = conn
        .prepare_cached(
            "SELECT coalesce(sum(n_clicks), 0) FROM click_events WHERE id >= ?1 AND id < ?2",
        )?
        .query_row((place.chunk(seq), place.end()), |row| row.get(0))?;
    Ok(n.unsigned_abs())
}

/// Places whose pages do not cover all clicks, by day.
pub(super) fn pending(conn: &Connection) -> Outcome<Vec<(Place, Mark)>> {
    let mut statement = conn.prepare_cached(
        "SELECT folded, pending, folded_seq, next_seq, checksum, id FROM click_marks
         WHERE pending > 0 ORDER BY id",
    )?;
    let mut found = statement.query([])?;
    let mut marks = Vec::new();
    while let Some(row) = found.next()? {
        // One that is damaged is met, and mended, when its place is written to.
        marks.extend(or_damaged(Mark::of_row(row))?);
    }
    Ok(marks)
}

#[cfg(test)]
mod tests;
