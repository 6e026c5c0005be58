//! What happens, in which order, when something is full; and what visitors leave behind.

use super::*;
use crate::actors::clicks::journal::spool::SEGMENTS_MAX;
use crate::actors::clicks::ring::RING_CLICKS_MAX;
use tokio::sync::Semaphore;

fn tiny() -> ClicksConfig {
    ClicksConfig { segment_size: Size(64 << 10), spool_max: Size(256 << 10), ..config() }
}

#[actix::test]
async fn a_full_spool_sends_clicks_to_memory_then_drops_and_counts_them() {
    let (_home, journal) = folder();
    // A counter that comes by so rarely lets the ring run over.
    let slow = ClicksConfig { read_interval: Span::from_millis(300), ..tiny() };
    let process = Process::start_with(&journal, &FakeStore::new(), slow);
    let lane = process.lane();
    process.store.down.store(true, Ordering::Relaxed);
    let record_until = async |what: &str, so: &dyn Fn() -> bool| {
        until(what, || {
            (0..10).for_each(|n| lane.record(&click(n % 7 + 1)));
            so()
        })
        .await;
    };
    let (metrics, sink) = (&process.metrics, &process.sink);
    record_until("memory is used", &|| metrics.clicks_unjournaled.get() > 0).await;
    record_until("it shows", &|| sink.health().degraded).await;
    assert_eq!(metrics.clicks().1, 0, "nothing is dropped while there is memory");
    process.check_accounts().await;

    // More than the ring of the lane holds until the counter comes by.
    (0..RING_CLICKS_MAX * 20).for_each(|_| lane.record(&click(1)));
    assert!(metrics.clicks().1 > 0, "the rest is dropped");
    process.check_accounts().await;

    process.store.down.store(false, Ordering::Relaxed);
    until("all that was taken in is stored", || {
        let (accepted, dropped) = metrics.clicks();
        metrics.clicks_counted.get() == accepted - dropped
    })
    .await;
    process.check_accounts().await;
    let stored: u64 = (1..=7).map(|link| process.store.clicks(link)).sum();
    assert_eq!(stored, metrics.clicks_counted.get());
    until("the journal has room again", || !sink.health().degraded).await;
    let before = metrics.clicks_unjournaled.get();
    lane.record(&click(1));
    assert_eq!(metrics.clicks_unjournaled.get(), before);
}

#[actix::test]
async fn a_full_file_system_is_left_alone() {
    let (_home, journal) = folder();
    let floor = FreeDisk::Bytes(Size(1 << 60));
    let full = ClicksConfig { free_disk_min: floor, ..config() };
    let process = Process::start_with(&journal, &FakeStore::new(), full);
    let lane = process.lane();
    (0..100).for_each(|_| lane.record(&click(1)));
    assert_eq!(process.metrics.clicks_unjournaled.get(), 100);
    assert_eq!(segments_in(&journal), [] as [PathBuf; 0]);
    until("they are counted all the same", || process.store.clicks(1) == 100).await;
    process.check_accounts().await;
    until("memory has nothing to release", || process.store.n_positions() == 0).await;
}

#[actix::test]
async fn a_lane_goes_on_after_its_disk_failed() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    let lane = process.lane();
    for n in 1..=5 {
        until("there are spares", || segments_in(&journal).len() >= 2).await;
        lane.record(&click(1));
        let running = process.sink.running.as_ref().unwrap();
        let live = running.shared.live().clone();
        let used: Vec<_> = live.iter().map(|one| &one.segment).filter(|s| !s.is_empty()).collect();
        used.iter().for_each(|segment| segment.fail());
        until("the failed ones are left", || used.iter().all(|segment| segment.closed())).await;
        lane.record(&click(1));
        assert_eq!(process.total(1).await, n * 2);
    }
    process.check_accounts().await;
}

#[actix::test]
async fn old_segments_are_closed_counted_and_deleted_while_their_lane_is_idle() {
    let (_home, journal) = folder();
    let brisk = ClicksConfig { segment_age_max: Span::from_millis(20), ..config() };
    let process = Process::start_with(&journal, &FakeStore::new(), brisk);
    let lane = process.lane();
    lane.record(&click(1));
    until("its segment was released", || process.store.n_released() > 0).await;
    for segment in segments_in(&journal) {
        let bytes = std::fs::read(segment).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"Firefox"), "a visitor is still there");
    }
    lane.record(&click(1));
    assert_eq!(process.total(1).await, 2);
}

#[actix::test]
async fn segments_of_a_slow_day_do_not_fill_the_spool() {
    let (_home, journal) = folder();
    let brisk = ClicksConfig { segment_age_max: Span::from_millis(5), ..config() };
    let process = Process::start_with(&journal, &FakeStore::new(), brisk);
    // The store takes its time: nothing has failed yet, and nothing is counted.
    *process.store.turnstile.lock().unwrap() = Some(Arc::new(Semaphore::new(0)));
    let lane = process.lane();
    for n in 2..=20 {
        until("its segment was closed and the next one begun", || {
            lane.record(&click(1));
            segments_in(&journal).len() > n
        })
        .await;
    }
    until("what they do not use was given back", || {
        // Three whole ones at most: one in use, two spare.
        process.sink.health().bytes < (4 << 20)
    })
    .await;
    assert_eq!(process.metrics.clicks_unjournaled.get(), 0);
}

#[actix::test]
async fn a_store_that_is_away_for_long_costs_no_file_per_minute() {
    let (_home, journal) = folder();
    let brisk = ClicksConfig { segment_age_max: Span::from_millis(5), ..config() };
    let process = Process::start_with(&journal, &FakeStore::new(), brisk);
    process.store.down.store(true, Ordering::Relaxed);
    let lane = process.lane();
    lane.record(&click(1));
    until("it is known to be away", || process.sink.health().last_flush_error.is_some()).await;
    // The next turn of the keeper knows it too.
    tokio::time::sleep(Duration::from_millis(30)).await;
    let before = segments_in(&journal).len();
    for _ in 0..60 {
        lane.record(&click(1));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(segments_in(&journal).len() <= before + 1, "one in use and its spares are enough");

    process.store.down.store(false, Ordering::Relaxed);
    until("old segments are closed and deleted again", || process.store.n_released() > 0).await;
    assert_eq!(process.total(1).await, 61);
    process.check_accounts().await;
}

#[actix::test]
async fn segments_are_bounded_by_number_too() {
    let (_home, journal) = folder();
    std::fs::create_dir(&journal).unwrap();
    for n in 1..=SEGMENTS_MAX {
        std::fs::write(journal.join(format!("{n:016x}.seg")), b"").unwrap();
    }
    let store = FakeStore::new();
    store.down.store(true, Ordering::Relaxed);
    let process = Process::start(&journal, &store);
    let lane = process.lane();
    lane.record(&click(1));
    assert_eq!(process.metrics.clicks_unjournaled.get(), 1);
    until("it shows", || process.sink.health().degraded).await;
    assert_eq!(segments_in(&journal).len() as u64, SEGMENTS_MAX);

    store.down.store(false, Ordering::Relaxed);
    process.sink.recovered().await;
    until("there is room again", || !process.sink.health().degraded).await;
    process.check_accounts().await;
}

#[actix::test]
async fn a_visitor_who_asks_for_privacy_leaves_only_a_count() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    process.store.down.store(true, Ordering::Relaxed);
    let lane = process.lane();
    lane.record(&RawClick { flags: ClickFlags::PRIVATE, ..click(1) });
    let bytes: Vec<u8> =
        segments_in(&journal).iter().flat_map(|path| std::fs::read(path).unwrap()).collect();
    for trace in [&b"Firefox"[..], b"example.org", &[192, 0, 2, 7]] {
        assert!(!bytes.windows(trace.len()).any(|window| window == trace));
    }
    process.store.down.store(false, Ordering::Relaxed);
    until("it is counted", || process.store.clicks(1) == 1).await;
}

#[actix::test]
async fn clicks_after_the_drain_are_dropped_and_counted() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    let lane = process.lane();
    lane.record(&click(1));
    process.sink.drain().await;
    lane.record(&click(1));
    assert_eq!(process.metrics.clicks(), (2, 1));
    assert!(process.accounts_are_even());
}
