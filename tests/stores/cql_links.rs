//! Links in CQL when what one change writes is cut short anywhere, or its outcome gets lost: they
//! are found in every way or in none.

use scylla::client::session::Session;
use scylla::value::CqlTimestamp;
use shunt::domain::code::LinkKey;
use shunt::domain::id::Id;
use shunt::domain::link::{CreatedVia, Link, LinkStatus};
use shunt::domain::scheme::CodeSeries;
use shunt::domain::time::Timestamp;
use shunt::storage::scylla::{Cql, CqlConfig};
use shunt::storage::{
    BatchAnswer, Claim, Imported, ImportedLink, LinkQuery, LinkStore, Replace, StorageErrorKind,
};

use crate::cql::{self, Lent};
use crate::make::{id, imported, key, link, next, url};
use crate::services::services;
use crate::wire::{Loss, Wire};

/// More statements than any change of a link takes.
const STATEMENTS_MAX: u32 = 100;

/// A database, and a node that reaches it by a wire that loses things.
struct Bench {
    lent: Lent,
    wire: Wire,
    node: Cql,
    session: Session,
}

impl Bench {
    async fn new() -> Self {
        let (lent, wire) = (cql::lend().await, Wire::to(&services().cql).await);
        let nodes = vec![wire.address.clone()];
        let config = CqlConfig { nodes, ..cql::config(lent.keyspace) };
        let (node, session) = (Cql::open(&config).await.unwrap(), lent.session().await);
        Self { lent, wire, node, session }
    }

    /// The database as nodes see it that lost nothing.
    fn links(&self) -> &Cql {
        self.lent.cql()
    }

    /// As if open rows had been left open long ago.
    async fn make_open_rows_old(&self) {
        // Behind the time at which they are opened, not behind that at which they are given up.
        let ids = "SELECT bucket, shard, id, domain, code FROM links_by_id";
        let set = "UPDATE links_by_id USING TIMESTAMP 6 SET pending_at = 0 \
             WHERE bucket = ? AND shard = ? AND id = ? AND domain = ? AND code = ?";
        let rows = self.session.query_unpaged(ids, ()).await.unwrap().into_rows_result().unwrap();
        for row in rows.rows::<(i32, i32, i64, i32, String)>().unwrap() {
            self.session.query_unpaged(set, row.unwrap()).await.unwrap();
        }
        let owned = "SELECT workspace, period, shard, created_at, id FROM links_by_owner";
        let set = "UPDATE links_by_owner USING TIMESTAMP 6 SET pending_at = 0 \
             WHERE workspace = ? AND period = ? AND shard = ? AND created_at = ? AND id = ?";
        let rows = self.session.query_unpaged(owned, ()).await.unwrap();
        let rows = rows.into_rows_result().unwrap();
        for row in rows.rows::<(i64, i64, i32, CqlTimestamp, i64)>().unwrap() {
            self.session.query_unpaged(set, row.unwrap()).await.unwrap();
        }
    }

    async fn n_rows(&self, table: &str) -> usize {
        let text = format!("SELECT * FROM {table}");
        let rows = self.session.query_unpaged(text, ()).await.unwrap();
        rows.into_rows_result().unwrap().rows_num()
    }
}

/// A link in a workspace of its own, with what every index knows of it.
fn unique(code: &str) -> Link {
    let workspace = id();
    Link {
        workspace,
        tags: vec!["tag".into()],
        external_id: Some(format!("x-{code}")),
        created_via: CreatedVia::Anonymous,
        created_by: Some(id()),
        ..link(code)
    }
}

/// What a visitor meets, who comes again when a busy machine lets him wait too long.
async fn fetch(links: &Cql, key: &LinkKey) -> Option<Link> {
    for _ in 0..100 {
        match links.fetch(key).await {
            Err(error) if error.kind == StorageErrorKind::Timeout => (),
            outcome => return outcome.unwrap(),
        }
    }
    panic!("nobody answers a visitor");
}

/// The link with an id, after checking that every way to find it says the same of it. `other` is
/// what it may have been, or become.
async fn found(links: &Cql, of: &Link, other: &Link) -> Option<Link> {
    let mut there = links.fetch_all(&[of.id]).await.unwrap();
    assert!(there.len() < 2, "two links with one id");
    let there = there.pop();
    let scanned = links.scan(Id(of.id.0 - 1), 1_000).await.unwrap();
    assert_eq!(scanned.into_iter().find(|link| link.id == of.id), there, "scanned");
    for version in [of, other] {
        let here = there.clone().filter(|link| link.workspace == version.workspace);
        let live = here.filter(|link| link.status != LinkStatus::Deleted);
        let all = LinkQuery { workspace: version.workspace, limit: 9, ..LinkQuery::default() };
        let searched = LinkQuery { text: Some("example".into()), ..all.clone() };
        for query in [&all, &searched] {
            let page = links.list(query).await.unwrap();
            assert_eq!(page.links, live.as_slice(), "listed: {query:?}");
            assert_eq!((page.total, page.next), (live.iter().count() as u64, None));
        }
        let external = LinkQuery { external_id: version.external_id.clone(), ..all };
        let carries = live.clone().filter(|link| link.external_id == version.external_id);
        let by_external_id = links.list(&external).await.unwrap().links;
        assert_eq!(by_external_id, carries.as_slice(), "by external id");
        let tags = links.tags(version.workspace).await.unwrap();
        assert_eq!(tags.len(), live.iter().count(), "tags");
        let creator = version.created_by.unwrap();
        let made = live.clone().filter(|link| link.created_by == Some(creator));
        let (theirs, total) = links.anonymous(creator, None, 9).await.unwrap();
        assert_eq!((theirs.as_slice(), total), (made.as_slice(), made.iter().count() as u64));
        let to = version.destination.as_str();
        let leads = links.find_by_destination(version.workspace, version.domain, to, 9).await;
        let is_there = live.filter(|link| link.destination == version.destination);
        assert_eq!(leads.unwrap(), is_there.as_slice(), "by destination {to}");
        let fetched = fetch(links, &version.key()).await;
        let fetched = fetched.filter(|link| link.id == of.id);
        assert_eq!(fetched, there.clone().filter(|link| link.key() == version.key()), "fetched");
    }
    there
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_cut_short_anywhere_is_whole_or_not_there() {
    let bench = Bench::new().await;
    let mut n_links = 0;
    for n in 0..STATEMENTS_MAX {
        let made = unique(&format!("claim{n}"));
        bench.wire.lose(Loss::From(n));
        let claim = bench.node.claim(vec![made.clone()], None).await;
        let is_whole = !bench.wire.mend();
        let there = found(bench.links(), &made, &made).await;
        if claim.is_ok_and(|claims| claims == [Claim::Won]) {
            assert_eq!(there.as_ref(), Some(&made), "it was told that it is there");
        }
        n_links += u64::from(there.is_some());
        assert_eq!(bench.links().count().await.unwrap(), n_links);
        let again = bench.links().claim(vec![made.clone()], None).await.unwrap();
        let expected = if there.is_some() { Claim::Taken } else { Claim::Won };
        assert_eq!(again, [expected], "the code is taken by what is not there");
        n_links += u64::from(there.is_none());
        assert_eq!(found(bench.links(), &made, &made).await, Some(made));
        if is_whole {
            assert!(n > 8, "a claim is more than {n} statements");
            return;
        }
    }
    panic!("a claim has no end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_cut_short_anywhere_is_made_or_not() {
    let bench = Bench::new().await;
    for n in 0..STATEMENTS_MAX {
        let old = unique(&format!("change{n}"));
        let new = Link {
            workspace: id(),
            destination: url(&format!("https://example.com/new{n}")),
            external_id: Some(format!("y-{n}")),
            created_by: Some(id()),
            ..next(&old)
        };
        bench.links().claim(vec![old.clone()], None).await.unwrap();
        bench.wire.lose(Loss::From(n));
        let change = bench.node.replace(new.clone(), None).await;
        let is_whole = !bench.wire.mend();
        let there = found(bench.links(), &old, &new).await.expect("there in some version");
        assert!(there == old || there == new, "neither nor: {there:?}");
        if change.is_ok_and(|change| change == Replace::Done) {
            assert_eq!(there, new, "it was told that it is made");
        }
        let expected = if there == old { Replace::Done } else { Replace::Stale };
        assert_eq!(bench.links().replace(new.clone(), None).await.unwrap(), expected);
        assert_eq!(found(bench.links(), &old, &new).await, Some(new));
        assert_eq!(bench.links().count().await.unwrap(), u64::from(n) + 1);
        if is_whole {
            return;
        }
    }
    panic!("a change has no end");
}

/// A link at `before{n}` whose move to `after{n}` was cut short at statement `n`; whether it was.
async fn half_moved(bench: &Bench, n: u32) -> (Link, Link, bool) {
    let old = unique(&format!("before{n}"));
    let moved = Link { code: key(&format!("after{n}")).code, ..next(&old) };
    bench.links().claim(vec![old.clone()], None).await.unwrap();
    bench.wire.lose(Loss::From(n));
    let moving = bench.node.relocate(&old.key(), moved.clone(), id(), None).await;
    let was_cut = bench.wire.mend();
    let there = found(bench.links(), &old, &moved).await.expect("at one of its codes");
    assert!(there == old || there == moved, "neither nor: {there:?}");
    if moving.is_ok_and(|moving| moving == Replace::Done) {
        assert_eq!(there, moved, "it was told that it is moved");
    }
    (old, moved, was_cut)
}

/// Whether a row stands at a code that nobody sees yet.
async fn is_coming(bench: &Bench, at: &LinkKey) -> bool {
    let text = "SELECT came_from FROM links WHERE domain = 0 AND code = ?";
    let rows = bench.session.query_unpaged(text, (at.code.as_str(),)).await.unwrap();
    let row = rows.into_rows_result().unwrap().maybe_first_row::<(Option<String>,)>().unwrap();
    row.is_some_and(|(from,)| from.is_some())
}

async fn make_old(bench: &Bench, at: &LinkKey) {
    let text = "UPDATE links SET moved_at = 0 WHERE domain = 0 AND code = ? IF EXISTS";
    bench.session.query_unpaged(text, (at.code.as_str(),)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_cut_short_anywhere_ends_whole() {
    let (bench, mut n_coming, mut n_links) = (Bench::new().await, 0, 0);
    for n in 0..STATEMENTS_MAX {
        let (old, moved, was_cut) = half_moved(&bench, n).await;
        if is_coming(&bench, &moved.key()).await {
            n_coming += 1;
            assert_eq!(fetch(bench.links(), &moved.key()).await, None, "too early");
            make_old(&bench, &moved.key()).await;
            let met = fetch(bench.links(), &moved.key()).await;
            assert_eq!(met.as_ref(), Some(&moved), "whoever meets it finishes the move");
            assert!(!is_coming(&bench, &moved.key()).await);
        }
        let there = found(bench.links(), &old, &moved).await;
        let is_moved = there.as_ref() == Some(&moved);
        let left = fetch(bench.links(), &old.key()).await.unwrap();
        if is_moved {
            assert_eq!((left.status, left.version), (LinkStatus::Deleted, moved.version));
            assert_ne!(left.id, old.id);
        } else {
            assert_eq!(left, old);
        }
        n_links += if is_moved { 2 } else { 1 };
        assert_eq!(bench.links().count().await.unwrap(), n_links);
        if !was_cut {
            assert!(n_coming > 0, "no move was cut short between its two codes");
            return;
        }
    }
    panic!("a move has no end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_was_overtaken_frees_its_new_code() {
    let (bench, mut n_overtaken) = (Bench::new().await, 0);
    for n in 0..STATEMENTS_MAX {
        let (old, moved, was_cut) = half_moved(&bench, n).await;
        if is_coming(&bench, &moved.key()).await {
            n_overtaken += 1;
            let changed = Link { title: "other".into(), ..next(&old) };
            let change = bench.links().replace(changed.clone(), None).await.unwrap();
            assert_eq!(change, Replace::Done);
            assert_eq!(found(bench.links(), &changed, &moved).await, Some(changed));
            assert_eq!(fetch(bench.links(), &moved.key()).await, None);
            let fresh = Link { code: moved.code, ..unique("x") };
            let claim = bench.links().claim(vec![fresh], None).await.unwrap();
            assert_eq!(claim, [Claim::Won], "nobody ever saw the link there");
        }
        if !was_cut {
            assert!(n_overtaken > 0, "no move was cut short between its two codes");
            return;
        }
    }
    panic!("a move has no end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_outcomes_are_settled() {
    let bench = Bench::new().await;
    let mut n_lost = 0;
    for n in 0..STATEMENTS_MAX {
        let mut was_lost = false;
        for (loss, word) in [(Loss::Answer(n), "ran"), (Loss::Request(n), "unseen")] {
            let made = unique(&format!("{word}{n}"));
            let new = Link { title: "new".into(), ..next(&made) };
            bench.wire.lose(loss);
            let claim = bench.node.claim(vec![made.clone()], None).await;
            was_lost |= bench.wire.mend();
            // A statement that may be repeated is none of those whose outcome is settled here.
            match claim {
                Ok(claims) => assert_eq!(claims, [Claim::Won]),
                Err(error) => assert_eq!(error.kind, StorageErrorKind::Timeout),
            }
            bench.links().claim(vec![made.clone()], None).await.unwrap();
            bench.wire.lose(loss);
            let change = bench.node.replace(new.clone(), None).await;
            was_lost |= bench.wire.mend();
            match change {
                Ok(change) => {
                    assert_eq!(change, Replace::Done);
                    assert_eq!(found(bench.links(), &made, &new).await, Some(new));
                }
                Err(error) => assert_eq!(error.kind, StorageErrorKind::Timeout),
            }
            n_lost += u32::from(was_lost);
        }
        if !was_lost {
            assert!(n_lost > 8, "only {n_lost} statements were lost");
            return;
        }
    }
    panic!("changes have no end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_cut_short_is_done_again_with_the_same_answer() {
    let bench = Bench::new().await;
    for n in 0..STATEMENTS_MAX {
        let there = link(&format!("there{n}"));
        bench.links().claim(vec![there.clone()], None).await.unwrap();
        let series = CodeSeries { hashed: true, length: 7, seed: [n as u8; 16] };
        let to = url(&format!("https://example.com/made{n}"));
        let fixed = unique(&format!("fixed{n}"));
        // As a service makes it of the same rows: ids and seeds are others each time.
        let batch = |seed: u8| {
            let series = CodeSeries { seed: [seed; 16], ..series };
            let made = Link { destination: to.clone(), code: there.code, ..link("x") };
            vec![
                ImportedLink { clicks: 5, ..imported(Link { id: id(), ..fixed.clone() }) },
                ImportedLink { series: Some(series), ..imported(made) },
                imported(Link { id: id(), ..there.clone() }),
            ]
        };
        let digest = [n as u8 + 1; 16];
        bench.wire.lose(Loss::From(n));
        let first = bench.node.import(digest, [1; 32], batch(1), None).await;
        let was_cut = bench.wire.mend();
        let again = bench.links().import(digest, [1; 32], batch(2), None).await.unwrap();
        let code = series.code(to.as_str(), 1);
        let made = LinkKey::new(there.domain, code);
        let (a, b, c) = (Imported::Created, Imported::Recoded(made), Imported::Unchanged);
        let expected = vec![a, b, c];
        match (again, first) {
            (BatchAnswer::New(rows), Err(_)) => assert_eq!(rows, expected, "cut at {n}"),
            (BatchAnswer::Known(rows), first) => {
                assert_eq!(rows, [Imported::Created, Imported::Created, Imported::Unchanged]);
                if let Ok(first) = first {
                    assert_eq!(first, BatchAnswer::New(expected));
                }
            }
            (again, first) => panic!("{again:?} after {first:?}, cut at {n}"),
        }
        assert_eq!(bench.links().count().await.unwrap(), 3 * (u64::from(n) + 1));
        assert_eq!(bench.n_rows("imported_clicks").await as u32, n + 1, "clicks counted once");
        let made = fetch(bench.links(), &fixed.key()).await.unwrap();
        assert_eq!(found(bench.links(), &made, &made).await.as_ref(), Some(&made));
        if !was_cut {
            return;
        }
    }
    panic!("an import has no end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_open_is_cleaned_up_when_it_is_old() {
    let (bench, mut given_up) = (Bench::new().await, Vec::new());
    for n in 0..STATEMENTS_MAX {
        let made = unique(&format!("open{n}"));
        bench.wire.lose(Loss::From(n));
        drop(bench.node.claim(vec![made.clone()], None).await);
        bench.wire.mend();
        if fetch(bench.links(), &made.key()).await.is_some() {
            break;
        }
        given_up.push(made);
    }
    for table in ["links_by_id", "links_by_owner"] {
        assert!(bench.n_rows(table).await > 2, "{table} is not written before the link");
    }
    bench.make_open_rows_old().await;
    for link in &given_up {
        assert_eq!(found(bench.links(), link, link).await, None);
    }
    assert_eq!(bench.links().count().await.unwrap(), 1);
    for table in ["links_by_id", "links_by_owner"] {
        assert_eq!(bench.n_rows(table).await, 1, "{table} still leads nowhere");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_looks_through_very_many_links_says_that_it_does_not() {
    const MANY: i64 = 100_000;
    const TOGETHER: i64 = 500;
    let lent = cql::lend().await;
    let workspace = id();
    let session = lent.session().await;
    let bucket = "INSERT INTO owner_buckets (workspace, period, shard) VALUES (?, 0, 0)";
    session.query_unpaged(bucket, (workspace.0.cast_signed(),)).await.unwrap();
    for from in (1..MANY).step_by(TOGETHER as usize) {
        let row = |n| {
            format!(
                "INSERT INTO links_by_owner (workspace, period, shard, created_at, id, open) \
                 VALUES ({workspace}, 0, 0, 0, {n}, 0);"
            )
        };
        let rows: String = (from..MANY.min(from + TOGETHER)).map(row).collect();
        let batch = format!("BEGIN UNLOGGED BATCH {rows} APPLY BATCH");
        session.query_unpaged(batch, ()).await.unwrap();
    }
    let all = LinkQuery { workspace, limit: 9, ..LinkQuery::default() };
    let searched = LinkQuery { text: Some("example".into()), ..all.clone() };
    assert_eq!(lent.cql().list(&searched).await.unwrap().total, 0);
    lent.cql().claim(vec![Link { workspace, ..unique("one") }], None).await.unwrap();
    let made_later = LinkQuery { created_after: Some(Timestamp(1)), ..searched.clone() };
    for listed in [&all, &made_later] {
        assert_eq!(lent.cql().list(listed).await.unwrap().total, 1);
    }
    for refused in [lent.cql().list(&searched).await.err(), lent.cql().tags(workspace).await.err()]
    {
        assert_eq!(refused.unwrap().kind, StorageErrorKind::TooMany);
    }
}
