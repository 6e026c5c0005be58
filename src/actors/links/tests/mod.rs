//! Behaviour of the link actors through their handle, on a store that tests can steer.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod heard;
mod limits;
mod memory;
mod model;
mod ordering;
mod panics;
mod reading;
mod store;
mod warming;

use std::sync::Arc;
use std::time::Duration;

use actix_rt::Arbiter;

use self::store::{FakeClicks, FakeStore};
use super::{LinkTable, LinkTableParts, LinksConfig};
use crate::domain::code::{Code, DomainId, LinkKey};
use crate::domain::destination::{Destination, DestinationPolicy};
use crate::domain::id::Id;
use crate::domain::link::{Link, LinkStatus};
use crate::domain::seal::{SealKey, Sealer};
use crate::domain::units::{Size, Span};
use crate::storage::grants::GrantStore;
use crate::telemetry::metrics::Metrics;

/// A table on the test's own thread, over `store`.
async fn start(store: &Arc<FakeStore>) -> LinkTable {
    start_with(store, config(), &FakeClicks::new()).await
}

async fn start_with(
    store: &Arc<FakeStore>,
    config: LinksConfig,
    clicks: &Arc<FakeClicks>,
) -> LinkTable {
    start_sharing(store, config, clicks, None).await
}

/// The same on one of several nodes that share what limited links may take.
async fn start_sharing(
    store: &Arc<FakeStore>,
    config: LinksConfig,
    clicks: &Arc<FakeClicks>,
    grants: Option<Arc<dyn GrantStore>>,
) -> LinkTable {
    let parts = LinkTableParts {
        config,
        store: Arc::clone(store) as _,
        clicks: Arc::clone(clicks) as _,
        policy: DestinationPolicy::default(),
        sealer: Sealer::new(vec![SealKey { version: 1, secret: [7; 32] }]),
        metrics: Metrics::new(),
        sole_writer: true,
        grants,
    };
    let table = LinkTable::start_on(parts, &Arbiter::current());
    assert_eq!(table.inspect().await.len(), table.shared.lanes.len(), "all shards answer");
    table
}

fn config() -> LinksConfig {
    LinksConfig {
        memory_max: Some(Size::mib(64)),
        load_wait_max: Span::from_secs(20),
        ..LinksConfig::default()
    }
}

fn key(code: &str) -> LinkKey {
    LinkKey::new(DomainId::DEFAULT, Code::parse(code.as_bytes()).unwrap())
}

/// A plain link at version 1 that leads to `https://to.example/<code>`.
fn link(id: u64, code: &str) -> Link {
    Link::plain(Id(id), Id(1), key(code), target(code))
}

fn target(path: &str) -> Destination {
    Destination::from_stored(&format!("https://to.example/{path}")).unwrap()
}

/// The next version of `link`, leading elsewhere.
fn edited(link: &Link, path: &str) -> Link {
    Link { destination: target(path), version: link.version + 1, ..link.clone() }
}

fn deleted(link: &Link) -> Link {
    Link { status: LinkStatus::Deleted, version: link.version + 1, ..link.clone() }
}

/// Where the table sends visitors of `code`, without asking anybody.
fn served(table: &LinkTable, code: &str) -> Option<String> {
    table.read(DomainId::DEFAULT, code.as_bytes(), |link| {
        String::from_utf8(link.target().to_vec()).unwrap()
    })
}

/// Where a load of `code` leads.
async fn loaded(table: &LinkTable, code: &str) -> Option<String> {
    let look = |link: &crate::domain::hot::HotLink| link.target().to_vec();
    let seen = table.load(key(code), look).await.unwrap();
    seen.map(|target| String::from_utf8(target).unwrap())
}

fn url(path: &str) -> Option<String> {
    Some(format!("https://to.example/{path}"))
}

/// Waits until `done`, letting other tasks run; panics after ten seconds.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(10), "waited in vain until {what}");
        tokio::task::yield_now().await;
    }
}

/// Sum of one figure over all shards.
async fn total(table: &LinkTable, figure: impl Fn(&super::ShardReport) -> usize) -> usize {
    table.inspect().await.iter().map(figure).sum()
}
