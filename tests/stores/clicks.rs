//! Click counts: exact, once, in every granularity.

use shunt::domain::click::{BucketCount, Granularity, SegmentCounts, SegmentId};
use shunt::domain::id::Id;
use shunt::domain::time::Timestamp;
use shunt::storage::{StorageErrorKind, Stores};

use crate::make::{key, link};

/// Start of a day, in minutes.
const DAY: u32 = 20_000 * 1_440;

fn row(link: Id, minute: u32, added: u32) -> BucketCount {
    let last_at = Timestamp(i64::from(minute) * 60_000 + i64::from(added));
    BucketCount { link, minute, total: added, added, last_at }
}

fn counts(segment: u64, from: u64, to: u64, rows: Vec<BucketCount>) -> SegmentCounts {
    SegmentCounts { segment: SegmentId(segment), from_record: from, to_record: to, rows }
}

async fn total(stores: &Stores, link: Id) -> u64 {
    stores.clicks.totals(&[link]).await.unwrap()[0].clicks
}

pub(crate) async fn a_flush_is_counted_in_every_granularity(stores: Stores) {
    let (a, b) = (Id(1 << 50), Id(1 << 51));
    let rows =
        vec![row(a, DAY, 1), row(a, DAY + 59, 2), row(a, DAY + 60, 4), row(b, DAY + 1_440, 8)];
    stores.clicks.flush(vec![counts(1, 0, 15, rows)]).await.unwrap();
    let series = |link, granularity, range| stores.clicks.series(link, granularity, range);
    let all = DAY..DAY + 3_000;
    assert_eq!(
        series(a, Granularity::Minute, all.clone()).await.unwrap(),
        [(DAY, 1), (DAY + 59, 2), (DAY + 60, 4)]
    );
    assert_eq!(series(a, Granularity::Hour, all.clone()).await.unwrap(), [(DAY, 3), (DAY + 60, 4)]);
    assert_eq!(series(a, Granularity::Day, all.clone()).await.unwrap(), [(DAY, 7)]);
    assert_eq!(series(b, Granularity::Day, all).await.unwrap(), [(DAY + 1_440, 8)]);
    let part = series(a, Granularity::Minute, DAY + 1..DAY + 60).await.unwrap();
    assert_eq!(part, [(DAY + 59, 2)]);
    let totals = stores.clicks.totals(&[b, a, Id(3)]).await.unwrap();
    assert_eq!(totals.iter().map(|t| t.clicks).collect::<Vec<_>>(), [8, 7, 0]);
    assert_eq!(totals[1].last_clicked_at, Some(row(a, DAY + 60, 4).last_at));
    assert_eq!(totals[2].last_clicked_at, None);
}

pub(crate) async fn the_same_flush_again_changes_nothing(stores: Stores) {
    let link = Id(9);
    let first = counts(1, 0, 3, vec![row(link, DAY, 3)]);
    let second = counts(1, 3, 5, vec![row(link, DAY, 2)]);
    for flush in [&first, &first, &second, &second, &first] {
        stores.clicks.flush(vec![flush.clone()]).await.unwrap();
    }
    assert_eq!(total(&stores, link).await, 5);
    assert_eq!(stores.clicks.resume(SegmentId(1)).await.unwrap(), 5);
    assert_eq!(stores.clicks.resume(SegmentId(2)).await.unwrap(), 0);
}

pub(crate) async fn a_flush_that_leaves_a_gap_is_refused_whole(stores: Stores) {
    let link = Id(9);
    let fine = counts(1, 0, 1, vec![row(link, DAY, 1)]);
    let gap = counts(2, 4, 6, vec![row(link, DAY, 2)]);
    let error = stores.clicks.flush(vec![fine.clone(), gap]).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Invalid);
    assert_eq!(total(&stores, link).await, 0, "all or nothing");
    assert_eq!(stores.clicks.resume(SegmentId(1)).await.unwrap(), 0);
    stores.clicks.flush(vec![fine]).await.unwrap();
    assert_eq!(total(&stores, link).await, 1);
}

pub(crate) async fn segments_add_up(stores: Stores) {
    let link = Id(9);
    let flush = (1..=5).map(|n| counts(n, 0, 2, vec![row(link, DAY, 2)])).collect();
    stores.clicks.flush(flush).await.unwrap();
    let again =
        vec![counts(5, 0, 2, vec![row(link, DAY, 2)]), counts(6, 0, 1, vec![row(link, DAY, 1)])];
    stores.clicks.flush(again).await.unwrap();
    assert_eq!(total(&stores, link).await, 11);
}

pub(crate) async fn a_released_segment_is_forgotten_and_its_clicks_stay(stores: Stores) {
    let link = Id(9);
    stores.clicks.flush(vec![counts(1, 0, 2, vec![row(link, DAY, 2)])]).await.unwrap();
    stores.clicks.release(vec![SegmentId(1), SegmentId(2)]).await.unwrap();
    assert_eq!(stores.clicks.resume(SegmentId(1)).await.unwrap(), 0);
    assert_eq!(total(&stores, link).await, 2);
}

/// More flushes than are kept apart: some are folded while others arrive.
pub(crate) async fn many_flushes_add_up_exactly(stores: Stores) {
    const FLUSHES: u64 = 300;
    let links: Vec<Id> = (0..50).map(|n| Id((n + 1) << 22)).collect();
    let mut expected = vec![0_u64; links.len()];
    for n in 0..FLUSHES {
        let mut rows = Vec::new();
        for (index, link) in links.iter().enumerate() {
            let added = ((n + index as u64) % 4) as u32;
            rows.push(row(*link, DAY + (n / 10) as u32, added));
            expected[index] += u64::from(added);
        }
        stores.clicks.flush(vec![counts(7, n, n + 1, rows)]).await.unwrap();
    }
    let totals = stores.clicks.totals(&links).await.unwrap();
    assert_eq!(totals.iter().map(|t| t.clicks).collect::<Vec<_>>(), expected);
    for granularity in Granularity::ALL {
        for (link, clicks) in links.iter().zip(&expected) {
            let series = stores.clicks.series(*link, granularity, 0..u32::MAX).await.unwrap();
            let sum: u64 = series.iter().map(|(_, clicks)| clicks).sum();
            assert_eq!(sum, *clicks, "{granularity:?}");
        }
    }
}

pub(crate) async fn an_erased_link_has_no_clicks_and_counts_again(stores: Stores) {
    let (gone, stays) = (Id(9), Id(10));
    let rows = vec![row(gone, DAY, 3), row(stays, DAY, 4)];
    stores.clicks.flush(vec![counts(1, 0, 7, rows)]).await.unwrap();
    stores.clicks.erase(gone).await.unwrap();
    assert_eq!(total(&stores, gone).await, 0);
    assert_eq!(stores.clicks.series(gone, Granularity::Day, 0..u32::MAX).await.unwrap(), []);
    assert_eq!(total(&stores, stays).await, 4);
    stores.clicks.flush(vec![counts(1, 7, 8, vec![row(gone, DAY, 1)])]).await.unwrap();
    assert_eq!(total(&stores, gone).await, 1);
}

pub(crate) async fn the_most_clicked_links_are_the_hottest(stores: Stores) {
    let links = ["cold", "warm", "hot", "never"].map(link);
    stores.links.claim(links.to_vec()).await.unwrap();
    let rows = vec![row(links[0].id, DAY, 1), row(links[1].id, DAY, 5), row(links[2].id, DAY, 9)];
    stores.clicks.flush(vec![counts(1, 0, 15, rows)]).await.unwrap();
    assert_eq!(stores.links.hottest(2).await.unwrap(), [key("hot"), key("warm")]);
    assert_eq!(stores.links.hottest(9).await.unwrap().len(), 3);
}
