//! What several writes of people make, cut short after each of them.

use std::collections::BTreeSet;

use shunt::domain::account::{AccessChange, Role, Session, User};
use shunt::domain::id::Id;
use shunt::domain::time::Timestamp;
use shunt::storage::Stores;
use shunt::storage::people::{Erasure, NewUser, UserAdded};

use crate::cql::{Lent, lend, open, stores};
use crate::make::{HOME, NOW, api_key, workspace};
use crate::people::{add, changes, email, join, new, session, user};

const MINUTE: Timestamp = NOW.plus_millis(61_000);

/// What registration writes, the last first.
const WRITES: [&str; 4] = [
    "DELETE FROM users WHERE id = USER",
    "DELETE FROM workspaces WHERE id = WORKSPACE",
    "TRUNCATE candidates",
    "TRUNCATE claims",
];

/// Registers somebody and takes the last `n` writes back.
async fn cut_short(lent: &Lent, stores: &Stores, n: usize) -> User {
    let ada = user("ada");
    let identity = Some(("https://id.example".to_owned(), "s1".to_owned()));
    let new = NewUser { identity, ..new(&ada) };
    assert_eq!(stores.users.add_user(new).await.unwrap(), UserAdded::Done);
    for statement in &WRITES[..n] {
        let statement = statement.replace("USER", &ada.id.to_string());
        lent.run(&statement.replace("WORKSPACE", &ada.workspace.to_string())).await;
    }
    ada
}

/// The same person tries again, with a new id.
async fn again(stores: &Stores, at: Timestamp) -> UserAdded {
    let identity = Some(("https://id.example".to_owned(), "s1".to_owned()));
    let ada = User { created_at: at, ..user("ada") };
    stores.users.add_user(NewUser { identity, ..new(&ada) }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_cut_short_leaves_its_address_free_after_a_minute() {
    for n in 1..=WRITES.len() {
        let lent = lend().await;
        let stores = stores(lent.cql());
        let ada = cut_short(&lent, &stores, n).await;
        assert_eq!(stores.users.user(ada.id).await.unwrap(), None);
        assert_eq!(stores.users.user_by_email(&ada.email).await.unwrap(), None);
        assert_eq!(stores.users.users(Id(0), 9).await.unwrap(), []);
        assert_eq!(stores.teams.members(ada.workspace).await.unwrap(), []);
        assert_eq!(stores.teams.memberships(ada.id).await.unwrap(), []);
        if n < WRITES.len() {
            let soon = again(&stores, NOW.plus_millis(60_000)).await;
            assert_eq!(soon, UserAdded::EmailTaken, "it may be under way, {n}");
        }
        assert_eq!(again(&stores, MINUTE).await, UserAdded::Done, "{n}");
        let found = stores.users.user_by_email(&ada.email).await.unwrap().unwrap();
        assert_ne!(found.id, ada.id);
        // Had it only been slow, it would find that it came too late.
        let late = stores.users.add_user(new(&User { email: email("late"), ..ada })).await.unwrap();
        let expected = if n < WRITES.len() { UserAdded::EmailTaken } else { UserAdded::Done };
        assert_eq!(late, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_registration_cut_short_left_is_removed() {
    for n in 0..=2 {
        let lent = lend().await;
        let stores = stores(lent.cql());
        let ada = cut_short(&lent, &stores, n).await;
        stores.sessions.prune_access(MINUTE, NOW).await.unwrap();
        let claims = lent.run("SELECT * FROM claims").await.len();
        let teams = lent.run("SELECT * FROM workspaces").await.len();
        let called = stores.accounts.workspaces_called(vec!["Personal".into()]).await.unwrap();
        let left = (claims, teams, called.len());
        assert_eq!(left, if n == 0 { (2, 1, 1) } else { (0, 0, 0) }, "{n}");
        assert_eq!(stores.users.user(ada.id).await.unwrap().is_some(), n == 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_of_sessions_and_memberships_that_were_not_told_are_told() {
    let lent = lend().await;
    let stores = stores(lent.cql());
    let (ada, bob) = (add(&stores, "ada").await, add(&stores, "bob").await);
    join(&stores, &ada, &bob, Role::Member).await;
    let open = Session { expires_at: NOW.plus_millis(9_000_000), ..session(&ada) };
    stores.sessions.add_session(open.clone(), 9).await.unwrap().unwrap();
    let (user, id) = (ada.id, open.id);
    lent.run(&format!(
        "UPDATE users SET ended_at = {} WHERE id = {user} AND kind = 0 AND item = {id}",
        NOW.as_millis()
    ))
    .await;
    let (workspace, user) = (ada.workspace, bob.id);
    lent.run(&format!(
        "DELETE FROM workspaces WHERE id = {workspace} AND kind = 0 AND item = {user}"
    ))
    .await;
    lent.run(&format!(
        "INSERT INTO workspaces (id, kind, item, at, change) \
         VALUES ({workspace}, 2, {user}, {}, 1)",
        NOW.as_millis()
    ))
    .await;
    assert_eq!(stores.sessions.session(open.id).await.unwrap(), None);
    let epoch = stores.accounts.keys_epoch().await.unwrap();
    stores.sessions.prune_access(MINUTE, NOW).await.unwrap();
    let told = changes(&stores).await;
    assert!(told.contains(&AccessChange::SessionEnded { session: open.id }));
    assert!(told.contains(&AccessChange::RoleChanged { workspace, user, role: None }));
    assert_ne!(stores.accounts.keys_epoch().await.unwrap(), epoch);
    stores.sessions.prune_access(MINUTE, NOW).await.unwrap();
    assert_eq!(changes(&stores).await, told, "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_cut_short_is_ended() {
    let lent = lend().await;
    let stores = stores(lent.cql());
    let (ada, bob) = (add(&stores, "ada").await, add(&stores, "bob").await);
    join(&stores, &bob, &ada, Role::Member).await;
    assert!(stores.users.add_identity(ada.id, "https://id.example", "s1", NOW).await.unwrap());
    let open = Session { expires_at: NOW.plus_millis(9_000_000), ..session(&ada) };
    stores.sessions.add_session(open.clone(), 9).await.unwrap().unwrap();
    let at = NOW.as_millis();
    lent.run(&format!("UPDATE users SET erasing_at = {at} WHERE id = {}", ada.id)).await;
    assert_eq!(stores.users.user(ada.id).await.unwrap(), None);
    assert_eq!(stores.users.user_by_email(&ada.email).await.unwrap(), None);
    assert_eq!(stores.users.erase_user(ada.id, NOW).await.unwrap(), Erasure::NotFound);
    assert_eq!(stores.sessions.add_session(session(&ada), 9).await.unwrap(), None);
    stores.sessions.prune_access(MINUTE, NOW).await.unwrap();
    assert_eq!(stores.teams.members(bob.workspace).await.unwrap().len(), 1);
    assert_eq!(stores.teams.closed_workspaces().await.unwrap(), [ada.workspace]);
    for table in ["users", "workspaces", "claims", "candidates", "known_clients"] {
        for row in lent.run(&format!("SELECT * FROM {table}")).await {
            let text = format!("{row:?}").to_lowercase();
            let names = ["ada@", "\"ada\"", "s1", &format!("{:?}", ada.email.key().as_bytes())];
            assert!(!names.iter().any(|name| text.contains(name)), "{table}: {text}");
        }
    }
    let left = lent.run(&format!("SELECT * FROM users WHERE id = {}", ada.id)).await;
    assert_eq!(left, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_cut_short_is_ended_by_the_next() {
    let lent = lend().await;
    let stores = stores(lent.cql());
    assert!(stores.accounts.bootstrap(workspace(HOME), api_key(1, 1)).await.unwrap());
    for table in ["workspaces", "api_keys", "claims", "candidates"] {
        lent.run(&format!("TRUNCATE {table}")).await;
    }
    lent.run("UPDATE installation SET finished = false WHERE id = 0").await;
    assert_eq!(stores.accounts.operator_workspace().await.unwrap(), Some(workspace(HOME)));
    assert_eq!(stores.accounts.keys().await.unwrap(), []);
    let epoch = stores.accounts.keys_epoch().await.unwrap();
    let other = workspace(Id(78));
    assert!(!stores.accounts.bootstrap(other, api_key(2, 2)).await.unwrap());
    let keys = stores.accounts.keys().await.unwrap();
    assert_eq!(keys.iter().map(|record| &record.key).collect::<Vec<_>>(), [&api_key(1, 1)]);
    assert!(keys[0].operator);
    assert_ne!(stores.accounts.keys_epoch().await.unwrap(), epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_changes_sees_each_of_them_whatever_clocks_say() {
    let lent = lend().await;
    let nodes = [stores(lent.cql()), stores(&open(lent.keyspace).await)];
    let ada = add(&nodes[0], "ada").await;
    let mut sessions = Vec::new();
    for _ in 0..40 {
        let one = session(&ada);
        nodes[0].sessions.add_session(one.clone(), 99).await.unwrap().unwrap();
        sessions.push(one.id);
    }
    let ends = sessions.iter().enumerate().map(|(n, id)| {
        let (node, id) = (nodes[n % 2].clone(), *id);
        // One of them has a clock that is hours behind, the other one's crosses hours.
        let hours = if n % 2 == 0 { -3 } else { n as i64 / 8 };
        let at = NOW.plus_millis(hours * 3_600_000);
        tokio::spawn(async move { node.sessions.end_session(id, at).await.unwrap() })
    });
    let ends: Vec<_> = ends.collect();
    let (mut seen, mut after) = (BTreeSet::new(), 0);
    while seen.len() < sessions.len() {
        let is_over = ends.iter().all(tokio::task::JoinHandle::is_finished);
        let new = nodes[0].sessions.access_changes(after).await.unwrap();
        assert!(!is_over || !new.is_empty(), "changes are missing: {} of 40", seen.len());
        for (number, _, change) in new {
            assert!(number > after);
            after = number;
            let AccessChange::SessionEnded { session } = change else { panic!("{change:?}") };
            seen.insert(session);
        }
    }
    for end in ends {
        assert!(end.await.unwrap());
    }
    let sessions: BTreeSet<Id> = sessions.into_iter().collect();
    assert_eq!(seen, sessions);
}
