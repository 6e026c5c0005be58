//! What `/healthz` and `/debug/actors` are told.

use std::sync::Arc;

use futures_util::future::FutureExt as _;
use serde_json::json;

use crate::actors::clicks::ClickSink;
use crate::actors::links::LinkTable;
use crate::app::Opened;
use crate::http::{Dependency, Report};
use crate::storage::StorageError;

/// The store must answer and take writes; a journal that has to help itself is a warning.
pub(super) fn dependencies(opened: &Opened, clicks: &ClickSink) -> Vec<Dependency> {
    let (links, nodes) = (Arc::clone(&opened.stores.links), Arc::clone(&opened.stores.nodes));
    let store = move || {
        let (links, nodes) = (Arc::clone(&links), Arc::clone(&nodes));
        let check = async move {
            let count = links.count().await.map_err(in_words)?;
            nodes.check_writes().await.map_err(in_words)?;
            Ok(format!("{count} links"))
        };
        check.boxed_local()
    };
    let clicks = clicks.clone();
    let journal = move || {
        let health = clicks.health();
        let words = format!("{} segments, {} ms behind", health.segments, health.lag_ms);
        let outcome = match (health.degraded, health.last_flush_error) {
            (false, None) => Ok(words),
            (true, _) => Err(format!("{words}; no spare segment: clicks are counted in memory")),
            (false, Some(error)) => Err(format!("{words}; {error}")),
        };
        std::future::ready(outcome).boxed_local()
    };
    vec![
        Dependency { name: "store", vital: true, check: Arc::new(store) },
        Dependency { name: "journal", vital: false, check: Arc::new(journal) },
    ]
}

/// The operations listener is for operators: they may read the cause.
fn in_words(error: StorageError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

/// Every actor with its mailbox, what it owns and how far behind it is.
pub(super) fn actors(links: &LinkTable, clicks: &ClickSink) -> Report {
    let (links, clicks) = (links.clone(), clicks.clone());
    Arc::new(move || {
        let (links, clicks) = (links.clone(), clicks.clone());
        let report = async move {
            let (shards, counters) = (links.inspect().await, clicks.inspect().await);
            json!({ "link_shards": shards, "click_counters": counters })
        };
        report.boxed_local()
    })
}
