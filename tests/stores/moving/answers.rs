//! What a store answers to questions of every kind, as text: two stores that hold the same answer
//! the same.

use std::fmt::Debug;

use shunt::domain::code::DomainId;
use shunt::domain::id::Id;
use shunt::domain::link::LinkState;
use shunt::domain::time::Timestamp;
use shunt::storage::audit::AuditQuery;
use shunt::storage::{EventQuery, LinkQuery, LinkSort, ReplayKey, StatsOf, Stores, Workspace};

use super::fill::{CODES, Filled, LATER, MINUTE};
use crate::make::{HOME, NOW, at, imported, link};
use crate::people::email;
use crate::tell::{BEGIN, END, ask};

#[derive(Default)]
struct Answers(Vec<String>);

impl Answers {
    fn note(&mut self, question: &str, answer: impl Debug) {
        self.0.push(format!("{question}: {answer:?}"));
    }
}

/// Asks everything that changes nothing.
pub(crate) async fn answers(stores: &Stores, filled: &Filled) -> Vec<String> {
    let mut all = Answers::default();
    links(stores, filled, &mut all).await;
    clicks(stores, filled, &mut all).await;
    people(stores, filled, &mut all).await;
    audit(stores, &mut all).await;
    all.0
}

async fn links(stores: &Stores, filled: &Filled, all: &mut Answers) {
    let scanned = stores.links.scan(Id(0), 10_000).await.unwrap();
    all.note("count", (scanned.len(), stores.links.count().await.unwrap()));
    for link in &scanned {
        all.note("by code", stores.links.fetch(&link.key()).await.unwrap());
    }
    for sort in [LinkSort::CreatedDesc, LinkSort::ClicksDesc, LinkSort::TitleAsc] {
        let query = LinkQuery { workspace: HOME, sort, limit: 500, now: NOW, ..Default::default() };
        let page = stores.links.list(&query).await.unwrap();
        let ids: Vec<Id> = page.links.iter().map(|link| link.id).collect();
        all.note("listed", (sort, page.total, ids));
    }
    let found = LinkQuery {
        workspace: HOME,
        text: Some("EXAMPLE.com/l1".into()),
        tags: vec!["t3".into()],
        state: Some(LinkState::Active),
        limit: 500,
        now: NOW,
        ..Default::default()
    };
    all.note("searched", stores.links.list(&found).await.unwrap().links);
    let external =
        LinkQuery { external_id: Some("crm-4711".into()), text: None, tags: Vec::new(), ..found };
    all.note(
        "external",
        stores.links.list(&LinkQuery { state: None, ..external }).await.unwrap().links,
    );
    all.note("tags", stores.links.tags(HOME).await.unwrap());
    let to = "https://example.com/other";
    let same = stores.links.find_by_destination(HOME, DomainId::DEFAULT, to, 9).await.unwrap();
    all.note("same destination", same);
    all.note("theirs", stores.links.anonymous(filled.creator, None, 9).await.unwrap());
    for domain in [0, 3] {
        all.note("sealed", stores.links.has_foreign_sealed(DomainId(domain)).await.unwrap());
    }
}

async fn clicks(stores: &Stores, filled: &Filled, all: &mut Answers) {
    let ids: Vec<Id> = filled.links.iter().map(|link| link.id).collect();
    all.note("totals", stores.clicks.totals(&ids).await.unwrap());
    all.note("past", stores.stats.past_destinations(&ids).await.unwrap());
    for link in filled.links.iter().take(30) {
        let of = StatsOf::Link(link.id);
        let spans = [(BEGIN, END), (at(MINUTE, 400_000), at(MINUTE + 1_445, 20))];
        for (from, to) in spans {
            all.note("days", (link.id, ask(stores, of.clone(), from, to).await));
        }
        let bounds = vec![at(MINUTE, 0), at(MINUTE + 7, 0), at(MINUTE + 2_000, 0)];
        all.note("buckets", stores.stats.buckets(of, bounds).await.unwrap());
        let (from, to, limit) = (BEGIN, END, 5_000);
        let query = EventQuery { link: link.id, from, to, before: None, bots: None, limit };
        all.note("events", stores.stats.events(query).await.unwrap());
    }
    // Of days of which only counts are left, a CQL database tells workspaces nothing.
    let since = at(MINUTE - 1_440 * 12, 0);
    for tag in [None, Some("t2".to_owned())] {
        let home = StatsOf::Workspace { id: HOME, tag, domain: None };
        all.note("workspace", ask(stores, home, since, END).await);
    }
}

async fn people(stores: &Stores, filled: &Filled, all: &mut Answers) {
    all.note("operator", stores.accounts.operator_workspace().await.unwrap());
    let names = ["home", "Kontor", "Büro", "Personal"].map(str::to_owned).to_vec();
    all.note("called", stores.accounts.workspaces_called(names).await.unwrap());
    let new = Workspace { id: Id(1), name: "x".into(), operator: false, created_at: NOW };
    let anonymous = stores.accounts.anonymous_workspace(new).await.unwrap();
    all.note("anonymous", (anonymous, anonymous == filled.anonymous));
    all.note("keys", stores.accounts.keys().await.unwrap());
    all.note("signing", stores.signing.signing_keys().await.unwrap());
    let users = stores.users.users(Id(0), 100).await.unwrap();
    for user in &users {
        let memberships = stores.teams.memberships(user.id).await.unwrap();
        for (workspace, _) in &memberships {
            all.note("members", stores.teams.members(workspace.id).await.unwrap());
            all.note("offers", stores.teams.invitations(workspace.id, NOW).await.unwrap());
        }
        all.note("memberships", memberships);
        all.note("by email", stores.users.user_by_email(&user.email).await.unwrap());
        for client in [[2; 16], [9; 16], [7; 16]] {
            all.note("client", stores.sessions.knows_client(user.id, &client).await.unwrap());
        }
    }
    all.note("users", users);
    all.note("nobody", stores.users.user_by_email(&email("gone")).await.unwrap());
    for id in &filled.users {
        all.note("user", stores.users.user(*id).await.unwrap());
    }
    let subject = "sub|\u{e9}1";
    let found = stores.users.user_by_identity("https://id.example", subject).await.unwrap();
    all.note("identity", found);
    for session in &filled.sessions {
        all.note("session", stores.sessions.session(*session).await.unwrap());
    }
    for digest in [60, 61, 62] {
        all.note("offer", stores.teams.invitation(&[digest; 32], NOW).await.unwrap());
    }
    for (digest, kind) in [(40, 0), (41, 1)] {
        all.note("ticket", stores.sessions.ticket(&[digest; 32], kind, NOW).await.unwrap());
    }
    let changes = stores.sessions.access_changes(0).await.unwrap();
    let changes: Vec<(Timestamp, _)> = changes.into_iter().map(|(_, at, it)| (at, it)).collect();
    all.note("changes", changes);
    all.note("closed", stores.teams.closed_workspaces().await.unwrap());
    all.note("mark", stores.nodes.clock_mark(0).await.unwrap());
}

async fn audit(stores: &Stores, all: &mut Answers) {
    let query = AuditQuery { workspace: HOME, limit: 1_000, ..AuditQuery::default() };
    all.note("audit", stores.audit.audit_log(query.clone()).await.unwrap());
    all.note("entries", stores.audit.audit_count(query).await.unwrap());
}

/// Does what must be answered from what was there before, and some things for the first time.
pub(crate) async fn go_on(stores: &Stores, filled: &Filled) -> Vec<String> {
    let mut all = Answers::default();
    let key = |key: &str| ReplayKey { workspace: HOME, key: key.into() };
    for (name, of) in [("done", [1; 32]), ("done", [3; 32]), ("open", [2; 32])] {
        all.note(name, stores.replays.begin(&key(name), of, &[], LATER).await.unwrap());
    }
    all.note("block", stores.nodes.lease_block("codes", 10).await.unwrap());
    let batch = vec![imported(link("came")), imported(link("spring"))];
    let again = stores.links.import([9; 16], [8; 32], batch.clone(), None).await.unwrap();
    all.note("import", again);
    all.note("other", stores.links.import([9; 16], [7; 32], batch, None).await.unwrap());
    for code in CODES {
        let taken = stores.links.claim(vec![link(code)], None).await.unwrap();
        all.note("claim", (code, taken));
    }
    let spring = stores.links.fetch(&filled.links[0].key()).await.unwrap().unwrap();
    let changed = crate::make::next(&spring);
    all.note("replace", stores.links.replace(changed, Some(super::fill::act())).await.unwrap());
    let session = stores.sessions.session(filled.sessions[0]).await.unwrap().unwrap();
    let next = shunt::domain::account::Session { generation: 2, ..session };
    all.note("rotate", stores.sessions.rotate_session(next).await.unwrap());
    let more = crate::make::clicked(7, 15_000, 15_010, &[(spring.id, MINUTE, 10)]);
    crate::clicks::flush(stores, vec![more]).await.unwrap();
    all.note("totals", stores.clicks.totals(&[spring.id]).await.unwrap());
    stores.clicks.erase(filled.links[3].id, None).await.unwrap();
    all.note("erased", stores.clicks.totals(&[filled.links[3].id]).await.unwrap());
    let of = StatsOf::Link(filled.links[3].id);
    all.note("erased", ask(stores, of, BEGIN, END).await);
    let query = AuditQuery { workspace: HOME, limit: 1, ..AuditQuery::default() };
    all.note("audit", stores.audit.audit_log(query).await.unwrap());
    all.0
}
