//! What the counters find out about a click, and what of it leaves them.

use super::*;
use crate::domain::event::ClickEvent;
use crate::domain::limits::CLICK_FIELD_BYTES_MAX;

async fn counted(clicks: &[RawClick<'_>]) -> Vec<ClickEvent> {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    let lane = process.lane();
    clicks.iter().for_each(|click| lane.record(click));
    until("all are stored", || process.store.events(1).len() == clicks.len()).await;
    let mut events = process.store.events(1);
    events.sort_by_key(|event| event.at);
    events
}

#[actix::test]
async fn a_click_is_told_by_device_referrer_language_and_campaign() {
    let first = RawClick {
        user_agent: b"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 \
                      (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
        referrer: b"https://www.news.example.co.uk/today?x=1#top",
        language: b"en-GB,en;q=0.9,de;q=0.4",
        query: b"utm_source=mail&utm_campaign=spring+sale&qr=1",
        flags: ClickFlags::QR.with(ClickFlags::PREFETCH),
        ..click(1)
    };
    let event = &counted(&[first]).await[0];
    let known = [&event.device, &event.os, &event.browser, &event.language, &event.referrer_domain];
    let known = known.map(|text| text.as_deref().unwrap_or_default());
    assert_eq!(known, ["mobile", "iOS", "Mobile Safari", "en", "example.co.uk"]);
    let sent = event.referrer.as_deref();
    assert_eq!(sent, Some("https://www.news.example.co.uk/today?x=1"));
    let utm = event.utm.each_ref().map(|part| part.as_deref());
    assert_eq!(utm, [Some("mail"), None, Some("spring sale"), None, None]);
    assert!(event.flags.has(ClickFlags::QR) && event.flags.has(ClickFlags::PREFETCH));
    assert_eq!((event.version, event.is_bot(), event.at), (3, false, START));
    assert_eq!(event.id.created_at(), START);
    assert_eq!((&event.country, &event.city), (&None, &None), "there is no database");
}

#[actix::test]
async fn nothing_of_a_visitor_is_kept_who_asks_for_that() {
    let private = RawClick { flags: ClickFlags::PRIVATE.with(ClickFlags::QR), ..click(1) };
    let event = &counted(&[private]).await[0];
    let nothing = ClickEvent {
        id: event.id,
        link: Id(1),
        at: START,
        version: 3,
        flags: private.flags,
        ..ClickEvent::default()
    };
    assert_eq!(*event, nothing);
}

#[actix::test]
async fn a_visitor_is_one_number_all_day_and_another_the_next() {
    let day = 86_400_000;
    let other = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9));
    let at = |millis: i64| START.plus_millis(millis);
    let events = counted(&[
        click(1),
        RawClick { at: at(1_000), ..click(1) },
        RawClick { at: at(2_000), address: other, ..click(1) },
        RawClick { at: at(3_000), user_agent: b"Firefox/140.0", ..click(1) },
        RawClick { at: at(day), ..click(1) },
    ])
    .await;
    let visitors: Vec<u64> = events.iter().map(|event| event.visitor.unwrap()).collect();
    assert_eq!(visitors[0], visitors[1]);
    let mut different = visitors[1..].to_vec();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 4, "{visitors:?}");
}

#[actix::test]
async fn bytes_of_strangers_are_cut_and_made_text() {
    let long = vec![b'\xff'; 64 << 10];
    let hostile =
        RawClick { user_agent: &long, referrer: &long, language: &long, query: &long, ..click(1) };
    let event = &counted(&[hostile]).await[0];
    let referrer = event.referrer.as_deref().unwrap();
    assert!(referrer.chars().count() <= CLICK_FIELD_BYTES_MAX);
    assert!(referrer.chars().all(|character| character == '\u{fffd}'));
    assert_eq!((&event.referrer_domain, &event.language), (&None, &None));
}

#[actix::test]
async fn clicks_are_told_to_who_watches_their_link() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    let lane = process.lane();
    let mut watch = process.sink.watch(Id(1)).unwrap();
    lane.record(&click(2));
    lane.record(&click(1));
    let event = tokio::time::timeout(WAIT_MAX, watch.next()).await.unwrap().unwrap();
    assert_eq!((event.link, event.browser.as_deref()), (Id(1), Some("Firefox")));
    drop(lane);
    process.sink.drain().await;
    assert!(watch.next().await.is_none(), "a watch outlives its sink");
}

#[actix::test]
async fn more_clicks_of_a_minute_than_are_kept_are_counted_all_the_same() {
    let (_home, journal) = folder();
    let few = ClicksConfig { events_per_link_minute: 50, ..config() };
    let process = Process::start_with(&journal, &FakeStore::new(), few);
    let lane = process.lane();
    for n in 0..20 {
        (0..25).for_each(|_| lane.record(&click(1)));
        until("they are stored", || process.store.clicks(1) == (n + 1) * 25).await;
    }
    assert_eq!(process.store.events(1).len(), 50);
    process.check_accounts().await;
}

#[actix::test]
async fn a_segment_of_version_one_is_counted() {
    let (_home, journal) = folder();
    let process = Process::start(&journal, &FakeStore::new());
    process.store.down.store(true, Ordering::Relaxed);
    let lane = process.lane();
    (0..100).for_each(|_| lane.record(&click(1)));
    let (_copied, copy) = copy_of(&journal);
    let mut n_old = 0;
    for path in segments_in(&copy) {
        let bytes = std::fs::read(&path).unwrap();
        if let Some(old) = in_version_one(&bytes) {
            std::fs::write(&path, old).unwrap();
            n_old += 1;
        }
    }
    assert_eq!(n_old, 1);
    let next = Process::start(&copy, &process.store.copy());
    next.sink.recovered().await;
    assert_eq!((next.total(1).await, next.metrics.journal_segments_damaged.get()), (100, 0));
    until("they are stored", || next.store.events(1).len() == 100).await;
    let event = &next.store.events(1)[0];
    assert_eq!((event.version, event.browser.as_deref()), (0, Some("Firefox")));
}

/// The records of a segment as version 1 of the journal had them; `None` when there are none.
fn in_version_one(bytes: &[u8]) -> Option<Vec<u8>> {
    let id = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
    let mut old = vec![0; bytes.len()];
    old[..32].copy_from_slice(&bytes[..32]);
    old[8] = 1;
    let crc = crc32fast::hash(&old[..36]);
    old[36..40].copy_from_slice(&crc.to_le_bytes());
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (mut from, mut to) = (files::HEADER_BYTES, files::HEADER_BYTES);
    while word(from) != 0 {
        let payload = &bytes[from + 8..from + 8 + word(from)];
        let without: Vec<u8> = [&payload[..26], &payload[30..]].concat();
        let seed = crc32fast::hash(&id.to_le_bytes());
        let mut hasher = crc32fast::Hasher::new_with_initial(seed ^ to as u32);
        hasher.update(&without);
        old[to..to + 4].copy_from_slice(&(without.len() as u32).to_le_bytes());
        old[to + 4..to + 8].copy_from_slice(&hasher.finalize().to_le_bytes());
        old[to + 8..to + 8 + without.len()].copy_from_slice(&without);
        from = (from + 8 + payload.len()).next_multiple_of(8);
        to = (to + 8 + without.len()).next_multiple_of(8);
    }
    (to > files::HEADER_BYTES).then_some(old)
}
