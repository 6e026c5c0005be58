//! A process that is killed loses no click and doubles none.

use super::recovery::is_used;
use super::*;
use crate::domain::click::SegmentId;

#[actix::test]
async fn what_was_never_flushed_is_counted_at_the_next_start() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    process.store.down.store(true, Ordering::Relaxed);
    let lane = process.lane();
    (0..5_000).for_each(|n| lane.record(&click(n % 5 + 1)));

    let (_copied, copy) = copy_of(&journal);
    let next = Process::start(&copy, &process.store.copy());
    next.sink.recovered().await;
    for link in 1..=5 {
        assert_eq!(next.total(link).await, 1_000);
    }
    until("it is stored", || next.metrics.clicks_recovered.get() == 5_000).await;
    assert_eq!(next.metrics.clicks(), (0, 0), "they are not this process's clicks");
    next.check_accounts().await;
    until("old segments are gone", || segments_in(&copy).is_empty()).await;
    until("and forgotten", || next.store.n_positions() == 0).await;
}

#[actix::test]
async fn what_was_flushed_is_not_counted_again() {
    let (_home, journal) = folder();
    let mut kills = Vec::new();
    let process = Process::start(&journal, &FakeStore::new());
    let lane = process.lane();
    for n in 1..=10 {
        (0..500).for_each(|_| lane.record(&click(1)));
        let counted = n * 520 - 20;
        until("they are stored", || process.metrics.clicks_counted.get() == counted).await;
        process.store.down.store(true, Ordering::Relaxed);
        (0..20).for_each(|_| lane.record(&click(1)));
        kills.push((copy_of(&journal), process.store.copy(), n * 520));
        process.store.down.store(false, Ordering::Relaxed);
    }
    for ((_copied, copy), store, recorded) in kills {
        let next = Process::start(&copy, &store);
        next.sink.recovered().await;
        assert_eq!(next.total(1).await, recorded);
        until("the rest is stored", || next.metrics.clicks_recovered.get() == 20).await;
    }
}

#[actix::test]
async fn a_batch_that_was_applied_but_never_acknowledged_counts_once() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    let lane = process.lane();
    process.store.late.store(u32::MAX, Ordering::Relaxed);
    (0..700).for_each(|_| lane.record(&click(1)));
    until("it is applied", || process.store.clicks(1) > 0).await;
    (0..300).for_each(|_| lane.record(&click(1)));

    let (_copied, copy) = copy_of(&journal);
    let next = Process::start(&copy, &process.store.copy());
    next.sink.recovered().await;
    assert_eq!(next.total(1).await, 1_000);
}

#[actix::test]
async fn a_crash_during_recovery_counts_once() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    process.store.down.store(true, Ordering::Relaxed);
    let lane = process.lane();
    (0..3_000).for_each(|_| lane.record(&click(1)));
    let mut place = copy_of(&journal);
    let mut store = process.store.copy();
    for _ in 0..5 {
        // Applied, but the process dies before it knows: its journal stays.
        store.late.store(u32::MAX, Ordering::Relaxed);
        let next = Process::start(&place.1, &store);
        next.sink.recovered().await;
        next.lane().record(&click(1));
        until("it is applied", || store.clicks(1) >= 3_000).await;
        // In this order: a segment that the store has may be deleted between the two copies, but
        // none is forgotten by the store that the journal still has.
        store = store.copy();
        place = copy_of(&place.1);
    }
    let last = Process::start(&place.1, &store);
    last.sink.recovered().await;
    assert_eq!(last.total(1).await, 3_005);
}

#[actix::test]
async fn recovery_waits_for_a_store_that_is_away() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    process.store.down.store(true, Ordering::Relaxed);
    let lane = process.lane();
    (0..10).for_each(|_| lane.record(&click(1)));
    let (_copied, copy) = copy_of(&journal);
    let store = process.store.copy();
    store.down.store(true, Ordering::Relaxed);
    let next = Process::start(&copy, &store);
    let early = tokio::time::timeout(Duration::from_millis(50), next.sink.recovered()).await;
    assert!(early.is_err(), "the positions are not known yet");
    store.down.store(false, Ordering::Relaxed);
    next.sink.recovered().await;
    assert_eq!(next.total(1).await, 10);
}

#[actix::test]
async fn epochs_rise_when_the_clock_went_back() {
    let (_home, journal) = folder();
    std::fs::create_dir(&journal).unwrap();
    std::fs::write(journal.join("epoch"), "990000000000\n").unwrap();
    let process = Process::start(&journal, &FakeStore::new());
    let lane = process.lane();
    lane.record(&click(1));
    let epoch = std::fs::read_to_string(journal.join("epoch")).unwrap();
    assert_eq!(epoch.trim(), "990000000001");
    assert_eq!(process.total(1).await, 1);
}

#[actix::test]
async fn a_journal_in_use_is_refused() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    let error = ClickSink::start(ClickSinkParts {
        config: config(),
        folder: journal.clone(),
        node: 0,
        store: FakeStore::new(),
        metrics: Metrics::new(),
        clock: Arc::new(SetClock(AtomicI64::new(START.0))),
        keys: Vec::new(),
    })
    .err()
    .unwrap();
    assert!(error.to_string().contains("in use"), "{error}");
    drop(process);
}

#[actix::test]
async fn what_was_begun_to_be_flushed_is_flushed_with_the_same_end() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    process.store.down.store(true, Ordering::Relaxed);
    let lane = process.lane();
    (0..100).for_each(|n| lane.record(&click(n % 2 + 1)));
    until("all records are sealed", || n_unsealed(&journal) == 0).await;
    // In the middle, at the end, and behind it: power was lost.
    for (cut, counted) in [(1, 100), (40, 100), (100, 100), (130, 130)] {
        let (_copied, copy) = copy_of(&journal);
        let store = process.store.copy();
        for path in segments_in(&copy) {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let segment = SegmentId(u64::from_str_radix(name, 16).unwrap());
            if is_used(&std::fs::read(&path).unwrap()) {
                store.cut(segment, cut);
            }
        }
        let next = Process::start(&copy, &store);
        next.sink.recovered().await;
        assert_eq!((next.total(1).await, next.total(2).await), (50, 50), "{cut}");
        until("it is stored", || next.metrics.clicks_recovered.get() == counted).await;
        assert_eq!((store.clicks(1), store.clicks(2)), (50, 50), "{cut}");
    }
}

#[actix::test]
async fn a_link_that_is_erased_is_forgotten_behind_a_cut_too() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    process.store.down.store(true, Ordering::Relaxed);
    let lane = process.lane();
    (0..100).for_each(|n| lane.record(&click(n % 2 + 1)));
    until("all records are sealed", || n_unsealed(&journal) == 0).await;
    let (_copied, copy) = copy_of(&journal);
    let store = process.store.copy();
    for path in segments_in(&copy).iter().filter(|path| is_used(&std::fs::read(path).unwrap())) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        store.cut(SegmentId(u64::from_str_radix(name, 16).unwrap()), 30);
    }
    let next = Process::start(&copy, &store);
    next.sink.erase(Id(1), None).await.unwrap();
    assert_eq!((next.total(1).await, next.total(2).await), (0, 50));
    assert_eq!((store.clicks(1), store.clicks(2)), (0, 50), "all of it is flushed");
}
