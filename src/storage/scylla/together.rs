//! Changes of one partition as a whole: it is read, decided upon here, and written on the condition
//! that nobody changed it meanwhile.

use std::future::Future;

use scylla::serialize::row::SerializeRow;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use super::Cql;
use super::fault::{fault, is_unknown};
use super::run::applied;
use crate::domain::id::Id;
use crate::storage::error::{Op, StorageError, StorageErrorKind, StorageResult};
use crate::storage::patience;

/// How often to try against others who change the same.
pub(super) const TRIES: u32 = 100;

/// A statement with its values.
pub(super) type Step<'a> = (&'a PreparedStatement, Box<dyn SerializeRow + Send + Sync>);

/// A partition that carries a stamp, a number that every change replaces.
pub(super) trait Whole: Sized + Send + Sync {
    /// Reads what conditional writes agreed on.
    fn read(cql: &Cql, op: Op, id: Id) -> impl Future<Output = StorageResult<Self>> + Send;

    /// `None`: it is not there.
    fn stamp(&self) -> Option<i64>;
}

/// What is to be done to a partition, and what is answered then.
pub(super) enum Decision<'a, T> {
    Stay(T),
    /// The first statement has the condition and puts the new stamp.
    Write(Vec<Step<'a>>, T),
}

impl Cql {
    /// Changes a partition as `decide` says of what is there, given the stamp to put. It is asked
    /// again when somebody else was faster. Kind `Timeout`: nobody knows what became of it.
    pub(super) async fn change<'a, W: Whole, T: Send>(
        &'a self,
        op: Op,
        id: Id,
        mut decide: impl FnMut(&W, i64) -> Decision<'a, T> + Send,
    ) -> StorageResult<T> {
        for _ in 0..TRIES {
            let (whole, new) = (W::read(self, op, id).await?, stamp(op)?);
            let (steps, answer) = match decide(&whole, new) {
                Decision::Stay(answer) => return Ok(answer),
                Decision::Write(steps, answer) => (steps, answer),
            };
            match self.apply_all(op, &steps).await {
                Ok(true) => return Ok(answer),
                Ok(false) => (),
                Err(error) if is_unknown(&error) => {
                    let now = W::read(self, op, id).await?.stamp();
                    if now == Some(new) {
                        return Ok(answer);
                    }
                    if now != whole.stamp() {
                        // Somebody changed it since: this change, or what was before it.
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(contended(op))
    }

    /// Writes to one partition, all or nothing: whether the condition held. Kind `Timeout`: nobody
    /// knows.
    pub(super) async fn apply_all(&self, op: Op, steps: &[Step<'_>]) -> StorageResult<bool> {
        let mut batch = Batch::new(BatchType::Unlogged);
        let (first, _) = steps.first().expect("a change has the step with its condition");
        batch.set_execution_profile_handle(first.get_execution_profile_handle().cloned());
        for (statement, _) in steps {
            batch.append_statement((*statement).clone());
        }
        let values: Vec<&(dyn SerializeRow + Send + Sync)> =
            steps.iter().map(|(_, values)| &**values).collect();
        let run = Box::pin(async {
            let result = self.session().batch(&batch, values).await;
            result.map_err(|error| fault(op, error))
        });
        applied(op, patience::statement(op, run).await?)
    }
}

/// A number that no other change has.
pub(super) fn stamp(op: Op) -> StorageResult<i64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| StorageError::new(StorageErrorKind::Unavailable, op, error))?;
    Ok(i64::from_le_bytes(bytes))
}

/// Too many others wanted the same at once.
pub(super) fn contended(op: Op) -> StorageError {
    StorageError { kind: StorageErrorKind::Unavailable, op, source: None }
}
