//! The chain: each entry is sealed together with the seal of the one before, under a key that is
//! not in the store. Whoever can write the store alone can change no entry, take none out and put
//! none in without anybody noticing.

/// Seal of an entry and of all before it.
pub type AuditHash = [u8; 32];

/// What the first entry follows.
pub const GENESIS: AuditHash = [0; 32];

/// Seals entries. Never printed: no `Debug`.
#[derive(Clone, Copy)]
pub struct AuditKey {
    entries: [u8; 32],
    head: [u8; 32],
}

impl AuditKey {
    /// The key of an installation, from its secret.
    pub fn of(secret: &[u8; 32]) -> Self {
        Self {
            entries: blake3::derive_key("shunt 2026 audit log entries", secret),
            head: blake3::derive_key("shunt 2026 audit log head", secret),
        }
    }

    /// The seal of the entry `seq` that says `body` and follows one sealed with `before`.
    pub fn link(&self, before: &AuditHash, seq: u64, body: &[u8]) -> AuditHash {
        // The parts before the body have one length each, so no two chains share an input.
        let mut hasher = blake3::Hasher::new_keyed(&self.entries);
        hasher.update(before).update(&seq.to_le_bytes()).update(body);
        *hasher.finalize().as_bytes()
    }

    /// Seals that the log ends with the entry `seq`: a log that was cut off has no such seal.
    pub fn head(&self, seq: u64, hash: &AuditHash) -> AuditHash {
        let mut hasher = blake3::Hasher::new_keyed(&self.head);
        hasher.update(&seq.to_le_bytes()).update(hash);
        *hasher.finalize().as_bytes()
    }
}
