//! Everything that a store holds, moved to another one: it must answer every question as before.

mod answers;
mod archives;
mod cut_short;
mod fill;

use std::path::Path;

use shunt::cli::moving::archive::{Archive, KindLine, Writer};
use shunt::cli::moving::{Imported, export, import};
use shunt::domain::audit::AuditKey;
use shunt::domain::seal::SealKey;
use shunt::storage::Stores;
use shunt::storage::embedded::moving::EmbeddedMove;
use shunt::storage::embedded::{Embedded, Mode};
use shunt::storage::moving::MoveStore;
use shunt::storage::scylla::moving::CqlMove;
use shunt::storage::secrets::Secrets;

use self::answers::{answers, go_on};
use self::fill::{Filled, fill};
use crate::cql::{self, Lent};
use crate::make::NOW;

fn secrets() -> Secrets {
    let seal = vec![SealKey { version: 1, secret: [5; 32] }];
    Secrets { api_keys: [7; 32], cursors: [6; 32], seal }
}

/// A new embedded store with secrets and something of everything.
async fn filled(folder: &Path) -> (Embedded, Filled) {
    secrets().replace(folder).unwrap();
    let store = open(folder);
    let filled = fill(&store.stores()).await;
    (store, filled)
}

fn open(folder: &Path) -> Embedded {
    let store = Embedded::open(folder, Mode::Create).unwrap();
    store.seal_audit_log(AuditKey::of(&[7; 32]));
    store
}

fn embedded(store: &Embedded, folder: &Path) -> EmbeddedMove {
    EmbeddedMove::new(store.clone(), folder.to_owned())
}

/// A database as a process has it that starts now.
async fn fresh(lent: &Lent) -> (CqlMove, Stores) {
    let cql = cql::open(lent.keyspace).await;
    (CqlMove::of(cql.clone()), cql::stores(&cql))
}

async fn written(store: &dyn MoveStore, folder: &Path) -> Archive {
    store.settle().await.unwrap();
    let writer = Writer::create(folder, NOW.0).unwrap();
    let archive = export(store, writer, &mut |_| ()).await.unwrap();
    let read = Archive::open(folder).unwrap();
    read.check().unwrap();
    assert_eq!((archive.id, &archive.manifest), (read.id, &read.manifest));
    archive
}

async fn put(store: &dyn MoveStore, archive: &Archive) -> Vec<KindLine> {
    let mut told = Vec::new();
    let done = import(store, archive, &mut |line| told.push(line.clone())).await.unwrap();
    assert_eq!(done, Imported::Done);
    assert_eq!(told, archive.manifest.kinds);
    told
}

#[track_caller]
fn assert_same(before: &[String], after: &[String]) {
    for (one, other) in before.iter().zip(after) {
        assert!(one == other, "before:\n{one}\nafter:\n{other}");
    }
    assert_eq!(before.len(), after.len());
}

/// The log is sealed from its first entry to its end.
fn assert_sound(folder: &Path) {
    let report = shunt::storage::embedded::verify::verify(folder).unwrap();
    let findings: Vec<_> = report.findings.iter().map(|finding| &finding.what).collect();
    assert!(report.is_sound(), "{findings:?}");
    assert!(report.audit_entries > 300, "{}", report.audit_entries);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_one_machine_to_a_database_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (source, filled) = filled(&at("one")).await;
    let there = written(&embedded(&source, &at("one")), &at("there")).await;
    assert!(there.manifest.kinds.iter().all(|line| line.count > 0), "{:?}", there.manifest.kinds);
    let before = answers(&source.stores(), &filled).await;

    let lent = cql::lend().await;
    let (database, shared) = fresh(&lent).await;
    put(&database, &there).await;
    assert_same(&before, &answers(&shared, &filled).await);
    let back = written(&database, &at("back")).await;
    assert_eq!(back.manifest.kinds, there.manifest.kinds);

    let target = open(&at("two"));
    put(&embedded(&target, &at("two")), &back).await;
    assert_same(&before, &answers(&target.stores(), &filled).await);
    assert_sound(&at("two"));
    let text = |name| std::fs::read_to_string(at(name).join("keys.toml")).unwrap();
    assert_eq!(text("one"), text("two"));

    let here = go_on(&source.stores(), &filled).await;
    assert_same(&here, &go_on(&shared, &filled).await);
    assert_same(&here, &go_on(&target.stores(), &filled).await);
    assert_sound(&at("two"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_database_that_nodes_counted_in_to_another() {
    let folder = tempfile::tempdir().unwrap();
    let lent = cql::lend().await;
    let text = secrets().to_text();
    lent.cql().secrets(|| Ok::<_, shunt::storage::StorageError>(text)).await.unwrap();
    let (source, stores) = fresh(&lent).await;
    let filled = fill(&stores).await;
    // Another node counts clicks of the same links on the same days, and does not add them up.
    let others = cql::stores_of(lent.cql(), 5, stores.clone());
    let rows: Vec<_> =
        filled.links.iter().take(3).map(|link| (link.id, fill::MINUTE + 5, 4)).collect();
    let more = crate::make::clicked(50, 0, 100, &rows);
    crate::clicks::flush(&others, vec![more]).await.unwrap();
    let archive = written(&source, &folder.path().join("archive")).await;
    let before = answers(&stores, &filled).await;
    drop(lent);

    let target = folder.path().join("embedded");
    let store = open(&target);
    put(&embedded(&store, &target), &archive).await;
    assert_same(&before, &answers(&store.stores(), &filled).await);
    assert_sound(&target);

    let lent = cql::lend().await;
    let (database, shared) = fresh(&lent).await;
    put(&database, &archive).await;
    assert_same(&before, &answers(&shared, &filled).await);
    let here = go_on(&store.stores(), &filled).await;
    assert_same(&here, &go_on(&shared, &filled).await);
}
