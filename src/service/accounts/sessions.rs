//! Sessions: opened by signing in, continued by exchanging their token, ended by signing out.

use std::net::IpAddr;

use tracing::warn;

use super::telling::{on_session, on_user};
use super::{AccountError, Accounts, entropy};
use crate::domain::account::{Member, Session, User};
use crate::domain::audit::{Act, AuditAction};
use crate::domain::id::Id;
use crate::domain::refresh_token::RefreshToken;
use crate::domain::time::{Timestamp, millis};
use crate::service::access::{Actor, Credential};
use crate::service::tokens::AccessClaims;

/// Sessions of one user; the one that was used least lately ends when there are more.
const SESSIONS_PER_USER_MAX: usize = 100;
/// How long an exchanged token is exchanged once more for the same successor, in milliseconds: the
/// answer may have been lost. Only for the client that it was exchanged for.
const GRACE_MS: i64 = 10_000;
const SUCCESSOR_CONTEXT: &str = "shunt 2026 successor of a refresh token";

/// What somebody holds who is signed in.
#[derive(Clone, Debug)]
pub struct SignedIn {
    pub user: User,
    pub member: Member,
    pub access_token: String,
    pub access_expires_at: Timestamp,
    pub refresh_token: RefreshToken,
    pub refresh_expires_at: Timestamp,
    pub now: Timestamp,
}

impl Accounts {
    /// Opens a session of `user` in `workspace`, or in the user's own.
    pub(super) async fn open_session(
        &self,
        user: User,
        workspace: Option<Id>,
        client: IpAddr,
    ) -> Result<SignedIn, AccountError> {
        let member = self.member_in(&user, workspace).await?;
        let (id, now) = (self.parts.ids.next().await?, self.now());
        let token = RefreshToken::new(id, 0, &entropy()?, &self.parts.secret);
        let session = Session {
            id,
            user: user.id,
            workspace: member.workspace,
            generation: 0,
            digest: token.digest(&self.parts.secret),
            client: self.client(user.id, client),
            created_at: now,
            rotated_at: now,
            expires_at: now.plus_millis(millis(self.parts.session_ttl)),
        };
        let added =
            self.parts.stores.sessions.add_session(session.clone(), SESSIONS_PER_USER_MAX).await?;
        self.parts.access.end(now, added.ok_or(AccountError::Disabled)?);
        let act = self.act_of(user.id, member.workspace, Some(client));
        self.tell(act.entry(AuditAction::UserLogin, on_session(id))).await;
        Ok(self.signed_in((user, member), &session, token, now))
    }

    /// Exchanges a refresh token for its successor and a new access token, in `workspace` if one is
    /// named. A token that was exchanged before ends the session: somebody else has it.
    pub async fn refresh(
        &self,
        text: &str,
        workspace: Option<Id>,
        client: IpAddr,
    ) -> Result<SignedIn, AccountError> {
        let secret = &self.parts.secret;
        let token = RefreshToken::parse(text, secret).ok_or(AccountError::InvalidToken)?;
        let next_entropy = self.successor_entropy(&token);
        let next = token.generation().checked_add(1).ok_or(AccountError::SessionExpired)?;
        let next = RefreshToken::new(token.session(), next, &next_entropy, secret);
        // Twice: another request may exchange the same token in between.
        for _ in 0..2 {
            let now = self.now();
            let session = self.parts.stores.sessions.session(token.session()).await?;
            let session = session.ok_or(AccountError::InvalidToken)?;
            if session.expires_at <= now {
                return Err(AccountError::SessionExpired);
            }
            let is_current = same(&session.digest, &token.digest(secret));
            let is_lost = same(&session.digest, &next.digest(secret))
                && now <= session.rotated_at.plus_millis(GRACE_MS)
                && session.client == self.client(session.user, client);
            if !is_current && !is_lost {
                return Err(self.token_reused(&session, client, now).await?);
            }
            let user = self.parts.stores.users.user(session.user).await?;
            let user = user.filter(|user| user.disabled_at.is_none());
            let user = user.ok_or(AccountError::InvalidToken)?;
            let member = self.member_in(&user, Some(workspace.unwrap_or(session.workspace))).await;
            // One who has left the workspace meanwhile goes home.
            let member = match (member, workspace) {
                (Err(AccountError::NotMember), None) => self.member_in(&user, None).await?,
                (member, _) => member?,
            };
            if is_lost {
                return Ok(self.signed_in((user, member), &session, next, now));
            }
            let rotated = Session {
                workspace: member.workspace,
                generation: next.generation(),
                digest: next.digest(secret),
                client: self.client(user.id, client),
                rotated_at: now,
                ..session
            };
            if self.parts.stores.sessions.rotate_session(rotated.clone()).await? {
                return Ok(self.signed_in((user, member), &rotated, next, now));
            }
        }
        Err(AccountError::InvalidToken)
    }

    /// Ends the session that a refresh token belongs to, whichever of its tokens it is.
    pub async fn log_out(&self, text: &str) -> Result<(), AccountError> {
        let token = RefreshToken::parse(text, &self.parts.secret);
        let token = token.ok_or(AccountError::InvalidToken)?;
        let (id, now, sessions) = (token.session(), self.now(), &self.parts.stores.sessions);
        let session = sessions.session(id).await?;
        let ended = sessions.end_session(id, now).await?;
        self.parts.access.end(now, [id]);
        if let Some(Session { user, workspace, .. }) = session.filter(|_| ended) {
            let act = self.act_of(user, workspace, None);
            self.tell(act.entry(AuditAction::UserLogout, on_session(id))).await;
        }
        Ok(())
    }

    /// Ends all sessions of the caller.
    pub async fn log_out_everywhere(&self, by: &Actor) -> Result<(), AccountError> {
        let (user, now) = (by.grant.user.ok_or(AccountError::Nobody)?, self.now());
        let mut ended = self.parts.stores.sessions.end_sessions(user, now).await?;
        if let Credential::Session(session) = by.grant.credential {
            ended.push(session);
        }
        self.parts.access.end(now, ended);
        self.tell(by.act(now).entry(AuditAction::UserLogoutAll, on_user(user))).await;
        Ok(())
    }

    async fn token_reused(
        &self,
        session: &Session,
        client: IpAddr,
        now: Timestamp,
    ) -> Result<AccountError, AccountError> {
        warn!(
            session = %session.id, user = %session.user,
            "a refresh token was used again; its session is ended"
        );
        self.parts.stores.sessions.end_session(session.id, now).await?;
        self.parts.access.end(now, [session.id]);
        let act = self.act_of(session.user, session.workspace, Some(client));
        let act = Act { actor: None, ..act };
        self.tell(act.entry(AuditAction::SessionReuse, on_session(session.id))).await;
        Ok(AccountError::InvalidToken)
    }

    /// The successor follows from the token itself, so that a lost answer can be given again.
    fn successor_entropy(&self, token: &RefreshToken) -> [u8; 32] {
        let key = blake3::derive_key(SUCCESSOR_CONTEXT, &self.parts.secret);
        *blake3::keyed_hash(&key, token.as_str().as_bytes()).as_bytes()
    }

    /// What `user` is in `workspace`, or in its own. Kinds: `NotMember`.
    pub(super) async fn member_in(
        &self,
        user: &User,
        workspace: Option<Id>,
    ) -> Result<Member, AccountError> {
        let memberships = self.parts.stores.teams.memberships(user.id).await?;
        let wanted = workspace.unwrap_or(user.workspace);
        let mut members = memberships.into_iter().map(|(_, member)| member);
        members.find(|member| member.workspace == wanted).ok_or(AccountError::NotMember)
    }

    fn signed_in(
        &self,
        (user, member): (User, Member),
        session: &Session,
        refresh_token: RefreshToken,
        now: Timestamp,
    ) -> SignedIn {
        let tokens = self.parts.access.tokens();
        let claims = AccessClaims {
            user: user.id,
            workspace: member.workspace,
            role: member.role,
            scope: member.role.scopes(),
            session: session.id,
            generation: session.generation,
            issued_at: now,
            expires_at: tokens.expiry(now).min(session.expires_at),
        };
        SignedIn {
            access_token: tokens.sign(&claims),
            access_expires_at: claims.expires_at,
            refresh_expires_at: session.expires_at,
            user,
            member,
            refresh_token,
            now,
        }
    }
}

/// Compares without telling by time where two digests differ.
fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    blake3::Hash::from_bytes(*one) == blake3::Hash::from_bytes(*other)
}
