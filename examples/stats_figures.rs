//! What click statistics cost in the embedded store:
//! `cargo run --profile quick --example stats_figures -- [CLICKS OF ALL LINKS] [FOLDER]`.
//!
//! One link with a million clicks among 10,000 others that have `CLICKS` together, spread over 30
//! days. Flushes per click, size on disk, and how long answers take: half of them, and all but 5 %.
//! Of questions about the workspace, in some zones and with filters, also the very first, and the
//! first after another day of clicks.

#![expect(clippy::unwrap_used, reason = "a measurement that fails should say so at once")]

use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shunt::domain::api_key::{ApiKey, Scopes};
use shunt::domain::click::{ClickFlags, SegmentId};
use shunt::domain::code::{Code, DomainId, LinkKey};
use shunt::domain::counted::{CountedClick, SegmentClicks};
use shunt::domain::destination::Destination;
use shunt::domain::id::Id;
use shunt::domain::link::Link;
use shunt::domain::time::Timestamp;
use shunt::domain::words::{Lexicon, Word};
use shunt::service::stats::calendar::Period;
use shunt::service::stats::{Bots, Question, Selection, of_workspace};
use shunt::storage::embedded::{Embedded, Mode, database_file};
use shunt::storage::secrets::Secrets;
use shunt::storage::{EventQuery, StatsOf, Stores, Workspace};

const HOME: Id = Id(1);
const LINKS: u64 = 10_000;
const HOT_CLICKS: u64 = 1_000_000;
const DAYS: i64 = 30;
const DAY_MS: i64 = 86_400_000;
/// The first day.
const START: Timestamp = Timestamp(20_600 * DAY_MS);
/// Clicks of one flush: what half a second brings at 20,000 per second.
const FLUSH: u64 = 10_000;
const CALLS: usize = 50;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let n: u64 = arguments.next().map_or(1_000_000, |n| n.parse().unwrap());
    let folder = arguments.next().unwrap_or_else(|| "target/stats_figures".into());
    let folder = Path::new(&folder);
    let _ = std::fs::remove_dir_all(folder);
    Secrets::open_or_create(folder).unwrap();
    let store = Embedded::open(folder, Mode::Create).unwrap();
    let stores = store.stores();
    let workspace = Workspace { id: HOME, name: "home".into(), operator: true, created_at: START };
    stores.accounts.bootstrap(workspace, key()).await.unwrap();
    let mut links: Vec<Link> = (0..=LINKS).map(link).collect();
    for some in links.chunks(1_000) {
        stores.links.claim(some.to_vec(), None).await.unwrap();
    }
    store.settle().await.unwrap();
    store.close();
    let before = size(folder);

    let store = Embedded::open(folder, Mode::Existing).unwrap();
    let stores = store.stores();
    let n_clicks = HOT_CLICKS + n;
    let took = fill(&stores, n_clicks).await;
    let per_click = |time: Duration| time.as_secs_f64() * 1e6 / n_clicks as f64;
    say(&format!("flush: {:.2} µs per click, {n_clicks} clicks", per_click(took)));
    let began = Instant::now();
    store.settle().await.unwrap();
    say(&format!("folding what was left: {:.0} ms", began.elapsed().as_secs_f64() * 1e3));
    store.close();
    let bytes = size(folder) - before;
    say(&format!(
        "store: {} MB, {:.1} bytes per click",
        size(folder) >> 20,
        bytes as f64 / n_clicks as f64
    ));

    let store = Embedded::open(folder, Mode::Existing).unwrap();
    let stores = store.stores();
    let (from, to) = (START, START.plus_millis(DAYS * DAY_MS));
    let hot = StatsOf::Link(id(0));
    let home = StatsOf::Workspace { id: HOME, tag: None, domain: None };
    ask(&stores, "days of a link, 30 days", &hot, from, to, CALLS).await;
    ask(&stores, "days of a link, 30 days that begin at 5:30", &hot, later(from), later(to), 10)
        .await;
    ask(&stores, "days of a plain link", &StatsOf::Link(id(77)), from, to, CALLS).await;
    get_ahead(&store).await;
    ask_reports(&stores, DAYS, CALLS).await;
    // A day later, everything is asked again.
    fill_days(&stores, n_clicks, DAYS..DAYS + 1, n_clicks / DAYS as u64).await;
    store.settle().await.unwrap();
    get_ahead(&store).await;
    ask_reports(&stores, DAYS + 1, 0).await;
    let query = EventQuery { link: id(0), from, to, before: None, bots: None, limit: 100 };
    let plain = EventQuery { link: id(77), ..query };
    for (what, query) in [("of a link", query), ("of a plain link", plain)] {
        let mut times = Times::default();
        for _ in 0..CALLS {
            let began = Instant::now();
            let events = stores.stats.events(query).await.unwrap();
            times.0.push(began.elapsed());
            assert!(!events.is_empty());
        }
        times.tell(&format!("100 events {what}"));
    }
    let bounds = vec![from, later(from), later(from).plus_millis(DAY_MS)];
    let began = Instant::now();
    stores.stats.buckets(home, bounds).await.unwrap();
    say(&format!(
        "buckets of a day of the workspace: {:.1} ms",
        began.elapsed().as_secs_f64() * 1e3
    ));
    export(&stores, id(LINKS), 50_000).await;
    export(&stores, id(LINKS - 1), 400_000).await;
    let one = [links.remove(5)];
    let began = Instant::now();
    stores.clicks.erase(one[0].id, None).await.unwrap();
    say(&format!("erasing a link: {:.1} ms", began.elapsed().as_secs_f64() * 1e3));
}

/// Lists a day of a link as a CSV does.
async fn export(stores: &Stores, link: Id, n: u64) {
    let from = START.plus_millis(DAYS * DAY_MS);
    for first in (0..n).step_by(FLUSH as usize) {
        let at = |index: u64| from.plus_millis(index as i64 * DAY_MS / n as i64);
        let click = |index| CountedClick { link, at: at(index), ..CountedClick::default() };
        let flush = SegmentClicks {
            segment: SegmentId(link.0),
            from_record: first,
            to_record: first + FLUSH,
            clicks: (first..first + FLUSH).map(click).collect(),
            ..SegmentClicks::default()
        };
        stores.clicks.flush(Arc::new(vec![flush])).await.unwrap();
    }
    let to = from.plus_millis(DAY_MS);
    let mut query = EventQuery { link, from, to, before: None, bots: None, limit: 4_000 };
    let (mut listed, began) = (0, Instant::now());
    loop {
        let page = stores.stats.events(query).await.unwrap();
        let Some(last) = page.last() else { break };
        listed += page.len() as u64;
        query.before = Some(last.id);
    }
    assert_eq!(listed, n);
    let per_click = began.elapsed().as_secs_f64() * 1e6 / n as f64;
    say(&format!("listing a day of {n} clicks: {per_click:.1} µs per click"));
}

async fn get_ahead(store: &Embedded) {
    let began = Instant::now();
    let n_days = store.make_all_ahead().await.unwrap();
    say(&format!("{n_days} days made ahead: {:.0} ms", began.elapsed().as_secs_f64() * 1e3));
}

/// Asks what `GET /api/v1/stats` asks on the last of `days`, 30 days back: once, then `n` times.
async fn ask_reports(stores: &Stores, days: i64, n: usize) {
    let now = START.plus_millis((days * 24 - 3) * DAY_MS / 24);
    let first_day = now.plus_millis(-(DAYS - 1) * DAY_MS);
    let first_day = chrono::DateTime::from_timestamp_millis(first_day.0).unwrap().date_naive();
    let from = first_day.to_string();
    let all = || Selection { workspace: HOME, tag: None, domain: None };
    let tag = || Selection { tag: Some("tag-7".into()), ..all() };
    let domain = || Selection { domain: Some(DomainId::DEFAULT), ..all() };
    let [kolkata, kathmandu] = ["Asia/Kolkata", "Asia/Kathmandu"];
    let questions = [
        ("all", all(), None, None, "UTC"),
        ("all", all(), None, None, "America/New_York"),
        ("all", all(), None, None, kolkata),
        ("all", all(), None, None, kathmandu),
        ("all by hour", all(), Some(from.as_str()), Some("hour"), kolkata),
        ("all by minute", all(), None, Some("minute"), "UTC"),
        ("tag=", tag(), None, None, "UTC"),
        ("tag=", tag(), None, None, "America/New_York"),
        ("tag=", tag(), None, None, kolkata),
        ("domain=", domain(), None, None, "UTC"),
        ("domain=", domain(), None, None, "America/New_York"),
        ("domain=", domain(), None, None, kolkata),
    ];
    for (what, selection, from, interval, zone) in questions {
        let period = Period::parse(from, None, interval, Some(zone), now).unwrap();
        let question = Question { period, bots: Bots::Exclude, top: 10, now };
        let (mut first, mut times) = (None, Times::default());
        for _ in 0..=n {
            let began = Instant::now();
            let told = of_workspace(stores, &selection, &question).await.unwrap();
            let took = began.elapsed();
            assert!(told.report.summary.clicks > 0);
            match first {
                None => first = Some(took),
                Some(_) => times.0.push(took),
            }
        }
        let first = first.unwrap_or_default().as_secs_f64() * 1e3;
        say(&format!("{what} {zone}: first {first:.1} ms"));
        if n > 0 {
            times.tell(&format!("{what} {zone}"));
        }
    }
}

fn later(at: Timestamp) -> Timestamp {
    at.plus_millis(-330 * 60_000)
}

#[expect(clippy::too_many_arguments, reason = "a question has so many parts")]
async fn ask(stores: &Stores, what: &str, of: &StatsOf, from: Timestamp, to: Timestamp, n: usize) {
    let mut times = Times::default();
    for _ in 0..n {
        let began = Instant::now();
        let found = stores.stats.days(of.clone(), from, to).await.unwrap();
        times.0.push(began.elapsed());
        assert!(!found.days.is_empty());
    }
    times.tell(what);
}

#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn tell(&mut self, what: &str) {
        self.0.sort_unstable();
        let at = |percent: usize| self.0[(self.0.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        say(&format!("{what}: p50 {:.1} ms, p95 {:.1} ms", at(50), at(95)));
    }
}

/// Sends all clicks in the order in which they come; answers how long the store took.
async fn fill(stores: &Stores, n_clicks: u64) -> Duration {
    fill_days(stores, 0, 0..DAYS, n_clicks).await
}

/// The same for days, after so many that were sent before.
async fn fill_days(stores: &Stores, sent: u64, days: Range<i64>, n_clicks: u64) -> Duration {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut roll = move |sides: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 20) % sides
    };
    let mut took = Duration::ZERO;
    for first in (0..n_clicks).step_by(FLUSH as usize) {
        let mut lexicon = Lexicon::default();
        let mut clicks: Vec<CountedClick> = (first..(first + FLUSH).min(n_clicks))
            .map(|index| {
                let length = (days.end - days.start) * DAY_MS;
                let passed = index as i64 * length / n_clicks as i64;
                let at = START.plus_millis(days.start * DAY_MS + passed);
                let link = if roll(n_clicks) < HOT_CLICKS { 0 } else { 1 + roll(LINKS) };
                let (visitor, bot) = (1 + roll(200_000), roll(10) == 0);
                one(id(link), at, visitor, bot, &mut roll, &mut lexicon)
            })
            .collect();
        clicks.sort_by_key(|click| (click.link, click.at));
        let flush = Arc::new(vec![SegmentClicks {
            segment: SegmentId(1),
            from_record: sent + first,
            to_record: sent + first + FLUSH,
            words: Arc::new(lexicon.into_words()),
            clicks,
            surplus: Vec::new(),
        }]);
        let began = Instant::now();
        stores.clicks.flush(flush).await.unwrap();
        took += began.elapsed();
    }
    took
}

#[expect(clippy::too_many_arguments, reason = "all of it differs from click to click")]
fn one(
    link: Id,
    at: Timestamp,
    visitor: u64,
    bot: bool,
    roll: &mut impl FnMut(u64) -> u64,
    lexicon: &mut Lexicon,
) -> CountedClick {
    let mut word = |kinds: u64, text: fn(u64) -> String| -> Word {
        lexicon.word(&text(visitor.wrapping_mul(0x9E37_79B9) % kinds))
    };
    CountedClick {
        link,
        at,
        serial: roll(1 << 22) as u32,
        version: 1,
        flags: if bot { ClickFlags::BOT } else { ClickFlags::default() },
        visitor: visitor.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        agent: word(40, |n| format!("mobile\u{1f}OS {}\u{1f}Browser {}", n % 5, n / 5)),
        place: word(3_000, |n| format!("EU\u{1f}C{}\u{1f}R{}\u{1f}City {n}", n % 60, n % 300)),
        referrer: word(500, |n| format!("site{n}.example\u{1f}https://site{n}.example/{n}")),
        language: word(20, |n| format!("l{n}")),
        utm: word(10, |n| format!("source{n}\u{1f}mail\u{1f}spring")),
    }
}

fn key() -> ApiKey {
    ApiKey {
        id: Id(2),
        workspace: HOME,
        user: None,
        name: "first".into(),
        prefix: "shunt_abcdef".into(),
        digest: [0; 32],
        scopes: Scopes::EVERYTHING,
        created_at: START,
        expires_at: None,
        last_used_at: None,
        uses: 0,
        revoked_at: None,
    }
}

fn size(folder: &Path) -> u64 {
    std::fs::metadata(database_file(folder)).unwrap().len()
}

fn id(n: u64) -> Id {
    Id((n / 4 + 1) << 22 | (n % 4))
}

fn link(n: u64) -> Link {
    let code = format!("link{n}");
    let key = LinkKey::new(DomainId::DEFAULT, Code::parse(code.as_bytes()).unwrap());
    let target = format!("https://shop.example.com/item-{n}");
    let tags = vec![format!("tag-{}", n % 100)];
    Link { tags, ..Link::plain(id(n), HOME, key, Destination::from_stored(&target).unwrap()) }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
}
