//! Statistics: from a question about clicks to its answer.
//!
//! Counts are exact. They come from sums by UTC hour; where buckets are no whole hours, from single
//! clicks as far as these are kept. What is summed up in `summary` and what is shown in the series
//! are always the same clicks.

pub mod calendar;
mod past;
mod series;
mod tops;

use std::cmp::Reverse;

use foldhash::{HashMap, HashMapExt};

use self::calendar::{Interval, Period};
use self::series::{Pieces, add_up};
use self::tops::Tops;
use crate::domain::code::DomainId;
use crate::domain::day::{Counts, day_of, start_of};
use crate::domain::id::Id;
use crate::domain::link::{Link, LinkState, LinkStatus};
use crate::domain::stats::RangeStats;
use crate::domain::time::Timestamp;
use crate::storage::{LinkQuery, StatsOf, StorageError, StorageErrorKind, StorageResult, Stores};

pub use self::past::Destinations;
use self::past::{Past, up_to_date};
pub use self::series::{Point, Summary};
pub use self::tops::{DIMENSIONS, Top};

/// Most rows of one top list, and how many when the caller does not say.
pub const TOP_MAX: usize = 100;
pub const TOP_DEFAULT: usize = 10;
/// Most clicked links of a workspace whose destinations are told apart.
const LINKS_MAX: usize = 1_000;

/// Whose clicks are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bots {
    #[default]
    Exclude,
    Include,
    Only,
}

/// What is asked, of whichever links.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub period: Period,
    pub bots: Bots,
    /// Rows of each top list.
    pub top: usize,
    pub now: Timestamp,
}

/// Links of a workspace that are asked about.
#[derive(Clone, Debug)]
pub struct Selection {
    pub workspace: Id,
    pub tag: Option<String>,
    pub domain: Option<DomainId>,
}

/// What clicks add up to.
#[derive(Clone, Debug)]
pub struct Report {
    pub summary: Summary,
    pub series: Vec<Point>,
    /// In the order of [`DIMENSIONS`].
    pub tops: [Vec<Top>; DIMENSIONS.len()],
    pub destinations: Vec<Top>,
}

/// What the clicks of many links add up to.
#[derive(Clone, Debug)]
pub struct WorkspaceReport {
    pub report: Report,
    pub links: LinkCensus,
    pub top_links: Vec<TopLink>,
}

/// How many links there are, deleted ones left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCensus {
    pub total: u64,
    pub active: u64,
    /// Since the month began, by the clocks of the asked zone.
    pub created_this_month: u64,
}

/// A link and its share of the clicks.
#[derive(Clone, Debug)]
pub struct TopLink {
    pub link: Link,
    pub clicks: u64,
    pub share: f64,
}

impl Bots {
    pub const ALL: [(&'static str, Self); 3] =
        [("exclude", Self::Exclude), ("include", Self::Include), ("only", Self::Only)];

    /// By the word of the API.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == word).map(|(_, bots)| *bots)
    }

    /// Which single clicks are meant, as stores ask for them.
    pub const fn flag(self) -> Option<bool> {
        match self {
            Self::Exclude => Some(false),
            Self::Include => None,
            Self::Only => Some(true),
        }
    }

    const fn people(self) -> bool {
        !matches!(self, Self::Only)
    }

    const fn machines(self) -> bool {
        !matches!(self, Self::Exclude)
    }

    /// The clicks that are meant.
    const fn count(self, counts: Counts) -> u64 {
        match self {
            Self::Exclude => counts.people,
            Self::Include => counts.people.saturating_add(counts.bots),
            Self::Only => counts.bots,
        }
    }
}

/// Statistics of one link. Kinds: those of the store.
pub async fn of_link(stores: &Stores, link: Link, question: &Question) -> StorageResult<Report> {
    let from = beginning(&link, question.period.from);
    let Sums { range, summary, series, tops, .. } =
        sums(stores, StatsOf::Link(link.id), from, question).await?;
    // Read after the clicks: no version that answered one is newer.
    let link = up_to_date(stores, link, tops.newest_version()).await?;
    let past = Past::of(stores, &[link.id]).await?;
    let destinations = tops.destinations(&link, &past, question.top, summary.clicks);
    let tops = tops.finish(&range.words, question.top, summary.clicks);
    Ok(Report { summary, series, tops, destinations })
}

/// Statistics of a workspace's links. Kinds: those of the store.
pub async fn of_workspace(
    stores: &Stores,
    selection: &Selection,
    question: &Question,
) -> StorageResult<WorkspaceReport> {
    let Selection { workspace, tag, domain } = selection.clone();
    let of = StatsOf::Workspace { id: workspace, tag, domain };
    let Sums { range, summary, series, tops, hottest } =
        sums(stores, of, question.period.from, question).await?;
    let tops = tops.finish(&range.words, question.top, summary.clicks);
    let (destinations, top_links) =
        by_link(stores, &range, &hottest, question, summary.clicks).await?;
    let links = census(stores, selection, question).await?;
    let report = Report { summary, series, tops, destinations };
    Ok(WorkspaceReport { report, links, top_links })
}

/// The answer when no link is meant.
pub fn of_nothing(question: &Question) -> WorkspaceReport {
    let range = RangeStats::default();
    let Sums { range, summary, series, tops, .. } = Sums::of(range, None, question);
    let tops = tops.finish(&range.words, question.top, 0);
    let report = Report { summary, series, tops, destinations: Vec::new() };
    WorkspaceReport { report, links: LinkCensus::default(), top_links: Vec::new() }
}

/// Clicks of a link in a period, as statistics count them. Kinds: those of the store.
pub async fn count(stores: &Stores, link: &Link, question: &Question) -> StorageResult<u64> {
    let (from, to) = (beginning(link, question.period.from), end(question));
    let range = stores.stats.days(StatsOf::Link(link.id), from, to).await?;
    Ok(range.days.iter().map(|(_, stats)| question.bots.count(stats.counts())).sum())
}

/// Sums of a range, added up.
struct Sums {
    /// Without its hours.
    range: RangeStats,
    summary: Summary,
    series: Vec<Point>,
    tops: Tops,
    /// Clicks of links, of a workspace only, the most clicked first.
    hottest: Vec<(u64, Id)>,
}

impl Sums {
    /// Takes its time with many links and days: not for a thread that answers visitors.
    fn of(mut range: RangeStats, pieces: Option<&Pieces>, question: &Question) -> Self {
        let (summary, series) = add_up(&mut range.days, pieces, &question.period, question.bots);
        let tops = Tops::of(&range, question.bots);
        let hottest = hottest(&range, question.bots);
        Self { range, summary, series, tops, hottest }
    }
}

/// The most clicked links.
fn hottest(range: &RangeStats, bots: Bots) -> Vec<(u64, Id)> {
    // Links come in order, each with its versions.
    let links = range.links.chunk_by(|a, b| a.link == b.link).map(|versions| {
        let clicks = versions.iter().map(|one| bots.count(one.counts)).sum();
        (clicks, versions[0].link)
    });
    let mut links: Vec<(u64, Id)> = links.filter(|(clicks, _)| *clicks > 0).collect();
    let order = |&(clicks, link): &(u64, Id)| (Reverse(clicks), link);
    if links.len() > LINKS_MAX {
        links.select_nth_unstable_by_key(LINKS_MAX, order);
        links.truncate(LINKS_MAX);
    }
    links.sort_unstable_by_key(order);
    links
}

/// Before `from` there are no clicks.
async fn sums(
    stores: &Stores,
    of: StatsOf,
    from: Timestamp,
    question: &Question,
) -> StorageResult<Sums> {
    let to = end(question);
    let range = stores.stats.days(of.clone(), from, to).await?;
    // Read second, so that it knows every click that the sums know.
    let pieces = match Pieces::needed_for(&question.period, to) {
        None => None,
        Some(mut pieces) => {
            pieces.fill(stores.stats.buckets(of, pieces.bounds()).await?);
            Some(pieces)
        }
    };
    let question = *question;
    let added = tokio::task::spawn_blocking(move || Sums::of(range, pieces.as_ref(), &question));
    added.await.map_err(|error| StorageError::new(StorageErrorKind::Unavailable, "stats", error))
}

/// The end of the range for the store: a day that has not ended is asked for as a whole.
fn end(question: &Question) -> Timestamp {
    let Question { period, now, .. } = question;
    if period.to >= *now { start_of(day_of(*now) + 1, 0).max(period.to) } else { period.to }
}

/// No click is older than its link by more than clocks may disagree.
fn beginning(link: &Link, from: Timestamp) -> Timestamp {
    const DAY_MS: i64 = 86_400_000;
    // An imported link may say that it is to be made one day; its id tells when it was.
    from.max(link.created_at.min(link.id.created_at()).plus_millis(-DAY_MS))
}

/// Destinations and the most clicked links, by the links' own counts.
async fn by_link(
    stores: &Stores,
    range: &RangeStats,
    hottest: &[(u64, Id)],
    question: &Question,
    total: u64,
) -> StorageResult<(Vec<Top>, Vec<TopLink>)> {
    let clicks: HashMap<Id, u64> = hottest.iter().map(|(clicks, link)| (*link, *clicks)).collect();
    let hottest: Vec<Id> = hottest.iter().map(|(_, link)| *link).collect();
    if hottest.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let links = stores.links.fetch_all(&hottest).await?;
    let past = Past::of(stores, &hottest).await?;
    let known: HashMap<Id, &Link> = links.iter().map(|link| (link.id, link)).collect();
    let mut destinations: HashMap<&str, u64> = HashMap::new();
    for one in &range.links {
        if let Some(link) = known.get(&one.link) {
            let destination = past.destination(link, one.version);
            *destinations.entry(destination).or_default() += question.bots.count(one.counts);
        }
    }
    let destinations = tops::rank(destinations, question.top, total);
    let mut links: Vec<TopLink> = links
        .into_iter()
        .filter(|link| link.status != LinkStatus::Deleted)
        .map(|link| {
            let clicks = clicks[&link.id];
            TopLink { share: tops::share(clicks, total), clicks, link }
        })
        .collect();
    links.sort_unstable_by_key(|top| (Reverse(top.clicks), top.link.key()));
    links.truncate(question.top);
    Ok((destinations, links))
}

async fn census(
    stores: &Stores,
    selection: &Selection,
    question: &Question,
) -> StorageResult<LinkCensus> {
    let Selection { workspace, tag, domain } = selection.clone();
    let now = question.now;
    let tags = tag.into_iter().collect();
    let all = LinkQuery { workspace, tags, domain, now, limit: 1, ..LinkQuery::default() };
    let active = LinkQuery { state: Some(LinkState::Active), ..all.clone() };
    let this_month = Period {
        from: now,
        to: now.plus_millis(1),
        interval: Interval::Month,
        zone: question.period.zone,
    };
    let created_after = this_month.buckets().first().map(|month| month.start);
    let fresh = LinkQuery { created_after, ..all.clone() };
    Ok(LinkCensus {
        total: stores.links.list(&all).await?.total,
        active: stores.links.list(&active).await?.total,
        created_this_month: stores.links.list(&fresh).await?.total,
    })
}
