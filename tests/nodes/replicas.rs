//! Three database nodes with every row on all of them, which go away one after the other: one that
//! is away costs nobody anything, two that are away cost what cannot be had without them, and all
//! is well again by itself when they are back.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join;
use reqwest::Method;
use serde_json::json;

use crate::clicks::Visitors;
use crate::cluster::{
    SOON, Shared, create_all, distinct, finish_after_trouble, installation_on_three, metric,
    some_at_once, tell, visit,
};
use crate::databases::Databases;
use crate::harness::{Answer, TestApp};

/// Links of each chapter that no node has in memory.
const COLD: usize = 40;
/// How many of them may be asked for in vain, once each, by whoever comes at a bad moment: the
/// node has 150 ms for each, on a machine that does other things as well.
const IN_VAIN_MAX: usize = COLD / 2;
/// Links that may be made at the second try while a node falls silent: whoever asks then waits
/// until its connections are given up, which is most of what a request may wait.
const REFUSED_MAX: usize = 1;
/// Claims that are under way when the quorum goes away.
const CLAIMS_AT_ONCE: usize = 8;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Two nodes that share three databases.
struct Town {
    nodes: [TestApp; 2],
    /// Codes that are there, by whoever was told so.
    made: BTreeSet<String>,
}

fn to(code: &str) -> String {
    format!("https://shop.example/{code}")
}

fn cold(chapter: &str) -> Vec<String> {
    (0..COLD).map(|n| format!("cold-{chapter}-{n}")).collect()
}

impl Town {
    /// Makes the links of all chapters, on the first node: the second does not have them.
    async fn furnish(&mut self, chapters: &[&str]) {
        for chapter in chapters {
            let links = cold(chapter).into_iter().map(|code| (code.clone(), to(&code)));
            create_all(&self.nodes[0], &links.collect::<Vec<_>>()).await;
            self.made.extend(cold(chapter));
        }
    }

    /// Asks the second node for the cold links of a chapter, each until it is redirected; answers
    /// how often it was not.
    async fn read_cold(&self, chapter: &str, visitors: &Visitors) -> usize {
        let loads = ["store=\"cql\"", "op=\"fetch_link\""];
        let n_loads = async || {
            metric(&self.nodes[1], "shunt_store_duration_seconds_count", &loads).await as usize
        };
        let (before, mut in_vain) = (n_loads().await, 0);
        let begun = Instant::now();
        for code in cold(chapter) {
            loop {
                let answer = self.nodes[1].get(&format!("/{code}")).await;
                if answer.status() != 503 {
                    answer.assert_found(&to(&code));
                    break;
                }
                in_vain += 1;
                assert!(begun.elapsed() < SOON, "{chapter}: {code} is not there after {in_vain}");
            }
        }
        assert!(n_loads().await >= before + COLD, "they were not cold");
        assert_eq!(visitors.n_refused(), 0, "links in memory were not served");
        tell(&format!("{chapter}: {in_vain} in vain, cold in {:?}", begun.elapsed()));
        in_vain
    }

    async fn create(&self, node: usize, code: &str) -> Answer {
        let body = json!({"alias": code, "destination": to(code)});
        self.nodes[node].api(Method::POST, "/links", Some(body)).await
    }

    async fn edit(&self, node: usize, code: &str, destination: &str) -> Answer {
        let (path, body) = (format!("/links/{code}"), json!({"destination": destination}));
        self.nodes[node].api(Method::PATCH, &path, Some(body)).await
    }

    /// Makes links on both nodes, changes each on the other one, and waits until both serve that.
    async fn write(&mut self, chapter: &str, refused_max: usize) {
        let (mut longest, mut n_refused) = (Duration::ZERO, 0);
        for n in 0..4 {
            let (here, there) = (n % 2, (n + 1) % 2);
            let code = format!("new-{chapter}-{n}");
            let begun = Instant::now();
            loop {
                let answer = self.create(here, &code).await;
                match answer.status() {
                    503 if n_refused < refused_max => n_refused += 1,
                    // By the try that nobody could answer.
                    409 if n_refused > 0 => break,
                    _ => {
                        answer.assert_status(201);
                        break;
                    }
                }
            }
            longest = longest.max(begun.elapsed());
            let changed = format!("{}/changed", to(&code));
            let begun = Instant::now();
            // It loads the link first, in as little time as a visitor has.
            loop {
                let answer = self.edit(there, &code, &changed).await;
                if answer.status() != 503 {
                    answer.assert_status(200);
                    break;
                }
                assert!(begun.elapsed() < SOON, "{code} cannot be changed");
            }
            longest = longest.max(begun.elapsed());
            for node in &self.nodes {
                let begun = Instant::now();
                while visit(node, &code).await.as_ref() != Some(&changed) {
                    assert!(begun.elapsed() < SOON, "{code} is not changed everywhere");
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
            self.made.insert(code);
        }
        tell(&format!("{chapter}: what was written took {longest:?} at most, {n_refused} in vain"));
    }

    /// Waits until links can be made on both nodes.
    async fn settle(&mut self, chapter: &str) {
        let begun = Instant::now();
        for node in 0..2 {
            let code = format!("settled-{chapter}-{node}");
            // It may be there from a try that nobody could answer.
            while !matches!(self.create(node, &code).await.status(), 201 | 409) {
                assert!(begun.elapsed() < SOON, "{chapter}: nothing can be made");
                tokio::time::sleep(LOOK_EVERY).await;
            }
            self.made.insert(code);
        }
        tell(&format!("{chapter}: settled after {:?}", begun.elapsed()));
    }

    /// Claims alias after alias on both nodes until `stop`, several at once; answers each with
    /// what either node was told.
    async fn claim_until(&self, stop: &AtomicBool, n_won: &AtomicUsize) -> Vec<(String, [u16; 2])> {
        let claim = async |node: usize, alias: &str| {
            let body = json!({"alias": alias, "destination": contested(alias, node)});
            self.nodes[node].api(Method::POST, "/links", Some(body)).await.status()
        };
        let aliases = (0..).map(|n| format!("claimed-{n}"));
        let aliases = aliases.take_while(|_| !stop.load(Ordering::Relaxed));
        some_at_once(aliases, CLAIMS_AT_ONCE, async |alias| {
            let (a, b) = join(claim(0, &alias), claim(1, &alias)).await;
            n_won.fetch_add(usize::from(a == 201 || b == 201), Ordering::Relaxed);
            (alias, [a, b])
        })
        .await
    }

    /// Each alias has one winner: whoever was told so, or one who was left in doubt, or whoever
    /// wants it now.
    async fn check_claims(&mut self, claims: Vec<(String, [u16; 2])>) {
        for (alias, answers) in claims {
            let again = self.create(0, &alias).await.status();
            let begun = Instant::now();
            let led = loop {
                let (a, b) =
                    join(visit(&self.nodes[0], &alias), visit(&self.nodes[1], &alias)).await;
                if a == b {
                    break a.expect("it is taken by now");
                }
                assert!(begun.elapsed() < SOON, "{alias} leads to {a:?} and {b:?}");
                tokio::time::sleep(LOOK_EVERY).await;
            };
            let told = format!("{alias} leads to {led:?} after {answers:?} and {again}");
            let winner = (0..2).find(|node| contested(&alias, *node) == led);
            match again {
                201 => assert_eq!(led, to(&alias), "{told}"),
                409 => assert!(winner.is_some(), "{told}"),
                _ => panic!("{told}"),
            }
            for (node, answer) in answers.into_iter().enumerate() {
                match answer {
                    201 => assert_eq!(winner, Some(node), "{told}"),
                    409 => assert_eq!(winner, Some(1 - node), "{told}"),
                    503 => (),
                    _ => panic!("{told}"),
                }
            }
            self.made.insert(alias);
        }
    }

    /// All codes that the API lists.
    async fn listed(&self) -> BTreeSet<String> {
        let (mut all, mut path) = (Vec::new(), "/links?limit=100".to_owned());
        loop {
            let page = self.nodes[1].api(Method::GET, &path, None).await.assert_status(200).json();
            let links = page["data"].as_array().expect("a page");
            all.extend(links.iter().map(|link| link["code"].as_str().expect("a code").to_owned()));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("/links?limit=100&cursor={cursor}");
        }
        let n_all = all.len();
        let listed = distinct(all);
        assert_eq!(listed.len(), n_all, "some are listed twice");
        listed
    }
}

fn contested(alias: &str, node: usize) -> String {
    format!("{}/{node}", to(alias))
}

async fn lose_the_quorum(town: &Town, databases: &Databases) -> Vec<(String, [u16; 2])> {
    let (stop, n_won) = (AtomicBool::new(false), AtomicUsize::new(0));
    let fall_silent = async {
        while n_won.load(Ordering::Relaxed) < 2 * CLAIMS_AT_ONCE {
            tokio::task::yield_now().await;
        }
        databases.silence(3);
        stop.store(true, Ordering::Relaxed);
    };
    join(town.claim_until(&stop, &n_won), fall_silent).await.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_database_nodes_one_may_be_away_and_two_cost_no_more_than_they_must() {
    let begun = Instant::now();
    let (databases, installation) = installation_on_three().await;
    tell(&format!("three databases and a schema after {:?}", begun.elapsed()));
    let points = databases.contact_points();
    let shared = Shared { cql: &points, redis: None };
    let nodes = [installation.node(&shared).await, installation.node(&shared).await];
    let mut town = Town { nodes, made: BTreeSet::new() };
    town.furnish(&["well", "silent", "killed", "refused", "back"]).await;
    tell(&format!("furnished after {:?}", begun.elapsed()));
    let visitors = Visitors::of("hot", &town.nodes).await;
    for link in visitors.codes() {
        for node in &town.nodes {
            visit(node, &link).await.expect("it is there");
        }
        town.made.insert(link);
    }
    visitors.were_redirected(town.nodes.len() as u64);

    let chapters = async {
        town.read_cold("well", &visitors).await;
        town.write("well", 0).await;

        // The driver takes it for one that is there, and so do the others.
        databases.silence(2);
        let in_vain = town.read_cold("silent", &visitors).await;
        assert!(in_vain <= IN_VAIN_MAX, "{in_vain} of {COLD} visits were in vain");
        town.write("silent", REFUSED_MAX).await;
        databases.go_on(2);

        // The contact point that is named first, and does not come back for long.
        databases.kill_first();
        town.settle("killed").await;
        town.read_cold("killed", &visitors).await;
        town.write("killed", 0).await;
        // One more node starts, and finds the others by those that are left.
        let late = installation.node(&shared).await;
        assert_eq!(visit(&late, "new-killed-0").await, Some(to("new-killed-0") + "/changed"));
        finish_after_trouble([late]).await;

        let claims = lose_the_quorum(&town, &databases).await;
        tell(&format!("{} claims, told {:?}", claims.len(), distinct(claims.iter().map(|c| c.1))));
        assert!(claims.iter().any(|(_, told)| told.contains(&503)), "nobody was left in doubt");
        for code in cold("refused").iter().take(5) {
            let answer = town.nodes[1].get(&format!("/{code}")).await;
            assert!(answer.assert_status(503).header("retry-after").is_some(), "{code}");
        }
        let (made, edited) = join(
            town.create(0, "refused"),
            town.edit(1, "new-killed-0", "https://shop.example/refused"),
        )
        .await;
        made.assert_status(503);
        edited.assert_status(503);
        visitors.redirect(100).await;
        assert_eq!(visitors.n_refused(), 0, "links in memory were not served");

        // It makes a quorum again, with the one that was there all the time.
        databases.start_first_again();
        town.settle("back").await;
        databases.go_on(3);
        town.read_cold("back", &visitors).await;
        town.write("back", 0).await;
        claims
    };
    let claims = visitors.click_during(chapters).await;
    assert_eq!(visitors.n_refused(), 0, "links in memory were not served");
    town.check_claims(claims).await;
    visitors.check(&town.nodes).await;
    // What was refused is nowhere, what was made is everywhere.
    assert_eq!(visit(&town.nodes[1], "refused").await, None);
    let kept = Some(to("new-killed-0") + "/changed");
    assert_eq!(visit(&town.nodes[0], "new-killed-0").await, kept);
    assert_eq!(town.listed().await, town.made);
    finish_after_trouble(town.nodes).await;
    drop(databases);
}
