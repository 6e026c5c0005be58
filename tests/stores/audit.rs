//! The audit log: what is told in it, and what is found there again.

use std::collections::BTreeSet;

use shunt::domain::audit::{Act, AuditAction, AuditDraft, AuditEntry, Shown, Target, TargetKind};
use shunt::domain::id::Id;
use shunt::domain::link::{Link, LinkStatus};
use shunt::domain::network::ClientNetwork;
use shunt::storage::audit::AuditQuery;
use shunt::storage::{ChosenKey, Claim, Replace, Stores};

use crate::make::{HOME, NOW, api_key, id, imported, key, link, next, workspace};

/// Somebody with a session, from somewhere.
pub(crate) fn act() -> Act {
    let address = "203.0.113.77".parse().unwrap();
    let from = Some(ClientNetwork::of(address));
    Act { at: NOW, workspace: HOME, actor: Some(Id(5)), shown: Shown::Session(Id(6)), from }
}

pub(crate) fn all() -> AuditQuery {
    AuditQuery { workspace: HOME, limit: 10_000, ..AuditQuery::default() }
}

async fn log(stores: &Stores, query: AuditQuery) -> Vec<AuditEntry> {
    stores.audit.audit_log(query).await.unwrap().entries
}

/// What the log tells beside the first start, the oldest first.
async fn told(stores: &Stores) -> Vec<AuditDraft> {
    let entries = log(stores, all()).await;
    let told = entries.into_iter().rev().map(|entry| entry.draft);
    told.filter(|draft| draft.act.shown != Shown::CommandLine).collect()
}

pub(crate) async fn every_change_of_a_link_is_told_with_its_versions(stores: Stores) {
    let (links, act) = (&stores.links, Some(act()));
    let first = link("first");
    assert_eq!(
        links.claim(vec![first.clone(), link("other")], act).await.unwrap(),
        [Claim::Won; 2]
    );
    let titled = Link { title: "x".into(), ..next(&first) };
    assert_eq!(links.replace(titled.clone(), act).await.unwrap(), Replace::Done);
    let moved = Link { code: key("moved").code, ..next(&titled) };
    let done = links.relocate(&first.key(), moved.clone(), id(), act).await.unwrap();
    assert_eq!(done, Replace::Done);
    stores.clicks.erase(first.id, act).await.unwrap();
    let gone = Link { status: LinkStatus::Deleted, ..next(&moved) };
    assert_eq!(links.replace(gone, act).await.unwrap(), Replace::Done);

    let told = told(&stores).await;
    let of_first = told.iter().filter(|entry| entry.target == Some(Target::link(first.id)));
    let of_first: Vec<_> =
        of_first.map(|entry| (entry.action, entry.before, entry.after, &*entry.detail)).collect();
    let expected = [
        (AuditAction::LinkCreate, None, Some(1), ""),
        (AuditAction::LinkChange, Some(1), Some(2), "title"),
        (AuditAction::LinkChange, Some(2), Some(3), "alias"),
        (AuditAction::LinkResetClicks, None, None, ""),
        (AuditAction::LinkDelete, Some(3), None, ""),
    ];
    assert_eq!(of_first, expected);
    assert_eq!(told.len(), 6, "and the other link that was made");
    assert!(told.iter().all(|entry| Some(entry.act) == act), "who, when and from where");
}

/// The first start: keys belong to a workspace.
async fn begin(stores: &Stores) {
    assert!(stores.accounts.bootstrap(workspace(HOME), api_key(1, 1)).await.unwrap());
}

pub(crate) async fn every_change_of_a_key_is_told(stores: Stores) {
    begin(&stores).await;
    let act = Some(act());
    assert!(stores.accounts.add_key(api_key(2, 2), act).await.unwrap());
    assert!(
        stores
            .accounts
            .revoke_key(ChosenKey { workspace: HOME, of: None, id: Id(2) }, NOW, act)
            .await
            .unwrap()
    );
    let told = told(&stores).await;
    let told: Vec<_> = told.iter().map(|entry| (entry.action, entry.target)).collect();
    let target = Some(Target::key(Id(2)));
    assert_eq!(told, [(AuditAction::KeyCreate, target), (AuditAction::KeyRevoke, target)]);
}

pub(crate) async fn what_takes_no_effect_is_not_told(stores: Stores) {
    let (links, act) = (&stores.links, Some(act()));
    begin(&stores).await;
    let made = link("taken");
    // Nobody to be named: a test.
    links.claim(vec![made.clone(), link("used")], None).await.unwrap();
    assert_eq!(links.claim(vec![link("taken")], act).await.unwrap(), [Claim::Taken]);
    assert_eq!(links.replace(next(&next(&made)), act).await.unwrap(), Replace::Stale);
    let onto = Link { code: key("used").code, ..next(&made) };
    let moved = links.relocate(&made.key(), onto, id(), act).await.unwrap();
    assert_eq!(moved, Replace::Taken);
    stores.accounts.add_key(api_key(2, 2), None).await.unwrap();
    assert!(!stores.accounts.add_key(api_key(3, 2), act).await.unwrap());
    assert!(
        !stores
            .accounts
            .revoke_key(ChosenKey { workspace: Id(1), of: None, id: Id(2) }, NOW, act)
            .await
            .unwrap()
    );
    stores
        .accounts
        .revoke_key(ChosenKey { workspace: HOME, of: None, id: Id(2) }, NOW, None)
        .await
        .unwrap();
    assert!(
        stores
            .accounts
            .revoke_key(ChosenKey { workspace: HOME, of: None, id: Id(2) }, NOW, act)
            .await
            .unwrap(),
        "again"
    );
    assert_eq!(told(&stores).await, []);
}

pub(crate) async fn of_an_import_the_log_tells_once(stores: Stores) {
    let act = Some(act());
    stores.links.claim(vec![link("there")], None).await.unwrap();
    let batch = || ["new", "newer", "there"].map(|code| imported(link(code))).to_vec();
    for _ in 0..2 {
        stores.links.import([1; 16], [1; 32], batch(), act).await.unwrap();
    }
    stores.links.import([2; 16], [2; 32], batch(), act).await.unwrap();
    let told = told(&stores).await;
    let told: Vec<_> = told.iter().map(|entry| (entry.action, &*entry.detail)).collect();
    assert_eq!(told, [(AuditAction::LinksImport, "created 2, not created 1")]);
}

fn entry(n: u64) -> AuditDraft {
    let target = Target { kind: TargetKind::User, id: Id(n) };
    act().entry(AuditAction::UserLogin, Some(target))
}

pub(crate) async fn pages_go_through_all_entries_once_the_newest_first(stores: Stores) {
    stores.audit.append((0..7).map(entry).collect()).await.unwrap();
    let theirs = Act { workspace: Id(1), ..act() };
    stores.audit.append(vec![theirs.entry(AuditAction::UserLogin, None)]).await.unwrap();
    stores.audit.append(vec![entry(7)]).await.unwrap();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let query = AuditQuery { before, limit: 3, ..all() };
        let page = stores.audit.audit_log(query).await.unwrap();
        assert!(page.entries.len() <= 3);
        seen.extend(page.entries);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    let drafts: Vec<_> = seen.iter().map(|entry| entry.draft.clone()).collect();
    assert_eq!(drafts, (0..8).rev().map(entry).collect::<Vec<_>>());
    let places: Vec<_> = seen.iter().map(|entry| entry.seq).collect();
    assert_eq!(places, [9, 7, 6, 5, 4, 3, 2, 1]);
    let hashes: BTreeSet<_> = seen.iter().map(|entry| entry.hash).collect();
    assert_eq!(hashes.len(), 8);
    let theirs = log(&stores, AuditQuery { workspace: Id(1), ..all() }).await;
    assert_eq!((theirs.len(), theirs[0].seq), (1, 8));
}

pub(crate) async fn every_filter_of_the_log_selects_what_it_says(stores: Stores) {
    let later = Act { at: NOW.plus_millis(5), actor: Some(Id(9)), ..act() };
    let target = Target { kind: TargetKind::User, id: Id(4) };
    let entries = vec![
        entry(1),
        act().entry(AuditAction::UserLogout, None),
        later.entry(AuditAction::MemberRole, Some(target)).saying("admin"),
    ];
    stores.audit.append(entries).await.unwrap();
    for (query, expected) in [
        (all(), vec![3, 2, 1]),
        (AuditQuery { action: Some(AuditAction::UserLogout), ..all() }, vec![2]),
        (AuditQuery { actor: Some(Id(5)), ..all() }, vec![2, 1]),
        (AuditQuery { target: Some(Id(4)), ..all() }, vec![3]),
        (AuditQuery { from: Some(NOW.plus_millis(1)), ..all() }, vec![3]),
        (AuditQuery { from: Some(NOW), to: Some(NOW.plus_millis(5)), ..all() }, vec![2, 1]),
        (AuditQuery { actor: Some(Id(9)), to: Some(NOW), ..all() }, vec![]),
    ] {
        let found = log(&stores, query.clone()).await;
        let found: Vec<_> = found.iter().map(|entry| entry.seq).collect();
        assert_eq!(found, expected, "{query:?}");
        let paged = AuditQuery { limit: 1, before: Some(2), ..query.clone() };
        assert_eq!(stores.audit.audit_count(paged).await.unwrap(), expected.len() as u64);
    }
}

pub(crate) async fn many_writers_make_one_log_without_gaps(stores: Stores) {
    let writers = (0..40).map(|n| {
        let stores = stores.clone();
        tokio::spawn(async move {
            let made = link(&format!("racing-{n}"));
            stores.links.claim(vec![made.clone()], Some(act())).await.unwrap();
            stores.links.replace(next(&made), Some(act())).await.unwrap();
            stores.audit.append(vec![entry(n)]).await.unwrap();
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let places: Vec<_> = log(&stores, all()).await.iter().map(|entry| entry.seq).collect();
    assert_eq!(places, (1..=120).rev().collect::<Vec<_>>());
}
