//! People as they are moved to another store: partitions travel row by row, and what leads to them
//! is made anew.

use std::collections::HashSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::super::Cql;
use super::super::accounts::INSTALLATION;
use super::super::finding::{Candidates, Claimed, Plan, Task, hash_of, key_of};
use super::super::ids::{signed, unsigned};
use super::super::keys::shard_of;
use super::super::moving::{PUT, ROWS_PER_PAGE, SCAN, unreadable};
use super::super::run::damaged;
use super::super::together::Whole as _;
use super::person::Person;
use super::team::Team;
use super::teams::leads_to;
use super::users::{day_of, identity_key};
use crate::domain::account::{AccessChange, Role};
use crate::domain::email::Email;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::error::StorageResult;
use crate::storage::moving::records::{
    AccessChangeRecord, ApiKeyRecord, ClientRecord, IdentityRecord, InvitationRecord, MemberRecord,
    SessionRecord, TicketRecord, UserRecord, WorkspaceRecord,
};
use crate::storage::moving::{Hex, Kind, Out, Record};
use crate::storage::people::Invitation;

/// Partitions that are read at once.
const AT_ONCE: usize = 32;
/// The hour of the list of changes that holds those that came with a move.
const MOVED_HOUR: i32 = 1;
/// Changes of an hour are numbered below this.
const CHANGES_MAX: i64 = 1 << 24;

impl Cql {
    pub(in super::super) async fn scan_teams(&self, kind: Kind, mut out: Out) -> StorageResult<()> {
        let users = self.users_there().await?;
        let statement = &self.statements().moving.workspace_ids;
        let ids = self.stream::<(i64,)>(SCAN, statement, ROWS_PER_PAGE).await?;
        let teams = ids.map_ok(|(id,)| Team::read(self, SCAN, unsigned(id)));
        let mut teams = std::pin::pin!(teams.try_buffered(AT_ONCE));
        while let Some(team) = teams.try_next().await? {
            for record in records_of_team(&team, kind, &users) {
                out.send(SCAN, record).await?;
            }
        }
        out.end(SCAN).await
    }

    /// Users that were made whole and not erased.
    async fn users_there(&self) -> StorageResult<HashSet<Id>> {
        type Row = (i64, Option<i64>, Option<i64>);
        let statement = &self.statements().moving.user_ids;
        let rows = self.stream::<Row>(SCAN, statement, ROWS_PER_PAGE).await?;
        let there = rows.try_filter_map(|(id, created_at, erasing_at)| async move {
            Ok((created_at.is_some() && erasing_at.is_none()).then_some(unsigned(id)))
        });
        there.try_collect().await
    }

    pub(in super::super) async fn scan_people(
        &self,
        kind: Kind,
        mut out: Out,
    ) -> StorageResult<()> {
        let users = self.users_there().await?;
        let people = users.into_iter().map(|id| Person::read(self, SCAN, id));
        let mut people = stream::iter(people).buffered(AT_ONCE);
        while let Some(person) = people.try_next().await? {
            for record in records_of_person(&person, kind) {
                out.send(SCAN, record).await?;
            }
        }
        out.end(SCAN).await
    }

    pub(in super::super) async fn scan_identities(&self, mut out: Out) -> StorageResult<()> {
        type Row = (i8, Vec<u8>, Option<i64>, Option<i64>);
        let users = self.users_there().await?;
        let statement = &self.statements().moving.claims;
        let rows = self.stream::<Row>(SCAN, statement, ROWS_PER_PAGE).await?;
        let mut rows = std::pin::pin!(rows);
        while let Some((kind, key, owner, at)) = rows.try_next().await? {
            let (Some(user), Some(created_at)) = (owner, at) else { continue };
            if kind != Claimed::Identity as i8 || !users.contains(&unsigned(user)) {
                continue;
            }
            let text = String::from_utf8(key).map_err(|error| damaged(SCAN, error))?;
            let parts = text.split_once('\0');
            let (issuer, subject) = parts.ok_or_else(|| damaged(SCAN, "a subject of nobody"))?;
            let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
            out.send(SCAN, IdentityRecord { issuer, subject, user, created_at }).await?;
        }
        out.end(SCAN).await
    }

    pub(in super::super) async fn scan_clients(&self, mut out: Out) -> StorageResult<()> {
        let users = self.users_there().await?;
        let statement = &self.statements().moving.clients;
        let rows = self.stream::<(i64, Vec<u8>, i64)>(SCAN, statement, ROWS_PER_PAGE).await?;
        let mut rows = std::pin::pin!(rows);
        while let Some((user, client, seen_at)) = rows.try_next().await? {
            if users.contains(&unsigned(user)) {
                out.send(SCAN, ClientRecord { user, client: Hex(client), seen_at }).await?;
            }
        }
        out.end(SCAN).await
    }

    pub(in super::super) async fn scan_keys(&self, mut out: Out) -> StorageResult<()> {
        let at = |at: Option<Timestamp>| at.map(Timestamp::as_millis);
        for record in self.all_keys(SCAN).await? {
            let key = record.key;
            let record = ApiKeyRecord {
                id: signed(key.id),
                workspace: signed(key.workspace),
                user: key.user.map(signed),
                name: key.name,
                prefix: key.prefix,
                digest: key.digest.into(),
                scopes: key.scopes.bits(),
                created_at: key.created_at.as_millis(),
                expires_at: at(key.expires_at),
                revoked_at: at(key.revoked_at),
                last_used_at: at(key.last_used_at),
                uses: key.uses.cast_signed(),
            };
            out.send(SCAN, record).await?;
        }
        out.end(SCAN).await
    }

    /// What is on the list, and what was cut short before it came to it.
    pub(in super::super) async fn scan_access_changes(&self, mut out: Out) -> StorageResult<()> {
        for (_, at, change) in self.changes_after(SCAN, 0).await? {
            out.send(SCAN, change_record(at, change)).await?;
        }
        let statement = &self.statements().moving.workspace_ids;
        let ids = self.stream::<(i64,)>(SCAN, statement, ROWS_PER_PAGE).await?;
        let teams = ids.map_ok(|(id,)| async move {
            Ok((unsigned(id), Team::read(self, SCAN, unsigned(id)).await?))
        });
        let mut teams = std::pin::pin!(teams.try_buffered(AT_ONCE));
        while let Some((workspace, team)) = teams.try_next().await? {
            for (user, untold) in &team.untold {
                let (user, role) = (*user, untold.role);
                let change = AccessChange::RoleChanged { workspace, user, role };
                out.send(SCAN, change_record(untold.at, change)).await?;
            }
        }
        let users = self.users_there().await?;
        let people = users.into_iter().map(|id| Person::read(self, SCAN, id));
        let mut people = stream::iter(people).buffered(AT_ONCE);
        while let Some(person) = people.try_next().await? {
            for (session, ended_at) in person.sessions.values() {
                if let Some(at) = ended_at {
                    let change = AccessChange::SessionEnded { session: session.id };
                    out.send(SCAN, change_record(*at, change)).await?;
                }
            }
        }
        out.end(SCAN).await
    }

    pub(in super::super) async fn put_access_change(
        &self,
        number: u64,
        record: &AccessChangeRecord,
    ) -> StorageResult<()> {
        let seq = number.cast_signed() + 1;
        if seq >= CHANGES_MAX {
            return Err(unreadable(Kind::AccessChanges));
        }
        let AccessChangeRecord { at, session, workspace, user, role } = *record;
        let role = role.map(u8::cast_signed);
        let values = (MOVED_HOUR, seq, at, session, workspace, user, role, 0_i64);
        self.put_moved(&self.statements().access.add, values).await?;
        let statements = &self.statements().moving;
        self.put_moved_at(seq, &statements.last_change, (seq, MOVED_HOUR)).await?;
        self.put_moved(&statements.first_hour, (MOVED_HOUR,)).await
    }

    pub(in super::super) async fn put_person(&self, record: &Record) -> StorageResult<()> {
        match record {
            Record::Workspaces(record) => self.put_workspace(record).await,
            Record::Users(record) => self.put_user(record).await,
            Record::Identities(record) => self.put_identity(record).await,
            Record::Clients(record) => {
                let values = (record.user, &record.client.0, record.seen_at);
                self.put_moved(&self.statements().access.know, values).await
            }
            Record::Members(record) => {
                let MemberRecord { workspace, user, role, joined_at } = **record;
                let item = (workspace, unsigned(workspace));
                self.lead(Candidates::Memberships, &key_of(unsigned(user)), item).await?;
                let values = (workspace, user, role.cast_signed(), joined_at);
                self.put_moved(&self.statements().workspaces.put_member, values).await
            }
            Record::Invitations(record) => self.put_invitation(record).await,
            Record::Sessions(record) => self.put_session(record).await,
            Record::Tickets(record) => self.put_ticket(record).await,
            Record::ApiKeys(record) => self.put_api_key(record).await,
            record => Err(unreadable(record.kind())),
        }
    }

    /// Notes where something may be found.
    async fn lead(&self, kind: Candidates, key: &[u8], item: (i64, Id)) -> StorageResult<()> {
        self.again(|| self.note(PUT, kind, key, item)).await
    }

    async fn put_claim(
        &self,
        kind: Claimed,
        key: &[u8],
        (owner, at): (i64, i64),
    ) -> StorageResult<()> {
        let values = (kind as i8, key, owner, at);
        self.put_moved(&self.statements().moving.put_claim, values).await
    }

    async fn put_workspace(&self, record: &WorkspaceRecord) -> StorageResult<()> {
        let WorkspaceRecord { id, name, operator, created_at, closed_at } = record;
        let item = (*id, unsigned(*id));
        if !name.is_empty() {
            self.lead(Candidates::Called, name.as_bytes(), item).await?;
        }
        if closed_at.is_some() {
            self.lead(Candidates::Closed, &[], item).await?;
        }
        let statements = &self.statements().moving;
        if *operator {
            let values = (INSTALLATION, id, name, created_at);
            self.put_moved(&statements.put_installation, values).await?;
        }
        let values = (id, name, operator, created_at, closed_at);
        self.put_moved(&statements.put_workspace, values).await
    }

    async fn put_user(&self, record: &UserRecord) -> StorageResult<()> {
        let email = Email::parse(&record.email).map_err(|_| unreadable(Kind::Users))?;
        let id = unsigned(record.id);
        let day = day_of(id);
        self.lead(Candidates::UserDays, &[], (day, Id(0))).await?;
        self.lead(Candidates::UsersOfDay, &day.to_be_bytes(), (record.id, id)).await?;
        let claim = (record.id, record.created_at);
        self.put_claim(Claimed::Email, email.key().as_bytes(), claim).await?;
        let UserRecord { name, password, workspace, .. } = record;
        let times = (record.created_at, record.updated_at, record.disabled_at);
        let verified = record.email_verified_at;
        let who = (record.id, email.as_str(), verified, name, password, workspace);
        let values = (who.0, who.1, who.2, who.3, who.4, who.5, times.0, times.1, times.2);
        self.put_moved(&self.statements().moving.put_user, values).await
    }

    async fn put_identity(&self, record: &IdentityRecord) -> StorageResult<()> {
        let key = identity_key(&record.issuer, &record.subject);
        let user = unsigned(record.user);
        let (of, noted) = (key_of(user), (hash_of(&key), user, Some(key.as_slice())));
        self.again(|| self.note_text(PUT, Candidates::Identities, &of, noted)).await?;
        self.put_claim(Claimed::Identity, &key, (record.user, record.created_at)).await
    }

    async fn put_invitation(&self, record: &InvitationRecord) -> StorageResult<()> {
        let wrong = || unreadable(Kind::Invitations);
        let email = record.email.as_deref().map(Email::parse).transpose();
        let invitation = Invitation {
            id: unsigned(record.id),
            workspace: unsigned(record.workspace),
            digest: record.digest.array().ok_or_else(wrong)?,
            email: email.map_err(|_| wrong())?,
            role: Role::from_byte(record.role).ok_or_else(wrong)?,
            invited_by: unsigned(record.invited_by),
            created_at: Timestamp(record.created_at),
            expires_at: Timestamp(record.expires_at),
        };
        let over = Plan::new(invitation.expires_at, Task::Invitation, invitation.workspace);
        let over = Plan { item: record.id, ..over };
        self.again(|| self.plan(PUT, over.clone())).await?;
        for (kind, key) in leads_to(&invitation) {
            self.lead(kind, &key, (record.id, invitation.workspace)).await?;
        }
        let InvitationRecord { id, workspace, role, invited_by, .. } = record;
        let times = (record.created_at, record.expires_at);
        let who = (workspace, id, &record.digest.0, &record.email, role.cast_signed());
        let values = (who.0, who.1, who.2, who.3, who.4, invited_by, times.0, times.1);
        self.put_moved(&self.statements().workspaces.put_invitation, values).await
    }

    async fn put_session(&self, record: &SessionRecord) -> StorageResult<()> {
        let (id, user) = (unsigned(record.id), unsigned(record.user));
        self.lead(Candidates::Session, &key_of(id), (record.id, user)).await?;
        let over = Plan::new(Timestamp(record.expires_at), Task::Session, user);
        let over = Plan { item: record.id, ..over };
        self.again(|| self.plan(PUT, over.clone())).await?;
        let values = (
            record.user,
            record.id,
            record.workspace,
            i64::from(record.generation),
            &record.digest.0,
            &record.client.0,
            record.created_at,
            record.rotated_at,
            record.expires_at,
        );
        self.put_moved(&self.statements().users.put_session, values).await
    }

    async fn put_ticket(&self, record: &TicketRecord) -> StorageResult<()> {
        let TicketRecord { digest, kind, user, created_at, expires_at } = record;
        let item = i64::from(*kind);
        self.lead(Candidates::Ticket, &digest.0, (item, unsigned(*user))).await?;
        let over = Plan::new(Timestamp(*expires_at), Task::Ticket, unsigned(*user));
        let over = Plan { item, ..over };
        self.again(|| self.plan(PUT, over.clone())).await?;
        let values = (user, item, &digest.0, created_at, expires_at, None::<i64>);
        self.put_moved(&self.statements().users.put_ticket, values).await
    }

    async fn put_api_key(&self, record: &ApiKeyRecord) -> StorageResult<()> {
        let id = unsigned(record.id);
        for owner in [Some(record.workspace), record.user].into_iter().flatten() {
            self.lead(Candidates::Keys, &key_of(unsigned(owner)), (record.id, id)).await?;
        }
        let claim = (record.id, record.created_at);
        self.put_claim(Claimed::KeyDigest, &record.digest.0, claim).await?;
        let values = (
            shard_of(id),
            record.id,
            record.workspace,
            record.user,
            &record.name,
            &record.prefix,
            &record.digest.0,
            i16::from(record.scopes),
            record.created_at,
            record.expires_at,
            record.revoked_at,
            record.uses,
            record.last_used_at,
        );
        self.put_moved(&self.statements().moving.put_key, values).await
    }
}

fn records_of_team(team: &Team, kind: Kind, users: &HashSet<Id>) -> Vec<Record> {
    let Some(own) = &team.workspace else { return Vec::new() };
    match kind {
        Kind::Workspaces => vec![
            WorkspaceRecord {
                id: signed(own.id),
                name: own.name.clone(),
                operator: own.operator,
                created_at: own.created_at.as_millis(),
                closed_at: team.closed_at.map(Timestamp::as_millis),
            }
            .into(),
        ],
        Kind::Members => {
            let there = team.members.values().filter(|member| users.contains(&member.user));
            let record = |member: &crate::domain::account::Member| MemberRecord {
                workspace: signed(own.id),
                user: signed(member.user),
                role: member.role as u8,
                joined_at: member.joined_at.as_millis(),
            };
            there.map(record).map(Record::from).collect()
        }
        _ => {
            let record = |one: &Invitation| InvitationRecord {
                id: signed(one.id),
                workspace: signed(own.id),
                digest: one.digest.into(),
                email: one.email.as_ref().map(|email| email.as_str().to_owned()),
                role: one.role as u8,
                invited_by: signed(one.invited_by),
                created_at: one.created_at.as_millis(),
                expires_at: one.expires_at.as_millis(),
            };
            team.invitations.values().map(record).map(Record::from).collect()
        }
    }
}

fn records_of_person(person: &Person, kind: Kind) -> Vec<Record> {
    let Some(user) = person.here() else { return Vec::new() };
    match kind {
        Kind::Users => vec![
            UserRecord {
                id: signed(user.id),
                email: user.email.as_str().to_owned(),
                email_verified_at: user.email_verified_at.map(Timestamp::as_millis),
                name: user.name.clone(),
                password: user.password.clone(),
                workspace: signed(user.workspace),
                created_at: user.created_at.as_millis(),
                updated_at: user.updated_at.as_millis(),
                disabled_at: user.disabled_at.map(Timestamp::as_millis),
            }
            .into(),
        ],
        Kind::Sessions => {
            let record = |one: &&crate::domain::account::Session| SessionRecord {
                id: signed(one.id),
                user: signed(one.user),
                workspace: signed(one.workspace),
                generation: one.generation,
                digest: one.digest.into(),
                client: one.client.into(),
                created_at: one.created_at.as_millis(),
                rotated_at: one.rotated_at.as_millis(),
                expires_at: one.expires_at.as_millis(),
            };
            person.open().iter().map(record).map(Record::from).collect()
        }
        _ => {
            let record = |one: &crate::storage::people::StoredTicket| TicketRecord {
                digest: one.digest.into(),
                kind: one.kind,
                user: signed(one.user),
                created_at: one.created_at.as_millis(),
                expires_at: one.expires_at.as_millis(),
            };
            person.tickets.values().map(record).map(Record::from).collect()
        }
    }
}

fn change_record(at: Timestamp, change: AccessChange) -> AccessChangeRecord {
    let at = at.as_millis();
    match change {
        AccessChange::SessionEnded { session } => AccessChangeRecord {
            at,
            session: Some(signed(session)),
            workspace: None,
            user: None,
            role: None,
        },
        AccessChange::RoleChanged { workspace, user, role } => AccessChangeRecord {
            at,
            session: None,
            workspace: Some(signed(workspace)),
            user: Some(signed(user)),
            role: role.map(|role| role as u8),
        },
    }
}
