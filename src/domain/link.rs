//! A link, whole, as the store keeps it.

use crate::domain::code::{Code, DomainId, LinkKey};
use crate::domain::destination::Destination;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;

/// What the owner, or an operator, set. The computed state is [`LinkState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LinkStatus {
    Active = 0,
    Disabled = 1,
    Archived = 2,
    /// Taken down by an operator. The owner cannot undo it.
    Blocked = 3,
    /// Gone for ever; the row stays so that the code is never given out again.
    Deleted = 4,
}

/// What a visitor meets at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkState {
    Active,
    Scheduled,
    Expired,
    Exhausted,
    Disabled,
    Archived,
    Blocked,
}

/// Status code of the redirect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RedirectStatus {
    MovedPermanently = 0,
    #[default]
    Found = 1,
    SeeOther = 2,
    TemporaryRedirect = 3,
    PermanentRedirect = 4,
}

/// Which door a link came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CreatedVia {
    Web = 0,
    Api = 1,
    Anonymous = 2,
    Import = 3,
    Bulk = 4,
}

/// One short link. `version` starts at 1 and counts up by one with every change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub id: Id,
    pub workspace: Id,
    pub domain: DomainId,
    pub code: Code,
    pub destination: Destination,
    pub title: String,
    pub notes: String,
    pub tags: Vec<String>,
    pub status: LinkStatus,
    pub redirect_status: RedirectStatus,
    pub starts_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub expired_url: Option<Destination>,
    pub max_clicks: Option<u64>,
    pub forward_query: bool,
    pub external_id: Option<String>,
    pub created_via: CreatedVia,
    /// The API key or user that created it.
    pub created_by: Option<Id>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub version: u32,
}

impl Link {
    /// An active link at version 1 to which nothing was added: no text, no time, no limit. It comes
    /// from the API and from the beginning of time.
    pub fn plain(id: Id, workspace: Id, key: LinkKey, destination: Destination) -> Self {
        Self {
            id,
            workspace,
            domain: key.domain,
            code: key.code,
            destination,
            title: String::new(),
            notes: String::new(),
            tags: Vec::new(),
            status: LinkStatus::Active,
            redirect_status: RedirectStatus::default(),
            starts_at: None,
            expires_at: None,
            expired_url: None,
            max_clicks: None,
            forward_query: true,
            external_id: None,
            created_via: CreatedVia::Api,
            created_by: None,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            version: 1,
        }
    }

    pub fn key(&self) -> LinkKey {
        LinkKey::new(self.domain, self.code)
    }

    /// State at `now`, given how often the link was clicked so far.
    pub fn state(&self, now: Timestamp, clicks: u64) -> LinkState {
        match self.status {
            LinkStatus::Blocked => return LinkState::Blocked,
            LinkStatus::Disabled | LinkStatus::Deleted => return LinkState::Disabled,
            LinkStatus::Archived => return LinkState::Archived,
            LinkStatus::Active => (),
        }
        if self.expires_at.is_some_and(|at| at <= now) {
            LinkState::Expired
        } else if self.max_clicks.is_some_and(|max| clicks >= max) {
            LinkState::Exhausted
        } else if self.starts_at.is_some_and(|at| at > now) {
            LinkState::Scheduled
        } else {
            LinkState::Active
        }
    }
}

/// Gives an enum its wire words and its stored byte, both ways, from one list.
macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }

            pub fn from_byte(byte: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| *value as u8 == byte)
            }
        }
    };
}

words!(LinkStatus {
    Active = "active", Disabled = "disabled", Archived = "archived", Blocked = "blocked",
    Deleted = "deleted",
});
words!(LinkState {
    Active = "active", Scheduled = "scheduled", Expired = "expired", Exhausted = "exhausted",
    Disabled = "disabled", Archived = "archived", Blocked = "blocked",
});
words!(CreatedVia {
    Web = "web", Api = "api", Anonymous = "anonymous", Import = "import", Bulk = "bulk",
});
words!(RedirectStatus {
    MovedPermanently = "301", Found = "302", SeeOther = "303",
    TemporaryRedirect = "307", PermanentRedirect = "308",
});

impl RedirectStatus {
    pub const fn as_u16(self) -> u16 {
        match self {
            Self::MovedPermanently => 301,
            Self::Found => 302,
            Self::SeeOther => 303,
            Self::TemporaryRedirect => 307,
            Self::PermanentRedirect => 308,
        }
    }

    pub fn from_u16(status: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.as_u16() == status)
    }

    pub const fn is_permanent(self) -> bool {
        matches!(self, Self::MovedPermanently | Self::PermanentRedirect)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
pub(crate) mod tests {
    use super::*;

    /// An active link without anything rare.
    pub(crate) fn link() -> Link {
        let key = LinkKey::new(DomainId::DEFAULT, Code::parse(b"spring").unwrap());
        let destination = Destination::from_stored("https://example.com/").unwrap();
        Link::plain(Id(7), Id(1), key, destination)
    }

    #[test]
    fn words_and_bytes_read_back() {
        for status in LinkStatus::ALL {
            assert_eq!(LinkStatus::from_word(status.as_str()), Some(*status));
            assert_eq!(LinkStatus::from_byte(*status as u8), Some(*status));
        }
        for via in CreatedVia::ALL {
            assert_eq!(CreatedVia::from_word(via.as_str()), Some(*via));
            assert_eq!(CreatedVia::from_byte(*via as u8), Some(*via));
        }
        for status in RedirectStatus::ALL {
            assert_eq!(RedirectStatus::from_u16(status.as_u16()), Some(*status));
            assert_eq!(status.as_u16().to_string(), status.as_str());
        }
        assert_eq!(LinkStatus::from_word("Active"), None);
        assert_eq!(LinkStatus::from_byte(5), None);
        assert_eq!(RedirectStatus::from_u16(304), None);
    }

    #[test]
    fn a_link_is_used_up_with_the_click_that_reaches_its_limit() {
        let mut link = link();
        link.max_clicks = Some(2);
        let states = [0, 1, 2, 3].map(|clicks| link.state(Timestamp(0), clicks));
        let (active, exhausted) = (LinkState::Active, LinkState::Exhausted);
        assert_eq!(states, [active, active, exhausted, exhausted]);
    }

    #[test]
    fn what_the_owner_set_goes_before_times_and_limits() {
        let mut link = link();
        link.expires_at = Some(Timestamp(0));
        for (status, state) in [
            (LinkStatus::Active, LinkState::Expired),
            (LinkStatus::Disabled, LinkState::Disabled),
            (LinkStatus::Archived, LinkState::Archived),
            (LinkStatus::Blocked, LinkState::Blocked),
        ] {
            link.status = status;
            assert_eq!(link.state(Timestamp(0), 0), state);
        }
    }
}
