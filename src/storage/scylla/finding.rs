//! What leads to partitions: claims of what belongs to one owner only, candidates of what is to be
//! found in several ways, and the agenda of what is to be looked at later.

use futures_util::future::try_join;
use scylla::DeserializeRow;

use super::Cql;
use super::fault::is_unknown;
use super::ids::{signed, unsigned};
use super::together::{TRIES, contended, stamp};
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::error::{Op, StorageResult};

const HOUR_MS: i64 = 3_600_000;

/// What belongs to one owner only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub(super) enum Claimed {
    /// An address, as `Email::key`; the owner is a user.
    Email = 0,
    /// A provider's subject; the owner is a user.
    Identity = 1,
    /// A key's digest; the owner is the key.
    KeyDigest = 2,
}

/// Who has a claim, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) owner: Id,
    pub(super) at: Timestamp,
    /// Tells it from a later claim of the same owner.
    pub(super) stamp: i64,
}

impl Claim {
    pub(super) fn new(op: Op, owner: Id, at: Timestamp) -> StorageResult<Self> {
        Ok(Self { owner, at, stamp: stamp(op)? })
    }

    fn of((owner, at, stamp): (i64, i64, i64)) -> Self {
        Self { owner: unsigned(owner), at: Timestamp(at), stamp }
    }
}

/// Where to look for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub(super) enum Candidates {
    /// By session: its user.
    Session = 0,
    /// By digest: the ticket's user.
    Ticket = 1,
    /// By digest: the invitation and its workspace.
    Invitation = 2,
    /// By user: workspaces it may belong to.
    Memberships = 3,
    /// By user or workspace: keys.
    Keys = 4,
    /// By name: workspaces.
    Called = 5,
    /// By day: users made on it.
    UsersOfDay = 6,
    /// Days that have users; there is one list.
    UserDays = 7,
    /// By user: its identities, as hash and text.
    Identities = 8,
    /// By user: invitations that it made, and their workspaces.
    InvitedBy = 9,
    /// By address: invitations to it, and their workspaces.
    InvitedTo = 10,
    /// Workspaces that are closed; there is one list.
    Closed = 11,
    /// By workspace: blocks that have entries of the audit log.
    AuditBlocks = 12,
    /// Hours that have an agenda; there is one list.
    AgendaHours = 13,
}

/// Something that may be found.
#[derive(Clone, Debug, DeserializeRow)]
pub(super) struct Candidate {
    pub(super) item: i64,
    pub(super) owner: i64,
    pub(super) note: Option<Vec<u8>>,
}

/// What is to be looked at later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub(super) enum Task {
    /// A session of the user `owner` is over.
    Session = 0,
    /// A ticket of the user `owner` is over.
    Ticket = 1,
    /// An invitation of the workspace `owner` is over.
    Invitation = 2,
    /// Changes of the user `owner` may not be told yet, or its erasure not be done.
    User = 3,
    /// Changes of members of the workspace `owner` may not be told yet.
    Team = 4,
    /// The user `owner` may have been made in part, its workspace is `item`.
    Registration = 5,
    /// The user `owner` may have claimed an address or a subject in vain; `note` is the claim.
    Claim = 6,
    /// Keys may have changed without anybody being told.
    Keys = 7,
}

impl Task {
    pub(super) fn from_byte(byte: i8) -> Option<Self> {
        const ALL: [Task; 8] = [
            Task::Session,
            Task::Ticket,
            Task::Invitation,
            Task::User,
            Task::Team,
            Task::Registration,
            Task::Claim,
            Task::Keys,
        ];
        ALL.into_iter().find(|task| *task as i8 == byte)
    }
}

/// An entry of the agenda.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) at: Timestamp,
    pub(super) task: Task,
    pub(super) owner: Id,
    pub(super) item: i64,
    pub(super) note: Vec<u8>,
}

impl Plan {
    pub(super) fn new(at: Timestamp, task: Task, owner: Id) -> Self {
        Self { at, task, owner, item: 0, note: Vec::new() }
    }
}

/// The hour that a time is in.
pub(super) fn hour(at: Timestamp) -> i32 {
    i32::try_from(at.as_millis().div_euclid(HOUR_MS)).unwrap_or(i32::MAX)
}

/// An id as a key of candidates.
pub(super) fn key_of(id: Id) -> [u8; 8] {
    id.0.to_be_bytes()
}

/// A text as an item of candidates.
pub(super) fn hash_of(text: &[u8]) -> i64 {
    let mut bytes = [0; 8];
    blake3::Hasher::new().update(text).finalize_xof().fill(&mut bytes);
    i64::from_le_bytes(bytes)
}

impl Cql {
    /// Claims something: who has it then. What its owner claims again is claimed anew, so that it
    /// is not released by who knows of the claim before.
    pub(super) async fn claim(
        &self,
        op: Op,
        (kind, key): (Claimed, &[u8]),
        new: Claim,
    ) -> StorageResult<Claim> {
        let statements = &self.statements().finding;
        for _ in 0..TRIES {
            let values = (kind as i8, key, signed(new.owner), new.at.as_millis(), new.stamp);
            match self.apply(op, &statements.claim, values).await {
                Ok(true) => return Ok(new),
                Ok(false) => (),
                Err(error) if is_unknown(&error) => (),
                Err(error) => return Err(error),
            }
            let there: Option<(i64, i64, i64)> =
                self.one(op, &statements.claimed, (kind as i8, key)).await?;
            match there.map(Claim::of) {
                Some(there) if there.owner != new.owner || there.stamp == new.stamp => {
                    return Ok(there);
                }
                Some(there) if self.take_over(op, (kind, key), there, new).await? => {
                    return Ok(new);
                }
                _ => (),
            }
        }
        Err(contended(op))
    }

    /// Who has it.
    pub(super) async fn claimant(
        &self,
        op: Op,
        kind: Claimed,
        key: &[u8],
    ) -> StorageResult<Option<Claim>> {
        let statement = &self.statements().finding.claimant;
        let there: Option<(i64, i64, i64)> = self.one(op, statement, (kind as i8, key)).await?;
        Ok(there.map(Claim::of))
    }

    /// Puts a claim in place of another: whether that was done.
    pub(super) async fn take_over(
        &self,
        op: Op,
        (kind, key): (Claimed, &[u8]),
        from: Claim,
        to: Claim,
    ) -> StorageResult<bool> {
        let (owner, at) = (signed(to.owner), to.at.as_millis());
        let values = (owner, at, to.stamp, kind as i8, key, from.stamp);
        match self.apply(op, &self.statements().finding.take_over, values).await {
            Err(error) if is_unknown(&error) => {
                let statement = &self.statements().finding.claimed;
                let there: Option<(i64, i64, i64)> =
                    self.one(op, statement, (kind as i8, key)).await?;
                Ok(there.is_some_and(|(_, _, stamp)| stamp == to.stamp))
            }
            taken => taken,
        }
    }

    /// Gives a claim up, unless it is another by now. Repeating it changes nothing.
    pub(super) async fn release(
        &self,
        op: Op,
        (kind, key): (Claimed, &[u8]),
        claim: Claim,
    ) -> StorageResult<()> {
        let values = (kind as i8, key, claim.stamp);
        self.apply(op, &self.statements().finding.release, values).await.map(|_| ())
    }

    /// Notes where something may be found.
    pub(super) async fn note(
        &self,
        op: Op,
        kind: Candidates,
        key: &[u8],
        (item, owner): (i64, Id),
    ) -> StorageResult<()> {
        self.note_text(op, kind, key, (item, owner, None)).await
    }

    pub(super) async fn note_text(
        &self,
        op: Op,
        kind: Candidates,
        key: &[u8],
        (item, owner, note): (i64, Id, Option<&[u8]>),
    ) -> StorageResult<()> {
        let values = (kind as i8, key, item, signed(owner), note);
        self.put(op, &self.statements().finding.note, values).await
    }

    /// What may be found, by item.
    pub(super) async fn noted(
        &self,
        op: Op,
        kind: Candidates,
        key: &[u8],
    ) -> StorageResult<Vec<Candidate>> {
        self.noted_after(op, kind, key, i64::MIN).await
    }

    pub(super) async fn noted_after(
        &self,
        op: Op,
        kind: Candidates,
        key: &[u8],
        after: i64,
    ) -> StorageResult<Vec<Candidate>> {
        self.all(op, &self.statements().finding.noted, (kind as i8, key, after)).await
    }

    /// The only item noted under a key that has one.
    pub(super) async fn noted_one(
        &self,
        op: Op,
        kind: Candidates,
        key: &[u8],
    ) -> StorageResult<Option<Candidate>> {
        self.one(op, &self.statements().finding.noted, (kind as i8, key, i64::MIN)).await
    }

    pub(super) async fn forget(
        &self,
        op: Op,
        kind: Candidates,
        key: &[u8],
        item: i64,
    ) -> StorageResult<()> {
        self.put(op, &self.statements().finding.forget, (kind as i8, key, item)).await
    }

    pub(super) async fn forget_all(
        &self,
        op: Op,
        kind: Candidates,
        key: &[u8],
    ) -> StorageResult<()> {
        self.put(op, &self.statements().finding.forget_all, (kind as i8, key)).await
    }

    /// Puts something on the agenda.
    pub(super) async fn plan(&self, op: Op, plan: Plan) -> StorageResult<()> {
        let Plan { at, task, owner, item, note } = plan;
        let hour = hour(at);
        let values = (hour, at.as_millis(), task as i8, signed(owner), item, note);
        let entry = self.put(op, &self.statements().finding.plan, values);
        let listed = self.note(op, Candidates::AgendaHours, &[], (hour.into(), Id(0)));
        try_join(entry, listed).await.map(|_| ())
    }
}
