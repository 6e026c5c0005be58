//! The list of what credentials may do no longer, which every node follows.
//!
//! It is a chain of hours that had changes. A change gets the next number of the last hour, under
//! the condition that no hour follows it; an hour follows under the same condition. So numbers rise
//! in the order in which they can be seen, whatever the clocks of nodes say. The end of an hour is
//! never removed, its changes are.

use std::sync::atomic::Ordering;

use super::super::Cql;
use super::super::fault::is_unknown;
use super::super::finding::hour;
use super::super::ids::{signed, unsigned};
use super::super::run::damaged;
use super::super::together::{Step, TRIES, contended, stamp};
use super::team::{ROWS_PER_BATCH, role};
use crate::domain::account::AccessChange;
use crate::domain::time::Timestamp;
use crate::storage::error::{Op, StorageResult};

/// Bits of a number that count within an hour.
const SEQ_BITS: u32 = 24;

/// A change with its number and time.
type Numbered = (u64, Timestamp, AccessChange);

/// Where an hour of the chain ends.
#[derive(Clone, Copy, Debug)]
struct End {
    hour: i32,
    last: Option<i64>,
    next: Option<i32>,
}

/// A row of `access_changes`.
type Row = (i64, i64, Option<i64>, Option<i64>, Option<i64>, Option<i8>);

impl Cql {
    /// Changes behind number `after`.
    pub(super) async fn changes_after(&self, op: Op, after: u64) -> StorageResult<Vec<Numbered>> {
        let mut seen = (after & ((1 << SEQ_BITS) - 1)) as i64;
        let mut at = Some((after >> SEQ_BITS) as i32);
        let mut changes = Vec::new();
        while let Some(hour) = at {
            let end = self.end_of(op, hour).await?;
            if end.last.is_some_and(|last| last > seen) {
                changes.extend(self.changes_in(op, hour, seen).await?);
            }
            (at, seen) = (end.next, 0);
        }
        Ok(changes)
    }

    async fn changes_in(&self, op: Op, hour: i32, after: i64) -> StorageResult<Vec<Numbered>> {
        let statement = &self.statements().access.changes;
        let rows: Vec<Row> = self.all(op, statement, (hour, after)).await?;
        let numbered = rows.into_iter().map(|(seq, at, session, workspace, user, byte)| {
            let change = match (session, workspace, user) {
                (Some(session), ..) => AccessChange::SessionEnded { session: unsigned(session) },
                (None, Some(workspace), Some(user)) => AccessChange::RoleChanged {
                    workspace: unsigned(workspace),
                    user: unsigned(user),
                    role: role(op, byte)?,
                },
                _ => return Err(damaged(op, "a change of access says nothing")),
            };
            Ok((number(hour, seq), Timestamp(at), change))
        });
        numbered.collect()
    }

    /// Adds changes to the list.
    pub(super) async fn note_changes(
        &self,
        op: Op,
        changes: &[(Timestamp, AccessChange)],
    ) -> StorageResult<()> {
        for part in changes.chunks(ROWS_PER_BATCH) {
            self.note_part(op, part).await?;
        }
        Ok(())
    }

    async fn note_part(&self, op: Op, part: &[(Timestamp, AccessChange)]) -> StorageResult<()> {
        let wanted = part.iter().map(|(at, _)| hour(*at)).max().unwrap_or_default().max(1);
        for _ in 0..TRIES {
            let end = self.last_end(op).await?;
            if wanted > end.hour {
                let values = (wanted, end.hour, None::<i32>);
                match self.apply(op, &self.statements().access.lead_on, values).await {
                    Err(error) if !is_unknown(&error) => return Err(error),
                    // Whoever it was that made an hour follow: it is found next.
                    _ => continue,
                }
            }
            let mark = stamp(op)?;
            let steps = self.extension(end, part, mark);
            match self.apply_all(op, &steps).await {
                Ok(true) => return Ok(()),
                Ok(false) => (),
                Err(error) if is_unknown(&error) => {
                    let values = (end.hour, end.last.unwrap_or_default() + 1);
                    let statement = &self.statements().access.stamp_at;
                    let there: Option<(Option<i64>,)> = self.one(op, statement, values).await?;
                    if there == Some((Some(mark),)) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(contended(op))
    }

    fn extension(&self, end: End, part: &[(Timestamp, AccessChange)], mark: i64) -> Vec<Step<'_>> {
        let statements = &self.statements().access;
        let last = end.last.unwrap_or_default();
        let extend = (last + part.len() as i64, end.hour, end.last);
        let mut steps: Vec<Step<'_>> = vec![(&statements.extend, Box::new(extend))];
        for (seq, (at, change)) in (last + 1..).zip(part) {
            let (session, member, role) = match *change {
                AccessChange::SessionEnded { session } => (Some(signed(session)), None, None),
                AccessChange::RoleChanged { workspace, user, role } => {
                    (None, Some((signed(workspace), signed(user))), role)
                }
            };
            let (workspace, user) = member.unzip();
            let (at, role) = (at.as_millis(), role.map(|role| role as i8));
            let values = (end.hour, seq, at, session, workspace, user, role, mark);
            steps.push((&statements.add, Box::new(values)));
        }
        steps
    }

    /// The end of the last hour.
    async fn last_end(&self, op: Op) -> StorageResult<End> {
        let hint = &self.shared.access_hour;
        let (mut hour, mut is_hint) = (hint.load(Ordering::Relaxed), true);
        loop {
            let statement = &self.statements().access.settled_end;
            let row: Option<(Option<i64>, Option<i32>)> = self.one(op, statement, (hour,)).await?;
            if row.is_none() && is_hint && hour != 0 {
                // The database was restored from what was before.
                hour = 0;
                hint.store(0, Ordering::Relaxed);
                continue;
            }
            is_hint = false;
            let (last, next) = row.unwrap_or_default();
            match next {
                Some(next) => hour = next,
                None => {
                    hint.fetch_max(hour, Ordering::Relaxed);
                    return Ok(End { hour, last, next });
                }
            }
        }
    }

    async fn end_of(&self, op: Op, hour: i32) -> StorageResult<End> {
        let statement = &self.statements().access.end;
        let row: Option<(i32, Option<i64>, Option<i32>)> = self.one(op, statement, (hour,)).await?;
        Ok(row.map_or(End { hour, last: None, next: None }, |(hour, last, next)| End {
            hour,
            last,
            next,
        }))
    }

    /// Removes the oldest changes, up to the first that is not from before `before`.
    pub(super) async fn prune_changes(&self, op: Op, before: Timestamp) -> StorageResult<()> {
        let statements = &self.statements().access;
        let mut first = self.end_of(op, 0).await?.next;
        while let Some(hour) = first {
            let end = self.end_of(op, hour).await?;
            let changes = self.changes_in(op, hour, 0).await?;
            let old = changes.iter().take_while(|(_, at, _)| *at < before);
            let n_old = old.clone().count();
            if let Some((last, ..)) = old.last() {
                let seq = (last & ((1 << SEQ_BITS) - 1)) as i64;
                self.put(op, &statements.remove_up_to, (hour, seq)).await?;
            }
            if n_old < changes.len() || end.next.is_none() {
                break;
            }
            self.apply(op, &statements.lead_on, (end.next, 0, Some(hour))).await?;
            first = end.next;
        }
        Ok(())
    }
}

fn number(hour: i32, seq: i64) -> u64 {
    (hour as u64) << SEQ_BITS | seq as u64
}
