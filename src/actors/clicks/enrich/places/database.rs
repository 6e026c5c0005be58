//! One file of places: read whole, checked whole, then only looked things up in.
//!
//! A file is read into memory rather than mapped, because a mapped file that is cut in place kills
//! the process. It serves only if every record that an address can lead to could be read, so that
//! a look-up cannot fail later. The checks of the reader's crate are not used: they follow every
//! way through the tree, which a crafted file makes endless, and they refuse files without a
//! description, as those of ip-location-db are.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use maxminddb::{MaxMindDbError, Metadata as Meta, Reader};

use super::record::{RawRecord, Record};
use super::tree::{Starts, Tree};

/// Largest file that is read, in bytes. The two city files of DB-IP have 63 and 71 MB.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Longest time to check a file. A city database takes half a second; a crafted one, whose records
/// lie over each other, could take days.
const CHECK_MAX: Duration = Duration::from_secs(30);
/// Nodes of the tree between two looks at the clock.
const NODES_PER_LOOK: u32 = 4_096;
/// Longest type and description of a database, in bytes.
const ABOUT_BYTES_MAX: usize = 256;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is not a file")]
    NotAFile,
    #[error("it has {0} bytes; at most {FILE_BYTES_MAX} are read")]
    TooLarge(u64),
    #[error("it changed while it was read")]
    BeingWritten,
    #[error("it is damaged or no MaxMind database: {0}")]
    Format(MaxMindDbError),
    #[error("it is damaged: its tree ends before its last node")]
    TreeCut,
    #[error("it is damaged: its tree is deeper than an address has bits")]
    TreeDeep,
    #[error("the record of {0} cannot be read: {1}")]
    Record(IpAddr, MaxMindDbError),
    #[error("it tells no places; its type is {0:?}")]
    NoPlaces(String),
    #[error("checking it took longer than {} s", CHECK_MAX.as_secs())]
    Slow,
    #[error("it is damaged in a way that the reader does not expect")]
    Unexpected,
    #[error("the server is stopping")]
    Ended,
}

/// Tells a file from the one that was there before: replaced, or written in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    /// Of the content: seconds and nanoseconds since 1970. Unpacked files may be given an old time.
    modified: (i64, i64),
    /// Of anything about the file, which nobody can set.
    changed: (i64, i64),
}

/// A file that was read and checked.
pub(super) struct Database {
    reader: Reader<Bytes>,
    /// The same bytes that the reader has.
    bytes: Bytes,
    starts: Starts,
    pub(super) about: About,
}

/// What a file says of itself, and what was found in it.
#[derive(Clone, Debug, Default)]
pub(super) struct About {
    pub(super) database_type: String,
    pub(super) description: String,
    /// Seconds since 1970.
    pub(super) built_secs: u64,
    pub(super) bytes: u64,
    pub(super) n_records: usize,
    /// Records that tell something of a place.
    pub(super) n_places: usize,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> Result<Self, DatabaseError> {
        Self::from_metadata(&fs::metadata(path)?)
    }

    fn from_metadata(metadata: &Metadata) -> Result<Self, DatabaseError> {
        // Opening a pipe would wait for somebody to write to it.
        if !metadata.is_file() {
            return Err(DatabaseError::NotAFile);
        }
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// When the file was last written to, in milliseconds since 1970.
    pub(super) fn modified_ms(self) -> i64 {
        self.modified.0.saturating_mul(1_000).saturating_add(self.modified.1 / 1_000_000)
    }
}

impl Database {
    /// Reads and checks a file that had this stamp. Gives up when `ended` is set.
    pub(super) fn open(
        path: &Path,
        stamp: Stamp,
        ended: &AtomicBool,
    ) -> Result<Self, DatabaseError> {
        let bytes = read(path, stamp)?;
        // The crate has been fuzzed and is not known to panic. Should it: not while it serves, as
        // everything that a look-up may read is read here first.
        panic::catch_unwind(AssertUnwindSafe(|| Self::check(bytes, ended)))
            .unwrap_or(Err(DatabaseError::Unexpected))
    }

    /// Checks the content of a file.
    pub(super) fn check(bytes: Vec<u8>, ended: &AtomicBool) -> Result<Self, DatabaseError> {
        let reader = Reader::from_source(bytes.as_slice()).map_err(DatabaseError::Format)?;
        let about = check_records(&reader, &bytes, ended)?;
        let starts = tree_of(reader.metadata(), &bytes).starts();
        let bytes = Bytes::from(bytes);
        let reader = Reader::from_source(bytes.clone()).map_err(DatabaseError::Format)?;
        Ok(Self { reader, bytes, starts, about })
    }

    /// The number of the record of an address; equal records mostly have one number. Mapped IPv6
    /// addresses must have been made IPv4 before.
    #[inline]
    pub(super) fn record_number(&self, address: IpAddr) -> Option<u32> {
        match address {
            IpAddr::V4(v4) => {
                let tree = tree_of(self.reader.metadata(), &self.bytes);
                tree.record_number(v4, &self.starts)
            }
            IpAddr::V6(_) => self.number_by_reader(address),
        }
    }

    /// The same as the reader finds it.
    pub(super) fn number_by_reader(&self, address: IpAddr) -> Option<u32> {
        // The reader makes an error of this, with a text.
        if address.is_ipv6() && !self.has_v6() {
            return None;
        }
        // Files of more than 4 GiB are not opened.
        self.reader.lookup(address).ok()?.offset().map(|offset| offset as u32)
    }

    fn has_v6(&self) -> bool {
        self.reader.metadata().ip_version == 6
    }

    /// What the record of an address says.
    pub(super) fn record(&self, address: IpAddr) -> Option<Record> {
        if address.is_ipv6() && !self.has_v6() {
            return None;
        }
        self.reader.lookup(address).ok()?.decode::<RawRecord<'_>>().ok()?.map(Record::from)
    }
}

/// Reads the file that had this stamp, if it still has it afterwards.
fn read(path: &Path, stamp: Stamp) -> Result<Vec<u8>, DatabaseError> {
    if stamp.len > FILE_BYTES_MAX {
        return Err(DatabaseError::TooLarge(stamp.len));
    }
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(stamp.len as usize).map_err(io::Error::from)?;
    (&file).take(stamp.len + 1).read_to_end(&mut bytes)?;
    let same = Stamp::from_metadata(&file.metadata()?)? == stamp && bytes.len() as u64 == stamp.len;
    same.then_some(bytes).ok_or(DatabaseError::BeingWritten)
}

fn tree_of<'a>(metadata: &Meta, bytes: &'a [u8]) -> Tree<'a> {
    Tree {
        bytes,
        n_nodes: metadata.node_count as usize,
        side_bits: metadata.record_size,
        v6: metadata.ip_version == 6,
    }
}

/// Reads every record once that an address can lead to.
fn check_records(
    reader: &Reader<&[u8]>,
    bytes: &[u8],
    ended: &AtomicBool,
) -> Result<About, DatabaseError> {
    let metadata = reader.metadata();
    let tree = tree_of(metadata, bytes);
    let begun = Instant::now();
    let may_go_on = || match (ended.load(Ordering::Relaxed), begun.elapsed() > CHECK_MAX) {
        (true, _) => Err(DatabaseError::Ended),
        (_, true) => Err(DatabaseError::Slow),
        _ => Ok(()),
    };
    let mut nodes = 0_u32;
    let pause = || {
        nodes = nodes.wrapping_add(1);
        if nodes.is_multiple_of(NODES_PER_LOOK) { may_go_on() } else { Ok(()) }
    };
    let mut n_places = 0;
    let n_records = tree.each_record(pause, |address| {
        may_go_on()?;
        let found = reader.lookup(address);
        let raw = found.and_then(|found| found.decode::<RawRecord<'_>>());
        let record = raw.map_err(|error| DatabaseError::Record(address, error))?.map(Record::from);
        n_places += usize::from(record.is_some_and(|record| !record.is_empty()));
        Ok(())
    })?;

    let database_type = about(&metadata.database_type);
    if n_places == 0 {
        return Err(DatabaseError::NoPlaces(database_type));
    }
    Ok(About {
        database_type,
        description: metadata.description.get("en").map(|text| about(text)).unwrap_or_default(),
        built_secs: metadata.build_epoch,
        bytes: bytes.len() as u64,
        n_records,
        n_places,
    })
}

/// A text of the metadata, short enough to be shown.
fn about(text: &str) -> String {
    let visible: String = text.chars().filter(|letter| !letter.is_control()).collect();
    visible[..visible.floor_char_boundary(ABOUT_BYTES_MAX)].to_owned()
}
