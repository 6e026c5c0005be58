//! Sums of one link.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{Span, add_rest, count_on_page, each_hour, is_damage, known_days, tell_damaged_page};
use crate::domain::counted::{CountedClick, Surplus};
use crate::domain::day::{DayStats, Parts, day_of, start_of};
use crate::domain::id::Id;
use crate::domain::stats::RangeStats;
use crate::domain::words::{Lexicon, Translation};
use crate::storage::chunk::clicks::{Chunk, decode_link};
use crate::storage::embedded::days::{self, Mark, Place, has_all_chunks};
use crate::storage::embedded::fault::Outcome;
use crate::storage::embedded::pages::{PageKind, group_of, shard_of};
use crate::storage::embedded::unfolded;

/// Sums by day, in the making.
struct Sums {
    link: Id,
    lexicon: Lexicon,
    days: BTreeMap<u32, DayStats>,
}

pub(super) fn days(conn: &Connection, link: Id, span: Span) -> Outcome<RangeStats> {
    let shard = shard_of(link);
    let mut sums = Sums { link, lexicon: Lexicon::default(), days: BTreeMap::new() };
    // What is not folded is in no count of a day either, so it is added last.
    for day in known_days(conn, shard..shard + 1, span)? {
        let place = Place { day, shard };
        if span.covers(day) {
            sums.add_whole_day(conn, place, link)?;
        } else {
            sums.add_part_of_day(conn, place, link, span)?;
        }
    }
    for chunk in unfolded::chunks(conn, group_of(shard), Some(link))? {
        sums.add(&chunk, span);
    }
    sums.days.retain(|_, stats| !stats.is_empty());
    let Sums { lexicon, days, .. } = sums;
    Ok(RangeStats {
        words: lexicon.into_words(),
        days: days.into_iter().collect(),
        links: Vec::new(),
    })
}

impl Sums {
    fn add_whole_day(&mut self, conn: &Connection, place: Place, link: Id) -> Outcome<()> {
        let everything = Span { from: start_of(place.day, 0), to: start_of(place.day + 1, 0) };
        let mark = Mark::read(conn, place)?;
        if mark.next_seq > 0 {
            match self.add_page(conn, place, link, |_| ()) {
                // Its clicks tell the same, as long as all of them are there.
                Err(fault) if is_damage(&fault) && has_all_chunks(conn, place, &mark)? => {
                    tell_damaged_page(place);
                    self.add_chunks(conn, place, 0, everything)?;
                }
                done => {
                    done?;
                    self.add_chunks(conn, place, mark.folded_seq, everything)?;
                }
            }
        }
        self.add_hours(conn, place, link, everything)?;
        let counted = count_on_page(conn, PageKind::Day, place.shard, place.day, link)?;
        if counted > 0 {
            add_rest(self.days.entry(place.day).or_default(), place.day, counted);
        }
        Ok(())
    }

    fn add_part_of_day(
        &mut self,
        conn: &Connection,
        place: Place,
        link: Id,
        span: Span,
    ) -> Outcome<()> {
        let mark = Mark::read(conn, place)?;
        if has_all_chunks(conn, place, &mark)? {
            self.add_chunks(conn, place, 0, span)?;
        } else {
            self.add_page(conn, place, link, |stats| {
                stats.restrict(place.day, span.from, span.to);
            })?;
            self.add_chunks(conn, place, mark.folded_seq, span)?;
        }
        self.add_hours(conn, place, link, span)?;
        // Nothing but the count of the day is left.
        if mark.next_seq == 0 && span.has(super::noon(place.day)) {
            let counted = count_on_page(conn, PageKind::Day, place.shard, place.day, link)?;
            if counted > 0 {
                add_rest(self.days.entry(place.day).or_default(), place.day, counted);
            }
        }
        Ok(())
    }

    fn add_page(
        &mut self,
        conn: &Connection,
        place: Place,
        link: Id,
        cut: impl FnOnce(&mut DayStats),
    ) -> Outcome<()> {
        let Some(body) = days::page_body(conn, place)? else { return Ok(()) };
        if let Some((words, mut stats)) = days::link_on_page(place, &body, link)? {
            cut(&mut stats);
            let day = self.days.entry(place.day).or_default();
            day.merge(&stats, &mut Translation::new(&words), &mut self.lexicon);
        }
        Ok(())
    }

    fn add_chunks(&mut self, conn: &Connection, place: Place, seq: u32, span: Span) -> Outcome<()> {
        let link = self.link;
        days::each_chunk(conn, place, seq, |id, _, body| {
            if let Some(chunk) = decode_link(id, body, link)? {
                self.add(&chunk, span);
            }
            Ok(true)
        })
    }

    fn add(&mut self, chunk: &Chunk, span: Span) {
        let mut parts = Parts::new(&chunk.words);
        let clicks: Vec<CountedClick> =
            chunk.clicks.iter().filter(|click| span.has(click.at)).copied().collect();
        for clicks in clicks.chunk_by(|a, b| day_of(a.at) == day_of(b.at)) {
            let day = self.days.entry(day_of(clicks[0].at)).or_default();
            day.add(clicks, &mut parts, &mut self.lexicon);
        }
        let mut translation = Translation::new(&chunk.words);
        for row in chunk.surplus.iter().filter(|row: &&Surplus| span.has_row(row)) {
            let day = self.days.entry(row.minute / 1_440).or_default();
            day.merge(&row.stats, &mut translation, &mut self.lexicon);
        }
    }

    /// Adds what versions before single clicks were kept counted by hour.
    fn add_hours(&mut self, conn: &Connection, place: Place, link: Id, span: Span) -> Outcome<()> {
        let stats = self.days.entry(place.day).or_default();
        each_hour(conn, place, |hour, entry| {
            let at = start_of(place.day, hour);
            if entry.link == link.0 && span.has(at) {
                stats.add_plain(entry.clicks, at);
            }
        })
    }
}
