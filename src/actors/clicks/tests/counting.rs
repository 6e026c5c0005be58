//! Clicks are counted exactly, also while they travel and when the store is slow or away.

use super::*;
use tokio::sync::Semaphore;

#[actix::test]
async fn clicks_of_all_lanes_reach_the_store() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    let lanes = [process.lane(), process.lane()];
    for n in 0..3_000 {
        lanes[n % 2].record(&click(n as u64 % 3 + 1));
    }
    until("all is stored", || (1..=3).all(|link| process.store.clicks(link) == 1_000)).await;
    until("all is acknowledged", || process.metrics.clicks_counted.get() == 3_000).await;
    process.check_accounts().await;
    assert_eq!(process.metrics.clicks(), (3_000, 0));
    assert_eq!(process.metrics.clicks_counted.get(), 3_000);
}

#[actix::test]
async fn totals_hold_every_click_recorded_before_the_question() {
    let (_home, journal) = folder();
    let slow = ClicksConfig { flush_interval: Span::from_secs(4), ..config() };
    let process = Process::start_with(&journal, &FakeStore::new(), slow);
    let lane = process.lane();
    for n in 1..=500 {
        lane.record(&click(7));
        assert_eq!(process.total(7).await, n);
    }
    assert_eq!(process.total(8).await, 0);
    let totals = process.sink.totals(&[Id(7)]).await.unwrap();
    assert_eq!(totals[0].last_clicked_at, Some(START));
}

#[actix::test]
async fn totals_are_exact_while_flushes_are_on_their_way() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    let lane = process.lane();
    let turnstile = Arc::new(Semaphore::new(0));
    *process.store.turnstile.lock().unwrap() = Some(Arc::clone(&turnstile));
    for round in 1..=50 {
        lane.record(&click(1));
        let asked = process.total(1);
        // The flush stands before the store, then between being applied and being answered.
        let opened = async {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                turnstile.add_permits(1);
            }
        };
        let (total, ()) = tokio::join!(asked, opened);
        assert_eq!(total, round);
    }
}

#[actix::test]
async fn a_flush_that_was_applied_and_answered_with_an_error_counts_once() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    process.store.late.store(3, Ordering::Relaxed);
    let lane = process.lane();
    for n in 1..=200 {
        lane.record(&click(1));
        if n % 50 == 0 {
            process.store.late.fetch_add(1, Ordering::Relaxed);
            process.store.refused.fetch_add(1, Ordering::Relaxed);
            until("it is stored", || process.store.clicks(1) == n).await;
        }
    }
    process.store.late.store(0, Ordering::Relaxed);
    until("all is acknowledged", || process.metrics.clicks_counted.get() == 200).await;
    assert_eq!(process.total(1).await, 200);
    process.check_accounts().await;
}

#[actix::test]
async fn a_question_settles_a_batch_whose_answer_was_lost() {
    let (_home, journal) = folder();
    let rare = ClicksConfig { flush_interval: Span::from_millis(1), ..config() };
    let process = Process::start_with(&journal, &FakeStore::new(), rare);
    let lane = process.lane();
    for n in 1..=100 {
        process.store.late.store(1, Ordering::Relaxed);
        lane.record(&click(1));
        if n % 3 == 0 {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        let total = process.sink.totals(&[Id(1)]).await;
        // The question itself may meet the error; it must never meet a wrong number.
        if let Ok(total) = total {
            assert_eq!(total[0].clicks, n);
        }
    }
}

#[actix::test]
async fn erasing_forgets_more_than_a_counter_can_hold() {
    const LANES: u64 = 4;
    const CLICKS: u64 = 100_000;
    let (_home, journal) = folder();
    let large = ClicksConfig { segment_size: Size(8 << 20), spool_max: Size(1 << 30), ..config() };
    let process = Process::start_with(&journal, &FakeStore::new(), large);
    process.store.down.store(true, Ordering::Relaxed);
    for _ in 0..LANES {
        let lane = process.lane();
        let short = RawClick { flags: ClickFlags::PRIVATE, ..click(1) };
        (0..CLICKS).for_each(|_| lane.record(&short));
    }
    until("a flush was refused", || process.store.attempts() > 1).await;
    process.store.down.store(false, Ordering::Relaxed);
    process.sink.erase(Id(1), None).await.unwrap();
    assert_eq!(process.total(1).await, 0);
    until("all is settled", || process.metrics.clicks_in_journal.get() == 0).await;
    assert_eq!((process.store.clicks(1), process.metrics.clicks()), (0, (LANES * CLICKS, 0)));
}

#[actix::test]
async fn erasing_forgets_what_is_stored_and_what_is_on_its_way() {
    let (_home, journal) = folder();
    let store = FakeStore::new();
    let process = Process::start(&journal, &store);
    let lane = process.lane();
    for n in 0..100 {
        lane.record(&click(1));
        lane.record(&click(2));
        if n == 50 {
            until("some are stored", || store.clicks(1) > 10).await;
        }
    }
    process.sink.erase(Id(1), None).await.unwrap();
    assert_eq!(process.total(1).await, 0);
    assert_eq!(process.total(2).await, 100);
    lane.record(&click(1));
    assert_eq!(process.total(1).await, 1);
    until("it is stored", || store.clicks(1) == 1).await;
    process.check_accounts().await;

    let (_home, copy) = copy_of(&journal);
    let next = Process::start(&copy, &store.copy());
    next.sink.recovered().await;
    assert_eq!((next.total(1).await, next.total(2).await), (1, 100));
}

#[actix::test]
async fn a_drain_leaves_nothing_behind() {
    let (_home, journal) = folder();
    let store = FakeStore::new();
    let process = Process::start(&journal, &store);
    let lanes = [process.lane(), process.lane()];
    let writers = lanes.map(|lane| {
        std::thread::spawn(move || (0..5_000).for_each(|n| lane.record(&click(n % 10 + 1))))
    });
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    process.sink.drain().await;
    assert_eq!((1..=10).map(|link| store.clicks(link)).sum::<u64>(), 10_000);
    assert_eq!(segments_in(&journal), [] as [PathBuf; 0]);
    assert_eq!(store.n_positions(), 0, "the store forgot the segments");
    assert!(process.accounts_are_even());
    assert_eq!(process.metrics.clicks_in_journal.get(), 0);
}

#[actix::test]
async fn a_drain_without_a_store_leaves_the_clicks_to_the_next_start() {
    let (_home, journal) = folder();
    let store = FakeStore::new();
    let process = Process::start(&journal, &store);
    let lane = process.lane();
    store.down.store(true, Ordering::Relaxed);
    (0..100).for_each(|_| lane.record(&click(1)));
    drop(lane);
    process.sink.drain().await;
    assert!(process.sink.health().last_flush_error.is_some());
    drop(process);
    store.down.store(false, Ordering::Relaxed);

    let next = until_started(&journal, &store).await;
    next.sink.recovered().await;
    assert_eq!(next.total(1).await, 100);
}

/// The folder is free as soon as the last part of the earlier process is gone.
async fn until_started(journal: &Path, store: &Arc<FakeStore>) -> Process {
    let lock = std::fs::File::open(journal.join("lock")).unwrap();
    until("the folder is free", || lock.try_lock().is_ok()).await;
    drop(lock);
    Process::start(journal, store)
}

#[actix::test]
async fn nothing_is_counted_when_counting_is_off() {
    let (_home, journal) = folder();
    let off = ClicksConfig { enabled: false, ..config() };
    let process = Process::start_with(&journal, &FakeStore::new(), off);
    assert!(process.sink.lane(process.metrics.worker()).is_none());
    assert_eq!(process.total(1).await, 0);
    assert_eq!(process.metrics.clicks(), (0, 0));
    process.sink.drain().await;
    assert!(!journal.exists());
}
