//! Where hashes are made: one per thread, with memory that is taken once.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, PasswordHash, Version};

use super::hasher::{PasswordError, PasswordStartError, Verdict};
use super::{ITERATIONS_MAX, MEMORY_KIB_MAX, PARALLELISM_MAX, PasswordsConfig};
use crate::domain::password::Password;

const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;
/// Shorter outputs could be hit by chance.
const OUTPUT_BYTES_MIN: usize = 16;

/// What all kilns share.
pub(super) struct Recipe {
    params: Params,
    /// Stands in for the hash of an account that is not there, so that both cost the same.
    dummy: Stored,
    /// Held while a hash takes more memory than is configured: one at a time does.
    wide: Mutex<()>,
}

/// Makes and checks hashes, one after the other.
pub(super) struct Kiln {
    recipe: Arc<Recipe>,
    blocks: Vec<Block>,
}

/// A stored hash, as far as it may be computed at all.
struct Stored {
    params: Params,
    salt: Salt,
    output: Output,
}

impl Recipe {
    /// Fails without random bytes.
    pub(super) fn new(config: &PasswordsConfig) -> Result<Self, PasswordStartError> {
        let memory_kib = u32::try_from(config.memory.0 >> 10).unwrap_or(u32::MAX);
        let (iterations, lanes) = (config.iterations, config.parallelism);
        let params = Params::new(memory_kib, iterations, lanes, Some(OUTPUT_BYTES))
            .map_err(PasswordStartError::Parameters)?;
        let salt = new_salt().map_err(PasswordStartError::Entropy)?;
        let output = Output::new(&[0; OUTPUT_BYTES]).expect("the length is allowed");
        let dummy = Stored { params: params.clone(), salt, output };
        Ok(Self { params, dummy, wide: Mutex::default() })
    }
}

impl Kiln {
    /// Takes its memory when it has its first work.
    pub(super) fn new(recipe: Arc<Recipe>) -> Self {
        Self { recipe, blocks: Vec::new() }
    }

    /// A hash with its parameters and a fresh salt, as text.
    pub(super) fn hash(&mut self, password: &Password) -> Result<String, PasswordError> {
        let salt = new_salt().map_err(PasswordError::Entropy)?;
        let params = self.recipe.params.clone();
        let hash = self.compute(password, &params, &salt, OUTPUT_BYTES)?;
        Ok(PasswordHash {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&params).map_err(|_| PasswordError::Failed)?,
            salt: Some(salt),
            hash: Some(hash),
        }
        .to_string())
    }

    /// `None` costs what a stored hash of this recipe costs, and never matches.
    pub(super) fn verify(
        &mut self,
        password: &Password,
        stored: Option<&str>,
    ) -> Result<Verdict, PasswordError> {
        let recipe = Arc::clone(&self.recipe);
        let parsed = stored.map(Stored::parse).transpose()?;
        let stored = parsed.as_ref().unwrap_or(&recipe.dummy);
        let computed = self.compute(password, &stored.params, &stored.salt, stored.output.len())?;
        // `Output` compares in constant time.
        let matches = computed == stored.output && parsed.is_some();
        Ok(Verdict { matches, rehash: matches && stored.is_other_than(&recipe.params) })
    }

    fn compute(
        &mut self,
        password: &Password,
        params: &Params,
        salt: &Salt,
        n_bytes: usize,
    ) -> Result<Output, PasswordError> {
        let (n_own, n_needed) = (self.recipe.params.block_count(), params.block_count());
        if self.blocks.is_empty() {
            self.blocks = vec![Block::new(); n_own];
        }
        let mut wide_blocks = Vec::new();
        let recipe = Arc::clone(&self.recipe);
        let mut wide = None;
        let blocks = if n_needed <= n_own {
            &mut self.blocks
        } else {
            wide = Some(recipe.wide.lock().unwrap_or_else(PoisonError::into_inner));
            wide_blocks.resize(n_needed, Block::new());
            &mut wide_blocks
        };
        let mut bytes = [0; Output::MAX_LENGTH];
        let bytes = &mut bytes[..n_bytes.min(Output::MAX_LENGTH)];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
        argon2
            .hash_password_into_with_memory(
                password.expose().as_bytes(),
                salt,
                bytes,
                blocks.as_mut_slice(),
            )
            .map_err(|_| PasswordError::Failed)?;
        drop(wide_blocks);
        drop(wide);
        Output::new(bytes).map_err(|_| PasswordError::Failed)
    }
}

impl Stored {
    /// Refuses what this service would never have written, and what would cost too much to compute:
    /// whoever could plant a hash must not be able to take the memory or the time of everybody.
    fn parse(text: &str) -> Result<Self, PasswordError> {
        let hash = PasswordHash::new(text).map_err(|_| PasswordError::Unreadable)?;
        let params = Params::try_from(&hash).map_err(|_| PasswordError::Unreadable)?;
        let (Some(salt), Some(output)) = (hash.salt, hash.hash) else {
            return Err(PasswordError::Unreadable);
        };
        let known = hash.algorithm == ARGON2ID_IDENT
            && hash.version == Some(Version::V0x13.into())
            && params.keyid().is_empty()
            && params.data().is_empty();
        let bounded = params.m_cost() <= MEMORY_KIB_MAX
            && params.t_cost() <= ITERATIONS_MAX
            && params.p_cost() <= PARALLELISM_MAX
            && output.len() >= OUTPUT_BYTES_MIN;
        match known && bounded {
            true => Ok(Self { params, salt, output }),
            false => Err(PasswordError::Unreadable),
        }
    }

    /// Whether a hash made now would differ in more than its salt.
    fn is_other_than(&self, params: &Params) -> bool {
        let cost = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        cost(&self.params) != cost(params)
            || self.output.len() != OUTPUT_BYTES
            || self.salt.len() < SALT_BYTES
    }
}

fn new_salt() -> Result<Salt, getrandom::Error> {
    let mut bytes = [0; SALT_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(Salt::new(&bytes).expect("the length is allowed"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::units::Size;

    fn recipe(memory_kib: u64, iterations: u32) -> Arc<Recipe> {
        let memory = Size(memory_kib << 10);
        let config = PasswordsConfig { memory, iterations, ..PasswordsConfig::default() };
        Arc::new(Recipe::new(&config).unwrap())
    }

    fn kiln(memory_kib: u64, iterations: u32) -> Kiln {
        Kiln::new(recipe(memory_kib, iterations))
    }

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    #[test]
    fn a_hash_carries_its_parameters_and_a_salt_of_its_own() {
        let config = PasswordsConfig::default();
        let mut kiln = Kiln::new(Arc::new(Recipe::new(&config).unwrap()));
        let first = kiln.hash(&password("Correct 1")).unwrap();
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_ne!(first, kiln.hash(&password("Correct 1")).unwrap());
        // The library's own verifier reads it.
        let hash = PasswordHash::new(&first).unwrap();
        use argon2::PasswordVerifier as _;
        assert!(Argon2::default().verify_password(b"Correct 1", &hash).is_ok());
        assert!(Argon2::default().verify_password(b"Correct 2", &hash).is_err());
        assert_eq!(kiln.blocks.len(), 19_456);
    }

    #[test]
    fn an_account_that_is_not_there_costs_what_one_that_is_costs() {
        let recipe = recipe(256, 3);
        let mut kiln = Kiln::new(Arc::clone(&recipe));
        let no_match = Verdict { matches: false, rehash: false };
        assert_eq!(kiln.verify(&password("x"), None).unwrap(), no_match);
        let filled = |block: &Block| block.as_ref().iter().any(|word| *word != 0);
        assert!(kiln.blocks.len() == 256 && kiln.blocks.iter().all(filled), "nothing was computed");
        let made = Stored::parse(&kiln.hash(&password("x")).unwrap()).unwrap();
        assert_eq!(recipe.dummy.params, made.params);
        assert_eq!(recipe.dummy.salt.len(), made.salt.len());
        assert_eq!(recipe.dummy.output.len(), made.output.len());
        let (params, wide) = (recipe.params.clone(), Mutex::default());
        // Even the text that the output stands for does not match.
        let mut kiln = Kiln::new(Arc::new(Recipe { params, dummy: made, wide }));
        assert_eq!(kiln.verify(&password("x"), None).unwrap(), no_match);
    }

    #[test]
    fn a_right_password_with_other_parameters_is_to_be_hashed_anew() {
        let text = kiln(64, 1).hash(&password("right")).unwrap();
        for (memory_kib, iterations, rehash) in
            [(64, 1, false), (64, 2, true), (128, 1, true), (32, 1, true)]
        {
            let mut kiln = kiln(memory_kib, iterations);
            let right = kiln.verify(&password("right"), Some(&text)).unwrap();
            assert_eq!(right, Verdict { matches: true, rehash }, "{memory_kib} {iterations}");
            let wrong = kiln.verify(&password("wrong"), Some(&text)).unwrap();
            assert_eq!(wrong, Verdict { matches: false, rehash: false });
            // Memory for larger ones is given back.
            assert_eq!(kiln.blocks.len() as u64, memory_kib);
        }
    }

    #[test]
    fn planted_hashes_are_not_computed() {
        let mut kiln = kiln(256, 1);
        let good = kiln.hash(&password("right")).unwrap();
        let replaced = |from: &str, to: &str| {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good);
            text
        };
        let without = good.rsplit_once('$').unwrap().0.to_owned();
        for planted in [
            replaced("m=256", "m=262145"),
            replaced("m=256", "m=4194304"),
            replaced("t=1", "t=17"),
            replaced("t=1", "t=4294967295"),
            replaced("p=1", "p=17"),
            replaced("m=256", "m=7"),
            replaced("argon2id", "argon2i"),
            replaced("argon2id", "scrypt"),
            replaced("v=19", "v=16"),
            replaced("$v=19", ""),
            replaced(",p=1", ",p=1,keyid=AAAA"),
            replaced(",p=1", ",p=1,data=AAAA"),
            without.clone(),
            // Eight bytes, and fifteen.
            format!("{without}${}", "A".repeat(11)),
            format!("{without}${}", "A".repeat(20)),
            String::new(),
            "right".to_owned(),
        ] {
            let verdict = kiln.verify(&password("right"), Some(&planted));
            assert!(matches!(verdict, Err(PasswordError::Unreadable)), "{planted}: {verdict:?}");
        }
        assert!(kiln.verify(&password("right"), Some(&good)).unwrap().matches);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn only_the_right_text_matches(right in any::<String>(), wrong in any::<String>()) {
            let mut kiln = kiln(16, 1);
            let text = kiln.hash(&password(&right)).unwrap();
            prop_assert!(kiln.verify(&password(&right), Some(&text)).unwrap().matches);
            let verdict = kiln.verify(&password(&wrong), Some(&text)).unwrap();
            prop_assert_eq!(verdict.matches, wrong == right);
            // No end of a long password is cut off, nor anything after a zero byte.
            for longer in [format!("{right}x"), format!("{right}\0"), format!("\0{right}")] {
                prop_assert!(!kiln.verify(&password(&longer), Some(&text)).unwrap().matches);
            }
        }
    }
}
