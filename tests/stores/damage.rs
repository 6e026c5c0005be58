//! A damaged store is named with what to do about it, and never leads anybody astray.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use shunt::domain::code::LinkKey;
use shunt::domain::link::Link;
use shunt::storage::embedded::verify::{REPAIR, RESTORE, repair, verify};
use shunt::storage::embedded::{Embedded, Mode, database_file};
use shunt::storage::secrets::Secrets;
use shunt::storage::{LinkQuery, StatsOf, StorageErrorKind};

use crate::make::{HOME, NOW, clicked, key, link};
use crate::tell::{BEGIN, END, told};

const PAGE: usize = 4_096;

/// A closed store with links, tags and clicks, everything in its one file.
pub(crate) async fn store_with_links(path: &Path, n: usize) -> HashMap<LinkKey, Link> {
    Secrets::open_or_create(path).unwrap();
    let store = Embedded::open(path, Mode::Create).unwrap();
    let stores = store.stores();
    let tags = vec!["tag".to_owned()];
    let made: Vec<Link> =
        (0..n).map(|n| Link { tags: tags.clone(), ..link(&format!("code-{n}")) }).collect();
    stores.links.claim(made.clone(), None).await.unwrap();
    let rows: Vec<_> = made.iter().map(|link| (link.id, NOW.minute(), 2)).collect();
    stores.clicks.flush(Arc::new(vec![clicked(1, 0, 9, &rows)])).await.unwrap();
    store.settle().await.unwrap();
    store.close();
    made.into_iter().map(|link| (link.key(), link)).collect()
}

pub(crate) fn edit(path: &Path, sql: &str) {
    Connection::open(database_file(path)).unwrap().execute_batch(sql).unwrap();
}

/// The same numbers every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

#[test]
fn a_file_that_is_no_database_is_named_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = database_file(folder.path());
    std::fs::write(&file, "this is not a database, and long enough to look at ".repeat(40))
        .unwrap();
    let error = Embedded::open(folder.path(), Mode::Create).err().unwrap();
    assert_eq!(error.kind, StorageErrorKind::Corrupt);
    let text = error.source.unwrap().to_string();
    for part in [file.to_str().unwrap(), "shunt verify", "shunt restore"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!verify(folder.path()).unwrap().is_sound());
}

#[tokio::test]
async fn a_store_whose_file_is_gone_takes_no_writes_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    store_with_links(folder.path(), 1).await;
    let stores = Embedded::open(folder.path(), Mode::Existing).unwrap().stores();
    stores.nodes.check_writes().await.unwrap();
    let (file, aside) = (database_file(folder.path()), folder.path().join("aside"));
    std::fs::rename(&file, &aside).unwrap();
    let error = stores.links.claim(vec![link("late")], None).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Unavailable);
    let told = stores.nodes.check_writes().await.unwrap_err().source.unwrap().to_string();
    assert!(told.contains(file.to_str().unwrap()) && told.contains("shunt restore"), "{told}");
    assert!(stores.links.fetch(&key("code-0")).await.unwrap().is_some(), "reads go on");
    assert!(stores.links.fetch(&key("late")).await.unwrap().is_none(), "it was written");
    std::fs::rename(&aside, &file).unwrap();
    stores.links.claim(vec![link("late")], None).await.unwrap();
    stores.nodes.check_writes().await.unwrap();
}

#[tokio::test]
async fn a_newer_layout_and_other_programs_are_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    store_with_links(folder.path(), 1).await;
    edit(folder.path(), "PRAGMA user_version = 99");
    let error = Embedded::open(folder.path(), Mode::Create).err().unwrap();
    assert_eq!(error.kind, StorageErrorKind::Invalid);
    assert!(error.source.unwrap().to_string().contains("newer Shunt (layout 99"));
    edit(folder.path(), "PRAGMA user_version = 0; PRAGMA application_id = 7");
    let error = Embedded::open(folder.path(), Mode::Create).err().unwrap();
    assert!(error.source.unwrap().to_string().contains("another program"));
}

#[tokio::test]
async fn a_changed_target_is_damage_and_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    store_with_links(folder.path(), 3).await;
    edit(
        folder.path(),
        "UPDATE links SET destination = 'https://evil.example/' WHERE code = 'code-1'",
    );
    let stores = Embedded::open(folder.path(), Mode::Existing).unwrap().stores();
    let error = stores.links.fetch(&key("code-1")).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Damaged);
    assert!(stores.links.fetch(&key("code-2")).await.unwrap().is_some(), "others are served");
    let report = verify(folder.path()).unwrap();
    assert_eq!((report.links, report.findings.len()), (2, 1), "{report:?}");
    assert_eq!(report.findings[0].remedy, RESTORE);
}

#[tokio::test]
async fn overwritten_pages_never_yield_a_wrong_target_or_a_wrong_count() {
    let folder = tempfile::tempdir().unwrap();
    let made = store_with_links(folder.path(), 200).await;
    let whole = std::fs::read(database_file(folder.path())).unwrap();
    let n_pages = whole.len() / PAGE;
    // Nobody misses what a page of an empty table holds.
    let used = |page: &usize| whole[page * PAGE..][..PAGE].iter().filter(|b| **b != 0).count();
    let full: Vec<usize> = (0..n_pages).filter(|page| used(page) > PAGE / 8).collect();
    let mut dice = Dice(0x5EED);
    let mut noticed = 0;
    for round in 0..60 {
        let mut bytes = whole.clone();
        for _ in 0..=dice.roll(3) {
            let at = full[dice.roll(full.len())] * PAGE;
            match round % 3 {
                // A page of another place, a page of noise, some flipped bytes.
                0 => {
                    let from = dice.roll(n_pages) * PAGE;
                    bytes[at..at + PAGE].copy_from_slice(&whole[from..from + PAGE]);
                }
                1 => bytes[at..at + PAGE].fill_with(|| dice.roll(256) as u8),
                _ => (0..20).for_each(|_| bytes[at + dice.roll(PAGE)] ^= 1 << dice.roll(8)),
            }
        }
        let broken = tempfile::tempdir().unwrap();
        std::fs::write(database_file(broken.path()), bytes).unwrap();
        noticed += usize::from(look_at_everything(broken.path(), &made).await);
    }
    assert!(noticed > 30, "damage was noticed in {noticed} of 60 rounds only");
}

/// True when something failed or is missing; panics when something is wrong.
async fn look_at_everything(path: &Path, made: &HashMap<LinkKey, Link>) -> bool {
    let mut noticed = false;
    let Ok(store) = Embedded::open(path, Mode::Existing) else { return true };
    let stores = store.stores();
    for (key, link) in made {
        match stores.links.fetch(key).await {
            Ok(Some(found)) => assert_eq!(found, *link),
            Ok(None) | Err(_) => noticed = true,
        }
    }
    let scanned = stores.links.scan(shunt::domain::id::Id(0), 1_000).await;
    let query = LinkQuery {
        workspace: HOME,
        limit: 1_000,
        text: Some("code-1".into()),
        ..LinkQuery::default()
    };
    let listed = stores.links.list(&query).await.map(|page| page.links);
    for links in [scanned, listed] {
        match links {
            Ok(links) => {
                for link in &links {
                    assert_eq!(made.get(&link.key()), Some(link));
                }
            }
            Err(_) => noticed = true,
        }
    }
    let ids: Vec<_> = made.values().map(|link| link.id).collect();
    match stores.clicks.totals(&ids).await {
        Ok(totals) => assert!(totals.iter().all(|total| [0, 2].contains(&total.clicks))),
        Err(_) => noticed = true,
    }
    for id in ids.into_iter().take(20) {
        match stores.stats.days(StatsOf::Link(id), BEGIN, END).await {
            Ok(days) => {
                let people = told(&days).people();
                let whole = vec![(NOW.minute() / 1_440, 2)];
                assert!(people.is_empty() || people == whole, "{people:?}");
            }
            Err(_) => noticed = true,
        }
    }
    noticed
}

#[tokio::test]
async fn what_can_be_rebuilt_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    store_with_links(folder.path(), 50).await;
    assert!(verify(folder.path()).unwrap().is_sound());
    edit(
        folder.path(),
        "DELETE FROM link_tags WHERE link % 2 = 0;
         UPDATE counters SET value = 7;
         INSERT INTO link_texts (link_texts) VALUES ('delete-all');",
    );
    let report = verify(folder.path()).unwrap();
    assert_eq!(report.findings.len(), 4, "{report:?}");
    assert!(report.findings.iter().all(|finding| finding.remedy == REPAIR));
    repair(folder.path()).unwrap();
    assert!(verify(folder.path()).unwrap().is_sound());
    let stores = Embedded::open(folder.path(), Mode::Existing).unwrap().stores();
    assert_eq!(stores.links.count().await.unwrap(), 50);
    assert_eq!(stores.links.tags(HOME).await.unwrap(), [("tag".to_owned(), 50)]);
    let query = LinkQuery {
        workspace: HOME,
        limit: 9,
        text: Some("code-49".into()),
        ..LinkQuery::default()
    };
    assert_eq!(stores.links.list(&query).await.unwrap().total, 1);
}

#[tokio::test]
async fn damaged_counts_and_missing_secrets_are_reported() {
    let folder = tempfile::tempdir().unwrap();
    store_with_links(folder.path(), 50).await;
    edit(
        folder.path(),
        "UPDATE click_pages SET body = zeroblob(9) WHERE id = (SELECT min(id) FROM click_pages);
         DELETE FROM click_pages WHERE id = (SELECT max(id) FROM click_pages);",
    );
    std::fs::remove_file(folder.path().join("keys.toml")).unwrap();
    let report = verify(folder.path()).unwrap();
    assert_eq!(report.links, 50);
    // The page of a day, the totals of its shard, those of another, and the secrets.
    assert_eq!(report.findings.len(), 4, "{report:?}");
}
