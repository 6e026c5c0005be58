//! Workspaces, keys, id blocks, clock marks, kept answers.

use shunt::domain::id::Id;
use shunt::domain::limits::IDEMPOTENCY_WINDOW_MS;
use shunt::domain::time::Timestamp;
use shunt::storage::{ChosenKey, KeptAnswer, Replay, ReplayKey, Stores, Workspace};

use crate::make::{HOME, NOW, api_key, workspace};
use crate::people;

async fn bootstrap(stores: &Stores) {
    assert!(stores.accounts.bootstrap(workspace(HOME), api_key(1, 1)).await.unwrap());
}

pub(crate) async fn of_many_first_starts_exactly_one_wins(stores: Stores) {
    let starts = (1..=40).map(|n| {
        let accounts = stores.accounts.clone();
        tokio::spawn(async move {
            let key = shunt::domain::api_key::ApiKey { workspace: Id(n), ..api_key(n, n as u8) };
            accounts.bootstrap(workspace(Id(n)), key).await.unwrap()
        })
    });
    let mut won = 0;
    for start in starts.collect::<Vec<_>>() {
        won += usize::from(start.await.unwrap());
    }
    assert_eq!(won, 1);
    let operators = stores.accounts.operator_workspace().await.unwrap().unwrap();
    let keys = stores.accounts.keys().await.unwrap();
    let all = stores.accounts.workspaces_called((1..=40).map(|n: u64| n.to_string()).collect());
    assert_eq!((all.await.unwrap(), keys.len()), (vec![operators.clone()], 1));
    assert_eq!(operators.id, keys[0].key.workspace);
    assert_eq!(operators, workspace(operators.id));
}

pub(crate) async fn workspaces_are_found_by_their_names_and_ids(stores: Stores) {
    assert_eq!(stores.accounts.operator_workspace().await.unwrap(), None);
    bootstrap(&stores).await;
    let other = |id| Workspace { name: "team".into(), operator: false, ..workspace(Id(id)) };
    let owner = people::add(&stores, "ada").await;
    for id in [73, 71, 72] {
        assert!(stores.teams.add_workspace(other(id), owner.id, 100).await.unwrap());
    }
    let called = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let found = stores.accounts.workspaces_called(names);
        async { found.await.unwrap().into_iter().map(|one| one.id.0).collect::<Vec<_>>() }
    };
    assert_eq!(called(&["team"]).await, [71, 72, 73]);
    assert_eq!(called(&["72", "home"]).await, [72, HOME.0]);
    assert_eq!(called(&["Team", "nobody", "7", ""]).await, [0_u64; 0]);
    assert_eq!(called(&[]).await, [0_u64; 0]);
    assert_eq!(stores.accounts.operator_workspace().await.unwrap(), Some(workspace(HOME)));
}

pub(crate) async fn a_digest_is_stored_once(stores: Stores) {
    bootstrap(&stores).await;
    assert!(stores.accounts.add_key(api_key(2, 2), None).await.unwrap());
    assert!(!stores.accounts.add_key(api_key(3, 2), None).await.unwrap());
    let keys = stores.accounts.keys().await.unwrap();
    let keys: Vec<_> = keys.into_iter().map(|record| record.key).collect();
    assert_eq!(keys, [api_key(1, 1), api_key(2, 2)]);
}

pub(crate) async fn a_key_is_revoked_once_and_in_its_workspace_only(stores: Stores) {
    bootstrap(&stores).await;
    let revoke = |workspace, id, at| {
        stores.accounts.revoke_key(ChosenKey { workspace, of: None, id }, at, None)
    };
    assert!(!revoke(Id(1_000), Id(1), NOW).await.unwrap());
    assert!(!revoke(HOME, Id(99), NOW).await.unwrap());
    assert!(revoke(HOME, Id(1), NOW).await.unwrap());
    assert!(revoke(HOME, Id(1), NOW.plus_millis(5)).await.unwrap());
    assert_eq!(stores.accounts.keys().await.unwrap()[0].key.revoked_at, Some(NOW));
}

pub(crate) async fn uses_of_keys_add_up(stores: Stores) {
    bootstrap(&stores).await;
    let later = NOW.plus_millis(9);
    stores.accounts.add_key_uses(vec![(Id(1), 3, later), (Id(99), 1, NOW)]).await.unwrap();
    stores.accounts.add_key_uses(vec![(Id(1), 4, NOW)]).await.unwrap();
    let key = stores.accounts.keys().await.unwrap().remove(0).key;
    assert_eq!((key.uses, key.last_used_at), (7, Some(later)));
}

pub(crate) async fn every_change_of_a_key_moves_the_epoch(stores: Stores) {
    let epoch = || async { stores.accounts.keys_epoch().await.unwrap() };
    let empty = epoch().await;
    bootstrap(&stores).await;
    let first = epoch().await;
    stores.accounts.add_key(api_key(2, 2), None).await.unwrap();
    let second = epoch().await;
    stores
        .accounts
        .revoke_key(ChosenKey { workspace: HOME, of: None, id: Id(2) }, NOW, None)
        .await
        .unwrap();
    let third = epoch().await;
    let epochs = [empty, first, second, third];
    assert!(epochs.windows(2).all(|two| two[0] != two[1]), "{epochs:?}");
    assert_eq!(epoch().await, third, "and nothing else does");
}

pub(crate) async fn leased_blocks_never_overlap(stores: Stores) {
    let leases = (0..64).map(|_| {
        let nodes = stores.nodes.clone();
        tokio::spawn(async move { nodes.lease_block("codes", 100).await.unwrap() })
    });
    let mut firsts = Vec::new();
    for lease in leases.collect::<Vec<_>>() {
        firsts.push(lease.await.unwrap());
    }
    firsts.sort_unstable();
    let expected: Vec<u64> = (0..64).map(|n| n * 100).collect();
    assert_eq!(firsts, expected);
    assert_eq!(stores.nodes.lease_block("others", 1).await.unwrap(), 0);
}

pub(crate) async fn a_clock_mark_never_falls(stores: Stores) {
    assert_eq!(stores.nodes.clock_mark(5).await.unwrap(), Timestamp(0));
    stores.nodes.raise_clock_mark(5, Timestamp(100)).await.unwrap();
    stores.nodes.raise_clock_mark(5, Timestamp(50)).await.unwrap();
    assert_eq!(stores.nodes.clock_mark(5).await.unwrap(), Timestamp(100));
    assert_eq!(stores.nodes.clock_mark(6).await.unwrap(), Timestamp(0));
}

fn replay_key(key: &str) -> ReplayKey {
    ReplayKey { workspace: HOME, key: key.into() }
}

fn answer() -> KeptAnswer {
    KeptAnswer {
        status: 201,
        location: Some("/x".into()),
        etag: None,
        body: b"{\"a\":1}\0".to_vec(),
    }
}

pub(crate) async fn an_answer_is_replayed_until_its_window_ends(stores: Stores) {
    let (replays, key) = (&stores.replays, replay_key("k"));
    assert_eq!(replays.begin(&key, [1; 32], &[], NOW).await.unwrap(), Replay::Reserved);
    assert_eq!(replays.begin(&key, [1; 32], &[], NOW).await.unwrap(), Replay::InProgress);
    replays.finish(&key, [1; 32], answer(), NOW).await.unwrap();
    let end = NOW.plus_millis(IDEMPOTENCY_WINDOW_MS);
    assert_eq!(replays.begin(&key, [1; 32], &[], end).await.unwrap(), Replay::Answered(answer()));
    assert_eq!(replays.begin(&key, [2; 32], &[], end).await.unwrap(), Replay::Mismatch);
    let after = end.plus_millis(1);
    assert_eq!(replays.begin(&key, [2; 32], &[], after).await.unwrap(), Replay::Reserved);
}

pub(crate) async fn a_reservation_without_an_answer_lapses(stores: Stores) {
    let (replays, key) = (&stores.replays, replay_key("k"));
    assert_eq!(replays.begin(&key, [1; 32], &[], NOW).await.unwrap(), Replay::Reserved);
    let minute = NOW.plus_millis(60_000);
    assert_eq!(replays.begin(&key, [1; 32], &[], minute).await.unwrap(), Replay::InProgress);
    let after = minute.plus_millis(1);
    assert_eq!(replays.begin(&key, [3; 32], &[], after).await.unwrap(), Replay::Reserved);
}

pub(crate) async fn an_abandoned_key_is_free_again(stores: Stores) {
    let (replays, key) = (&stores.replays, replay_key("k"));
    replays.begin(&key, [1; 32], &[], NOW).await.unwrap();
    replays.abandon(&key, [1; 32]).await.unwrap();
    assert_eq!(replays.begin(&key, [2; 32], &[], NOW).await.unwrap(), Replay::Reserved);
    replays.finish(&key, [2; 32], answer(), NOW).await.unwrap();
    replays.abandon(&key, [2; 32]).await.unwrap();
    let kept = replays.begin(&key, [2; 32], &[], NOW).await.unwrap();
    assert_eq!(kept, Replay::Answered(answer()), "an answer is not abandoned");
}

pub(crate) async fn an_idempotency_key_belongs_to_its_workspace(stores: Stores) {
    let other = ReplayKey { workspace: Id(1), ..replay_key("k") };
    stores.replays.begin(&replay_key("k"), [1; 32], &[], NOW).await.unwrap();
    assert_eq!(stores.replays.begin(&other, [2; 32], &[], NOW).await.unwrap(), Replay::Reserved);
}

pub(crate) async fn a_request_without_an_outcome_gets_its_ids_back(stores: Stores) {
    let (replays, key) = (&stores.replays, replay_key("k"));
    let (first, second) = ([Id(11), Id(u64::MAX)], [Id(12), Id(13)]);
    let begin = |fingerprint, ids, at| replays.begin(&key, fingerprint, ids, at);
    assert_eq!(begin([1; 32], &first, NOW).await.unwrap(), Replay::Reserved);
    // Its process died, and the reservation ran out.
    let later = NOW.plus_millis(60_001);
    let again = begin([1; 32], &second, later).await.unwrap();
    assert_eq!(again, Replay::Resumed(first.to_vec()));
    assert_eq!(begin([1; 32], &second, later).await.unwrap(), Replay::InProgress);
    replays.abandon(&key, [1; 32]).await.unwrap();
    let again = begin([1; 32], &second, later).await.unwrap();
    assert_eq!(again, Replay::Resumed(first.to_vec()), "an abandoned try may have left something");
    replays.abandon(&key, [1; 32]).await.unwrap();
    // Another request under the same key has nothing to do with it.
    assert_eq!(begin([2; 32], &second, later).await.unwrap(), Replay::Reserved);
    let day = later.plus_millis(IDEMPOTENCY_WINDOW_MS + 1);
    assert_eq!(begin([2; 32], &first, day).await.unwrap(), Replay::Reserved);
    replays.finish(&key, [2; 32], answer(), day).await.unwrap();
    assert_eq!(begin([2; 32], &second, day).await.unwrap(), Replay::Answered(answer()));
}

pub(crate) async fn a_late_request_leaves_the_reservation_of_another_alone(stores: Stores) {
    let (replays, key) = (&stores.replays, replay_key("k"));
    let begin = |fingerprint, at| replays.begin(&key, fingerprint, &[], at);
    assert_eq!(begin([1; 32], NOW).await.unwrap(), Replay::Reserved);
    // It stalled for more than its minute, and another request took the key.
    let later = NOW.plus_millis(60_001);
    assert_eq!(begin([2; 32], later).await.unwrap(), Replay::Reserved);
    replays.abandon(&key, [1; 32]).await.unwrap();
    assert_eq!(begin([2; 32], later).await.unwrap(), Replay::InProgress);
    replays.finish(&key, [1; 32], answer(), later).await.unwrap();
    assert_eq!(begin([2; 32], later).await.unwrap(), Replay::InProgress);
    let own = KeptAnswer { status: 200, ..answer() };
    replays.finish(&key, [2; 32], own.clone(), later).await.unwrap();
    replays.finish(&key, [1; 32], answer(), later).await.unwrap();
    assert_eq!(begin([2; 32], later).await.unwrap(), Replay::Answered(own));
}
