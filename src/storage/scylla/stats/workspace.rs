//! Sums of the links of a workspace that were clicked on the days asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::domain::code::DomainId;
use crate::domain::day::{Counts, DayStats, Dimension, Row};
use crate::domain::id::Id;
use crate::domain::link::Link;
use crate::domain::stats::{LinkCounts, RangeStats};
use crate::domain::words::{Lexicon, Translation};
use crate::storage::chunk::span::Span;
use crate::storage::error::{Op, StorageResult};
use crate::storage::scylla::clicks::{CqlClicks, EVER, LISTED, SHARDS};

const OP: Op = "stats_days";
/// Lists that are read at once.
const LISTS: usize = 32;
/// Links that are looked up in one call.
const LINKS_PER_CALL: usize = 500;
/// Links that are added up at once.
const LINKS: usize = 32;

/// Which links.
pub(super) struct Choice {
    pub(super) workspace: Id,
    pub(super) tag: Option<String>,
    pub(super) domain: Option<DomainId>,
}

impl Choice {
    fn has(&self, link: &Link) -> bool {
        link.workspace == self.workspace
            && self.tag.as_ref().is_none_or(|tag| link.tags.contains(tag))
            && self.domain.is_none_or(|domain| link.domain == domain)
    }
}

/// Sums in the making.
#[derive(Default)]
struct Whole {
    lexicon: Lexicon,
    days: BTreeMap<u32, DayStats>,
    links: BTreeMap<(Id, u32), Counts>,
}

impl CqlClicks {
    pub(super) async fn days_of_workspace(
        &self,
        choice: &Choice,
        span: Span,
    ) -> StorageResult<RangeStats> {
        let links = self.clicked(choice, span.days()).await?;
        let stats = stream::iter(links)
            .map(|link| async move { Ok((link, self.days_of_link(link, span).await?)) });
        let mut whole = Whole::default();
        // In order, so that the same question has the same answer.
        let mut stats = stats.buffered(LINKS);
        while let Some((link, stats)) = stats.try_next().await? {
            whole.add(link, stats);
        }
        let counts = |((link, version), counts)| LinkCounts { link, version, counts };
        Ok(RangeStats {
            words: whole.lexicon.into_words(),
            days: whole.days.into_iter().collect(),
            links: whole.links.into_iter().map(counts).collect(),
        })
    }

    /// Links of a workspace that may have been clicked on these days, by id.
    pub(super) async fn clicked(
        &self,
        choice: &Choice,
        days: Range<u32>,
    ) -> StorageResult<Vec<Id>> {
        let days = days.start.min(EVER.end)..days.end.min(EVER.end);
        let days = self.calendar(OP, LISTED, days).await?;
        let lists =
            days.into_iter().flat_map(|day| (0..SHARDS as i32).map(move |shard| (day, shard)));
        let mut lists =
            stream::iter(lists).map(|(day, shard)| self.listed(OP, day, shard)).buffered(LISTS);
        let mut candidates: BTreeSet<Id> = BTreeSet::new();
        while let Some(links) = lists.try_next().await? {
            candidates.extend(links);
        }
        let candidates: Vec<Id> = candidates.into_iter().collect();
        let mut chosen = Vec::new();
        for ids in candidates.chunks(LINKS_PER_CALL) {
            let links = self.links.fetch_all(ids).await?;
            chosen.extend(links.iter().filter(|link| choice.has(link)).map(|link| link.id));
        }
        chosen.sort_unstable();
        Ok(chosen)
    }
}

impl Whole {
    fn add(&mut self, link: Id, stats: RangeStats) {
        let RangeStats { words, days, .. } = stats;
        let mut translation = Translation::new(&words);
        for (day, mut stats) in days {
            let (versions, rows): (Vec<Row>, Vec<Row>) =
                stats.rows.iter().copied().partition(|row| row.dimension == Dimension::Version);
            for row in versions {
                self.links.entry((link, row.value.0)).or_default().add(row.counts);
            }
            stats.rows = rows;
            let sum = self.days.entry(day).or_default();
            sum.merge(&stats, &mut translation, &mut self.lexicon);
        }
    }
}
