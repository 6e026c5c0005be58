//! Single clicks of a link, the newest first.

use shunt::domain::click::ClickFlags;
use shunt::domain::counted::CountedClick;
use shunt::domain::event::ClickEvent;
use shunt::domain::id::Id;
use shunt::storage::{EventQuery, Stores};

use crate::clicks::flush;
use crate::make::{Flush, at, click};
use crate::tell::{BEGIN, END};

const LINK: Id = Id(9);
const MINUTE: u32 = 20_100 * 1_440;

fn query() -> EventQuery {
    EventQuery { link: LINK, from: BEGIN, to: END, before: None, bots: None, limit: 100 }
}

async fn events(stores: &Stores, query: EventQuery) -> Vec<ClickEvent> {
    stores.stats.events(query).await.unwrap()
}

fn ids(events: &[ClickEvent]) -> Vec<Id> {
    events.iter().map(|event| event.id).collect()
}

/// Clicks on four days, among those of others, in three flushes and not in order; every third is a
/// bot's, and always three share a millisecond. Newest first.
async fn many(stores: &Stores) -> Vec<CountedClick> {
    let mut all: Vec<CountedClick> = Vec::new();
    for part in 0..3_u32 {
        let mut more = Flush::default();
        for n in (part..60).step_by(3) {
            let minute = MINUTE + n / 15 * 1_440 + n % 15 / 3;
            let flags = if n % 3 == 0 { ClickFlags::BOT } else { ClickFlags::default() };
            more.clicks.push(CountedClick { flags, ..click(LINK, at(minute, 5), n % 3 + 1) });
            more.clicks.push(click(Id(10), at(minute, 6), n));
        }
        all.extend(more.clicks.iter().filter(|click| click.link == LINK).copied());
        flush(stores, vec![more.of(part.into(), 0, 1)]).await.unwrap();
    }
    all.sort_by_key(|click| std::cmp::Reverse(click.id()));
    all
}

pub(crate) async fn a_click_comes_back_field_by_field(stores: Stores) {
    let mut more = Flush::default();
    let full = CountedClick {
        version: 7,
        flags: ClickFlags::QR.with(ClickFlags::PREFETCH),
        visitor: u64::MAX,
        agent: more.word(&["mobile", "iOS", "Safari"]),
        place: more.word(&["EU", "DE", "", "Berlin"]),
        referrer: more.word(&["news.example", "https://news.example/a?b#c"]),
        language: more.word(&["de-AT"]),
        utm: more.word(&["mail", "", "spring", "shoes", "top"]),
        ..click(LINK, at(MINUTE, 123), (1 << 22) - 1)
    };
    more.clicks = vec![full, CountedClick { version: 1, ..click(LINK, at(MINUTE, 5), 0) }];
    flush(&stores, vec![more.of(1, 0, 2)]).await.unwrap();
    let found = events(&stores, query()).await;
    let some = |text: &str| Some(text.to_owned());
    let expected = ClickEvent {
        id: full.id(),
        link: LINK,
        at: at(MINUTE, 123),
        version: 7,
        flags: full.flags,
        visitor: Some(u64::MAX),
        continent: some("EU"),
        country: some("DE"),
        region: None,
        city: some("Berlin"),
        device: some("mobile"),
        os: some("iOS"),
        browser: some("Safari"),
        referrer: some("https://news.example/a?b#c"),
        referrer_domain: some("news.example"),
        language: some("de-AT"),
        utm: [some("mail"), None, some("spring"), some("shoes"), some("top")],
    };
    assert_eq!(found[0], expected);
    let plain = ClickEvent {
        id: click(LINK, at(MINUTE, 5), 0).id(),
        link: LINK,
        at: at(MINUTE, 5),
        version: 1,
        ..ClickEvent::default()
    };
    assert_eq!(found[1..], [plain]);
}

pub(crate) async fn pages_of_clicks_go_through_all_of_them_once(stores: Stores) {
    let all = many(&stores).await;
    for limit in [1, 7, 59, 60, 100] {
        let (mut before, mut seen) = (None, Vec::new());
        loop {
            let page = events(&stores, EventQuery { before, limit, ..query() }).await;
            assert!(page.len() <= limit as usize);
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            seen.extend(ids(&page));
        }
        let expected: Vec<Id> = all.iter().map(CountedClick::id).collect();
        assert_eq!(seen, expected, "{limit} at a time");
    }
    assert_eq!(events(&stores, EventQuery { limit: 0, ..query() }).await, []);
    assert_eq!(events(&stores, EventQuery { link: Id(11), ..query() }).await, []);
}

pub(crate) async fn clicks_are_chosen_by_time_and_by_who_clicked(stores: Stores) {
    let all = many(&stores).await;
    let chosen = async |query: EventQuery| {
        let expected: Vec<Id> = all
            .iter()
            .filter(|click| (query.from..query.to).contains(&click.at))
            .filter(|click| query.bots.is_none_or(|bots| bots == click.is_bot()))
            .filter(|click| query.before.is_none_or(|before| click.id() < before))
            .map(CountedClick::id)
            .take(query.limit as usize)
            .collect();
        assert_eq!(ids(&events(&stores, query).await), expected, "{query:?}");
        expected.len()
    };
    assert_eq!(chosen(EventQuery { bots: Some(true), ..query() }).await, 20);
    assert_eq!(chosen(EventQuery { bots: Some(false), ..query() }).await, 40);
    let (from, to) = (at(MINUTE + 1, 5), at(MINUTE + 1_440, 5));
    assert_eq!(chosen(EventQuery { from, to, ..query() }).await, 12);
    let to = to.plus_millis(1);
    assert_eq!(chosen(EventQuery { from, to, ..query() }).await, 15);
    let before = Some(all[20].id());
    assert_eq!(chosen(EventQuery { before, bots: Some(false), limit: 9, ..query() }).await, 9);
    assert_eq!(chosen(EventQuery { before, from, to, ..query() }).await, 15);
    assert_eq!(chosen(EventQuery { before: Some(Id(0)), ..query() }).await, 0);
    let before = Some(Id(u64::MAX));
    assert_eq!(chosen(EventQuery { before, limit: 3, ..query() }).await, 3);
}
