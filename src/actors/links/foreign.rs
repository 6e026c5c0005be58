//! Which domains have taken in codes of sealed shape that no sealing key made.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::domain::code::DomainId;
use crate::storage::{LinkStore, StorageResult};

/// One flag per served domain. Asked of the store once, then set by imports; never cleared.
#[derive(Default)]
pub(super) struct ForeignSealed(Mutex<HashMap<DomainId, Arc<Flag>>>);

#[derive(Default)]
struct Flag {
    asked: OnceCell<()>,
    set: AtomicBool,
}

impl ForeignSealed {
    /// True when `domain` is marked. Asks the store the first time. Kinds: those of the store.
    pub(super) async fn is_marked(
        &self,
        domain: DomainId,
        store: &dyn LinkStore,
    ) -> StorageResult<bool> {
        let flag = self.flag(domain);
        let ask = async || {
            if store.has_foreign_sealed(domain).await? {
                flag.set.store(true, Ordering::Release);
            }
            Ok(())
        };
        flag.asked.get_or_try_init(ask).await?;
        Ok(flag.set.load(Ordering::Acquire))
    }

    /// Marks `domain`, at the latest when a foreign code was stored.
    pub(super) fn mark(&self, domain: DomainId) {
        self.flag(domain).set.store(true, Ordering::Release);
    }

    fn flag(&self, domain: DomainId) -> Arc<Flag> {
        let mut flags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(flags.entry(domain).or_default())
    }
}
