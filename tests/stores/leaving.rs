//! What goes with whoever leaves, and who is told.

use shunt::domain::account::{AccessChange, Role, Session};
use shunt::domain::api_key::ApiKey;
use shunt::domain::id::Id;
use shunt::storage::people::{Erasure, RoleSet};
use shunt::storage::{Replay, ReplayKey, Stores};

use crate::make::{NOW, api_key};
use crate::people::{add, changes, email, invitation, join, session};

pub(crate) async fn offers_by_and_to_an_erased_user_go_with_it(stores: Stores) {
    let (ada, bob) = (add(&stores, "ada").await, add(&stores, "bob").await);
    join(&stores, &bob, &ada, Role::Admin).await;
    let own = invitation(ada.workspace, ada.id, 1, Role::Viewer);
    let by_ada = invitation(bob.workspace, ada.id, 2, Role::Viewer);
    let mut to_ada = invitation(bob.workspace, bob.id, 3, Role::Viewer);
    to_ada.email = Some(email("ADA"));
    let other = invitation(bob.workspace, bob.id, 4, Role::Viewer);
    for offer in [&own, &by_ada, &to_ada, &other] {
        assert!(stores.teams.add_invitation(offer.clone(), 9).await.unwrap());
    }
    let key = ApiKey { workspace: ada.workspace, ..api_key(5, 5) };
    assert!(stores.accounts.add_key(key, None).await.unwrap());
    let replay = ReplayKey { workspace: ada.workspace, key: "k".to_owned() };
    assert_eq!(stores.replays.begin(&replay, [1; 32], &[], NOW).await.unwrap(), Replay::Reserved);
    let erased = stores.users.erase_user(ada.id, NOW).await.unwrap();
    assert!(matches!(erased, Erasure::Done { .. }));

    assert_eq!(stores.teams.invitations(bob.workspace, NOW).await.unwrap(), [other]);
    assert!(stores.teams.invitations(ada.workspace, NOW).await.unwrap().is_empty());
    let key = stores.accounts.keys().await.unwrap().remove(0).key;
    assert_eq!((key.name.as_str(), key.revoked_at), ("", Some(NOW)), "nobody's, and over");
    for workspace in [ada.workspace, bob.workspace] {
        let told = AccessChange::RoleChanged { workspace, user: ada.id, role: None };
        assert!(changes(&stores).await.contains(&told), "{workspace}");
    }
    stores.teams.finish_closing(ada.workspace).await.unwrap();
    let again = stores.replays.begin(&replay, [2; 32], &[], NOW).await.unwrap();
    assert_eq!(again, Replay::Reserved, "answers are forgotten");
}

pub(crate) async fn offers_into_a_closed_workspace_go_with_it_whoever_made_them(stores: Stores) {
    let (ada, bob) = (add(&stores, "ada").await, add(&stores, "bob").await);
    let carl = add(&stores, "carl").await;
    join(&stores, &ada, &bob, Role::Admin).await;
    let by_bob = invitation(ada.workspace, bob.id, 1, Role::Viewer);
    let elsewhere = invitation(bob.workspace, bob.id, 2, Role::Viewer);
    for offer in [&by_bob, &elsewhere] {
        assert!(stores.teams.add_invitation(offer.clone(), 9).await.unwrap());
    }
    let left = stores.teams.set_role(ada.workspace, bob.id, None, NOW).await.unwrap();
    assert_eq!(left, RoleSet::Done);
    let offered = stores.teams.invitation(&by_bob.digest, NOW).await.unwrap();
    assert_eq!(offered, Some(by_bob.clone()), "it is the workspace's, not its maker's");
    let erased = stores.users.erase_user(ada.id, NOW).await.unwrap();
    assert!(matches!(erased, Erasure::Done { .. }));

    assert_eq!(stores.teams.invitation(&by_bob.digest, NOW).await.unwrap(), None);
    assert!(stores.teams.invitations(ada.workspace, NOW).await.unwrap().is_empty());
    let accepted = stores.teams.accept_invitation(&by_bob.digest, carl.id, NOW).await.unwrap();
    assert_eq!(accepted, None, "a workspace of nobody has a member");
    assert!(stores.teams.members(ada.workspace).await.unwrap().is_empty());
    assert_eq!(stores.teams.invitations(bob.workspace, NOW).await.unwrap(), [elsewhere]);
}

pub(crate) async fn clients_are_known_by_each_exchange_and_not_without_end(stores: Stores) {
    let ada = add(&stores, "ada").await;
    let knows = async |client: u8| stores.sessions.knows_client(ada.id, &[client; 16]).await;
    let mut open = session(&ada);
    stores.sessions.add_session(open.clone(), 9).await.unwrap().unwrap();
    assert!(knows(2).await.unwrap() && !knows(3).await.unwrap());
    for client in 3..=60 {
        let rotated_at = NOW.plus_millis(client.into());
        let (generation, client) = (open.generation + 1, [client; 16]);
        open = Session { generation, client, rotated_at, ..open };
        assert!(stores.sessions.rotate_session(open.clone()).await.unwrap());
    }
    assert!(knows(60).await.unwrap() && knows(11).await.unwrap());
    assert!(!knows(10).await.unwrap() && !knows(2).await.unwrap(), "fifty are enough");
}

pub(crate) async fn every_change_of_what_keys_may_do_moves_the_epoch(stores: Stores) {
    let (ada, bob) = (add(&stores, "ada").await, add(&stores, "bob").await);
    let epoch = async || stores.accounts.keys_epoch().await.unwrap();
    let mut before = epoch().await;
    let mut moved = async |what: &str| {
        let now = epoch().await;
        assert_ne!(now, before, "{what}");
        before = now;
    };
    join(&stores, &ada, &bob, Role::Member).await;
    moved("joining").await;
    let role = |role: Option<Role>| stores.teams.set_role(ada.workspace, bob.id, role, NOW);
    assert_eq!(role(Some(Role::Viewer)).await.unwrap(), RoleSet::Done);
    moved("another role").await;
    assert_eq!(role(None).await.unwrap(), RoleSet::Done);
    moved("leaving").await;
    for disabled in [true, false] {
        stores.users.disable_user(bob.id, disabled, NOW).await.unwrap().unwrap();
        moved("being disabled or not").await;
    }
    stores.users.erase_user(bob.id, NOW).await.unwrap();
    moved("being erased").await;
    assert_eq!(stores.users.users(Id(0), 9).await.unwrap(), [ada]);
}
