//! What the clicks of a workspace add up to, with and without filters.

use shunt::domain::code::DomainId;
use shunt::domain::counted::CountedClick;
use shunt::domain::day::{Counts, Dimension};
use shunt::domain::id::Id;
use shunt::domain::link::{Link, LinkStatus};
use shunt::domain::stats::BucketStats;
use shunt::storage::{Replace, StatsOf, Stores};

use crate::clicks::flush;
use crate::make::{Flush, HOME, at, click, clicked, id, link, next, url};
use crate::tell::{BEGIN, END, Told, ask, people};

const DAY: u32 = 20_000;
const MINUTE: u32 = DAY * 1_440;

fn home() -> StatsOf {
    StatsOf::Workspace { id: HOME, tag: None, domain: None }
}

fn tagged(tag: &str) -> StatsOf {
    StatsOf::Workspace { id: HOME, tag: Some(tag.into()), domain: None }
}

fn on(domain: DomainId) -> StatsOf {
    StatsOf::Workspace { id: HOME, tag: None, domain: Some(domain) }
}

/// Links of the workspace: a tagged one, one on another domain, one that is deleted; and one of
/// another workspace.
async fn four_links(stores: &Stores) -> [Link; 4] {
    let links = [
        Link { tags: vec!["red".into(), "blue".into()], ..link("tagged") },
        Link { domain: DomainId(3), ..link("elsewhere") },
        Link { tags: vec!["red".into()], ..link("deleted") },
        Link { workspace: Id(78), tags: vec!["red".into()], ..link("foreign") },
    ];
    stores.links.claim(links.to_vec(), None).await.unwrap();
    let gone = Link { status: LinkStatus::Deleted, ..next(&links[2]) };
    stores.links.replace(gone, None).await.unwrap();
    links
}

pub(crate) async fn a_workspace_is_the_sum_of_its_links(stores: Stores) {
    let links = four_links(&stores).await;
    let mut more = Flush::default();
    let paris = more.word(&["EU", "FR", "", "Paris"]);
    for (n, link) in (1..).zip(&links) {
        more.add(link.id, MINUTE, n).add(link.id, MINUTE + 1_440, 1);
        let one = click(link.id, at(MINUTE + 90, 0), 1);
        more.clicks.push(CountedClick { place: paris, visitor: 1 << 40, version: 2, ..one });
    }
    flush(&stores, vec![more.of(1, 0, 18)]).await.unwrap();
    // Twice: the second answer may come from what the first one left.
    for _ in 0..2 {
        let told = ask(&stores, home(), BEGIN, END).await;
        assert_eq!(
            told.hours(),
            [(DAY, 0, people(6)), (DAY, 1, people(3)), (DAY + 1, 0, people(3))]
        );
        assert_eq!(told.days[&DAY].hours[1].visitors, (1, 0), "one visitor of three links");
        assert_eq!(told.value(Dimension::City, "Paris"), people(3));
        assert!(told.days[&DAY].rows.keys().all(|(kind, _)| *kind != Dimension::Version));
        let versions = [
            (links[0].id, 1, people(2)),
            (links[0].id, 2, people(1)),
            (links[1].id, 1, people(3)),
            (links[1].id, 2, people(1)),
            (links[2].id, 1, people(4)),
            (links[2].id, 2, people(1)),
        ];
        assert_eq!(told.links, versions);
        let part = ask(&stores, home(), at(MINUTE + 1, 0), at(MINUTE + 1_440, 0)).await;
        assert_eq!(part.hours(), [(DAY, 1, people(3))]);
        assert_eq!(part.links.len(), 3);
    }
    let none = StatsOf::Workspace { id: Id(79), tag: None, domain: None };
    assert_eq!(ask(&stores, none, BEGIN, END).await, Told::default());
}

pub(crate) async fn tags_and_domains_choose_links_deleted_ones_too(stores: Stores) {
    let links = four_links(&stores).await;
    // As many clicks as 1, 2, 4, 8, so that each sum tells whose they are.
    let rows: Vec<_> = (0..).zip(&links).map(|(n, link)| (link.id, MINUTE, 1 << n)).collect();
    flush(&stores, vec![clicked(1, 0, 15, &rows)]).await.unwrap();
    let both = StatsOf::Workspace { id: HOME, tag: Some("red".into()), domain: Some(DomainId(3)) };
    let expected = [
        (home(), 7),
        (tagged("red"), 5),
        (tagged("blue"), 1),
        (on(DomainId(3)), 2),
        (on(links[0].domain), 5),
        (both, 0),
        (tagged("re"), 0),
    ];
    for (of, n) in expected {
        let told = ask(&stores, of.clone(), BEGIN, END).await;
        assert_eq!(told.people().first().map_or(0, |(_, n)| *n), n, "{of:?}");
        let bounds = vec![at(MINUTE, 1), at(MINUTE, 60_000)];
        let buckets = stores.stats.buckets(of.clone(), bounds).await.unwrap();
        assert_eq!(buckets[0].counts.people, n, "{of:?}");
        let part = ask(&stores, of, at(MINUTE, 0), at(MINUTE, 2)).await;
        assert_eq!(part.links.len() as u32, n.count_ones(), "a first click of each");
    }
}

pub(crate) async fn buckets_of_a_workspace_tell_its_visitors(stores: Stores) {
    let links = four_links(&stores).await;
    let mut more = Flush::default();
    for link in &links {
        let one = click(link.id, at(MINUTE, 0), 1);
        more.clicks.push(CountedClick { visitor: 1 << 40, ..one });
    }
    more.add_surplus(links[0].id, MINUTE, 2);
    flush(&stores, vec![more.of(1, 0, 6)]).await.unwrap();
    let bounds = vec![at(MINUTE - 1, 0), at(MINUTE + 1, 0)];
    let buckets = stores.stats.buckets(home(), bounds).await.unwrap();
    let expected = BucketStats { counts: people(5), qr_scans: 0, visitors: people(1) };
    assert_eq!(buckets, [expected]);
}

pub(crate) async fn a_later_click_on_an_old_day_is_in_the_next_answer(stores: Stores) {
    let links = four_links(&stores).await;
    let rows: Vec<_> =
        (0..5).flat_map(|day| links.iter().map(move |l| (l.id, MINUTE + day * 1_440, 1))).collect();
    flush(&stores, vec![clicked(1, 0, 20, &rows)]).await.unwrap();
    let mut expected = [3; 5];
    for n in 0..5 {
        for _ in 0..2 {
            let told = ask(&stores, home(), BEGIN, END).await;
            let found: Vec<u64> = told.people().iter().map(|(_, clicks)| *clicks).collect();
            assert_eq!(found, expected);
        }
        let day = n % 3;
        let late = clicked(2, n, n + 1, &[(links[0].id, MINUTE + day as u32 * 1_440 + 7, 1)]);
        flush(&stores, vec![late]).await.unwrap();
        expected[day as usize] += 1;
    }
    stores.clicks.erase(links[1].id, None).await.unwrap();
    let told = ask(&stores, home(), BEGIN, END).await;
    assert_eq!(told.people().iter().map(|(_, n)| n).sum::<u64>(), 20 - 5);
    assert!(told.links.iter().all(|(link, ..)| *link != links[1].id));
}

pub(crate) async fn past_destinations_tell_where_earlier_versions_led(stores: Stores) {
    let first = link("moving");
    stores.links.claim(vec![first.clone(), link("still")], None).await.unwrap();
    let titled = Link { title: "only the title".into(), ..next(&first) };
    stores.links.replace(titled.clone(), None).await.unwrap();
    let led = Link { destination: url("https://example.com/b"), ..next(&titled) };
    stores.links.replace(led.clone(), None).await.unwrap();
    let moved = Link {
        code: crate::make::key("moved").code,
        destination: url("https://example.com/c"),
        ..next(&led)
    };
    stores.links.relocate(&led.key(), moved.clone(), id(), None).await.unwrap();
    let back = Link { destination: first.destination.clone(), ..next(&moved) };
    stores.links.replace(back.clone(), None).await.unwrap();
    let past = stores.stats.past_destinations(&[Id(1), first.id]).await.unwrap();
    let led_to = |version, text: &str| (first.id, version, text.to_owned());
    assert_eq!(
        past,
        [
            led_to(2, "https://example.com/moving"),
            led_to(3, "https://example.com/b"),
            led_to(4, "https://example.com/c"),
        ]
    );
    assert_eq!(stores.stats.past_destinations(&[]).await.unwrap(), []);
    let counts = Counts { people: 1, bots: 0 };
    flush(&stores, vec![clicked(1, 0, 1, &[(first.id, MINUTE, 1)])]).await.unwrap();
    assert_eq!(ask(&stores, home(), BEGIN, END).await.links, [(first.id, 1, counts)]);
}

/// A link that somebody takes over.
pub(crate) async fn a_link_that_changes_hands_takes_its_clicks_along(stores: Stores) {
    let links = four_links(&stores).await;
    let mut more = Flush::default();
    for link in &links {
        more.add(link.id, MINUTE, 1).add(link.id, MINUTE + 1_440, 2);
    }
    flush(&stores, vec![more.of(1, 0, 12)]).await.unwrap();
    let there = StatsOf::Workspace { id: Id(78), tag: None, domain: None };
    let clicks = async |of: &StatsOf| {
        let told = ask(&stores, of.clone(), BEGIN, END).await;
        let again = ask(&stores, of.clone(), BEGIN, END).await;
        assert_eq!(told, again);
        told.hours()
    };
    assert_eq!(clicks(&home()).await, [(DAY, 0, people(3)), (DAY + 1, 0, people(6))]);
    assert_eq!(clicks(&there).await, [(DAY, 0, people(1)), (DAY + 1, 0, people(2))]);
    for (link, to) in [(&links[0], Id(78)), (&links[3], HOME)] {
        let moved = Link { workspace: to, ..next(link) };
        assert_eq!(stores.links.replace(moved, None).await.unwrap(), Replace::Done);
    }
    let moved = Link { workspace: Id(78), ..next(&links[1]) };
    assert_eq!(stores.links.replace(moved, None).await.unwrap(), Replace::Done);
    assert_eq!(clicks(&home()).await, [(DAY, 0, people(2)), (DAY + 1, 0, people(4))]);
    assert_eq!(clicks(&there).await, [(DAY, 0, people(2)), (DAY + 1, 0, people(4))]);
    let tags = stores.links.tags(HOME).await.unwrap();
    assert_eq!(tags, [("red".to_owned(), 1)]);
}
