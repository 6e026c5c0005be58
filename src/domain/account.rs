//! People: users, what they may do in which workspace, and their sign-ins.

use crate::domain::api_key::{Scope, Scopes};
use crate::domain::email::Email;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;

/// What somebody may do in a workspace. Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// Sees links and statistics.
    Viewer = 0,
    /// Makes links and keys, and changes its own.
    Member = 1,
    /// Changes all links and keys, and members below owner.
    Admin = 2,
    /// Everything, other owners included.
    Owner = 3,
}

impl Role {
    pub const ALL: &[Self] = &[Self::Viewer, Self::Member, Self::Admin, Self::Owner];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.as_str() == word)
    }

    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| *role as u8 == byte)
    }

    /// All that a credential of this role may be good for.
    pub const fn scopes(self) -> Scopes {
        let reads = Scopes::none().with(Scope::LinksRead).with(Scope::StatsRead);
        match self {
            Self::Viewer => reads,
            Self::Member => reads.with(Scope::LinksWrite).with(Scope::KeysManage),
            Self::Admin | Self::Owner => Scopes::EVERYTHING,
        }
    }
}

/// A person with an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: Id,
    pub email: Email,
    /// When it was proven that the address is the user's.
    pub email_verified_at: Option<Timestamp>,
    pub name: String,
    /// PHC string of the password's hash; `None` for those who only come through a provider.
    pub password: Option<String>,
    /// The workspace that was made for the user.
    pub workspace: Id,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Set: nothing of the account is in force.
    pub disabled_at: Option<Timestamp>,
}

impl User {
    /// What is known of the user, which a password must not be close to.
    pub fn own_words(&self) -> Vec<String> {
        vec![self.email.as_str().to_owned(), self.name.clone()]
    }
}

/// That a user belongs to a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub workspace: Id,
    pub user: Id,
    pub role: Role,
    pub joined_at: Timestamp,
}

/// One sign-in that lasts: a family of refresh tokens, of which one is good at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: Id,
    pub user: Id,
    pub workspace: Id,
    /// How often the token was exchanged.
    pub generation: u32,
    /// Keyed hash of the token that is good now.
    pub digest: [u8; 32],
    /// Keyed hash of the client that it was given to.
    pub client: ClientDigest,
    pub created_at: Timestamp,
    pub rotated_at: Timestamp,
    /// However often it is exchanged, it ends then.
    pub expires_at: Timestamp,
}

/// Keyed hash of a client's network and of the program it uses: tells clients apart, names nobody.
pub type ClientDigest = [u8; 16];

/// A change of what credentials that are already out may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessChange {
    SessionEnded {
        session: Id,
    },
    /// `role` is what the user is in the workspace from now on; `None`: nothing.
    RoleChanged {
        workspace: Id,
        user: Id,
        role: Option<Role>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_know_their_words_and_bytes() {
        for role in Role::ALL {
            assert_eq!(Role::from_word(role.as_str()), Some(*role));
            assert_eq!(Role::from_byte(*role as u8), Some(*role));
        }
        assert_eq!(Role::from_word("Owner"), None);
        assert_eq!(Role::from_byte(4), None);
    }

    #[test]
    fn each_role_may_do_what_those_before_it_may() {
        for two in Role::ALL.windows(2) {
            assert!(two[0] < two[1]);
            assert!(two[1].scopes().cover(two[0].scopes()));
        }
        assert!(!Role::Viewer.scopes().allow(Scope::LinksWrite));
        assert!(!Role::Member.scopes().allow(Scope::OrgManage));
    }
}
