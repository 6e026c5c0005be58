//! Callers who show the token of a provider instead of one of ours.

use std::sync::Arc;

use foldhash::fast::RandomState;
use papaya::HashMap;

use super::{AccountError, Accounts};
use crate::domain::account::Member;
use crate::domain::time::Timestamp;
use crate::service::access::{Credential, Grant};
use crate::service::oidc::ExternalIdentity;

/// How long what the store says of somebody is good for, in milliseconds: the bound within which a
/// change that was made elsewhere is in force here.
const KNOWN_MS: i64 = 1_000;
/// People that are remembered; beyond, all are looked up again.
const KNOWN_MAX: usize = 100_000;

/// Who was looked up lately, by identity. The same token is the same identity in memory.
#[derive(Default)]
pub(super) struct Outsiders(HashMap<(String, String), (Timestamp, Member), RandomState>);

impl Accounts {
    /// What somebody may do whom a provider vouches for, in the workspace of their own. Kinds:
    /// `InvalidToken` for one who never signed in here.
    pub async fn outsider(&self, identity: &Arc<ExternalIdentity>) -> Result<Grant, AccountError> {
        let key = (identity.issuer.clone(), identity.subject.clone());
        let now = self.now();
        let known = self.outsiders.0.pin().get(&key).copied();
        let member = match known {
            Some((at, member)) if now < at.plus_millis(KNOWN_MS) && now >= at => member,
            _ => {
                let found = self.look_up(identity).await?;
                let outsiders = self.outsiders.0.pin();
                if outsiders.len() >= KNOWN_MAX {
                    outsiders.clear();
                }
                outsiders.insert(key, (now, found));
                found
            }
        };
        let Member { workspace, user, role, .. } = member;
        let role = self.parts.access.role_now(workspace, user, role);
        let role = role.ok_or(AccountError::InvalidToken)?;
        Ok(Grant {
            credential: Credential::Outside(user),
            user: Some(user),
            workspace,
            operator: self.parts.access.is_operators(workspace),
            role,
            scopes: role.scopes(),
        })
    }

    async fn look_up(&self, identity: &ExternalIdentity) -> Result<Member, AccountError> {
        let users = &self.parts.stores.users;
        let user = users.user_by_identity(&identity.issuer, &identity.subject).await?;
        let user = user.ok_or(AccountError::InvalidToken)?;
        if user.disabled_at.is_some() {
            return Err(AccountError::Disabled);
        }
        self.member_in(&user, None).await
    }
}
