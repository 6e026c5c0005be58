//! What it costs to know who sends a request: `cargo run --release --example auth_figures`. Processor
//! time of one thread, per call, for as many keys and sessions as a busy node sees.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::unwrap_used, reason = "it is a measurement")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use shunt::domain::account::Role;
use shunt::domain::api_key::{ApiKey, KeyText, Scopes};
use shunt::domain::id::Id;
use shunt::domain::time::{Clock, Timestamp};
use shunt::service::accounts::{Access, AccessParts};
use shunt::service::ids::IdSource;
use shunt::service::keys::KeyRing;
use shunt::service::tokens::{AccessClaims, ChainParts, KeyChain, TokensConfig};
use shunt::storage::Workspace;
use shunt::storage::memory::MemoryStore;

const NOW: Timestamp = Timestamp(1_780_000_000_000);
const SECRET: [u8; 32] = [9; 32];
const HOME: Id = Id(7_400_000_000_000_000_001);
/// Keys and sessions that are in use at once.
const CALLERS: u64 = 20_000;
const ROUNDS: u64 = 20;
/// What a request may cost, in nanoseconds.
const BAR_NS: f64 = 20_000.0;

struct StillClock;

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// Runs `work` `n` times and tells how much processor time each took.
fn measure(what: &str, n: u64, mut work: impl FnMut(usize)) {
    let before = thread_cpu();
    (0..n).for_each(|index| work(index as usize));
    let nanos = (thread_cpu() - before).as_nanos() as f64 / n as f64;
    let share = nanos / BAR_NS * 100.0;
    println!("{what:<44} {nanos:>8.0} ns, {share:>5.1} % of the bar");
}

fn key(number: u64) -> KeyText {
    let mut entropy = [0; 32];
    entropy[..8].copy_from_slice(&number.to_le_bytes());
    KeyText::from_entropy(&entropy)
}

fn stored(number: u64, text: &KeyText) -> ApiKey {
    ApiKey {
        id: Id(number + 1),
        workspace: HOME,
        user: None,
        name: "measured".to_owned(),
        prefix: text.prefix().to_owned(),
        digest: text.digest(&SECRET),
        scopes: Scopes::EVERYTHING,
        created_at: NOW,
        expires_at: None,
        last_used_at: None,
        uses: 0,
        revoked_at: None,
    }
}

fn claims(session: u64) -> AccessClaims {
    AccessClaims {
        user: Id(HOME.0 + session),
        workspace: HOME,
        role: Role::Member,
        scope: Role::Member.scopes(),
        session: Id(HOME.0 + session),
        generation: 3,
        issued_at: NOW,
        expires_at: NOW.plus_millis(900_000),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let stores = MemoryStore::new();
    let clock: Arc<dyn Clock> = Arc::new(StillClock);
    let ids = IdSource::open(1, Arc::clone(&stores.nodes), Arc::clone(&clock)).await.unwrap();
    let keys: Vec<KeyText> = (0..CALLERS).map(key).collect();
    let home = Workspace { id: HOME, name: "home".to_owned(), operator: false, created_at: NOW };
    assert!(stores.accounts.bootstrap(home, stored(0, &keys[0])).await.unwrap());
    for (number, text) in (1..).zip(&keys[1..]) {
        stores.accounts.add_key(stored(number, text), None).await.unwrap();
    }
    let accounts = Arc::clone(&stores.accounts);
    let ring = KeyRing::open(SECRET, accounts, Arc::new(ids), Arc::clone(&clock)).await.unwrap();
    let parts = ChainParts {
        config: &TokensConfig::default(),
        public_url: "https://go.example",
        secret: &SECRET,
        store: Arc::clone(&stores.signing),
        clock: Arc::clone(&clock),
    };
    let chain = Arc::new(KeyChain::open(parts).await.unwrap());
    let parts = AccessParts {
        keys: Arc::new(ring),
        tokens: Arc::clone(&chain),
        accounts: stores.accounts,
        sessions: stores.sessions,
        clock,
    };
    let access = Access::open(parts).await.unwrap();
    let tokens: Vec<String> = (0..CALLERS).map(|session| chain.sign(&claims(session))).collect();

    measure("a key, of 20,000 in turn", CALLERS * ROUNDS, |index| {
        black_box(access.keys().authenticate(keys[index % keys.len()].as_str()).unwrap());
    });
    measure("the same key", CALLERS * ROUNDS, |_| {
        black_box(access.keys().authenticate(keys[0].as_str()).unwrap());
    });
    measure("a token for the first time, which is rare", CALLERS, |index| {
        black_box(access.token(&tokens[index]).unwrap());
    });
    measure("a token seen before, of 20,000 in turn", CALLERS * ROUNDS, |index| {
        black_box(access.token(&tokens[index % tokens.len()]).unwrap());
    });
    measure("the same token", CALLERS * ROUNDS, |_| {
        black_box(access.token(&tokens[0]).unwrap());
    });
}
