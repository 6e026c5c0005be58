//! Questions about workspaces as zones and filters ask them, again and again while things change:
//! what a store kept of an answer never tells what is not so any more. The store in memory, which
//! keeps nothing, is asked the same.

use shunt::domain::code::DomainId;
use shunt::domain::counted::{CountedClick, SegmentClicks};
use shunt::domain::link::{Link, LinkStatus};
use shunt::domain::stats::BucketStats;
use shunt::domain::time::Timestamp;
use shunt::storage::memory::MemoryStore;
use shunt::storage::{StatsOf, Stores};

use crate::clicks::flush;
use crate::make::{Flush, HOME, at, click, link, next};
use crate::tell::{Told, ask};

const DAY: u32 = 20_000;
const MINUTE: u32 = DAY * 1_440;
const DAYS: u32 = 5;
/// Minutes of the UTC day at which local days begin: London, New York, Kolkata.
const MIDNIGHTS: [u32; 3] = [0, 300, 1_110];

/// The store under test, and the one that is right.
struct Pair {
    both: [Stores; 2],
    links: Vec<Link>,
    n_sent: u64,
}

fn chosen(tag: Option<&str>, domain: Option<u32>) -> StatsOf {
    StatsOf::Workspace { id: HOME, tag: tag.map(str::to_owned), domain: domain.map(DomainId) }
}

fn filters() -> [StatsOf; 4] {
    [
        chosen(None, None),
        chosen(Some("red"), None),
        chosen(None, Some(3)),
        chosen(Some("red"), Some(3)),
    ]
}

/// Local days from the first to the last.
fn local_days(midnight: u32) -> Vec<Timestamp> {
    (0..=DAYS).map(|day| at(MINUTE + day * 1_440 + midnight, 0)).collect()
}

/// What a dashboard asks.
pub(crate) async fn answers(stores: &Stores, of: &StatsOf) -> Vec<(Told, Vec<BucketStats>)> {
    let mut answers = Vec::new();
    for midnight in MIDNIGHTS {
        let days = local_days(midnight);
        let told = ask(stores, of.clone(), days[0], days[DAYS as usize]).await;
        // Within one day too, and with hours as buckets.
        let part = ask(stores, of.clone(), days[1], days[1].plus_millis(7_200_000)).await;
        let hours = (0..48).map(|hour| days[0].plus_millis(hour * 3_600_000)).collect();
        for (told, bounds) in [(told, days), (part, hours)] {
            answers.push((told, stores.stats.buckets(of.clone(), bounds).await.unwrap()));
        }
    }
    answers
}

impl Pair {
    /// Six links that are tagged, elsewhere, both or nothing; and clicks around all midnights.
    async fn new(stores: Stores) -> Self {
        let tagged = |code, tags: &[&str], domain| Link {
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            domain: DomainId(domain),
            ..link(code)
        };
        let links = vec![
            tagged("plain", &[], 0),
            tagged("red", &["red"], 0),
            tagged("both", &["red", "blue"], 0),
            tagged("elsewhere", &[], 3),
            tagged("red-elsewhere", &["red"], 3),
            tagged("blue", &["blue"], 0),
        ];
        let mut pair = Self { both: [stores, MemoryStore::new()], links, n_sent: 0 };
        for stores in &pair.both {
            stores.links.claim(pair.links.clone(), None).await.unwrap();
        }
        for day in 0..=DAYS {
            pair.click_all(day, 0).await;
        }
        pair
    }

    /// Clicks of all links before, at and after each midnight of a day, of other visitors and
    /// places each time.
    async fn click_all(&mut self, day: u32, salt: u64) {
        let mut more = Flush::default();
        for (n, link) in (1..).zip(&self.links) {
            for minute in MIDNIGHTS.into_iter().flat_map(|minute| [minute, minute + 59]) {
                let visitor = (u64::from(minute) * 7 + salt + n % 2) << 33;
                let city = format!("City {}", (u64::from(minute) + n) % 5);
                let place = more.word(&["EU", "DE", "", &city]);
                let millis = if salt == 0 { 0 } else { 59_999 };
                let one = click(link.id, at(MINUTE + day * 1_440 + minute, millis), n as u32);
                more.clicks.push(CountedClick { visitor, place, ..one });
            }
        }
        more.add_surplus(self.links[1].id, MINUTE + day * 1_440 + 1_110, 3);
        let sent = self.next(more);
        self.flush(sent).await;
    }

    fn next(&mut self, more: Flush) -> SegmentClicks {
        self.n_sent += 1;
        more.of(1, self.n_sent - 1, self.n_sent)
    }

    async fn flush(&self, sent: SegmentClicks) {
        for stores in &self.both {
            flush(stores, vec![sent.clone()]).await.unwrap();
        }
    }

    async fn change(&mut self, index: usize, change: impl FnOnce(Link) -> Link) {
        self.links[index] = change(next(&self.links[index]));
        for stores in &self.both {
            stores.links.replace(self.links[index].clone(), None).await.unwrap();
        }
    }

    /// Both tell the same, twice: the second answer may come from what the first one left.
    async fn check(&self, when: &str) {
        for of in filters() {
            let expected = answers(&self.both[1], &of).await;
            for n in 1..=2 {
                assert_eq!(answers(&self.both[0], &of).await, expected, "{when}, {n}: {of:?}");
            }
        }
    }
}

pub(crate) async fn zones_and_filters_are_told_as_later_clicks_come(stores: Stores) {
    let mut pair = Pair::new(stores).await;
    pair.check("at first").await;
    for (salt, day) in [(1, 0), (2, 3), (3, DAYS), (4, 0)] {
        pair.click_all(day, salt << 20).await;
        pair.check("after a later click").await;
    }
}

pub(crate) async fn zones_and_filters_are_told_after_clicks_were_erased(stores: Stores) {
    let pair = Pair::new(stores).await;
    pair.check("at first").await;
    for index in [2, 4] {
        for stores in &pair.both {
            stores.clicks.erase(pair.links[index].id, None).await.unwrap();
        }
        pair.check("after a reset").await;
    }
}

pub(crate) async fn zones_and_filters_are_told_as_links_change(stores: Stores) {
    let mut pair = Pair::new(stores).await;
    pair.check("at first").await;
    pair.change(0, |link| Link { tags: vec!["red".into()], ..link }).await;
    pair.check("after a link was tagged").await;
    pair.change(2, |link| Link { tags: vec!["blue".into()], ..link }).await;
    pair.check("after a tag was taken off").await;
    // As many links as before, but others.
    pair.change(0, |link| Link { tags: Vec::new(), ..link }).await;
    pair.change(5, |link| Link { tags: vec!["red".into()], ..link }).await;
    pair.check("after a tag moved").await;
    pair.change(1, |link| Link { status: LinkStatus::Deleted, ..link }).await;
    pair.check("after a link was deleted").await;
    let fresh = Link { tags: vec!["red".into()], ..link("fresh") };
    for stores in &pair.both {
        stores.links.claim(vec![fresh.clone()], None).await.unwrap();
    }
    pair.links.push(fresh);
    pair.check("after a link was made").await;
    pair.click_all(2, 9 << 20).await;
    pair.check("after it was clicked").await;
}
