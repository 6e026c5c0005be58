//! Figures of the embedded store: `cargo run --profile quick --example store_figures -- 1000000 [FOLDER]`.
//! Import, scan, flush, fold, lists, search, backup; wall and processor time of each. What statistics
//! cost: `cargo run --profile quick --example stats_figures`.

#![expect(clippy::unwrap_used, reason = "a measurement that fails should say so at once")]

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use shunt::domain::audit::{Act, AuditKey};
use shunt::domain::click::SegmentId;
use shunt::domain::code::{Code, DomainId, LinkKey};
use shunt::domain::counted::{CountedClick, SegmentClicks};
use shunt::domain::destination::Destination;
use shunt::domain::id::Id;
use shunt::domain::link::{CreatedVia, Link, LinkState};
use shunt::domain::time::Timestamp;
use shunt::storage::embedded::{Embedded, Mode, backup, database_file};
use shunt::storage::secrets::Secrets;
use shunt::storage::{ImportedLink, LinkQuery, LinkSort, StatsOf, Stores};

const HOME: Id = Id(1);
const START: Timestamp = Timestamp(1_780_000_000_000);
/// Links of one import.
const BATCH: u64 = 5_000;
/// Clicks of one flush.
const FLUSH: usize = 100_000;
const FLUSHES: u64 = 20;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let n: u64 = arguments.next().map_or(100_000, |n| n.parse().unwrap());
    let folder = arguments.next().unwrap_or_else(|| "target/store_figures".into());
    let folder = std::path::Path::new(&folder);
    let _ = std::fs::remove_dir_all(folder);
    Secrets::open_or_create(folder).unwrap();
    let store = Embedded::open(folder, Mode::Create).unwrap();
    store.seal_audit_log(AuditKey::of(&[7; 32]));
    let stores = store.stores();

    let mut timer = Timer::start();
    import(&stores, n).await;
    timer.lap(&format!("import of {n} links"));
    assert_eq!(stores.links.count().await.unwrap(), n);
    timer.lap("count");
    scan(&stores, n).await;
    timer.lap("scan of all links");
    clicks(&store, &stores, n, &mut timer).await;
    lists(&store, &stores, &mut timer).await;
    creates(&stores, n, &mut timer).await;
    let copy = folder.join("copy");
    backup::backup(folder, &copy).unwrap();
    timer.lap("backup");
    let size = std::fs::metadata(database_file(folder)).unwrap().len();
    say(&format!("database: {} MB", size >> 20));
}

async fn import(stores: &Stores, n: u64) {
    for first in (0..n).step_by(BATCH as usize) {
        let batch = (first..(first + BATCH).min(n)).map(|n| ImportedLink {
            link: link(n),
            clicks: 0,
            last_clicked_at: None,
            foreign_sealed: false,
            series: None,
        });
        let digest = u128::from(first).to_le_bytes();
        stores.links.import(digest, [0; 32], batch.collect(), None).await.unwrap();
    }
}

async fn scan(stores: &Stores, n: u64) {
    let (mut after, mut seen) = (Id(0), 0);
    loop {
        let links = stores.links.scan(after, 10_000).await.unwrap();
        let Some(last) = links.last() else { break };
        after = last.id;
        seen += links.len() as u64;
    }
    assert_eq!(seen, n);
}

async fn clicks(store: &Embedded, stores: &Stores, n: u64, timer: &mut Timer) {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut flushes = Vec::new();
    for flush in 0..FLUSHES {
        let clicks = (0..FLUSH as u32).map(|serial| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = START.plus_millis(flush as i64 * 6_000 + (random % 6_000) as i64);
            click(id(random % n), at, serial)
        });
        flushes.push(segment(1, flush, clicks.collect()));
    }
    timer.skip();
    for flush in flushes {
        stores.clicks.flush(flush).await.unwrap();
    }
    timer.lap(&format!("{FLUSHES} flushes of {FLUSH} clicks, without what is folded behind"));
    let hundred: Vec<Id> = (0..100).map(|index| id(index * (n / 100))).collect();
    stores.clicks.totals(&hundred).await.unwrap();
    timer.lap("totals of 100 links, before folding");
    store.settle().await.unwrap();
    timer.lap("folding of what was left, and indexing of all texts");
    stores.clicks.totals(&hundred).await.unwrap();
    timer.lap("totals of 100 links");
    let (from, to) = (Timestamp(0), START.plus_millis(1 << 40));
    stores.stats.days(StatsOf::Link(hundred[3]), from, to).await.unwrap();
    timer.lap("days of a link");
    let hottest = stores.links.hottest(100_000).await.unwrap();
    timer.lap(&format!("hottest {} links", hottest.len()));
    let step = (n as usize / FLUSH).max(1);
    let spread = (0..n).step_by(step).map(|index| click(id(index), START.plus_millis(300_000), 1));
    let flush = segment(2, 0, spread.collect());
    timer.skip();
    stores.clicks.flush(flush).await.unwrap();
    timer.lap("one flush of 100,000 links");
    store.settle().await.unwrap();
    timer.lap("folding it");
}

fn click(link: Id, at: Timestamp, serial: u32) -> CountedClick {
    let visitor = u64::from(serial) << 32 | 1;
    CountedClick { link, at, serial, version: 1, visitor, ..CountedClick::default() }
}

fn segment(segment: u64, n: u64, mut clicks: Vec<CountedClick>) -> Arc<Vec<SegmentClicks>> {
    clicks.sort_by_key(|click| (click.link, click.at));
    let (segment, from_record, to_record) = (SegmentId(segment), n, n + 1);
    let flushed = SegmentClicks { segment, from_record, to_record, clicks, ..Default::default() };
    Arc::new(vec![flushed])
}

async fn lists(store: &Embedded, stores: &Stores, timer: &mut Timer) {
    let plain = LinkQuery { workspace: HOME, limit: 25, now: START, ..LinkQuery::default() };
    let text = |text: &str| LinkQuery { text: Some(text.into()), ..plain.clone() };
    let queries = [
        ("newest", plain.clone()),
        ("most clicked", LinkQuery { sort: LinkSort::ClicksDesc, ..plain.clone() }),
        ("by title", LinkQuery { sort: LinkSort::TitleAsc, ..plain.clone() }),
        ("a tag of one in 100", LinkQuery { tags: vec!["tag-7".into()], ..plain.clone() }),
        ("active ones", LinkQuery { state: Some(LinkState::Active), ..plain.clone() }),
        ("a rare text", text("item-77777")),
        ("a text of one in 100", text("campaign-42/")),
        ("a text of all", text("example.com")),
        ("two characters", text("qz")),
    ];
    for (name, query) in queries {
        let page = stores.links.list(&query).await.unwrap();
        timer.lap(&format!("list: {name}, {} found", page.total));
    }
    store.settle().await.unwrap();
}

async fn creates(stores: &Stores, n: u64, timer: &mut Timer) {
    for index in 0..1_000 {
        stores.links.claim(vec![link(n + index)], act()).await.unwrap();
    }
    timer.lap("1,000 creates, one after the other");
    let mut waiting = tokio::task::JoinSet::new();
    for index in 1_000..21_000 {
        if waiting.len() == 64 {
            waiting.join_next().await;
        }
        let (links, link) = (stores.links.clone(), link(n + index));
        waiting.spawn(async move { links.claim(vec![link], act()).await.unwrap() });
    }
    waiting.join_all().await;
    timer.lap("20,000 creates, 64 at a time");
}

/// What a create tells the audit log.
fn act() -> Option<Act> {
    Some(Act::on_command_line(HOME, START))
}

fn id(n: u64) -> Id {
    // 4 per millisecond, as an import makes them.
    Id((n / 4 + 1) << 22 | (n % 4))
}

fn link(n: u64) -> Link {
    let scrambled = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let code = format!("{}{:07x}", n % 10, scrambled >> 36);
    let at = START.plus_millis(n as i64 / 4);
    let key = LinkKey::new(DomainId::DEFAULT, Code::parse(&code.as_bytes()[..8]).unwrap());
    let target = format!(
        "https://shop.example.com/campaign-{}/item-{n}?ref={scrambled:x}&utm_source=mail",
        n % 100
    );
    Link {
        title: format!("Item {n}"),
        tags: vec![format!("tag-{}", n % 100)],
        created_via: CreatedVia::Import,
        created_by: Some(Id(3)),
        created_at: at,
        updated_at: at,
        ..Link::plain(id(n), HOME, key, Destination::from_stored(&target).unwrap())
    }
}

struct Timer {
    wall: Instant,
    cpu: u64,
}

impl Timer {
    fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu_ms() }
    }

    fn lap(&mut self, what: &str) {
        let (wall, cpu) = (self.wall.elapsed(), cpu_ms() - self.cpu);
        say(&format!("{:>9.1} ms wall {cpu:>7} ms cpu  {what}", wall.as_secs_f64() * 1e3));
        self.skip();
    }

    fn skip(&mut self) {
        *self = Self::start();
    }
}

/// Processor time of this process, all threads, in steps of 10 ms.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
    (fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap()) * 10
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
}
