//! What only the embedded store promises of pruning: the oldest day first, one at a time.

use shunt::domain::id::Id;
use shunt::storage::embedded::verify::verify;
use shunt::storage::embedded::{Embedded, Mode};
use shunt::storage::secrets::Secrets;
use shunt::storage::{EventQuery, Retention, StatsOf, Stores};

use crate::clicks::flush;
use crate::make::{HOME, clicked, link};
use crate::tell::{BEGIN, END, all_of, ask};

const LINK: Id = Id(9);
const DAY: u32 = 20_000;

async fn days_of_events(stores: &Stores) -> Vec<u32> {
    let query =
        EventQuery { link: LINK, from: BEGIN, to: END, before: None, bots: None, limit: 1_000 };
    let mut days: Vec<u32> = stores
        .stats
        .events(query)
        .await
        .unwrap()
        .iter()
        .map(|event| event.at.minute() / 1_440)
        .collect();
    days.reverse();
    days.dedup();
    days
}

/// Days of which more is known than their count.
async fn days_of_details(stores: &Stores) -> Vec<u32> {
    let told = all_of(stores, LINK).await;
    assert_eq!(told.people().len(), 4, "counts of days stay");
    told.days.iter().filter(|(_, day)| !day.rows.is_empty()).map(|(day, _)| *day).collect()
}

#[tokio::test]
async fn an_hour_on_a_wrong_clock_costs_one_day_per_call() {
    for settled in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        Secrets::open_or_create(folder.path()).unwrap();
        let store = Embedded::open(folder.path(), Mode::Create).unwrap();
        let stores = store.stores();
        let rows: Vec<_> = (0..4).map(|day| (LINK, (DAY + day) * 1_440, 1)).collect();
        flush(&stores, vec![clicked(1, 0, 4, &rows)]).await.unwrap();
        if settled {
            store.settle().await.unwrap();
        } else {
            // As many as it takes for the writer to fold them, and not to write pages of sums.
            for n in 0..70 {
                let more = [(LINK, (DAY + 3) * 1_440, 1)];
                flush(&stores, vec![clicked(3, n, n + 1, &more)]).await.unwrap();
            }
            crate::spoilt::wait_until_folded(folder.path()).await;
        }
        let wrong = Retention { events_from: DAY + 400, details_from: DAY + 300 };
        for n in 1..=4 {
            while stores.clicks.prune(wrong).await.unwrap() {}
            let left: Vec<u32> = (DAY + n..DAY + 4).collect();
            assert_eq!(days_of_events(&stores).await, left);
            assert_eq!(days_of_details(&stores).await, left);
            let report = verify(folder.path()).unwrap();
            assert!(report.is_sound(), "{report:?}");
        }
        // Clicks of such a day that come late are counted all the same.
        flush(&stores, vec![clicked(2, 0, 1, &[(LINK, DAY * 1_440 + 5, 1)])]).await.unwrap();
        store.settle().await.unwrap();
        assert_eq!(all_of(&stores, LINK).await.people()[0], (DAY, 2));
        assert!(verify(folder.path()).unwrap().is_sound());
    }
}

#[tokio::test]
async fn late_clicks_outlive_their_events_in_the_sums_of_a_workspace() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path(), Mode::Create).unwrap();
    let (stores, link) = (store.stores(), link("late"));
    stores.links.claim(vec![link.clone()], None).await.unwrap();
    let home = StatsOf::Workspace { id: HOME, tag: None, domain: None };
    for (n, clicks, told) in [(0, 9, 9), (1, 1, 10)] {
        let late = clicked(1, n, n + 1, &[(link.id, DAY * 1_440 + n as u32, clicks)]);
        flush(&stores, vec![late]).await.unwrap();
        store.settle().await.unwrap();
        if n > 0 {
            let keep = Retention { events_from: DAY + 1, details_from: DAY };
            while stores.clicks.prune(keep).await.unwrap() {}
        }
        assert_eq!(ask(&stores, home.clone(), BEGIN, END).await.people(), [(DAY, told)]);
    }
}

#[tokio::test]
async fn nothing_is_pruned_before_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = Embedded::open(folder.path(), Mode::Create).unwrap();
    let stores = store.stores();
    let rows: Vec<_> = (0..4).map(|day| (LINK, (DAY + day) * 1_440, 1)).collect();
    flush(&stores, vec![clicked(1, 0, 4, &rows)]).await.unwrap();
    store.settle().await.unwrap();
    for _ in 0..9 {
        let keep = Retention { events_from: DAY + 2, details_from: DAY + 1 };
        while stores.clicks.prune(keep).await.unwrap() {}
    }
    assert_eq!(days_of_events(&stores).await, [DAY + 2, DAY + 3]);
    assert_eq!(days_of_details(&stores).await, [DAY + 1, DAY + 2, DAY + 3]);
}
