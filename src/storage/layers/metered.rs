//! Times every call to a store: `shunt_store_duration_seconds{store,op,outcome}`.
//!
//! The handle of a success is resolved at start; that of a failure when it happens, so that
//! `/metrics` does not list failures nobody has seen.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::domain::account::{AccessChange, ClientDigest, Member, Role, Session, User};
use crate::domain::api_key::{ApiKey, KeyDigest};
use crate::domain::audit::{Act, AuditDraft};
use crate::domain::click::{ClickTotals, SegmentId};
use crate::domain::code::{DomainId, LinkKey};
use crate::domain::counted::SegmentClicks;
use crate::domain::email::Email;
use crate::domain::event::ClickEvent;
use crate::domain::id::Id;
use crate::domain::link::Link;
use crate::domain::stats::{BucketStats, RangeStats};
use crate::domain::time::Timestamp;
use crate::domain::visitor::VisitorKey;
use crate::storage::audit::{AuditPage, AuditQuery, AuditStore};
use crate::storage::people::{
    Erasure, Invitation, NewUser, PasswordChange, RoleSet, SessionStore, StoredTicket, TeamStore,
    UserAdded, UserChange, UserChanged, UserStore,
};
use crate::storage::signing::{SigningKeyStore, StoredSigningKey};
use crate::storage::{
    AccountStore, BatchAnswer, ChosenKey, Claim, ClickStore, EventQuery, ImportedLink, KeptAnswer,
    KeyRecord, LinkPage, LinkQuery, LinkStore, NodeStore, Op, Replace, Replay, ReplayKey,
    ReplayStore, Resume, Retention, StatsOf, StatsStore, StorageErrorKind, StorageResult, Stores,
    Workspace,
};
use crate::telemetry::metrics::{Metrics, StoreLabels};

/// The same stores, every call timed under the label `store`.
pub fn metered(stores: Stores, store: &'static str, metrics: &Metrics) -> Stores {
    let family = &metrics.store_duration;
    Stores {
        links: Arc::new(Links::new(stores.links, store, family)),
        clicks: Arc::new(Clicks::new(stores.clicks, store, family)),
        stats: Arc::new(Stats::new(stores.stats, store, family)),
        accounts: Arc::new(Accounts::new(stores.accounts, store, family)),
        users: Arc::new(Users::new(stores.users, store, family)),
        teams: Arc::new(Teams::new(stores.teams, store, family)),
        sessions: Arc::new(Sessions::new(stores.sessions, store, family)),
        nodes: Arc::new(Nodes::new(stores.nodes, store, family)),
        replays: Arc::new(Replays::new(stores.replays, store, family)),
        signing: Arc::new(Signing::new(stores.signing, store, family)),
        audit: Arc::new(Audit::new(stores.audit, store, family)),
    }
}

/// Times one operation.
struct Timer {
    store: &'static str,
    op: Op,
    succeeded: Histogram,
    family: Family<StoreLabels, Histogram>,
}

impl Timer {
    fn new(store: &'static str, op: Op, family: &Family<StoreLabels, Histogram>) -> Self {
        let succeeded = family.get_or_create(&StoreLabels { store, op, outcome: "ok" }).clone();
        Self { store, op, succeeded, family: family.clone() }
    }

    async fn time<T>(&self, call: impl Future<Output = StorageResult<T>>) -> StorageResult<T> {
        let started = Instant::now();
        let result = call.await;
        let seconds = started.elapsed().as_secs_f64();
        match &result {
            Ok(_) => self.succeeded.observe(seconds),
            Err(error) => {
                let outcome = outcome_of(error.kind);
                let labels = StoreLabels { store: self.store, op: self.op, outcome };
                self.family.get_or_create(&labels).observe(seconds);
            }
        }
        result
    }
}

const fn outcome_of(kind: StorageErrorKind) -> &'static str {
    match kind {
        StorageErrorKind::Unavailable => "unavailable",
        StorageErrorKind::Timeout => "timeout",
        StorageErrorKind::Full => "full",
        StorageErrorKind::Corrupt => "corrupt",
        StorageErrorKind::Damaged => "damaged",
        StorageErrorKind::TooMany => "too_many",
        StorageErrorKind::Invalid => "invalid",
    }
}

/// One wrapper per port: a timer per method, named by its operation.
macro_rules! metered_ports {
    ($($wrapper:ident wraps $port:ident {
        $($op:literal = $method:ident($($arg:ident: $type:ty),* $(,)?) -> $answer:ty;)+
    })+) => {
        $(
            struct $wrapper {
                inner: Arc<dyn $port>,
                $($method: Timer,)+
            }

            impl $wrapper {
                fn new(
                    inner: Arc<dyn $port>,
                    store: &'static str,
                    family: &Family<StoreLabels, Histogram>,
                ) -> Self {
                    Self { inner, $($method: Timer::new(store, $op, family),)+ }
                }
            }

            #[async_trait]
            impl $port for $wrapper {
                $(
                    async fn $method(&self, $($arg: $type),*) -> StorageResult<$answer> {
                        self.$method.time(self.inner.$method($($arg),*)).await
                    }
                )+
            }
        )+
    };
}

metered_ports! {
    Links wraps LinkStore {
        "fetch_link" = fetch(key: &LinkKey) -> Option<Link>;
        "read_link" = read(key: &LinkKey) -> Option<Link>;
        "fetch_links" = fetch_all(ids: &[Id]) -> Vec<Link>;
        "claim_links" = claim(links: Vec<Link>, act: Option<Act>) -> Vec<Claim>;
        "replace_link" = replace(link: Link, act: Option<Act>) -> Replace;
        "relocate_link" = relocate(
            from: &LinkKey,
            link: Link,
            tombstone_id: Id,
            act: Option<Act>,
        ) -> Replace;
        "find_by_destination" = find_by_destination(
            workspace: Id,
            domain: DomainId,
            destination: &str,
            limit: u32,
        ) -> Vec<Link>;
        "list_links" = list(query: &LinkQuery) -> LinkPage;
        "list_tags" = tags(workspace: Id) -> Vec<(String, u64)>;
        "scan_links" = scan(after: Id, limit: u32) -> Vec<Link>;
        "hottest_links" = hottest(limit: u32) -> Vec<LinkKey>;
        "count_links" = count() -> u64;
        "import_links" = import(
            digest: [u8; 16],
            fingerprint: KeyDigest,
            batch: Vec<ImportedLink>,
            act: Option<Act>,
        ) -> BatchAnswer;
        "anonymous_links" = anonymous(
            creator: Id,
            before: Option<Id>,
            limit: u32,
        ) -> (Vec<Link>, u64);
        "has_foreign_sealed" = has_foreign_sealed(domain: DomainId) -> bool;
    }
    Clicks wraps ClickStore {
        "resume_clicks" = resume(segment: SegmentId) -> Resume;
        "flush_clicks" = flush(clicks: Arc<Vec<SegmentClicks>>) -> ();
        "release_segments" = release(segments: Vec<SegmentId>) -> ();
        "click_totals" = totals(links: &[Id]) -> Vec<ClickTotals>;
        "erase_clicks" = erase(link: Id, act: Option<Act>) -> ();
        "visitor_keys" = visitor_keys(oldest: u32, today: u32) -> Vec<(u32, VisitorKey)>;
        "prune_clicks" = prune(keep: Retention) -> bool;
        "roll_up_clicks" = roll_up() -> bool;
    }
    Stats wraps StatsStore {
        "stats_days" = days(of: StatsOf, from: Timestamp, to: Timestamp) -> RangeStats;
        "stats_buckets" = buckets(of: StatsOf, bounds: Vec<Timestamp>) -> Vec<BucketStats>;
        "stats_events" = events(query: EventQuery) -> Vec<ClickEvent>;
        "past_destinations" = past_destinations(links: &[Id]) -> Vec<(Id, u32, String)>;
    }
    Accounts wraps AccountStore {
        "bootstrap" = bootstrap(workspace: Workspace, key: ApiKey) -> bool;
        "anonymous_workspace" = anonymous_workspace(new: Workspace) -> Id;
        "operator_workspace" = operator_workspace() -> Option<Workspace>;
        "workspaces_called" = workspaces_called(names: Vec<String>) -> Vec<Workspace>;
        "keys" = keys() -> Vec<KeyRecord>;
        "add_key" = add_key(key: ApiKey, act: Option<Act>) -> bool;
        "revoke_key" = revoke_key(
            key: ChosenKey,
            at: Timestamp,
            act: Option<Act>,
        ) -> bool;
        "add_key_uses" = add_key_uses(uses: Vec<(Id, u64, Timestamp)>) -> ();
        "keys_epoch" = keys_epoch() -> u64;
    }
    Users wraps UserStore {
        "add_user" = add_user(new: NewUser) -> UserAdded;
        "user" = user(id: Id) -> Option<User>;
        "user_by_email" = user_by_email(email: &Email) -> Option<User>;
        "users" = users(after: Id, limit: u32) -> Vec<User>;
        "change_user" = change_user(id: Id, change: UserChange, at: Timestamp) -> UserChanged;
        "verify_email" = verify_email(id: Id, at: Timestamp) -> bool;
        "set_password" = set_password(
            id: Id,
            change: PasswordChange,
            at: Timestamp,
        ) -> Option<Vec<Id>>;
        "rehash_password" = rehash_password(id: Id, from: &str, to: &str) -> ();
        "disable_user" = disable_user(id: Id, disabled: bool, at: Timestamp) -> Option<Vec<Id>>;
        "erase_user" = erase_user(id: Id, at: Timestamp) -> Erasure;
        "user_by_identity" = user_by_identity(issuer: &str, subject: &str) -> Option<User>;
        "add_identity" = add_identity(
            user: Id,
            issuer: &str,
            subject: &str,
            at: Timestamp,
        ) -> bool;
    }
    Teams wraps TeamStore {
        "memberships" = memberships(user: Id) -> Vec<(Workspace, Member)>;
        "members" = members(workspace: Id) -> Vec<(Member, User)>;
        "add_workspace" = add_workspace(workspace: Workspace, owner: Id, most: usize) -> bool;
        "rename_workspace" = rename_workspace(id: Id, name: &str) -> bool;
        "set_role" = set_role(
            workspace: Id,
            user: Id,
            role: Option<Role>,
            at: Timestamp,
        ) -> RoleSet;
        "add_invitation" = add_invitation(invitation: Invitation, most: usize) -> bool;
        "invitations" = invitations(workspace: Id, now: Timestamp) -> Vec<Invitation>;
        "invitation" = invitation(digest: &[u8; 32], now: Timestamp) -> Option<Invitation>;
        "remove_invitation" = remove_invitation(workspace: Id, id: Id) -> bool;
        "accept_invitation" = accept_invitation(
            digest: &[u8; 32],
            user: Id,
            now: Timestamp,
        ) -> Option<Member>;
        "closed_workspaces" = closed_workspaces() -> Vec<Id>;
        "finish_closing" = finish_closing(workspace: Id) -> ();
    }
    Sessions wraps SessionStore {
        "add_session" = add_session(session: Session, most: usize) -> Option<Vec<Id>>;
        "session" = session(id: Id) -> Option<Session>;
        "rotate_session" = rotate_session(next: Session) -> bool;
        "end_session" = end_session(id: Id, at: Timestamp) -> bool;
        "end_sessions" = end_sessions(user: Id, at: Timestamp) -> Vec<Id>;
        "knows_client" = knows_client(user: Id, client: &ClientDigest) -> bool;
        "access_changes" = access_changes(after: u64) -> Vec<(u64, Timestamp, AccessChange)>;
        "add_ticket" = add_ticket(ticket: StoredTicket) -> ();
        "ticket" = ticket(digest: &[u8; 32], kind: u8, now: Timestamp) -> Option<Id>;
        "take_ticket" = take_ticket(
            digest: &[u8; 32],
            kind: u8,
            now: Timestamp,
        ) -> Option<Id>;
        "prune_access" = prune_access(now: Timestamp, changes_before: Timestamp) -> ();
    }
    Nodes wraps NodeStore {
        "lease_block" = lease_block(space: &str, size: u64) -> u64;
        "clock_mark" = clock_mark(node: u16) -> Timestamp;
        "raise_clock_mark" = raise_clock_mark(node: u16, mark: Timestamp) -> ();
        "check_writes" = check_writes() -> ();
    }
    Replays wraps ReplayStore {
        "begin_replay" = begin(
            key: &ReplayKey,
            fingerprint: KeyDigest,
            ids: &[Id],
            now: Timestamp,
        ) -> Replay;
        "finish_replay" = finish(
            key: &ReplayKey,
            fingerprint: KeyDigest,
            answer: KeptAnswer,
            now: Timestamp,
        ) -> ();
        "abandon_replay" = abandon(key: &ReplayKey, fingerprint: KeyDigest) -> ();
    }
    Signing wraps SigningKeyStore {
        "signing_keys" = signing_keys() -> Vec<StoredSigningKey>;
        "add_signing_key" = add_signing_key(
            new: StoredSigningKey,
            retire: Option<(String, Timestamp)>,
        ) -> bool;
        "drop_signing_keys" = drop_signing_keys(now: Timestamp) -> ();
    }
    Audit wraps AuditStore {
        "append_audit" = append(entries: Vec<AuditDraft>) -> ();
        "audit_log" = audit_log(query: AuditQuery) -> AuditPage;
        "audit_count" = audit_count(query: AuditQuery) -> u64;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryStore;

    #[tokio::test]
    async fn calls_are_timed_by_operation_and_outcome() {
        let metrics = Metrics::new();
        let stores = metered(MemoryStore::new(), "memory", &metrics);
        assert_eq!(stores.links.count().await.unwrap(), 0);
        let gap = SegmentClicks { from_record: 5, to_record: 6, ..SegmentClicks::default() };
        assert!(stores.clicks.flush(Arc::new(vec![gap])).await.is_err());
        let text = metrics.render().unwrap();
        let sample = |op: &str, outcome: &str| {
            format!(
                "shunt_store_duration_seconds_count\
                 {{store=\"memory\",op=\"{op}\",outcome=\"{outcome}\"}} 1"
            )
        };
        assert!(text.contains(&sample("count_links", "ok")), "{text}");
        assert!(text.contains(&sample("flush_clicks", "invalid")), "{text}");
        assert!(!text.contains(&sample("fetch_link", "ok")));
    }
}
