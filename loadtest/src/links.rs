//! Makes the links everyone serves: the same for Shunt, nginx and HAProxy, the same on every
//! machine.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CODE_CHARS: usize = 7;
const N_CODES: u64 = 62_u64.pow(CODE_CHARS as u32);
/// Coprime to 62, so that counting in steps of it visits every code once and in no visible order.
const STEP: u64 = 2_176_477_521_929;
/// Code and destination of one link together, in bytes.
const LINK_BYTES: usize = 92;

/// Where each form of the same links lies.
#[derive(Clone, Debug)]
pub struct LinkFiles {
    /// For `shunt links import`: `code,destination,title`.
    pub csv: PathBuf,
    /// One code per line, the hottest first.
    pub codes: PathBuf,
    /// One destination per line, in the order of `codes`.
    pub targets: PathBuf,
    /// `map` entries for nginx: `/code "destination";`.
    pub nginx_map: PathBuf,
    /// A map file for HAProxy: `/code destination`.
    pub haproxy_map: PathBuf,
}

impl LinkFiles {
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            csv: folder.join("links.csv"),
            codes: folder.join("codes.txt"),
            targets: folder.join("targets.txt"),
            nginx_map: folder.join("nginx.map"),
            haproxy_map: folder.join("haproxy.map"),
        }
    }
}

/// The code of the link with this rank; ranks below 62^7 have different codes.
pub fn code(rank: u64) -> String {
    let mut left = (u128::from(rank + 1) * u128::from(STEP) % u128::from(N_CODES)) as u64;
    let mut text = [b'0'; CODE_CHARS];
    for slot in text.iter_mut().rev() {
        *slot = BASE62[(left % 62) as usize];
        left /= 62;
    }
    text.iter().map(|byte| char::from(*byte)).collect()
}

/// Where the link leads; padded so that code and destination are `LINK_BYTES` together.
pub fn target(rank: u64) -> String {
    let start = format!("https://www.example.com/landing/2026/spring?item={rank}&from=short&pad=");
    let n_pad = LINK_BYTES.saturating_sub(CODE_CHARS + start.len());
    start + &"x".repeat(n_pad)
}

/// Writes `n` links in every form into `folder`, unless they are there already.
pub fn write(n: u64, folder: &Path) -> Result<LinkFiles> {
    ensure!(n > 0 && n < N_CODES, "links: from 1 to {}", N_CODES - 1);
    let files = LinkFiles::in_folder(folder);
    // Written last, so that an interrupted run starts over.
    let done = folder.join("complete");
    if done.exists() {
        return Ok(files);
    }
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;

    let mut csv = create(&files.csv)?;
    let mut codes = create(&files.codes)?;
    let mut targets = create(&files.targets)?;
    let mut nginx_map = create(&files.nginx_map)?;
    let mut haproxy_map = create(&files.haproxy_map)?;
    writeln!(csv, "code,destination,title")?;
    for rank in 0..n {
        let (code, target) = (code(rank), target(rank));
        writeln!(csv, "{code},{target},Link {rank}")?;
        writeln!(codes, "{code}")?;
        writeln!(targets, "{target}")?;
        writeln!(nginx_map, "/{code} \"{target}\";")?;
        writeln!(haproxy_map, "/{code} {target}")?;
    }
    for mut file in [csv, codes, targets, nginx_map, haproxy_map] {
        file.flush().context("write links")?;
    }
    fs::write(&done, format!("{n}\n")).context("write links")?;
    Ok(files)
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_link_has_its_own_code_and_the_same_size() {
        let mut seen = HashSet::new();
        for rank in 0..100_000 {
            let code = code(rank);
            assert_eq!(code.len() + target(rank).len(), LINK_BYTES);
            assert!(seen.insert(code));
        }
    }
}
