//! Keys that hash visitors: one for each day, the same for all nodes.

use super::CqlClicks;
use crate::domain::visitor::VisitorKey;
use crate::storage::error::{Op, StorageError, StorageErrorKind, StorageResult};
use crate::storage::scylla::fault::is_unknown;
use crate::storage::scylla::run::damaged;

const OP: Op = "visitor_keys";

impl CqlClicks {
    /// Keys are made and destroyed by conditional writes, so that all nodes have the same. A day's
    /// key is destroyed when no node has clicks of that day to count; a node that tells nothing for
    /// three days has none.
    pub(super) async fn keys_of_visitors(
        &self,
        oldest: u32,
        today: u32,
    ) -> StorageResult<Vec<(u32, VisitorKey)>> {
        let statements = &self.cql.statements().clicks;
        let oldest = oldest.min(today) as i32;
        self.cql.put(OP, &statements.need_keys, (self.node, oldest)).await?;
        let needs: Vec<(i32,)> = self.cql.all(OP, &statements.key_needs, ()).await?;
        let oldest = needs.into_iter().map(|(day,)| day).min().unwrap_or(oldest).min(oldest);
        let mut keys = self.all_keys().await?;
        let today = today as i32;
        for day in [today, today + 1] {
            if keys.iter().all(|(known, _)| *known != day) {
                let mut key = [0; VisitorKey::BYTES];
                getrandom::fill(&mut key)
                    .map_err(|error| StorageError::new(StorageErrorKind::Unavailable, OP, error))?;
                // Whoever was first made it; whether it was us does not matter.
                let values = (day, key.to_vec());
                settled(self.cql.apply(OP, &statements.add_visitor_key, values).await)?;
            }
        }
        for (day, _) in keys.iter().filter(|(day, _)| *day < oldest) {
            settled(self.cql.apply(OP, &statements.drop_visitor_key, (*day,)).await)?;
        }
        keys = self.all_keys().await?;
        keys.retain(|(day, _)| *day >= oldest);
        let key = |(day, key): (i32, Vec<u8>)| {
            let bytes = key.try_into().map_err(|_| damaged(OP, "a key of another length"))?;
            Ok((day as u32, VisitorKey::new(bytes)))
        };
        keys.into_iter().map(key).collect()
    }

    async fn all_keys(&self) -> StorageResult<Vec<(i32, Vec<u8>)>> {
        self.cql.all(OP, &self.cql.statements().clicks.visitor_keys, ()).await
    }
}

/// What is unknown shows when all keys are read.
fn settled(outcome: StorageResult<bool>) -> StorageResult<()> {
    match outcome {
        Err(error) if !is_unknown(&error) => Err(error),
        _ => Ok(()),
    }
}
