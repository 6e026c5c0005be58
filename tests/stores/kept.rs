//! How long what is kept: erased links, days that are over, keys of visitors.

use shunt::domain::id::Id;
use shunt::storage::{EventQuery, Retention, StatsOf, Stores};

use crate::clicks::flush;
use crate::make::{Flush, HOME, at, clicked, link};
use crate::tell::{BEGIN, END, Told, all_of, ask};

const DAY: u32 = 20_000;
const MINUTE: u32 = DAY * 1_440;

pub(crate) async fn an_erased_link_has_no_clicks_and_counts_again(stores: Stores) {
    let links = ["gone", "stays"].map(link);
    stores.links.claim(links.to_vec(), None).await.unwrap();
    let (gone, stays) = (links[0].id, links[1].id);
    let home = StatsOf::Workspace { id: HOME, tag: None, domain: None };
    let mut more = Flush::default();
    for day in 0..3 {
        for link in [gone, stays] {
            more.add(link, MINUTE + day * 1_440, 3).add_surplus(link, MINUTE + day * 1_440, 4);
        }
    }
    flush(&stores, vec![more.of(1, 0, 42)]).await.unwrap();
    let before = ask(&stores, home.clone(), BEGIN, END).await;
    assert_eq!(before.people(), [(DAY, 14), (DAY + 1, 14), (DAY + 2, 14)]);
    stores.clicks.erase(gone, None).await.unwrap();

    assert_eq!(stores.clicks.totals(&[gone, stays]).await.unwrap()[0].clicks, 0);
    assert_eq!(all_of(&stores, gone).await, Told::default());
    let bounds = vec![at(MINUTE, 0), at(MINUTE + 10_000, 0)];
    let buckets = stores.stats.buckets(StatsOf::Link(gone), bounds).await.unwrap();
    assert_eq!(buckets[0], Default::default());
    let query = EventQuery { link: gone, from: BEGIN, to: END, before: None, bots: None, limit: 9 };
    assert_eq!(stores.stats.events(query).await.unwrap(), []);

    let others = [(DAY, 7), (DAY + 1, 7), (DAY + 2, 7)];
    assert_eq!(all_of(&stores, stays).await.people(), others);
    assert_eq!(stores.clicks.totals(&[stays]).await.unwrap()[0].clicks, 21);
    let after = ask(&stores, home, BEGIN, END).await;
    assert_eq!(after.people(), others);
    assert_eq!(after.links.len(), 1);

    flush(&stores, vec![clicked(1, 42, 43, &[(gone, MINUTE, 1)])]).await.unwrap();
    assert_eq!(stores.clicks.totals(&[gone]).await.unwrap()[0].clicks, 1);
    assert_eq!(all_of(&stores, gone).await.people(), [(DAY, 1)]);
}

pub(crate) async fn sums_outlive_single_clicks(stores: Stores) {
    let link = Id(9);
    let rows: Vec<_> = (0..4).map(|day| (link, MINUTE + day * 1_440, day + 1)).collect();
    flush(&stores, vec![clicked(1, 0, 10, &rows)]).await.unwrap();
    let before = all_of(&stores, link).await;
    let keep = Retention { events_from: DAY + 3, details_from: DAY };
    while stores.clicks.prune(keep).await.unwrap() {}
    for _ in 0..5 {
        stores.clicks.prune(keep).await.unwrap();
    }
    assert_eq!(all_of(&stores, link).await, before);
    assert_eq!(stores.clicks.totals(&[link]).await.unwrap()[0].clicks, 10);
    // Late clicks of a day whose single clicks are gone.
    flush(&stores, vec![clicked(2, 0, 1, &[(link, MINUTE + 61, 1)])]).await.unwrap();
    let hours = ask(&stores, StatsOf::Link(link), at(MINUTE, 0), at(MINUTE + 120, 0)).await;
    assert_eq!(hours.people(), [(DAY, 2)]);
    assert_eq!(hours.hours().len(), 2);
}

pub(crate) async fn totals_outlive_everything(stores: Stores) {
    let link = Id(9);
    let rows: Vec<_> = (0..4).map(|day| (link, MINUTE + day * 1_440 + 61, day + 1)).collect();
    flush(&stores, vec![clicked(1, 0, 10, &rows)]).await.unwrap();
    let keep = Retention { events_from: DAY + 3, details_from: DAY + 3 };
    for _ in 0..5 {
        while stores.clicks.prune(keep).await.unwrap() {}
    }
    assert_eq!(stores.clicks.totals(&[link]).await.unwrap()[0].clicks, 10);
    let told = all_of(&stores, link).await;
    assert!(told.people().ends_with(&[(DAY + 3, 4)]), "{told:?}");
    assert_eq!(told.days[&(DAY + 3)].rows.len(), 1, "details of a day that is kept");
}

pub(crate) async fn keys_of_visitors_are_made_once_and_destroyed_for_good(stores: Stores) {
    let first = stores.clicks.visitor_keys(100, 100).await.unwrap();
    assert_eq!(first.iter().map(|(day, _)| *day).collect::<Vec<_>>(), [100, 101]);
    assert_ne!(first[0].1, first[1].1);
    let callers = (0..20).map(|_| stores.clicks.visitor_keys(100, 100));
    for again in futures_util::future::join_all(callers).await {
        assert_eq!(again.unwrap(), first, "the same for all");
    }
    let next = stores.clicks.visitor_keys(100, 101).await.unwrap();
    assert_eq!(next[..2], first[..]);
    assert_eq!(next[2].0, 102);
    let later = stores.clicks.visitor_keys(102, 102).await.unwrap();
    assert_eq!(later[0], next[2]);
    assert_eq!(later.iter().map(|(day, _)| *day).collect::<Vec<_>>(), [102, 103]);
    // A clock that was set back makes new keys, and destroys none that are needed again.
    let back = stores.clicks.visitor_keys(102, 100).await.unwrap();
    assert_eq!(back.iter().map(|(day, _)| *day).collect::<Vec<_>>(), [100, 101, 102, 103]);
    assert_eq!(back[2..], later[..]);
    assert!(first.iter().all(|old| !back.contains(old)), "a key came back");
}
