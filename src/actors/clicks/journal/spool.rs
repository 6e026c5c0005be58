//! The folder of the journal: who uses it, which segments there are, how much room they take.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::segment::Segment;
use super::{Boot, Header, Layout};
use crate::actors::clicks::ClicksConfig;
use crate::domain::click::SegmentId;
use crate::domain::time::Timestamp;
use crate::telemetry::metrics::DropReason;

pub(super) const DAMAGED_FOLDER: &str = "damaged";
const EXTENSION: &str = ".seg";
/// Segments under construction; never hold clicks.
const NEW_EXTENSION: &str = ".new";
/// Spent segments that wait to be used again; hold nothing that counts.
const IDLE_EXTENSION: &str = ".idle";
/// Segments on disk, however small: each one in use is a descriptor and a mapping of this process.
pub(in super::super) const SEGMENTS_MAX: u64 = 2_048;
/// Bytes wiped with one call.
const WIPE_BYTES: usize = 256 * 1_024;
/// Unit of the epoch that a start takes from the clock, in milliseconds.
const EPOCH_TICK_MS: i64 = 4;
/// Low bits of a segment id: the number of the segment in its epoch, and above them the number of
/// the node. Nodes that start in the same moment have the same epoch, and tell one store how far
/// each segment is counted.
const NUMBER_BITS: u32 = 14;
const NODE_BITS: u32 = 10;

/// A segment of an earlier process.
#[derive(Clone, Debug)]
pub(in super::super) struct OldSegment {
    pub id: SegmentId,
    pub path: PathBuf,
}

/// A segment whose clicks are all in the store.
#[derive(Debug)]
pub(in super::super) struct Spent {
    pub id: SegmentId,
    /// None: it was in memory only.
    pub path: Option<PathBuf>,
    pub fate: Fate,
}

/// What becomes of a spent segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Fate {
    /// Its blocks and pages serve the next segment.
    Reuse,
    Delete,
    /// It is damaged: an operator should look at it.
    SetAside,
}

/// Why there is no new segment.
#[derive(Debug)]
pub(in super::super) struct Obstacle {
    pub reason: DropReason,
    pub error: io::Error,
}

pub(in super::super) struct Spool {
    folder: PathBuf,
    config: ClicksConfig,
    /// Held for as long as the folder is in use.
    _lock: File,
    epoch: u64,
    /// Of the process, among all that share the store.
    node: u64,
    next_number: AtomicU64,
    /// Bytes on disk by segment.
    sizes: Mutex<HashMap<SegmentId, u64>>,
    /// Wiped files of full size. To use them again is cheaper than to make new ones: the blocks
    /// are there, and so are the pages in memory.
    idle: Mutex<Vec<PathBuf>>,
    spent: Mutex<Vec<Spent>>,
    deleted: Mutex<Vec<SegmentId>>,
    /// Why the last segment could not be had; `NO_OBSTACLE` when it could.
    obstacle: AtomicU8,
}

const NO_OBSTACLE: u8 = u8::MAX;

impl Spool {
    /// Opens the folder, alone, under a new epoch; answers the segments that earlier processes
    /// left, by id.
    pub(in super::super) fn open(
        folder: &Path,
        config: &ClicksConfig,
        node: u16,
        now: Timestamp,
    ) -> io::Result<(Self, Vec<OldSegment>)> {
        fs::create_dir_all(folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.try_lock().map_err(|error| {
            let text = format!("the journal in {} is in use: {error}", folder.display());
            io::Error::new(io::ErrorKind::ResourceBusy, text)
        })?;
        let mut sizes = HashMap::new();
        let mut old = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(NEW_EXTENSION) || name.ends_with(IDLE_EXTENSION) {
                fs::remove_file(entry.path())?;
            } else if let Some(id) = segment_in_name(&name) {
                sizes.insert(id, disk_bytes(&entry.metadata()?));
                old.push(OldSegment { id, path: entry.path() });
            }
        }
        old.sort_by_key(|segment| segment.id);
        let newest = old.last().map_or(0, |segment| segment.id.0 >> (NODE_BITS + NUMBER_BITS));
        let epoch = raise_epoch(folder, newest, now)?;
        let spool = Self {
            folder: folder.to_owned(),
            config: config.clone(),
            _lock: lock,
            epoch,
            node: u64::from(node),
            next_number: AtomicU64::new(0),
            sizes: Mutex::new(sizes),
            idle: Mutex::default(),
            spent: Mutex::default(),
            deleted: Mutex::default(),
            obstacle: AtomicU8::new(NO_OBSTACLE),
        };
        Ok((spool, old))
    }

    /// An id that no other segment ever had.
    pub(in super::super) fn next_id(&self) -> SegmentId {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        // More segments of one process than have room carry into the epoch. That is fine: the
        // next start takes an epoch above the clock and above every segment it finds.
        let epoch = self.epoch + (number >> NUMBER_BITS);
        let number = number & ((1 << NUMBER_BITS) - 1);
        SegmentId((((epoch << NODE_BITS) + self.node) << NUMBER_BITS) + number)
    }

    /// Makes a segment, its blocks allocated for good.
    pub(in super::super) fn prepare(&self, now: Timestamp) -> Result<Segment, Obstacle> {
        let idle = lock(&self.idle).pop();
        // What is used again takes no more room than it has already.
        let room = if idle.is_some() { Ok(()) } else { self.room() };
        let made = room.and_then(|()| {
            let failed = |error: io::Error| Obstacle { reason: reason_of(&error), error };
            self.make(idle.as_deref(), now).map_err(failed)
        });
        let obstacle = made.as_ref().map_or_else(|seen| seen.reason as u8, |_| NO_OBSTACLE);
        self.obstacle.store(obstacle, Ordering::Relaxed);
        made
    }

    /// Why clicks find no segment just now.
    pub(in super::super) fn obstacle(&self) -> Option<DropReason> {
        let seen = self.obstacle.load(Ordering::Relaxed);
        DropReason::ALL.into_iter().find(|reason| *reason as u8 == seen)
    }

    /// Notes how many bytes a closed segment still takes.
    pub(in super::super) fn resize(&self, id: SegmentId, bytes: u64) {
        if let Some(size) = lock(&self.sizes).get_mut(&id) {
            *size = bytes;
        }
    }

    /// True while the segment is on disk.
    pub(in super::super) fn holds(&self, id: SegmentId) -> bool {
        lock(&self.sizes).contains_key(&id)
    }

    /// Segments on disk, and the bytes that they and what waits to be used again take.
    pub(in super::super) fn usage(&self) -> (u64, u64) {
        let idle = lock(&self.idle).len() as u64 * self.config.segment_size.0;
        let sizes = lock(&self.sizes);
        (sizes.len() as u64, sizes.values().sum::<u64>() + idle)
    }

    /// Hands in segments whose clicks are all in the store.
    pub(in super::super) fn spend(&self, spent: impl IntoIterator<Item = Spent>) {
        lock(&self.spent).extend(spent);
    }

    /// Deletes what was handed in, or makes it ready to be used again as long as fewer than
    /// `idle_max` files wait for that. The segment goes first, for good, and only then may the
    /// store forget how far it was counted: a file that comes back would be counted again. A
    /// crash between the two leaves a position in the store that nobody asks for.
    pub(in super::super) fn delete_spent(&self, idle_max: usize) -> io::Result<()> {
        let spent = std::mem::take(&mut *lock(&self.spent));
        if spent.is_empty() {
            return Ok(());
        }
        let mut failed = Vec::new();
        let mut gone = Vec::new();
        let mut to_wipe = Vec::new();
        let mut outcome = Ok(());
        for segment in spent {
            let reuse = segment.fate == Fate::Reuse
                && self.is_whole(segment.id)
                && lock(&self.idle).len() + to_wipe.len() < idle_max;
            match self.remove(&segment, reuse) {
                Ok(idle) => {
                    gone.push(segment);
                    to_wipe.extend(idle);
                }
                Err(error) => {
                    outcome = Err(error);
                    failed.push(segment);
                }
            }
        }
        if let Err(error) = sync_folder(&self.folder) {
            // They may come back with a loss of power: all of them are tried again. Until then they
            // are segments to everybody else, who may make holes in their files.
            outcome = Err(error);
            failed.append(&mut gone);
            to_wipe.drain(..).for_each(|path| discard(&path));
        }
        lock(&self.spent).extend(failed);
        let gone: Vec<SegmentId> = gone.into_iter().map(|segment| segment.id).collect();
        lock(&self.sizes).retain(|id, _| !gone.contains(id));
        lock(&self.deleted).extend(gone);
        for path in to_wipe {
            self.make_idle(path);
        }
        outcome
    }

    /// Deletes what waits to be used again.
    pub(in super::super) fn delete_idle(&self) {
        for path in std::mem::take(&mut *lock(&self.idle)) {
            discard(&path);
        }
    }

    /// Segments that the store may forget.
    pub(in super::super) fn take_deleted(&self) -> Vec<SegmentId> {
        std::mem::take(&mut *lock(&self.deleted))
    }

    /// Gives back what the store did not forget yet.
    pub(in super::super) fn put_deleted(&self, segments: Vec<SegmentId>) {
        lock(&self.deleted).extend(segments);
    }

    /// Segments handed in that are still on disk or in the store.
    pub(in super::super) fn n_leaving(&self) -> usize {
        lock(&self.spent).len() + lock(&self.deleted).len()
    }

    fn room(&self) -> Result<(), Obstacle> {
        let full = |text: String| Obstacle {
            reason: DropReason::SpoolFull,
            error: io::Error::new(io::ErrorKind::StorageFull, text),
        };
        let size = self.config.segment_size.0;
        let (segments, used) = self.usage();
        if segments >= SEGMENTS_MAX {
            return Err(full(format!("the journal has {segments} segments, as many as it may")));
        }
        if used + size > self.config.spool_max.0 {
            return Err(full(format!("the journal takes {used} bytes, as many as it may")));
        }
        let disk = statvfs(&self.folder)
            .map_err(|error| Obstacle { reason: DropReason::JournalFailed, error: error.into() })?;
        let floor = self.config.free_disk_min.bytes(disk.f_blocks * disk.f_frsize);
        let free = disk.f_bavail * disk.f_frsize;
        if free < floor + size {
            return Err(full(format!("the file system has {free} bytes left, {floor} must stay")));
        }
        Ok(())
    }

    /// True while no block of the segment was given back.
    fn is_whole(&self, id: SegmentId) -> bool {
        lock(&self.sizes).get(&id) == Some(&self.config.segment_size.0)
    }

    /// Wipes a file, so that no visitor's address stays in it, and keeps it.
    fn make_idle(&self, path: PathBuf) {
        match wipe(&path, self.config.segment_size.0) {
            Ok(()) => lock(&self.idle).push(path),
            Err(error) => {
                tracing::debug!(%error, "a segment could not be wiped; it is deleted instead");
                discard(&path);
            }
        }
    }

    /// `idle` is a wiped file to use, if there is one.
    fn make(&self, idle: Option<&Path>, now: Timestamp) -> io::Result<Segment> {
        let id = self.next_id();
        let path = self.folder.join(format!("{:016x}{EXTENSION}", id.0));
        let new = self.folder.join(format!("{:016x}{NEW_EXTENSION}", id.0));
        let made = self.make_at(idle, [&new, &path], id, now);
        if made.is_err() {
            // Half a segment must not keep the blocks that others need. It holds no clicks.
            idle.into_iter().chain([&*new, &path]).for_each(discard);
            return made;
        }
        lock(&self.sizes).insert(id, self.config.segment_size.0);
        made
    }

    fn make_at(
        &self,
        idle: Option<&Path>,
        [new, path]: [&Path; 2],
        id: SegmentId,
        now: Timestamp,
    ) -> io::Result<Segment> {
        let file = self.blank(idle, new)?;
        let bytes = self.config.segment_size.0 as u32;
        let layout = Layout::NEWEST;
        let boot = Boot::current();
        let header = Header { segment: id, created_at: now, bytes, layout, boot };
        std::os::unix::fs::FileExt::write_all_at(&file, &header.encode(), 0)?;
        file.sync_data()?;
        fs::rename(new, path)?;
        sync_folder(&self.folder)?;
        Segment::map(id, path.to_owned(), file)
    }

    /// A file of full size without content, at `new`.
    fn blank(&self, idle: Option<&Path>, new: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match idle {
            Some(idle) => {
                fs::rename(idle, new)?;
                options.open(new)
            }
            None => {
                let mut file = options.create_new(true).open(new)?;
                allocate(&mut file, self.config.segment_size.0)?;
                Ok(file)
            }
        }
    }

    /// Takes a segment out of the journal; answers where its file is when it is to be used again.
    fn remove(&self, segment: &Spent, reuse: bool) -> io::Result<Option<PathBuf>> {
        let Some(path) = &segment.path else { return Ok(None) };
        let removed = if reuse {
            let idle = path.with_extension(&IDLE_EXTENSION[1..]);
            fs::rename(path, &idle).map(|()| Some(idle))
        } else if segment.fate == Fate::SetAside {
            let kept = self.folder.join(DAMAGED_FOLDER);
            fs::create_dir_all(&kept)?;
            let name = path.file_name().unwrap_or_default();
            fs::rename(path, kept.join(name)).and_then(|()| sync_folder(&kept)).map(|()| None)
        } else {
            fs::remove_file(path).map(|()| None)
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other,
        }
    }
}

/// The segment that a file name stands for.
pub fn segment_in_name(name: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(EXTENSION)?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok().map(SegmentId))?
}

/// Zeros over a whole file, through its pages: they stay in memory for the next segment.
fn wipe(path: &Path, size: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    write_zeros(&mut file, size)
}

fn write_zeros(file: &mut File, size: u64) -> io::Result<()> {
    let zeros = vec![0; WIPE_BYTES];
    let mut left = size as usize;
    while left > 0 {
        let n = left.min(zeros.len());
        file.write_all(&zeros[..n])?;
        left -= n;
    }
    Ok(())
}

/// Deletes a file that holds no clicks.
fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(%error, path = %path.display(), "a file could not be deleted");
    }
}

/// Takes real blocks, not a promise: a write into a hole on a full disk would kill the process.
fn allocate(file: &mut File, size: u64) -> io::Result<()> {
    match fallocate(&*file, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP) => write_zeros(file, size),
        Err(error) => Err(error.into()),
    }
}

/// Higher than every epoch before, also when the clock went back, and durable before it is used.
fn raise_epoch(folder: &Path, newest_segment: u64, now: Timestamp) -> io::Result<u64> {
    let path = folder.join("epoch");
    let last = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<u64>().map_err(|_| {
            let text =
                format!("{} does not hold a number; delete it if it is damaged", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    // Finer than any restart, so that even a journal that somebody deleted does not come back
    // under ids whose records the store has counted. 40 bits of it last until 2109.
    let ticks = u64::try_from(now.as_millis() / EPOCH_TICK_MS).unwrap_or(0);
    let epoch = (last.max(newest_segment) + 1).max(ticks);
    let text = format!("{epoch}\n");
    match replace(folder, &path, &text) {
        // A node that cannot start redirects nobody; a full disk is no reason for that.
        Err(error) if is_no_space(&error) => overwrite(&path, &text).map_err(|_| error)?,
        replaced => replaced?,
    }
    Ok(epoch)
}

/// A new file in the place of the old one: after a crash there is either.
fn replace(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    let new = folder.join("epoch.new");
    let mut file = File::create(&new)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // The error of the write says more than that of cleaning up after it.
        let _ = fs::remove_file(&new);
    }
    written?;
    fs::rename(&new, path)?;
    sync_folder(folder)
}

/// New bytes in the blocks of the old ones. Only for as many bytes, which then lie in one sector.
fn overwrite(path: &Path, text: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    if file.metadata()?.len() != text.len() as u64 {
        return Err(io::ErrorKind::StorageFull.into());
    }
    std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), 0)?;
    file.sync_data()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn disk_bytes(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

fn reason_of(error: &io::Error) -> DropReason {
    if is_no_space(error) { DropReason::SpoolFull } else { DropReason::JournalFailed }
}

/// The disk is full, or all that this user may have of it.
fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A thread that panicked left nothing half done in these maps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_that_is_used_up_is_a_full_disk() {
        let no_space = |code| is_no_space(&io::Error::from_raw_os_error(code));
        assert!(no_space(rustix::io::Errno::DQUOT.raw_os_error()));
        assert!(no_space(rustix::io::Errno::NOSPC.raw_os_error()));
        assert!(!no_space(rustix::io::Errno::IO.raw_os_error()));
    }
}
