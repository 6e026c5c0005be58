//! A change on one node is served by the others within the bound, whatever becomes of Redis.
//!
//! Who watches is one more node: it follows the feeds themselves, and asks all nodes all the time.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join3;
use reqwest::Method;
use serde_json::json;
use shunt::app::SystemClock;
use shunt::domain::code::{Code, DomainId, LinkKey};
use shunt::domain::destination::Destination;
use shunt::domain::id::Id;
use shunt::domain::link::Link;
use shunt::storage::cache::{Cached, LinkCache as _};
use shunt::storage::feed::ChangeFeed;
use shunt::storage::redis::{RedisFeed, RedisLinks};
use shunt::storage::scylla::CqlFeed;
use shunt::storage::{Claim, Replace};

use crate::cluster::{
    Installation, SOON, Shared, create_all, finish, installation, metric, some_at_once, tell, visit,
};
use crate::harness::TestApp;
use crate::ledger::{Acknowledged, Answered, Heard, Ledger};
use crate::redis_server::RedisServer;
use crate::redis_wire::RedisWire;
use crate::services::services;

/// Within which a change must be served: five seconds, and a load on a machine that is busy.
const BOUND: Duration = Duration::from_secs(6);
const LINKS: usize = 12;
/// Between two questions to a node, and between two changes of an editor.
const PAUSE: Duration = Duration::from_millis(2);
const EDIT_PAUSE: Duration = Duration::from_millis(25);

/// Three nodes, and everything that was seen of them.
struct Watched {
    nodes: [TestApp; 3],
    ledger: Mutex<Ledger>,
    serials: Mutex<[u32; LINKS]>,
}

impl Watched {
    /// Asks one node for one link.
    async fn ask(&self, node: usize, link: usize) -> Option<u32> {
        let asked = Instant::now();
        let answer = self.nodes[node].get(&format!("/{}", code(link))).await;
        // Of a link in memory it does not come to that; others are not what is looked at here.
        let location = answer.header("location")?;
        let serial = location.rsplit('/').next()?.parse().expect("a serial");
        let answered = Answered { link, serial, node, asked };
        self.ledger.lock().unwrap().answered.push(answered);
        Some(serial)
    }

    /// Asks one node for all links, without end.
    async fn poll(&self, node: usize) {
        loop {
            for link in 0..LINKS {
                self.ask(node, link).await;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Follows a feed as a node does, without end.
    async fn follow(&self, feed: &dyn ChangeFeed) {
        loop {
            let Ok(news) = feed.next().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let at = Instant::now();
            let heard = news.changes.iter().filter_map(|change| {
                let link = change.key.code.as_str().strip_prefix("watched-")?.parse().ok()?;
                Some(Heard { link, version: change.version?, at })
            });
            self.ledger.lock().unwrap().heard.extend(heard);
        }
    }

    /// Changes a link, each time on another node, until it is told that this is done.
    async fn edit(&self, link: usize) {
        let serial = {
            let mut serials = self.serials.lock().unwrap();
            serials[link] += 1;
            serials[link]
        };
        let node = (serial as usize + link) % 3;
        let (path, body) =
            (format!("/links/{}", code(link)), json!({"destination": to(link, serial)}));
        let begun = Instant::now();
        let version = loop {
            let answer = self.nodes[node].api(Method::PATCH, &path, Some(body.clone())).await;
            if answer.status() == 200 {
                break answer.json()["version"].as_u64().expect("a version") as u32;
            }
            assert_eq!(answer.status(), 503, "{}", answer.text());
            assert!(begun.elapsed() < SOON, "no change is made");
        };
        let at = Instant::now();
        let change = Acknowledged { link, serial, version, node, at };
        self.ledger.lock().unwrap().acknowledged.push(change);
    }

    /// Changes links for some time, then waits until all nodes serve what became of them.
    async fn edit_for(&self, what: &str, time: Duration) {
        let from = Instant::now();
        let editor = async |links: std::ops::Range<usize>| {
            for link in links.cycle() {
                if from.elapsed() > time {
                    return;
                }
                self.edit(link).await;
                tokio::time::sleep(EDIT_PAUSE).await;
            }
        };
        join3(editor(0..4), editor(4..8), editor(8..LINKS)).await;
        let edited = Instant::now();
        for link in 0..LINKS {
            let newest = self.serials.lock().unwrap()[link];
            for node in 0..3 {
                while self.ask(node, link).await != Some(newest) {
                    assert!(edited.elapsed() < BOUND * 2, "node {node} stays behind: {what}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        let ledger = self.ledger.lock().unwrap();
        let n_edits = ledger.acknowledged.iter().filter(|change| change.at >= from).count();
        let [half, most, all] = ledger.served_after(from, edited);
        tell(&format!(
            "{what}: {n_edits} changes, served by others after {half:.1?} (half of them), \
             {most:.1?} (99 %), {all:.1?} (all)"
        ));
    }

    /// Whether every node heard more by way of Redis than `before`.
    async fn hears_redis(&self, before: [f64; 3]) -> bool {
        let now = heard_by_redis(&self.nodes).await;
        now.iter().zip(before).all(|(now, before)| *now > before)
    }
}

fn code(link: usize) -> String {
    format!("watched-{link}")
}

fn to(link: usize, serial: u32) -> String {
    format!("https://shop.example/{link}/{serial}")
}

/// Changes that each node heard of by way of Redis.
async fn heard_by_redis(nodes: &[TestApp; 3]) -> [f64; 3] {
    let [a, b, c] =
        nodes.each_ref().map(|node| metric(node, "shunt_changes_heard_total", &["feed=\"redis\""]));
    <[f64; 3]>::from(join3(a, b, c).await)
}

/// The feeds as one more node hears them, from now on.
async fn feeds(installation: &Installation, redis: &str) -> [Arc<dyn ChangeFeed>; 2] {
    let cql = installation.open(&services().cql).await;
    let cql = CqlFeed::new(cql, Arc::new(SystemClock)).unwrap();
    let redis = RedisFeed::new(installation.redis(redis));
    cql.next().await.unwrap();
    redis.next().await.unwrap();
    [Arc::new(cql), Arc::new(redis)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_older_than_the_bound_with_redis_and_without() {
    let installation = installation().await;
    let mut redis = RedisServer::start();
    let wire = RedisWire::to(redis.port()).await;
    let shared = Shared { redis: Some(&wire.url), ..Shared::database() };
    let nodes = installation.three(&shared).await;
    let links: Vec<_> = (0..LINKS).map(|link| (code(link), to(link, 0))).collect();
    create_all(&nodes[0], &links).await;
    for node in &nodes {
        some_at_once(&links, LINKS, async |(code, _)| visit(node, code).await.unwrap()).await;
    }
    let watched = Watched { nodes, ledger: Mutex::default(), serials: Mutex::default() };
    let [cql_feed, redis_feed] = feeds(&installation, &wire.url).await;

    let script = async {
        let before = heard_by_redis(&watched.nodes).await;
        watched.edit_for("with Redis", Duration::from_secs(3)).await;
        assert!(watched.hears_redis(before).await, "the feed in Redis is of no use");

        wire.swallow(true);
        watched.edit_for("with a Redis whose feed is mute", Duration::from_secs(4)).await;
        // What was swallowed nobody ever hears of.
        redis.command(&["xtrim", &format!("{}:feed", installation.keyspace), "maxlen", "0"]);
        wire.swallow(false);

        redis.kill();
        watched.edit_for("without Redis", Duration::from_secs(4)).await;
        redis.run();
        let (begun, before) = (Instant::now(), heard_by_redis(&watched.nodes).await);
        while !watched.hears_redis(before).await {
            assert!(begun.elapsed() < SOON, "a new Redis is of no use");
            watched.edit_for("with a new Redis", EDIT_PAUSE * 20).await;
        }
        // Nodes may serve what who watches them has yet to hear of.
        let begun = Instant::now();
        while begun.elapsed() < BOUND && !watched.ledger.lock().unwrap().all_is_heard_of() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    let polls = join3(watched.poll(0), watched.poll(1), watched.poll(2));
    let follow = async { tokio::join!(watched.follow(&*cql_feed), watched.follow(&*redis_feed)) };
    tokio::select! {
        () = script => (),
        _ = polls => unreachable!("they have no end"),
        _ = follow => unreachable!("they have no end"),
    }

    let ledger = watched.ledger.into_inner().unwrap();
    tell(&format!("{} answers looked at", ledger.answered.len()));
    let offences = ledger.offences(BOUND);
    assert!(offences.is_empty(), "{} offences, such as {}", offences.len(), offences[0]);
    finish(watched.nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_changed_before_it_died_the_others_put_into_redis() {
    const CODE: &str = "left-behind";
    let installation = installation().await;
    let redis = RedisServer::start();
    let url = redis.url();
    let node = installation.node(&Shared { redis: Some(&url), ..Shared::database() }).await;
    // The other one, which is nothing but what it writes.
    let cql = installation.open(&services().cql).await;
    let (links, feed) = (cql.stores(900).links, CqlFeed::new(cql, Arc::new(SystemClock)).unwrap());
    let cache = RedisLinks::new(installation.redis(&url));
    let key = LinkKey::new(DomainId::DEFAULT, Code::parse(CODE.as_bytes()).unwrap());
    let leads = |serial| Destination::from_stored(&to(0, serial)).unwrap();
    let made = Link::plain(Id(1 << 39), Id(1), key, leads(0));
    assert_eq!(links.claim(vec![made.clone()], None).await.unwrap(), [Claim::Won]);
    let begun = Instant::now();
    while cache.put(&key, Some(&made)).await.is_err() {
        assert!(begun.elapsed() < SOON, "Redis is not there");
    }
    feed.prepare(&[key]).await.unwrap();
    let changed = Link { destination: leads(1), version: made.version + 1, ..made };
    assert_eq!(links.replace(changed.clone(), None).await.unwrap(), Replace::Done);
    // Here it dies. The node has never seen the link.
    let begun = Instant::now();
    while !matches!(cache.look(&key, 0).await, Cached::Link(link) if *link == changed) {
        assert!(begun.elapsed() < SOON, "nodes would be given what the link was before");
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!(visit(&node, CODE).await, Some(to(0, 1)));
    finish([node]).await;
}
