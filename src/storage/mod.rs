//! The ports: what Shunt needs from a store, by use case. Backends implement them, wrappers in
//! `layers` add metering and the like, one suite in `tests/stores` runs on all of them.

pub mod audit;
pub mod buckets;
pub mod cache;
mod chunk;
pub mod config;
pub mod embedded;
pub mod error;
pub mod feed;
pub mod grants;
pub mod layers;
pub mod lock;
pub mod memory;
pub mod memory_buckets;
pub mod moving;
mod outcomes;
pub mod patience;
pub mod people;
mod private;
pub mod recent;
pub mod redis;
pub mod replays;
pub mod scylla;
pub mod secrets;
pub mod signing;
mod text;
mod threads;

use std::sync::Arc;

use async_trait::async_trait;

pub use error::{Op, StorageError, StorageErrorKind, StorageResult};

pub use self::replays::{KeptAnswer, Replay, ReplayKey, ReplayStore};

use self::audit::AuditStore;
use self::people::{SessionStore, TeamStore, UserStore};
use self::signing::SigningKeyStore;
use crate::domain::account::Role;
use crate::domain::api_key::{ApiKey, KeyDigest};
use crate::domain::audit::Act;
use crate::domain::click::{ClickTotals, SegmentId};
use crate::domain::code::{DomainId, LinkKey};
use crate::domain::counted::SegmentClicks;
use crate::domain::event::ClickEvent;
use crate::domain::id::Id;
use crate::domain::link::{CreatedVia, Link, LinkState};
use crate::domain::scheme::CodeSeries;
use crate::domain::stats::{BucketStats, RangeStats};
use crate::domain::time::Timestamp;
use crate::domain::visitor::VisitorKey;

/// Every port of one backend.
#[derive(Clone)]
pub struct Stores {
    pub links: Arc<dyn LinkStore>,
    pub clicks: Arc<dyn ClickStore>,
    pub stats: Arc<dyn StatsStore>,
    pub accounts: Arc<dyn AccountStore>,
    pub users: Arc<dyn UserStore>,
    pub teams: Arc<dyn TeamStore>,
    pub sessions: Arc<dyn SessionStore>,
    pub nodes: Arc<dyn NodeStore>,
    pub replays: Arc<dyn ReplayStore>,
    pub signing: Arc<dyn SigningKeyStore>,
    pub audit: Arc<dyn AuditStore>,
}

/// Links: the truth about what a code leads to. The audit log tells of what changes here as `act`,
/// in the same write; without one, nothing is told.
#[async_trait]
pub trait LinkStore: Send + Sync + 'static {
    /// The link at `key`, deleted ones included, for a visitor who waits. Kinds: `Unavailable`,
    /// `Timeout`, `Corrupt`.
    async fn fetch(&self, key: &LinkKey) -> StorageResult<Option<Link>>;

    /// The same for who waits longer than a visitor does.
    async fn read(&self, key: &LinkKey) -> StorageResult<Option<Link>> {
        self.fetch(key).await
    }

    /// The same past every cache between here and the truth.
    async fn fetch_fresh(&self, key: &LinkKey) -> StorageResult<Option<Link>> {
        self.fetch(key).await
    }

    /// Those of the links with these ids that there are, deleted ones included, in any order.
    async fn fetch_all(&self, ids: &[Id]) -> StorageResult<Vec<Link>>;

    /// Puts new links at codes nobody ever had; one answer per link, in order. Durable when it
    /// returns. Two links of one call may not share a code: the second is `Taken`. An
    /// `external_id` that its workspace already uses is `ExternalIdTaken`; a deleted link has none.
    async fn claim(&self, links: Vec<Link>, act: Option<Act>) -> StorageResult<Vec<Claim>>;

    /// Replaces the link at its key if the stored version is `link.version - 1`.
    async fn replace(&self, link: Link, act: Option<Act>) -> StorageResult<Replace>;

    /// Moves a link to a new code: `link` (with the new code, version counted up) appears, `from`
    /// stays behind as deleted (its version counted up too, with an id of its own `tombstone_id`),
    /// both or neither. `Replace::Stale` when `from` is not at `link.version - 1`, `Taken` when the
    /// new code was ever in use.
    async fn relocate(
        &self,
        from: &LinkKey,
        link: Link,
        tombstone_id: Id,
        act: Option<Act>,
    ) -> StorageResult<Replace>;

    /// Links of `workspace` on `domain` that lead to `destination` and are `Active` by status
    /// (times and limits are the caller's to judge), the newest first, at most `limit`.
    async fn find_by_destination(
        &self,
        workspace: Id,
        domain: DomainId,
        destination: &str,
        limit: u32,
    ) -> StorageResult<Vec<Link>>;

    /// One page of a workspace's links, deleted ones left out, and how many match in all.
    async fn list(&self, query: &LinkQuery) -> StorageResult<LinkPage>;

    /// Every tag of a workspace with the number of its links, by tag.
    async fn tags(&self, workspace: Id) -> StorageResult<Vec<(String, u64)>>;

    /// Up to `limit` links with an id above `after`, by id, of all workspaces, deleted ones
    /// included. For warm start, export and verification.
    async fn scan(&self, after: Id, limit: u32) -> StorageResult<Vec<Link>>;

    /// Keys of the most clicked links, the hottest first.
    async fn hottest(&self, limit: u32) -> StorageResult<Vec<LinkKey>>;

    /// Links in the store, deleted ones included. Answers from an index, in constant time or close.
    async fn count(&self) -> StorageResult<u64>;

    /// Imports one batch, exactly once: when a batch with this `digest` was imported before, it
    /// answers what became of it then and changes nothing. `fingerprint` is of the rows as they
    /// were given: other rows under the same digest are a `Mismatch`. A code in use by a link of
    /// the same workspace with the same destination is `Unchanged`; by another, `Taken`, unless
    /// the entry has a series: then its next codes are tried. Clicks of new links are added to
    /// their totals. Batches under way at once are imported in the order in which their calls were
    /// first polled.
    async fn import(
        &self,
        digest: [u8; 16],
        fingerprint: KeyDigest,
        batch: Vec<ImportedLink>,
        act: Option<Act>,
    ) -> StorageResult<BatchAnswer>;

    /// Links made with the anonymous token `creator` that nobody took over, deleted and blocked
    /// ones left out, the newest first: at most `limit` with an id below `before`, and how many in
    /// all.
    async fn anonymous(
        &self,
        creator: Id,
        before: Option<Id>,
        limit: u32,
    ) -> StorageResult<(Vec<Link>, u64)>;

    /// True when `domain` has taken in a code of sealed shape that no sealing key made.
    async fn has_foreign_sealed(&self, domain: DomainId) -> StorageResult<bool>;
}

/// Outcome of claiming a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Won,
    Taken,
    ExternalIdTaken,
}

/// Outcome of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    Done,
    /// Somebody else changed it first, or it is not there.
    Stale,
    Taken,
    ExternalIdTaken,
}

/// A link from elsewhere, with what it brings along.
#[derive(Clone, Debug)]
pub struct ImportedLink {
    pub link: Link,
    pub clicks: u64,
    pub last_clicked_at: Option<Timestamp>,
    /// The code looks sealed but no key of ours opens it: its domain is marked.
    pub foreign_sealed: bool,
    /// The code was made, and these are the others to try when it is taken.
    pub series: Option<CodeSeries>,
}

/// What became of a batch, one answer per link, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchAnswer {
    New(Vec<Imported>),
    /// It was imported before. Links that got another code are `Created` here; empty when the
    /// batch is older than the memory of answers.
    Known(Vec<Imported>),
    /// Another batch was imported under this digest. Nothing was done.
    Mismatch,
}

/// Outcome of importing one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    Created,
    /// Created, at another code of its series.
    Recoded(LinkKey),
    Unchanged,
    Taken,
    ExternalIdTaken,
}

/// Order of a list. Ties are broken by id in the same direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LinkSort {
    #[default]
    CreatedDesc = 0,
    CreatedAsc = 1,
    UpdatedDesc = 2,
    ClicksDesc = 3,
    ClicksAsc = 4,
    /// Whatever the case of its letters.
    TitleAsc = 5,
}

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct LinkQuery {
    pub workspace: Id,
    /// Case-insensitive substring of code, destination, title or a tag.
    pub text: Option<String>,
    /// All of these tags.
    pub tags: Vec<String>,
    pub state: Option<LinkState>,
    pub domain: Option<DomainId>,
    pub created_via: Option<CreatedVia>,
    /// This moment included.
    pub created_after: Option<Timestamp>,
    /// This moment not included.
    pub created_before: Option<Timestamp>,
    pub external_id: Option<String>,
    pub sort: LinkSort,
    /// Where the previous page ended.
    pub after: Option<PageMark>,
    pub limit: u32,
    /// States such as `expired` are judged at this time.
    pub now: Timestamp,
}

/// Last row of a page: its sort value and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageMark {
    pub value: SortValue,
    pub id: Id,
}

/// What a list was sorted by, in one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SortValue {
    /// Milliseconds or clicks.
    Number(i64),
    Text(String),
}

#[derive(Clone, Debug, Default)]
pub struct LinkPage {
    pub links: Vec<Link>,
    /// Present when more rows follow.
    pub next: Option<PageMark>,
    pub total: u64,
}

/// Counted clicks. Written by the counters only, in units of journal segments.
#[async_trait]
pub trait ClickStore: Send + Sync + 'static {
    /// How far earlier flushes of `segment` came, and where its next one must end.
    async fn resume(&self, segment: SegmentId) -> StorageResult<Resume>;

    /// Stores the clicks of several segments. Sending the same again changes nothing, and after a
    /// `Timeout` it must be sent again, with the same bounds: some of it may be there. After every
    /// other failure nothing is. Kinds: `Unavailable`, `Timeout`, `Full` (retry), `Invalid`
    /// (`from_record` leaves a gap, or `to_record` is not where it must end).
    async fn flush(&self, clicks: Arc<Vec<SegmentClicks>>) -> StorageResult<()>;

    /// Forgets the positions of segments whose files are deleted.
    async fn release(&self, segments: Vec<SegmentId>) -> StorageResult<()>;

    /// Totals of the given links, in order; a link without clicks has zeros.
    async fn totals(&self, links: &[Id]) -> StorageResult<Vec<ClickTotals>>;

    /// Removes everything that is known of the clicks of `link`; the audit log tells of it as
    /// `act`, in the same write.
    async fn erase(&self, link: Id, act: Option<Act>) -> StorageResult<()>;

    /// The keys that hash the visitors of each UTC day. Makes those of `today` and of the day
    /// after, if there are none; destroys those of days before `oldest`, which nobody can hash with
    /// again.
    async fn visitor_keys(&self, oldest: u32, today: u32) -> StorageResult<Vec<(u32, VisitorKey)>>;

    /// Removes some of what is older than it is kept, the oldest first; true when more is left.
    async fn prune(&self, keep: Retention) -> StorageResult<bool>;

    /// Makes one of the sums that questions about workspaces are known to need, of days that are
    /// over, while there is time to spare; true when more may be to be made. A store that answers
    /// fast without needs no more.
    async fn roll_up(&self) -> StorageResult<bool> {
        Ok(false)
    }
}

/// Where a segment goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// Records that earlier flushes covered and that must not be added again; zero for a segment
    /// never seen.
    pub covered: u64,
    /// An earlier process began to flush the records up to this one, and nobody knows how much of
    /// them is there: the next flush must end exactly here, so that it replaces them.
    pub cut: Option<u64>,
}

/// The first UTC days, since the epoch, of which something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Single clicks.
    pub events_from: u32,
    /// Sums by hour and by dimension.
    pub details_from: u32,
}

/// What clicks add up to. Shows what was flushed.
#[async_trait]
pub trait StatsStore: Send + Sync + 'static {
    /// Sums of the clicks from `from` until before `to`, by UTC day. Days that lie within as a
    /// whole are exact as long as sums are kept. Of a day that lies within in part only, clicks are
    /// told apart by the millisecond while single clicks are kept, else by the hour, and its rows
    /// by dimension are then those of the whole day.
    async fn days(&self, of: StatsOf, from: Timestamp, to: Timestamp) -> StorageResult<RangeStats>;

    /// Sums of the clicks between each bound and the next, from single clicks: for buckets that
    /// are no whole hours. Empty where single clicks are not kept any more.
    async fn buckets(&self, of: StatsOf, bounds: Vec<Timestamp>)
    -> StorageResult<Vec<BucketStats>>;

    /// Single clicks of a link, the newest first.
    async fn events(&self, query: EventQuery) -> StorageResult<Vec<ClickEvent>>;

    /// Destinations that links had before, as (link, last version that had it, destination), in
    /// order. What is newer has the destination of the link as it is.
    async fn past_destinations(&self, links: &[Id]) -> StorageResult<Vec<(Id, u32, String)>>;
}

/// Whose clicks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatsOf {
    Link(Id),
    /// All links of a workspace, or those with a tag, or on a domain; deleted ones included.
    Workspace {
        id: Id,
        tag: Option<String>,
        domain: Option<DomainId>,
    },
}

/// Which single clicks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventQuery {
    pub link: Id,
    pub from: Timestamp,
    /// Not included.
    pub to: Timestamp,
    /// Only those with a smaller id: where the last page ended.
    pub before: Option<Id>,
    /// `None`: people and bots.
    pub bots: Option<bool>,
    pub limit: u32,
}

/// Workspaces and credentials. The audit log tells of what changes here as `act`, in the same
/// write; without one, nothing is told.
#[async_trait]
pub trait AccountStore: Send + Sync + 'static {
    /// On an empty store: makes the first workspace and its owner key and answers true. Else
    /// changes nothing and answers false. Exactly one of several racing callers gets true. The
    /// audit log begins with it.
    async fn bootstrap(&self, workspace: Workspace, key: ApiKey) -> StorageResult<bool>;

    /// The workspace that links without an account belong to: the one there is, or else `new`.
    async fn anonymous_workspace(&self, new: Workspace) -> StorageResult<Id>;

    /// The workspace that the first start made. `None`: nothing was started on this store yet.
    async fn operator_workspace(&self) -> StorageResult<Option<Workspace>>;

    /// Workspaces whose name, or whose id in decimal, is one of these: by id, so the oldest of a
    /// name first.
    async fn workspaces_called(&self, names: Vec<String>) -> StorageResult<Vec<Workspace>>;

    /// All keys, by id, revoked ones included.
    async fn keys(&self) -> StorageResult<Vec<KeyRecord>>;

    /// Stores a new key. False when its digest is already there.
    async fn add_key(&self, key: ApiKey, act: Option<Act>) -> StorageResult<bool>;

    /// Revokes. False when there is no such key. Revoking twice keeps the first time.
    async fn revoke_key(
        &self,
        key: ChosenKey,
        at: Timestamp,
        act: Option<Act>,
    ) -> StorageResult<bool>;

    /// Adds uses, as (key, uses since the last call, time of the last).
    async fn add_key_uses(&self, uses: Vec<(Id, u64, Timestamp)>) -> StorageResult<()>;

    /// A number that changes whenever another process may have changed keys. Cheap; polled.
    async fn keys_epoch(&self) -> StorageResult<u64>;
}

/// A key that somebody names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChosenKey {
    pub id: Id,
    pub workspace: Id,
    /// Only if it is a key of this user.
    pub of: Option<Id>,
}

/// A key, and what stands behind it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    pub key: ApiKey,
    /// What its user is in its workspace: owner for a key that is nobody's; `None` when the user
    /// is disabled, or no member any more.
    pub role: Option<Role>,
    /// The workspace is the operator's own.
    pub operator: bool,
}

/// The unit that owns links and keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    pub id: Id,
    pub name: String,
    /// Made by the first start: the operator's own, to which no default limit applies.
    pub operator: bool,
    pub created_at: Timestamp,
}

/// What keeps nodes apart, and one node apart from its own past.
#[async_trait]
pub trait NodeStore: Send + Sync + 'static {
    /// Takes `size` ids of `space` that nobody gets again; answers the first.
    async fn lease_block(&self, space: &str, size: u64) -> StorageResult<u64>;

    /// Highest time that ids of `node` may already carry; zero when it never ran.
    async fn clock_mark(&self, node: u16) -> StorageResult<Timestamp>;

    /// Raises the mark; a lower value changes nothing.
    async fn raise_clock_mark(&self, node: u16, mark: Timestamp) -> StorageResult<()>;

    /// Takes a node number that no other process has, for `holder`, for some minutes: `wanted`, or
    /// else the least one that is free. `None`: `wanted` is somebody else's, or none is free. A
    /// store of one process has nobody to keep apart.
    async fn lease_node(&self, wanted: Option<u16>, _holder: u64) -> StorageResult<Option<u16>> {
        Ok(Some(wanted.unwrap_or(0)))
    }

    /// Keeps it for some minutes more. False: it is somebody else's now.
    async fn renew_node(&self, _node: u16, _holder: u64) -> StorageResult<bool> {
        Ok(true)
    }

    /// Gives it back.
    async fn release_node(&self, _node: u16, _holder: u64) -> StorageResult<()> {
        Ok(())
    }

    /// Whether the store takes writes, as far as is known; fails with what keeps it from that. For
    /// probes: cheap while all is well. A store that can always be written to needs no more.
    async fn check_writes(&self) -> StorageResult<()> {
        Ok(())
    }
}
