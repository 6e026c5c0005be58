//! Adds up what the node's own flushes brought. See [`super`] for why no click is lost or counted
//! twice, wherever this ends.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::packed::{Pair, encode_sums, seal_of};
use super::read::{DayRow, Flushed, Sums, month_of};
use super::state::FlushKey;
use super::{CqlClicks, Place};
use crate::domain::day::{DayStats, Parts};
use crate::domain::words::{Lexicon, Translation};
use crate::storage::chunk::clicks::Chunk;
use crate::storage::error::{Op, StorageResult};

const OP: Op = "fold_clicks";
/// Flushes that are folded in one step.
const FLUSHES: usize = 64;
/// Days of links that are added up at once.
const PLACES: usize = 64;

/// What is to be folded.
struct Plan {
    flushes: Vec<FlushKey>,
    /// Numbers below this one are folded,
    upto: i64,
    /// but of these days of links only numbers below those of flushes that are not whole.
    limits: BTreeMap<Pair, i64>,
}

impl CqlClicks {
    /// Folds some flushes; true when others are left.
    pub(super) async fn fold(&self) -> StorageResult<bool> {
        let Ok(_alone) = self.folding.try_lock() else { return Ok(false) };
        let Some(plan) = self.plan().await? else { return Ok(false) };
        let mut pairs = BTreeSet::new();
        for flush in &plan.flushes {
            pairs.extend(self.touched(OP, self.node, *flush).await?.unwrap_or_default());
        }
        let places = pairs.into_iter().map(|pair| {
            let upto = plan.limits.get(&pair).copied().unwrap_or(plan.upto);
            (self.own(pair), upto)
        });
        stream::iter(places)
            .map(Ok)
            .try_for_each_concurrent(PLACES, |(place, upto)| self.fold_place(place, upto))
            .await?;
        let forget = &self.cql.statements().clicks.forget_flush;
        for (seq, segment) in &plan.flushes {
            self.cql.put(OP, forget, (self.node, *seq, segment.cast_signed())).await?;
        }
        let mut state = self.state.lock().await;
        plan.flushes.iter().for_each(|flush| {
            state.whole.remove(flush);
        });
        Ok(!state.whole.is_empty())
    }

    /// What can be folded now. Flushes that begin later have numbers above.
    async fn plan(&self) -> StorageResult<Option<Plan>> {
        let mut state = self.loaded(OP).await?;
        let flushes: Vec<FlushKey> = state.whole.iter().take(FLUSHES).copied().collect();
        if flushes.is_empty() {
            return Ok(None);
        }
        let upto = state.pass_noted();
        let raise = &self.cql.statements().clicks.raise_node;
        self.cql.put(OP, raise, (self.node, upto)).await?;
        let mut limits = BTreeMap::new();
        for ((seq, _), touched) in &state.pending {
            for pair in touched.iter() {
                let limit = limits.entry(*pair).or_insert(*seq);
                *limit = (*limit).min(*seq);
            }
        }
        Ok(Some(Plan { flushes, upto, limits }))
    }

    async fn fold_place(&self, place: Place, upto: i64) -> StorageResult<()> {
        let Some(row) = self.day_row(OP, place).await? else { return Ok(()) };
        let counted = row.folded().upto..upto;
        let sums = if row.is_bare() { None } else { self.sums_of(place, &row).await? };
        let summed = match &sums {
            _ if row.is_bare() => upto..upto,
            Some(sums) => sums.upto..upto,
            None => row.erased()..upto,
        };
        let from = counted.start.min(summed.start);
        if from >= upto {
            return Ok(());
        }
        let flushed = self.flushed(OP, place, from..upto).await?;
        // The sums first: what is in the counts is always in these, too.
        let is_empty = sums.is_none() && flushed.is_empty();
        if !summed.is_empty() && !is_empty {
            let since = sums.as_ref().map_or(row.erased(), |sums| sums.since);
            let news = flushed.iter().filter(|one| summed.contains(&one.head.seq));
            let body = add_up(place, sums, news, since..upto);
            let Place { link, day, node } = place;
            let values = (link.0 as i64, month_of(day), day as i32, node, since, upto, body);
            self.cql.put(OP, &self.cql.statements().clicks.put_sums, values).await?;
        }
        if !counted.is_empty() {
            self.put_counts(place, &row, &flushed, counted).await?;
        }
        Ok(())
    }

    async fn sums_of(&self, place: Place, row: &DayRow) -> StorageResult<Option<Sums>> {
        let Place { link, day, node } = place;
        let mut sums = self.sums(OP, link, day..day + 1).await?;
        Ok(sums.remove(&(day, node)).filter(|sums| sums.since >= row.erased()))
    }

    async fn put_counts(
        &self,
        place: Place,
        row: &DayRow,
        flushed: &[Flushed],
        seqs: Range<i64>,
    ) -> StorageResult<()> {
        let mut sum = row.folded();
        for head in flushed.iter().map(|one| one.head).filter(|head| seqs.contains(&head.seq)) {
            sum.people += head.people;
            sum.bots += head.bots;
            sum.last_at = sum.last_at.max(head.last_at);
        }
        let Place { link, day, node } = place;
        let (since, people, bots) = (row.since(), sum.people as i64, sum.bots as i64);
        let values = (link.0 as i64, day as i32, node, since, seqs.end, people, bots, sum.last_at);
        self.cql.put(OP, &self.cql.statements().clicks.put_counts, values).await
    }
}

/// Sums with what was flushed since.
fn add_up<'a>(
    place: Place,
    sums: Option<Sums>,
    flushed: impl Iterator<Item = &'a Flushed>,
    seqs: Range<i64>,
) -> Vec<u8> {
    let (mut stats, mut lexicon) = match sums {
        Some(sums) => (sums.stats, Lexicon::of(sums.words)),
        None => (DayStats::default(), Lexicon::default()),
    };
    for chunk in flushed.flat_map(|one| &one.chunks) {
        add_chunk(&mut stats, chunk, &mut lexicon);
    }
    encode_sums(seal_of(place, [seqs.start, seqs.end, 0]), &stats, lexicon.words())
}

pub(super) fn add_chunk(stats: &mut DayStats, chunk: &Chunk, lexicon: &mut Lexicon) {
    stats.add(&chunk.clicks, &mut Parts::new(&chunk.words), lexicon);
    let mut translation = Translation::new(&chunk.words);
    for row in &chunk.surplus {
        stats.merge(&row.stats, &mut translation, lexicon);
    }
}
