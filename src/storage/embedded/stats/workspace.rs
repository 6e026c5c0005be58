//! Sums of all links of a workspace, or of some of them.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::ops::Range;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::members::{Choice, Members};
use super::rollup::Rollup;
use super::shelf::{Cover, Leaves, Made, Shape, Shelf};
use super::slices::part_of;
use super::{Span, each_hour, is_damage, known_days, tell_damaged_page};
use crate::domain::counted::{CountedClick, Surplus};
use crate::domain::day::{Counts, DayStats, Dimension, Parts, Row, day_of, start_of};
use crate::domain::id::Id;
use crate::domain::stats::{LinkCounts, RangeStats};
use crate::domain::words::{Lexicon, Translation, Word};
use crate::storage::StorageErrorKind;
use crate::storage::chunk::clicks::{self as chunks, Chunk};
use crate::storage::embedded::clicks::read_page;
use crate::storage::embedded::days::{self, DayPage, Mark, Place, has_all_chunks, places};
use crate::storage::embedded::epochs::Epoch;
use crate::storage::embedded::fault::{Fault, Outcome, or_damaged};
use crate::storage::embedded::pages::{PageKind, damaged, page_id};
use crate::storage::embedded::schema::{CLICK_GROUPS, CLICK_SHARDS};
use crate::storage::embedded::unfolded;
use crate::storage::embedded::upkeep::today;

/// Clicks by link and version.
type ByLink = HashMap<(Id, u32), Counts, foldhash::fast::RandomState>;

/// Longest that one question about a workspace may take.
const QUESTION_MAX: Duration = Duration::from_secs(20);

/// Sums of a day, in the making.
#[derive(Default)]
pub(super) struct DaySum {
    hours: DayStats,
    /// What is not in `rows` and `links` because it was kept.
    base_rows: Vec<Row>,
    base_links: Vec<LinkCounts>,
    rows: HashMap<(Dimension, Word), Counts, foldhash::fast::RandomState>,
    links: ByLink,
}

/// What all steps of one question use.
struct Work<'a> {
    conn: &'a Connection,
    members: &'a Members,
    lexicon: Lexicon,
}

/// The sums, and those of days that are worth to be kept.
pub(super) fn days(
    conn: &Connection,
    choice: &Choice,
    span: Span,
) -> Outcome<(RangeStats, Vec<Leaves>)> {
    let members = choice.members(conn)?;
    let mut work = Work { conn, members: &members, lexicon: Lexicon::default() };
    let mut shelf = Shelf::new(conn, choice, newest_day(conn)?, false)?;
    let mut sums = BTreeMap::new();
    let began = Instant::now();
    for day in known_days(conn, 0..CLICK_SHARDS, span)? {
        if began.elapsed() > QUESTION_MAX {
            let text = format!("the question took longer than {QUESTION_MAX:?}");
            return Err(Fault::Batch { kind: StorageErrorKind::Unavailable, text });
        }
        sums.insert(day, work.day(&mut shelf, day, span)?);
    }
    for group in 0..CLICK_GROUPS {
        for chunk in unfolded::chunks(conn, group, None)? {
            add_chunk(&mut sums, &chunk, &members, span, &mut work.lexicon);
        }
    }
    Ok((finish(sums, work.lexicon), shelf.leaves()))
}

/// Makes the sums of a day, or of a part of it, for whoever asks for them later.
pub(super) fn ahead(
    conn: &Connection,
    choice: &Choice,
    day: u32,
    shape: &Shape,
) -> Outcome<Vec<Leaves>> {
    let members = choice.members(conn)?;
    let mut work = Work { conn, members: &members, lexicon: Lexicon::default() };
    let mut shelf = Shelf::new(conn, choice, newest_day(conn)?, true)?;
    work.day(&mut shelf, day, shape.span(day))?;
    Ok(shelf.leaves())
}

impl Work<'_> {
    /// The sums of what is folded of a day, as far as the day lies in a span.
    fn day(&mut self, shelf: &mut Shelf<'_>, day: u32, span: Span) -> Outcome<DaySum> {
        let mut sum = DaySum::default();
        let Some(shape) = part_of(day, span) else {
            sum.add_part_of_day(self, day, span)?;
            return Ok(sum);
        };
        let epoch = Epoch::read(self.conn, day)?;
        let (members, lexicon) = (self.members, &mut self.lexicon);
        let found =
            shelf.find(&shape, (day, epoch), |found| Rollup::decode(found, members, lexicon))?;
        let found = match found {
            Some((rollup, seen)) if seen == epoch => return Ok(DaySum::of(rollup).0),
            found => found,
        };
        // One that is damaged is met below, if it matters.
        let marks = or_damaged(marks(self.conn, day))?;
        let n_added = match (found, &marks) {
            (Some((rollup, _)), Some(marks)) => {
                let next_seqs;
                (sum, next_seqs) = DaySum::of(rollup);
                Some(sum.add_later(self, marks, &next_seqs, span)?)
            }
            _ if shape.is_whole_day() => {
                sum.add_whole_day(self, day)?;
                None
            }
            // What is known by the hour only is told anew, as it is with every later click.
            _ if !sum.add_part_of_day(self, day, span)? => return Ok(sum),
            _ => None,
        };
        let Some(marks) = marks else { return Ok(sum) };
        let cover = Cover { census: self.members.census(), next_seqs: next_seqs(&marks) };
        let made = Made { day, epoch, n_added, is_last: span.to <= start_of(day + 1, 0) };
        shelf.leave(&shape, &made, |seal| sum.rollup(cover).encode(seal, self.lexicon.words()))?;
        Ok(sum)
    }
}

fn finish(sums: BTreeMap<u32, DaySum>, lexicon: Lexicon) -> RangeStats {
    let mut links = ByLink::default();
    let mut days = Vec::new();
    for (day, sum) in sums {
        for one in &sum.base_links {
            links.entry((one.link, one.version)).or_default().add(one.counts);
        }
        for (link, counts) in &sum.links {
            links.entry(*link).or_default().add(*counts);
        }
        let stats = sum.into_stats();
        if !stats.is_empty() {
            days.push((day, stats));
        }
    }
    RangeStats { words: lexicon.into_words(), days, links: in_order(&links) }
}

fn in_order(links: &ByLink) -> Vec<LinkCounts> {
    let counts =
        |(&(link, version), &counts): (&(Id, u32), &Counts)| LinkCounts { link, version, counts };
    let mut links: Vec<LinkCounts> = links.iter().map(counts).collect();
    links.sort_unstable_by_key(|one| (one.link, one.version));
    links
}

fn add_chunk(
    sums: &mut BTreeMap<u32, DaySum>,
    chunk: &Chunk,
    members: &Members,
    span: Span,
    lexicon: &mut Lexicon,
) {
    let (mut parts, mut translation) = (Parts::new(&chunk.words), Translation::new(&chunk.words));
    let same =
        |a: &CountedClick, b: &CountedClick| a.link == b.link && day_of(a.at) == day_of(b.at);
    for clicks in chunk.clicks.chunk_by(same) {
        if members.has(clicks[0].link) {
            let clicks: Vec<_> = clicks.iter().filter(|c| span.has(c.at)).copied().collect();
            if let Some(first) = clicks.first() {
                let mut stats = DayStats::default();
                stats.add(&clicks, &mut parts, lexicon);
                sums.entry(day_of(first.at)).or_default().add(first.link, &stats, |word| word);
            }
        }
    }
    let rows = chunk.surplus.iter();
    for row in rows.filter(|row: &&Surplus| members.has(row.link) && span.has_row(row)) {
        let sum = sums.entry(row.minute / 1_440).or_default();
        sum.add(row.link, &row.stats, |word| translation.word(word, lexicon));
    }
}

impl DaySum {
    /// What was kept, and by shard the first chunk that it does not cover.
    fn of(kept: Rollup) -> (Self, Vec<u32>) {
        let Rollup { cover, mut stats, links } = kept;
        let base_rows = mem::take(&mut stats.rows);
        let sum = Self { hours: stats, base_rows, base_links: links, ..Self::default() };
        (sum, cover.next_seqs)
    }

    /// Adds sums of a link whose words become those of the day by `word`.
    fn add(&mut self, link: Id, stats: &DayStats, mut word: impl FnMut(Word) -> Word) {
        self.hours.merge_hours(stats);
        for row in &stats.rows {
            if row.dimension == Dimension::Version {
                self.links.entry((link, row.value.0)).or_default().add(row.counts);
            } else {
                let value = (row.dimension, word(row.value));
                self.rows.entry(value).or_default().add(row.counts);
            }
        }
    }

    fn add_whole_day(&mut self, work: &mut Work<'_>, day: u32) -> Outcome<()> {
        let (conn, members) = (work.conn, work.members);
        let span = Span { from: start_of(day, 0), to: start_of(day + 1, 0) };
        let mut statement =
            conn.prepare_cached("SELECT id, body FROM click_days WHERE id >= ?1 AND id < ?2")?;
        let mut found = statement.query(places(day))?;
        while let Some(row) = found.next()? {
            let place = Place::of(row.get(0)?);
            if !members.are_in(place.shard) {
                continue;
            }
            let body = row.get_ref(1)?.as_blob().map_err(|_| damaged());
            match body.and_then(|body| DayPage::decode(place, body)) {
                Ok(page) => self.add_page(&page, members, &mut work.lexicon, |_| ()),
                Err(fault) => {
                    let mark = Mark::read(conn, place)?;
                    if !is_damage(&fault) || !has_all_chunks(conn, place, &mark)? {
                        return Err(fault);
                    }
                    // Its clicks tell the same; those behind the page follow below.
                    tell_damaged_page(place);
                    self.add_chunks(work, place, 0..mark.folded_seq, span)?;
                }
            }
        }
        for (place, mark) in marks(conn, day)? {
            if mark.pending == 0 || !members.are_in(place.shard) {
                continue;
            }
            self.add_chunks(work, place, mark.folded_seq..u32::MAX, span)?;
        }
        self.add_hours(conn, day, members, span)?;
        self.add_counts(conn, day, members)
    }

    /// Answers whether every single click was there to be told.
    fn add_part_of_day(&mut self, work: &mut Work<'_>, day: u32, span: Span) -> Outcome<bool> {
        let (conn, members) = (work.conn, work.members);
        let (first, end) = places(day);
        let mut complete = true;
        for place in (first..end).map(Place::of).filter(|place| members.are_in(place.shard)) {
            let mark = Mark::read(conn, place)?;
            if mark.next_seq == 0 {
                continue;
            }
            if has_all_chunks(conn, place, &mark)? {
                self.add_chunks(work, place, 0..u32::MAX, span)?;
                continue;
            }
            complete = false;
            if let Some(body) = days::page_body(conn, place)? {
                self.add_page(
                    &DayPage::decode(place, &body)?,
                    members,
                    &mut work.lexicon,
                    |stats| {
                        stats.restrict(day, span.from, span.to);
                    },
                );
            }
            self.add_chunks(work, place, mark.folded_seq..u32::MAX, span)?;
        }
        self.add_hours(conn, day, members, span)?;
        Ok(complete)
    }

    /// Adds what versions before single clicks were kept counted by hour.
    fn add_hours(
        &mut self,
        conn: &Connection,
        day: u32,
        members: &Members,
        span: Span,
    ) -> Outcome<()> {
        let (first, end) = (page_id(PageKind::Hour, 0, 0), page_id(PageKind::Day, 0, 0));
        let any: bool = conn
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM click_pages WHERE id >= ?1 AND id < ?2)")?
            .query_row((first, end), |row| row.get(0))?;
        let (first, end) = if any { places(day) } else { (0, 0) };
        for place in (first..end).map(Place::of).filter(|place| members.are_in(place.shard)) {
            each_hour(conn, place, |hour, entry| {
                let at = start_of(day, hour);
                if span.has(at) && members.has(Id(entry.link)) {
                    self.hours.add_plain(entry.clicks, at);
                }
            })?;
        }
        Ok(())
    }

    fn add_page(
        &mut self,
        page: &DayPage,
        members: &Members,
        lexicon: &mut Lexicon,
        cut: impl Fn(&mut DayStats),
    ) {
        let mut translation = Translation::new(page.lexicon.words());
        for (link, stats) in page.links.iter().filter(|(link, _)| members.has(**link)) {
            let mut stats = stats.clone();
            cut(&mut stats);
            self.add(*link, &stats, |word| translation.word(word, lexicon));
        }
    }

    fn add_chunks(
        &mut self,
        work: &mut Work<'_>,
        place: Place,
        seqs: Range<u32>,
        span: Span,
    ) -> Outcome<()> {
        let (conn, members) = (work.conn, work.members);
        let mut sums = BTreeMap::new();
        sums.insert(place.day, std::mem::take(self));
        days::each_chunk(conn, place, seqs.start, |id, _, body| {
            let wanted = days::sequence_of(id) < seqs.end;
            if wanted {
                let chunk = chunks::decode(id, body)?;
                add_chunk(&mut sums, &chunk, members, span, &mut work.lexicon);
            }
            Ok(wanted)
        })?;
        *self = sums.remove(&place.day).unwrap_or_default();
        Ok(())
    }

    /// Adds what the counts of the day tell beyond its sums.
    fn add_counts(&mut self, conn: &Connection, day: u32, members: &Members) -> Outcome<()> {
        let mut counted = 0_u64;
        for shard in (0..CLICK_SHARDS).filter(|shard| members.are_in(*shard)) {
            for entry in read_page(conn, PageKind::Day, shard, day)? {
                if members.has(Id(entry.link)) {
                    counted = counted.saturating_add(entry.clicks);
                }
            }
        }
        super::add_rest(&mut self.hours, day, counted);
        Ok(())
    }

    /// Adds the chunks that a roll-up does not cover; answers how many there were.
    fn add_later(
        &mut self,
        work: &mut Work<'_>,
        marks: &[(Place, Mark)],
        next_seqs: &[u32],
        span: Span,
    ) -> Outcome<u32> {
        let mut n_chunks = 0;
        for (place, mark) in marks {
            let covered = next_seqs[place.shard as usize];
            if covered < mark.next_seq && work.members.are_in(place.shard) {
                n_chunks += mark.next_seq - covered;
                self.add_chunks(work, *place, covered..u32::MAX, span)?;
            }
        }
        Ok(n_chunks)
    }

    fn rollup(&self, cover: Cover) -> Rollup {
        let mut all: ByLink = self.links.clone();
        for one in &self.base_links {
            all.entry((one.link, one.version)).or_default().add(one.counts);
        }
        let mut stats = self.hours.clone();
        stats.set_rows(self.rows());
        Rollup { cover, stats, links: in_order(&all) }
    }

    fn rows(&self) -> Vec<Row> {
        let row = |(&(dimension, value), &counts)| Row { dimension, value, counts };
        self.rows.iter().map(row).chain(self.base_rows.iter().copied()).collect()
    }

    fn into_stats(self) -> DayStats {
        let rows = self.rows();
        let mut stats = self.hours;
        stats.set_rows(rows);
        stats
    }
}

/// Places of a day and their marks.
pub(super) fn marks(conn: &Connection, day: u32) -> Outcome<Vec<(Place, Mark)>> {
    let mut statement = conn.prepare_cached(
        "SELECT folded, pending, folded_seq, next_seq, checksum, id FROM click_marks
         WHERE id >= ?1 AND id < ?2",
    )?;
    let mut found = statement.query(places(day))?;
    let mut marks = Vec::new();
    while let Some(row) = found.next()? {
        marks.push(Mark::of_row(row)?);
    }
    Ok(marks)
}

/// By shard, the chunk that comes next.
pub(super) fn next_seqs(marks: &[(Place, Mark)]) -> Vec<u32> {
    let mut next_seqs = vec![0; CLICK_SHARDS as usize];
    for (place, mark) in marks {
        next_seqs[place.shard as usize] = mark.next_seq;
    }
    next_seqs
}

/// The newest day that there are clicks of. A click of the future, from a clock that jumped, does
/// not make it later than today.
pub(super) fn newest_day(conn: &Connection) -> Outcome<u32> {
    let newest: Option<i64> =
        conn.prepare_cached("SELECT max(id) FROM click_marks")?.query_row([], |row| row.get(0))?;
    Ok(newest.map_or(0, |id| Place::of(id).day).min(today()))
}
