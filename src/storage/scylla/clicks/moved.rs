//! Reads all clicks, to be moved: each table once, in the order in which the database has it.

use std::collections::HashMap;
use std::pin::Pin;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use scylla::DeserializeRow;

use super::super::moving::{ROWS_PER_PAGE, SCAN};
use super::fold::add_chunk;
use super::packed::seal_of;
use super::read::{ALL, DayRow, Flushed, Sums, Whole};
use super::{CqlClicks, Place};
use crate::domain::day::DayStats;
use crate::domain::id::Id;
use crate::domain::words::{Lexicon, Translation};
use crate::storage::chunk::clicks::decode;
use crate::storage::error::{Op, StorageResult};
use crate::storage::moving::Out;
use crate::storage::moving::records::{ClickDayRecord, ClickTotalRecord, ClicksRecord};
use crate::storage::scylla::run::damaged;

/// Links whose sums are read at once.
const LINKS: usize = 64;
/// Rows with single clicks that are read at once.
const CHUNKS_PER_PAGE: i32 = 100;

/// A row of `click_days` with its place in the table.
#[derive(DeserializeRow)]
struct TableRow {
    place: i64,
    link: i64,
    /// `None`: something of the link was erased, and nothing counted since.
    day: Option<i32>,
    node: Option<i32>,
    erased: Option<HashMap<i32, i64>>,
    newest: Option<i64>,
    since: Option<i64>,
    upto: Option<i64>,
    people: Option<i64>,
    bots: Option<i64>,
    last_at: Option<i64>,
    bare: Option<bool>,
}

/// Clicks that an import brought along: place in the table, link, how many, when last.
type ImportedRow = (i64, i64, Option<i64>, Option<i64>);
type ChunkRow = (i64, i32, i32, i64, i64, i32, i32, Vec<u8>);

/// Rows of one link, which come one after the other.
struct Groups<R> {
    rows: Pin<Box<dyn Stream<Item = StorageResult<R>> + Send>>,
    of: fn(&R) -> (i64, i64),
    next: Option<R>,
}

impl<R> Groups<R> {
    async fn new(
        rows: impl Stream<Item = StorageResult<R>> + Send + 'static,
        of: fn(&R) -> (i64, i64),
    ) -> StorageResult<Self> {
        let mut rows: Pin<Box<dyn Stream<Item = StorageResult<R>> + Send>> = Box::pin(rows);
        let next = rows.try_next().await?;
        Ok(Self { rows, of, next })
    }

    /// Which link comes next, as place in the table and id.
    fn next_link(&self) -> Option<(i64, i64)> {
        self.next.as_ref().map(self.of)
    }

    /// Its rows.
    async fn take(&mut self) -> StorageResult<Vec<R>> {
        let mut rows = Vec::new();
        let link = self.next_link();
        while self.next_link() == link {
            let Some(row) = self.next.take() else { break };
            rows.push(row);
            self.next = self.rows.try_next().await?;
        }
        Ok(rows)
    }
}

impl TableRow {
    /// `None`: nothing was counted.
    fn day_row(self) -> Option<DayRow> {
        Some(DayRow {
            day: self.day?,
            node: self.node?,
            erased: self.erased,
            newest: self.newest,
            since: self.since,
            upto: self.upto,
            people: self.people,
            bots: self.bots,
            last_at: self.last_at,
            bare: self.bare,
        })
    }
}

impl CqlClicks {
    /// Adds up what nodes flushed, which are all stopped.
    pub(in crate::storage::scylla) async fn settle_all(&self, op: Op) -> StorageResult<()> {
        let nodes: Vec<(i32, i64)> =
            self.cql.all(op, &self.cql.statements().clicks.nodes, ()).await?;
        for (node, _) in nodes.into_iter().filter(|(node, _)| *node >= 0) {
            let (links, audit) = (self.links.clone(), self.audit.clone());
            let clicks = self.cql.clicks_as(node, links, audit);
            while Box::pin(clicks.fold()).await? {}
        }
        Ok(())
    }

    async fn all_days(&self) -> StorageResult<Groups<TableRow>> {
        let statement = &self.cql.statements().moving.days;
        let rows = self.cql.stream::<TableRow>(SCAN, statement, ROWS_PER_PAGE).await?;
        Groups::new(rows, |row| (row.place, row.link)).await
    }

    pub(in crate::storage::scylla) async fn scan_days(&self, mut out: Out) -> StorageResult<()> {
        let mut groups = self.all_days().await?;
        while groups.next_link().is_some() {
            let mut links = Vec::new();
            while links.len() < LINKS
                && let Some((_, link)) = groups.next_link()
            {
                let rows = groups.take().await?;
                let rows: Vec<DayRow> = rows.into_iter().filter_map(TableRow::day_row).collect();
                links.push((Id(link.cast_unsigned()), rows));
            }
            let days = links.into_iter().map(|(link, rows)| self.days_of(link, rows));
            let mut days = stream::iter(days).buffered(LINKS);
            while let Some(records) = days.try_next().await? {
                for record in records {
                    out.send(SCAN, record).await?;
                }
            }
        }
        out.end(SCAN).await
    }

    /// All days of a link, those of several nodes together.
    async fn days_of(&self, link: Id, rows: Vec<DayRow>) -> StorageResult<Vec<ClickDayRecord>> {
        let with_sums = rows.iter().filter(|row| !row.is_bare()).map(DayRow::day);
        let mut sums = match (with_sums.clone().min(), with_sums.max()) {
            (Some(first), Some(last)) => self.sums(SCAN, link, first..last + 1).await?,
            _ => HashMap::new(),
        };
        let mut records = Vec::new();
        for nodes in rows.chunk_by(|a, b| a.day() == b.day()) {
            let day = (link, nodes[0].day());
            let (mut people, mut is_bare) = (0, false);
            let (mut stats, mut lexicon) = (DayStats::default(), Lexicon::default());
            for row in nodes {
                let place = row.place(link);
                let sums = sums.remove(&(row.day(), row.node()));
                let sums = sums.filter(|sums| sums.since >= row.erased());
                people += row.folded().people;
                is_bare |= row.is_bare();
                let lower = match &sums {
                    _ if row.is_bare() => row.folded().upto,
                    Some(sums) => sums.upto,
                    None => row.erased(),
                };
                let flushed = match row.is_open() || sums.is_none() {
                    true => self.flushed(SCAN, place, lower..ALL.end).await?,
                    false => Vec::new(),
                };
                let unfolded = flushed.iter().filter(|one| one.head.seq >= row.folded().upto);
                people += unfolded.map(|one| one.head.people).sum::<u64>();
                add_up(&mut stats, sums.filter(|_| !row.is_bare()), &flushed, &mut lexicon);
            }
            if is_bare || stats.is_empty() {
                records.extend((people > 0).then(|| ClickDayRecord::bare(day, people)));
            } else {
                records.push(ClickDayRecord::with_sums(day, &stats, lexicon.words()));
            }
        }
        Ok(records)
    }

    pub(in crate::storage::scylla) async fn scan_clicks(&self, mut out: Out) -> StorageResult<()> {
        let statements = &self.cql.statements().moving;
        let erased = self.erased_links().await?;
        let rows = self.cql.stream::<ChunkRow>(SCAN, &statements.chunks, CHUNKS_PER_PAGE).await?;
        let mut rows = std::pin::pin!(rows);
        let mut whole = (None, Whole::default());
        while let Some(row) = rows.try_next().await? {
            let (link, day, node, seq, segment, part, parts, body) = row;
            let place = Place { link: Id(link.cast_unsigned()), day: day.cast_unsigned(), node };
            if whole.0 != Some(place) {
                whole = (Some(place), Whole::default());
            }
            let from = erased.get(&link).and_then(|erased| erased.get(&node)).copied();
            if !whole.1.has((seq, segment), part, parts) || seq < from.unwrap_or(0) {
                continue;
            }
            let seal = seal_of(place, [seq, segment, part.into()]);
            let chunk = decode(seal, &body).map_err(|damage| damaged(SCAN, damage))?;
            let key = (place.link, place.day);
            for record in ClicksRecord::of(key, &chunk.words, &chunk.clicks, &chunk.surplus) {
                out.send(SCAN, record).await?;
            }
        }
        out.end(SCAN).await
    }

    /// Links of which something was erased: by node, the first flush that was not.
    async fn erased_links(&self) -> StorageResult<HashMap<i64, HashMap<i32, i64>>> {
        type Row = (i64, Option<HashMap<i32, i64>>);
        let statement = &self.cql.statements().moving.erased;
        let rows = self.cql.stream::<Row>(SCAN, statement, ROWS_PER_PAGE).await?;
        let erased =
            rows.try_filter_map(
                |(link, erased)| async move { Ok(erased.map(|erased| (link, erased))) },
            );
        erased.try_collect().await
    }

    pub(in crate::storage::scylla) async fn scan_totals(&self, mut out: Out) -> StorageResult<()> {
        let mut days = self.all_days().await?;
        let statement = &self.cql.statements().moving.imported;
        let rows = self.cql.stream::<ImportedRow>(SCAN, statement, ROWS_PER_PAGE).await?;
        let mut imported = Groups::new(rows, |row: &ImportedRow| (row.0, row.1)).await?;
        // Both tables have links in the same order.
        while let Some(next) = days.next_link().into_iter().chain(imported.next_link()).min() {
            let mut total = ClickTotalRecord { link: next.1, clicks: 0, brought: 0, last_at: None };
            if days.next_link() == Some(next) {
                let rows = days.take().await?;
                self.add_days(rows, &mut total).await?;
            }
            if imported.next_link() == Some(next) {
                for (_, _, clicks, last_at) in imported.take().await? {
                    total.brought += clicks.unwrap_or(0).cast_unsigned();
                    total.last_at = total.last_at.max(last_at);
                }
            }
            total.clicks += total.brought;
            if total.clicks > 0 {
                out.send(SCAN, total).await?;
            }
        }
        out.end(SCAN).await
    }

    async fn add_days(
        &self,
        rows: Vec<TableRow>,
        total: &mut ClickTotalRecord,
    ) -> StorageResult<()> {
        let link = Id(total.link.cast_unsigned());
        for row in rows.into_iter().filter_map(TableRow::day_row) {
            let folded = row.folded();
            total.clicks += folded.people;
            total.last_at = total.last_at.max(folded.last_at);
            if row.is_open() {
                for head in self.heads(SCAN, row.place(link), folded.upto..ALL.end).await? {
                    total.clicks += head.people;
                    total.last_at = total.last_at.max(head.last_at);
                }
            }
        }
        Ok(())
    }
}

fn add_up(stats: &mut DayStats, sums: Option<Sums>, flushed: &[Flushed], lexicon: &mut Lexicon) {
    if let Some(sums) = sums {
        stats.merge(&sums.stats, &mut Translation::new(&sums.words), lexicon);
    }
    for chunk in flushed.iter().flat_map(|one| &one.chunks) {
        add_chunk(stats, chunk, lexicon);
    }
}
