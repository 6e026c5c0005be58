//! The agenda: removes what is over, and ends what was cut short.

use tracing::warn;

use super::super::Cql;
use super::super::finding::{Candidates, Claimed, Plan, Task, hour, key_of};
use super::super::ids::{signed, unsigned};
use super::super::together::Decision;
use super::person::Person;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::error::{Op, StorageResult};

/// Hours that an agenda stays open for who has a slow clock.
const OPEN_HOURS: i64 = 2;

impl Cql {
    /// Sees to all that is on the agenda until `now`.
    pub(super) async fn see_to_agenda(&self, op: Op, now: Timestamp) -> StorageResult<()> {
        type Row = (i64, i8, i64, i64, Option<Vec<u8>>);
        let (statements, this) = (&self.statements().finding, i64::from(hour(now)));
        for listed in self.noted(op, Candidates::AgendaHours, &[]).await? {
            if listed.item > this {
                break;
            }
            let hour = listed.item as i32;
            let due: Vec<Row> = self.all(op, &statements.due, (hour, now.as_millis())).await?;
            let mut is_clear = true;
            for (at, kind, owner, item, note) in due {
                let Some(task) = Task::from_byte(kind) else {
                    warn!(kind, "an entry of the agenda is of a later version");
                    is_clear = false;
                    continue;
                };
                let (at, owner) = (Timestamp(at), unsigned(owner));
                let plan = Plan { at, task, owner, item, note: note.unwrap_or_default() };
                match self.see_to(op, &plan, now).await {
                    Ok(()) => (),
                    Err(error) if error.kind.retryable() => return Err(error),
                    Err(error) => {
                        // One row that cannot be read keeps the others from nothing.
                        warn!(%error, ?task, "an entry of the agenda cannot be seen to");
                        is_clear = false;
                        continue;
                    }
                }
                let values = (hour, at.as_millis(), kind, signed(owner), item);
                self.put(op, &statements.seen_to, values).await?;
            }
            if is_clear && listed.item < this - OPEN_HOURS {
                self.put(op, &statements.hour_is_over, (hour,)).await?;
                self.forget(op, Candidates::AgendaHours, &[], listed.item).await?;
            }
        }
        Ok(())
    }

    async fn see_to(&self, op: Op, plan: &Plan, now: Timestamp) -> StorageResult<()> {
        let Plan { owner, item, .. } = *plan;
        match plan.task {
            Task::Session => self.prune_session(op, owner, unsigned(item), now).await,
            Task::Ticket => self.prune_ticket(op, owner, item, now).await,
            Task::Invitation => {
                let is_over = |one: &crate::storage::people::Invitation| one.expires_at <= now;
                self.drop_invitation(op, owner, unsigned(item), is_over).await.map(|_| ())
            }
            Task::User => self.finish_erasing(op, owner).await.map(|_| ()),
            Task::Team => self.tell_members(op, owner).await,
            Task::Registration => self.take_back(op, owner, unsigned(item)).await,
            Task::Claim => match plan.note.split_first() {
                Some((0, key)) => {
                    self.take_back_claims(op, owner, &[Some((Claimed::Email, key))]).await
                }
                Some((1, key)) => {
                    self.take_back_claims(op, owner, &[Some((Claimed::Identity, key))]).await
                }
                _ => Ok(()),
            },
            Task::Keys => self.move_epoch(op).await,
        }
    }

    async fn prune_session(&self, op: Op, user: Id, id: Id, now: Timestamp) -> StorageResult<()> {
        self.tell_ended(op, user).await?;
        self.change(op, user, |person: &Person, stamp| {
            let found = person.sessions.get(&id);
            if found.is_none_or(|(session, _)| session.expires_at > now) {
                return Decision::Stay(());
            }
            let steps = vec![person.touch(self, stamp), person.remove_session(self, id)];
            Decision::Write(steps, ())
        })
        .await?;
        self.forget(op, Candidates::Session, &key_of(id), signed(id)).await
    }

    async fn prune_ticket(&self, op: Op, user: Id, kind: i64, now: Timestamp) -> StorageResult<()> {
        let Ok(byte) = u8::try_from(kind) else { return Ok(()) };
        let over = self.change(op, user, |person: &Person, stamp| {
            let found = person.tickets.get(&byte).filter(|ticket| ticket.expires_at <= now);
            if found.is_none() && !person.taken.contains(&byte) {
                return Decision::Stay(None);
            }
            let steps = vec![person.touch(self, stamp), person.remove_ticket(self, byte)];
            Decision::Write(steps, found.map(|ticket| ticket.digest))
        });
        match over.await? {
            Some(digest) => self.forget(op, Candidates::Ticket, &digest, kind).await,
            None => Ok(()),
        }
    }
}
