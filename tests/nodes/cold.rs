//! Nodes that know nothing yet, and a herd that wants everything at once, cost the database one
//! read for each link: of each node, or with Redis of all nodes together.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use shunt::domain::code::{Code, DomainId, LinkKey};
use shunt::domain::destination::Destination;
use shunt::domain::id::Id;
use shunt::domain::link::Link;
use shunt::storage::{Claim, LinkStore};

use crate::cluster::{
    Shared, finish, installation_alone, metric_of_all, some_at_once, tell, visit,
};
use crate::harness::TestApp;
use crate::services::services;

const LINKS: usize = 200;
/// Visitors of one node who want the same link at the same moment.
const HERD: usize = 5;
/// Links that are wanted at the same moment.
const AT_ONCE: usize = 2;
/// Reads for one that is necessary.
const READS_MAX: f64 = 1.05;
/// Who waits for a load of somebody else has patience for a tenth of a second, which a machine that
/// is busy with other things may take longer for. Of so many rounds one must be good.
const ROUNDS: usize = 5;

/// Links that no node has heard of, put into the database by nobody.
async fn plant(store: &dyn LinkStore, name: &str) -> Vec<String> {
    let codes: Vec<String> = (0..LINKS).map(|n| format!("{name}-{n}")).collect();
    let link = |code: &String| {
        let key = LinkKey::new(DomainId::DEFAULT, Code::parse(code.as_bytes()).unwrap());
        let destination = Destination::from_stored(&to(code)).unwrap();
        // Of long ago, when no node made any.
        static NEXT: AtomicU64 = AtomicU64::new(1 << 40);
        Link::plain(Id(NEXT.fetch_add(1, Ordering::Relaxed)), Id(1), key, destination)
    };
    let claims = store.claim(codes.iter().map(link).collect(), None).await.unwrap();
    assert!(claims.iter().all(|claim| *claim == Claim::Won));
    codes
}

fn to(code: &str) -> String {
    format!("https://shop.example/{code}")
}

/// Everybody wants every link; answers how often the database was asked.
async fn stampede(nodes: &[TestApp], codes: &[String]) -> f64 {
    let loads = ["store=\"cql\"", "op=\"fetch_link\""];
    let name = "shunt_store_duration_seconds_count";
    let before = metric_of_all(nodes, name, &loads).await;
    some_at_once(codes, AT_ONCE, async |code| {
        let herd = nodes.iter().flat_map(|node| std::iter::repeat_n(node, HERD));
        let led = join_all(herd.map(|node| visit(node, code))).await;
        assert!(led.iter().all(|led| led.as_ref() == Some(&to(code))), "{code}: {led:?}");
    })
    .await;
    metric_of_all(nodes, name, &loads).await - before
}

/// Fails unless a cold start costs at most that many reads for each link, in one of some rounds.
async fn check(name: &str, shared: &Shared<'_>, reads_of_link: usize) {
    let installation = installation_alone().await;
    let nodes = installation.three(shared).await;
    let store = installation.open(&services().cql).await;
    let mut counted = Vec::new();
    let is_good = |reads: &f64| *reads <= READS_MAX * (LINKS * reads_of_link) as f64;
    while counted.len() < ROUNDS && !counted.iter().any(is_good) {
        let codes = plant(&store, &format!("{name}-{}", counted.len())).await;
        counted.push(stampede(&nodes, &codes).await);
    }
    tell(&format!("{name}: {LINKS} links on 3 nodes took reads of the store: {counted:?}"));
    let least = (LINKS * reads_of_link) as f64;
    assert!(counted.iter().all(|reads| *reads >= least), "not cold, or not counted: {counted:?}");
    assert!(counted.iter().any(is_good), "{counted:?} reads for {least}");
    finish(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_node_reads_each_link_once() {
    check("cold-alone", &Shared::database(), 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_redis_each_link_is_read_once_by_all_nodes() {
    check("cold-shared", &Shared::database_and_redis(), 1).await;
}
