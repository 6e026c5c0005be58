//! The embedded store answers what the store in memory answers, whatever is flushed, folded,
//! erased and asked.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use shunt::domain::click::ClickFlags;
use shunt::domain::code::DomainId;
use shunt::domain::counted::{CountedClick, SegmentClicks, Surplus};
use shunt::domain::day::{DayStats, Parts};
use shunt::domain::id::Id;
use shunt::domain::link::{Link, LinkStatus};
use shunt::domain::time::Timestamp;
use shunt::storage::embedded::verify::verify;
use shunt::storage::embedded::{Embedded, Mode};
use shunt::storage::memory::MemoryStore;
use shunt::storage::secrets::Secrets;
use shunt::storage::{EventQuery, StatsOf, Stores};

use crate::make::{Flush, HOME, click, link, next};
use crate::tell::{Told, ask};

/// Around here, clicks come.
const MIDNIGHT: i64 = 20_500 * 86_400_000;
const HOUR: i64 = 3_600_000;
const LINKS: usize = 12;
/// Links that there are at first.
const LINKS_AT_FIRST: usize = 9;

#[derive(Clone, Debug)]
struct Shape {
    link: usize,
    at: i64,
    flags: u8,
    visitor: u8,
    words: [u8; 5],
    version: u8,
}

#[derive(Clone, Debug)]
enum Step {
    /// Clicks, some of them together as a surplus row, and whether the flush is sent twice.
    Flush {
        clicks: Vec<Shape>,
        surplus: Vec<Vec<Shape>>,
        again: bool,
    },
    Settle,
    Reopen,
    Erase(usize),
    Delete(usize),
    /// Gives a link the tag or takes it off.
    Retag(usize),
    /// Makes the next link.
    Claim,
    MakeAhead,
    Ask(Vec<Question>),
}

#[derive(Clone, Debug)]
struct Question {
    of: u8,
    from: i64,
    to: i64,
    cuts: Vec<i64>,
    limit: u32,
    bots: Option<bool>,
}

/// A time within two days of midnight; often on the hour, or a millisecond beside.
fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        -40 * HOUR..40 * HOUR,
        (-40_i64..40, -1_i64..=1).prop_map(|(hour, beside)| hour * HOUR + beside),
        (-2_i64..=2, -1_i64..=1).prop_map(|(day, beside)| day * 24 * HOUR + beside),
        // Midnight in a few zones.
        (-2_i64..=1, 0_usize..3).prop_map(|(day, zone)| {
            day * 24 * HOUR + [5 * HOUR, 37 * HOUR / 2, 73 * HOUR / 4][zone]
        }),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    (0..LINKS, time(), 0..16_u8, 0..6_u8, any::<[u8; 5]>(), 1..4_u8).prop_map(
        |(link, at, flags, visitor, words, version)| Shape {
            link,
            at,
            flags,
            visitor,
            words,
            version,
        },
    )
}

fn question() -> impl Strategy<Value = Question> {
    let cuts = prop::collection::vec(time(), 0..4);
    (any::<u8>(), time(), time(), cuts, 1..20_u32, any::<Option<bool>>()).prop_map(
        |(of, a, b, cuts, limit, bots)| Question {
            of,
            from: a.min(b),
            to: a.max(b),
            cuts,
            limit,
            bots,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let rows = prop::collection::vec(prop::collection::vec(shape(), 1..4), 0..3);
    let flush = (prop::collection::vec(shape(), 0..40), rows, any::<bool>())
        .prop_map(|(clicks, surplus, again)| Step::Flush { clicks, surplus, again });
    prop_oneof![
        6 => flush,
        3 => prop::collection::vec(question(), 1..4).prop_map(Step::Ask),
        2 => Just(Step::Settle),
        1 => Just(Step::Reopen),
        1 => (0..LINKS).prop_map(Step::Erase),
        1 => (0..LINKS).prop_map(Step::Delete),
        1 => (0..LINKS).prop_map(Step::Retag),
        1 => Just(Step::Claim),
        1 => Just(Step::MakeAhead),
    ]
}

fn links() -> Vec<Link> {
    let one = |n: usize| Link {
        // One that is made later has an older id than all others.
        id: Id(if n == 10 { 500 } else { 1_000 + n as u64 * 7 }),
        workspace: if n % 4 == 3 { Id(78) } else { HOME },
        domain: DomainId(n as u32 % 2),
        tags: if n.is_multiple_of(3) { vec!["red".into()] } else { Vec::new() },
        ..link(&format!("model{n}"))
    };
    (0..LINKS).map(one).collect()
}

fn word(flush: &mut Flush, byte: u8, texts: &[&[&str]]) -> shunt::domain::words::Word {
    flush.word(texts[byte as usize % texts.len()])
}

/// Links that are not made yet have no clicks.
fn made(flush: &mut Flush, shape: &Shape, serial: u32, links: &[Link]) -> CountedClick {
    let [agent, place, referrer, language, utm] = shape.words;
    CountedClick {
        version: shape.version.into(),
        flags: ClickFlags(shape.flags),
        visitor: u64::from(shape.visitor) << 40,
        agent: word(flush, agent, &[&[], &["mobile", "iOS"], &["desktop", "", "Opera"]]),
        place: word(flush, place, &[&[], &["EU", "DE", "", "Köln"], &["EU", "FR"]]),
        referrer: word(flush, referrer, &[&[], &["a.example", "https://a"], &["a.example"]]),
        language: word(flush, language, &[&[], &["de"], &["fr"]]),
        utm: word(flush, utm, &[&[], &["mail"], &["", "", "spring"]]),
        ..click(links[shape.link % links.len()].id, Timestamp(MIDNIGHT + shape.at), serial)
    }
}

fn segment(step: (&[Shape], &[Vec<Shape>]), links: &[Link], n: u64) -> SegmentClicks {
    let (clicks, rows) = step;
    let mut flush = Flush::default();
    for (serial, shape) in (0..).zip(clicks) {
        let one = made(&mut flush, shape, n as u32 * 1_000 + serial, links);
        flush.clicks.push(one);
    }
    for row in rows {
        // One link and minute, whatever the others say.
        let first = &row[0];
        let same = |shape: &Shape| Shape { link: first.link, at: first.at, ..shape.clone() };
        let clicks: Vec<_> =
            row.iter().map(|shape| made(&mut flush, &same(shape), 0, links)).collect();
        let (mut stats, words) = (DayStats::default(), flush.lexicon.words().clone());
        stats.add(&clicks, &mut Parts::new(&words), &mut flush.lexicon);
        let minute = clicks[0].at.minute();
        flush.surplus.push(Surplus { link: clicks[0].link, minute, stats });
    }
    flush.of(n % 3, n / 3, n / 3 + 1)
}

impl Question {
    fn of(&self, links: &[Link]) -> StatsOf {
        let workspace = |tag: Option<&str>, domain| StatsOf::Workspace {
            id: HOME,
            tag: tag.map(str::to_owned),
            domain,
        };
        match self.of % 8 {
            0 | 1 => workspace(None, None),
            2 | 3 => workspace(Some("red"), None),
            4 => workspace(None, Some(DomainId(1))),
            _ => StatsOf::Link(links[self.of as usize % LINKS].id),
        }
    }

    async fn ask(&self, stores: &Stores, links: &[Link]) -> impl PartialEq + std::fmt::Debug {
        let (from, to) = (Timestamp(MIDNIGHT + self.from), Timestamp(MIDNIGHT + self.to));
        let of = self.of(links);
        let told: Told = ask(stores, of.clone(), from, to).await;
        let mut bounds: Vec<i64> = self.cuts.clone();
        bounds.extend([self.from, self.to]);
        bounds.sort_unstable();
        let bounds = bounds.into_iter().map(|cut| Timestamp(MIDNIGHT + cut)).collect();
        let buckets = stores.stats.buckets(of, bounds).await.unwrap();
        let link = links[self.of as usize % LINKS].id;
        let query = EventQuery { link, from, to, before: None, bots: self.bots, limit: self.limit };
        let events = stores.stats.events(query).await.unwrap();
        let before = events.last().map(|event| event.id);
        let more = stores.stats.events(EventQuery { before, ..query }).await.unwrap();
        let ids: Vec<Id> = links.iter().map(|link| link.id).collect();
        let totals = stores.clicks.totals(&ids).await.unwrap();
        (told, buckets, events, more, totals)
    }
}

async fn prepare(stores: &Stores, links: &[Link]) {
    stores.links.claim(links.to_vec(), None).await.unwrap();
}

async fn run(path: &Path, steps: &[Step]) {
    let memory = MemoryStore::new();
    Secrets::open_or_create(path).unwrap();
    let mut store = Embedded::open(path, Mode::Create).unwrap();
    let mut links = links();
    let mut n_links = LINKS_AT_FIRST;
    prepare(&memory, &links[..n_links]).await;
    prepare(&store.stores(), &links[..n_links]).await;
    // After the steps, everything is asked once more.
    let whole = |of| Question {
        of,
        from: -100 * HOUR,
        to: 100 * HOUR,
        cuts: vec![0],
        limit: 1_000,
        bots: None,
    };
    let last = [Step::Settle, Step::Ask((0..24).map(whole).collect())];
    for (n, step) in steps.iter().chain(&last).enumerate() {
        let both = [memory.clone(), store.stores()];
        match step {
            Step::Flush { clicks, surplus, again } => {
                // Three segments take turns; each goes on where it was.
                let mut n = 0;
                for stores in &both {
                    n = 0;
                    for segment in 0..3 {
                        let id = shunt::domain::click::SegmentId(segment);
                        n += stores.clicks.resume(id).await.unwrap().covered;
                    }
                }
                let sent = Arc::new(vec![segment((clicks, surplus), &links[..n_links], n)]);
                for stores in &both {
                    stores.clicks.flush(Arc::clone(&sent)).await.unwrap();
                    if *again {
                        stores.clicks.flush(Arc::clone(&sent)).await.unwrap();
                    }
                }
            }
            Step::Settle => store.settle().await.unwrap(),
            Step::Reopen => {
                store.close();
                store = Embedded::open(path, Mode::Existing).unwrap();
            }
            Step::Erase(at) => {
                for stores in &both {
                    stores.clicks.erase(links[*at].id, None).await.unwrap();
                }
            }
            Step::Delete(at) => {
                let at = at % n_links;
                links[at] = Link { status: LinkStatus::Deleted, ..next(&links[at]) };
                for stores in &both {
                    stores.links.replace(links[at].clone(), None).await.unwrap();
                }
            }
            Step::Retag(at) => {
                let at = at % n_links;
                if links[at].status != LinkStatus::Deleted {
                    let was_red = !links[at].tags.is_empty();
                    let tags = if was_red { Vec::new() } else { vec!["red".into()] };
                    links[at] = Link { tags, ..next(&links[at]) };
                    for stores in &both {
                        stores.links.replace(links[at].clone(), None).await.unwrap();
                    }
                }
            }
            Step::Claim if n_links < LINKS => {
                for stores in &both {
                    prepare(stores, &links[n_links..=n_links]).await;
                }
                n_links += 1;
            }
            Step::Claim => (),
            Step::MakeAhead => {
                store.make_all_ahead().await.unwrap();
            }
            Step::Ask(questions) => {
                for question in questions {
                    let expected = question.ask(&both[0], &links).await;
                    let found = question.ask(&both[1], &links).await;
                    assert_eq!(found, expected, "step {n}: {question:?}");
                }
            }
        }
    }
    let report = verify(path).unwrap();
    assert!(report.is_sound(), "{report:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_embedded_store_answers_as_the_one_in_memory(
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
        let folder = tempfile::tempdir().unwrap();
        runtime.unwrap().block_on(run(folder.path(), &steps));
    }
}
