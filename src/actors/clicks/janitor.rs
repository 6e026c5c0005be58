//! What is to be done once in a while, not with every click: new keys, and less of what is old.
//!
//! Keys and sums are looked after beside the first counter of every node. Each task is short, and
//! a failed one is tried again next time.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tracing::{debug, warn};

use super::ClicksConfig;
use super::counter::ClickCounter;
use super::shared::Shared;
use crate::domain::day::day_of;
use crate::domain::limits::DETAILS_KEPT_DAYS;
use crate::domain::time::{Clock, Timestamp};
use crate::storage::{ClickStore, Retention};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Yesterday's key is kept so long into the day, for clicks that are still to be counted.
const KEY_GRACE_MS: i64 = 3_600_000;
/// Steps of removing what is old, or of adding up, that follow each other, and the pause between.
const STEPS_MAX: u32 = 1_000;
const STEP_PAUSE: Duration = Duration::from_millis(20);
const DAY_MS: i64 = 86_400_000;

/// Begins to look.
pub(super) fn start(shared: &Arc<Shared>, ctx: &mut Context<ClickCounter>) {
    let shared = Arc::clone(shared);
    let looks = async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            rotate_keys(&shared).await;
            roll_up(&*shared.store).await;
        }
    };
    ctx.spawn(actix::fut::wrap_future(looks));
}

/// Has the keys of today and tomorrow made, and those of days destroyed of which all is counted.
async fn rotate_keys(shared: &Shared) {
    let now = shared.clock.now();
    match shared.store.visitor_keys(oldest_day(shared, now), day_of(now)).await {
        Ok(keys) => shared.enrichment.keys.set(keys),
        Err(error) => debug!(%error, "the keys of visitors are looked after later"),
    }
}

/// The oldest day whose key may still be needed.
fn oldest_day(shared: &Shared, now: Timestamp) -> u32 {
    if *shared.recovering.borrow() > 0 {
        return 0;
    }
    let waiting = now.plus_millis(-(shared.lag_ms() as i64));
    day_of(waiting.min(now.plus_millis(-KEY_GRACE_MS)))
}

/// Does the same where clicks are not counted: no key is needed.
pub async fn keep_house(store: Arc<dyn ClickStore>, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let today = day_of(clock.now());
        if let Err(error) = store.visitor_keys(today, today).await {
            debug!(%error, "the keys of visitors are looked after later");
        }
        roll_up(&*store).await;
    }
}

/// Removes what is older than it is kept, for all nodes, whether they count clicks or not.
pub async fn remove_old(store: Arc<dyn ClickStore>, config: ClicksConfig, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        prune(&*store, &config, clock.now()).await;
    }
}

async fn prune(store: &dyn ClickStore, config: &ClicksConfig, now: Timestamp) {
    let today = i64::from(day_of(now));
    let events = config.events_retention.0.as_millis() as i64 / DAY_MS;
    let first = |days: i64| u32::try_from(today - days).unwrap_or(0);
    let keep =
        Retention { events_from: first(events), details_from: first(DETAILS_KEPT_DAYS.into()) };
    for _ in 0..STEPS_MAX {
        match store.prune(keep).await {
            Ok(true) => tokio::time::sleep(STEP_PAUSE).await,
            Ok(false) => break,
            Err(error) => {
                warn!(%error, "old clicks are removed later");
                break;
            }
        }
    }
}

/// Has sums made of days that are over.
async fn roll_up(store: &dyn ClickStore) {
    for _ in 0..STEPS_MAX {
        match store.roll_up().await {
            Ok(true) => tokio::time::sleep(STEP_PAUSE).await,
            Ok(false) => break,
            Err(error) => {
                debug!(%error, "sums of days are made by whoever asks for them");
                break;
            }
        }
    }
}
