//! The shortest correct store, for tests.

mod accounts;
mod audit;
mod clicks;
mod people;
mod replays;
mod sessions;
mod signing;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::signing::StoredSigningKey;
use super::text::{fold, link_holds};
use super::{
    BatchAnswer, Claim, Imported, ImportedLink, LinkPage, LinkQuery, LinkSort, LinkStore, PageMark,
    Replace, ReplayKey, SortValue, StorageResult, Stores, Workspace,
};
use crate::domain::api_key::{ApiKey, KeyDigest};
use crate::domain::audit::{Act, AuditEntry};
use crate::domain::code::{DomainId, LinkKey};
use crate::domain::id::Id;
use crate::domain::limits::CODE_ATTEMPTS_MAX;
use crate::domain::link::{CreatedVia, Link, LinkStatus};
use crate::domain::scheme::CodeSeries;
use crate::domain::time::Timestamp;

/// Everything in maps behind one lock.
#[derive(Default)]
pub struct MemoryStore(Mutex<State>);

#[derive(Clone, Default)]
struct State {
    links: BTreeMap<Id, Link>,
    codes: HashMap<LinkKey, Id>,
    imported: HashMap<[u8; 16], (KeyDigest, Vec<Imported>)>,
    foreign_sealed: HashSet<DomainId>,
    clicks: clicks::Clicks,
    /// By link and last version that led there.
    destinations: BTreeMap<(Id, u32), String>,
    workspaces: BTreeMap<Id, Workspace>,
    keys: BTreeMap<Id, ApiKey>,
    keys_epoch: u64,
    people: people::People,
    anonymous_workspace: Option<Id>,
    blocks: HashMap<String, u64>,
    marks: HashMap<u16, Timestamp>,
    replays: HashMap<ReplayKey, replays::Kept>,
    signing_keys: Vec<StoredSigningKey>,
    audit: Vec<AuditEntry>,
}

impl MemoryStore {
    /// An empty store behind every port.
    #[expect(clippy::new_ret_no_self, reason = "callers know ports only")]
    pub fn new() -> Stores {
        let this = Arc::new(Self::default());
        Stores {
            links: Arc::clone(&this) as _,
            clicks: Arc::clone(&this) as _,
            stats: Arc::clone(&this) as _,
            accounts: Arc::clone(&this) as _,
            users: Arc::clone(&this) as _,
            teams: Arc::clone(&this) as _,
            sessions: Arc::clone(&this) as _,
            nodes: Arc::clone(&this) as _,
            replays: Arc::clone(&this) as _,
            signing: Arc::clone(&this) as _,
            audit: this,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn external_id_taken(&self, link: &Link) -> bool {
        link.external_id.is_some()
            && link.status != LinkStatus::Deleted
            && self.links.values().any(|other| {
                other.id != link.id
                    && other.workspace == link.workspace
                    && other.status != LinkStatus::Deleted
                    && other.external_id == link.external_id
            })
    }

    fn claim(&mut self, link: Link) -> Claim {
        if self.codes.contains_key(&link.key()) {
            return Claim::Taken;
        }
        if self.external_id_taken(&link) {
            return Claim::ExternalIdTaken;
        }
        self.codes.insert(link.key(), link.id);
        self.links.insert(link.id, link);
        Claim::Won
    }

    fn take_in(&mut self, entry: ImportedLink) -> Imported {
        let (id, first) = (entry.link.id, entry.link.key());
        let outcome = self.place(entry.link, entry.series);
        if matches!(outcome, Imported::Created | Imported::Recoded(_)) && entry.clicks > 0 {
            self.clicks.bring(id, entry.clicks, entry.last_clicked_at);
        }
        if entry.foreign_sealed && outcome != Imported::Taken {
            self.foreign_sealed.insert(first.domain);
        }
        outcome
    }

    /// Puts an imported link at its code, or at the first free one of its series.
    fn place(&mut self, mut link: Link, series: Option<CodeSeries>) -> Imported {
        let first = link.key();
        for attempt in 1..=CODE_ATTEMPTS_MAX {
            if self.at(&link.key()).is_some_and(|there| is_same(there, &link)) {
                return Imported::Unchanged;
            }
            let key = link.key();
            match (self.claim(link.clone()), series) {
                (Claim::Won, _) if key == first => return Imported::Created,
                (Claim::Won, _) => return Imported::Recoded(key),
                (Claim::ExternalIdTaken, _) => return Imported::ExternalIdTaken,
                (Claim::Taken, None) => return Imported::Taken,
                (Claim::Taken, Some(series)) => {
                    link.code = series.code(link.destination.as_str(), attempt);
                }
            }
        }
        Imported::Taken
    }

    fn at(&self, key: &LinkKey) -> Option<&Link> {
        self.links.get(self.codes.get(key)?)
    }

    /// True when `link` is the next version of what is at `key`.
    fn follows(&self, key: &LinkKey, link: &Link) -> bool {
        self.at(key).is_some_and(|old| old.id == link.id && old.version + 1 == link.version)
    }

    fn clicks(&self, id: Id) -> u64 {
        self.clicks.of(id)
    }

    /// Remembers where a link led that is about to be replaced.
    fn note_destination(&mut self, new: &Link) {
        if let Some(old) = self.links.get(&new.id).filter(|old| old.destination != new.destination)
        {
            let text = old.destination.as_str().to_owned();
            self.destinations.insert((old.id, old.version), text);
        }
    }

    fn matches(&self, link: &Link, query: &LinkQuery) -> bool {
        link.workspace == query.workspace
            && link.status != LinkStatus::Deleted
            && query.text.as_deref().is_none_or(|text| link_holds(link, &fold(text)))
            && query.tags.iter().all(|tag| link.tags.contains(tag))
            && query.state.is_none_or(|s| link.state(query.now, self.clicks(link.id)) == s)
            && query.domain.is_none_or(|domain| link.domain == domain)
            && query.created_via.is_none_or(|via| link.created_via == via)
            && query.created_after.is_none_or(|after| link.created_at >= after)
            && query.created_before.is_none_or(|before| link.created_at < before)
            && (query.external_id.is_none() || query.external_id == link.external_id)
    }

    fn mark(&self, link: &Link, sort: LinkSort) -> PageMark {
        let value = match sort {
            LinkSort::CreatedDesc | LinkSort::CreatedAsc => SortValue::Number(link.created_at.0),
            LinkSort::UpdatedDesc => SortValue::Number(link.updated_at.0),
            LinkSort::ClicksDesc | LinkSort::ClicksAsc => {
                SortValue::Number(self.clicks(link.id) as i64)
            }
            LinkSort::TitleAsc => SortValue::Text(fold(&link.title)),
        };
        PageMark { value, id: link.id }
    }
}

#[async_trait]
impl LinkStore for MemoryStore {
    async fn fetch(&self, key: &LinkKey) -> StorageResult<Option<Link>> {
        Ok(self.lock().at(key).cloned())
    }

    async fn claim(&self, links: Vec<Link>, act: Option<Act>) -> StorageResult<Vec<Claim>> {
        let mut state = self.lock();
        let mut claims = Vec::with_capacity(links.len());
        for link in links {
            let made = act.map(|act| act.created(&link));
            let claim = state.claim(link);
            state.tell(made.filter(|_| claim == Claim::Won));
            claims.push(claim);
        }
        Ok(claims)
    }

    async fn replace(&self, link: Link, act: Option<Act>) -> StorageResult<Replace> {
        let mut state = self.lock();
        if !state.follows(&link.key(), &link) {
            return Ok(Replace::Stale);
        }
        if state.external_id_taken(&link) {
            return Ok(Replace::ExternalIdTaken);
        }
        state.note_destination(&link);
        state.tell_of_change(&link, act);
        state.links.insert(link.id, link);
        Ok(Replace::Done)
    }

    async fn fetch_all(&self, ids: &[Id]) -> StorageResult<Vec<Link>> {
        let state = self.lock();
        Ok(ids.iter().filter_map(|id| state.links.get(id).cloned()).collect())
    }

    async fn relocate(
        &self,
        from: &LinkKey,
        link: Link,
        tombstone_id: Id,
        act: Option<Act>,
    ) -> StorageResult<Replace> {
        let mut state = self.lock();
        if !state.follows(from, &link) {
            return Ok(Replace::Stale);
        }
        if state.codes.contains_key(&link.key()) {
            return Ok(Replace::Taken);
        }
        if state.external_id_taken(&link) {
            return Ok(Replace::ExternalIdTaken);
        }
        let Some(mut tombstone) = state.at(from).cloned() else {
            return Ok(Replace::Stale);
        };
        tombstone.id = tombstone_id;
        tombstone.status = LinkStatus::Deleted;
        tombstone.version = link.version;
        tombstone.updated_at = link.updated_at;
        state.tell_of_change(&link, act);
        state.codes.insert(*from, tombstone_id);
        state.codes.insert(link.key(), link.id);
        state.links.insert(tombstone_id, tombstone);
        state.note_destination(&link);
        state.links.insert(link.id, link);
        Ok(Replace::Done)
    }

    async fn find_by_destination(
        &self,
        workspace: Id,
        domain: DomainId,
        destination: &str,
        limit: u32,
    ) -> StorageResult<Vec<Link>> {
        let state = self.lock();
        let found = state.links.values().filter(|link| {
            (link.workspace, link.domain) == (workspace, domain)
                && link.status == LinkStatus::Active
                && link.destination.as_str() == destination
        });
        let mut found: Vec<Link> = found.cloned().collect();
        found.sort_by_key(|link| std::cmp::Reverse((link.created_at, link.id)));
        found.truncate(limit as usize);
        Ok(found)
    }

    async fn list(&self, query: &LinkQuery) -> StorageResult<LinkPage> {
        let state = self.lock();
        let mut found: Vec<(PageMark, &Link)> = state
            .links
            .values()
            .filter(|link| state.matches(link, query))
            .map(|link| (state.mark(link, query.sort), link))
            .collect();
        found.sort_by(|a, b| compare(query.sort, &a.0, &b.0));
        let total = found.len() as u64;
        if let Some(after) = &query.after {
            found.retain(|(mark, _)| compare(query.sort, mark, after).is_gt());
        }
        let limit = query.limit.max(1) as usize;
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(mark, _)| mark.clone());
        let links = found.into_iter().map(|(_, link)| link.clone()).collect();
        Ok(LinkPage { links, next, total })
    }

    async fn tags(&self, workspace: Id) -> StorageResult<Vec<(String, u64)>> {
        let mut counts = BTreeMap::new();
        let state = self.lock();
        let live = |link: &&Link| link.workspace == workspace && link.status != LinkStatus::Deleted;
        for link in state.links.values().filter(live) {
            for tag in link.tags.iter().collect::<HashSet<_>>() {
                *counts.entry(tag.clone()).or_default() += 1;
            }
        }
        Ok(counts.into_iter().collect())
    }

    async fn scan(&self, after: Id, limit: u32) -> StorageResult<Vec<Link>> {
        let above = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let state = self.lock();
        Ok(state.links.range(above).take(limit as usize).map(|(_, link)| link.clone()).collect())
    }

    async fn hottest(&self, limit: u32) -> StorageResult<Vec<LinkKey>> {
        let state = self.lock();
        let mut ids = state.clicks.all();
        ids.sort_by(|a, b| b.cmp(a));
        let live = |(_, id): &(u64, Id)| {
            state.links.get(id).filter(|link| link.status != LinkStatus::Deleted).map(Link::key)
        };
        Ok(ids.iter().filter_map(live).take(limit as usize).collect())
    }

    async fn count(&self) -> StorageResult<u64> {
        Ok(self.lock().links.len() as u64)
    }

    async fn import(
        &self,
        digest: [u8; 16],
        fingerprint: KeyDigest,
        batch: Vec<ImportedLink>,
        act: Option<Act>,
    ) -> StorageResult<BatchAnswer> {
        let mut state = self.lock();
        if let Some((of, known)) = state.imported.get(&digest) {
            return Ok(match *of == fingerprint {
                true => BatchAnswer::Known(known.clone()),
                false => BatchAnswer::Mismatch,
            });
        }
        let rows: Vec<Imported> = batch.into_iter().map(|entry| state.take_in(entry)).collect();
        let is_new = |row: &&Imported| matches!(row, Imported::Created | Imported::Recoded(_));
        let created = rows.iter().filter(is_new).count();
        let told = act.map(|act| act.imported(created, rows.len() - created));
        state.tell(told.filter(|_| created > 0));
        let plain = |row: &Imported| match row {
            Imported::Recoded(_) => Imported::Created,
            row => *row,
        };
        state.imported.insert(digest, (fingerprint, rows.iter().map(plain).collect()));
        Ok(BatchAnswer::New(rows))
    }

    async fn anonymous(
        &self,
        creator: Id,
        before: Option<Id>,
        limit: u32,
    ) -> StorageResult<(Vec<Link>, u64)> {
        let state = self.lock();
        let is_theirs = |link: &&Link| {
            link.created_via == CreatedVia::Anonymous
                && link.created_by == Some(creator)
                && !matches!(link.status, LinkStatus::Deleted | LinkStatus::Blocked)
        };
        let theirs = || state.links.values().rev().filter(is_theirs);
        let page = theirs().filter(|link| before.is_none_or(|before| link.id < before));
        Ok((page.take(limit as usize).cloned().collect(), theirs().count() as u64))
    }

    async fn has_foreign_sealed(&self, domain: DomainId) -> StorageResult<bool> {
        Ok(self.lock().foreign_sealed.contains(&domain))
    }
}

/// The same owner and target; a deleted link is not the same as a living one.
fn is_same(there: &Link, wanted: &Link) -> bool {
    let deleted = |link: &Link| link.status == LinkStatus::Deleted;
    (there.workspace, &there.destination, deleted(there))
        == (wanted.workspace, &wanted.destination, deleted(wanted))
}

fn compare(sort: LinkSort, a: &PageMark, b: &PageMark) -> std::cmp::Ordering {
    let order = match (&a.value, &b.value) {
        (SortValue::Number(a), SortValue::Number(b)) => a.cmp(b),
        (SortValue::Text(a), SortValue::Text(b)) => a.cmp(b),
        (SortValue::Number(_), SortValue::Text(_)) => std::cmp::Ordering::Less,
        (SortValue::Text(_), SortValue::Number(_)) => std::cmp::Ordering::Greater,
    };
    let order = order.then(a.id.cmp(&b.id));
    match sort {
        LinkSort::CreatedAsc | LinkSort::ClicksAsc | LinkSort::TitleAsc => order,
        LinkSort::CreatedDesc | LinkSort::UpdatedDesc | LinkSort::ClicksDesc => order.reverse(),
    }
}
