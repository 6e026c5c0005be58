//! Clicks are counted exactly, once, whatever is repeated.

use std::sync::Arc;

use shunt::domain::click::SegmentId;
use shunt::domain::counted::SegmentClicks;
use shunt::domain::id::Id;
use shunt::storage::{StatsOf, StorageErrorKind, StorageResult, Stores};

use crate::make::{Flush, at, clicked, key, link};
use crate::tell::{all_of, people};

/// A day, and its first minute.
const DAY: u32 = 20_000;
const MINUTE: u32 = DAY * 1_440;

pub(crate) async fn flush(stores: &Stores, clicks: Vec<SegmentClicks>) -> StorageResult<()> {
    stores.clicks.flush(Arc::new(clicks)).await
}

async fn total(stores: &Stores, link: Id) -> u64 {
    stores.clicks.totals(&[link]).await.unwrap()[0].clicks
}

pub(crate) async fn a_flush_is_counted_by_minute_hour_and_day(stores: Stores) {
    let (a, b) = (Id(1 << 50), Id(1 << 51));
    let rows = [(a, MINUTE, 1), (a, MINUTE + 59, 2), (a, MINUTE + 60, 4), (b, MINUTE + 1_440, 8)];
    flush(&stores, vec![clicked(1, 0, 15, &rows)]).await.unwrap();
    let hours = [(DAY, 0, people(3)), (DAY, 1, people(4))];
    assert_eq!(all_of(&stores, a).await.hours(), hours);
    assert_eq!(all_of(&stores, b).await.people(), [(DAY + 1, 8)]);
    assert_eq!(all_of(&stores, Id(3)).await.days.len(), 0);
    let bounds = [0, 1, 59, 60, 61].map(|minute| at(MINUTE + minute, 0)).to_vec();
    let buckets = stores.stats.buckets(StatsOf::Link(a), bounds).await.unwrap();
    let counts: Vec<u64> = buckets.iter().map(|bucket| bucket.counts.people).collect();
    assert_eq!(counts, [1, 0, 2, 4]);
    let totals = stores.clicks.totals(&[b, a, Id(3)]).await.unwrap();
    assert_eq!(totals.iter().map(|t| t.clicks).collect::<Vec<_>>(), [8, 7, 0]);
    assert_eq!(totals[1].last_clicked_at, Some(at(MINUTE + 60, 4)));
    assert_eq!(totals[2].last_clicked_at, None);
}

pub(crate) async fn the_same_flush_again_changes_nothing(stores: Stores) {
    let link = Id(9);
    let first = clicked(1, 0, 3, &[(link, MINUTE, 3)]);
    let second = clicked(1, 3, 5, &[(link, MINUTE + 1, 2)]);
    for again in [&first, &first, &second, &second, &first] {
        flush(&stores, vec![again.clone()]).await.unwrap();
    }
    assert_eq!(total(&stores, link).await, 5);
    assert_eq!(all_of(&stores, link).await.hours(), [(DAY, 0, people(5))]);
    assert_eq!(stores.clicks.resume(SegmentId(1)).await.unwrap().covered, 5);
    assert_eq!(stores.clicks.resume(SegmentId(2)).await.unwrap().covered, 0);
}

pub(crate) async fn a_flush_that_leaves_a_gap_is_refused_whole(stores: Stores) {
    let link = Id(9);
    let fine = clicked(1, 0, 1, &[(link, MINUTE, 1)]);
    let gap = clicked(2, 4, 6, &[(link, MINUTE, 2)]);
    let error = flush(&stores, vec![fine.clone(), gap]).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Invalid);
    assert_eq!(total(&stores, link).await, 0, "all or nothing");
    assert_eq!(all_of(&stores, link).await.people(), []);
    assert_eq!(stores.clicks.resume(SegmentId(1)).await.unwrap().covered, 0);
    flush(&stores, vec![fine]).await.unwrap();
    assert_eq!(total(&stores, link).await, 1);
}

pub(crate) async fn segments_add_up(stores: Stores) {
    let link = Id(9);
    let once = (1..=5).map(|n| clicked(n, 0, 2, &[(link, MINUTE, 2)])).collect();
    flush(&stores, once).await.unwrap();
    let again =
        vec![clicked(5, 0, 2, &[(link, MINUTE, 2)]), clicked(6, 0, 1, &[(link, MINUTE, 1)])];
    flush(&stores, again).await.unwrap();
    assert_eq!(total(&stores, link).await, 11);
    assert_eq!(all_of(&stores, link).await.people(), [(DAY, 11)]);
}

pub(crate) async fn a_released_segment_is_forgotten_and_its_clicks_stay(stores: Stores) {
    let link = Id(9);
    flush(&stores, vec![clicked(1, 0, 2, &[(link, MINUTE, 2)])]).await.unwrap();
    stores.clicks.release(vec![SegmentId(1), SegmentId(2)]).await.unwrap();
    assert_eq!(stores.clicks.resume(SegmentId(1)).await.unwrap().covered, 0);
    assert_eq!(total(&stores, link).await, 2);
}

/// More flushes than are kept apart: some are folded while others arrive.
pub(crate) async fn many_flushes_add_up_exactly(stores: Stores) {
    const FLUSHES: u64 = 300;
    let links: Vec<Id> = (0..50).map(|n| Id((n + 1) << 22)).collect();
    let mut expected = vec![0_u64; links.len()];
    for n in 0..FLUSHES {
        let mut more = Flush::default();
        for (index, link) in links.iter().enumerate() {
            let added = ((n + index as u64) % 4) as u32;
            let minute = MINUTE + (n / 10) as u32 * 100;
            if index % 2 == 0 {
                more.add(*link, minute, added);
            } else {
                more.add_surplus(*link, minute, added.into());
            }
            expected[index] += u64::from(added);
        }
        flush(&stores, vec![more.of(7, n, n + 1)]).await.unwrap();
    }
    let totals = stores.clicks.totals(&links).await.unwrap();
    assert_eq!(totals.iter().map(|t| t.clicks).collect::<Vec<_>>(), expected);
    for (link, clicks) in links.iter().zip(&expected) {
        let days = all_of(&stores, *link).await.people();
        assert_eq!(days.len(), 3);
        assert_eq!(days.iter().map(|(_, clicks)| clicks).sum::<u64>(), *clicks);
        let bounds = vec![at(MINUTE, 0), at(MINUTE + 5 * 1_440, 0)];
        let sum = stores.stats.buckets(StatsOf::Link(*link), bounds).await.unwrap();
        assert_eq!(sum[0].counts.people, *clicks);
    }
}

pub(crate) async fn the_most_clicked_links_are_the_hottest(stores: Stores) {
    let links = ["cold", "warm", "hot", "never"].map(link);
    stores.links.claim(links.to_vec(), None).await.unwrap();
    let rows = [(links[0].id, MINUTE, 1), (links[1].id, MINUTE, 5), (links[2].id, MINUTE, 9)];
    flush(&stores, vec![clicked(1, 0, 15, &rows)]).await.unwrap();
    assert_eq!(stores.links.hottest(2).await.unwrap(), [key("hot"), key("warm")]);
    assert_eq!(stores.links.hottest(9).await.unwrap().len(), 3);
}
