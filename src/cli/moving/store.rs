//! The store that an export reads or an import writes, opened past everything that serves it.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::actors::clicks::journal;
use crate::app::JOURNAL_FOLDER;
use crate::cli::Outcome;
use crate::config::Settings;
use crate::storage::embedded::moving::EmbeddedMove;
use crate::storage::embedded::{Embedded, Mode, database_file};
use crate::storage::lock::StoreLock;
use crate::storage::moving::{Kind, MoveStore, Out, Record};
use crate::storage::scylla::moving::CqlMove;

/// An open store. Nobody else works on it, as far as this machine can tell.
pub(super) struct Opened {
    store: Box<dyn MoveStore>,
    embedded: Option<Embedded>,
    _lock: StoreLock,
}

impl Opened {
    pub(super) fn store(&self) -> &dyn MoveStore {
        &*self.store
    }

    /// Finishes what waits.
    pub(super) fn close(self) -> Outcome {
        if let Some(embedded) = &self.embedded {
            embedded.close();
        }
        Ok(())
    }
}

/// Opens the store that the settings name to be read, with nothing left to be counted.
pub(super) async fn open_source(settings: &Settings) -> Result<Opened> {
    let path = &settings.storage.path;
    let opened = match settings.storage.database() {
        None => {
            let there = database_file(path).exists();
            ensure!(there, "there is no store in {}", path.display());
            let lock = lock(path)?;
            open_embedded(settings, lock, Mode::Existing)?
        }
        Some(config) => {
            let lock = lock(path)?;
            let store = Box::pin(CqlMove::open(&config)).await.context("opening the database")?;
            Opened { store: Box::new(store), embedded: None, _lock: lock }
        }
    };
    let moved = opened.store().moved().await.context("reading the store")?;
    if moved.is_some_and(|moved| !moved.finished) {
        bail!("an import into this store is not finished; end it before the store is exported");
    }
    opened.store().settle().await.context("the store cannot be exported now")?;
    refuse_uncounted(opened.store(), &path.join(JOURNAL_FOLDER)).await?;
    Ok(opened)
}

/// Opens the store that the settings name to be written, and makes it if it is new.
pub(super) async fn open_target(settings: &Settings) -> Result<Opened> {
    let lock = lock(&settings.storage.path)?;
    match settings.storage.database() {
        None => open_embedded(settings, lock, Mode::Create),
        Some(config) => {
            let store = Box::pin(CqlMove::make(&config)).await.context("opening the database")?;
            Ok(Opened { store: Box::new(store), embedded: None, _lock: lock })
        }
    }
}

fn open_embedded(settings: &Settings, lock: StoreLock, mode: Mode) -> Result<Opened> {
    let path = &settings.storage.path;
    let embedded = Embedded::open_with(path, mode, &settings.storage.embedded())
        .with_context(|| format!("opening the store in {}", path.display()))?;
    let store = Box::new(EmbeddedMove::new(embedded.clone(), path.clone()));
    Ok(Opened { store, embedded: Some(embedded), _lock: lock })
}

fn lock(path: &Path) -> Result<StoreLock> {
    let lock = StoreLock::try_acquire(path)
        .with_context(|| format!("`storage.path`, {}, must be writable", path.display()))?;
    lock.with_context(|| {
        format!(
            "a server works on the store in {}; stop it with SIGTERM, which counts all clicks \
             first (for a rehearsal, export a copy made by `shunt backup`)",
            path.display()
        )
    })
}

/// Clicks in the journal would be left behind, or counted twice.
async fn refuse_uncounted(store: &dyn MoveStore, folder: &Path) -> Result<()> {
    let covered = positions(store).await?;
    let files = journal::verify(folder).with_context(|| format!("reading {}", folder.display()))?;
    for file in files.iter().filter(|file| !file.set_aside()) {
        let segment = journal::segment_in_name(&file.name).map(|segment| segment.0.cast_signed());
        let counted = segment.and_then(|segment| covered.get(&segment)).copied().unwrap_or(0);
        if file.records > counted {
            bail!(
                "{} clicks in {} are not counted yet; start the server once and stop it with \
                 SIGTERM, which counts them",
                file.records - counted,
                folder.join(&file.name).display()
            );
        }
    }
    Ok(())
}

/// How many records of each segment are counted.
async fn positions(store: &dyn MoveStore) -> Result<HashMap<i64, u64>> {
    let (mut covered, (out, mut pages)) = (HashMap::new(), Out::channel());
    let take = async {
        while let Some(page) = pages.recv().await {
            for record in page {
                if let Record::Positions(record) = record {
                    covered.insert(record.segment, record.covered.unsigned_abs());
                }
            }
        }
    };
    let (scanned, ()) = futures_util::future::join(store.scan(Kind::Positions, out), take).await;
    scanned.context("reading how far the journal is counted")?;
    Ok(covered)
}
