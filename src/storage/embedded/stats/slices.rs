//! Counts and visitors of slices of a day, for buckets that are no whole hours.
//!
//! Layout of a body: CRC-32 of key and rest, what it covers, the number of slices; per slice
//! counts, scans, and the visitors among people and bots.

use super::Span;
use super::members::Members;
use super::shelf::{Cover, DAY_MINUTES, Found, Kind, Shape};
use crate::domain::click::ClickFlags;
use crate::domain::counted::{CountedClick, Surplus};
use crate::domain::day::{Counts, start_of};
use crate::domain::sketch::Sketch;
use crate::domain::stats::BucketStats;
use crate::domain::time::Timestamp;
use crate::storage::chunk::clicks::Chunk;
use crate::storage::chunk::sums::{put_counts, put_sketch, read_counts, read_sketch};
use crate::storage::embedded::fault::Outcome;
use crate::storage::embedded::pages::{Reader, damaged, put, seal_at};

const MINUTE_MS: i64 = 60_000;
/// Local days and hours begin at multiples of so many minutes, UTC. What is cut elsewhere is asked
/// once, and would only push out what is asked again.
const ZONE_MINUTES: u16 = 15;

/// A day, cut.
pub(super) struct Slices {
    /// Where each slice begins, and where the last one ends.
    pub(super) edges: Vec<Timestamp>,
    slices: Vec<Slice>,
}

#[derive(Clone, Default)]
struct Slice {
    counts: Counts,
    qr_scans: u64,
    people: Sketch,
    bots: Sketch,
}

impl Slices {
    /// Those of a whole day, cut at these of the given times that lie in it.
    pub(super) fn of_day(day: u32, cuts: &[Timestamp]) -> Self {
        // Clicks before 1970 are of its first day.
        let start = if day == 0 { Timestamp(i64::MIN) } else { start_of(day, 0) };
        let end = start_of(day + 1, 0);
        let within = |at: &&Timestamp| (start..end).contains(*at);
        let mut edges = vec![start, end];
        edges.extend(cuts.iter().filter(within));
        edges.sort_unstable();
        edges.dedup();
        Self::cut(edges)
    }

    pub(super) fn of_shape(day: u32, shape: &Shape) -> Self {
        let edge = |cut: &u16| start_of(day, 0).plus_millis(i64::from(*cut) * MINUTE_MS);
        Self::cut(shape.cuts.iter().map(edge).collect())
    }

    fn cut(edges: Vec<Timestamp>) -> Self {
        let slices = vec![Slice::default(); edges.len() - 1];
        Self { edges, slices }
    }

    pub(super) fn clear(&mut self) {
        self.slices.fill(Slice::default());
    }

    /// How the day is cut, if that is a way in which others will ask too.
    pub(super) fn shape(&self, day: u32) -> Option<Shape> {
        let minute = |at: &Timestamp| minute_of(day, *at);
        let cuts: Vec<u16> = self.edges.iter().map(minute).collect::<Option<_>>()?;
        let by_minute = cuts.len() == usize::from(DAY_MINUTES) + 1;
        let usual = by_minute || cuts.iter().all(|cut| cut.is_multiple_of(ZONE_MINUTES));
        usual.then_some(Shape { kind: Kind::Slices, cuts })
    }

    /// Adds a click of the day.
    pub(super) fn add(&mut self, click: &CountedClick) {
        let Some(slice) = self.at(click.at) else { return };
        let bot = click.is_bot();
        slice.counts.add(Counts::one(bot));
        slice.qr_scans += u64::from(!bot && click.flags.has(ClickFlags::QR));
        if click.visitor != 0 {
            if bot { &mut slice.bots } else { &mut slice.people }.insert(click.visitor);
        }
    }

    /// Adds a row of the day.
    pub(super) fn add_row(&mut self, row: &Surplus) {
        let Some(slice) = self.at(Timestamp(i64::from(row.minute) * MINUTE_MS)) else { return };
        slice.counts.add(row.stats.counts());
        for hour in &row.stats.hours {
            slice.qr_scans += hour.qr_scans;
            slice.people.merge(&hour.people);
            slice.bots.merge(&hour.bots);
        }
    }

    pub(super) fn add_chunk(&mut self, chunk: &Chunk, members: &Members) {
        chunk
            .clicks
            .iter()
            .filter(|click| members.has(click.link))
            .for_each(|click| self.add(click));
        chunk.surplus.iter().filter(|row| members.has(row.link)).for_each(|row| self.add_row(row));
    }

    /// What each slice tells, and where it begins.
    pub(super) fn told(&self) -> impl Iterator<Item = (Timestamp, BucketStats)> {
        self.edges.iter().zip(&self.slices).map(|(start, slice)| {
            let Slice { counts, qr_scans, people, bots } = slice;
            let visitors = Counts { people: people.estimate(), bots: bots.estimate() };
            (*start, BucketStats { counts: *counts, qr_scans: *qr_scans, visitors })
        })
    }

    fn at(&mut self, at: Timestamp) -> Option<&mut Slice> {
        let behind = self.edges.partition_point(|edge| *edge <= at);
        self.slices.get_mut(behind.checked_sub(1)?)
    }

    pub(super) fn encode(&self, seal: i64, cover: &Cover) -> Vec<u8> {
        let mut out = vec![0; 4];
        cover.put(&mut out);
        put(&mut out, self.slices.len() as u64);
        for slice in &self.slices {
            put_counts(&mut out, slice.counts);
            put(&mut out, slice.qr_scans);
            put_sketch(&mut out, &slice.people);
            put_sketch(&mut out, &slice.bots);
        }
        seal_at(seal, &mut out);
        out
    }

    /// Takes what was found of the same day and shape; answers what it covers. Nothing is taken of
    /// what is of other links.
    pub(super) fn fill(&mut self, found: &Found<'_>, members: &Members) -> Outcome<Option<Cover>> {
        let mut reader = Reader::open_at(found.seal, found.body)?;
        let cover = Cover::read(&mut reader)?;
        if !members.are_as_of(cover.census) {
            return Ok(None);
        }
        if reader.count(5)? != self.slices.len() {
            return Err(damaged());
        }
        let mut slices = Vec::with_capacity(self.slices.len());
        for _ in 0..self.slices.len() {
            slices.push(Slice {
                counts: read_counts(&mut reader)?,
                qr_scans: reader.number()?,
                people: read_sketch(&mut reader)?,
                bots: read_sketch(&mut reader)?,
            });
        }
        reader.finish()?;
        self.slices = slices;
        Ok(Some(cover))
    }
}

/// Minutes from the beginning of a day, its end included; `None` within a minute.
pub(super) fn minute_of(day: u32, at: Timestamp) -> Option<u16> {
    let millis = at.0.checked_sub(start_of(day, 0).0)?;
    let minute = u16::try_from(millis / MINUTE_MS).ok()?;
    (millis % MINUTE_MS == 0 && minute <= DAY_MINUTES).then_some(minute)
}

/// The shape of the part of a day that lies in a span, if it is one that others will ask for too.
pub(super) fn part_of(day: u32, span: Span) -> Option<Shape> {
    if day == 0 && !span.covers(day) {
        // Clicks before 1970 are of its first day.
        return None;
    }
    let from = minute_of(day, span.from.max(start_of(day, 0)))?;
    let to = minute_of(day, span.to.min(start_of(day + 1, 0)))?;
    let usual = from < to && [from, to].iter().all(|cut| cut.is_multiple_of(ZONE_MINUTES));
    usual.then(|| Shape { kind: Kind::Sums, cuts: vec![from, to] })
}
