//! The tasks that talk to the store. They run beside a shard and never touch its state: a slow
//! or panicking store does not stop the owner.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use super::LoadError;
use super::key::Key;
use super::messages::{Adopt, Asker, Doubt, Effect, Fresh, Outcome, State};
use super::shared::{LoadGuard, Shared};
use crate::domain::api_key::KeyDigest;
use crate::domain::audit::Act;
use crate::domain::code::LinkKey;
use crate::domain::hot::HotLink;
use crate::domain::id::Id;
use crate::domain::link::{Link, LinkStatus};
use crate::storage::{
    BatchAnswer, Claim, Imported, ImportedLink, Op, Replace, StorageError, StorageErrorKind,
    StorageResult,
};

/// A load that takes longer is given up, so that a store that hangs does not keep its places.
const LOAD_MAX: Duration = Duration::from_secs(5);
/// Tries to find out what a write with unknown outcome did, and the wait before the second one;
/// it doubles.
const VERIFY_ATTEMPTS: u32 = 6;
const VERIFY_WAIT: Duration = Duration::from_millis(100);
/// Longest wait between two tries to take over what somebody else changed.
const REFRESH_WAIT_MAX: Duration = Duration::from_secs(2);

/// Reads one link. `place` is given back as soon as the store has answered: only a link with a
/// limit waits on, for its clicks, and must not keep others from being loaded.
pub(super) async fn load(shared: &Shared, key: &LinkKey, place: Option<LoadGuard>) -> Outcome {
    read(shared, shared.store.fetch(key), place).await
}

async fn read(
    shared: &Shared,
    link: impl Future<Output = StorageResult<Option<Link>>>,
    place: Option<LoadGuard>,
) -> Outcome {
    let fetch = guarded("fetch", StorageErrorKind::Unavailable, async {
        let link = link.await?;
        drop(place);
        state_of(shared, link).await
    });
    let result = timeout(LOAD_MAX, fetch).await;
    let result = result.unwrap_or_else(|_| Err(timed_out("fetch")));
    match &result {
        Ok(State::Live(_)) => shared.counts.found.inc(),
        Ok(State::Gone(_)) => shared.counts.absent.inc(),
        Err(error) if error.kind == StorageErrorKind::Damaged => {
            let cause = error.source.as_deref().map(ToString::to_string).unwrap_or_default();
            error!(cause, "a link cannot be read from the store and is not served");
            shared.counts.damaged.inc()
        }
        Err(_) => shared.counts.failed.inc(),
    };
    Outcome::Loaded(result.map_err(LoadError::from))
}

/// Replaces a link in the store.
pub(super) async fn replace(
    shared: &Shared,
    link: Link,
    act: Option<Act>,
    asker: Asker<Replace>,
) -> Outcome {
    let write = async { shared.store.replace(link.clone(), act).await };
    let result = guarded("replace", StorageErrorKind::Timeout, write).await;
    let effect = match &result {
        Ok(Replace::Done) => effect_of(shared, link).await,
        Ok(_) => Effect::None,
        Err(error) => after_failure(error),
    };
    Outcome::Wrote { effect, answer: result.map_err(LoadError::from), asker }
}

/// Moves a link. The new code is served before the old one is gone.
pub(super) async fn relocate(
    shared: &Shared,
    from: &LinkKey,
    (link, tombstone, act): (Link, Id, Option<Act>),
    asker: Asker<Replace>,
) -> Outcome {
    let (version, new_key) = (link.version, Key::from(&link.key()));
    let write = async { shared.store.relocate(from, link.clone(), tombstone, act).await };
    let result = guarded("relocate", StorageErrorKind::Timeout, write).await;
    let effect = match &result {
        Ok(Replace::Done) => {
            match effect_of(shared, link).await {
                Effect::Set(state) => hand_over(shared, vec![Fresh { key: new_key, state }]).await,
                _ => doubt(shared, vec![new_key]).await,
            }
            Effect::Set(State::Gone(version))
        }
        Ok(_) => Effect::None,
        Err(error) => {
            let effect = after_failure(error);
            if matches!(effect, Effect::Verify) {
                doubt(shared, vec![new_key]).await;
            }
            effect
        }
    };
    Outcome::Wrote { effect, answer: result.map_err(LoadError::from), asker }
}

/// Asks until the store says what it holds.
pub(super) async fn verify(shared: &Shared, key: &LinkKey) -> Outcome {
    let mut wait = VERIFY_WAIT;
    for attempt in 1..=VERIFY_ATTEMPTS {
        // A cache may hold what was before.
        let fresh = read(shared, shared.store.fetch_fresh(key), None).await;
        if let Outcome::Loaded(Ok(state)) = fresh {
            return Outcome::Verified(Effect::Set(state));
        }
        if attempt < VERIFY_ATTEMPTS {
            sleep(wait).await;
            wait *= 2;
        }
    }
    warn!("the store does not tell what became of a change; the link will be loaded again");
    Outcome::Verified(Effect::Forget)
}

/// Asks, for as long as it takes, what somebody else made of a link; meanwhile what is in memory is
/// served.
pub(super) async fn refresh(shared: &Shared, key: &LinkKey) -> Outcome {
    let mut wait = VERIFY_WAIT;
    loop {
        if let Outcome::Loaded(Ok(state)) = load(shared, key, None).await {
            return Outcome::Verified(Effect::Set(state));
        }
        if shared.stopping.load(Ordering::Relaxed) {
            return Outcome::Verified(Effect::None);
        }
        sleep(wait).await;
        wait = (wait * 2).min(REFRESH_WAIT_MAX);
    }
}

/// Claims codes and hands what was won to the owners, then answers.
pub(super) async fn create(
    shared: Arc<Shared>,
    links: Vec<Link>,
    act: Option<Act>,
    asker: Asker<Vec<Claim>>,
) {
    let drafts: Vec<Draft> = links.iter().map(|link| Draft::of(&shared, link, 0)).collect();
    let write = async { shared.store.claim(links, act).await };
    let result = guarded("claim", StorageErrorKind::Timeout, write).await;
    match &result {
        Ok(claims) => {
            let won = drafts.into_iter().zip(claims).filter(|(_, claim)| **claim == Claim::Won);
            hand_over(&shared, won.map(|(draft, _)| draft.finish(&shared)).collect()).await;
        }
        Err(error) if is_unknown(error) => {
            doubt(&shared, drafts.into_iter().map(Draft::into_key).collect()).await;
        }
        Err(_) => (),
    }
    asker.answer(result.map_err(LoadError::from));
}

/// Imports a batch and hands what is new to the owners, then answers.
pub(super) async fn import(
    shared: Arc<Shared>,
    (digest, fingerprint, act): ([u8; 16], KeyDigest, Option<Act>),
    batch: Vec<ImportedLink>,
    asker: Asker<BatchAnswer>,
) {
    // Before the store has them: a visitor must not be refused a code that is stored.
    for foreign in batch.iter().filter(|imported| imported.foreign_sealed) {
        shared.foreign.mark(foreign.link.domain);
    }
    let drafts: Vec<Draft> =
        batch.iter().map(|row| Draft::of(&shared, &row.link, row.clicks)).collect();
    let has_series = batch.iter().any(|row| row.series.is_some());
    let write = async { shared.store.import(digest, fingerprint, batch, act).await };
    let result = guarded("import", StorageErrorKind::Timeout, write).await;
    match &result {
        Ok(BatchAnswer::New(rows)) => {
            let new = drafts.into_iter().zip(rows).filter_map(|(draft, row)| match row {
                Imported::Created => Some(draft),
                Imported::Recoded(key) => Some(draft.at(key)),
                Imported::Unchanged | Imported::Taken | Imported::ExternalIdTaken => None,
            });
            hand_over(&shared, new.map(|draft| draft.finish(&shared)).collect()).await;
        }
        // Some may stand at a code that only the store knows.
        Err(error) if is_unknown(error) && has_series => doubt_all(&shared).await,
        Err(error) if is_unknown(error) => {
            doubt(&shared, drafts.into_iter().map(Draft::into_key).collect()).await;
        }
        Ok(BatchAnswer::Known(_) | BatchAnswer::Mismatch) | Err(_) => (),
    }
    asker.answer(result.map_err(LoadError::from));
}

/// A link before the store took it: made for the table beforehand, so that the link itself can be
/// given away. Those with a limit wait, because an allowance exists once per link.
enum Draft {
    Ready(Fresh),
    Limited { key: Key, link: Box<Link>, clicks: u64 },
}

impl Draft {
    fn of(shared: &Shared, link: &Link, clicks: u64) -> Self {
        let key = Key::from(&link.key());
        if link.max_clicks.is_some() && link.status != LinkStatus::Deleted {
            return Self::Limited { key, link: Box::new(link.clone()), clicks };
        }
        let state = unlimited(shared, link);
        Self::Ready(Fresh { key, state })
    }

    fn finish(self, shared: &Shared) -> Fresh {
        match self {
            Self::Ready(fresh) => fresh,
            Self::Limited { key, link, clicks } => {
                let max = link.max_clicks.unwrap_or(u64::MAX);
                let allowance = shared.limits.start(&link, max, clicks);
                let hot = HotLink::new(&link, &shared.policy, Some(allowance));
                Fresh { key, state: State::Live(hot) }
            }
        }
    }

    /// The same link at another code.
    fn at(self, place: &LinkKey) -> Self {
        let key = Key::from(place);
        match self {
            Self::Ready(fresh) => Self::Ready(Fresh { key, ..fresh }),
            Self::Limited { link, clicks, .. } => Self::Limited { key, link, clicks },
        }
    }

    fn into_key(self) -> Key {
        match self {
            Self::Ready(fresh) => fresh.key,
            Self::Limited { key, .. } => key,
        }
    }
}

/// What the table shall hold of a link without a limit.
fn unlimited(shared: &Shared, link: &Link) -> State {
    shared.limits.end(link.id, link.version);
    if link.status == LinkStatus::Deleted {
        return State::Gone(link.version);
    }
    State::Live(HotLink::new(link, &shared.policy, None))
}

/// What the table shall hold of a link with a limit, given its clicks.
pub(super) fn limited(shared: &Shared, link: &Link, max: u64, clicks: u64) -> State {
    let allowance = shared.limits.start(link, max, clicks);
    State::Live(HotLink::new(link, &shared.policy, Some(allowance)))
}

/// What the table shall hold of a link, when that takes no counter: it has no limit, or a part of
/// one, which is empty until the first click is wanted.
pub(super) fn uncounted(shared: &Shared, link: &Link) -> Option<State> {
    match link.max_clicks.filter(|_| link.status != LinkStatus::Deleted) {
        None => Some(unlimited(shared, link)),
        Some(max) if shared.limits.are_shared() => Some(limited(shared, link, max, 0)),
        Some(_) => None,
    }
}

/// What the table shall hold of what the store answered. Waits for the counters only when the
/// link has a limit that this process does not know yet.
async fn state_of(shared: &Shared, link: Option<Link>) -> StorageResult<State> {
    let Some(link) = link else {
        return Ok(State::Gone(0));
    };
    if let Some(state) = uncounted(shared, &link) {
        return Ok(state);
    }
    let max = link.max_clicks.unwrap_or(u64::MAX);
    if let Some(allowance) = shared.limits.share(link.id, link.version, max) {
        return Ok(State::Live(HotLink::new(&link, &shared.policy, Some(allowance))));
    }
    shared.clicks.recovered().await;
    let clicks = shared.clicks.clicks(&[link.id]).await?;
    Ok(limited(shared, &link, max, clicks.first().copied().unwrap_or(0)))
}

async fn effect_of(shared: &Shared, link: Link) -> Effect {
    let state = guarded("totals", StorageErrorKind::Unavailable, state_of(shared, Some(link)));
    state.await.map_or(Effect::Forget, Effect::Set)
}

fn after_failure(error: &StorageError) -> Effect {
    if is_unknown(error) { Effect::Verify } else { Effect::None }
}

fn is_unknown(error: &StorageError) -> bool {
    error.kind == StorageErrorKind::Timeout
}

/// Sends each link to its owner and waits until all have taken them in.
async fn hand_over(shared: &Shared, links: Vec<Fresh>) {
    let slices = by_owner(shared, links, |fresh| &fresh.key);
    for (shard, slice) in slices.into_iter().enumerate() {
        if slice.is_empty() {
            continue;
        }
        if shared.addr(shard).send(Adopt(slice)).await.is_err() {
            warn!(shard, "the owner of new links is gone; they will be loaded from the store");
        }
    }
}

/// Tells the owners that these codes may be in the store or not.
async fn doubt(shared: &Shared, keys: Vec<Key>) {
    for (shard, slice) in by_owner(shared, keys, |key| key).into_iter().enumerate() {
        if !slice.is_empty() {
            let _stopped = shared.addr(shard).send(Doubt(slice)).await;
        }
    }
}

/// Tells all owners that something may have been stored that they do not know of.
pub(super) async fn doubt_all(shared: &Shared) {
    for shard in 0..shared.lanes.len() {
        let _stopped = shared.addr(shard).send(Doubt(Vec::new())).await;
    }
}

/// Splits by owner.
pub(super) fn by_owner<T>(shared: &Shared, items: Vec<T>, key: impl Fn(&T) -> &Key) -> Vec<Vec<T>> {
    let mut slices: Vec<Vec<T>> = shared.lanes.iter().map(|_| Vec::new()).collect();
    for item in items {
        let owner = shared.table.owner(key(&item));
        slices[owner].push(item);
    }
    slices
}

/// Awaits store work; a panic in it becomes an error of `kind`.
async fn guarded<T>(
    op: Op,
    kind: StorageErrorKind,
    work: impl Future<Output = StorageResult<T>>,
) -> StorageResult<T> {
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    outcome.unwrap_or_else(|panic| {
        error!(op, cause = panic_text(panic.as_ref()), "the store panicked");
        Err(StorageError::new(kind, op, "the store panicked"))
    })
}

fn timed_out(op: Op) -> StorageError {
    StorageError::new(StorageErrorKind::Timeout, op, "the load was given up")
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown")
}
