//! An import that is cut short goes on where it was; other stores and archives are refused.

use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use shunt::cli::moving::{Imported, import};
use shunt::storage::moving::{Kind, Move, MoveStore, Out, Record};
use shunt::storage::{StorageError, StorageErrorKind, StorageResult};

use super::{embedded, filled, fresh, open, put, written};
use crate::cql;

/// Fails each write after so many, when half of its records are written.
struct Failing<'a> {
    store: &'a dyn MoveStore,
    left: AtomicU32,
}

#[async_trait]
impl MoveStore for Failing<'_> {
    async fn settle(&self) -> StorageResult<()> {
        self.store.settle().await
    }

    async fn scan(&self, kind: Kind, out: Out) -> StorageResult<()> {
        self.store.scan(kind, out).await
    }

    async fn moved(&self) -> StorageResult<Option<Move>> {
        self.store.moved().await
    }

    async fn begin(&self, archive: [u8; 32]) -> StorageResult<bool> {
        self.store.begin(archive).await
    }

    async fn put(&self, from: u64, mut records: Vec<Record>) -> StorageResult<()> {
        if self.left.load(Ordering::Relaxed) == 0 {
            records.truncate(records.len() / 2);
            self.store.put(from, records).await?;
            let gone = StorageErrorKind::Unavailable;
            return Err(StorageError::new(gone, "put_records", "the machine went away"));
        }
        self.left.fetch_sub(1, Ordering::Relaxed);
        self.store.put(from, records).await
    }

    async fn complete(&self) -> StorageResult<()> {
        self.store.complete().await
    }

    async fn finish(&self) -> StorageResult<()> {
        self.store.finish().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_cut_short_at_every_page_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (source, _) = filled(&at("one")).await;
    let archive = written(&embedded(&source, &at("one")), &at("archive")).await;

    let lent = cql::lend().await;
    let (database, _) = fresh(&lent).await;
    let target = open(&at("two"));
    for store in [&embedded(&target, &at("two")) as &dyn MoveStore, &database] {
        let mut n_cuts = 0;
        let mut before = 0;
        loop {
            // Each run gets one page further than the one before, and half of the next.
            let failing = Failing { store, left: AtomicU32::new(1) };
            match import(&failing, &archive, &mut |_| ()).await {
                Ok(done) => {
                    assert_eq!(done, Imported::Done);
                    break;
                }
                Err(error) => assert!(format!("{error:#}").contains("went away"), "{error:#}"),
            }
            let moved = store.moved().await.unwrap().unwrap();
            assert!(!moved.finished && moved.done > before, "{} records", moved.done);
            (n_cuts, before) = (n_cuts + 1, moved.done);
        }
        assert!(n_cuts > 10, "{n_cuts}");
        assert_eq!(import(store, &archive, &mut |_| ()).await.unwrap(), Imported::DoneBefore);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_empty_store_takes_an_archive_and_only_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (source, _) = filled(&at("one")).await;
    let archive = written(&embedded(&source, &at("one")), &at("archive")).await;
    let later = super::Writer::create(&at("later"), 5).unwrap();
    let other = super::export(&embedded(&source, &at("one")), later, &mut |_| ()).await.unwrap();
    assert_ne!(archive.id, other.id);

    let (used, _) = filled(&at("used")).await;
    let lent = cql::lend().await;
    let (database, stores) = fresh(&lent).await;
    crate::moving::fill::fill(&stores).await;
    for store in [&embedded(&used, &at("used")) as &dyn MoveStore, &database] {
        let error = import(store, &archive, &mut |_| ()).await.unwrap_err();
        assert!(error.to_string().contains("not empty"), "{error}");
        assert_eq!(store.moved().await.unwrap(), None);
    }
    drop(lent);

    let lent = cql::lend().await;
    let (database, _) = fresh(&lent).await;
    let target = open(&at("two"));
    for store in [&embedded(&target, &at("two")) as &dyn MoveStore, &database] {
        let failing = Failing { store, left: AtomicU32::new(3) };
        import(&failing, &archive, &mut |_| ()).await.unwrap_err();
        let error = import(store, &other, &mut |_| ()).await.unwrap_err();
        assert!(error.to_string().contains("another archive"), "{error}");
        put(store, &archive).await;
        let error = import(store, &other, &mut |_| ()).await.unwrap_err();
        assert!(error.to_string().contains("another archive"), "{error}");
    }
}

/// What is read back is compared, so that nothing that went missing on the way is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_went_missing_on_the_way_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (source, _) = filled(&at("one")).await;
    let archive = written(&embedded(&source, &at("one")), &at("archive")).await;
    let target = open(&at("two"));
    let store = embedded(&target, &at("two"));
    let failing = Failing { store: &store, left: AtomicU32::new(20) };
    import(&failing, &archive, &mut |_| ()).await.unwrap_err();
    crate::damage::edit(&at("two"), "DELETE FROM known_clients");
    let error = import(&store, &archive, &mut |_| ()).await.unwrap_err();
    assert!(error.to_string().contains("known_clients;"), "{error}");
    assert!(!store.moved().await.unwrap().unwrap().finished);
}
