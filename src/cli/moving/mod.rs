//! `shunt export` and `shunt import`: everything that a store holds, to another one.
//!
//! An export reads a store that nobody works on into an archive; an import puts an archive into an
//! empty store, goes on where an earlier one was cut short, and reads everything back at the end.

pub mod archive;
mod store;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use futures_util::future::try_join;
use tokio::sync::mpsc;

use self::archive::{Archive, KindLine, Writer};
use crate::cli::{Outcome, block_on, complain, say};
use crate::config::Settings;
use crate::domain::time::Clock;
use crate::storage::moving::{Kind, MoveStore, Out, Record, Sum};

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Folder to write the archive to; must not exist or be empty. It will hold secrets
    folder: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// Folder that `shunt export` wrote
    folder: PathBuf,
}

/// What became of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    Done,
    /// An earlier run had done it.
    DoneBefore,
}

pub(super) fn run_export(args: &ExportArgs, settings: &Settings) -> Outcome {
    block_on(async {
        let source = Box::pin(store::open_source(settings)).await?;
        let made_at = crate::app::SystemClock.now().as_millis();
        let writer = Writer::create(&args.folder, made_at)?;
        let archive = export(source.store(), writer, &mut tell).await?;
        // A server that came meanwhile may have changed what was read before.
        source.store().settle().await.context("looking at the store again")?;
        let _ = source.close();
        complain(format_args!(
            "{} holds {} records; keep it secret, it has all keys of the installation",
            args.folder.display(),
            archive.n_records()
        ));
        Ok(())
    })
}

pub(super) fn run_import(args: &ImportArgs, settings: &Settings) -> Outcome {
    block_on(async {
        let archive = Archive::open(&args.folder)?;
        complain(format_args!("checking {} records", archive.n_records()));
        archive.check()?;
        let target = Box::pin(store::open_target(settings)).await?;
        let imported = import(target.store(), &archive, &mut tell).await;
        let closed = target.close();
        match imported? {
            Imported::Done => complain("everything is there; the store may be served"),
            Imported::DoneBefore => complain("this archive was imported here before"),
        }
        closed
    })
}

fn tell(line: &KindLine) {
    say(format_args!("{:<18} {:>12}  {}", line.kind, line.count, line.sum));
}

/// Writes everything that the store holds; tells of each kind when it is written.
pub async fn export(
    store: &dyn MoveStore,
    mut writer: Writer,
    tell: &mut (dyn FnMut(&KindLine) + Send),
) -> Result<Archive> {
    for kind in Kind::ALL {
        let line = each(store, *kind, |record| writer.add(record)).await?;
        tell(&line);
        writer.end_kind(line)?;
    }
    writer.finish()
}

/// Puts an archive into a store, or the rest of it; then reads all of it back and tells of each
/// kind. The store may be served when this returned without an error, and not before.
pub async fn import(
    store: &dyn MoveStore,
    archive: &Archive,
    tell: &mut (dyn FnMut(&KindLine) + Send),
) -> Result<Imported> {
    let done = match store.moved().await.context("reading the store")? {
        None => {
            let begun = store.begin(archive.id).await.context("beginning the import")?;
            ensure!(
                begun,
                "the store is not empty, or a server has it open; import into a new one"
            );
            0
        }
        Some(moved) if moved.archive != archive.id => {
            bail!("another archive was imported into this store, whole or in part");
        }
        Some(moved) if moved.finished => return Ok(Imported::DoneBefore),
        Some(moved) => moved.done,
    };
    let mut pages = archive.pages(done);
    while let Some((from, page)) = pages.next_page()? {
        if !page.is_empty() {
            store.put(from, page).await.context("writing to the store")?;
        }
    }
    store.complete().await.context("completing the store")?;
    let mut differing = Vec::new();
    for (kind, expected) in Kind::ALL.iter().zip(&archive.manifest.kinds) {
        let line = each(store, *kind, |_| Ok(())).await?;
        tell(&line);
        if line != *expected {
            differing.push(kind.as_str());
        }
    }
    ensure!(
        differing.is_empty(),
        "what the store holds is not what the archive holds: {}; the store is not to be served",
        differing.join(", ")
    );
    store.finish().await.context("ending the import")?;
    Ok(Imported::Done)
}

/// Reads all records of a kind; answers what they add up to.
pub(super) async fn each(
    store: &dyn MoveStore,
    kind: Kind,
    look: impl FnMut(&Record) -> Result<()>,
) -> Result<KindLine> {
    let (out, pages) = Out::channel();
    let scan = async {
        let scanned = store.scan(kind, out).await;
        scanned.with_context(|| format!("reading {} from the store", kind.as_str()))
    };
    let ((), sum) = try_join(scan, take_all(pages, look)).await?;
    Ok(KindLine::new(kind, &sum))
}

async fn take_all(
    mut pages: mpsc::Receiver<Vec<Record>>,
    mut look: impl FnMut(&Record) -> Result<()>,
) -> Result<Sum> {
    let mut sum = Sum::default();
    while let Some(page) = pages.recv().await {
        for record in &page {
            look(record)?;
            sum.add(record);
        }
    }
    Ok(sum)
}
