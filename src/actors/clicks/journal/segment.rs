//! A segment in use: a file mapped into memory, one writer, readers behind it.
//!
//! The only file of the journal with `unsafe` in it. What makes it sound: the file is allocated
//! whole and never shortened while it is mapped; bytes before the writer's end are never written
//! again, and readers see only records whose commit word they have read with Acquire; bytes
//! behind the end belong to the one writer, while it has set the segment's state to `WRITING`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use memmap2::{Advice, MmapRaw};
use rustix::fs::{FallocateFlags, fallocate};

use super::HEADER_BYTES;
use super::record::{self, ALIGNMENT, FRAME_BYTES};
use crate::domain::click::{RawClick, SegmentId};

const PAGE_BYTES: usize = 4_096;

// States of a segment. It goes from UNUSED to OPEN when its writer is made, between OPEN and
// WRITING with each record, and from either UNUSED or OPEN to CLOSED, for ever. So the keeper can
// close a segment whose lane is idle, and a lane never waits: it finds the segment closed and
// goes on to the next.
const UNUSED: u8 = 0;
const OPEN: u8 = 1;
const WRITING: u8 = 2;
const CLOSED: u8 = 3;

/// What everybody may know of a segment.
pub(in super::super) struct Segment {
    id: SegmentId,
    path: PathBuf,
    file: File,
    map: MmapRaw,
    seed: u32,
    /// End of the last record.
    written: AtomicUsize,
    state: AtomicU8,
    /// End of what is known to be on the disk. Kept by the keeper.
    synced: AtomicUsize,
    /// End of the records that have their checksum. Kept by the keeper.
    sealed: AtomicUsize,
    /// End of the pages that were made ready for the writer.
    ready: AtomicUsize,
    /// The disk refused a write: nothing in it is durable any more.
    failed: AtomicBool,
}

/// The right to append to a segment. There is one per segment.
pub(in super::super) struct SegmentWriter {
    segment: Arc<Segment>,
    end: usize,
}

impl Segment {
    /// Maps `file`, whose blocks are allocated and zero behind the header.
    pub(super) fn map(id: SegmentId, path: PathBuf, file: File) -> io::Result<Self> {
        let map = MmapRaw::map_raw(&file)?;
        Ok(Self {
            id,
            path,
            file,
            map,
            seed: record::seed(id),
            written: AtomicUsize::new(HEADER_BYTES),
            state: AtomicU8::new(UNUSED),
            synced: AtomicUsize::new(HEADER_BYTES),
            sealed: AtomicUsize::new(HEADER_BYTES),
            ready: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        })
    }
}

impl SegmentWriter {
    /// The writer of a segment. None: it has, or had, one already, or it is closed.
    pub(in super::super) fn open(segment: Arc<Segment>) -> Option<Self> {
        // Not `then_some`: a writer that is made in vain would close the segment when dropped.
        segment.turn(UNUSED, OPEN).then(|| Self { segment, end: HEADER_BYTES })
    }

    #[cfg(test)]
    pub(in super::super) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Appends a click; false when it does not fit, or when the segment was closed. Inlined, as the
    /// one place that calls it for each hit.
    #[inline(always)]
    #[expect(unsafe_code, reason = "the journal is shared memory; see the head of this file")]
    pub(in super::super) fn append(&mut self, click: &RawClick<'_>) -> bool {
        let cut;
        let click = if record::fits(click) {
            click
        } else {
            cut = record::cut(click);
            &cut
        };
        let (segment, at) = (&*self.segment, self.end);
        // A record never ends behind the room it may take, rounded up as every record is.
        let room = record::room(click);
        let fits = at + record::record_bytes(room) <= segment.map.len();
        if !fits || !segment.turn(OPEN, WRITING) {
            return false;
        }
        // SAFETY: the room lies in the mapping (asked above) and behind the last published record,
        // where no reader forms a reference; `&mut self` is the only writer of the segment. Every
        // byte of a file mapping is initialised. Records begin at multiples of eight and mappings
        // at a page, so the commit word is aligned.
        let (commit, payload) = unsafe {
            let record = segment.map.as_mut_ptr().add(at);
            let payload = slice::from_raw_parts_mut(record.add(FRAME_BYTES), room);
            (AtomicU32::from_ptr(record.cast()), payload)
        };
        let len = record::write(click, payload);
        let next = at + record::record_bytes(len);
        // The commit: whoever reads this length sees the record behind it.
        commit.store((len as u32).to_le(), Ordering::Release);
        segment.written.store(next, Ordering::Release);
        self.end = next;
        // Nobody else leaves WRITING, so a plain store is enough.
        segment.state.store(OPEN, Ordering::Release);
        true
    }
}

impl Drop for SegmentWriter {
    /// A writer that is gone never writes again: readers may finish the segment.
    fn drop(&mut self) {
        self.segment.state.store(CLOSED, Ordering::Release);
    }
}

impl Segment {
    pub(in super::super) fn id(&self) -> SegmentId {
        self.id
    }

    pub(in super::super) fn path(&self) -> &Path {
        &self.path
    }

    /// True when no record follows those that can be read after this call.
    pub(in super::super) fn closed(&self) -> bool {
        self.state.load(Ordering::Acquire) == CLOSED
    }

    /// Closes the segment, unless a record is being written to it at this moment; answers whether
    /// it is closed.
    pub(in super::super) fn close(&self) -> bool {
        self.turn(OPEN, CLOSED) || self.turn(UNUSED, CLOSED) || self.closed()
    }

    fn turn(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Bytes from the beginning to the end of the last record.
    pub(in super::super) fn written(&self) -> usize {
        self.written.load(Ordering::Acquire)
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        self.written() == HEADER_BYTES
    }

    /// The payload of the record at `at` and where the next one begins; `None` when it is not
    /// written yet. `at` must be the beginning of a record.
    #[expect(unsafe_code, reason = "the journal is shared memory; see the head of this file")]
    pub(in super::super) fn record_at(&self, at: usize) -> Option<(&[u8], usize)> {
        if at + FRAME_BYTES > self.map.len() {
            return None;
        }
        let len = u32::from_le(self.word(at).load(Ordering::Acquire)) as usize;
        if len == 0 {
            return None;
        }
        let start = at + FRAME_BYTES;
        if start + len > self.map.len() {
            return None;
        }
        // SAFETY: the range lies in the mapping (asked above). The commit word was read with
        // Acquire after the writer stored it with Release behind the payload, and a published
        // payload is never written again.
        let payload = unsafe { slice::from_raw_parts(self.map.as_ptr().add(start), len) };
        Some((payload, at + record::record_bytes(len)))
    }

    /// Asks the processor to bring the bytes at `at` closer, for a reader who is on his way there:
    /// what a worker wrote a moment ago has left the cache, and each wait for memory is as long as
    /// all the rest that is done for a click.
    #[inline]
    #[expect(unsafe_code, reason = "the journal is shared memory; see the head of this file")]
    pub(in super::super) fn fetch_ahead(&self, at: usize) {
        #[cfg(target_arch = "x86_64")]
        if at < self.map.len() {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: the address lies in the mapping (asked above); a prefetch reads nothing that
            // the program could see.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.map.as_ptr().add(at).cast()) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }

    /// Writes the records since the last call through to the disk. An error is final: Linux calls
    /// the pages clean afterwards, so trying again would tell a lie.
    pub(in super::super) fn sync(&self) -> io::Result<()> {
        let (from, to) = (self.synced.load(Ordering::Relaxed), self.written());
        if from == to || self.failed() {
            return Ok(());
        }
        self.seal();
        self.map.flush_range(from, to - from).inspect_err(|_| self.fail())?;
        self.synced.store(to, Ordering::Release);
        Ok(())
    }

    /// Writes the checksums of the records that have none yet. Called by the keeper only.
    pub(super) fn seal(&self) {
        let mut at = self.sealed.load(Ordering::Relaxed);
        while let Some((payload, next)) = self.record_at(at) {
            let crc = record::checksum(self.seed, at, payload);
            self.word(at + 4).store(crc.to_le(), Ordering::Relaxed);
            at = next;
        }
        self.sealed.store(at, Ordering::Relaxed);
    }

    /// True when every record is on the disk, so that the keeper has nothing to do here any more.
    pub(in super::super) fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire) == self.written()
    }

    pub(in super::super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    pub(in super::super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Keeps at least `bytes` behind the last record present and writable, so that they cost the
    /// writer no fault; goes twice as far, so that most calls have nothing to do. Best effort:
    /// kernels before 5.14 do not know how.
    pub(in super::super) fn prefault(&self, bytes: usize) {
        let written = self.written();
        let ready = self.ready.load(Ordering::Relaxed);
        let size = self.map.len();
        if ready >= size.min(written + bytes) {
            return;
        }
        let from = ready.max(written / PAGE_BYTES * PAGE_BYTES);
        let to = size.min(written + 2 * bytes).next_multiple_of(PAGE_BYTES);
        if self.map.advise_range(Advice::PopulateWrite, from, to - from).is_err() {
            tracing::trace!(segment = self.id.0, "the journal could not be prefaulted");
        }
        self.ready.store(to, Ordering::Relaxed);
    }

    /// Gives the blocks behind the last record back to the file system, unless they are few;
    /// answers the bytes kept. For closed segments: a hole must never be written to.
    pub(in super::super) fn trim(&self) -> usize {
        debug_assert!(self.closed());
        let used = self.written().next_multiple_of(PAGE_BYTES);
        let size = self.map.len();
        // A segment that was filled stays whole, so that its file can be used again.
        if used >= size - size / 8 {
            return size;
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, flags, used as u64, (size - used) as u64) {
            Ok(()) => used,
            Err(_) => size,
        }
    }

    #[expect(unsafe_code, reason = "the journal is shared memory; see the head of this file")]
    fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(ALIGNMENT / 2) && at + 4 <= self.map.len());
        // SAFETY: in the mapping and aligned for four bytes (asserted; mappings begin at a page).
        // Frame words are only ever accessed through this function.
        unsafe { AtomicU32::from_ptr(self.map.as_mut_ptr().add(at).cast()) }
    }
}
