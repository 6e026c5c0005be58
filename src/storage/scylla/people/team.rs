//! The partition of a workspace: what it is, who belongs to it and who is invited.

use std::collections::BTreeMap;

use scylla::DeserializeRow;

use super::super::Cql;
use super::super::ids::{signed, unsigned};
use super::super::run::damaged;
use super::super::together::{Step, Whole};
use crate::domain::account::{Member, Role};
use crate::domain::email::Email;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::Workspace;
use crate::storage::error::{Op, StorageResult};
use crate::storage::people::Invitation;

const MEMBER: i8 = 0;
const INVITATION: i8 = 1;
const UNTOLD: i8 = 2;

/// Rows of it that one batch may hold beside others.
pub(super) const ROWS_PER_BATCH: usize = 30;

/// All there is of a workspace.
pub(in super::super) struct Team {
    id: Id,
    stamp: Option<i64>,
    /// `None`: there is no such workspace.
    pub(in super::super) workspace: Option<Workspace>,
    pub(super) closed_at: Option<Timestamp>,
    pub(super) members: BTreeMap<Id, Member>,
    pub(super) invitations: BTreeMap<Id, Invitation>,
    /// Changes of members that are to be told, by user.
    pub(super) untold: BTreeMap<Id, Untold>,
}

/// A change of a member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Untold {
    pub(super) role: Option<Role>,
    pub(super) at: Timestamp,
    pub(super) change: i64,
}

#[derive(DeserializeRow)]
pub(super) struct TeamRow {
    stamp: Option<i64>,
    name: Option<String>,
    operator: Option<bool>,
    created_at: Option<i64>,
    closed_at: Option<i64>,
    kind: Option<i8>,
    item: Option<i64>,
    role: Option<i8>,
    at: Option<i64>,
    digest: Option<Vec<u8>>,
    email: Option<String>,
    invited_by: Option<i64>,
    expires_at: Option<i64>,
    change: Option<i64>,
}

impl Whole for Team {
    async fn read(cql: &Cql, op: Op, id: Id) -> StorageResult<Self> {
        let rows = cql.all(op, &cql.statements().workspaces.whole, (signed(id),)).await?;
        Self::of(op, id, rows)
    }

    fn stamp(&self) -> Option<i64> {
        self.stamp
    }
}

impl Team {
    /// What some rows of the partition say.
    pub(super) fn of(op: Op, id: Id, rows: Vec<TeamRow>) -> StorageResult<Self> {
        let mut team = Self {
            id,
            stamp: None,
            workspace: None,
            closed_at: None,
            members: BTreeMap::new(),
            invitations: BTreeMap::new(),
            untold: BTreeMap::new(),
        };
        for row in rows {
            team.take_in(op, row)?;
        }
        Ok(team)
    }

    fn take_in(&mut self, op: Op, row: TeamRow) -> StorageResult<()> {
        let id = self.id;
        if self.workspace.is_none() {
            (self.stamp, self.closed_at) = (row.stamp, row.closed_at.map(Timestamp));
            self.workspace = row.name.zip(row.created_at).map(|(name, created_at)| Workspace {
                id,
                name,
                operator: row.operator.unwrap_or_default(),
                created_at: Timestamp(created_at),
            });
        }
        let (Some(kind), Some(item)) = (row.kind, row.item) else { return Ok(()) };
        let (item, role) = (unsigned(item), role(op, row.role)?);
        let whole = || damaged(op, format!("a row of workspace {id} is not whole"));
        let at = Timestamp(row.at.ok_or_else(whole)?);
        match kind {
            MEMBER => {
                let role = role.ok_or_else(whole)?;
                let member = Member { workspace: id, user: item, role, joined_at: at };
                self.members.insert(item, member);
            }
            INVITATION => {
                let email = row.email.map(|text| Email::parse(&text)).transpose();
                let digest = row.digest.and_then(|digest| digest.try_into().ok());
                let invitation = Invitation {
                    id: item,
                    workspace: id,
                    digest: digest.ok_or_else(whole)?,
                    email: email.map_err(|error| damaged(op, error))?,
                    role: role.ok_or_else(whole)?,
                    invited_by: unsigned(row.invited_by.ok_or_else(whole)?),
                    created_at: at,
                    expires_at: Timestamp(row.expires_at.ok_or_else(whole)?),
                };
                self.invitations.insert(item, invitation);
            }
            UNTOLD => {
                let change = row.change.ok_or_else(whole)?;
                self.untold.insert(item, Untold { role, at, change });
            }
            _ => return Err(whole()),
        }
        Ok(())
    }

    /// What the other members are.
    pub(super) fn others(&self, but: Id) -> Vec<Role> {
        let others = self.members.values().filter(|member| member.user != but);
        others.map(|member| member.role).collect()
    }

    /// The step that has the condition: puts the workspace as `workspace` and `closed_at` say.
    pub(in super::super) fn put<'a>(
        &self,
        cql: &'a Cql,
        stamp: i64,
        workspace: &Workspace,
        closed_at: Option<Timestamp>,
    ) -> Step<'a> {
        let values = (
            stamp,
            workspace.name.clone(),
            workspace.operator,
            workspace.created_at.as_millis(),
            closed_at.map(Timestamp::as_millis),
            signed(self.id),
            self.stamp,
        );
        (&cql.statements().workspaces.put, Box::new(values))
    }

    /// The same, and the workspace stays as it is. `None`: there is none.
    pub(super) fn touch<'a>(&self, cql: &'a Cql, stamp: i64) -> Option<Step<'a>> {
        Some(self.put(cql, stamp, self.workspace.as_ref()?, self.closed_at))
    }

    pub(in super::super) fn put_member<'a>(&self, cql: &'a Cql, member: &Member) -> Step<'a> {
        let (user, at) = (signed(member.user), member.joined_at.as_millis());
        let values = (signed(self.id), user, member.role as i8, at);
        (&cql.statements().workspaces.put_member, Box::new(values))
    }

    pub(super) fn remove_member<'a>(&self, cql: &'a Cql, user: Id) -> Step<'a> {
        self.remove(cql, MEMBER, user)
    }

    pub(super) fn put_invitation<'a>(&self, cql: &'a Cql, invitation: &Invitation) -> Step<'a> {
        let values = (
            signed(self.id),
            signed(invitation.id),
            invitation.digest.to_vec(),
            invitation.email.as_ref().map(|email| email.as_str().to_owned()),
            invitation.role as i8,
            signed(invitation.invited_by),
            invitation.created_at.as_millis(),
            invitation.expires_at.as_millis(),
        );
        (&cql.statements().workspaces.put_invitation, Box::new(values))
    }

    pub(super) fn remove_invitation<'a>(&self, cql: &'a Cql, invitation: Id) -> Step<'a> {
        self.remove(cql, INVITATION, invitation)
    }

    /// Says in the same write that a member changed, until that is told.
    pub(super) fn put_untold<'a>(&self, cql: &'a Cql, user: Id, untold: Untold) -> Step<'a> {
        let Untold { role, at, change } = untold;
        let role = role.map(|role| role as i8);
        let values = (signed(self.id), signed(user), role, at.as_millis(), change);
        (&cql.statements().workspaces.put_untold, Box::new(values))
    }

    pub(super) fn remove_untold<'a>(&self, cql: &'a Cql, user: Id) -> Step<'a> {
        self.remove(cql, UNTOLD, user)
    }

    fn remove<'a>(&self, cql: &'a Cql, kind: i8, item: Id) -> Step<'a> {
        let values = (signed(self.id), kind, signed(item));
        (&cql.statements().workspaces.remove, Box::new(values))
    }
}

/// A role's byte, as tables have it.
pub(in super::super) fn role(op: Op, byte: Option<i8>) -> StorageResult<Option<Role>> {
    let Some(byte) = byte else { return Ok(None) };
    let role = u8::try_from(byte).ok().and_then(Role::from_byte);
    role.map(Some).ok_or_else(|| damaged(op, format!("no role has the number {byte}")))
}
