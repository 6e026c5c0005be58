//! What access tokens cost: to sign, to verify for the first time, and again:
//! `cargo run --release --example token_figures`.

#![allow(clippy::print_stdout, reason = "its output is its purpose")]
#![expect(clippy::unwrap_used, reason = "it is a measurement")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use shunt::domain::account::Role;
use shunt::domain::api_key::Scopes;
use shunt::domain::id::Id;
use shunt::domain::time::{Clock, Timestamp};
use shunt::service::tokens::{AccessClaims, ChainParts, KeyChain, TokensConfig};
use shunt::storage::memory::MemoryStore;

const NOW: Timestamp = Timestamp(1_780_000_000_000);
/// Sessions that are active at once: fewer than are remembered.
const TOKENS: u64 = 20_000;
const ROUNDS: u64 = 10;

struct StillClock;

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

fn claims(session: u64) -> AccessClaims {
    AccessClaims {
        user: Id(7_400_000_000_000_000_000 + session),
        workspace: Id(7_400_000_000_000_000_001),
        role: Role::Member,
        scope: Scopes::EVERYTHING,
        session: Id(7_400_000_000_000_000_002 + session),
        generation: 3,
        issued_at: NOW,
        expires_at: NOW.plus_millis(900_000),
    }
}

/// Runs `work` for every token and tells how long each took on average.
fn measure(what: &str, n: u64, mut work: impl FnMut(usize)) {
    let started = Instant::now();
    for index in 0..n {
        work(index as usize);
    }
    let nanos = started.elapsed().as_nanos() as f64 / n as f64;
    println!("{what:<28} {nanos:>10.0} ns");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let parts = ChainParts {
        config: &TokensConfig::default(),
        public_url: "https://go.example",
        secret: &[9; 32],
        store: MemoryStore::new().signing,
        clock: Arc::new(StillClock),
    };
    let chain = KeyChain::open(parts).await.unwrap();
    let mut tokens = Vec::with_capacity(TOKENS as usize);
    measure("sign", TOKENS, |index| tokens.push(chain.sign(&claims(index as u64))));
    println!("{:<28} {:>10} bytes", "a token", tokens[0].len());
    measure("verify for the first time", TOKENS, |index| {
        black_box(chain.verify(&tokens[index], NOW).unwrap());
    });
    measure("verify again", TOKENS * ROUNDS, |index| {
        black_box(chain.verify(&tokens[index % tokens.len()], NOW).unwrap());
    });
    measure("verify the same one again", TOKENS * ROUNDS, |_| {
        black_box(chain.verify(&tokens[0], NOW).unwrap());
    });
}
