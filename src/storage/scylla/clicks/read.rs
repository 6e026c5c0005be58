//! Reads rows of clicks and of sums, for whoever adds them up.

use std::collections::HashMap;
use std::ops::Range;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use scylla::DeserializeRow;

use super::CqlClicks;
use super::packed::{decode_sums, seal_of};
use crate::domain::day::DayStats;
use crate::domain::id::Id;
use crate::domain::words::Words;
use crate::storage::chunk::clicks::{Chunk, decode};
use crate::storage::error::{Op, StorageResult};
use crate::storage::scylla::run::damaged;

/// All numbers of flushes.
pub(in crate::storage::scylla) const ALL: Range<i64> = 0..i64::MAX;
/// All days.
pub(in crate::storage::scylla) const EVER: Range<u32> = 0..i32::MAX as u32;
/// Days whose sums are in one partition, as a power of two.
const MONTH_BITS: u32 = 5;
/// Partitions of one link that are read at once.
const PARTITIONS: usize = 16;

/// What one node has of a link on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::storage::scylla) struct Place {
    pub(in crate::storage::scylla) link: Id,
    pub(in crate::storage::scylla) day: u32,
    pub(in crate::storage::scylla) node: i32,
}

/// A row of `click_days`.
#[derive(Clone, Debug, DeserializeRow)]
pub(in crate::storage::scylla) struct DayRow {
    pub(super) day: i32,
    pub(super) node: i32,
    pub(super) erased: Option<HashMap<i32, i64>>,
    pub(super) newest: Option<i64>,
    pub(super) since: Option<i64>,
    pub(super) upto: Option<i64>,
    pub(super) people: Option<i64>,
    pub(super) bots: Option<i64>,
    pub(super) last_at: Option<i64>,
    pub(super) bare: Option<bool>,
}

/// Which clicks a row adds up, and what they come to.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::storage::scylla) struct Folded {
    pub(in crate::storage::scylla) upto: i64,
    pub(in crate::storage::scylla) people: u64,
    pub(in crate::storage::scylla) bots: u64,
    pub(in crate::storage::scylla) last_at: Option<i64>,
}

/// A row of `click_sums`, unpacked.
pub(in crate::storage::scylla) struct Sums {
    pub(in crate::storage::scylla) since: i64,
    pub(in crate::storage::scylla) upto: i64,
    pub(in crate::storage::scylla) words: Words,
    pub(in crate::storage::scylla) stats: DayStats,
}

/// What a flush of a segment brought of a place, without the clicks.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage::scylla) struct Head {
    pub(in crate::storage::scylla) seq: i64,
    pub(in crate::storage::scylla) people: u64,
    pub(in crate::storage::scylla) bots: u64,
    pub(in crate::storage::scylla) last_at: Option<i64>,
}

/// The same with the clicks.
pub(in crate::storage::scylla) struct Flushed {
    pub(in crate::storage::scylla) head: Head,
    pub(in crate::storage::scylla) chunks: Vec<Chunk>,
}

/// Where single clicks are.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage::scylla) struct PartKey {
    pub(in crate::storage::scylla) place: Place,
    seq: i64,
    segment: i64,
    part: i32,
    /// Times of its first and last single click.
    pub(in crate::storage::scylla) first: i64,
    pub(in crate::storage::scylla) last: i64,
}

#[derive(DeserializeRow)]
struct HeadRow {
    seq: i64,
    segment: i64,
    part: i32,
    parts: i32,
    people: i64,
    bots: i64,
    last_at: Option<i64>,
    first_click: Option<i64>,
    last_click: Option<i64>,
}

#[derive(DeserializeRow)]
struct ChunkRow {
    seq: i64,
    segment: i64,
    part: i32,
    parts: i32,
    people: i64,
    bots: i64,
    last_at: Option<i64>,
    chunk: Vec<u8>,
}

impl DayRow {
    pub(in crate::storage::scylla) fn day(&self) -> u32 {
        self.day as u32
    }

    pub(in crate::storage::scylla) fn node(&self) -> i32 {
        self.node
    }

    pub(in crate::storage::scylla) fn place(&self, link: Id) -> Place {
        Place { link, day: self.day(), node: self.node }
    }

    /// The first number that was not erased.
    pub(in crate::storage::scylla) fn erased(&self) -> i64 {
        self.erased.as_ref().and_then(|erased| erased.get(&self.node)).copied().unwrap_or(0)
    }

    /// What was erased of each node.
    pub(super) fn all_erased(&self) -> HashMap<i32, i64> {
        self.erased.clone().unwrap_or_default()
    }

    /// What the row adds up; nothing of a link that was erased since.
    pub(in crate::storage::scylla) fn folded(&self) -> Folded {
        let erased = self.erased();
        match (self.since, self.upto) {
            (Some(since), Some(upto)) if since >= erased => Folded {
                upto,
                people: self.people.unwrap_or(0) as u64,
                bots: self.bots.unwrap_or(0) as u64,
                last_at: self.last_at,
            },
            _ => Folded { upto: erased, ..Folded::default() },
        }
    }

    /// The first number that the row adds up, or will.
    pub(super) fn since(&self) -> i64 {
        self.since.unwrap_or(0).max(self.erased())
    }

    /// Whether there may be clicks that the row does not add up.
    pub(in crate::storage::scylla) fn is_open(&self) -> bool {
        self.newest.is_some_and(|newest| newest >= self.folded().upto)
    }

    /// Whether nothing is kept of the day but its counts.
    pub(in crate::storage::scylla) fn is_bare(&self) -> bool {
        self.bare == Some(true) && self.folded().upto > self.erased()
    }
}

/// Notices parts that no first part tells of: of a flush that is not whole, or of an earlier try.
#[derive(Default)]
pub(super) struct Whole {
    unit: Option<(i64, i64)>,
    n_parts: i32,
}

impl Whole {
    pub(super) fn has(&mut self, unit: (i64, i64), part: i32, n_parts: i32) -> bool {
        if part == 0 {
            (self.unit, self.n_parts) = (Some(unit), n_parts);
        }
        self.unit == Some(unit) && part < self.n_parts
    }
}

impl CqlClicks {
    /// Days of a link, in order.
    pub(in crate::storage::scylla) async fn day_rows(
        &self,
        op: Op,
        link: Id,
        days: Range<u32>,
    ) -> StorageResult<Vec<DayRow>> {
        let values = (link.0 as i64, signed(days.start), signed(days.end));
        self.cql.all(op, &self.cql.statements().stats.days, values).await
    }

    pub(super) async fn day_row(&self, op: Op, place: Place) -> StorageResult<Option<DayRow>> {
        let rows = self.day_rows(op, place.link, place.day..place.day + 1).await?;
        Ok(rows.into_iter().find(|row| row.node == place.node))
    }

    /// Days of a kind, in order.
    pub(in crate::storage::scylla) async fn calendar(
        &self,
        op: Op,
        kind: i32,
        days: Range<u32>,
    ) -> StorageResult<Vec<u32>> {
        let values = (kind, signed(days.start), signed(days.end));
        let rows: Vec<(i32,)> =
            self.cql.all(op, &self.cql.statements().stats.calendar, values).await?;
        Ok(rows.into_iter().map(|(day,)| day as u32).collect())
    }

    /// Links in one part of the list of a day.
    pub(in crate::storage::scylla) async fn listed(
        &self,
        op: Op,
        day: u32,
        shard: i32,
    ) -> StorageResult<Vec<Id>> {
        let statement = &self.cql.statements().stats.listed;
        let rows: Vec<(i64,)> = self.cql.all(op, statement, (day as i32, shard)).await?;
        Ok(rows.into_iter().map(|(link,)| Id(link as u64)).collect())
    }

    /// What flushes with these numbers brought of a place, without the clicks.
    pub(in crate::storage::scylla) async fn heads(
        &self,
        op: Op,
        place: Place,
        seqs: Range<i64>,
    ) -> StorageResult<Vec<Head>> {
        let mut heads: Vec<Head> = Vec::new();
        for row in self.head_rows(op, place, seqs).await?.iter().filter(|row| row.part == 0) {
            heads.push(row.head());
        }
        Ok(heads)
    }

    /// Where the single clicks of a place are.
    pub(in crate::storage::scylla) async fn part_keys(
        &self,
        op: Op,
        place: Place,
        seqs: Range<i64>,
    ) -> StorageResult<Vec<PartKey>> {
        let mut whole = Whole::default();
        let rows = self.head_rows(op, place, seqs).await?;
        let keys = rows.iter().filter_map(|row| {
            let HeadRow { seq, segment, part, parts, .. } = *row;
            let (first, last) = (row.first_click?, row.last_click?);
            let key = PartKey { place, seq, segment, part, first, last };
            whole.has((seq, segment), part, parts).then_some(key)
        });
        Ok(keys.collect())
    }

    async fn head_rows(
        &self,
        op: Op,
        place: Place,
        seqs: Range<i64>,
    ) -> StorageResult<Vec<HeadRow>> {
        let Place { link, day, node } = place;
        let values = (link.0 as i64, day as i32, node, seqs.start, seqs.end);
        self.cql.all(op, &self.cql.statements().stats.heads, values).await
    }

    /// The single clicks at a key, and what they are sealed with.
    pub(in crate::storage::scylla) async fn part(
        &self,
        op: Op,
        key: &PartKey,
    ) -> StorageResult<Option<(i64, Vec<u8>)>> {
        let PartKey { place, seq, segment, part, .. } = *key;
        let Place { link, day, node } = place;
        let values = (link.0 as i64, day as i32, node, seq, segment, part);
        let row: Option<(Vec<u8>,)> =
            self.cql.one(op, &self.cql.statements().stats.chunk, values).await?;
        Ok(row.map(|(body,)| (seal_of(place, [seq, segment, part.into()]), body)))
    }

    /// What flushes with these numbers brought of a place.
    pub(in crate::storage::scylla) async fn flushed(
        &self,
        op: Op,
        place: Place,
        seqs: Range<i64>,
    ) -> StorageResult<Vec<Flushed>> {
        let Place { link, day, node } = place;
        let values = (link.0 as i64, day as i32, node, seqs.start, seqs.end);
        let rows: Vec<ChunkRow> =
            self.cql.all(op, &self.cql.statements().stats.chunks, values).await?;
        let (mut whole, mut units) = (Whole::default(), Vec::<Flushed>::new());
        for row in rows {
            let ChunkRow { seq, segment, part, parts, .. } = row;
            if !whole.has((seq, segment), part, parts) {
                continue;
            }
            let seal = seal_of(place, [seq, segment, part.into()]);
            let chunk = decode(seal, &row.chunk).map_err(|damage| damaged(op, damage))?;
            if part == 0 {
                units.push(Flushed { head: row.head(), chunks: vec![chunk] });
            } else if let Some(unit) = units.last_mut() {
                unit.chunks.push(chunk);
            }
        }
        Ok(units)
    }

    /// Sums of days of a link, by day and node.
    pub(in crate::storage::scylla) async fn sums(
        &self,
        op: Op,
        link: Id,
        days: Range<u32>,
    ) -> StorageResult<HashMap<(u32, i32), Sums>> {
        let months = days.start >> MONTH_BITS..((days.end.max(1) - 1) >> MONTH_BITS) + 1;
        let months = stream::iter(months).map(|month| {
            let (from, to) = (days.start, days.end);
            async move {
                let statement = &self.cql.statements().stats.sums;
                let values = (link.0 as i64, month as i32, from as i32, to as i32);
                let rows: Vec<(i32, i32, i64, i64, Vec<u8>)> =
                    self.cql.all(op, statement, values).await?;
                Ok(rows)
            }
        });
        let rows: Vec<Vec<_>> = months.buffered(PARTITIONS).try_collect().await?;
        let mut sums = HashMap::new();
        for (day, node, since, upto, body) in rows.into_iter().flatten() {
            let place = Place { link, day: day as u32, node };
            let (words, stats) = decode_sums(seal_of(place, [since, upto, 0]), &body)
                .map_err(|damage| damaged(op, damage))?;
            sums.insert((place.day, node), Sums { since, upto, words, stats });
        }
        Ok(sums)
    }
}

impl HeadRow {
    fn head(&self) -> Head {
        let Self { seq, people, bots, last_at, .. } = *self;
        Head { seq, people: people as u64, bots: bots as u64, last_at }
    }
}

impl ChunkRow {
    fn head(&self) -> Head {
        let Self { seq, people, bots, last_at, .. } = *self;
        Head { seq, people: people as u64, bots: bots as u64, last_at }
    }
}

/// The month that a day is in.
pub(super) const fn month_of(day: u32) -> i32 {
    (day >> MONTH_BITS) as i32
}

fn signed(day: u32) -> i32 {
    i32::try_from(day).unwrap_or(i32::MAX)
}
