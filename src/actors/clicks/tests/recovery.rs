//! What an earlier process left is counted as far as it can be read, and what is lost shows.

use super::files::HEADER_BYTES;
use super::*;
use crate::actors::clicks::journal::{FileState, verify};

/// Whether there are clicks in a segment.
pub(super) fn is_used(segment: &[u8]) -> bool {
    segment[HEADER_BYTES..HEADER_BYTES + 4] != [0; 4]
}

/// Changes what a killed process left in each of its segments with clicks.
fn spoil(journal: &Path, change: impl Fn(&mut Vec<u8>)) -> usize {
    let mut n = 0;
    for path in segments_in(journal) {
        let mut bytes = std::fs::read(&path).unwrap();
        if is_used(&bytes) {
            change(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            n += 1;
        }
    }
    n
}

fn set_aside(journal: &Path) -> usize {
    let reports = verify(journal).unwrap();
    reports.iter().filter(|report| report.name.starts_with("damaged/")).count()
}

#[actix::test]
async fn counters_that_recover_side_by_side_account_for_every_lost_click() {
    const LANES: u64 = 4;
    const CLICKS: u64 = 100_000;
    let (_home, journal) = folder();
    let large = ClicksConfig { segment_size: Size(8 << 20), counters: LANES as usize, ..config() };
    let large = ClicksConfig { spool_max: Size(1 << 30), ..large };
    let process = Process::start_with(&journal, &FakeStore::new(), large.clone());
    process.store.down.store(true, Ordering::Relaxed);
    for _ in 0..LANES {
        let lane = process.lane();
        let short = RawClick { flags: ClickFlags::PRIVATE, ..click(1) };
        (0..CLICKS).for_each(|_| lane.record(&short));
    }
    until("all records are sealed", || n_unsealed(&journal) == 0).await;
    let (_copied, copy) = copy_of(&journal);
    let n = spoil(&copy, |bytes| bytes[HEADER_BYTES + 10] ^= 1);
    assert_eq!(n as u64, LANES);

    let next = Process::start_with(&copy, &process.store.copy(), large);
    next.sink.recovered().await;
    assert_eq!(next.metrics.clicks(), (LANES * CLICKS, LANES * CLICKS));
    assert_eq!(next.total(1).await, 0);
}

#[actix::test]
async fn a_segment_whose_header_is_damaged_is_counted_and_set_aside() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    process.store.down.store(true, Ordering::Relaxed);
    let lane = process.lane();
    (0..100).for_each(|_| lane.record(&click(1)));
    until("all records are sealed", || n_unsealed(&journal) == 0).await;
    for bit in [0, 8 * 8, 8 * 16 + 3, 8 * 36] {
        let (_copied, copy) = copy_of(&journal);
        spoil(&copy, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let report = verify(&copy).unwrap().into_iter().find(|report| report.records == 100);
        assert_eq!(report.unwrap().state, FileState::Damaged { offset: 0, lost: 0 });

        let next = Process::start(&copy, &process.store.copy());
        next.sink.recovered().await;
        assert_eq!((next.total(1).await, next.metrics.clicks()), (100, (0, 0)));
        until("it is kept", || set_aside(&copy) == 1).await;
        assert_eq!(next.metrics.journal_segments_damaged.get(), 1);
    }
}

#[actix::test]
async fn a_segment_of_a_newer_version_is_kept_and_not_guessed_at() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    process.store.down.store(true, Ordering::Relaxed);
    process.lane().record(&click(1));
    let (_copied, copy) = copy_of(&journal);
    spoil(&copy, |bytes| {
        bytes[8] = 3;
        let crc = crc32fast::hash(&bytes[..52]);
        bytes[52..56].copy_from_slice(&crc.to_le_bytes());
    });
    let next = Process::start(&copy, &process.store.copy());
    next.sink.recovered().await;
    assert_eq!(next.total(1).await, 0);
    until("it is kept", || set_aside(&copy) == 1).await;
}

#[actix::test]
async fn a_segment_is_read_again_when_it_cannot_be_read_at_once() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    process.store.down.store(true, Ordering::Relaxed);
    let lane = process.lane();
    (0..100).for_each(|_| lane.record(&click(1)));
    let (_copied, copy) = copy_of(&journal);
    let aside = copy.join("aside");
    let all = segments_in(&copy);
    std::fs::create_dir(&aside).unwrap();
    for path in &all {
        std::fs::rename(path, aside.join(path.file_name().unwrap())).unwrap();
        std::fs::create_dir(path).unwrap();
    }
    let next = Process::start(&copy, &process.store.copy());
    // Nobody can read a folder as a file.
    tokio::time::sleep(Duration::from_millis(30)).await;
    for path in &all {
        std::fs::remove_dir(path).unwrap();
        std::fs::rename(aside.join(path.file_name().unwrap()), path).unwrap();
    }
    next.sink.recovered().await;
    assert_eq!((next.total(1).await, next.metrics.journal_segments_damaged.get()), (100, 0));
}

#[actix::test]
async fn a_segment_that_can_never_be_read_shows() {
    let (_home, journal) = folder();
    std::fs::create_dir_all(journal.join("0000000000000001.seg")).unwrap();
    let process = Process::start(&journal, &FakeStore::new());
    process.sink.recovered().await;
    assert_eq!(process.metrics.journal_segments_damaged.get(), 1);
}
