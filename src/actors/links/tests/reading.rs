//! Looking links up: hits, loads, absences, waits and refusals.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;

use super::store::{FakeClicks, FakeStore};
use super::*;
use crate::actors::links::LoadError;
use crate::storage::{Claim, ImportedLink, StorageErrorKind};

const LONG: &str = "a-code-that-is-longer-than-eleven-bytes";

#[actix::test]
async fn readers_see_a_link_as_soon_as_it_is_created() {
    let store = FakeStore::new();
    let table = start(&store).await;
    let links: Vec<_> = (1..=100).map(|n| link(n, &format!("spring{n}"))).collect();
    let claims = table.create(links, None).await.unwrap();
    assert_eq!(claims, vec![Claim::Won; 100]);
    for n in 1..=100 {
        let code = format!("spring{n}");
        assert_eq!(served(&table, &code), url(&code));
    }
    assert_eq!(served(&table, "summer"), None);
    assert_eq!(store.n_fetches(), 0);
}

#[actix::test]
async fn a_code_that_is_taken_leaves_the_table_alone() {
    let store = FakeStore::with([link(1, "spring")]);
    let table = start(&store).await;
    let second = Link { destination: target("other"), ..link(2, "spring") };
    assert_eq!(
        table.create(vec![second, link(3, "new")], None).await.unwrap(),
        [Claim::Taken, Claim::Won]
    );
    assert_eq!(served(&table, "spring"), None);
    assert_eq!(loaded(&table, "spring").await, url("spring"));
}

#[actix::test]
async fn codes_of_every_length_are_found_and_told_apart() {
    let codes: Vec<String> = (1..=50).map(|length| "x".repeat(length)).collect();
    let store = FakeStore::with(codes.iter().zip(1..).map(|(code, id)| link(id, code)));
    let table = start(&store).await;
    for code in &codes {
        assert_eq!(loaded(&table, code).await, url(code));
    }
    for code in &codes {
        assert_eq!(served(&table, code), url(code));
        assert_eq!(table.read(DomainId(1), code.as_bytes(), |_| ()), None);
    }
    assert_eq!(table.read(DomainId::DEFAULT, b"", |_| ()), None);
    assert_eq!(table.read(DomainId::DEFAULT, &[b'x'; 51], |_| ()), None);
    assert_eq!(table.read(DomainId::DEFAULT, &[b'x'; 9_000], |_| ()), None);
}

#[actix::test]
async fn a_hundred_visitors_of_a_cold_code_cost_one_fetch() {
    for code in ["spring", LONG, "nobody"] {
        let store = FakeStore::with([link(1, "spring"), link(2, LONG)]);
        let table = start(&store).await;
        let seen = join_all((0..100).map(|_| loaded(&table, code))).await;
        assert_eq!(store.n_fetches(), 1, "{code}");
        assert!(seen.iter().all(|target| target.is_some() == (code != "nobody")), "{code}");
        assert_eq!(total(&table, |shard| shard.in_flight + shard.waiting).await, 0);
    }
}

#[actix::test]
async fn a_store_that_is_down_is_an_error_and_the_next_visitor_tries_again() {
    let store = FakeStore::with([link(1, "spring")]);
    let table = start(&store).await;
    store.fail(Some(StorageErrorKind::Unavailable));
    let all = join_all((0..3).map(|_| table.load(key("spring"), |_| ()))).await;
    assert!(all.iter().all(|seen| matches!(seen, Err(LoadError::Storage(_)))));
    store.fail(None);
    assert_eq!(loaded(&table, "spring").await, url("spring"));
    store.fail(Some(StorageErrorKind::Unavailable));
    assert_eq!(served(&table, "spring"), url("spring"));
}

#[actix::test]
async fn a_visitor_waits_no_longer_than_the_limit() {
    tokio::time::pause();
    let store = FakeStore::with([link(1, "spring")]);
    let config = LinksConfig { load_wait_max: Span::from_millis(250), ..config() };
    let table = start_with(&store, config, &FakeClicks::new()).await;
    let gate = store.hold_fetches();
    let started = tokio::time::Instant::now();
    let refused = table.load(key("spring"), |_| ()).await;
    assert!(matches!(refused, Err(LoadError::TimedOut(wait)) if wait.as_millis() == 250));
    // The paused clock ticks in milliseconds.
    assert!(started.elapsed() <= Duration::from_millis(251));
    gate.open();
    // The load went on for whoever comes next.
    until("the link is in", || served(&table, "spring").is_some()).await;
    assert_eq!(store.n_fetches(), 1);
}

#[actix::test]
async fn a_load_that_hangs_is_given_up_and_its_place_is_free_again() {
    tokio::time::pause();
    let store = FakeStore::with([link(1, "spring"), link(2, "summer")]);
    let table =
        start_with(&store, LinksConfig { loads_max: 1, ..config() }, &FakeClicks::new()).await;
    let _never_opened = store.hold_fetches();
    assert!(matches!(table.load(key("spring"), |_| ()).await, Err(LoadError::Storage(_))));
    store.hold_fetches().open();
    assert_eq!(loaded(&table, "summer").await, url("summer"));
}

#[actix::test]
async fn more_loads_than_allowed_are_refused_at_once() {
    let store = FakeStore::with((1..=9).map(|n| link(n, &format!("cold{n}"))));
    let table =
        start_with(&store, LinksConfig { loads_max: 8, ..config() }, &FakeClicks::new()).await;
    let gate = store.hold_fetches();
    let codes: Vec<String> = (1..=8).map(|n| format!("cold{n}")).collect();
    let waiting = join_all(codes.iter().map(|code| loaded(&table, code)));
    let refused = async {
        until("all places are taken", || store.n_fetches() == 8).await;
        let refused = table.load(key("cold9"), |_| ()).await;
        assert!(matches!(refused, Err(LoadError::Overloaded)));
        gate.open();
    };
    let (seen, ()) = tokio::join!(waiting, refused);
    assert!(seen.iter().all(Option::is_some));
    assert_eq!(loaded(&table, "cold9").await, url("cold9"));
}

#[actix::test]
async fn callers_beyond_the_bound_of_a_shard_are_refused() {
    let store = FakeStore::with([link(1, "spring")]);
    let config = LinksConfig { mailbox_max: 16, shards: 1, ..config() };
    let table = start_with(&store, config, &FakeClicks::new()).await;
    let gate = store.hold_fetches();
    let waiting = join_all((0..16).map(|_| loaded(&table, "spring")));
    let refused = async {
        until("the load is under way", || store.n_fetches() == 1).await;
        let refused = table.load(key("spring"), |_| ()).await;
        assert!(matches!(refused, Err(LoadError::Overloaded)));
        let full: Vec<_> = (0..17).map(|_| table.load(key("other"), |_| ())).collect();
        let refused = join_all(full).await;
        assert!(refused.iter().all(|seen| matches!(seen, Err(LoadError::Overloaded))));
        gate.open();
    };
    let (seen, ()) = tokio::join!(waiting, refused);
    assert!(seen.iter().all(Option::is_some));
}

#[actix::test]
async fn visitors_of_a_hanging_code_who_gave_up_hold_no_places() {
    tokio::time::pause();
    let store = FakeStore::with([link(1, "hanging"), link(2, "cold")]);
    let load_wait_max = Span::from_millis(50);
    let config = LinksConfig { mailbox_max: 16, shards: 1, load_wait_max, ..config() };
    let table = start_with(&store, config, &FakeClicks::new()).await;
    let _hanging = store.hold_fetches();
    let visits = (0..16).map(|_| table.load(key("hanging"), |_| ()));
    for seen in futures_util::future::join_all(visits).await {
        assert!(matches!(seen, Err(LoadError::TimedOut(_))), "{seen:?}");
    }
    let seen = table.load(key("cold"), |_| ()).await;
    assert!(matches!(seen, Err(LoadError::TimedOut(_))), "not asked for: {seen:?}");
    assert_eq!(store.n_fetches(), 2);
}

#[actix::test]
async fn a_damaged_row_is_asked_for_once_in_five_seconds_and_mended_by_a_change() {
    tokio::time::pause();
    let store = FakeStore::with([link(1, "spring")]);
    let table = start(&store).await;
    let damaged = async || {
        let seen = table.load(key("spring"), |_| ()).await;
        assert!(seen.as_ref().is_err_and(LoadError::is_damage), "{seen:?}");
    };
    store.fail(Some(StorageErrorKind::Damaged));
    for _ in 0..10 {
        damaged().await;
    }
    assert_eq!((store.n_fetches(), table.shared.counts.damaged.get()), (1, 1));
    tokio::time::advance(Duration::from_secs(7)).await;
    damaged().await;
    assert_eq!(store.n_fetches(), 2);

    store.fail(None);
    table.replace(edited(&link(1, "spring"), "v2"), None).await.unwrap();
    assert_eq!(loaded(&table, "spring").await, url("v2"));
    assert_eq!(store.n_fetches(), 2);
}

#[actix::test]
async fn an_unknown_code_is_asked_for_once_in_five_seconds() {
    tokio::time::pause();
    let store = FakeStore::new();
    let table = start(&store).await;
    for _ in 0..10 {
        assert_eq!(loaded(&table, "nobody").await, None);
    }
    assert_eq!(store.n_fetches(), 1);
    tokio::time::advance(Duration::from_secs(7)).await;
    assert_eq!(loaded(&table, "nobody").await, None);
    assert_eq!(store.n_fetches(), 2);
}

#[actix::test]
async fn a_table_that_remembers_no_absences_still_answers() {
    let store = FakeStore::new();
    let table =
        start_with(&store, LinksConfig { negative_max: 0, ..config() }, &FakeClicks::new()).await;
    assert_eq!(loaded(&table, "nobody").await, None);
    assert_eq!(loaded(&table, "nobody").await, None);
    assert_eq!(store.n_fetches(), 2);
}

#[actix::test]
async fn unknown_codes_do_not_grow_the_table() {
    let store = FakeStore::new();
    let config = LinksConfig { negative_max: 64, ..config() };
    let table = start_with(&store, config, &FakeClicks::new()).await;
    for n in 0..2_000 {
        assert_eq!(loaded(&table, &format!("nobody{n}")).await, None);
    }
    assert_eq!(total(&table, |shard| shard.negative_entries).await, 64);
    assert_eq!(total(&table, |shard| shard.entries + shard.in_flight).await, 0);
}

#[actix::test]
async fn a_sealed_code_that_no_key_opens_is_refused_without_a_read() {
    let store = FakeStore::new();
    let table = start(&store).await;
    for n in 0..1_000 {
        // The tag lets one guess in 4,096 through.
        assert_eq!(loaded(&table, &format!("7wrong{:02}", n % 100)).await, None);
    }
    assert!(store.n_fetches() <= 2, "{}", store.n_fetches());
    assert_eq!(store.foreign_asked.load(Ordering::SeqCst), 1);
}

#[actix::test]
async fn a_domain_with_foreign_sealed_codes_looks_them_up() {
    let store = FakeStore::with([link(1, "7foreign")]);
    store.foreign.store(true, Ordering::SeqCst);
    let table = start(&store).await;
    assert_eq!(loaded(&table, "7foreign").await, url("7foreign"));
}

#[actix::test]
async fn an_import_of_a_foreign_sealed_code_marks_its_domain() {
    let store = FakeStore::new();
    let table = start(&store).await;
    assert_eq!(loaded(&table, "7foreign").await, None);
    store.put(link(1, "7foreign"));
    assert_eq!(loaded(&table, "7foreign").await, None);
    let row = ImportedLink {
        link: link(2, "8foreign"),
        clicks: 0,
        last_clicked_at: None,
        foreign_sealed: true,
        series: None,
    };
    table.import([1; 16], [1; 32], vec![row], None).await.unwrap();
    assert_eq!(served(&table, "8foreign"), url("8foreign"));
    assert_eq!(loaded(&table, "7foreign").await, url("7foreign"));
}

#[actix::test]
async fn shards_on_threads_of_their_own_serve_the_same() {
    let store = FakeStore::with([link(1, "spring")]);
    let parts = LinkTableParts {
        config: LinksConfig { threads: 2, ..config() },
        store: Arc::clone(&store) as _,
        clicks: FakeClicks::new(),
        policy: DestinationPolicy::default(),
        sealer: Sealer::new(vec![SealKey { version: 1, secret: [7; 32] }]),
        metrics: Metrics::new(),
        sole_writer: true,
        grants: None,
    };
    let table = LinkTable::start(parts);
    assert_eq!(loaded(&table, "spring").await, url("spring"));
    table.create(vec![link(2, "summer")], None).await.unwrap();
    assert_eq!(served(&table, "summer"), url("summer"));
    table.stop().await;
}
