//! Random work against a plain map: whatever runs at the same time, evicts or panics, what the
//! table serves is what the store holds.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use proptest::prelude::*;

use super::panics::Blow;
use super::store::{FakeClicks, FakeStore};
use super::*;
use crate::domain::hot::HotLink;
use crate::storage::LinkStore;

/// One step; numbers are codes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Create(u8),
    Edit(u8),
    Delete(u8),
    Move(u8, u8),
    Visit(u8),
    Blow(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let code = 0..24_u8;
    prop_oneof![
        3 => code.clone().prop_map(Step::Create),
        4 => code.clone().prop_map(Step::Edit),
        1 => code.clone().prop_map(Step::Delete),
        2 => (code.clone(), code.clone()).prop_map(|(from, to)| Step::Move(from, to)),
        8 => code.clone().prop_map(Step::Visit),
        1 => code.prop_map(Step::Blow),
    ]
}

/// Short and long codes.
fn code(n: u8) -> String {
    if n.is_multiple_of(3) { format!("a-rather-long-code-{n}") } else { format!("c{n}") }
}

/// Any of these may fail: others change the same code at the same time.
async fn take(table: &LinkTable, store: &FakeStore, step: Step, id: u64) {
    let current = async |n: u8| store.fetch(&key(&code(n))).await.unwrap();
    match step {
        Step::Create(n) => drop(table.create(vec![link(id, &code(n))], None).await),
        Step::Edit(n) => {
            if let Some(link) = current(n).await.filter(|link| link.status == LinkStatus::Active) {
                drop(table.replace(edited(&link, &format!("e{id}")), None).await);
            }
        }
        Step::Delete(n) => {
            if let Some(link) = current(n).await.filter(|link| link.status == LinkStatus::Active) {
                drop(table.replace(deleted(&link), None).await);
            }
        }
        Step::Move(from, to) => {
            let link = current(from).await.filter(|link| link.status == LinkStatus::Active);
            if let Some(link) = link {
                let moved = Link { code: key(&code(to)).code, ..edited(&link, &format!("m{id}")) };
                drop(table.relocate(link.key(), moved, Id(id), None).await);
            }
        }
        Step::Visit(n) => drop(table.load(key(&code(n)), HotLink::version).await),
        Step::Blow(n) => {
            let shard = usize::from(n) % table.shared.lanes.len();
            table.shared.addr(shard).send(Blow).await.unwrap();
        }
    }
}

/// What the store holds and what visitors get, per code.
async fn compare(table: &LinkTable, store: &FakeStore) {
    let (mut held, mut served_now) = (BTreeMap::new(), BTreeMap::new());
    for n in 0..24 {
        let link = store.fetch(&key(&code(n))).await.unwrap();
        let active = link.filter(|link| link.status == LinkStatus::Active);
        held.insert(code(n), active.map(|link| link.destination.as_str().to_owned()));
        let in_memory = served(table, &code(n));
        let answer = loaded(table, &code(n)).await;
        assert!(in_memory.is_none() || in_memory == answer, "{}", code(n));
        served_now.insert(code(n), answer);
    }
    assert_eq!(held, served_now);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_served_is_what_is_stored(
        rounds in prop::collection::vec(prop::collection::vec(step(), 1..12), 1..24),
        warm in any::<bool>(),
        tight in any::<bool>(),
        jitter in any::<u64>(),
    ) {
        actix_rt::System::new().block_on(async move {
            let store = FakeStore::new();
            store.jitter(jitter | 1);
            // Tight: two links per slice.
            let memory_max = if tight { Size(2_000) } else { Size::mib(1) };
            let config = LinksConfig { memory_max: Some(memory_max), ..config() };
            let table = start_with(&store, config, &FakeClicks::new()).await;
            if warm {
                table.warm().await.unwrap();
            }
            for (round, steps) in (1..).zip(rounds) {
                let take = |(n, step)| take(&table, &store, step, round * 100 + n);
                let all = (1_u64..).zip(steps).map(take);
                join_all(all).await;
                compare(&table, &store).await;
            }
            let report = table.inspect().await;
            assert!(report.iter().all(|shard| shard.in_flight + shard.waiting == 0), "{report:?}");
            table.stop().await;
        });
    }
}
