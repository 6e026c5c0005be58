//! Remembers what user agents were found to be, since most visitors come with the same few.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use foldhash::quality::RandomState;

/// Most answers that are remembered.
pub const AGENTS_REMEMBERED_MAX: usize = 65_536;
/// Answers of one generation; a full one pushes the other out.
const GENERATION_MAX: usize = AGENTS_REMEMBERED_MAX / 2;

/// Remembers classifications. Bounded by `AGENTS_REMEMBERED_MAX`.
///
/// A user agent is known by 64 bits of its hash, keyed anew for each memo: two that share them
/// would share an answer, which nobody can bring about who does not see the key.
pub struct AgentMemo<T> {
    key: RandomState,
    young: Generation<T>,
    old: Generation<T>,
}

type Generation<T> = HashMap<u64, T, BuildHasherDefault<Digest>>;

/// Hashes digests, which are spread already.
#[derive(Default)]
struct Digest(u64);

impl<T: Copy> AgentMemo<T> {
    /// Remembers nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was inserted for a user agent, unless it was forgotten since.
    pub fn get(&self, user_agent: &[u8]) -> Option<T> {
        let digest = self.key.hash_one(user_agent);
        self.young.get(&digest).or_else(|| self.old.get(&digest)).copied()
    }

    /// Remembers an answer, and forgets the older half when there are too many.
    pub fn insert(&mut self, user_agent: &[u8], answer: T) {
        if self.young.len() >= GENERATION_MAX {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(self.key.hash_one(user_agent), answer);
    }

    /// How many answers are remembered.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Default for AgentMemo<T> {
    fn default() -> Self {
        Self { key: RandomState::default(), young: HashMap::default(), old: HashMap::default() }
    }
}

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        unreachable!("a digest is a number, not {} bytes", bytes.len())
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_memo_stays_bounded_and_keeps_the_newest() {
        let mut memo = AgentMemo::new();
        let name = |n: usize| format!("agent {n}");
        let last = 3 * AGENTS_REMEMBERED_MAX;
        for n in 0..last {
            memo.insert(name(n).as_bytes(), n);
            assert!(memo.len() <= AGENTS_REMEMBERED_MAX);
        }
        for n in last - GENERATION_MAX..last {
            assert_eq!(memo.get(name(n).as_bytes()), Some(n));
        }
        assert_eq!(memo.get(name(0).as_bytes()), None);
    }

    #[test]
    fn two_memos_have_two_keys() {
        let (one, other) = (AgentMemo::<u8>::new(), AgentMemo::<u8>::new());
        assert_ne!(one.key.hash_one("agent"), other.key.hash_one("agent"));
    }

    proptest! {
        #[test]
        fn a_memo_answers_what_was_inserted_last(
            steps in proptest::collection::vec(("[a-c]{0,3}", any::<Option<u16>>()), 0..200)
        ) {
            let (mut memo, mut model) = (AgentMemo::new(), BTreeMap::new());
            for (user_agent, answer) in steps {
                if let Some(answer) = answer {
                    memo.insert(user_agent.as_bytes(), answer);
                    model.insert(user_agent.clone(), answer);
                }
                let expected = model.get(&user_agent).copied();
                prop_assert_eq!(memo.get(user_agent.as_bytes()), expected);
            }
            prop_assert_eq!(memo.len(), model.len());
        }
    }
}
