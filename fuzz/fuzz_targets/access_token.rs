//! Whatever comes as an access token: no panic, and only what a key of this installation signed is
//! taken, in one spelling and until it expires.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use shunt::domain::account::Role;
use shunt::domain::api_key::Scopes;
use shunt::domain::id::Id;
use shunt::domain::time::{Clock, Timestamp};
use shunt::service::tokens::{AccessClaims, ChainParts, KeyChain, TokenFault, TokensConfig};
use shunt::storage::memory::MemoryStore;

const NOW: Timestamp = Timestamp(1_780_000_000_000);

struct StillClock;

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// One process with one key, and another that does not know it.
static CHAINS: LazyLock<[KeyChain; 2]> = LazyLock::new(|| {
    let open = |secret: [u8; 32]| {
        let config = TokensConfig::default();
        let parts = ChainParts {
            config: &config,
            public_url: "https://go.example",
            secret: &secret,
            store: MemoryStore::new().signing,
            clock: Arc::new(StillClock),
        };
        let opened = actix::System::new().block_on(KeyChain::open(parts));
        opened.expect("a key is made")
    };
    [open([2; 32]), open([3; 32])]
});

// Taken as a text; and again as where to damage a token (two bytes), its role and its scopes (two),
// its user, its workspace, its session (eight each) and its generation (four).
fuzz_target!(|input: &[u8]| {
    let [ours, theirs] = &*CHAINS;
    let text = String::from_utf8_lossy(input);
    assert!(ours.verify(&text, NOW).is_err(), "nobody can have signed this");

    let Some((&[place, replacement, role, scopes], rest)) = input.split_first_chunk::<4>() else {
        return;
    };
    let Some((user, rest)) = rest.split_first_chunk::<8>() else { return };
    let Some((workspace, rest)) = rest.split_first_chunk::<8>() else { return };
    let Some((session, rest)) = rest.split_first_chunk::<8>() else { return };
    let Some(generation) = rest.first_chunk::<4>() else { return };
    let claims = AccessClaims {
        user: Id(u64::from_be_bytes(*user)),
        workspace: Id(u64::from_be_bytes(*workspace)),
        role: Role::ALL[usize::from(role) % Role::ALL.len()],
        scope: Scopes::from_bits(scopes & 0x3f),
        session: Id(u64::from_be_bytes(*session)),
        generation: u32::from_be_bytes(*generation),
        issued_at: NOW,
        expires_at: NOW.plus_millis(900_000),
    };
    let token = ours.sign(&claims);
    assert_eq!(ours.verify(&token, NOW), Ok(claims));
    assert_eq!(ours.verify(&token, NOW.plus_millis(1_000_000)), Err(TokenFault::Expired));
    assert!(theirs.verify(&token, NOW).is_err(), "signed by somebody else");

    let place = (usize::from(place) << 2 | usize::from(role) & 3) % token.len();
    let mut damaged = token.as_bytes().to_vec();
    damaged[place] = replacement;
    let damaged = String::from_utf8_lossy(&damaged);
    if damaged != token {
        assert!(ours.verify(&damaged, NOW).is_err(), "{damaged}");
    }
    assert!(ours.verify(&token[..place], NOW).is_err());
});
