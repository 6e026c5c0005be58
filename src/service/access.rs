//! What an authenticated caller may do, and on whose behalf.

use std::net::IpAddr;

use crate::domain::account::Role;
use crate::domain::api_key::Scopes;
use crate::domain::audit::{Act, Shown};
use crate::domain::id::Id;
use crate::domain::network::ClientNetwork;
use crate::domain::time::Timestamp;

/// What a caller showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    Key(Id),
    Session(Id),
    /// A token of a provider that vouches for this user.
    Outside(Id),
}

/// What an authenticated caller may do, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub credential: Credential,
    /// `None`: the workspace's own key, which is nobody's.
    pub user: Option<Id>,
    pub workspace: Id,
    /// The workspace is the operator's own.
    pub operator: bool,
    pub role: Role,
    /// Never more than `role` may do.
    pub scopes: Scopes,
}

/// Somebody who does something: what it may do, and where it asks from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    pub grant: Grant,
    pub place: Place,
}

/// Where somebody asks from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A connection that tells nothing.
    Unknown,
    Network(ClientNetwork),
    CommandLine,
}

impl Place {
    pub fn of(address: IpAddr) -> Self {
        Self::Network(ClientNetwork::of(address))
    }

    fn network(self) -> Option<ClientNetwork> {
        match self {
            Self::Network(network) => Some(network),
            Self::Unknown | Self::CommandLine => None,
        }
    }
}

impl Actor {
    /// What the audit log is told of something that this one does now.
    pub fn act(&self, at: Timestamp) -> Act {
        let Self { grant, place } = self;
        let (workspace, from) = (grant.workspace, place.network());
        match place {
            Place::CommandLine => Act::on_command_line(workspace, at),
            Place::Unknown | Place::Network(_) => {
                let (actor, shown) = (Some(grant.actor()), grant.credential.shown());
                Act { at, workspace, actor, shown, from }
            }
        }
    }
}

impl Credential {
    fn shown(self) -> Shown {
        match self {
            Self::Key(id) => Shown::Key(id),
            Self::Session(id) => Shown::Session(id),
            Self::Outside(_) => Shown::Provider,
        }
    }
}

impl Grant {
    /// Who acts: the user, or the key that is nobody's.
    pub fn actor(&self) -> Id {
        let (Credential::Key(id) | Credential::Session(id) | Credential::Outside(id)) =
            self.credential;
        self.user.unwrap_or(id)
    }

    /// Whether what `creator` made may be changed: everything by admins, else one's own.
    pub fn may_change(&self, creator: Option<Id>) -> bool {
        self.role >= Role::Admin || creator == Some(self.actor())
    }

    /// Whose keys may be seen and revoked; `None`: everybody's.
    pub fn keys_of(&self) -> Option<Id> {
        (self.role < Role::Admin).then(|| self.actor())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_change_what_they_made_and_admins_everything() {
        let (own, other) = (Some(Id(7)), Some(Id(8)));
        for role in Role::ALL.iter().copied() {
            let grant = Grant {
                credential: Credential::Key(Id(1)),
                user: own,
                workspace: Id(2),
                operator: false,
                role,
                scopes: role.scopes(),
            };
            assert!(grant.may_change(own));
            assert_eq!(grant.may_change(other), role >= Role::Admin);
            assert_eq!(grant.may_change(None), role >= Role::Admin);
            assert_eq!(grant.may_change(Some(Id(1))), role >= Role::Admin, "not the key's");
        }
    }
}
