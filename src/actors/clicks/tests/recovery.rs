//! What an earlier process left is counted as far as it can be read, and what is lost shows.

use super::files::HEADER_BYTES;
use super::*;

/// Changes what a killed process left in each of its segments with clicks.
fn spoil(journal: &Path, change: impl Fn(&mut Vec<u8>)) -> usize {
    let is_used = |bytes: &[u8]| bytes[HEADER_BYTES..HEADER_BYTES + 4] != [0; 4];
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
    let (_copied, copy) = copy_of(&journal);
    let n = spoil(&copy, |bytes| bytes[HEADER_BYTES + 10] ^= 1);
    assert_eq!(n as u64, LANES);

    let next = Process::start_with(&copy, &process.store.copy(), large);
    next.sink.recovered().await;
    assert_eq!(next.metrics.clicks(), (LANES * CLICKS, LANES * CLICKS));
    assert_eq!(next.total(1).await, 0);
}
