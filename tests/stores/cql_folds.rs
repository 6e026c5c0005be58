//! Folding counts every click once at every moment, wherever it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use scylla::client::session::Session;
use shunt::domain::id::Id;
use shunt::storage::{EventQuery, Retention, Stores};

use crate::clicks::flush;
use crate::cql::{Lent, lend};
use crate::cql_clicks::{DAY, MINUTE, count, fold, process, run};
use crate::make::clicked;
use crate::tell::{BEGIN, END, all_of, people};

/// Rows of `click_flushes` and `click_nodes`, as statements that write them again.
async fn flushes(session: &Session) -> Vec<String> {
    let all = "SELECT seq, segment, part, parts, touched FROM click_flushes WHERE node = 0";
    let rows = session.query_unpaged(all, ()).await.unwrap().into_rows_result().unwrap();
    rows.rows::<(i64, i64, i32, i32, Vec<u8>)>()
        .unwrap()
        .map(|row| {
            let (seq, segment, part, parts, touched) = row.unwrap();
            let touched: String = touched.iter().map(|byte| format!("{byte:02x}")).collect();
            format!(
                "INSERT INTO click_flushes (node, seq, segment, part, parts, touched)
                 VALUES (0, {seq}, {segment}, {part}, {parts}, 0x{touched})"
            )
        })
        .collect()
}

/// Takes back what a fold wrote of a day.
async fn take_back(session: &Session, (link, day): (Id, u32), counts: bool, sums: bool) {
    let (link, month) = (link.0 as i64, day >> 5);
    if counts {
        let counts = "DELETE since, upto, people, bots, last_at FROM click_days WHERE";
        run(session, format!("{counts} link = {link} AND day = {day} AND node = 0")).await;
    }
    if sums {
        let sums = "DELETE FROM click_sums WHERE";
        let place = format!("link = {link} AND month = {month} AND day = {day}");
        run(session, format!("{sums} {place}")).await;
    }
}

/// Two flushes of two segments; one of the links is clicked on two days.
async fn two_flushes(stores: &Stores, [a, b]: [Id; 2], first: u64) {
    let one = clicked(first, 0, 4, &[(a, MINUTE, 1), (b, MINUTE, 2), (b, MINUTE + 1_440, 1)]);
    let two = clicked(first + 1, 0, 7, &[(a, MINUTE + 60, 3), (b, MINUTE + 1_500, 4)]);
    flush(stores, vec![one]).await.unwrap();
    flush(stores, vec![two]).await.unwrap();
}

async fn counts(stores: &Stores, [a, b]: [Id; 2]) -> [u64; 2] {
    [count(stores, a).await, count(stores, b).await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fold_that_ends_after_any_of_its_writes_counts_every_click_once() {
    let lent = lend().await;
    let session = lent.session().await;
    let mut links = [Id(1 << 40), Id(2 << 40)];
    // With nothing folded before, and with an earlier fold of the same days. At last sums that went
    // back behind the counts: an older write came late.
    for (round, n_before) in (0..).zip([0, 1]) {
        for (step, (n_summed, n_counted)) in
            (0..).zip([(0, 0), (1, 0), (1, 1), (2, 1), (3, 2), (3, 3), (1, 3)])
        {
            let what = format!("{n_before} before, {n_summed} summed, {n_counted} counted");
            links = links.map(|link| Id(link.0 + 1));
            let days = [(links[0], DAY), (links[1], DAY), (links[1], DAY + 1)];
            let (segment, stores) = (round * 1_000 + step * 10 + 1, process(&lent, 0));
            let mut expected = [0, 0];
            for n in 0..n_before {
                two_flushes(&stores, links, segment + 500 + n * 2).await;
                expected = [4, 7];
                fold(&stores).await;
            }
            two_flushes(&stores, links, segment).await;
            expected = [expected[0] + 4, expected[1] + 7];
            let before = flushes(&session).await;
            let rows = rows_of(&session, &days).await;
            fold(&stores).await;
            assert_eq!(counts(&stores, links).await, expected, "{what}: folded");
            for (n, day) in days.into_iter().enumerate() {
                take_back(&session, day, n >= n_counted, n >= n_summed).await;
            }
            // What stood there before the fold stands there again.
            for (n, [sums, counted]) in rows.iter().enumerate() {
                for (again, row) in [(n >= n_summed, sums), (n >= n_counted, counted)] {
                    if let Some(row) = row.as_ref().filter(|_| again) {
                        row.put(&session).await;
                    }
                }
            }
            for statement in before {
                run(&session, statement).await;
            }
            check_on(&lent, links, (segment + 5, expected), &what).await;
        }
    }
}

/// Everything counts once: before it is folded again, then, and with what comes later.
async fn check_on(lent: &Lent, links: [Id; 2], (segment, expected): (u64, [u64; 2]), what: &str) {
    let next = process(lent, 0);
    assert_eq!(counts(&next, links).await, expected, "{what}: cut short");
    let later = clicked(segment, 0, 3, &[(links[0], MINUTE, 1), (links[1], MINUTE + 1_440, 1)]);
    flush(&next, vec![later]).await.unwrap();
    let expected = expected.map(|clicks| clicks + 1);
    assert_eq!(counts(&next, links).await, expected, "{what}: with later clicks");
    fold(&next).await;
    assert_eq!(counts(&next, links).await, expected, "{what}: folded again");
    assert_eq!(counts(&process(lent, 0), links).await, expected, "{what}: by the next process");
}

/// A row as it was: of sums, or of counts.
enum Kept {
    Sums(i64, i32, i64, i64, Vec<u8>),
    Counts(i64, i32, i64, i64, [i64; 3]),
}

impl Kept {
    async fn put(&self, session: &Session) {
        match self {
            Self::Sums(link, day, since, upto, body) => {
                let month = day >> 5;
                let sql = "INSERT INTO click_sums (link, month, day, node, since, upto, sums)
                     VALUES (?, ?, ?, 0, ?, ?, ?)";
                let values = (link, month, day, since, upto, body);
                session.query_unpaged(sql, values).await.unwrap();
            }
            Self::Counts(link, day, since, upto, [people, bots, last_at]) => {
                let sql = "INSERT INTO click_days
                        (link, day, node, since, upto, people, bots, last_at)
                     VALUES (?, ?, 0, ?, ?, ?, ?, ?)";
                let values = (link, day, since, upto, people, bots, last_at);
                session.query_unpaged(sql, values).await.unwrap();
            }
        }
    }
}

async fn rows_of(session: &Session, days: &[(Id, u32)]) -> Vec<[Option<Kept>; 2]> {
    let mut kept = Vec::new();
    for (link, day) in days {
        let (link, day) = (link.0 as i64, *day as i32);
        let sums = "SELECT since, upto, sums FROM click_sums
             WHERE link = ? AND month = ? AND day = ? AND node = 0";
        let rows = session.query_unpaged(sums, (link, day >> 5, day)).await.unwrap();
        let rows = rows.into_rows_result().unwrap();
        let sums = rows.maybe_first_row::<(i64, i64, Vec<u8>)>().unwrap();
        let sums = sums.map(|(since, upto, body)| Kept::Sums(link, day, since, upto, body));
        let counts = "SELECT since, upto, people, bots, last_at FROM click_days
             WHERE link = ? AND day = ? AND node = 0";
        let rows = session.query_unpaged(counts, (link, day)).await.unwrap();
        let rows = rows.into_rows_result().unwrap();
        type Row = (Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<i64>);
        let counts = rows.maybe_first_row::<Row>().unwrap().and_then(|row| match row {
            (Some(since), Some(upto), Some(people), Some(bots), Some(last_at)) => {
                Some(Kept::Counts(link, day, since, upto, [people, bots, last_at]))
            }
            _ => None,
        });
        kept.push([sums, counts]);
    }
    kept
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clicks_count_once_while_they_are_folded_and_single_ones_removed() {
    const FLUSHES: u64 = 150;
    let lent = lend().await;
    let (stores, link) = (process(&lent, 0), Id(7 << 30));
    let (sent, stored, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let state = Arc::new((sent, stored, done));
    let folds = tokio::spawn({
        let (stores, state) = (stores.clone(), Arc::clone(&state));
        async move {
            let keep = Retention { events_from: DAY + 1, details_from: 0 };
            while !state.2.load(Ordering::SeqCst) {
                stores.clicks.prune(keep).await.unwrap();
            }
        }
    });
    let asks = tokio::spawn({
        let (stores, state) = (process(&lent, 1), Arc::clone(&state));
        async move {
            while !state.2.load(Ordering::SeqCst) {
                let least = state.1.load(Ordering::SeqCst);
                let total = stores.clicks.totals(&[link]).await.unwrap()[0].clicks;
                let days = all_of(&stores, link).await.people();
                let days = days.first().map_or(0, |(_, clicks)| *clicks);
                let most = state.0.load(Ordering::SeqCst);
                assert!((least..=most).contains(&total), "{least} <= {total} <= {most}");
                assert!((least..=most).contains(&days), "{least} <= {days} <= {most}");
            }
        }
    });
    for n in 0..FLUSHES {
        state.0.fetch_add(3, Ordering::SeqCst);
        flush(&stores, vec![clicked(1, n, n + 1, &[(link, MINUTE, 3)])]).await.unwrap();
        state.1.fetch_add(3, Ordering::SeqCst);
    }
    state.2.store(true, Ordering::SeqCst);
    asks.await.unwrap();
    folds.await.unwrap();
    for _ in 0..2 {
        assert_eq!(count(&stores, link).await, 3 * FLUSHES);
        fold(&stores).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_clicks_that_another_node_did_not_add_up_are_not_removed() {
    let lent = lend().await;
    let (here, there, link) = (process(&lent, 0), process(&lent, 1), Id(9 << 30));
    flush(&here, vec![clicked(1, 0, 3, &[(link, MINUTE, 3)])]).await.unwrap();
    flush(&there, vec![clicked(2, 0, 4, &[(link, MINUTE + 70, 4)])]).await.unwrap();
    let keep = Retention { events_from: DAY + 9, details_from: 0 };
    while here.clicks.prune(keep).await.unwrap() {}
    let query = EventQuery { link, from: BEGIN, to: END, before: None, bots: None, limit: 99 };
    assert_eq!(here.stats.events(query).await.unwrap().len(), 4);
    let hours = [(DAY, 0, people(3)), (DAY, 1, people(4))];
    assert_eq!(all_of(&here, link).await.hours(), hours);
    while there.clicks.prune(keep).await.unwrap() {}
    assert_eq!(there.stats.events(query).await.unwrap(), []);
    assert_eq!(all_of(&there, link).await.hours(), hours);
    assert_eq!(count(&here, link).await, 7);
    // Then the sums go too; late clicks are told all the same.
    let keep = Retention { events_from: DAY + 9, details_from: DAY + 9 };
    while there.clicks.prune(keep).await.unwrap() {}
    assert_eq!(all_of(&here, link).await.hours(), [(DAY, 12, people(7))], "at noon");
    flush(&here, vec![clicked(1, 3, 5, &[(link, MINUTE, 2)])]).await.unwrap();
    let hours = [(DAY, 0, people(2)), (DAY, 12, people(7))];
    assert_eq!(all_of(&here, link).await.hours(), hours);
    fold(&here).await;
    assert_eq!(count(&here, link).await, 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_that_a_fold_writes_after_all_was_erased_do_not_count() {
    let lent = lend().await;
    let session = lent.session().await;
    let (stores, link) = (process(&lent, 0), Id(11 << 30));
    flush(&stores, vec![clicked(1, 0, 3, &[(link, MINUTE, 3)])]).await.unwrap();
    fold(&stores).await;
    let rows = rows_of(&session, &[(link, DAY)]).await;
    stores.clicks.erase(link, None).await.unwrap();
    for row in rows[0].iter().flatten() {
        row.put(&session).await;
    }
    assert_eq!(count(&stores, link).await, 0);
    flush(&stores, vec![clicked(1, 3, 4, &[(link, MINUTE, 1)])]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(count(&stores, link).await, 1);
        fold(&stores).await;
    }
}
