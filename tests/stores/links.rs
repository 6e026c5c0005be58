//! Links: claims, changes, moves, imports.

use shunt::domain::code::{Code, DomainId, LinkKey};
use shunt::domain::id::Id;
use shunt::domain::link::{Link, LinkStatus};
use shunt::domain::scheme::CodeSeries;
use shunt::storage::{BatchAnswer, Claim, Imported, ImportedLink, Replace, Stores};

use crate::make::{HOME, NOW, full_link, id, imported, key, link, next, url};

async fn claim(stores: &Stores, link: &Link) -> Claim {
    stores.links.claim(vec![link.clone()], None).await.unwrap()[0]
}

pub(crate) async fn a_claimed_link_comes_back_field_by_field(stores: Stores) {
    for made in [link("plain"), full_link("full")] {
        assert_eq!(claim(&stores, &made).await, Claim::Won);
        assert_eq!(stores.links.fetch(&made.key()).await.unwrap(), Some(made));
    }
    assert_eq!(stores.links.fetch(&key("full")).await.unwrap(), None, "another domain");
    assert_eq!(stores.links.count().await.unwrap(), 2);
}

pub(crate) async fn a_code_is_claimed_once(stores: Stores) {
    let first = link("once");
    assert_eq!(claim(&stores, &first).await, Claim::Won);
    assert_eq!(claim(&stores, &link("once")).await, Claim::Taken);
    assert_eq!(claim(&stores, &link("Once")).await, Claim::Won, "case matters");
    let elsewhere = Link { domain: DomainId(1), ..link("once") };
    assert_eq!(claim(&stores, &elsewhere).await, Claim::Won, "domains are apart");
    assert_eq!(stores.links.fetch(&key("once")).await.unwrap(), Some(first));
}

pub(crate) async fn of_a_thousand_concurrent_claims_exactly_one_wins(stores: Stores) {
    let claims = (0..1_000).map(|_| {
        let (links, wanted) = (stores.links.clone(), link("wanted"));
        tokio::spawn(async move { links.claim(vec![wanted], None).await.unwrap()[0] })
    });
    let mut won = 0;
    for claim in claims.collect::<Vec<_>>() {
        won += usize::from(claim.await.unwrap() == Claim::Won);
    }
    assert_eq!(won, 1);
    assert_eq!(stores.links.count().await.unwrap(), 1);
}

pub(crate) async fn one_call_cannot_claim_a_code_twice(stores: Stores) {
    let links = vec![link("same"), link("other"), link("same")];
    let claims = stores.links.claim(links, None).await.unwrap();
    assert_eq!(claims, [Claim::Won, Claim::Won, Claim::Taken]);
}

pub(crate) async fn an_external_id_is_unique_in_its_workspace_until_its_link_is_deleted(
    stores: Stores,
) {
    let with_id = |code: &str| Link { external_id: Some("x-1".into()), ..link(code) };
    let first = with_id("first");
    assert_eq!(claim(&stores, &first).await, Claim::Won);
    assert_eq!(claim(&stores, &with_id("second")).await, Claim::ExternalIdTaken);
    assert_eq!(stores.links.fetch(&key("second")).await.unwrap(), None);
    let abroad = Link { workspace: Id(78), ..with_id("abroad") };
    assert_eq!(claim(&stores, &abroad).await, Claim::Won);

    let other = link("other");
    assert_eq!(claim(&stores, &other).await, Claim::Won);
    let wishing = Link { external_id: Some("x-1".into()), ..next(&other) };
    assert_eq!(stores.links.replace(wishing, None).await.unwrap(), Replace::ExternalIdTaken);
    assert_eq!(stores.links.fetch(&key("other")).await.unwrap(), Some(other));

    let deleted = Link { status: LinkStatus::Deleted, ..next(&first) };
    assert_eq!(stores.links.replace(deleted, None).await.unwrap(), Replace::Done);
    assert_eq!(claim(&stores, &with_id("third")).await, Claim::Won);
}

pub(crate) async fn a_change_needs_the_version_before_it(stores: Stores) {
    let first = link("change");
    let second = Link { destination: url("https://example.org/new"), ..next(&first) };
    assert_eq!(stores.links.replace(second.clone(), None).await.unwrap(), Replace::Stale, "absent");
    claim(&stores, &first).await;
    assert_eq!(
        stores.links.replace(next(&second), None).await.unwrap(),
        Replace::Stale,
        "skips one"
    );
    assert_eq!(stores.links.replace(second.clone(), None).await.unwrap(), Replace::Done);
    assert_eq!(stores.links.replace(second.clone(), None).await.unwrap(), Replace::Stale, "again");
    assert_eq!(stores.links.fetch(&key("change")).await.unwrap(), Some(second));
}

pub(crate) async fn racing_changes_of_one_version_let_one_through(stores: Stores) {
    let first = link("race");
    claim(&stores, &first).await;
    let changes = (0..50).map(|n| {
        let (links, change) = (stores.links.clone(), Link { title: n.to_string(), ..next(&first) });
        tokio::spawn(async move { links.replace(change, None).await.unwrap() })
    });
    let mut done = 0;
    for change in changes.collect::<Vec<_>>() {
        done += usize::from(change.await.unwrap() == Replace::Done);
    }
    assert_eq!(done, 1);
}

pub(crate) async fn a_moved_link_leaves_its_code_reserved(stores: Stores) {
    let old = full_link("before");
    claim(&stores, &old).await;
    let moved = Link { code: key("after").code, ..next(&old) };
    let tombstone = id();
    let done = stores.links.relocate(&old.key(), moved.clone(), tombstone, None).await.unwrap();
    assert_eq!(done, Replace::Done);
    assert_eq!(stores.links.fetch(&moved.key()).await.unwrap(), Some(moved.clone()));
    let left = stores.links.fetch(&old.key()).await.unwrap().unwrap();
    assert_eq!((left.id, left.status, left.version), (tombstone, LinkStatus::Deleted, 10));
    let again = Link { domain: DomainId(3), ..link("before") };
    assert_eq!(claim(&stores, &again).await, Claim::Taken);
    assert_eq!(stores.links.count().await.unwrap(), 2);
    assert_eq!(stores.links.tags(HOME).await.unwrap().len(), 2, "tags moved along, once");
}

pub(crate) async fn a_move_to_a_used_code_changes_nothing(stores: Stores) {
    let (one, two) = (link("one"), link("two"));
    claim(&stores, &one).await;
    claim(&stores, &two).await;
    let onto = |from: &Link| Link { code: two.code, ..next(from) };
    let taken = stores.links.relocate(&one.key(), onto(&one), id(), None).await.unwrap();
    assert_eq!(taken, Replace::Taken);
    let stale = Link { code: key("free").code, ..next(&next(&one)) };
    let stale = stores.links.relocate(&one.key(), stale, id(), None).await.unwrap();
    assert_eq!(stale, Replace::Stale);
    assert_eq!(stores.links.fetch(&one.key()).await.unwrap(), Some(one));
    assert_eq!(stores.links.fetch(&two.key()).await.unwrap(), Some(two));
    assert_eq!(stores.links.count().await.unwrap(), 2);
}

pub(crate) async fn active_links_of_a_destination_are_found_the_newest_first(stores: Stores) {
    let to = |code: &str| Link { destination: url("https://example.com/x"), ..link(code) };
    let (older, newer) = (to("older"), Link { created_at: NOW.plus_millis(1), ..to("newer") });
    let asleep = Link { status: LinkStatus::Disabled, created_at: NOW.plus_millis(2), ..to("off") };
    let abroad = Link { workspace: Id(78), ..to("abroad") };
    stores.links.claim(vec![newer.clone(), older.clone(), asleep, abroad], None).await.unwrap();
    let find = |domain, limit| {
        stores.links.find_by_destination(HOME, domain, "https://example.com/x", limit)
    };
    assert_eq!(find(DomainId::DEFAULT, 1).await.unwrap(), std::slice::from_ref(&newer));
    assert_eq!(find(DomainId::DEFAULT, 9).await.unwrap(), [newer, older]);
    assert_eq!(find(DomainId(9), 9).await.unwrap(), []);
}

pub(crate) async fn a_scan_sees_every_link_once_in_order(stores: Stores) {
    let mut links: Vec<Link> = (0..25).map(|n| link(&format!("code{n}"))).collect();
    links[7].status = LinkStatus::Deleted;
    links[8].workspace = Id(1);
    stores.links.claim(links.iter().rev().cloned().collect(), None).await.unwrap();
    let (mut seen, mut after) = (Vec::new(), Id(0));
    loop {
        let batch = stores.links.scan(after, 10).await.unwrap();
        let Some(last) = batch.last() else { break };
        after = last.id;
        seen.extend(batch);
    }
    assert_eq!(seen, links);
}

pub(crate) async fn an_import_counts_once(stores: Stores) {
    let batch = || vec![imported(link("moved"))];
    let first = stores.links.import([1; 16], [1; 32], batch(), None).await.unwrap();
    assert_eq!(first, BatchAnswer::New(vec![Imported::Created]));
    let again = stores.links.import([1; 16], [1; 32], batch(), None).await.unwrap();
    assert_eq!(again, BatchAnswer::Known(vec![Imported::Created]));
    let mismatch = stores.links.import([1; 16], [9; 32], batch(), None).await.unwrap();
    assert_eq!(mismatch, BatchAnswer::Mismatch);
    let other = stores.links.import([2; 16], [2; 32], batch(), None).await.unwrap();
    assert_eq!(other, BatchAnswer::New(vec![Imported::Unchanged]));
    assert_eq!(stores.links.count().await.unwrap(), 1);
}

pub(crate) async fn an_import_tells_apart_unchanged_and_taken(stores: Stores) {
    let there = Link { external_id: Some("e".into()), ..link("there") };
    claim(&stores, &there).await;
    let elsewhere = Link { destination: url("https://example.com/else"), ..link("there") };
    let deleted = Link { status: LinkStatus::Deleted, ..link("there") };
    let of_another = Link { workspace: Id(78), ..link("there") };
    let same_external_id = Link { external_id: Some("e".into()), ..link("new") };
    let batch = vec![
        imported(link("there")),
        imported(of_another),
        imported(elsewhere),
        imported(deleted),
        imported(same_external_id),
        imported(link("fresh")),
        imported(link("fresh")),
    ];
    let outcomes = stores.links.import([3; 16], [3; 32], batch, None).await.unwrap();
    use Imported::{Created, ExternalIdTaken, Taken, Unchanged};
    let expected = vec![Unchanged, Taken, Taken, Taken, ExternalIdTaken, Created, Unchanged];
    assert_eq!(outcomes, BatchAnswer::New(expected.clone()));
    let again = stores.links.import([3; 16], [3; 32], Vec::new(), None).await.unwrap();
    assert_eq!(again, BatchAnswer::Known(expected), "the answer is not remembered");
    assert_eq!(stores.links.fetch(&key("there")).await.unwrap(), Some(there));
}

pub(crate) async fn an_imported_link_whose_made_code_is_taken_gets_the_next_one(stores: Stores) {
    let series = CodeSeries { hashed: true, length: 7, seed: [1; 16] };
    let to = url("https://example.com/crowded");
    let codes: Vec<Code> = (0..16).map(|attempt| series.code(to.as_str(), attempt)).collect();
    let taken = codes[..6].iter().map(|code| link(code.as_str())).collect();
    stores.links.claim(taken, None).await.unwrap();
    let made = || {
        let link = Link { destination: to.clone(), code: codes[0], ..link("x") };
        ImportedLink { series: Some(series), clicks: 4, ..imported(link) }
    };
    let batch = vec![made(), made(), ImportedLink { series: None, ..made() }];
    let id = batch[0].link.id;
    let found = LinkKey::new(DomainId::DEFAULT, codes[6]);
    let outcomes = stores.links.import([6; 16], [6; 32], batch, None).await.unwrap();
    let expected = [Imported::Recoded(found), Imported::Unchanged, Imported::Taken];
    assert_eq!(outcomes, BatchAnswer::New(expected.to_vec()));
    let there = stores.links.fetch(&found).await.unwrap().unwrap();
    assert_eq!((there.id, there.code), (id, codes[6]));
    assert_eq!(stores.clicks.totals(&[id]).await.unwrap()[0].clicks, 4);
    let known = [Imported::Created, Imported::Unchanged, Imported::Taken];
    let again = stores.links.import([6; 16], [6; 32], vec![made()], None).await.unwrap();
    assert_eq!(again, BatchAnswer::Known(known.to_vec()));

    let all = codes[7..].iter().map(|code| link(code.as_str())).collect();
    stores.links.claim(all, None).await.unwrap();
    let other = Link { workspace: Id(78), ..made().link };
    let batch = vec![ImportedLink { series: Some(series), ..imported(other) }];
    let outcomes = stores.links.import([7; 16], [7; 32], batch, None).await.unwrap();
    assert_eq!(outcomes, BatchAnswer::New(vec![Imported::Taken]), "the tries have an end");
}

pub(crate) async fn imported_clicks_are_in_the_totals_and_in_no_bucket(stores: Stores) {
    let mut batch: Vec<_> = (0..3).map(|n| imported(link(&format!("clicked{n}")))).collect();
    batch[0].clicks = 5_000_000_000;
    batch[0].last_clicked_at = Some(NOW);
    batch[1].clicks = 1;
    let ids: Vec<Id> = batch.iter().map(|entry| entry.link.id).collect();
    stores.links.import([4; 16], [4; 32], batch, None).await.unwrap();
    let totals = stores.clicks.totals(&ids).await.unwrap();
    assert_eq!((totals[0].clicks, totals[0].last_clicked_at), (5_000_000_000, Some(NOW)));
    assert_eq!((totals[1].clicks, totals[1].last_clicked_at), (1, None));
    assert_eq!((totals[2].clicks, totals[2].last_clicked_at), (0, None));
    assert_eq!(crate::tell::all_of(&stores, ids[0]).await.people(), []);
}

pub(crate) async fn a_foreign_sealed_code_marks_its_domain(stores: Stores) {
    let domain = DomainId(4);
    assert!(!stores.links.has_foreign_sealed(domain).await.unwrap());
    let mut entry = imported(Link { domain, ..link("1abcdefg") });
    entry.foreign_sealed = true;
    stores.links.import([5; 16], [5; 32], vec![entry], None).await.unwrap();
    assert!(stores.links.has_foreign_sealed(domain).await.unwrap());
    assert!(!stores.links.has_foreign_sealed(DomainId::DEFAULT).await.unwrap());
    let there = LinkKey::new(domain, key("1abcdefg").code);
    assert!(stores.links.fetch(&there).await.unwrap().is_some());
}
