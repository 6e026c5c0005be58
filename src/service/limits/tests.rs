//! Limits over buckets in memory, on a clock that stands still until it is told.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::future::join_all;

use super::*;
use crate::domain::api_key::{ApiKey, Scopes};
use crate::domain::time::Timestamp;
use crate::storage::memory::MemoryStore;
use crate::storage::memory_buckets::MemoryBuckets;
use crate::storage::{StorageError, StorageErrorKind};

const MINUTE: u64 = 60_000;
const OPERATORS: Id = Id(10);
const THEIRS: Id = Id(20);
const ACCOUNT: [u8; 32] = [1; 32];

#[derive(Default)]
struct Hands(AtomicU64);

impl SteadyClock for Hands {
    fn elapsed_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Set {
    limiter: Arc<Limiter>,
    clock: Arc<Hands>,
    metrics: Arc<Metrics>,
}

impl Set {
    async fn up(config: LimitsConfig) -> Self {
        let buckets = Arc::new(MemoryBuckets::new(Default::default()));
        Self::over(config, Arc::clone(&buckets) as _, buckets).await
    }

    async fn over(
        config: LimitsConfig,
        buckets: Arc<dyn BucketStore>,
        local: Arc<dyn LocalBuckets>,
    ) -> Self {
        let accounts = MemoryStore::new().accounts;
        accounts.bootstrap(workspace(OPERATORS, "operator"), key()).await.unwrap();
        let (clock, metrics) = (Arc::new(Hands::default()), Metrics::new());
        let parts = LimiterParts {
            config,
            secret: [7; 32],
            buckets,
            local,
            accounts,
            clock: Arc::clone(&clock) as _,
            metrics: Arc::clone(&metrics),
        };
        Self { limiter: Arc::new(Limiter::open(parts).await.unwrap()), clock, metrics }
    }

    fn pass(&self, millis: u64) {
        self.clock.0.fetch_add(millis, Ordering::Relaxed);
    }

    fn refused(&self, limit: Limit) -> u64 {
        self.metrics.rate_limited.get_or_create(&LimitLabel { limit: limit.as_str() }).get()
    }

    /// A failed login; whether it was let try.
    async fn fails(&self, client: &str, account: [u8; 32], known: bool) -> bool {
        match self.limiter.login(address(client), Some(&account), known).await {
            Ok(attempt) => {
                attempt.failed();
                true
            }
            Err(_) => false,
        }
    }
}

fn workspace(id: Id, name: &str) -> Workspace {
    let operator = id == OPERATORS;
    Workspace { id, name: name.to_owned(), operator, created_at: Timestamp(0) }
}

fn key() -> ApiKey {
    ApiKey {
        id: Id(1),
        workspace: OPERATORS,
        user: None,
        name: "owner".to_owned(),
        prefix: "shunt_000000".to_owned(),
        digest: [0; 32],
        scopes: Scopes::EVERYTHING,
        created_at: Timestamp(0),
        expires_at: None,
        last_used_at: None,
        uses: 0,
        revoked_at: None,
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn subject(workspace: Id, key: u64) -> Subject {
    let key = Id(key);
    Subject { workspace, operator: workspace == OPERATORS, key: Some(key), account: key }
}

fn remaining(allowance: &Allowance) -> Vec<(&'static str, u32)> {
    let told = allowance.0.iter().map(|one| (one.limit.as_str(), one.verdict.remaining));
    told.collect()
}

#[tokio::test]
async fn keys_of_one_workspace_share_its_budget() {
    let config =
        LimitsConfig { key_requests_per_hour: 3, workspace_requests_per_minute: 4, ..no_limits() };
    let set = Set::up(config).await;
    let (one, other) = (subject(THEIRS, 1), subject(THEIRS, 2));
    for left in [2, 1, 0] {
        let allowance = set.limiter.request(&one).await;
        assert_eq!(remaining(&allowance), [("key", left), ("workspace", left + 1)]);
    }
    let refused = set.limiter.request(&one).await;
    assert_eq!((refused.refused_by(), refused.retry_after_secs()), (Some(Limit::Key), 1_200));
    assert_eq!(remaining(&refused), [("key", 0), ("workspace", 1)], "the workspace lost nothing");
    assert!(set.limiter.request(&other).await.allowed());
    let refused = set.limiter.request(&other).await;
    assert_eq!(refused.refused_by(), Some(Limit::Workspace));
    assert_eq!(remaining(&refused), [("key", 2), ("workspace", 0)], "the key lost nothing");
    assert_eq!((set.refused(Limit::Key), set.refused(Limit::Workspace)), (1, 1));
    set.pass(MINUTE);
    assert!(set.limiter.request(&other).await.allowed());
    assert!(set.limiter.request(&subject(Id(30), 3)).await.allowed(), "a neighbour");
}

fn no_limits() -> LimitsConfig {
    LimitsConfig::unlimited()
}

#[tokio::test]
async fn the_operators_workspace_has_no_limit_unless_it_is_named() {
    let config = LimitsConfig {
        link_creates_per_hour: 1,
        key_requests_per_hour: 1,
        workspace_requests_per_minute: 1,
        ..no_limits()
    };
    let set = Set::up(config.clone()).await;
    for _ in 0..100 {
        assert_eq!(set.limiter.request(&subject(OPERATORS, 1)).await, Allowance::default());
        assert_eq!(set.limiter.creates(&subject(OPERATORS, 1), 9).await, Allowance::default());
    }
    let named = WorkspaceLimits {
        name: "operator".to_owned(),
        key_requests_per_hour: Some(2),
        ..WorkspaceLimits::default()
    };
    let set = Set::up(LimitsConfig { workspaces: vec![named], ..config }).await;
    assert_eq!(remaining(&set.limiter.request(&subject(OPERATORS, 1)).await), [("key", 1)]);
    assert!(set.limiter.creates(&subject(OPERATORS, 1), 9).await.0.is_empty());
    let theirs = set.limiter.request(&subject(THEIRS, 9)).await;
    assert_eq!(remaining(&theirs), [("key", 0), ("workspace", 0)]);
}

#[tokio::test]
async fn a_workspace_is_named_by_its_id_too() {
    let named = WorkspaceLimits {
        name: OPERATORS.to_string(),
        link_creates_per_hour: Some(2),
        ..WorkspaceLimits::default()
    };
    let set = Set::up(LimitsConfig { workspaces: vec![named], ..no_limits() }).await;
    let made = set.limiter.creates(&subject(OPERATORS, 1), 1).await;
    assert_eq!(remaining(&made), [("link_creates", 1)]);
}

#[tokio::test]
async fn links_are_counted_one_by_one_and_those_not_made_are_given_back() {
    let set = Set::up(LimitsConfig { link_creates_per_hour: 10, ..no_limits() }).await;
    let caller = subject(THEIRS, 1);
    assert!(set.limiter.creates(&caller, 7).await.allowed());
    let refused = set.limiter.creates(&caller, 4).await;
    assert_eq!(remaining(&refused), [("link_creates", 3)], "refused whole");
    assert_eq!(refused.retry_after_secs(), 360);
    assert_eq!(remaining(&set.limiter.not_created(&caller, 5).await), [("link_creates", 8)]);
    let same_account = Subject { key: Some(Id(2)), ..caller };
    assert!(set.limiter.creates(&same_account, 8).await.allowed());
    assert!(!set.limiter.creates(&caller, 1).await.allowed());
}

#[tokio::test]
async fn whoever_is_not_known_is_counted_by_network() {
    let config = LimitsConfig { unauthenticated_requests_per_minute: 2, ..no_limits() };
    let set = Set::up(config).await;
    for (client, allowed) in [
        ("203.0.113.1", true),
        ("203.0.113.2", true),
        ("::ffff:203.0.113.3", false),
        ("203.0.112.1", true),
        ("2001:db8::1", true),
        ("2001:db8::2", true),
        ("2001:db8::3", false),
        ("2001:db8:0:1::3", true),
    ] {
        assert_eq!(
            set.limiter.unauthenticated(address(client)).await.allowed(),
            allowed,
            "{client}"
        );
    }
    set.limiter.was_authenticated(address("203.0.113.77")).await;
    assert!(set.limiter.unauthenticated(address("203.0.113.1")).await.allowed());
}

#[tokio::test]
async fn a_thousand_guesses_at_once_get_five_tries() {
    let set = Set::up(LimitsConfig::default()).await;
    let tries = join_all((0..1_000).map(|_| set.fails("203.0.113.1", ACCOUNT, true))).await;
    assert_eq!(tries.iter().filter(|tried| **tried).count(), 5);
    assert_eq!(set.refused(Limit::Login), 995);
    set.pass(3 * MINUTE - 1);
    assert!(!set.fails("203.0.113.1", ACCOUNT, true).await);
    set.pass(1);
    assert!(set.fails("203.0.113.1", ACCOUNT, true).await);
    assert!(!set.fails("203.0.113.1", ACCOUNT, true).await);
}

#[tokio::test]
async fn strangers_cannot_lock_anybody_out_of_a_place_they_use() {
    let set = Set::up(LimitsConfig::default()).await;
    let mut n_tried = 0;
    for network in 0..250 {
        for _ in 0..5 {
            let client = format!("198.51.{network}.9");
            n_tried += u32::from(set.fails(&client, ACCOUNT, false).await);
        }
    }
    assert_eq!(n_tried, 100, "what strangers from anywhere get together");
    let client = address("203.0.113.1");
    assert!(set.limiter.login(client, Some(&ACCOUNT), false).await.is_err(), "a new place");
    let attempt = set.limiter.login(client, Some(&ACCOUNT), true).await.unwrap();
    attempt.succeeded().await;
    assert!(set.fails("203.0.113.1", [2; 32], false).await, "another account");
}

#[tokio::test]
async fn a_client_that_tries_many_accounts_is_stopped() {
    let set = Set::up(LimitsConfig::default()).await;
    let mut n_tried = 0;
    for account in 0..100 {
        n_tried += u32::from(set.fails("203.0.113.1", [account; 32], true).await);
    }
    assert_eq!(n_tried, 50);
    let client = address("203.0.113.200");
    let refused = set.limiter.login(client, None, false).await.err().unwrap();
    assert_eq!(refused.retry_after, Duration::from_secs(18));
    assert_eq!(remaining(&refused.shown), [("login_client", 0)]);
}

#[tokio::test]
async fn a_right_password_clears_the_pair_and_nothing_else() {
    let set = Set::up(LimitsConfig::default()).await;
    let client = address("203.0.113.1");
    for _ in 0..4 {
        assert!(set.fails("203.0.113.1", ACCOUNT, false).await);
    }
    let attempt = set.limiter.login(client, Some(&ACCOUNT), false).await.unwrap();
    let shown = [("login", 0), ("login_client", 45)];
    assert_eq!(remaining(&attempt.shown()), shown, "nothing of the account");
    attempt.succeeded().await;
    for _ in 0..5 {
        assert!(set.fails("203.0.113.1", ACCOUNT, false).await);
    }
    assert!(!set.fails("203.0.113.1", ACCOUNT, false).await);
    let attempt = set.limiter.login(client, Some(&[2; 32]), true).await.unwrap();
    assert_eq!(remaining(&attempt.shown()), [("login", 4), ("login_client", 40)]);
    attempt.cancelled().await;
    let attempt = set.limiter.login(client, Some(&[2; 32]), true).await.unwrap();
    assert_eq!(remaining(&attempt.shown()), [("login", 4), ("login_client", 40)]);
}

#[tokio::test]
async fn the_password_of_a_link_has_a_budget_of_its_own() {
    let set = Set::up(LimitsConfig::default()).await;
    let client = address("203.0.113.1");
    for _ in 0..10 {
        set.limiter.link_password(Id(1), client).await.unwrap().failed();
    }
    assert!(set.limiter.link_password(Id(1), address("203.0.113.9")).await.is_err());
    assert!(set.limiter.link_password(Id(1), address("203.0.112.1")).await.is_ok());
    set.limiter.link_password(Id(2), client).await.unwrap().succeeded().await;
    for _ in 0..10 {
        set.limiter.link_password(Id(2), client).await.unwrap().failed();
    }
    assert!(set.limiter.link_password(Id(2), client).await.is_err());
    assert!(set.fails("203.0.113.1", ACCOUNT, true).await);
    assert_eq!(set.refused(Limit::LinkPassword), 2);
}

#[tokio::test]
async fn registrations_and_mails_have_bounds() {
    let set = Set::up(LimitsConfig::default()).await;
    for n in 0..25 {
        let client = address(&format!("203.0.113.{n}"));
        assert_eq!(set.limiter.registration(client).await.is_ok(), n < 20, "{n}");
    }
    for n in 0..7 {
        assert_eq!(set.limiter.mail(&ACCOUNT).await.is_ok(), n < 5, "{n}");
    }
    assert!(set.limiter.mail(&[2; 32]).await.is_ok());
}

#[tokio::test]
async fn what_is_not_limited_costs_and_tells_nothing() {
    let set = Set::up(no_limits()).await;
    let client = address("203.0.113.1");
    for _ in 0..1_000 {
        assert_eq!(set.limiter.request(&subject(THEIRS, 1)).await, Allowance::default());
        assert_eq!(set.limiter.creates(&subject(THEIRS, 1), 1_000).await, Allowance::default());
        assert_eq!(set.limiter.unauthenticated(client).await, Allowance::default());
        assert!(set.fails("203.0.113.1", ACCOUNT, false).await);
    }
    let visits = set.limiter.visits();
    assert!(visits.redirects.is_none() && visits.unknown_codes.is_none());
}

#[tokio::test]
async fn visits_are_counted_by_network_where_the_operator_says_so() {
    let config =
        LimitsConfig { redirects_per_minute: 2, unknown_codes_per_minute: 1, ..no_limits() };
    let set = Set::up(config).await;
    let VisitLimits { redirects, unknown_codes } = set.limiter.visits();
    let (redirects, unknown_codes) = (redirects.unwrap(), unknown_codes.unwrap());
    let [one, neighbour] = ["203.0.113.1", "203.0.113.2"].map(address);
    assert!(redirects.take(one).verdict.allowed && redirects.take(neighbour).verdict.allowed);
    assert!(!redirects.take(one).verdict.allowed);
    assert!(unknown_codes.take(one).verdict.allowed, "a budget of its own");
    assert!(!unknown_codes.take(neighbour).verdict.allowed);
    set.pass(MINUTE / 2);
    assert!(redirects.take(one).verdict.allowed);
}

/// Buckets that cannot be had.
struct Gone;

impl Gone {
    fn answer<T>() -> StorageResult<T> {
        Err(StorageError::new(StorageErrorKind::Unavailable, "take", "it is gone"))
    }
}

#[async_trait]
impl BucketStore for Gone {
    async fn take(&self, _takes: &[Take], _now_ms: u64) -> StorageResult<Vec<Verdict>> {
        Self::answer()
    }

    async fn peek(&self, _takes: &[Take], _now_ms: u64) -> StorageResult<Vec<Verdict>> {
        Self::answer()
    }

    async fn put_back(&self, _takes: &[Take], _now_ms: u64) -> StorageResult<Vec<Verdict>> {
        Self::answer()
    }

    async fn fill(&self, _bucket: BucketKey) -> StorageResult<()> {
        Self::answer()
    }
}

#[tokio::test]
async fn without_buckets_requests_pass_and_guesses_wait() {
    let local = Arc::new(MemoryBuckets::new(Default::default()));
    let set = Set::over(LimitsConfig::default(), Arc::new(Gone), local).await;
    assert_eq!(set.limiter.request(&subject(THEIRS, 1)).await, Allowance::default());
    assert_eq!(set.limiter.creates(&subject(THEIRS, 1), 1).await, Allowance::default());
    let refused = set.limiter.login(address("203.0.113.1"), Some(&ACCOUNT), true).await.err();
    assert_eq!(refused.unwrap().retry_after, Duration::from_secs(1));
    assert_eq!(set.metrics.rate_limit_unkept.get(), 3);
}
