//! The bound on memory: what is evicted and what stays.

use super::store::{FakeClicks, FakeStore};
use super::*;

/// One slice, one MiB: some six thousand links.
fn small() -> LinksConfig {
    LinksConfig { memory_max: Some(Size::mib(1)), shards: 1, ..config() }
}

#[actix::test]
async fn eviction_keeps_the_table_below_its_bound() {
    let store = FakeStore::new();
    let table = start_with(&store, small(), &FakeClicks::new()).await;
    for batch in 0..20_u64 {
        let ids = batch * 1_000..(batch + 1) * 1_000;
        // Every tenth code is long, so both rings are walked.
        let code = |n: u64| {
            if n.is_multiple_of(10) { format!("a-long-code-{n}") } else { format!("c{n}") }
        };
        table.create(ids.map(|n| link(n + 1, &code(n))).collect(), None).await.unwrap();
        let report = table.inspect().await.remove(0);
        assert!(report.bytes <= report.bytes_max, "{report:?}");
    }
    let report = table.inspect().await.remove(0);
    assert!((4_000..8_000).contains(&report.entries), "{report:?}");
    assert!(report.bytes > report.bytes_max * 9 / 10, "{report:?}");
    assert!(!report.complete);
    let held = (0..20_000_u64).filter(|n| served(&table, &format!("c{n}")).is_some()).count();
    let held_long =
        (0..20_000_u64).filter(|n| served(&table, &format!("a-long-code-{n}")).is_some()).count();
    assert_eq!(held + held_long, report.entries);
    assert!(held_long > 100, "both kinds share the room: {held_long}");
    let evicted = table.shared.counts.evictions.get();
    assert_eq!(evicted, 20_000 - report.entries as u64);
    assert_eq!(table.shared.counts.in_memory.get(), report.entries as i64);
    assert_eq!(table.shared.counts.memory_bytes.get(), report.bytes as i64);
}

#[actix::test]
async fn an_evicted_link_is_loaded_again() {
    let store = FakeStore::new();
    let table = start_with(&store, small(), &FakeClicks::new()).await;
    for batch in 0..20_u64 {
        let ids = batch * 1_000..(batch + 1) * 1_000;
        table.create(ids.map(|n| link(n + 1, &format!("c{n}"))).collect(), None).await.unwrap();
    }
    let gone = (0..20_000).map(|n| format!("c{n}")).find(|code| served(&table, code).is_none());
    let gone = gone.unwrap();
    assert_eq!(loaded(&table, &gone).await, url(&gone));
}

#[actix::test]
async fn hot_links_survive_a_scan_over_cold_ones() {
    let store = FakeStore::with((0..30_000).map(|n| link(n + 1, &format!("c{n}"))));
    let table = start_with(&store, small(), &FakeClicks::new()).await;
    let hot: Vec<String> = (0..100).map(|n| format!("c{n}")).collect();
    for code in &hot {
        assert_eq!(loaded(&table, code).await, url(code));
    }
    for n in 100..30_000 {
        assert!(loaded(&table, &format!("c{n}")).await.is_some());
        if n % 500 == 0 {
            hot.iter().for_each(|code| drop(served(&table, code)));
        }
    }
    let survivors = hot.iter().filter(|code| served(&table, code).is_some()).count();
    assert_eq!(survivors, 100);
    assert!(table.shared.counts.evictions.get() > 20_000);
}

#[actix::test]
async fn room_is_found_even_when_every_link_is_hot() {
    let store = FakeStore::new();
    let table = start_with(&store, small(), &FakeClicks::new()).await;
    for n in 0..12_000_u64 {
        table.create(vec![link(n + 1, &format!("c{n}"))], None).await.unwrap();
        let code = format!("c{n}");
        assert_eq!(served(&table, &code), url(&code), "a new link is not its own victim");
    }
    let report = table.inspect().await.remove(0);
    assert!(report.bytes <= report.bytes_max, "{report:?}");
}

#[actix::test]
async fn deleted_links_give_their_memory_back() {
    let store = FakeStore::new();
    let table = start_with(&store, small(), &FakeClicks::new()).await;
    for n in 0..4_000_u64 {
        let link = link(n + 1, &format!("c{n}"));
        table.create(vec![link.clone()], None).await.unwrap();
        table.replace(deleted(&link), None).await.unwrap();
    }
    let report = table.inspect().await.remove(0);
    assert_eq!((report.entries, report.bytes), (0, 0));
}

#[actix::test]
async fn links_of_a_full_table_weigh_what_their_parts_weigh() {
    let store = FakeStore::new();
    let table = start_with(&store, small(), &FakeClicks::new()).await;
    table.create(vec![link(1, "abc")], None).await.unwrap();
    // Entry 64, target of 14 bytes behind its prefix 16, ring 16, slots 21.
    assert_eq!(table.inspect().await.remove(0).bytes, 64 + 16 + 16 + 21);
}
