//! What `/healthz` and `/debug/actors` are told.

use std::sync::Arc;

use chrono::DateTime;
use futures_util::future::FutureExt as _;
use serde_json::json;

use crate::actors::clicks::{Accounts, ClickSink, DatabaseHealth};
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
    let clicks_are_counted = clicks.is_counting();
    let accounts = {
        let clicks = clicks.clone();
        move || std::future::ready(balance(&clicks.accounts())).boxed_local()
    };
    let geoip = {
        let clicks = clicks.clone();
        move || std::future::ready(places(&clicks.databases())).boxed_local()
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
    let mut all = vec![
        Dependency { name: "store", vital: true, check: Arc::new(store) },
        Dependency { name: "journal", vital: false, check: Arc::new(journal) },
    ];
    if let Some(redis) = opened.cluster.as_ref().and_then(|cluster| cluster.redis.clone()) {
        let redis = move || {
            let outcome = match redis.is_up() {
                true => Ok("connected".to_owned()),
                false => Err("not used: it does not answer".to_owned()),
            };
            std::future::ready(outcome).boxed_local()
        };
        all.push(Dependency { name: "redis", vital: false, check: Arc::new(redis) });
    }
    if clicks_are_counted {
        all.push(Dependency { name: "clicks", vital: false, check: Arc::new(accounts) });
        all.push(Dependency { name: "geoip", vital: false, check: Arc::new(geoip) });
    }
    all
}

/// Whether every click that was taken in is somewhere.
fn balance(accounts: &Accounts) -> Result<String, String> {
    let Accounts { accepted, counted, in_journal, dropped, .. } = accounts;
    let words = format!(
        "{accepted} accepted = {counted} counted + {in_journal} in the journal + {dropped} dropped"
    );
    if accounts.are_even() { Ok(words) } else { Err(format!("not even: {words}")) }
}

/// The databases of places: which serve, how old they are, what their licence asks to be shown.
fn places(databases: &[DatabaseHealth]) -> Result<String, String> {
    if databases.is_empty() {
        return Ok("no database is configured: visitors have no country".to_owned());
    }
    let mut failed = false;
    let lines: Vec<String> = databases
        .iter()
        .map(|one| {
            failed |= one.error.is_some();
            describe(one)
        })
        .collect();
    let words = lines.join("; ");
    if failed { Err(words) } else { Ok(words) }
}

fn describe(database: &DatabaseHealth) -> String {
    let mut words = database.path.display().to_string();
    if let Some(kind) = &database.database_type {
        words.push_str(&format!(" ({kind})"));
    }
    let built = database.built_at.and_then(|at| DateTime::from_timestamp_millis(at.as_millis()));
    if let Some(built) = built {
        words.push_str(&format!(", built {}", built.format("%F")));
    }
    if let Some(attribution) = &database.attribution {
        words.push_str(&format!(", {attribution}"));
    }
    if let Some(error) = &database.error {
        words.push_str(&format!(", {error}"));
    }
    words
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
