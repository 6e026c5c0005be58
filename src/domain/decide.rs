//! What a visitor gets: a pure function of the link and the time.

use crate::domain::hot::HotLink;
use crate::domain::link::{LinkStatus, RedirectStatus};
use crate::domain::location::Location;
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
    pub location: Location<'a>,
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
        if rare.expires_at.is_some_and(|at| at <= now) {
            return way_out(link, Refusal::Expired);
        }
        if rare.allowance.as_ref().is_some_and(|allowance| allowance.is_spent(now)) {
            return way_out(link, Refusal::Exhausted);
        }
        if rare.starts_at.is_some_and(|at| at > now) {
            return Decision::Refuse(Refusal::Unknown);
        }
        // Last: a way out of an expired link is still good, and a link to come is not told of.
        if rare.unservable {
            return Decision::Refuse(Refusal::Unservable);
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
        Some(url) => {
            let location = Location::from_bytes(url);
            Decision::Go(Target { location, status: RedirectStatus::Found, counts: false })
        }
        None => Decision::Refuse(refusal),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::destination::{Destination, DestinationPolicy};
    use crate::domain::hot::Allowance;
    use crate::domain::link::tests::link;
    use crate::domain::link::{Link, LinkState};

    const NOW: Timestamp = Timestamp(1_000);
    const PAST: Option<Timestamp> = Some(Timestamp(999));
    const FUTURE: Option<Timestamp> = Some(Timestamp(1_001));
    const MAX_CLICKS: u64 = 3;

    /// Every combination of what a decision depends on.
    fn every_link() -> impl Iterator<Item = (Link, u64)> {
        let times = [None, PAST, Some(NOW), FUTURE];
        let allowances = [(None, 0), (Some(MAX_CLICKS), 0), (Some(MAX_CLICKS), MAX_CLICKS)];
        let ways_out = [None, Some(Destination::from_stored("https://out.example/").unwrap())];
        let mut links = Vec::new();
        for status in LinkStatus::ALL {
            for starts_at in times {
                for expires_at in times {
                    for (max_clicks, clicks) in allowances {
                        for expired_url in &ways_out {
                            let mut link = link();
                            (link.status, link.max_clicks) = (*status, max_clicks);
                            (link.starts_at, link.expires_at) = (starts_at, expires_at);
                            link.expired_url.clone_from(expired_url);
                            links.push((link, clicks));
                        }
                    }
                }
            }
        }
        links.into_iter()
    }

    fn hot(link: &Link, clicks: u64, policy: &DestinationPolicy) -> HotLink {
        let left = |max: u64| Arc::new(Allowance::new(max as i64 - clicks as i64));
        HotLink::new(link, policy, link.max_clicks.map(left))
    }

    #[test]
    fn every_state_gets_the_answer_that_the_contract_names() {
        for (link, clicks) in every_link() {
            let hot = hot(&link, clicks, &DestinationPolicy::default());
            let decision = decide(&hot, NOW);
            let or_way_out = |refusal| match &link.expired_url {
                None => Decision::Refuse(refusal),
                Some(url) => Decision::Go(Target {
                    location: Location::of(url.as_str()),
                    status: RedirectStatus::Found,
                    counts: false,
                }),
            };
            let expected = match link.state(NOW, clicks) {
                _ if link.status == LinkStatus::Deleted => Decision::Refuse(Refusal::Unknown),
                LinkState::Active => Decision::Go(Target {
                    location: Location::of("https://example.com/"),
                    status: RedirectStatus::Found,
                    counts: true,
                }),
                LinkState::Scheduled => Decision::Refuse(Refusal::Unknown),
                LinkState::Expired => or_way_out(Refusal::Expired),
                LinkState::Exhausted => or_way_out(Refusal::Exhausted),
                LinkState::Disabled => Decision::Refuse(Refusal::Disabled),
                LinkState::Archived => Decision::Refuse(Refusal::Archived),
                LinkState::Blocked => Decision::Refuse(Refusal::Blocked),
            };
            assert_eq!(decision, expected, "{link:?} after {clicks} clicks");
        }
    }

    #[test]
    fn a_destination_that_breaks_a_rule_is_never_served_and_nothing_else_changes() {
        let own = DestinationPolicy {
            own_hosts: vec!["example.com".into()],
            ..DestinationPolicy::default()
        };
        for (link, clicks) in every_link() {
            let (planted, plain) =
                (hot(&link, clicks, &own), hot(&link, clicks, &DestinationPolicy::default()));
            match decide(&plain, NOW) {
                Decision::Go(target) if target.counts => {
                    assert_eq!(decide(&planted, NOW), Decision::Refuse(Refusal::Unservable));
                }
                otherwise => assert_eq!(decide(&planted, NOW), otherwise),
            }
        }
    }

    #[test]
    fn the_redirect_has_the_status_that_the_owner_chose() {
        for status in RedirectStatus::ALL {
            let mut link = link();
            link.redirect_status = *status;
            let hot = hot(&link, 0, &DestinationPolicy::default());
            let Decision::Go(target) = decide(&hot, NOW) else {
                panic!("{status:?} must redirect")
            };
            assert_eq!(target.status, *status);
        }
    }

    #[test]
    fn who_loses_the_last_click_is_told_that_the_link_is_exhausted() {
        let mut link = link();
        link.max_clicks = Some(1);
        let hot_link = hot(&link, 1, &DestinationPolicy::default());
        assert_eq!(exhausted(&hot_link), Decision::Refuse(Refusal::Exhausted));
        link.expired_url = Some(Destination::from_stored("https://out.example/").unwrap());
        let hot_link = hot(&link, 1, &DestinationPolicy::default());
        assert!(matches!(exhausted(&hot_link), Decision::Go(Target { counts: false, .. })));
    }
}
