//! Statistics tell of every redirect that was answered, through the death of a node and through a
//! database that goes away.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;

use crate::cluster::{
    SOON, Shared, create_all, finish, finish_after_trouble, installation, metric_of_all,
    some_at_once, tell, visit,
};
use crate::harness::TestApp;
use crate::services::services;
use crate::wire::{Weather, Wire};

const LINKS: usize = 6;
const VISITORS: usize = 6;
/// Between two visits of one visitor, and between two looks.
const PAUSE: Duration = Duration::from_millis(2);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// People who click, and keep count of it.
pub(crate) struct Visitors {
    client: reqwest::Client,
    name: &'static str,
    /// Nodes, which may die and come back elsewhere.
    urls: Mutex<Vec<String>>,
    links: [Visits; LINKS],
    stop: AtomicBool,
}

/// What became of the visits to one link.
#[derive(Debug, Default)]
struct Visits {
    redirected: AtomicU64,
    /// Nobody knows whether the node had answered.
    unknown: AtomicU64,
    refused: AtomicU64,
}

impl Visitors {
    pub(crate) async fn of(name: &'static str, nodes: &[TestApp]) -> Arc<Self> {
        let code = |n| format!("{name}-{n}");
        let links: Vec<_> =
            (0..LINKS).map(|n| (code(n), format!("https://shop.example/{n}"))).collect();
        create_all(&nodes[0], &links).await;
        let client =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        Arc::new(Self {
            client: client.build().unwrap(),
            name,
            urls: Mutex::new(nodes.iter().map(|node| node.url.clone()).collect()),
            links: Default::default(),
            stop: AtomicBool::new(false),
        })
    }

    fn code(&self, link: usize) -> String {
        format!("{}-{link}", self.name)
    }

    /// One of them, until all are told to stop.
    async fn click(self: Arc<Self>, first: usize) {
        for n in first.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let link = n % LINKS;
            let url = {
                let urls = self.urls.lock().unwrap();
                format!("{}/{}", urls[n / LINKS % urls.len()], self.code(link))
            };
            let visits = &self.links[link];
            let became = match self.client.get(url).send().await {
                Ok(answer) if answer.status() == 302 => &visits.redirected,
                Ok(_) => &visits.refused,
                // It never got there.
                Err(error) if error.is_connect() => continue,
                Err(_) => &visits.unknown,
            };
            became.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// They click while something else happens.
    pub(crate) async fn click_during<T>(self: &Arc<Self>, what: impl Future<Output = T>) -> T {
        let all = (0..VISITORS).map(|n| tokio::spawn(Arc::clone(self).click(n)));
        let all: Vec<_> = all.collect();
        let done = what.await;
        self.stop.store(true, Ordering::Relaxed);
        for one in join_all(all).await {
            one.unwrap();
        }
        done
    }

    /// What they visit.
    pub(crate) fn codes(&self) -> Vec<String> {
        (0..LINKS).map(|link| self.code(link)).collect()
    }

    /// Somebody else visited each link so often.
    pub(crate) fn were_redirected(&self, n: u64) {
        for visits in &self.links {
            visits.redirected.fetch_add(n, Ordering::Relaxed);
        }
    }

    pub(crate) fn n_refused(&self) -> u64 {
        self.sum(|visits| &visits.refused)
    }

    fn sum(&self, of: fn(&Visits) -> &AtomicU64) -> u64 {
        self.links.iter().map(|visits| of(visits).load(Ordering::Relaxed)).sum()
    }

    /// Waits until nothing is on its way any more; then each link has as many clicks as it was
    /// redirected, and those of which nobody knows or not.
    pub(crate) async fn check(&self, nodes: &[TestApp]) {
        let begun = Instant::now();
        for (n, visits) in self.links.iter().enumerate() {
            let redirected = visits.redirected.load(Ordering::Relaxed);
            loop {
                let told = clicks(&nodes[n % nodes.len()], &self.code(n)).await;
                if told.is_some_and(|told| told >= redirected) {
                    break;
                }
                assert!(begun.elapsed() < SOON, "{told:?} clicks of {visits:?}");
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        for name in ["shunt_clicks_in_journal", "shunt_journal_lag_milliseconds"] {
            while metric_of_all(nodes, name, &[]).await > 0.0 {
                assert!(begun.elapsed() < SOON, "{name} stays");
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        for (n, visits) in self.links.iter().enumerate() {
            let redirected = visits.redirected.load(Ordering::Relaxed);
            let most = redirected + visits.unknown.load(Ordering::Relaxed);
            for node in nodes {
                let told = clicks(node, &self.code(n)).await.expect("it told before");
                assert!((redirected..=most).contains(&told), "{told} clicks of {visits:?}");
            }
        }
        tell(&format!(
            "{}: {} clicks are told of, {} more may be",
            self.name,
            self.sum(|visits| &visits.redirected),
            self.sum(|visits| &visits.unknown)
        ));
    }

    /// Waits until so many more visitors were redirected.
    pub(crate) async fn redirect(&self, n: u64) {
        let before = self.sum(|visits| &visits.redirected);
        let begun = Instant::now();
        while self.sum(|visits| &visits.redirected) < before + n {
            assert!(begun.elapsed() < SOON, "nobody is redirected");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// As the statistics of a link tell. `None`: the database is not there to ask.
async fn clicks(node: &TestApp, code: &str) -> Option<u64> {
    let answer = node.api(Method::GET, &format!("/links/{code}/stats"), None).await;
    match answer.status() {
        503 => None,
        _ => answer.assert_status(200).json()["summary"]["clicks"].as_u64(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_loses_no_click() {
    let installation = installation().await;
    let nodes = installation.three(&Shared::database_and_redis()).await;
    let visitors = Visitors::of("killed", &nodes).await;
    let [victim, second, third] = nodes;
    let kill_twice = async {
        let mut victim = victim;
        for _ in 0..2 {
            visitors.redirect(800).await;
            let killed = victim.kill();
            visitors.redirect(300).await;
            victim = killed.start().await;
            visitors.urls.lock().unwrap()[0].clone_from(&victim.url);
        }
        visitors.redirect(300).await;
        victim
    };
    let victim = visitors.click_during(kill_twice).await;
    assert_eq!(visitors.sum(|visits| &visits.refused), 0);
    let nodes = [victim, second, third];
    visitors.check(&nodes).await;
    finish(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_loses_no_click_and_no_redirect() {
    /// For which the database is away.
    const AWAY: Duration = Duration::from_secs(4);
    let installation = installation().await;
    let wire = Wire::to(&services().cql).await;
    let shared = Shared { cql: &wire.address, ..Shared::database_and_redis() };
    let nodes = installation.three(&shared).await;
    let visitors = Visitors::of("away", &nodes).await;
    // What is to be served without the database must be in memory; these are clicks as well.
    let all = nodes.iter().flat_map(|node| (0..LINKS).map(move |link| (node, link)));
    some_at_once(all, LINKS, async |(node, link)| {
        visit(node, &visitors.code(link)).await.unwrap();
        visitors.links[link].redirected.fetch_add(1, Ordering::Relaxed);
    })
    .await;
    let go_away = async {
        visitors.redirect(300).await;
        wire.turn(Weather::Cut);
        let cut = Instant::now();
        while cut.elapsed() < AWAY {
            visitors.redirect(100).await;
        }
        wire.turn(Weather::Fair);
        visitors.redirect(300).await;
    };
    visitors.click_during(go_away).await;
    assert_eq!(visitors.sum(|visits| &visits.refused), 0, "links in memory were not served");
    assert_eq!(visitors.sum(|visits| &visits.unknown), 0);
    visitors.check(&nodes).await;
    finish_after_trouble(nodes).await;
}
