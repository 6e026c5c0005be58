//! What `shunt verify` says about the journal.

use std::fs;
use std::io;
use std::path::Path;

use super::scan::{self, Head};
use super::spool::{DAMAGED_FOLDER, segment_in_name};

/// Before the names of files that were set aside.
const DAMAGED_PREFIX: &str = "damaged/";

/// One segment file, looked at without changing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// Relative to the journal's folder.
    pub name: String,
    /// Intact records before any damage.
    pub records: u64,
    pub state: FileState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileState {
    Intact,
    /// Bytes at `offset` or behind are damaged, at 0 the header; `lost` records can still be told
    /// from garbage.
    Damaged {
        offset: u64,
        lost: u64,
    },
    /// Not a segment, or not the one its name says.
    NotASegment,
    Unreadable(String),
}

impl FileReport {
    /// True when the file was set aside as damaged: no start reads it.
    pub fn set_aside(&self) -> bool {
        self.name.starts_with(DAMAGED_PREFIX)
    }
}

/// Reads every segment in the journal `folder`, those set aside as damaged included, in order of
/// name. A folder that does not exist holds none. Fails when the folder cannot be listed.
pub fn verify(folder: &Path) -> io::Result<Vec<FileReport>> {
    let mut reports = Vec::new();
    for (place, prefix) in [(folder.to_owned(), ""), (folder.join(DAMAGED_FOLDER), DAMAGED_PREFIX)]
    {
        let entries = match fs::read_dir(&place) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            if segment_in_name(&name).is_some() {
                reports.extend(report(&place.join(&*name), format!("{prefix}{name}")));
            }
        }
    }
    reports.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(reports)
}

/// Nothing when the file is gone: a running server counted its clicks since the folder was listed.
fn report(path: &Path, name: String) -> Option<FileReport> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            let state = FileState::Unreadable(error.to_string());
            return Some(FileReport { name, records: 0, state });
        }
    };
    let named = path.file_name().and_then(|name| segment_in_name(&name.to_string_lossy()));
    let Some(id) = named else {
        return Some(FileReport { name, records: 0, state: FileState::NotASegment });
    };
    let scanned = scan::scan(&bytes, id, |_| ());
    let state = match (scan::head(&bytes, id, &scanned), scanned.damage) {
        (Head::Foreign, _) => FileState::NotASegment,
        (Head::Damaged, damage) => {
            FileState::Damaged { offset: 0, lost: damage.map_or(0, |damage| damage.lost) }
        }
        (Head::Intact, None) => FileState::Intact,
        (Head::Intact, Some(damage)) => {
            FileState::Damaged { offset: damage.offset as u64, lost: damage.lost }
        }
    };
    let records = if state == FileState::NotASegment { 0 } else { scanned.records };
    Some(FileReport { name, records, state })
}
