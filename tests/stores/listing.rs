//! Lists: filters, states, search, orders, pages, tags.

use std::sync::Arc;

use shunt::domain::code::DomainId;
use shunt::domain::id::Id;
use shunt::domain::link::{CreatedVia, Link, LinkState, LinkStatus};
use shunt::storage::{LinkQuery, LinkSort, Replace, Stores};

use crate::make::{HOME, NOW, clicked, link, next, url};

fn query() -> LinkQuery {
    LinkQuery { workspace: HOME, limit: 100, now: NOW, ..LinkQuery::default() }
}

/// Codes of all matches, by title and age, after checking that `total` agrees.
async fn codes(stores: &Stores, query: LinkQuery) -> Vec<String> {
    let query = LinkQuery { sort: LinkSort::CreatedAsc, ..query };
    let page = stores.links.list(&query).await.unwrap();
    assert_eq!(page.total, page.links.len() as u64);
    assert_eq!(page.next, None);
    page.links.iter().map(|link| link.code.to_string()).collect()
}

async fn click(stores: &Stores, segment: u64, link: Id, clicks: u32) {
    let clicks = clicked(segment, 0, 1, &[(link, NOW.minute(), clicks)]);
    stores.clicks.flush(Arc::new(vec![clicks])).await.unwrap();
}

pub(crate) async fn every_filter_selects_what_it_says(stores: Stores) {
    let mut links: Vec<Link> = ["aaa", "bbb", "ccc"].map(link).into();
    links[0].domain = DomainId(2);
    links[1].created_via = CreatedVia::Import;
    links[1].external_id = Some("ext".into());
    links[2].created_at = NOW.plus_millis(10);
    links[2].workspace = HOME;
    let abroad = Link { workspace: Id(78), external_id: Some("ext".into()), ..link("ddd") };
    stores.links.claim(links, None).await.unwrap();
    stores.links.claim(vec![abroad], None).await.unwrap();

    assert_eq!(codes(&stores, query()).await, ["aaa", "bbb", "ccc"]);
    let domain = LinkQuery { domain: Some(DomainId(2)), ..query() };
    assert_eq!(codes(&stores, domain).await, ["aaa"]);
    let via = LinkQuery { created_via: Some(CreatedVia::Import), ..query() };
    assert_eq!(codes(&stores, via).await, ["bbb"]);
    let external = LinkQuery { external_id: Some("ext".into()), ..query() };
    assert_eq!(codes(&stores, external).await, ["bbb"]);
    let after = LinkQuery { created_after: Some(NOW.plus_millis(10)), ..query() };
    assert_eq!(codes(&stores, after).await, ["ccc"], "the first moment is included");
    let before = LinkQuery { created_before: Some(NOW.plus_millis(10)), ..query() };
    assert_eq!(codes(&stores, before).await, ["aaa", "bbb"], "the last moment is not");
}

pub(crate) async fn states_are_judged_at_the_time_asked_for(stores: Stores) {
    let later = Some(NOW.plus_millis(1_000));
    let made = [
        link("active"),
        Link { starts_at: later, ..link("scheduled") },
        Link { expires_at: later, ..link("expiring") },
        Link { max_clicks: Some(5), ..link("limited") },
        Link { status: LinkStatus::Disabled, ..link("disabled") },
        Link { status: LinkStatus::Archived, expires_at: Some(NOW), ..link("archived") },
        Link { status: LinkStatus::Blocked, ..link("blocked") },
    ];
    stores.links.claim(made.to_vec(), None).await.unwrap();
    click(&stores, 1, made[3].id, 5).await;
    for now in [NOW, NOW.plus_millis(1_000)] {
        for state in LinkState::ALL {
            let clicks = |link: &Link| if link.code.as_str() == "limited" { 5 } else { 0 };
            let expected: Vec<String> = made
                .iter()
                .filter(|link| link.state(now, clicks(link)) == *state)
                .map(|link| link.code.to_string())
                .collect();
            let query = LinkQuery { state: Some(*state), now, ..query() };
            assert_eq!(codes(&stores, query).await, expected, "{state:?}");
        }
    }
}

pub(crate) async fn a_text_is_found_in_any_case_and_wildcards_mean_themselves(stores: Stores) {
    let links = vec![
        Link { title: "Grüße aus KÖLN".into(), ..link("Alpha-One") },
        Link { destination: url("https://shop.example/100%25_sure"), ..link("beta") },
        Link { tags: vec!["Frühling".into(), "x\"y".into()], ..link("gamma") },
    ];
    stores.links.claim(links, None).await.unwrap();
    let cases: [(&str, &[&str]); 12] = [
        ("alpha", &["Alpha-One"]),
        ("HA-o", &["Alpha-One"]),
        ("köln", &["Alpha-One"]),
        ("GRÜSSE", &[]),
        ("grü", &["Alpha-One"]),
        ("ü", &["Alpha-One", "gamma"]),
        ("FRÜHLING", &["gamma"]),
        ("%25_s", &["beta"]),
        ("%", &["beta"]),
        ("_", &["beta"]),
        ("x\"Y", &["gamma"]),
        ("example.com", &["Alpha-One", "gamma"]),
    ];
    for (text, expected) in cases {
        let query = LinkQuery { text: Some(text.into()), ..query() };
        assert_eq!(codes(&stores, query).await, expected, "{text}");
    }
}

pub(crate) async fn a_changed_text_is_found_by_its_new_words_only(stores: Stores) {
    let first = Link { title: "winter sale".into(), tags: vec!["cold".into()], ..link("season") };
    stores.links.claim(vec![first.clone()], None).await.unwrap();
    let second = Link { title: "summer sale".into(), tags: vec!["warm".into()], ..next(&first) };
    assert_eq!(stores.links.replace(second, None).await.unwrap(), Replace::Done);
    for (text, n) in [("winter", 0), ("cold", 0), ("summer", 1), ("warm", 1), ("sale", 1)] {
        let found = codes(&stores, LinkQuery { text: Some(text.into()), ..query() }).await;
        assert_eq!(found.len(), n, "{text}");
    }
    let tagged = |tag: &str| LinkQuery { tags: vec![tag.into()], ..query() };
    assert_eq!(codes(&stores, tagged("cold")).await.len(), 0);
    assert_eq!(codes(&stores, tagged("warm")).await, ["season"]);
}

pub(crate) async fn every_order_pages_through_all_links_once(stores: Stores) {
    let mut links: Vec<Link> = (0..23).map(|n| link(&format!("link{n:02}"))).collect();
    for (n, link) in links.iter_mut().enumerate() {
        // Few values, so that ties are broken by id.
        link.created_at = NOW.plus_millis((n as i64 * 7) % 3);
        link.updated_at = NOW.plus_millis((n as i64 * 5) % 4);
        link.title = ["b", "A", "Ä", "", "a", "B", "ä"][n % 7].into();
    }
    stores.links.claim(links.clone(), None).await.unwrap();
    for (n, link) in links.iter().enumerate().step_by(3) {
        click(&stores, n as u64 + 1, link.id, (n % 4 + 1) as u32).await;
    }
    let ids: Vec<Id> = links.iter().map(|link| link.id).collect();
    let totals = stores.clicks.totals(&ids).await.unwrap();
    let clicks = |id: Id| totals[ids.iter().position(|other| *other == id).unwrap()].clicks;
    type Order<'a> = &'a dyn Fn(&Link, &Link) -> std::cmp::Ordering;
    let sorts: [(LinkSort, Order<'_>); 6] = [
        (LinkSort::CreatedDesc, &|a, b| (b.created_at, b.id).cmp(&(a.created_at, a.id))),
        (LinkSort::CreatedAsc, &|a, b| (a.created_at, a.id).cmp(&(b.created_at, b.id))),
        (LinkSort::UpdatedDesc, &|a, b| (b.updated_at, b.id).cmp(&(a.updated_at, a.id))),
        (LinkSort::ClicksDesc, &|a, b| (clicks(b.id), b.id).cmp(&(clicks(a.id), a.id))),
        (LinkSort::ClicksAsc, &|a, b| (clicks(a.id), a.id).cmp(&(clicks(b.id), b.id))),
        (LinkSort::TitleAsc, &|a, b| {
            (a.title.to_lowercase(), a.id).cmp(&(b.title.to_lowercase(), b.id))
        }),
    ];
    for (sort, order) in sorts {
        let mut expected = links.clone();
        expected.sort_by(order);
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let query = LinkQuery { sort, after, limit: 5, ..query() };
            let page = stores.links.list(&query).await.unwrap();
            assert_eq!(page.total, 23);
            seen.extend(page.links);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected, "{sort:?}");
    }
}

pub(crate) async fn pages_stay_whole_while_links_are_added(stores: Stores) {
    let first: Vec<Link> = (0..20).map(|n| link(&format!("first{n}"))).collect();
    stores.links.claim(first.clone(), None).await.unwrap();
    let (mut seen, mut after, mut n) = (Vec::new(), None, 0);
    loop {
        let query = LinkQuery { after, limit: 3, ..query() };
        let page = stores.links.list(&query).await.unwrap();
        seen.extend(page.links.iter().map(|link| link.id));
        after = page.next;
        if after.is_none() {
            break;
        }
        n += 1;
        let added = Link { created_at: NOW.plus_millis(n), ..link(&format!("added{n}")) };
        stores.links.claim(vec![added], None).await.unwrap();
    }
    let expected: Vec<Id> = first.iter().rev().map(|link| link.id).collect();
    assert_eq!(seen, expected, "what was there is seen once, what is newer not at all");
}

pub(crate) async fn deleted_links_are_not_listed_and_not_tagged(stores: Stores) {
    let made = Link { tags: vec!["t".into()], title: "bye bye".into(), ..link("bye") };
    let stays = Link { tags: vec!["t".into()], ..link("stays") };
    stores.links.claim(vec![made.clone(), stays], None).await.unwrap();
    let deleted = Link { status: LinkStatus::Deleted, ..next(&made) };
    stores.links.replace(deleted, None).await.unwrap();
    assert_eq!(codes(&stores, query()).await, ["stays"]);
    let by_text = LinkQuery { text: Some("bye bye".into()), ..query() };
    assert_eq!(codes(&stores, by_text).await.len(), 0);
    let by_tag = LinkQuery { tags: vec!["t".into()], ..query() };
    assert_eq!(codes(&stores, by_tag).await, ["stays"]);
    assert_eq!(stores.links.tags(HOME).await.unwrap(), [("t".to_owned(), 1)]);
    assert_eq!(stores.links.count().await.unwrap(), 2, "the row stays");
}

pub(crate) async fn tags_are_counted(stores: Stores) {
    let tagged = |code: &str, tags: &[&str]| Link {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..link(code)
    };
    let abroad = Link { workspace: Id(78), ..tagged("d", &["red"]) };
    let links =
        vec![tagged("a", &["red", "big"]), tagged("b", &["red"]), tagged("c", &["big", "Red"])];
    stores.links.claim(links, None).await.unwrap();
    stores.links.claim(vec![abroad], None).await.unwrap();
    let counted = stores.links.tags(HOME).await.unwrap();
    let expected = [("Red", 1), ("big", 2), ("red", 2)].map(|(tag, n)| (tag.to_owned(), n));
    assert_eq!(counted, expected);
    let both = LinkQuery { tags: vec!["red".into(), "big".into()], ..query() };
    assert_eq!(codes(&stores, both).await, ["a"]);
    let text = LinkQuery { text: Some("EXAMPLE".into()), tags: vec!["big".into()], ..query() };
    assert_eq!(codes(&stores, text).await, ["a", "c"]);
}
