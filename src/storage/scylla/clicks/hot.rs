//! The links that were clicked most lately, for whoever fills a table of links at its start.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use tracing::debug;

use super::CqlClicks;
use crate::domain::counted::SegmentClicks;
use crate::domain::id::Id;

/// Links that are told.
const TOLD: usize = 10_000;
/// Links that are counted.
const COUNTED_MAX: usize = 65_536;
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Clicks of links of late: each time they are told, earlier ones count half.
#[derive(Default)]
pub(super) struct Hot {
    clicks: HashMap<Id, u64>,
    told_at: Option<Instant>,
}

impl Hot {
    /// Counts what was flushed; answers what is to be told, if it is time to.
    pub(super) fn add(&mut self, flushed: &[SegmentClicks]) -> Option<Vec<(Id, u64)>> {
        for clicks in flushed {
            for run in clicks.clicks.chunk_by(|a, b| a.link == b.link) {
                let people = run.iter().filter(|click| !click.is_bot()).count() as u64;
                self.count(run[0].link, people);
            }
            for row in &clicks.surplus {
                self.count(row.link, row.stats.counts().people);
            }
        }
        if self.told_at.is_some_and(|at| at.elapsed() < TOLD_EVERY) {
            return None;
        }
        self.told_at = Some(Instant::now());
        let told = self.hottest(TOLD);
        self.clicks.values_mut().for_each(|clicks| *clicks /= 2);
        self.clicks.retain(|_, clicks| *clicks > 0);
        Some(told)
    }

    fn count(&mut self, link: Id, clicks: u64) {
        if self.clicks.len() >= COUNTED_MAX && !self.clicks.contains_key(&link) {
            self.clicks = self.hottest(COUNTED_MAX / 2).into_iter().collect();
        }
        if clicks > 0 {
            *self.clicks.entry(link).or_default() += clicks;
        }
    }

    fn hottest(&self, n: usize) -> Vec<(Id, u64)> {
        let mut all: Vec<(Id, u64)> =
            self.clicks.iter().map(|(id, clicks)| (*id, *clicks)).collect();
        all.sort_unstable_by_key(|(id, clicks)| (Reverse(*clicks), *id));
        all.truncate(n);
        all
    }
}

impl CqlClicks {
    /// Tells which links are hot. Whoever reads it can do without.
    pub(super) async fn put_hot(&self, hot: Vec<(Id, u64)>) {
        let links: Vec<(i64, i64)> =
            hot.into_iter().map(|(id, clicks)| (id.0 as i64, clicks as i64)).collect();
        let put = &self.cql.statements().clicks.put_hot;
        if let Err(error) = self.cql.put("put_hot_links", put, (self.node, links)).await {
            debug!(%error, "the hottest links are told later");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::counted::CountedClick;

    #[test]
    fn the_hottest_links_are_told_once_a_minute() {
        let click = |link| CountedClick { link: Id(link), ..CountedClick::default() };
        let clicks = vec![click(1), click(2), click(2), click(3), click(3), click(3)];
        let flushed = [SegmentClicks { clicks, ..SegmentClicks::default() }];
        let mut hot = Hot::default();
        assert_eq!(hot.add(&flushed), Some(vec![(Id(3), 3), (Id(2), 2), (Id(1), 1)]));
        assert_eq!(hot.add(&flushed), None);
        assert_eq!(hot.hottest(2), [(Id(3), 4), (Id(2), 3)]);
    }

    #[test]
    fn however_many_links_are_clicked_few_are_counted() {
        let clicks = |from: u64, n: u64| SegmentClicks {
            clicks: (from..from + n)
                .map(|link| CountedClick { link: Id(link), ..CountedClick::default() })
                .collect(),
            ..SegmentClicks::default()
        };
        let mut hot = Hot::default();
        hot.add(&[clicks(1, 1)]);
        hot.add(&[clicks(1, 5), clicks(1, 5), clicks(100, 2 * COUNTED_MAX as u64)]);
        assert!(hot.clicks.len() <= COUNTED_MAX);
        assert_eq!(hot.hottest(1), [(Id(1), 2)]);
    }
}
