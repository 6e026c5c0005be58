//! A store with something of every kind in it, and some of it changed, moved, ended and erased.

use shunt::domain::account::{Role, Session, User};
use shunt::domain::api_key::ApiKey;
use shunt::domain::audit::Act;
use shunt::domain::click::ClickFlags;
use shunt::domain::code::DomainId;
use shunt::domain::counted::CountedClick;
use shunt::domain::id::Id;
use shunt::domain::link::{CreatedVia, Link, LinkStatus};
use shunt::domain::time::Timestamp;
use shunt::storage::people::{Invitation, NewUser, StoredTicket};
use shunt::storage::signing::StoredSigningKey;
use shunt::storage::{ChosenKey, KeptAnswer, ReplayKey, Retention, Stores, Workspace};

use crate::clicks::flush;
use crate::make::{Flush, HOME, NOW, api_key, at, full_link, id, imported, link, next, url};
use crate::make::{clicked, workspace};
use crate::people::{add, email, invitation, join, new, session, user};

/// A day long before [`NOW`], and its first minute.
pub(crate) const DAY: u32 = 20_500;
pub(crate) const MINUTE: u32 = DAY * 1_440;
/// Codes of the links that are asked about.
pub(crate) const CODES: [&str; 4] = ["spring", "summer", "Autumn-5", "winter"];

pub(crate) fn act() -> Act {
    Act::on_command_line(HOME, NOW)
}

/// What is asked about later.
#[derive(Clone)]
pub(crate) struct Filled {
    pub(crate) links: Vec<Link>,
    pub(crate) users: Vec<Id>,
    pub(crate) sessions: Vec<Id>,
    pub(crate) creator: Id,
    pub(crate) anonymous: Id,
}

pub(crate) async fn fill(stores: &Stores) -> Filled {
    assert!(stores.accounts.bootstrap(workspace(HOME), api_key(1, 1)).await.unwrap());
    let new = Workspace { id: id(), name: "anonymous".into(), operator: false, created_at: NOW };
    let anonymous = stores.accounts.anonymous_workspace(new).await.unwrap();
    stores.nodes.lease_block("codes", 100).await.unwrap();
    stores.nodes.raise_clock_mark(0, NOW).await.unwrap();
    let (users, sessions) = people(stores).await;
    keys(stores, users[0]).await;
    let (mut links, creator) = self::links(stores, anonymous).await;
    imports(stores, &mut links).await;
    clicks(stores, &links).await;
    replays(stores).await;
    Filled { links, users, sessions, creator, anonymous }
}

async fn people(stores: &Stores) -> (Vec<Id>, Vec<Id>) {
    let (ada, bob) = (add(stores, "ada").await, add(stores, "bob").await);
    let guest = User { name: "Görl \u{1f980}".into(), ..user("Guest.Of") };
    let identity = Some(("https://id.example".to_owned(), "sub|\u{e9}1".to_owned()));
    let guest_new = NewUser { identity, ..new(&guest) };
    stores.users.add_user(guest_new).await.unwrap();
    stores.users.verify_email(bob.id, NOW).await.unwrap();
    let gone = add(stores, "gone").await;
    stores.users.erase_user(gone.id, NOW).await.unwrap();
    stores.users.disable_user(bob.id, true, NOW).await.unwrap();
    let disabled = bob.id;
    stores.users.disable_user(bob.id, false, NOW).await.unwrap();
    stores.users.disable_user(guest.id, true, NOW).await.unwrap();
    join(stores, &ada, &bob, Role::Viewer).await;
    stores.teams.set_role(ada.workspace, bob.id, Some(Role::Admin), NOW).await.unwrap();
    let shared = Workspace { id: id(), name: "Büro".into(), operator: false, created_at: NOW };
    assert!(stores.teams.add_workspace(shared.clone(), ada.id, 9).await.unwrap());
    stores.teams.rename_workspace(shared.id, "Kontor").await.unwrap();
    let later = NOW.plus_millis(1 << 40);
    let offer = invitation(shared.id, ada.id, 60, Role::Member);
    let open = Invitation { expires_at: later, email: None, ..offer };
    assert!(stores.teams.add_invitation(open.clone(), 9).await.unwrap());
    let to = Invitation { id: id(), digest: [61; 32], email: Some(email("new")), ..open };
    assert!(stores.teams.add_invitation(to, 9).await.unwrap());
    let first = Session { expires_at: later, ..session(&ada) };
    stores.sessions.add_session(first.clone(), 9).await.unwrap().unwrap();
    let turned = Session { generation: 1, digest: [8; 32], client: [9; 16], ..first.clone() };
    assert!(stores.sessions.rotate_session(turned).await.unwrap());
    let second = Session { expires_at: later, ..session(&bob) };
    stores.sessions.add_session(second.clone(), 9).await.unwrap().unwrap();
    let ended = Session { expires_at: later, ..session(&ada) };
    stores.sessions.add_session(ended.clone(), 9).await.unwrap().unwrap();
    assert!(stores.sessions.end_session(ended.id, NOW).await.unwrap());
    for (kind, digest) in [(0, 40), (1, 41)] {
        let ticket = StoredTicket {
            digest: [digest; 32],
            kind,
            user: ada.id,
            created_at: NOW,
            expires_at: later,
        };
        stores.sessions.add_ticket(ticket).await.unwrap();
    }
    stores.sessions.take_ticket(&[41; 32], 1, NOW).await.unwrap().unwrap();
    (vec![ada.id, disabled, guest.id, gone.id], vec![first.id, second.id, ended.id])
}

async fn keys(stores: &Stores, user: Id) {
    let own = stores.users.user(user).await.unwrap().unwrap().workspace;
    let key = ApiKey { user: Some(user), workspace: own, ..api_key(2, 2) };
    assert!(stores.accounts.add_key(key, Some(act())).await.unwrap());
    assert!(stores.accounts.add_key(api_key(3, 3), Some(act())).await.unwrap());
    let revoked = ChosenKey { workspace: HOME, of: None, id: Id(3) };
    assert!(stores.accounts.revoke_key(revoked, NOW, Some(act())).await.unwrap());
    let uses = vec![(Id(1), 7, NOW), (Id(2), 1, NOW.plus_millis(4))];
    stores.accounts.add_key_uses(uses).await.unwrap();
    let key = |kid: &str, created_at| StoredSigningKey {
        kid: kid.to_owned(),
        sealed: vec![0, 255, 7],
        created_at,
        retires_at: None,
    };
    assert!(stores.signing.add_signing_key(key("old", NOW), None).await.unwrap());
    let retire = Some(("old".to_owned(), NOW.plus_millis(1 << 40)));
    let signs = key("new", NOW.plus_millis(5));
    assert!(stores.signing.add_signing_key(signs, retire).await.unwrap());
}

async fn links(stores: &Stores, anonymous: Id) -> (Vec<Link>, Id) {
    let creator = id();
    let theirs = Link {
        workspace: anonymous,
        created_via: CreatedVia::Anonymous,
        created_by: Some(creator),
        ..link("theirs")
    };
    let mut links: Vec<Link> = CODES.into_iter().map(link).collect();
    links.extend([full_link("full"), link("gone-1"), link("moves"), theirs]);
    links.extend(
        (0..300).map(|n| Link { tags: vec![format!("t{}", n % 7)], ..link(&format!("l{n}")) }),
    );
    stores.links.claim(links.clone(), Some(act())).await.unwrap();
    let changed = Link { destination: url("https://example.com/other"), ..next(&links[0]) };
    stores.links.replace(changed.clone(), Some(act())).await.unwrap();
    let again = Link { title: "third \"one\"\n\u{1f980}".into(), ..next(&changed) };
    stores.links.replace(again, Some(act())).await.unwrap();
    let gone = Link { status: LinkStatus::Deleted, ..next(&links[5]) };
    stores.links.replace(gone, Some(act())).await.unwrap();
    let to = Link { code: crate::make::key("moved-here").code, ..next(&links[6]) };
    stores.links.relocate(&links[6].key(), to, id(), Some(act())).await.unwrap();
    (links, creator)
}

async fn imports(stores: &Stores, links: &mut Vec<Link>) {
    let mut batch = vec![imported(link("came")), imported(link("spring"))];
    batch[0].clicks = 40;
    batch[0].last_clicked_at = Some(NOW);
    batch[0].foreign_sealed = true;
    batch[0].link.domain = DomainId(3);
    links.push(batch[0].link.clone());
    stores.links.import([9; 16], [8; 32], batch, Some(act())).await.unwrap();
}

/// Clicks with all that can be known of them, on several days, from several flushes.
async fn clicks(stores: &Stores, links: &[Link]) {
    let mut record = 0;
    for round in 0..3_u32 {
        let mut more = Flush::default();
        let agent = more.word(&["mobile", "iOS", &format!("Safari {round}")]);
        let place = more.word(&["EU", "DE", "", "Köln"]);
        let referrer = more.word(&["news.example", "https://news.example/\"x\""]);
        let (language, utm) = (more.word(&["de"]), more.word(&["mail", "", "sale\\2"]));
        for (n, link) in (0..).zip(&links[..CODES.len()]) {
            for minute in [MINUTE + 5, MINUTE + 700, MINUTE + 1_440 * (1 + round)] {
                let one = CountedClick {
                    link: link.id,
                    at: at(minute, i64::from(17 * n + round)),
                    serial: 99 + n + round,
                    version: 1 + round,
                    flags: if n == 1 { ClickFlags::BOT } else { ClickFlags::QR },
                    visitor: u64::from(n * 10 + round + 1) << 40,
                    agent,
                    place,
                    referrer,
                    language,
                    utm,
                };
                more.clicks.push(one);
            }
        }
        more.add(links[4].id, MINUTE + 3, 2_500);
        more.add_surplus(links[0].id, MINUTE + 8, 1_000);
        more.add_surplus(links[3].id, MINUTE + 1_440, 3);
        flush(stores, vec![more.of(7, record, record + 5_000)]).await.unwrap();
        record += 5_000;
    }
    let many: Vec<_> = links.iter().skip(20).map(|link| (link.id, MINUTE + 2_880, 2)).collect();
    flush(stores, vec![clicked(8, 0, 1_000, &many)]).await.unwrap();
    let old: Vec<_> = links.iter().take(30).map(|link| (link.id, MINUTE - 1_440 * 9, 3)).collect();
    flush(stores, vec![clicked(9, 0, 1_000, &old)]).await.unwrap();
    let older: Vec<_> =
        links.iter().take(9).map(|link| (link.id, MINUTE - 1_440 * 20, 1)).collect();
    flush(stores, vec![clicked(10, 0, 1_000, &older)]).await.unwrap();
    let keep = Retention { events_from: DAY - 5, details_from: DAY - 15 };
    for _ in 0..20 {
        stores.clicks.prune(keep).await.unwrap();
    }
    stores.clicks.erase(links[2].id, Some(act())).await.unwrap();
    let late = clicked(11, 0, 10, &[(links[2].id, MINUTE + 9, 4)]);
    flush(stores, vec![late]).await.unwrap();
}

async fn replays(stores: &Stores) {
    let key = |key: &str| ReplayKey { workspace: HOME, key: key.into() };
    stores.replays.begin(&key("done"), [1; 32], &[Id(5)], NOW).await.unwrap();
    let answer = KeptAnswer {
        status: 201,
        location: Some("/x".into()),
        etag: None,
        body: b"{\"a\":1}\0\xff".to_vec(),
    };
    stores.replays.finish(&key("done"), [1; 32], answer, NOW).await.unwrap();
    stores.replays.begin(&key("open"), [2; 32], &[Id(6), Id(7)], NOW).await.unwrap();
}

/// When kept requests are asked about again.
pub(crate) const LATER: Timestamp = Timestamp(NOW.0 + 100_000);
