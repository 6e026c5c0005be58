//! New codes: leased, drawn and hashed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Nodes;
use crate::domain::code::{Code, is_reserved};
use crate::domain::destination::Destination;
use crate::domain::id::Id;
use crate::domain::limits::{CODE_BYTES_MAX, ID_BLOCK_SIZE};
use crate::domain::scheme::{CodeScheme, snowflake_code};
use crate::domain::seal::{SEALED_IDS_MAX, SealKey, Sealer};
use crate::service::codes::{CODE_LENGTH_MAX, CodeFault, CodeMaker, CodePlan};

fn seal_key(version: u32) -> SealKey {
    SealKey { version, secret: [version as u8; 32] }
}

fn sealer() -> Sealer {
    Sealer::new(vec![seal_key(1)])
}

fn plan(scheme: CodeScheme) -> CodePlan {
    CodePlan { scheme, length: 7 }
}

fn target() -> Destination {
    Destination::from_stored("https://shop.example/a").unwrap()
}

async fn make(maker: &CodeMaker, plan: CodePlan, attempt: u32) -> Code {
    maker.make(plan, Id(5), &target(), attempt).await.unwrap()
}

/// The leased number behind the next sealed code.
async fn next_number(maker: &CodeMaker) -> u64 {
    let code = make(maker, plan(CodeScheme::Sealed), 0).await;
    assert!(code.has_sealed_shape());
    maker.sealer().open(&code).expect("its own key opens it")
}

#[tokio::test]
async fn sealed_codes_come_from_leased_blocks_that_no_process_gets_again() {
    let store = Nodes::new();
    let first = CodeMaker::new(sealer(), Arc::clone(&store) as _);
    for expected in 0..100 {
        assert_eq!(next_number(&first).await, expected);
    }
    assert_eq!(store.n_leases.load(Ordering::Relaxed), 1);
    // A second process, or the same one after a crash, begins with a block of its own.
    let second = CodeMaker::new(sealer(), Arc::clone(&store) as _);
    assert_eq!(next_number(&second).await, ID_BLOCK_SIZE);
    assert_eq!(next_number(&first).await, 100);
}

#[tokio::test]
async fn the_next_block_is_taken_before_this_one_ends() {
    let store = Nodes::new();
    let maker = CodeMaker::new(sealer(), Arc::clone(&store) as _);
    let mut newest = None;
    for _ in 0..ID_BLOCK_SIZE - 10 {
        newest = newest.max(Some(next_number(&maker).await));
        tokio::task::yield_now().await;
    }
    assert_eq!(store.n_leases.load(Ordering::Relaxed), 2);
    // The store goes away, and nobody notices until both blocks are used up.
    store.switch(true);
    for _ in 0..ID_BLOCK_SIZE {
        let number = next_number(&maker).await;
        assert!(newest.replace(number) < Some(number));
        tokio::task::yield_now().await;
    }
    let mut refused = None;
    for _ in 0..20 {
        refused = maker.make(plan(CodeScheme::Sealed), Id(5), &target(), 0).await.err();
    }
    assert!(matches!(refused, Some(CodeFault::Storage(_))), "{refused:?}");
    store.switch(false);
    assert_eq!(next_number(&maker).await, 2 * ID_BLOCK_SIZE);
}

#[tokio::test]
async fn the_space_of_sealed_codes_ends_without_going_round() {
    let store = Nodes::new();
    let maker = CodeMaker::new(sealer(), Arc::clone(&store) as _);
    *store.next_block.lock().unwrap() = Some(SEALED_IDS_MAX - 3);
    for left in (1..=3).rev() {
        assert_eq!(next_number(&maker).await, SEALED_IDS_MAX - left);
    }
    for _ in 0..2 {
        *store.next_block.lock().unwrap() = Some(SEALED_IDS_MAX);
        let refused = maker.make(plan(CodeScheme::Sealed), Id(5), &target(), 0).await;
        assert!(matches!(refused, Err(CodeFault::SpaceUsedUp)), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn makers_at_the_same_time_never_share_a_code() {
    let store = Nodes::new();
    let maker = CodeMaker::new(sealer(), Arc::clone(&store) as _);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let maker = maker.clone();
            tokio::spawn(async move {
                let mut codes = Vec::new();
                for _ in 0..2_000 {
                    codes.push(make(&maker, plan(CodeScheme::Sealed), 0).await);
                }
                codes
            })
        })
        .collect();
    let mut seen = HashSet::new();
    for task in tasks {
        seen.extend(task.await.unwrap());
    }
    assert_eq!(seen.len(), 16_000);
    assert_eq!(store.n_leases.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_new_sealing_key_seals_and_the_old_one_still_opens() {
    let store = Nodes::new();
    let old = CodeMaker::new(sealer(), Arc::clone(&store) as _);
    let both = Sealer::new(vec![seal_key(1), seal_key(2)]);
    let new = CodeMaker::new(both, Arc::clone(&store) as _);
    let mut old_codes = Vec::new();
    for _ in 0..50 {
        old_codes.push(make(&old, plan(CodeScheme::Sealed), 0).await);
    }
    assert!(old_codes.iter().all(|code| new.sealer().open(code).is_some()));
    let mut n_opened = 0;
    for _ in 0..50 {
        let code = make(&new, plan(CodeScheme::Sealed), 0).await;
        n_opened += usize::from(old.sealer().open(&code).is_some());
    }
    // The tag lets one guess in 4,096 pass.
    assert!(n_opened <= 1, "the old key opens {n_opened} of 50 new codes");
}

#[tokio::test]
async fn random_codes_grow_with_every_fifth_collision_up_to_the_longest() {
    let maker = CodeMaker::new(sealer(), Nodes::new());
    for (attempt, length) in [(0, 7), (4, 7), (5, 8), (9, 8), (10, 9), (15, 10), (10_000, 50)] {
        let code = make(&maker, plan(CodeScheme::Random), attempt).await;
        assert_eq!(code.as_bytes().len(), length, "attempt {attempt}");
    }
    let longest = CodePlan { scheme: CodeScheme::Random, length: CODE_LENGTH_MAX };
    let code = make(&maker, longest, u32::MAX).await;
    assert_eq!(code.as_bytes().len(), CODE_BYTES_MAX);
}

#[tokio::test]
async fn random_codes_differ_and_stay_out_of_the_class_of_sealed_ones() {
    let maker = CodeMaker::new(sealer(), Nodes::new());
    let eight = CodePlan { scheme: CodeScheme::Random, length: 8 };
    let mut seen = HashSet::new();
    for _ in 0..5_000 {
        let code = make(&maker, eight, 0).await;
        assert!(!code.has_sealed_shape() && !is_reserved(code.as_str()), "{code}");
        assert!(seen.insert(code));
    }
}

#[tokio::test]
async fn hash_codes_follow_the_destination_and_then_chance() {
    let maker = CodeMaker::new(sealer(), Nodes::new());
    let hash = plan(CodeScheme::Hash);
    let mut seen = HashSet::new();
    for attempt in 0..10 {
        let code = make(&maker, hash, attempt).await;
        let other = CodeMaker::new(Sealer::new(vec![seal_key(9)]), Nodes::new());
        assert_eq!(make(&other, hash, attempt).await, code, "attempt {attempt}");
        assert_eq!(code.as_bytes().len(), 7 + attempt as usize / 5);
        assert!(seen.insert(code));
    }
    // A URL may be shortened more often than its hashes are tried.
    let (one, two) = (make(&maker, hash, 10).await, make(&maker, hash, 10).await);
    assert_ne!(one, two);
    assert_eq!((one.as_bytes().len(), two.as_bytes().len()), (9, 9));
}

#[tokio::test]
async fn snowflake_codes_are_those_of_their_ids() {
    let maker = CodeMaker::new(sealer(), Nodes::new());
    let code = make(&maker, plan(CodeScheme::Snowflake), 0).await;
    assert_eq!(code, snowflake_code(5));
}
