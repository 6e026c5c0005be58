//! Clicks in memory: every one of them is kept, and each question adds them all up again. Slow, and
//! right by being simple.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;

use super::{MemoryStore, State};
use crate::domain::audit::{Act, AuditAction, Target};
use crate::domain::click::{ClickFlags, ClickTotals, SegmentId};
use crate::domain::code::DomainId;
use crate::domain::counted::{CountedClick, SegmentClicks, Surplus};
use crate::domain::day::{Counts, DayStats, Dimension, Parts, Row, day_of};
use crate::domain::event::ClickEvent;
use crate::domain::id::Id;
use crate::domain::sketch::Sketch;
use crate::domain::stats::{BucketStats, LinkCounts, RangeStats};
use crate::domain::time::Timestamp;
use crate::domain::visitor::VisitorKey;
use crate::domain::words::{Lexicon, Translation, Words};
use crate::storage::{
    ClickStore, EventQuery, Resume, Retention, StatsOf, StatsStore, StorageError, StorageErrorKind,
    StorageResult,
};

#[derive(Clone, Default)]
pub(super) struct Clicks {
    positions: HashMap<SegmentId, u64>,
    totals: HashMap<Id, ClickTotals>,
    clicks: Vec<(CountedClick, Arc<Words>)>,
    surplus: Vec<(Surplus, Arc<Words>)>,
    keys: BTreeMap<u32, VisitorKey>,
}

impl Clicks {
    pub(super) fn of(&self, link: Id) -> u64 {
        self.totals.get(&link).map_or(0, |totals| totals.clicks)
    }

    pub(super) fn all(&self) -> Vec<(u64, Id)> {
        self.totals.iter().map(|(id, totals)| (totals.clicks, *id)).collect()
    }

    pub(super) fn bring(&mut self, link: Id, clicks: u64, at: Option<Timestamp>) {
        let totals = self.totals.entry(link).or_default();
        totals.clicks += clicks;
        totals.last_clicked_at = totals.last_clicked_at.max(at);
    }

    fn flush(&mut self, segments: &[SegmentClicks]) -> StorageResult<()> {
        let applied = |clicks: &Self, segment: &SegmentClicks| {
            clicks.positions.get(&segment.segment).copied().unwrap_or(0)
        };
        let fresh =
            |clicks: &Self, segment: &SegmentClicks| segment.to_record > applied(clicks, segment);
        // All or nothing: asked of all segments before anything is changed.
        for segment in segments.iter().filter(|segment| fresh(self, segment)) {
            if segment.from_record != applied(self, segment) {
                let gap = "the flush does not begin where the last one ended";
                return Err(StorageError::new(StorageErrorKind::Invalid, "flush_clicks", gap));
            }
        }
        for segment in segments {
            if !fresh(self, segment) {
                continue;
            }
            self.positions.insert(segment.segment, segment.to_record);
            for click in &segment.clicks {
                if !click.is_bot() {
                    self.bring(click.link, 1, Some(click.at));
                }
                self.clicks.push((*click, Arc::clone(&segment.words)));
            }
            for row in &segment.surplus {
                if let Some(times) = row.stats.people_at {
                    self.bring(row.link, row.stats.counts().people, Some(times.last));
                }
                self.surplus.push((row.clone(), Arc::clone(&segment.words)));
            }
        }
        Ok(())
    }

    fn erase(&mut self, link: Id) {
        self.totals.remove(&link);
        self.clicks.retain(|(click, _)| click.link != link);
        self.surplus.retain(|(row, _)| row.link != link);
    }
}

#[async_trait]
impl ClickStore for MemoryStore {
    async fn resume(&self, segment: SegmentId) -> StorageResult<Resume> {
        let covered = self.lock().clicks.positions.get(&segment).copied().unwrap_or(0);
        Ok(Resume { covered, cut: None })
    }

    async fn flush(&self, clicks: Arc<Vec<SegmentClicks>>) -> StorageResult<()> {
        self.lock().clicks.flush(&clicks)
    }

    async fn release(&self, segments: Vec<SegmentId>) -> StorageResult<()> {
        self.lock().clicks.positions.retain(|segment, _| !segments.contains(segment));
        Ok(())
    }

    async fn totals(&self, links: &[Id]) -> StorageResult<Vec<ClickTotals>> {
        let state = self.lock();
        let total = |link: &Id| state.clicks.totals.get(link).copied().unwrap_or_default();
        Ok(links.iter().map(total).collect())
    }

    async fn erase(&self, link: Id, act: Option<Act>) -> StorageResult<()> {
        let mut state = self.lock();
        state.clicks.erase(link);
        let target = Some(Target::link(link));
        state.tell(act.map(|act| act.entry(AuditAction::LinkResetClicks, target)));
        Ok(())
    }

    async fn visitor_keys(&self, oldest: u32, today: u32) -> StorageResult<Vec<(u32, VisitorKey)>> {
        let mut state = self.lock();
        for day in [today, today.saturating_add(1)] {
            let mut key = [0; VisitorKey::BYTES];
            getrandom::fill(&mut key).map_err(|error| {
                StorageError::new(StorageErrorKind::Unavailable, "visitor_keys", error)
            })?;
            state.clicks.keys.entry(day).or_insert(VisitorKey::new(key));
        }
        state.clicks.keys.retain(|day, _| *day >= oldest.min(today));
        Ok(state.clicks.keys.iter().map(|(day, key)| (*day, *key)).collect())
    }

    async fn prune(&self, keep: Retention) -> StorageResult<bool> {
        let clicks = &mut self.lock().clicks;
        // Sums are made from single clicks here, so these are kept as long as sums are.
        clicks.clicks.retain(|(click, _)| day_of(click.at) >= keep.details_from);
        clicks.surplus.retain(|(row, _)| row.minute / 1_440 >= keep.details_from);
        Ok(false)
    }
}

impl State {
    fn chosen(&self, of: &StatsOf, link: Id) -> bool {
        match of {
            StatsOf::Link(id) => *id == link,
            StatsOf::Workspace { id, tag, domain } => self.links.get(&link).is_some_and(|link| {
                link.workspace == *id
                    && tag.as_ref().is_none_or(|tag| link.tags.contains(tag))
                    && domain.is_none_or(|domain: DomainId| link.domain == domain)
            }),
        }
    }

    fn days(&self, of: &StatsOf, from: Timestamp, to: Timestamp) -> RangeStats {
        let (mut lexicon, mut days) = (Lexicon::default(), BTreeMap::<u32, DayStats>::new());
        let mut links: BTreeMap<(Id, u32), Counts> = BTreeMap::new();
        let mut add = |link: Id, day: u32, stats: &DayStats, words: &Words| {
            let sum = days.entry(day).or_default();
            if matches!(of, StatsOf::Link(_)) {
                sum.merge(stats, &mut Translation::new(words), &mut lexicon);
                return;
            }
            let (versions, rows): (Vec<Row>, Vec<Row>) =
                stats.rows.iter().copied().partition(|row| row.dimension == Dimension::Version);
            for row in versions {
                links.entry((link, row.value.0)).or_default().add(row.counts);
            }
            let mut stats = stats.clone();
            stats.set_rows(rows);
            sum.merge(&stats, &mut Translation::new(words), &mut lexicon);
        };
        for (click, words) in &self.clicks.clicks {
            if (from..to).contains(&click.at) && self.chosen(of, click.link) {
                let (mut one, mut own) = (DayStats::default(), Lexicon::default());
                one.add(&[*click], &mut Parts::new(words), &mut own);
                add(click.link, day_of(click.at), &one, own.words());
            }
        }
        for (row, words) in &self.clicks.surplus {
            let at = Timestamp(i64::from(row.minute) * 60_000);
            if (from..to).contains(&at) && self.chosen(of, row.link) {
                add(row.link, row.minute / 1_440, &row.stats, words);
            }
        }
        let counts = |((link, version), counts)| LinkCounts { link, version, counts };
        RangeStats {
            words: lexicon.into_words(),
            days: days.into_iter().collect(),
            links: links.into_iter().map(counts).collect(),
        }
    }

    fn bucket(&self, of: &StatsOf, from: Timestamp, to: Timestamp) -> BucketStats {
        let mut bucket = BucketStats::default();
        let mut visitors: BTreeMap<u32, (Sketch, Sketch)> = BTreeMap::new();
        for (click, _) in &self.clicks.clicks {
            if (from..to).contains(&click.at) && self.chosen(of, click.link) {
                let bot = click.is_bot();
                bucket.counts.add(Counts::one(bot));
                bucket.qr_scans += u64::from(!bot && click.flags.has(ClickFlags::QR));
                let (people, bots) = visitors.entry(day_of(click.at)).or_default();
                if click.visitor != 0 {
                    if bot { bots } else { people }.insert(click.visitor);
                }
            }
        }
        for (row, _) in &self.clicks.surplus {
            let at = Timestamp(i64::from(row.minute) * 60_000);
            if (from..to).contains(&at) && self.chosen(of, row.link) {
                bucket.counts.add(row.stats.counts());
                let (people, bots) = visitors.entry(row.minute / 1_440).or_default();
                for hour in &row.stats.hours {
                    bucket.qr_scans += hour.qr_scans;
                    people.merge(&hour.people);
                    bots.merge(&hour.bots);
                }
            }
        }
        for (people, bots) in visitors.values() {
            let visitors = Counts { people: people.estimate(), bots: bots.estimate() };
            bucket.visitors.add(visitors);
        }
        bucket
    }
}

#[async_trait]
impl StatsStore for MemoryStore {
    async fn days(&self, of: StatsOf, from: Timestamp, to: Timestamp) -> StorageResult<RangeStats> {
        Ok(self.lock().days(&of, from, to))
    }

    async fn buckets(
        &self,
        of: StatsOf,
        bounds: Vec<Timestamp>,
    ) -> StorageResult<Vec<BucketStats>> {
        let state = self.lock();
        Ok(bounds.windows(2).map(|pair| state.bucket(&of, pair[0], pair[1])).collect())
    }

    async fn events(&self, query: EventQuery) -> StorageResult<Vec<ClickEvent>> {
        let state = self.lock();
        let wanted = |click: &CountedClick| {
            click.link == query.link
                && (query.from..query.to).contains(&click.at)
                && query.before.is_none_or(|before| click.id() < before)
                && query.bots.is_none_or(|bots| bots == click.is_bot())
        };
        let found = state.clicks.clicks.iter().filter(|(click, _)| wanted(click));
        let mut events: Vec<ClickEvent> =
            found.map(|(click, words)| ClickEvent::new(click, words)).collect();
        events.sort_unstable_by_key(|event| std::cmp::Reverse(event.id));
        events.truncate(query.limit as usize);
        Ok(events)
    }

    async fn past_destinations(&self, links: &[Id]) -> StorageResult<Vec<(Id, u32, String)>> {
        let state = self.lock();
        let past = |link: &Id| {
            let versions = state.destinations.range((*link, 0)..=(*link, u32::MAX));
            versions.map(|((link, version), text)| (*link, *version, text.clone()))
        };
        Ok(links.iter().flat_map(past).collect())
    }
}
