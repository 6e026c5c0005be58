//! Checks everything that is known of clicks: that it parses, that each piece is where it belongs,
//! and that the pieces add up.
//!
//! Three sums must fit. A total is the sum of its days and of what imports brought along. A mark
//! tells how many clicks its chunks hold behind the page of its place. And the people that page and
//! chunks of a place tell of a link are no more than the count of its day. They may be fewer: days
//! counted by older versions have no clicks, and neither has what was pruned or set aside.

use std::collections::HashMap;

use rusqlite::Connection;

use super::days::{self, DayPage, Mark, Place};
use super::fault::{Fault, Outcome};
use super::outline::{self, Outline};
use super::pages::{self, Entry, PageKind, page_id, parse_page_id, shard_of};
use super::readers::in_snapshot;
use super::schema::{CLICK_GROUPS, CLICK_SHARDS};
use super::verify::{REPAIR, RESTORE, Report};
use super::{clicks as counts, deltas, mend, unfolded};
use crate::domain::counted::CountedClick;
use crate::domain::day::day_of;
use crate::domain::id::Id;
use crate::storage::chunk::clicks::{self as chunks, Chunk};

/// What is found out about a place.
#[derive(Default)]
pub(super) struct Found {
    /// Chunks that are damaged or hold what belongs elsewhere.
    pub(super) spoilt: Vec<i64>,
    /// The page is damaged or holds what belongs elsewhere.
    pub(super) page: Option<Fault>,
    has_page: bool,
    n_clicks: u64,
    /// Clicks that the page tells of, and the whole chunks.
    pub(super) on_page: u64,
    pub(super) in_chunks: u64,
    /// Clicks in chunks that the page does not cover.
    pub(super) pending: u64,
    /// Behind the last chunk.
    pub(super) next_seq: u32,
    /// Clicks of people, by link, of the page and of the chunks behind it.
    pub(super) people: HashMap<u64, u64>,
}

pub(super) fn clicks(conn: &Connection, report: &mut Report) -> Outcome<()> {
    let strange: i64 = conn.query_row(
        "SELECT count(*) FROM click_pages
         WHERE id < ?2 AND (id < 0 OR id >> 48 > 4 OR (id >> 32) & 65535 >= ?1)",
        [CLICK_SHARDS as i64, pages::ASIDE],
        |row| row.get(0),
    )?;
    if strange > 0 {
        report.add(format!("{strange} click pages belong to no bucket"), RESTORE);
    }
    for kind in [PageKind::Minute, PageKind::Hour] {
        let range = (page_id(kind, 0, 0), page_id(kind, CLICK_SHARDS - 1, u32::MAX));
        each_page(conn, range, report, |_| ())?;
    }
    for shard in 0..CLICK_SHARDS {
        in_snapshot(conn, |conn| check_totals(conn, shard, report))?;
    }
    for group in 0..CLICK_GROUPS {
        let deltas = deltas::each(conn, group, |_| ());
        match deltas.and_then(|()| unfolded::check(conn, group)) {
            Ok(n_clicks) => report.clicks += n_clicks,
            Err(fault) => {
                report.add(format!("clicks not folded yet, group {group}: {fault}"), REPAIR);
            }
        }
    }
    for day in in_snapshot(conn, days::all)? {
        in_snapshot(conn, |conn| check_day(conn, day, report))?;
    }
    report.set_aside = n_aside(conn)?;
    Ok(())
}

fn n_aside(conn: &Connection) -> Outcome<u64> {
    let unfolded = deltas::n_aside(conn)? + unfolded::n_aside(conn)?;
    Ok(mend::n_aside(conn)? + days::n_aside(conn)? + unfolded)
}

/// A total is the sum of its days and of what imports brought along.
fn check_totals(conn: &Connection, shard: u64, report: &mut Report) -> Outcome<()> {
    let mut sums: HashMap<u64, u64> = HashMap::new();
    for kind in [PageKind::Day, PageKind::Brought] {
        let range = (page_id(kind, shard, 0), page_id(kind, shard, u32::MAX));
        each_page(conn, range, report, |entry| {
            *sums.entry(entry.link).or_default() += entry.clicks;
        })?;
    }
    match counts::read_page(conn, PageKind::Total, shard, 0) {
        Ok(totals) => {
            report.click_pages += u64::from(!totals.is_empty());
            let fits = totals.len() == sums.len()
                && totals.iter().all(|entry| sums.get(&entry.link) == Some(&entry.clicks));
            if !fits {
                report.add(format!("the totals of shard {shard} are not its sums"), REPAIR);
            }
        }
        Err(fault) => report.add(format!("totals of shard {shard}: {fault}"), REPAIR),
    }
    Ok(())
}

fn each_page(
    conn: &Connection,
    range: (i64, i64),
    report: &mut Report,
    mut look: impl FnMut(pages::Entry),
) -> Outcome<()> {
    let mut statement =
        conn.prepare_cached("SELECT id, body FROM click_pages WHERE id BETWEEN ?1 AND ?2")?;
    let mut found = statement.query(range)?;
    while let Some(row) = found.next()? {
        let id: i64 = row.get(0)?;
        let Some((kind, shard, bucket)) = parse_page_id(id) else {
            continue;
        };
        let body = row.get_ref(1)?.as_blob().map_err(|_| pages::damaged())?;
        match pages::decode(kind, id, body) {
            Ok(entries) => {
                report.click_pages += 1;
                entries.into_iter().for_each(&mut look);
            }
            Err(fault) => {
                report.add(format!("{kind:?} page {bucket} of shard {shard}: {fault}"), REPAIR);
            }
        }
    }
    Ok(())
}

fn check_day(conn: &Connection, day: u32, report: &mut Report) -> Outcome<()> {
    for place in days::places_with_something(conn, day)? {
        let mark = match Mark::read(conn, place) {
            Ok(mark) => mark,
            Err(fault) => {
                report.add(fault.to_string(), REPAIR);
                continue;
            }
        };
        let told = look_at(conn, place, &mark)?;
        let Place { day, shard } = place;
        let name = format!("shard {shard} on day {day}");
        for id in &told.spoilt {
            let chunk = days::sequence_of(*id);
            report.add(format!("clicks of {name}, chunk {chunk}, do not parse"), REPAIR);
        }
        if let Some(fault) = &told.page {
            report.add(format!("the sums of {name}: {fault}"), REPAIR);
        }
        report.click_pages += u64::from(told.has_page);
        report.clicks += told.n_clicks;
        if !told.fits(&mark) {
            report.add(format!("the mark of {name} does not fit its clicks"), REPAIR);
        }
        // A damaged page of counts is named with the others.
        if let Ok(counted) = counts::read_page(conn, PageKind::Day, shard, day)
            && !told.missing(&counted).is_empty()
        {
            report.add(format!("the counts of {name} lack some of its clicks"), REPAIR);
        }
    }
    Ok(())
}

impl Found {
    /// Whether the mark tells the same.
    pub(super) fn fits(&self, mark: &Mark) -> bool {
        self.pending == mark.pending
            && self.next_seq <= mark.next_seq
            && mark.folded_seq <= mark.next_seq
            && (mark.folded == 0 || self.has_page || self.page.is_some())
    }

    /// Clicks of people that the counts of the day lack, by link.
    pub(super) fn missing(&self, counted: &[Entry]) -> Vec<Entry> {
        let lack = |(&link, &people): (&u64, &u64)| {
            let at = counted.binary_search_by_key(&link, |entry| entry.link);
            let clicks = people.saturating_sub(at.map_or(0, |at| counted[at].clicks));
            (clicks > 0).then_some(Entry { link, clicks, last_at: 0 })
        };
        let mut missing: Vec<Entry> = self.people.iter().filter_map(lack).collect();
        missing.sort_unstable_by_key(|entry| entry.link);
        missing
    }

    fn count(&mut self, chunk: &Chunk, behind: bool) {
        let surplus: u64 = chunk.surplus.iter().map(|row| row.stats.counts().sum()).sum();
        self.in_chunks += chunk.clicks.len() as u64 + surplus;
        if !behind {
            return;
        }
        for click in chunk.clicks.iter().filter(|click| !click.is_bot()) {
            *self.people.entry(click.link.0).or_default() += 1;
        }
        for row in &chunk.surplus {
            *self.people.entry(row.link.0).or_default() += row.stats.counts().people;
        }
    }
}

/// Reads everything of a place.
pub(super) fn look_at(conn: &Connection, place: Place, mark: &Mark) -> Outcome<Found> {
    let mut told = Found::default();
    let mut outlines = outline::of_place(conn, place)?.into_iter();
    days::each_chunk(conn, place, 0, |id, n_clicks, body| {
        let seq = days::sequence_of(id);
        let behind = seq >= mark.folded_seq;
        told.next_seq = seq + 1;
        told.pending += if behind { n_clicks } else { 0 };
        let outline = outlines.next();
        match chunks::decode(id, body) {
            Ok(chunk) if outline.is_some_and(|outline| is_of(&chunk, place, &outline)) => {
                told.n_clicks += n_clicks;
                told.count(&chunk, behind);
            }
            _ => told.spoilt.push(id),
        }
        Ok(true)
    })?;
    if let Some(body) = days::page_body(conn, place)? {
        match DayPage::decode(place, &body) {
            Ok(page) if page.links.keys().all(|link| shard_of(*link) == place.shard) => {
                told.has_page = true;
                for (link, stats) in &page.links {
                    told.on_page += stats.counts().sum();
                    *told.people.entry(link.0).or_default() += stats.counts().people;
                }
            }
            Ok(_) => told.page = Some(Fault::corrupt("they are of links of another shard")),
            Err(fault) => told.page = Some(fault),
        }
    }
    Ok(told)
}

/// Whether a chunk holds what its place and its outline say.
pub(super) fn is_of(chunk: &Chunk, place: Place, outline: &Outline) -> bool {
    let fits = |link: Id, day| shard_of(link) == place.shard && day == place.day;
    let order = |click: &CountedClick| (click.link, click.at);
    (chunk.clicks.len() + chunk.surplus.len()) as u64 == outline.n_clicks
        && chunk.clicks.is_sorted_by_key(order)
        && chunk.clicks.iter().all(|click| fits(click.link, day_of(click.at)))
        && chunk.clicks.iter().all(|click| outline.has(click.at))
        && chunk.surplus.iter().all(|row| fits(row.link, row.minute / 1_440))
}
