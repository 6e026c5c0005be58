//! The ports for people: users, the workspaces they share, their sign-ins.

use async_trait::async_trait;

use super::{StorageResult, Workspace};
use crate::domain::account::{AccessChange, ClientDigest, Member, Role, Session, User};
use crate::domain::email::Email;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;

/// Users and who they are elsewhere.
#[async_trait]
pub trait UserStore: Send + Sync + 'static {
    /// Adds a user with `workspace` as its own, all or nothing.
    async fn add_user(&self, new: NewUser) -> StorageResult<UserAdded>;

    async fn user(&self, id: Id) -> StorageResult<Option<User>>;

    async fn user_by_email(&self, email: &Email) -> StorageResult<Option<User>>;

    /// Up to `limit` users with an id above `after`, by id.
    async fn users(&self, after: Id, limit: u32) -> StorageResult<Vec<User>>;

    /// Gives the user another name or address. Another address is not verified, and what was sent
    /// to the one before is good for nothing any more.
    async fn change_user(
        &self,
        id: Id,
        change: UserChange,
        at: Timestamp,
    ) -> StorageResult<UserChanged>;

    /// Notes that the user proved to have the address. False: no such user.
    async fn verify_email(&self, id: Id, at: Timestamp) -> StorageResult<bool>;

    /// Changes the password and ends sessions; answers those that ended. `None`: it was another
    /// than `change.from`, or there is no such user.
    async fn set_password(
        &self,
        id: Id,
        change: PasswordChange,
        at: Timestamp,
    ) -> StorageResult<Option<Vec<Id>>>;

    /// Puts a hash of the same password with other parameters in place of `from`.
    async fn rehash_password(&self, id: Id, from: &str, to: &str) -> StorageResult<()>;

    /// Puts all of a user's credentials out of force, or in force again; answers the sessions that
    /// ended. `None`: no such user.
    async fn disable_user(
        &self,
        id: Id,
        disabled: bool,
        at: Timestamp,
    ) -> StorageResult<Option<Vec<Id>>>;

    /// Removes a user and everything that names it. Workspaces that nobody else belongs to are
    /// closed: [`TeamStore::closed_workspaces`] lists them until their links are gone.
    async fn erase_user(&self, id: Id, at: Timestamp) -> StorageResult<Erasure>;

    /// The user that a provider's subject is.
    async fn user_by_identity(&self, issuer: &str, subject: &str) -> StorageResult<Option<User>>;

    /// Notes that a user is a provider's subject. False: the subject is another user.
    async fn add_identity(
        &self,
        user: Id,
        issuer: &str,
        subject: &str,
        at: Timestamp,
    ) -> StorageResult<bool>;
}

/// A user to add.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub user: User,
    /// The workspace of its own, of which it is the owner.
    pub workspace: Workspace,
    /// Issuer and subject, for one who comes from a provider.
    pub identity: Option<(String, String)>,
    /// Digest of an invitation that is used up by this; must be there and in force.
    pub invitation: Option<[u8; 32]>,
}

/// Outcome of adding a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserAdded {
    Done,
    EmailTaken,
    IdentityTaken,
    /// The invitation is not, or no longer, in force.
    NotInvited,
}

/// What to change of a user; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    pub name: Option<String>,
    pub email: Option<Email>,
}

/// A password, as PHC strings.
#[derive(Clone, Debug)]
pub struct PasswordChange {
    /// What it is until now.
    pub from: Option<String>,
    pub to: String,
    /// The session that goes on.
    pub keep: Option<Id>,
}

/// Outcome of changing a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserChanged {
    Done(User),
    NotFound,
    EmailTaken,
}

/// Outcome of erasing a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Erasure {
    Done {
        ended: Vec<Id>,
    },
    NotFound,
    /// Others belong to a workspace whose last owner this is.
    LastOwner,
}

/// Workspaces and who belongs to them.
#[async_trait]
pub trait TeamStore: Send + Sync + 'static {
    /// Where a user belongs to, by workspace.
    async fn memberships(&self, user: Id) -> StorageResult<Vec<(Workspace, Member)>>;

    /// Who belongs to a workspace, by user.
    async fn members(&self, workspace: Id) -> StorageResult<Vec<(Member, User)>>;

    /// Adds a workspace with its owner. False: the owner belongs to `most` already.
    async fn add_workspace(
        &self,
        workspace: Workspace,
        owner: Id,
        most: usize,
    ) -> StorageResult<bool>;

    /// False: no such workspace.
    async fn rename_workspace(&self, id: Id, name: &str) -> StorageResult<bool>;

    /// Changes what a member is, or ends the membership with `None`.
    async fn set_role(
        &self,
        workspace: Id,
        user: Id,
        role: Option<Role>,
        at: Timestamp,
    ) -> StorageResult<RoleSet>;

    /// Adds an invitation. False: the workspace has `most` already.
    async fn add_invitation(&self, invitation: Invitation, most: usize) -> StorageResult<bool>;

    /// Invitations of a workspace that are in force at `now`, by id.
    async fn invitations(&self, workspace: Id, now: Timestamp) -> StorageResult<Vec<Invitation>>;

    /// The invitation with this digest, if it is in force at `now`.
    async fn invitation(
        &self,
        digest: &[u8; 32],
        now: Timestamp,
    ) -> StorageResult<Option<Invitation>>;

    /// False: no such invitation in the workspace.
    async fn remove_invitation(&self, workspace: Id, id: Id) -> StorageResult<bool>;

    /// Uses up an invitation: `user` belongs to its workspace from now on. One who belongs to it
    /// already keeps the higher role.
    async fn accept_invitation(
        &self,
        digest: &[u8; 32],
        user: Id,
        now: Timestamp,
    ) -> StorageResult<Option<Member>>;

    /// Workspaces whose links are to be taken down.
    async fn closed_workspaces(&self) -> StorageResult<Vec<Id>>;

    /// Forgets a closed workspace's kept answers and texts, and that anything is left to be done.
    async fn finish_closing(&self, workspace: Id) -> StorageResult<()>;
}

/// Outcome of changing a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleSet {
    Done,
    NotFound,
    /// Nobody would be left who may do everything.
    LastOwner,
}

/// An offer to belong to a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    pub id: Id,
    pub workspace: Id,
    /// Keyed hash of the token.
    pub digest: [u8; 32],
    /// Whom it was sent to; whoever has the token may use it.
    pub email: Option<Email>,
    pub role: Role,
    pub invited_by: Id,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Sign-ins, and what was sent by mail to prove something.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Adds a session of a user who is not disabled, notes its client as known, and ends the
    /// oldest of those beyond `most`; answers those that ended. `None`: no such user.
    async fn add_session(&self, session: Session, most: usize) -> StorageResult<Option<Vec<Id>>>;

    /// The session with this id, in force or not.
    async fn session(&self, id: Id) -> StorageResult<Option<Session>>;

    /// Puts `next` in place of the session with its id, if that has the generation before and is
    /// in force. False: it was exchanged or ended by somebody else.
    async fn rotate_session(&self, next: Session) -> StorageResult<bool>;

    /// Ends a session. False: it was over.
    async fn end_session(&self, id: Id, at: Timestamp) -> StorageResult<bool>;

    /// Ends all sessions of a user; answers them.
    async fn end_sessions(&self, user: Id, at: Timestamp) -> StorageResult<Vec<Id>>;

    /// Whether the user signed in from this client before.
    async fn knows_client(&self, user: Id, client: &ClientDigest) -> StorageResult<bool>;

    /// Changes after number `after`, in order, with their numbers and times.
    async fn access_changes(
        &self,
        after: u64,
    ) -> StorageResult<Vec<(u64, Timestamp, AccessChange)>>;

    /// Adds a ticket in place of others of its user and kind.
    async fn add_ticket(&self, ticket: StoredTicket) -> StorageResult<()>;

    /// Whose the ticket with this digest is, if it is in force at `now`.
    async fn ticket(
        &self,
        digest: &[u8; 32],
        kind: u8,
        now: Timestamp,
    ) -> StorageResult<Option<Id>>;

    /// Takes the ticket with this digest away: whose it was, if it was in force at `now`.
    async fn take_ticket(
        &self,
        digest: &[u8; 32],
        kind: u8,
        now: Timestamp,
    ) -> StorageResult<Option<Id>>;

    /// Removes what is over at `now`: sessions, tickets, invitations; and changes before
    /// `changes_before`.
    async fn prune_access(&self, now: Timestamp, changes_before: Timestamp) -> StorageResult<()>;
}

/// A one-time token, as its keyed hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTicket {
    pub digest: [u8; 32],
    /// What it is good for, as `TicketKind` has it.
    pub kind: u8,
    pub user: Id,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}
