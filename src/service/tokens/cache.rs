//! Tokens that were verified lately. A signature costs more than all else in a request, and a
//! caller shows the same token with each.
//!
//! Bounded by two generations: what is new goes into the young one, what is found in the old one
//! too; when the young one is full it becomes the old one, and the old one goes. Only tokens whose
//! signature was good come in, so strangers cannot fill it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use papaya::HashMap;

use super::claims::AccessClaims;

/// Tokens of one generation.
const GENERATION_TOKENS_MAX: usize = 50_000;

/// blake3 hash of a token's text.
pub(super) type TokenDigest = [u8; 32];

type Generation = Arc<HashMap<TokenDigest, AccessClaims, foldhash::fast::RandomState>>;

/// Claims by token.
pub(super) struct VerifiedTokens {
    generations: ArcSwap<Generations>,
    tokens_max: usize,
}

#[derive(Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

impl Default for VerifiedTokens {
    fn default() -> Self {
        Self::with_bound(GENERATION_TOKENS_MAX)
    }
}

impl VerifiedTokens {
    fn with_bound(tokens_max: usize) -> Self {
        Self { generations: ArcSwap::default(), tokens_max }
    }

    /// What the token with this digest says. Whether it is still good is the caller's to judge.
    pub(super) fn get(&self, digest: &TokenDigest) -> Option<AccessClaims> {
        let generations = self.generations.load();
        if let Some(claims) = generations.young.pin().get(digest) {
            return Some(*claims);
        }
        let claims = *generations.old.pin().get(digest)?;
        self.insert(*digest, claims);
        Some(claims)
    }

    pub(super) fn insert(&self, digest: TokenDigest, claims: AccessClaims) {
        let generations = self.generations.load();
        generations.young.pin().insert(digest, claims);
        if generations.young.len() >= self.tokens_max {
            let aged = Generations { young: Arc::default(), old: Arc::clone(&generations.young) };
            // Of several that find it full, one is first.
            self.generations.compare_and_swap(&*generations, Arc::new(aged));
        }
    }
}

/// The digest that a token is known by.
pub(super) fn digest(text: &str) -> TokenDigest {
    *blake3::hash(text.as_bytes()).as_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::domain::account::Role;
    use crate::domain::api_key::Scopes;
    use crate::domain::id::Id;
    use crate::domain::time::Timestamp;

    fn claims(user: u64) -> AccessClaims {
        AccessClaims {
            user: Id(user),
            workspace: Id(1),
            role: Role::Member,
            scope: Scopes::EVERYTHING,
            session: Id(2),
            generation: 3,
            issued_at: Timestamp(0),
            expires_at: Timestamp(1),
        }
    }

    fn name(n: u64) -> TokenDigest {
        digest(&n.to_string())
    }

    #[test]
    fn what_was_put_in_is_found() {
        let tokens = VerifiedTokens::default();
        assert_eq!(tokens.get(&name(1)), None);
        tokens.insert(name(1), claims(1));
        tokens.insert(name(2), claims(2));
        assert_eq!(tokens.get(&name(1)), Some(claims(1)));
        assert_eq!(tokens.get(&name(2)), Some(claims(2)));
    }

    #[test]
    fn it_holds_no_more_than_its_bound_and_keeps_what_is_used() {
        let tokens = VerifiedTokens::with_bound(10);
        for n in 0..1_000 {
            tokens.insert(name(n), claims(n));
            assert_eq!(tokens.get(&name(0)), Some(claims(0)), "after {n}");
        }
        let n_found = (0..1_000).filter(|n| tokens.get(&name(*n)).is_some()).count();
        assert!((10..=20).contains(&n_found), "{n_found}");
    }
}
