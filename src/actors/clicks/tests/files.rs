//! Segments as files: whatever happens to their bytes, exactly the intact records are found.

use std::os::unix::fs::MetadataExt;

use proptest::prelude::*;

use super::*;
use crate::actors::clicks::journal::segment::{Segment, SegmentWriter};
use crate::actors::clicks::journal::spool::{Fate, Spent, Spool};
use crate::actors::clicks::journal::{FileState, Layout, Record, scan, scan::header, verify};
use crate::domain::click::SegmentId;
use crate::domain::limits::CLICK_FIELD_BYTES_MAX;

pub(super) const HEADER_BYTES: usize = 4_096;

/// A segment with these clicks, as bytes, and where each record ends.
pub(super) fn written(clicks: &[RawClick<'_>]) -> (SegmentId, Vec<u8>, Vec<usize>) {
    // As the keeper does before the records go to the disk.
    write(clicks, |segment| segment.sync().unwrap())
}

fn write(
    clicks: &[RawClick<'_>],
    finish: impl FnOnce(&Segment),
) -> (SegmentId, Vec<u8>, Vec<usize>) {
    let (_home, journal) = folder();
    let small = ClicksConfig { segment_size: Size(64 << 10), ..config() };
    let (spool, _) = Spool::open(&journal, &small, 0, START).unwrap();
    let mut writer = SegmentWriter::open(Arc::new(spool.prepare(START).unwrap())).unwrap();
    let mut ends = Vec::new();
    for click in clicks {
        assert!(writer.append(click));
        ends.push(writer.segment().written());
    }
    finish(writer.segment());
    let bytes = std::fs::read(writer.segment().path()).unwrap();
    (writer.segment().id(), bytes, ends)
}

fn found(bytes: &[u8], id: SegmentId) -> Vec<u64> {
    let mut links = Vec::new();
    let scanned = scan(bytes, id, |record| links.push(record.link.0));
    assert_eq!(scanned.records, links.len() as u64);
    links
}

#[test]
fn a_record_reads_back_as_it_was_written() {
    let v6 = IpAddr::V6("2001:db8::1".parse().unwrap());
    let long = vec![b'x'; 5_000];
    let second = RawClick { address: v6, query: &long, flags: ClickFlags::QR, ..click(2) };
    let third = RawClick { flags: ClickFlags::PRIVATE, ..click(3) };
    let (id, bytes, _) = written(&[click(1), second, third]);
    assert_eq!(header(&bytes).unwrap().segment, id);
    let mut n = 0;
    let scanned = scan(&bytes, id, |record| {
        n += 1;
        assert_eq!((record.link, record.at), (Id(n), START));
        match n {
            1 => assert_eq!(record.address, Some(click(1).address)),
            2 => {
                assert_eq!((record.address, record.flags), (Some(v6), ClickFlags::QR));
                assert_eq!(record.query, &long[..CLICK_FIELD_BYTES_MAX]);
                assert_eq!(record.user_agent, click(1).user_agent);
            }
            _ => assert_eq!((record.address, record.user_agent), (None, &[][..])),
        }
    });
    assert_eq!((scanned.records, scanned.damage), (3, None));
}

#[test]
fn records_without_a_checksum_count_as_long_as_the_kernel_runs_on() {
    let clicks: Vec<_> = (1..=40).map(click).collect();
    let (id, mut bytes, ends) = write(&clicks, |_| ());
    assert_eq!(found(&bytes, id).len(), 40);
    // Written while another kernel ran: what was not on the disk was promised to nobody.
    bytes[32] ^= 1;
    let crc = crc32fast::hash(&bytes[..52]);
    bytes[52..56].copy_from_slice(&crc.to_le_bytes());
    let scanned = scan(&bytes, id, |_| ());
    assert_eq!((scanned.records, scanned.damage), (0, None));
    // Half of a sealed record is damage all the same.
    let (id, mut bytes, _) = written(&clicks);
    bytes[ends[9] + 20] ^= 1;
    assert_eq!(scan(&bytes, id, |_| ()).damage.unwrap().lost, 30);
}

#[test]
fn a_file_cut_at_every_byte_of_its_tail_gives_the_records_before_the_cut() {
    let clicks: Vec<_> = (1..=40).map(click).collect();
    let (id, bytes, ends) = written(&clicks);
    let last = *ends.last().unwrap();
    for cut in (last - 4_096)..=last {
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let got = found(&bytes[..cut], id).len();
        // Zeros after the last byte of a payload are no part of what is checked.
        assert!(got == whole || got == whole + 1 && ends[whole] - cut < 8, "cut at {cut}");
        // The rest of the file zeroed instead of cut off.
        let mut zeroed = bytes.clone();
        zeroed[cut..].fill(0);
        assert!(found(&zeroed, id).len() <= got.max(whole), "zeroed from {cut}");
    }
}

#[test]
fn a_flipped_bit_ends_the_segment_where_it_is_and_is_damage() {
    let clicks: Vec<_> = (1..=20).map(click).collect();
    let (id, mut bytes, ends) = written(&clicks);
    let last = *ends.last().unwrap();
    // Searching the empty rest a hundred thousand times takes a minute.
    bytes.truncate(last + 64);
    for at in HEADER_BYTES..last {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let before = ends.iter().filter(|end| **end <= at).count();
            let scanned = scan(&flipped, id, |_| ());
            let padding = scanned.damage.is_none() && scanned.records == 20;
            if padding {
                continue;
            }
            assert_eq!(scanned.records, before as u64, "byte {at}, bit {bit}");
            let damage = scanned.damage.unwrap();
            assert!(damage.lost <= 20 - before as u64 && damage.lost >= 1);
        }
    }
}

#[test]
fn bytes_of_another_segment_or_another_place_never_validate() {
    let clicks: Vec<_> = (1..=20).map(click).collect();
    let (id, bytes, ends) = written(&clicks);
    for other in [SegmentId(id.0 + 1), SegmentId(id.0 + (1 << 24)), SegmentId(0)] {
        assert_eq!(found(&bytes, other), [] as [u64; 0]);
    }
    let mut moved = bytes.clone();
    let record = bytes[HEADER_BYTES..ends[0]].to_vec();
    moved[ends[0]..ends[0] + record.len()].copy_from_slice(&record);
    assert_eq!(found(&moved, id), [1]);
}

#[test]
fn a_reader_behind_a_writer_sees_whole_records_in_order() {
    const CLICKS: u64 = 100_000;
    let (_home, journal) = folder();
    let large = ClicksConfig { segment_size: Size::mib(32), ..config() };
    let (spool, _) = Spool::open(&journal, &large, 0, START).unwrap();
    let mut writer = SegmentWriter::open(Arc::new(spool.prepare(START).unwrap())).unwrap();
    let segment = Arc::clone(writer.segment());
    std::thread::scope(|scope| {
        scope.spawn(move || (1..=CLICKS).for_each(|n| assert!(writer.append(&click(n)))));
        let (mut at, mut n) = (HEADER_BYTES, 0);
        loop {
            let closed = segment.closed();
            while let Some((payload, next)) = segment.record_at(at) {
                n += 1;
                let record = Record::parse(payload, Layout::NEWEST).unwrap();
                assert_eq!((record.at, record.link, record.version), (START, Id(n), 3));
                assert!(payload.ends_with(b"en"));
                at = next;
            }
            if closed {
                break;
            }
        }
        assert_eq!(n, CLICKS);
    });
    let bytes = std::fs::read(segment.path()).unwrap();
    assert_eq!(scan(&bytes, segment.id(), |_| ()).records, CLICKS);
}

#[test]
fn a_segment_has_one_writer_and_can_be_closed_under_it() {
    let (_home, journal) = folder();
    let (spool, _) = Spool::open(&journal, &config(), 0, START).unwrap();
    let segment = Arc::new(spool.prepare(START).unwrap());
    let mut writer = SegmentWriter::open(Arc::clone(&segment)).unwrap();
    assert!(SegmentWriter::open(Arc::clone(&segment)).is_none());
    assert!(writer.append(&click(1)));
    assert!(segment.close());
    assert!(!writer.append(&click(2)));
    let spare = Arc::new(spool.prepare(START).unwrap());
    assert!(spare.close());
    assert!(SegmentWriter::open(spare).is_none());
}

#[test]
fn a_segment_closed_while_it_is_written_keeps_every_record_that_was_taken() {
    let (_home, journal) = folder();
    let small = ClicksConfig { segment_size: Size(64 << 10), ..config() };
    let (spool, _) = Spool::open(&journal, &small, 0, START).unwrap();
    for _ in 0..200 {
        let segment = Arc::new(spool.prepare(START).unwrap());
        let mut writer = SegmentWriter::open(Arc::clone(&segment)).unwrap();
        let (taken, found) = std::thread::scope(|scope| {
            let writing =
                scope.spawn(move || (1..).take_while(|n| writer.append(&click(*n))).count());
            while !segment.close() {
                std::hint::spin_loop();
            }
            let mut at = HEADER_BYTES;
            let found = std::iter::from_fn(|| {
                let (_, next) = segment.record_at(at)?;
                at = next;
                Some(())
            });
            (found.count(), writing.join().unwrap())
        });
        assert_eq!(taken, found);
        std::fs::remove_file(segment.path()).unwrap();
    }
}

#[test]
fn a_spent_segment_is_wiped_and_used_again_and_counts_nothing_twice() {
    let (_home, journal) = folder();
    let small = ClicksConfig { segment_size: Size(64 << 10), ..config() };
    let (spool, _) = Spool::open(&journal, &small, 0, START).unwrap();
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    let fill = || {
        let segment = Arc::new(spool.prepare(START).unwrap());
        let mut writer = SegmentWriter::open(Arc::clone(&segment)).unwrap();
        while writer.append(&click(1)) {}
        drop(writer);
        assert_eq!(segment.trim(), 64 << 10, "a full segment stays whole");
        segment
    };
    let spend = |segment: &Segment, idle_max| {
        let (id, path) = (segment.id(), Some(segment.path().to_owned()));
        spool.spend([Spent { id, path, fate: Fate::Reuse }]);
        spool.delete_spent(idle_max).unwrap();
        assert!(!spool.holds(id) && !segment.path().exists());
    };

    let first = fill();
    let file = inode(first.path());
    spend(&first, 1);
    assert_eq!(spool.usage(), (0, 64 << 10));
    let idle = first.path().with_extension("idle");
    assert!(std::fs::read(&idle).unwrap().iter().all(|byte| *byte == 0), "not wiped");

    let second = spool.prepare(START).unwrap();
    assert_eq!((inode(second.path()), spool.usage()), (file, (1, 64 << 10)));
    let bytes = std::fs::read(second.path()).unwrap();
    let scanned = scan(&bytes, second.id(), |_| ());
    assert_eq!((scanned.records, scanned.damage), (0, None));

    // Beyond the bound they are deleted, and what a process leaves behind so is the next one's.
    spend(&fill(), 0);
    assert_eq!(spool.usage().0, 1);
    spend(&fill(), 1);
    assert_eq!(std::fs::read_dir(&journal).unwrap().filter(is_idle).count(), 1);
    drop(spool);
    let (_spool, old) = Spool::open(&journal, &small, 0, START).unwrap();
    assert_eq!((old.len(), std::fs::read_dir(&journal).unwrap().filter(is_idle).count()), (1, 0));
}

#[test]
fn a_file_that_others_take_for_a_segment_is_not_used_again() {
    let home = TempDir::new().unwrap();
    let (real, journal) = (home.path().join("real"), home.path().join("journal"));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &journal).unwrap();
    let small = ClicksConfig { segment_size: Size(64 << 10), ..config() };
    let (spool, _) = Spool::open(&journal, &small, 0, START).unwrap();
    let segment = Arc::new(spool.prepare(START).unwrap());
    let path = real.join(segment.path().file_name().unwrap());
    assert!(SegmentWriter::open(Arc::clone(&segment)).unwrap().append(&click(1)));
    spool.spend([Spent { id: segment.id(), path: Some(path.clone()), fate: Fate::Reuse }]);

    // Its file goes, and the folder cannot be written through.
    std::fs::remove_file(&journal).unwrap();
    assert!(spool.delete_spent(1).is_err());
    assert!(!path.exists() && spool.holds(segment.id()), "it may come back, so it is not gone");
    std::os::unix::fs::symlink(&real, &journal).unwrap();
    assert!(segment.trim() < 64 << 10, "the stock shortens what is closed");

    let next = spool.prepare(START).unwrap();
    let blocks = std::fs::metadata(next.path()).unwrap().blocks() * 512;
    assert!(blocks >= 64 << 10, "a segment with holes: {blocks} bytes of it are there");
    spool.delete_spent(1).unwrap();
    assert!(!spool.holds(segment.id()));
    assert_eq!(spool.take_deleted(), [segment.id()]);
}

fn is_idle(entry: &std::io::Result<std::fs::DirEntry>) -> bool {
    entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "idle")
}

#[actix::test]
async fn a_damaged_segment_is_counted_as_far_as_it_is_intact_and_set_aside() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    process.store.down.store(true, Ordering::Relaxed);
    let lane = process.lane();
    (0..100).for_each(|_| lane.record(&click(1)));
    until("all records are sealed", || n_unsealed(&journal) == 0).await;
    let (_copied, copy) = copy_of(&journal);
    let damaged = verify(&copy).unwrap().into_iter().find(|report| report.records == 100).unwrap();
    let path = copy.join(&damaged.name);
    let mut bytes = std::fs::read(&path).unwrap();
    let record = (HEADER_BYTES..).step_by(8).nth(1).unwrap();
    let length = (bytes[HEADER_BYTES] as usize + 8).next_multiple_of(8);
    bytes[record + 60 * length] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let report = verify(&copy).unwrap().into_iter().find(|one| one.name == damaged.name).unwrap();
    let offset = (HEADER_BYTES + 60 * length) as u64;
    assert_eq!((report.records, report.state), (60, FileState::Damaged { offset, lost: 40 }));

    let next = Process::start(&copy, &process.store.copy());
    next.sink.recovered().await;
    assert_eq!(next.total(1).await, 60);
    assert_eq!(next.metrics.clicks(), (40, 40));
    until("it is set aside", || copy.join("damaged").join(&damaged.name).exists()).await;
    next.check_accounts().await;
    let aside = format!("damaged/{}", damaged.name);
    assert!(verify(&copy).unwrap().iter().any(|report| report.name == aside));
}

#[actix::test]
async fn files_that_are_no_segments_do_not_stop_the_start() {
    let (_home, journal) = folder();
    std::fs::create_dir(&journal).unwrap();
    std::fs::write(journal.join("0000000000000001.seg"), b"something else").unwrap();
    std::fs::write(journal.join("0000000000000002.seg"), vec![0; 9_000]).unwrap();
    std::fs::write(journal.join("0000000000000003.seg"), b"").unwrap();
    std::fs::write(journal.join("0000000000000004.new"), b"half").unwrap();
    assert_eq!(verify(&journal).unwrap()[0].state, FileState::NotASegment);
    let process = Process::start(&journal, &FakeStore::new());
    process.sink.recovered().await;
    let lane = process.lane();
    lane.record(&click(1));
    assert_eq!(process.total(1).await, 1);
    until("the strange one is set aside", || journal.join("damaged/0000000000000001.seg").exists())
        .await;
    assert!(!journal.join("0000000000000004.new").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_written_over_a_segment_only_intact_records_are_found(
        records in 1_usize..60,
        overwrites in prop::collection::vec((0_usize..12_000, any::<u8>()), 0..8),
    ) {
        let clicks: Vec<_> = (1..=records as u64).map(click).collect();
        let (id, bytes, ends) = written(&clicks);
        let mut changed = bytes.clone();
        for (at, byte) in overwrites {
            changed[HEADER_BYTES + at] = byte;
        }
        let starts = std::iter::once(HEADER_BYTES).chain(ends.iter().copied());
        // The last seven bytes at most of a record are zeros that nobody reads.
        let intact = starts.zip(&ends).take_while(|(start, end)| {
            let (low, high) = (bytes[*start], bytes[start + 1]);
            let used = *start + 8 + usize::from(u16::from_le_bytes([low, high]));
            debug_assert!(used <= **end);
            bytes[*start..used] == changed[*start..used]
        }).count();
        let expected: Vec<u64> = (1..=intact as u64).collect();
        prop_assert_eq!(found(&changed, id), expected);
    }

    #[test]
    fn any_bytes_can_be_scanned(bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
        let scanned = scan(&bytes, SegmentId(1), |_| ());
        prop_assert!(scanned.records < 2);
        header(&bytes);
    }
}

/// They tell one store how far each segment is counted, so a name of two segments would lose the
/// clicks of one.
#[test]
fn nodes_that_start_in_the_same_moment_name_no_segment_alike() {
    let mut named = std::collections::HashSet::new();
    for node in [0, 1, 2, 1_023] {
        let (_home, journal) = folder();
        let (spool, _) = Spool::open(&journal, &config(), node, START).unwrap();
        // More than one epoch has room for.
        for _ in 0..40_000 {
            assert!(named.insert(spool.next_id()), "node {node}");
        }
    }
}
