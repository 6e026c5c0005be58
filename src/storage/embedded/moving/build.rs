//! Makes pages and chunks of the clicks that an import brought.
//!
//! They come in any order, and a page holds many links, so they are kept aside by place first, and
//! each place is made once when all of them are there. A place and what was kept aside for it
//! change in one transaction.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::unreadable;
use crate::domain::counted::{CountedClick, Surplus};
use crate::domain::id::Id;
use crate::domain::words::Lexicon;
use crate::storage::chunk::sums::Numbering;
use crate::storage::embedded::days::{self, DayPage, Mark, Place};
use crate::storage::embedded::fault::{Fault, Outcome};
use crate::storage::embedded::fold::write_page;
use crate::storage::embedded::outline::{self, CLICKS_PER_CHUNK};
use crate::storage::embedded::pages::{Entry, PageKind, page_id, shard_of};
use crate::storage::moving::records::ClickTotalRecord;
use crate::storage::moving::{Kind, Record};

/// Row id bit of totals, which belong to a shard and to no day.
const TOTALS: i64 = 1 << 50;
/// Records that one step takes, about.
const RECORDS_PER_STEP: u64 = 20_000;
/// Kinds of kept records. The sums of a place come before its clicks.
const KINDS: [Kind; 3] = [Kind::ClickDays, Kind::Clicks, Kind::ClickTotals];

/// Keeps a record aside until all of its place are there.
pub(super) fn keep(conn: &Connection, number: u64, record: &Record) -> Outcome<()> {
    let place = |link: i64, day| Place { day, shard: shard_of(Id(link.cast_unsigned())) }.id();
    let place = match record {
        Record::ClickDays(record) => place(record.link, record.day),
        Record::Clicks(record) => place(record.link, record.day),
        Record::ClickTotals(record) => TOTALS | place(record.link, 0),
        record => return Err(unreadable(record.kind())),
    };
    let kind = KINDS.iter().position(|kind| *kind == record.kind()).unwrap_or_default();
    conn.prepare_cached(
        "INSERT INTO moved_clicks (place, kind, number, line) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((place, kind as i64, number.cast_signed(), record.to_line()))?;
    Ok(())
}

/// Makes some places; true when more are left. Call inside a transaction.
pub(super) fn some(conn: &Connection) -> Outcome<bool> {
    let mut n_records = 0;
    while n_records < RECORDS_PER_STEP {
        let sql = "SELECT min(place) FROM moved_clicks";
        let next: Option<i64> = conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        let Some(id) = next else { return Ok(false) };
        n_records += match id & TOTALS {
            0 => make(conn, id)?,
            _ => make_totals(conn, id)?,
        };
        conn.prepare_cached("DELETE FROM moved_clicks WHERE place = ?1")?.execute([id])?;
    }
    Ok(true)
}

/// Hands out what was kept for a place; answers how many records that were.
fn each_kept(
    conn: &Connection,
    place: i64,
    mut look: impl FnMut(Record) -> Outcome<()>,
) -> Outcome<u64> {
    let sql = "SELECT kind, line FROM moved_clicks WHERE place = ?1 ORDER BY kind, number";
    let mut statement = conn.prepare_cached(sql)?;
    let mut found = statement.query([place])?;
    let mut n_records = 0;
    while let Some(row) = found.next()? {
        let kind = KINDS.get(usize::from(row.get::<_, u8>(0)?));
        let kind = *kind.ok_or_else(|| Fault::corrupt("a kept record of no kind"))?;
        let line = row.get_ref(1)?.as_str().map_err(|error| Fault::corrupt(error.to_string()))?;
        look(Record::parse(kind, line).map_err(Fault::corrupt)?)?;
        n_records += 1;
    }
    Ok(n_records)
}

/// A shard on a day in the making.
struct Making<'a> {
    conn: &'a Connection,
    place: Place,
    page: DayPage,
    people: BTreeMap<u64, u64>,
    lexicon: Lexicon,
    clicks: Vec<CountedClick>,
    surplus: Vec<Surplus>,
    mark: Mark,
    /// Clicks that are kept one by one or as surplus.
    in_chunks: u64,
}

fn make(conn: &Connection, id: i64) -> Outcome<u64> {
    let mut making = Making {
        conn,
        place: Place::of(id),
        page: DayPage::default(),
        people: BTreeMap::new(),
        lexicon: Lexicon::default(),
        clicks: Vec::new(),
        surplus: Vec::new(),
        mark: Mark::default(),
        in_chunks: 0,
    };
    let n_records = each_kept(conn, id, |record| making.take(&record))?;
    making.finish()?;
    Ok(n_records)
}

impl Making<'_> {
    fn take(&mut self, record: &Record) -> Outcome<()> {
        let wrong = || unreadable(record.kind());
        match record {
            Record::ClickDays(record) => {
                let link = record.link.cast_unsigned();
                if record.people > 0 {
                    self.people.insert(link, record.people);
                }
                if let Some(sums) = &record.sums {
                    let stats = sums.stats(&mut self.page.lexicon).ok_or_else(wrong)?;
                    self.page.links.insert(Id(link), stats);
                }
                Ok(())
            }
            Record::Clicks(record) => {
                let (clicks, surplus) = record.clicks(&mut self.lexicon).ok_or_else(wrong)?;
                let rows: u64 = surplus.iter().map(|row| row.stats.counts().sum()).sum();
                self.in_chunks += clicks.len() as u64 + rows;
                let n = self.clicks.len() + self.surplus.len();
                if n + clicks.len() + surplus.len() > CLICKS_PER_CHUNK {
                    self.write_chunk()?;
                }
                self.clicks.extend(clicks);
                self.surplus.extend(surplus);
                Ok(())
            }
            _ => Err(wrong()),
        }
    }

    fn write_chunk(&mut self) -> Outcome<()> {
        let (mut clicks, mut surplus) =
            (std::mem::take(&mut self.clicks), std::mem::take(&mut self.surplus));
        if clicks.is_empty() && surplus.is_empty() {
            return Ok(());
        }
        clicks.sort_by_key(|click| (click.link, click.at));
        surplus.sort_by_key(|row| (row.link, row.minute));
        let words = std::mem::take(&mut self.lexicon).into_words();
        let mut numbering = Numbering::new(&words);
        let id = self.place.chunk(self.mark.next_seq);
        outline::write(self.conn, id, &words, &mut numbering, (&clicks, &surplus))?;
        self.mark.next_seq += 1;
        self.mark.folded += (clicks.len() + surplus.len()) as u64;
        Ok(())
    }

    fn finish(mut self) -> Outcome<()> {
        self.write_chunk()?;
        let Place { day, shard } = self.place;
        let entry = |(link, clicks): (u64, u64)| Entry { link, clicks, last_at: 0 };
        let counts: Vec<Entry> = self.people.into_iter().map(entry).collect();
        write_page(self.conn, PageKind::Day, page_id(PageKind::Day, shard, day), &counts)?;
        if self.page.links.is_empty() {
            return Ok(());
        }
        days::write_page(self.conn, self.place, &self.page)?;
        let on_page: u64 = self.page.links.values().map(|stats| stats.counts().sum()).sum();
        // Clicks that are on the page and nowhere else say that not all of them are kept.
        self.mark.folded += on_page.saturating_sub(self.in_chunks);
        self.mark.next_seq = self.mark.next_seq.max(1);
        self.mark.folded_seq = self.mark.next_seq;
        self.mark.write(self.conn, self.place)
    }
}

fn make_totals(conn: &Connection, id: i64) -> Outcome<u64> {
    let (mut totals, mut brought) = (BTreeMap::new(), BTreeMap::new());
    let n_records = each_kept(conn, id, |record| {
        let Record::ClickTotals(record) = record else { return Err(unreadable(record.kind())) };
        let ClickTotalRecord { link, clicks, brought: by_import, last_at } = *record;
        let (link, last_at) = (link.cast_unsigned(), last_at.map_or(0, i64::unsigned_abs));
        totals.insert(link, Entry { link, clicks, last_at });
        if by_import > 0 {
            brought.insert(link, Entry { link, clicks: by_import, last_at: 0 });
        }
        Ok(())
    })?;
    let shard = Place::of(id & !TOTALS).shard;
    for (kind, entries) in [(PageKind::Total, totals), (PageKind::Brought, brought)] {
        let entries: Vec<Entry> = entries.into_values().collect();
        write_page(conn, kind, page_id(kind, shard, 0), &entries)?;
    }
    Ok(n_records)
}
