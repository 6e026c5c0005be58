//! What a visitor gets: a pure function of the link and the time.

use crate::domain::hot::HotLink;
use crate::domain::link::{LinkStatus, RedirectStatus};
use crate::domain::time::Timestamp;

/// The answer to a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    Go(Target<'a>),
    Refuse(Refusal),
}

/// Where to send the visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub location: &'a [u8],
    pub status: RedirectStatus,
    /// False for the way out of an expired link, which is not a click.
    pub counts: bool,
}

/// Why there is no redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Deleted or not started yet: not to be told from a code that never was.
    Unknown,
    Expired,
    Exhausted,
    Disabled,
    Archived,
    Blocked,
    /// The destination breaks a rule that holds now.
    Unservable,
}

/// Decides for a visit at `now`. Does not draw from a click allowance: the caller does, when it
/// really answers with the redirect, and treats a failed draw as `Exhausted` by [`exhausted`].
pub fn decide(link: &HotLink, now: Timestamp) -> Decision<'_> {
    match link.status() {
        LinkStatus::Active => (),
        LinkStatus::Deleted => return Decision::Refuse(Refusal::Unknown),
        LinkStatus::Disabled => return Decision::Refuse(Refusal::Disabled),
        LinkStatus::Archived => return Decision::Refuse(Refusal::Archived),
        LinkStatus::Blocked => return Decision::Refuse(Refusal::Blocked),
    }
    if let Some(rare) = link.rare() {
        if rare.unservable {
            return Decision::Refuse(Refusal::Unservable);
        }
        if rare.expires_at.is_some_and(|at| at <= now) {
            return way_out(link, Refusal::Expired);
        }
        if rare.allowance.as_ref().is_some_and(|allowance| allowance.remaining() <= 0) {
            return way_out(link, Refusal::Exhausted);
        }
        if rare.starts_at.is_some_and(|at| at > now) {
            return Decision::Refuse(Refusal::Unknown);
        }
    }
    Decision::Go(Target { location: link.target(), status: link.redirect_status(), counts: true })
}

/// The answer when the last click of a limited link was drawn by somebody else meanwhile.
pub fn exhausted(link: &HotLink) -> Decision<'_> {
    way_out(link, Refusal::Exhausted)
}

fn way_out(link: &HotLink, refusal: Refusal) -> Decision<'_> {
    match link.rare().and_then(|rare| rare.expired_url.as_deref()) {
        Some(location) => {
            Decision::Go(Target { location, status: RedirectStatus::Found, counts: false })
        }
        None => Decision::Refuse(refusal),
    }
}
