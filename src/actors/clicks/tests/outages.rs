//! The store can be read and not written: what is not in it is told all the same.

use super::*;

#[actix::test]
async fn totals_are_exact_while_the_store_refuses_writes() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    let lane = process.lane();
    let stored = 7;
    (0..stored).for_each(|_| lane.record(&click(1)));
    until("some are stored", || process.metrics.clicks_counted.get() == stored).await;

    process.store.refused.store(u32::MAX, Ordering::Relaxed);
    for n in 1..=20 {
        lane.record(&click(1));
        lane.record(&click(n + 1));
        if n < 4 {
            let before = process.store.attempts();
            until("a flush was refused", || process.store.attempts() > before).await;
        }
        assert_eq!((process.total(1).await, process.total(n + 1).await), (stored + n, 1));
    }
    assert_eq!(process.store.clicks(1), stored, "nothing was stored meanwhile");

    process.store.refused.store(0, Ordering::Relaxed);
    until("all is stored", || process.metrics.clicks_counted.get() == stored + 40).await;
    assert_eq!((process.store.clicks(1), process.total(1).await), (stored + 20, stored + 20));
    process.check_accounts().await;
}

#[actix::test]
async fn a_question_sends_no_batch_that_the_store_is_known_not_to_have() {
    let (_home, journal) = folder();
    let rare = ClicksConfig { flush_interval: Span::from_secs(4), ..config() };
    let process = Process::start_with(&journal, &FakeStore::new(), rare);
    let lane = process.lane();
    process.store.refused.store(u32::MAX, Ordering::Relaxed);
    lane.record(&click(1));
    // The pause before the next attempt has grown longer than the questions take.
    until("it was refused again and again", || process.store.attempts() >= 4).await;
    let before = process.store.attempts();
    for _ in 0..100 {
        assert_eq!(process.total(1).await, 1);
    }
    assert!(process.store.attempts() <= before + 1, "questions do not send the batch again");
}

#[actix::test]
async fn a_batch_in_doubt_stays_in_doubt_when_it_is_refused_afterwards() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    let lane = process.lane();
    process.store.late.store(1, Ordering::Relaxed);
    lane.record(&click(1));
    until("it was applied, and nobody knows", || process.store.clicks(1) == 1).await;
    process.store.refused.store(u32::MAX, Ordering::Relaxed);
    let before = process.store.attempts();
    until("it was refused", || process.store.attempts() > before + 1).await;
    lane.record(&click(1));
    // No answer is better than one that counts a click twice.
    assert!(process.sink.totals(&[Id(1)]).await.is_err());
    process.store.refused.store(0, Ordering::Relaxed);
    assert_eq!(process.total(1).await, 2);
}
