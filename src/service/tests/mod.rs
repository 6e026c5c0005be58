//! What names things and lets callers in, on clocks and stores that tests steer.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod codes;
mod ids;
mod keys;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::domain::id::EPOCH_MS;
use crate::domain::time::{Clock, Timestamp};
use crate::storage::memory::MemoryStore;
use crate::storage::{NodeStore, StorageError, StorageErrorKind, StorageResult};

/// A time in 2026.
const NOON: i64 = EPOCH_MS + 40_000_000_000;

/// A clock that tests set.
struct HandClock(AtomicI64);

impl HandClock {
    fn at(millis: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(millis)))
    }

    fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

/// A node store that counts what it is asked and can be switched off.
struct Nodes {
    inner: Arc<dyn NodeStore>,
    gone: AtomicBool,
    /// What the next lease answers, in place of the real one.
    next_block: Mutex<Option<u64>>,
    n_leases: AtomicU64,
    n_raises: AtomicU64,
}

impl Nodes {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::new().nodes,
            gone: AtomicBool::new(false),
            next_block: Mutex::new(None),
            n_leases: AtomicU64::new(0),
            n_raises: AtomicU64::new(0),
        })
    }

    fn switch(&self, gone: bool) {
        self.gone.store(gone, Ordering::Relaxed);
    }

    fn check(&self) -> StorageResult<()> {
        if self.gone.load(Ordering::Relaxed) { Err(gone()) } else { Ok(()) }
    }
}

fn gone() -> StorageError {
    StorageError::new(StorageErrorKind::Unavailable, "test", "the store is switched off")
}

#[async_trait]
impl NodeStore for Nodes {
    async fn lease_block(&self, space: &str, size: u64) -> StorageResult<u64> {
        self.check()?;
        self.n_leases.fetch_add(1, Ordering::Relaxed);
        let planned = self.next_block.lock().unwrap().take();
        match planned {
            Some(first) => Ok(first),
            None => self.inner.lease_block(space, size).await,
        }
    }

    async fn clock_mark(&self, node: u16) -> StorageResult<Timestamp> {
        self.check()?;
        self.inner.clock_mark(node).await
    }

    async fn raise_clock_mark(&self, node: u16, mark: Timestamp) -> StorageResult<()> {
        self.check()?;
        self.n_raises.fetch_add(1, Ordering::Relaxed);
        self.inner.raise_clock_mark(node, mark).await
    }
}
