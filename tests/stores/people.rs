//! Users, memberships, sessions, tickets, and what is noted of their changes.

use shunt::domain::account::{AccessChange, Role, Session, User};
use shunt::domain::api_key::ApiKey;
use shunt::domain::email::Email;
use shunt::domain::id::Id;
use shunt::domain::time::Timestamp;
use shunt::storage::people::{
    Erasure, Invitation, NewUser, PasswordChange, RoleSet, StoredTicket, UserAdded, UserChange,
    UserChanged,
};
use shunt::storage::{ChosenKey, Stores, Workspace};

use crate::make::{HOME, NOW, api_key, id, workspace};

pub(crate) fn email(name: &str) -> Email {
    Email::parse(&format!("{name}@example.com")).unwrap()
}

pub(crate) fn own(id: Id) -> Workspace {
    Workspace { id, name: "Personal".into(), operator: false, created_at: NOW }
}

pub(crate) fn user(name: &str) -> User {
    User {
        id: id(),
        email: email(name),
        email_verified_at: None,
        name: name.to_uppercase(),
        password: Some(format!("$argon2id$of-{name}")),
        workspace: id(),
        created_at: NOW,
        updated_at: NOW,
        disabled_at: None,
    }
}

pub(crate) fn new(user: &User) -> NewUser {
    let workspace = own(user.workspace);
    NewUser { user: user.clone(), workspace, identity: None, invitation: None }
}

pub(crate) async fn add(stores: &Stores, name: &str) -> User {
    let user = user(name);
    assert_eq!(stores.users.add_user(new(&user)).await.unwrap(), UserAdded::Done);
    user
}

pub(crate) fn session(of: &User) -> Session {
    Session {
        id: id(),
        user: of.id,
        workspace: of.workspace,
        generation: 0,
        digest: [1; 32],
        client: [2; 16],
        created_at: NOW,
        rotated_at: NOW,
        expires_at: NOW.plus_millis(1_000),
    }
}

pub(crate) fn invitation(workspace: Id, by: Id, digest: u8, role: Role) -> Invitation {
    Invitation {
        id: id(),
        workspace,
        digest: [digest; 32],
        email: Some(email("guest")),
        role,
        invited_by: by,
        created_at: NOW,
        expires_at: NOW.plus_millis(1_000),
    }
}

pub(crate) async fn changes(stores: &Stores) -> Vec<AccessChange> {
    let changes = stores.sessions.access_changes(0).await.unwrap();
    assert!(changes.windows(2).all(|two| two[0].0 < two[1].0), "out of order");
    changes.into_iter().map(|(_, _, change)| change).collect()
}

pub(crate) async fn join(stores: &Stores, owner: &User, guest: &User, role: Role) {
    let offer = invitation(owner.workspace, owner.id, 77, role);
    assert!(stores.teams.add_invitation(offer.clone(), 9).await.unwrap());
    let accepted = stores.teams.accept_invitation(&offer.digest, guest.id, NOW).await.unwrap();
    assert_eq!(accepted.map(|member| member.role), Some(role));
}

pub(crate) async fn an_address_is_one_account_whatever_its_case(stores: Stores) {
    let ada = add(&stores, "ada").await;
    let again = User { email: Email::parse("ADA@Example.COM").unwrap(), ..user("other") };
    assert_eq!(stores.users.add_user(new(&again)).await.unwrap(), UserAdded::EmailTaken);
    let asked = Email::parse("aDa@example.com").unwrap();
    assert_eq!(stores.users.user_by_email(&asked).await.unwrap(), Some(ada.clone()));
    assert_eq!(stores.users.user(ada.id).await.unwrap(), Some(ada.clone()));
    assert_eq!(stores.users.user(again.id).await.unwrap(), None);
    let memberships = stores.teams.memberships(ada.id).await.unwrap();
    assert_eq!(memberships.len(), 1);
    assert_eq!((&memberships[0].0, memberships[0].1.role), (&own(ada.workspace), Role::Owner));
    assert!(stores.teams.memberships(again.id).await.unwrap().is_empty(), "nothing half made");
}

pub(crate) async fn of_many_registrations_of_one_address_one_wins(stores: Stores) {
    let racers = (0..40).map(|_| {
        let users = stores.users.clone();
        tokio::spawn(async move { users.add_user(new(&user("ada"))).await.unwrap() })
    });
    let mut won = 0;
    for racer in racers.collect::<Vec<_>>() {
        won += usize::from(racer.await.unwrap() == UserAdded::Done);
    }
    assert_eq!((won, stores.users.users(Id(0), 100).await.unwrap().len()), (1, 1));
}

pub(crate) async fn names_and_addresses_change_and_another_address_is_not_proven(stores: Stores) {
    let (ada, bob) = (add(&stores, "ada").await, add(&stores, "bob").await);
    assert!(stores.users.verify_email(ada.id, NOW).await.unwrap());
    let ticket = ticket(&ada, 1, 0);
    stores.sessions.add_ticket(ticket.clone()).await.unwrap();
    let change = |change| stores.users.change_user(ada.id, change, NOW.plus_millis(5));
    let named = UserChange { name: Some("Ada L.".into()), email: None };
    let UserChanged::Done(user) = change(named).await.unwrap() else { panic!("not changed") };
    assert_eq!((user.name.as_str(), user.email_verified_at), ("Ada L.", Some(NOW)));
    let taken = UserChange { name: Some("x".into()), email: Some(bob.email.clone()) };
    assert_eq!(change(taken).await.unwrap(), UserChanged::EmailTaken);
    let moved = UserChange { name: None, email: Some(email("lovelace")) };
    let UserChanged::Done(user) = change(moved).await.unwrap() else { panic!("not changed") };
    assert_eq!((user.name.as_str(), user.email_verified_at), ("Ada L.", None));
    assert_eq!(user.email, email("lovelace"));
    assert_eq!(stores.users.user_by_email(&ada.email).await.unwrap(), None);
    let left = stores.sessions.take_ticket(&ticket.digest, 0, NOW).await.unwrap();
    assert_eq!(left, None, "what was sent to the old address is void");
    let nobody = stores.users.change_user(Id(9), UserChange::default(), NOW).await.unwrap();
    assert_eq!(nobody, UserChanged::NotFound);
}

pub(crate) async fn a_password_is_changed_from_the_one_that_is_and_sessions_end(stores: Stores) {
    let ada = add(&stores, "ada").await;
    let (kept, other) = (session(&ada), session(&ada));
    for one in [&kept, &other] {
        stores.sessions.add_session(one.clone(), 10).await.unwrap().unwrap();
    }
    let set = |from: Option<&str>, to: &str, keep| {
        let (from, to) = (from.map(str::to_owned), to.to_owned());
        stores.users.set_password(ada.id, PasswordChange { from, to, keep }, NOW)
    };
    assert_eq!(set(Some("wrong"), "$new", None).await.unwrap(), None);
    let before = ada.password.as_deref();
    assert_eq!(set(before, "$new", Some(kept.id)).await.unwrap(), Some(vec![other.id]));
    assert!(stores.sessions.session(kept.id).await.unwrap().is_some());
    assert_eq!(stores.sessions.session(other.id).await.unwrap(), None);
    assert_eq!(changes(&stores).await, [AccessChange::SessionEnded { session: other.id }]);
    stores.users.rehash_password(ada.id, "$old", "$never").await.unwrap();
    stores.users.rehash_password(ada.id, "$new", "$newer").await.unwrap();
    let stored = stores.users.user(ada.id).await.unwrap().unwrap();
    assert_eq!(stored.password.as_deref(), Some("$newer"));
}

pub(crate) async fn a_token_is_exchanged_once_however_many_try(stores: Stores) {
    let ada = add(&stores, "ada").await;
    let first = session(&ada);
    stores.sessions.add_session(first.clone(), 10).await.unwrap().unwrap();
    let next = |n: u8| Session { generation: 1, digest: [n; 32], ..first.clone() };
    let racers = (0..40).map(|n| {
        let (sessions, next) = (stores.sessions.clone(), next(n));
        tokio::spawn(async move { sessions.rotate_session(next).await.unwrap() })
    });
    let mut won = 0;
    for racer in racers.collect::<Vec<_>>() {
        won += usize::from(racer.await.unwrap());
    }
    assert_eq!(won, 1);
    let stored = stores.sessions.session(first.id).await.unwrap().unwrap();
    assert_eq!((stored.generation, stored.expires_at), (1, first.expires_at));
    let late = Session { generation: 2, rotated_at: first.expires_at, ..first.clone() };
    assert!(!stores.sessions.rotate_session(late).await.unwrap(), "it is over");
    assert!(stores.sessions.end_session(first.id, NOW).await.unwrap());
    assert!(!stores.sessions.end_session(first.id, NOW).await.unwrap());
    assert!(!stores.sessions.rotate_session(Session { generation: 2, ..first }).await.unwrap());
}

pub(crate) async fn the_oldest_of_too_many_sessions_end(stores: Stores) {
    let ada = add(&stores, "ada").await;
    let sessions: Vec<Session> = (0..4)
        .map(|n| Session { rotated_at: NOW.plus_millis(n), client: [n as u8; 16], ..session(&ada) })
        .collect();
    let mut ended = Vec::new();
    for one in &sessions {
        ended.extend(stores.sessions.add_session(one.clone(), 2).await.unwrap().unwrap());
    }
    assert_eq!(ended, [sessions[0].id, sessions[1].id]);
    for (n, known) in [(0, true), (3, true), (9, false)] {
        assert_eq!(stores.sessions.knows_client(ada.id, &[n; 16]).await.unwrap(), known);
    }
    assert_eq!(stores.sessions.end_sessions(ada.id, NOW).await.unwrap().len(), 2);
    assert_eq!(changes(&stores).await.len(), 4);
}

pub(crate) async fn a_disabled_user_has_nothing_in_force(stores: Stores) {
    assert!(stores.accounts.bootstrap(workspace(HOME), api_key(1, 1)).await.unwrap());
    let ada = add(&stores, "ada").await;
    let key = ApiKey { user: Some(ada.id), workspace: ada.workspace, ..api_key(2, 2) };
    assert!(stores.accounts.add_key(key, None).await.unwrap());
    let role = async || {
        let keys = stores.accounts.keys().await.unwrap();
        (keys[0].role, keys[1].role, keys[0].operator, keys[1].operator)
    };
    assert_eq!(role().await, (Some(Role::Owner), Some(Role::Owner), true, false));
    let open = session(&ada);
    stores.sessions.add_session(open.clone(), 9).await.unwrap().unwrap();
    let epoch = stores.accounts.keys_epoch().await.unwrap();
    let ended = stores.users.disable_user(ada.id, true, NOW).await.unwrap();
    assert_eq!(ended, Some(vec![open.id]));
    assert_ne!(stores.accounts.keys_epoch().await.unwrap(), epoch);
    assert_eq!(role().await, (Some(Role::Owner), None, true, false));
    assert_eq!(stores.sessions.add_session(session(&ada), 9).await.unwrap(), None);
    stores.users.disable_user(ada.id, false, NOW).await.unwrap().unwrap();
    assert_eq!(role().await.1, Some(Role::Owner));
    assert_eq!(stores.users.disable_user(Id(9), true, NOW).await.unwrap(), None);
}

pub(crate) async fn invitations_are_used_once_and_in_time(stores: Stores) {
    let (ada, bob) = (add(&stores, "ada").await, add(&stores, "bob").await);
    let offer = invitation(ada.workspace, ada.id, 5, Role::Viewer);
    assert!(stores.teams.add_invitation(offer.clone(), 1).await.unwrap());
    let more = invitation(ada.workspace, ada.id, 6, Role::Viewer);
    assert!(!stores.teams.add_invitation(more, 1).await.unwrap(), "one may wait");
    assert_eq!(
        stores.teams.invitations(ada.workspace, NOW).await.unwrap(),
        std::slice::from_ref(&offer)
    );
    let (digest, late) = (offer.digest, offer.expires_at);
    let accept = |at| stores.teams.accept_invitation(&digest, bob.id, at);
    assert_eq!(accept(late).await.unwrap(), None);
    assert_eq!(stores.teams.invitation(&digest, late).await.unwrap(), None);
    let member = accept(NOW).await.unwrap().unwrap();
    assert_eq!((member.workspace, member.role), (ada.workspace, Role::Viewer));
    assert_eq!(accept(NOW).await.unwrap(), None, "used up");
    let joined = AccessChange::RoleChanged {
        workspace: ada.workspace,
        user: bob.id,
        role: Some(Role::Viewer),
    };
    assert_eq!(changes(&stores).await, [joined]);
    let members = stores.teams.members(ada.workspace).await.unwrap();
    let members: Vec<_> =
        members.into_iter().map(|(member, user)| (member.role, user.id)).collect();
    assert_eq!(members, [(Role::Owner, ada.id), (Role::Viewer, bob.id)]);
    let gone = invitation(ada.workspace, ada.id, 7, Role::Admin);
    assert!(stores.teams.add_invitation(gone.clone(), 9).await.unwrap());
    assert!(!stores.teams.remove_invitation(bob.workspace, gone.id).await.unwrap());
    assert!(stores.teams.remove_invitation(ada.workspace, gone.id).await.unwrap());
    let invited = NewUser { invitation: Some(gone.digest), ..new(&user("carl")) };
    assert_eq!(stores.users.add_user(invited).await.unwrap(), UserAdded::NotInvited);
    assert_eq!(stores.users.users(Id(0), 9).await.unwrap().len(), 2, "nothing half made");
}

pub(crate) async fn a_workspace_keeps_an_owner(stores: Stores) {
    let (ada, bob) = (add(&stores, "ada").await, add(&stores, "bob").await);
    join(&stores, &ada, &bob, Role::Member).await;
    let set = |user: &User, role| stores.teams.set_role(ada.workspace, user.id, role, NOW);
    assert_eq!(set(&ada, Some(Role::Admin)).await.unwrap(), RoleSet::LastOwner);
    assert_eq!(set(&ada, None).await.unwrap(), RoleSet::LastOwner);
    assert_eq!(stores.users.erase_user(ada.id, NOW).await.unwrap(), Erasure::LastOwner);
    assert_eq!(set(&bob, Some(Role::Owner)).await.unwrap(), RoleSet::Done);
    assert_eq!(set(&ada, Some(Role::Admin)).await.unwrap(), RoleSet::Done);
    let stranger = user("nobody");
    assert_eq!(set(&stranger, Some(Role::Admin)).await.unwrap(), RoleSet::NotFound);
    let roles = changes(&stores).await;
    let demoted = AccessChange::RoleChanged {
        workspace: ada.workspace,
        user: ada.id,
        role: Some(Role::Admin),
    };
    assert_eq!(roles.last(), Some(&demoted));
    assert!(stores.teams.add_workspace(own(id()), ada.id, 2).await.unwrap());
    assert!(!stores.teams.add_workspace(own(id()), ada.id, 2).await.unwrap(), "two are enough");
    assert!(stores.teams.rename_workspace(ada.workspace, "Team").await.unwrap());
    assert!(!stores.teams.rename_workspace(Id(9), "Team").await.unwrap());
    assert_eq!(stores.teams.memberships(bob.id).await.unwrap()[0].0.name, "Team");
}

pub(crate) async fn whoever_leaves_leaves_no_key_behind(stores: Stores) {
    let (ada, bob) = (add(&stores, "ada").await, add(&stores, "bob").await);
    join(&stores, &ada, &bob, Role::Member).await;
    let key = ApiKey { user: Some(bob.id), workspace: ada.workspace, ..api_key(2, 2) };
    assert!(stores.accounts.add_key(key, None).await.unwrap());
    let revoke = |of| {
        stores.accounts.revoke_key(
            ChosenKey { workspace: ada.workspace, of: Some(of), id: Id(2) },
            NOW,
            None,
        )
    };
    assert!(!revoke(ada.id).await.unwrap(), "it is bob's");
    assert_eq!(stores.accounts.keys().await.unwrap()[0].role, Some(Role::Member));
    let left = stores.teams.set_role(ada.workspace, bob.id, None, NOW).await.unwrap();
    assert_eq!(left, RoleSet::Done);
    join(&stores, &ada, &bob, Role::Admin).await;
    assert_eq!(stores.accounts.keys().await.unwrap()[0].key.revoked_at, Some(NOW));
}

pub(crate) async fn an_erased_user_leaves_ids_only(stores: Stores) {
    let (ada, bob) = (add(&stores, "ada").await, add(&stores, "bob").await);
    join(&stores, &bob, &ada, Role::Member).await;
    let key = ApiKey { user: Some(ada.id), workspace: ada.workspace, ..api_key(2, 2) };
    assert!(stores.accounts.add_key(key, None).await.unwrap());
    assert!(stores.users.add_identity(ada.id, "https://id.example", "s1", NOW).await.unwrap());
    let open = session(&ada);
    stores.sessions.add_session(open.clone(), 9).await.unwrap().unwrap();
    let ended = vec![open.id];
    assert_eq!(stores.users.erase_user(ada.id, NOW).await.unwrap(), Erasure::Done { ended });
    assert_eq!(stores.users.erase_user(ada.id, NOW).await.unwrap(), Erasure::NotFound);
    assert_eq!(stores.users.user_by_email(&ada.email).await.unwrap(), None);
    assert_eq!(stores.users.user_by_identity("https://id.example", "s1").await.unwrap(), None);
    assert_eq!(stores.teams.members(bob.workspace).await.unwrap().len(), 1);
    let key = stores.accounts.keys().await.unwrap().remove(0).key;
    assert_eq!((key.name.as_str(), key.user, key.revoked_at), ("", None, Some(NOW)));
    assert_eq!(stores.teams.closed_workspaces().await.unwrap(), [ada.workspace]);
    stores.teams.finish_closing(ada.workspace).await.unwrap();
    assert!(stores.teams.closed_workspaces().await.unwrap().is_empty());
    assert_eq!(add(&stores, "ada").await.email, ada.email, "the address is free again");
}

pub(crate) async fn a_subject_of_a_provider_is_one_user(stores: Stores) {
    let (ada, bob) = (add(&stores, "ada").await, add(&stores, "bob").await);
    let link = |user: &User| stores.users.add_identity(user.id, "https://id.example", "s1", NOW);
    assert!(link(&ada).await.unwrap() && link(&ada).await.unwrap());
    assert!(!link(&bob).await.unwrap());
    let found = stores.users.user_by_identity("https://id.example", "s1").await.unwrap();
    assert_eq!(found.map(|user| user.id), Some(ada.id));
    assert_eq!(stores.users.user_by_identity("https://id.other", "s1").await.unwrap(), None);
    let identity = Some(("https://id.example".to_owned(), "s1".to_owned()));
    let carl = NewUser { identity, ..new(&user("carl")) };
    assert_eq!(stores.users.add_user(carl).await.unwrap(), UserAdded::IdentityTaken);
}

fn ticket(of: &User, digest: u8, kind: u8) -> StoredTicket {
    let expires_at = NOW.plus_millis(1_000);
    StoredTicket { digest: [digest; 32], kind, user: of.id, created_at: NOW, expires_at }
}

pub(crate) async fn a_ticket_works_once_for_what_it_is_for(stores: Stores) {
    let ada = add(&stores, "ada").await;
    let (first, second) = (ticket(&ada, 1, 0), ticket(&ada, 2, 0));
    let other = ticket(&ada, 3, 1);
    for ticket in [&first, &second, &other] {
        stores.sessions.add_ticket(ticket.clone()).await.unwrap();
    }
    let sessions = &stores.sessions;
    assert_eq!(sessions.take_ticket(&first.digest, 0, NOW).await.unwrap(), None, "replaced");
    assert_eq!(sessions.take_ticket(&second.digest, 1, NOW).await.unwrap(), None, "other kind");
    for (digest, kind, at, whose) in [
        (&second.digest, 0, NOW, Some(ada.id)),
        (&second.digest, 1, NOW, None),
        (&second.digest, 0, second.expires_at, None),
        (&first.digest, 0, NOW, None),
    ] {
        assert_eq!(sessions.ticket(digest, kind, at).await.unwrap(), whose);
    }
    assert_eq!(sessions.take_ticket(&second.digest, 0, NOW).await.unwrap(), Some(ada.id));
    assert_eq!(sessions.take_ticket(&second.digest, 0, NOW).await.unwrap(), None, "used up");
    assert_eq!(sessions.take_ticket(&other.digest, 1, other.expires_at).await.unwrap(), None);
    let nobody = StoredTicket { user: Id(9), ..ticket(&ada, 4, 0) };
    sessions.add_ticket(nobody.clone()).await.unwrap();
    assert_eq!(sessions.take_ticket(&nobody.digest, 0, NOW).await.unwrap(), None);
}

pub(crate) async fn what_is_over_is_pruned_and_nothing_else(stores: Stores) {
    let ada = add(&stores, "ada").await;
    let over = session(&ada);
    let lasts = Session { expires_at: NOW.plus_millis(9_000), ..session(&ada) };
    let ended = session(&ada);
    for one in [&over, &lasts, &ended] {
        stores.sessions.add_session(one.clone(), 9).await.unwrap().unwrap();
    }
    stores.sessions.end_session(ended.id, NOW).await.unwrap();
    let prune = |now: Timestamp, before| stores.sessions.prune_access(now, before);
    prune(over.expires_at, NOW).await.unwrap();
    assert_eq!(stores.sessions.session(over.id).await.unwrap(), None);
    assert!(stores.sessions.session(lasts.id).await.unwrap().is_some());
    let seen = stores.sessions.access_changes(0).await.unwrap();
    assert_eq!(seen.len(), 1);
    prune(over.expires_at, NOW.plus_millis(1)).await.unwrap();
    assert!(stores.sessions.access_changes(0).await.unwrap().is_empty());
    stores.sessions.end_session(lasts.id, NOW).await.unwrap();
    let later = stores.sessions.access_changes(seen[0].0).await.unwrap();
    assert_eq!(later.len(), 1, "numbers are not given out again");
}
