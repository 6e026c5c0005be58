//! Sums that the embedded store makes before they are asked for, and what it keeps of them.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;
use shunt::domain::id::Id;
use shunt::domain::link::Link;
use shunt::storage::embedded::{Embedded, Mode, database_file};
use shunt::storage::{Retention, StatsOf, Stores, Workspace};

use crate::clicks::flush;
use crate::damage::edit;
use crate::make::{HOME, NOW, api_key, at, clicked, link};
use crate::tell::ask;
use crate::zones::answers;

const DAY: u32 = 20_000;
const MINUTE: u32 = DAY * 1_440;

fn home(tag: Option<&str>) -> StatsOf {
    StatsOf::Workspace { id: HOME, tag: tag.map(str::to_owned), domain: None }
}

/// A store whose workspace has two links, one of them tagged.
async fn open(path: &Path) -> (Embedded, [Id; 2]) {
    let store = Embedded::open(path, Mode::Create).unwrap();
    let stores = store.stores();
    let workspace = Workspace { id: HOME, name: "home".into(), operator: true, created_at: NOW };
    let key = api_key(1, 1);
    assert!(stores.accounts.bootstrap(workspace, key).await.unwrap());
    let links = [link("plain"), Link { tags: vec!["red".into()], ..link("red") }];
    stores.links.claim(links.to_vec(), None).await.unwrap();
    (store, links.map(|link| link.id))
}

/// Clicks of both links at noon of days, from a segment of their own.
async fn click_on(store: &Embedded, links: [Id; 2], segment: u64, days: &[u32]) {
    let rows: Vec<_> = days
        .iter()
        .flat_map(|day| links.map(|link| (link, MINUTE + day * 1_440 + 720, 2)))
        .collect();
    flush(&store.stores(), vec![clicked(segment, 0, 1, &rows)]).await.unwrap();
    store.settle().await.unwrap();
}

/// Days after the first of which something is kept, by filter, kind and number of cuts.
fn kept(path: &Path) -> BTreeSet<(String, i64, i64, u32)> {
    let conn = Connection::open(database_file(path)).unwrap();
    let mut statement = conn
        .prepare(
            "SELECT filter, kind, length(cuts), day FROM click_rollups
             JOIN click_questions ON click_questions.id = question
             JOIN click_epochs USING (day, epoch, additions)",
        )
        .unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, u32>(3)? - DAY))
    };
    statement.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
}

fn of(filter: &str, kind: i64, cuts: i64, days: &[u32]) -> Vec<(String, i64, i64, u32)> {
    days.iter().map(|day| (filter.to_owned(), kind, cuts, *day)).collect()
}

#[tokio::test]
async fn days_that_are_over_are_added_up_before_anybody_asks() {
    let folder = tempfile::tempdir().unwrap();
    let (store, links) = open(folder.path()).await;
    click_on(&store, links, 1, &[0, 2, 3, 40]).await;
    // The newest day is not over, and the first ones are longer ago than is asked unasked.
    assert_eq!(store.make_all_ahead().await.unwrap(), 0);
    click_on(&store, links, 2, &[41, 42, 43]).await;
    assert_eq!(store.make_all_ahead().await.unwrap(), 3);
    assert_eq!(kept(folder.path()), of("", 0, 3, &[40, 41, 42]).into_iter().collect());
    assert_eq!(store.make_all_ahead().await.unwrap(), 0, "nothing changed");
    let told = ask(&store.stores(), home(None), at(MINUTE, 0), at(MINUTE + 44 * 1_440, 0)).await;
    assert_eq!(told.people().iter().map(|(_, n)| *n).collect::<Vec<_>>(), [4; 7]);

    // Later clicks, and clicks that are erased.
    click_on(&store, links, 3, &[41]).await;
    assert_eq!(store.make_all_ahead().await.unwrap(), 1);
    store.stores().clicks.erase(links[1], None).await.unwrap();
    assert_eq!(kept(folder.path()), BTreeSet::new(), "they are in nothing that is kept");
    assert_eq!(store.make_all_ahead().await.unwrap(), 3);
    let told = ask(&store.stores(), home(None), at(MINUTE, 0), at(MINUTE + 44 * 1_440, 0)).await;
    assert_eq!(told.people().iter().map(|(_, n)| *n).collect::<Vec<_>>(), [2, 2, 2, 2, 4, 2, 2]);
}

#[tokio::test]
async fn what_was_asked_lately_is_made_of_the_days_that_follow() {
    let folder = tempfile::tempdir().unwrap();
    let (store, links) = open(folder.path()).await;
    click_on(&store, links, 1, &[0, 1, 2, 3]).await;
    // Three local days that begin at five in the morning, and three that begin at half past six
    // in the evening.
    let ask_for = async |today: u32| {
        let stores = store.stores();
        let (from, to) = (MINUTE + (today - 3) * 1_440, MINUTE + (today + 1) * 1_440);
        ask(&stores, home(Some("red")), at(from + 300, 0), at(to, 0)).await;
        let bounds = (0..3).map(|day| at(from + day * 1_440 + 1_110, 0)).chain([at(to, 0)]);
        stores.stats.buckets(home(None), bounds.collect()).await.unwrap();
    };
    ask_for(3).await;
    click_on(&store, links, 2, &[4]).await;
    store.make_all_ahead().await.unwrap();
    let mut expected: BTreeSet<_> = of("", 0, 3, &[0, 1, 2, 3]).into_iter().collect();
    // Parts of the day on which the range began, and of that on which it begins now.
    expected.extend(of("#red", 0, 4, &[0, 1]));
    expected.extend(of("#red", 0, 3, &[1, 2, 3]));
    // The last local day ended with the range, not in the evening.
    expected.extend(of("", 1, 3, &[3]));
    expected.extend(of("", 1, 5, &[0, 1, 2, 3]));
    assert_eq!(kept(folder.path()), expected);
    ask_for(4).await;
    assert!(kept(folder.path()).is_superset(&expected));
}

#[tokio::test]
async fn what_nobody_asks_any_more_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (store, links) = open(folder.path()).await;
    click_on(&store, links, 1, &[0, 1]).await;
    let all = |stores: Stores, tag: &'static str| async move {
        ask(&stores, home(Some(tag)), at(MINUTE, 0), at(MINUTE + 400 * 1_440, 0)).await
    };
    let questions = || {
        let kept = kept(folder.path());
        kept.into_iter().map(|(filter, ..)| filter).collect::<BTreeSet<_>>().len()
    };
    for n in 0..70 {
        let tag = format!("tag-{n}").leak();
        all(store.stores(), tag).await;
    }
    assert_eq!(questions(), 64, "of one workspace");
    click_on(&store, links, 2, &[106, 107, 200]).await;
    let (from, to) = (at(MINUTE + 100 * 1_440, 0), at(MINUTE + 108 * 1_440, 0));
    ask(&store.stores(), home(Some("red")), from, to).await;
    assert_eq!(kept(folder.path()), of("#red", 0, 3, &[107]).into_iter().collect());
}

#[tokio::test]
async fn what_is_kept_tells_what_is_told_without() {
    let folder = tempfile::tempdir().unwrap();
    let (store, links) = open(folder.path()).await;
    click_on(&store, links, 1, &[0, 1, 2, 3]).await;
    let stores = store.stores();
    let ask_all = async || {
        let mut told = Vec::new();
        for tag in [None, Some("red")] {
            told.push(answers(&stores, &home(tag)).await);
        }
        told
    };
    ask_all().await;
    // Single clicks of two days go, and the sums of one.
    for (events, details) in [(0, 0), (1, 0), (2, 0), (2, 1)] {
        let keep = Retention { events_from: DAY + events, details_from: DAY + details };
        while stores.clicks.prune(keep).await.unwrap() {}
        store.make_all_ahead().await.unwrap();
        ask_all().await;
        let with = ask_all().await;
        edit(folder.path(), "DELETE FROM click_rollups; DELETE FROM click_questions");
        assert_eq!(with, ask_all().await, "{events} days of clicks and {details} of sums are gone");
    }
    // What is damaged is made again.
    let expected = ask_all().await;
    edit(folder.path(), "UPDATE click_rollups SET body = zeroblob(length(body))");
    assert_eq!(ask_all().await, expected);
    edit(folder.path(), "UPDATE click_rollups SET additions = additions + 1");
    assert_eq!(ask_all().await, expected);
}
