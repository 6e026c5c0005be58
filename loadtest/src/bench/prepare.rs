//! Links and stores that measurements share. Made once per folder, made anew for a new binary.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::links::{self, LinkFiles};
use crate::shunt::{ShuntSpec, remove_folder};

/// The files of `n` links below `work`.
pub(super) fn link_files(work: &Path, n: u64) -> Result<LinkFiles> {
    links::write(n, &work.join(format!("links-{n}")))
}

/// A store with these links, imported by `binary`; its folder must not be changed.
pub(super) fn store(work: &Path, n: u64, binary: &Path) -> Result<PathBuf> {
    let files = link_files(work, n)?;
    let folder = work.join(format!("store-{n}"));
    let done = work.join(format!("store-{n}.complete"));
    let stamp = stamp(binary)?;
    if fs::read_to_string(&done).is_ok_and(|found| found == stamp) {
        return Ok(folder);
    }
    remove_folder(&folder)?;
    ShuntSpec::new(binary, &folder).import(&files.csv, |_| ())?;
    fs::write(&done, stamp).with_context(|| format!("write {}", done.display()))?;
    Ok(folder)
}

fn stamp(binary: &Path) -> Result<String> {
    let meta = fs::metadata(binary).with_context(|| format!("look at {}", binary.display()))?;
    Ok(format!("{} {:?}\n", meta.len(), meta.modified()?))
}
