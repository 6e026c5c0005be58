//! Which pages there are, what each says, and by which sign one is told from another.

use actix_web::http::StatusCode;

use crate::http::problem::ProblemCode;

const NEW_ONE: &str = "Ask whoever gave you this link for a new one.";
const PERHAPS_NEW: &str = "Ask whoever gave you this link whether there is a new one.";

// Title, what happened, what to do now.
const NOT_FOUND: [&str; 3] = [
    "Link not found",
    "There is no link at this address.",
    "Check that you have the whole link, spelled just as it was given to you. Capital and small \
     letters are not the same.",
];
const EXPIRED: [&str; 3] = [
    ProblemCode::LinkExpired.title(),
    "It was made to work until a certain time, and that time has passed.",
    NEW_ONE,
];
const EXHAUSTED: [&str; 3] = [
    ProblemCode::LinkExhausted.title(),
    "It was made to work a limited number of times, and it has been opened that often.",
    NEW_ONE,
];
const DISABLED: [&str; 3] =
    [ProblemCode::LinkDisabled.title(), "It does not lead anywhere at the moment.", PERHAPS_NEW];
const ARCHIVED: [&str; 3] = [
    ProblemCode::LinkArchived.title(),
    "It has been put away and does not lead anywhere any more.",
    PERHAPS_NEW,
];
const BLOCKED: [&str; 3] = [
    ProblemCode::LinkBlocked.title(),
    "It was taken down to protect visitors, or because it broke the rules of this service. You \
     have not been sent anywhere.",
    "You can close this page. If the link came in a message, be careful with the rest of it.",
];
const UNAVAILABLE: [&str; 3] = [
    "Please try again in a moment",
    "Something on our side kept us from looking up this link. The link itself is probably fine.",
    "Wait a few seconds, then open it again.",
];
const TOO_MANY: [&str; 3] = [
    "Please wait a moment",
    "More links were opened from your network than this service lets pass at a time.",
    "Wait a little, then open it again.",
];
const HOME: [&str; 3] = [
    "Short links live here",
    "Every address on this site is a short one that leads to a longer one elsewhere.",
    "To follow a link, open all of it, just as it was given to you.",
];

pub(crate) const BROKEN: Look = Look {
    tone: "grey",
    icon: "M9 17H7a5 5 0 0 1-3.5-8.5M15 7h2a5 5 0 0 1 3.5 8.5M8 12h3M3 3l18 18",
};
pub(crate) const CLOCK: Look =
    Look { tone: "amber", icon: "M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0M12 7v5l3 2" };
const STOPPED: Look = Look { tone: "amber", icon: "M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0M8 12h8" };
const SHIELD: Look = Look {
    tone: "red",
    icon: "M12 3l7 3v5c0 4.6-2.9 8.3-7 10-4.1-1.7-7-5.4-7-10V6zM9.5 9.5l5 5M14.5 9.5l-5 5",
};
const AGAIN: Look = Look {
    tone: "blue",
    icon: "M20 11a8 8 0 0 0-14.3-4L3 9.5M3 4v5.5h5.5M4 13a8 8 0 0 0 14.3 4L21 14.5M21 20v-5.5h-5.5",
};
pub(crate) const CHAIN: Look =
    Look { tone: "blue", icon: "M9 17H7A5 5 0 0 1 7 7h2M15 7h2a5 5 0 0 1 0 10h-2M8 12h8" };

/// Every page there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Page {
    NotFound,
    Expired,
    Exhausted,
    Disabled,
    Archived,
    Blocked,
    Unavailable,
    TooMany,
    Home,
}

/// What a page says, and to programs by which code. Nothing here depends on a link: neither its
/// owner nor its destination can get onto a page.
pub(super) struct Text {
    /// `None` where nothing is wrong.
    pub code: Option<ProblemCode>,
    pub title: &'static str,
    /// What happened.
    pub reason: &'static str,
    /// What the visitor can do now.
    pub advice: &'static str,
}

/// Sign and colour of a built-in page: the outline of the sign, and a class of the style sheet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub tone: &'static str,
    pub icon: &'static str,
}

impl Page {
    pub(super) const ALL: [Self; 9] = [
        Self::NotFound,
        Self::Expired,
        Self::Exhausted,
        Self::Disabled,
        Self::Archived,
        Self::Blocked,
        Self::Unavailable,
        Self::TooMany,
        Self::Home,
    ];

    pub(super) const fn text(self) -> Text {
        let (code, [title, reason, advice]) = match self {
            Self::NotFound => (Some(ProblemCode::NotFound), NOT_FOUND),
            Self::Expired => (Some(ProblemCode::LinkExpired), EXPIRED),
            Self::Exhausted => (Some(ProblemCode::LinkExhausted), EXHAUSTED),
            Self::Disabled => (Some(ProblemCode::LinkDisabled), DISABLED),
            Self::Archived => (Some(ProblemCode::LinkArchived), ARCHIVED),
            Self::Blocked => (Some(ProblemCode::LinkBlocked), BLOCKED),
            Self::Unavailable => (Some(ProblemCode::Unavailable), UNAVAILABLE),
            Self::TooMany => (Some(ProblemCode::RateLimited), TOO_MANY),
            Self::Home => (None, HOME),
        };
        Text { code, title, reason, advice }
    }

    pub(super) fn status(self) -> StatusCode {
        self.text().code.map_or(StatusCode::OK, status_of)
    }

    pub(super) const fn look(self) -> Look {
        match self {
            Self::NotFound => BROKEN,
            Self::Expired | Self::TooMany => CLOCK,
            Self::Exhausted | Self::Disabled | Self::Archived => STOPPED,
            Self::Blocked => SHIELD,
            Self::Unavailable => AGAIN,
            Self::Home => CHAIN,
        }
    }

    /// Name of the operator's file for it.
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::NotFound => "404.html",
            Self::Expired | Self::Exhausted | Self::Disabled | Self::Archived => "410.html",
            Self::Blocked => "403.html",
            Self::Unavailable => "503.html",
            Self::TooMany => "429.html",
            Self::Home => "home.html",
        }
    }
}

pub(crate) fn status_of(code: ProblemCode) -> StatusCode {
    StatusCode::from_u16(code.status()).expect("codes have statuses of three digits")
}
