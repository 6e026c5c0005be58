//! The part of a link that a redirect needs, as small as it can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use crate::domain::destination::DestinationPolicy;
use crate::domain::id::Id;
use crate::domain::link::{Link, LinkStatus, RedirectStatus};
use crate::domain::location::{Location, Prefix};
use crate::domain::time::Timestamp;

/// Bytes of a [`HotLink`] without what it owns: five million of them are held in memory.
const HOT_LINK_BYTES_MAX: usize = 40;
const _: () = assert!(size_of::<HotLink>() <= HOT_LINK_BYTES_MAX);
/// Bits of `flags`: the prefix in the low ones, this above.
const FORWARD_QUERY: u8 = 4;
const HTTP: u8 = Prefix::Http as u8;
const HTTPS: u8 = Prefix::Https as u8;
/// The two counters in front of what an `Arc` shares.
const ARC_BYTES: usize = 2 * size_of::<usize>();

/// Lives inside the table's entry. Readers share it by reference; only `visited` and a click
/// allowance ever change after it was built.
#[derive(Debug)]
pub struct HotLink {
    /// Destination without its prefix.
    rest: Box<[u8]>,
    rare: Option<Box<Rare>>,
    id: Id,
    version: u32,
    status: LinkStatus,
    redirect_status: RedirectStatus,
    /// The prefix of the destination, and `FORWARD_QUERY`.
    flags: u8,
    /// Set by readers when it is clear, cleared by the evicting owner (CLOCK).
    visited: AtomicU8,
}

/// What few links have. One allocation, only for those.
#[derive(Debug, Default)]
pub struct Rare {
    pub starts_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub expired_url: Option<Box<[u8]>>,
    pub allowance: Option<Arc<Allowance>>,
    /// The stored destination breaks a rule that holds now; it is never served.
    pub unservable: bool,
}

/// Clicks that a limited link may still take. Shared by every copy of the link on this node.
#[derive(Debug)]
pub struct Allowance {
    left: AtomicI64,
    /// Until when it is known that there are no more than those, in milliseconds since 1970.
    whole_until: AtomicI64,
}

impl Allowance {
    /// All that the link may take.
    pub const fn new(remaining: i64) -> Self {
        Self { left: AtomicI64::new(remaining), whole_until: AtomicI64::new(i64::MAX) }
    }

    /// A part of what several nodes share, still empty.
    pub const fn part() -> Self {
        Self { left: AtomicI64::new(0), whole_until: AtomicI64::new(i64::MIN) }
    }

    pub fn remaining(&self) -> i64 {
        self.left.load(Ordering::Relaxed)
    }

    /// There are none here and, as far as is known, none elsewhere.
    pub fn is_spent(&self, now: Timestamp) -> bool {
        self.remaining() <= 0 && now.as_millis() < self.whole_until.load(Ordering::Relaxed)
    }

    /// Nobody else has any, which need not be asked again before `until`.
    pub fn note_none(&self, until: Timestamp) {
        self.whole_until.store(until.as_millis(), Ordering::Relaxed);
    }

    /// Takes all of a part, to begin with an empty one; answers how many were left.
    pub fn empty(&self) -> u64 {
        self.whole_until.store(i64::MIN, Ordering::Relaxed);
        u64::try_from(self.left.swap(0, Ordering::Relaxed)).unwrap_or(0)
    }

    /// Takes one click. False when none was left; nothing is taken then.
    pub fn draw(&self) -> bool {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| (left > 0).then(|| left - 1))
            .is_ok()
    }

    /// Begins again with `remaining` clicks, for when the clicks so far are erased.
    pub fn set(&self, remaining: i64) {
        self.left.store(remaining, Ordering::Relaxed);
    }

    /// Moves the limit by `difference` clicks, for an edit of `max_clicks`.
    pub fn adjust(&self, difference: i64) {
        self.left.fetch_add(difference, Ordering::Relaxed);
    }
}

impl HotLink {
    /// `allowance` is given exactly when the link has a click limit.
    pub fn new(link: &Link, policy: &DestinationPolicy, allowance: Option<Arc<Allowance>>) -> Self {
        // A row may have been planted or may predate a rule: own domains are refused again here.
        let unservable = link.destination.is_own(policy);
        let expired_url = link.expired_url.as_ref().filter(|url| !url.is_own(policy));
        let has_rare = link.starts_at.is_some()
            || link.expires_at.is_some()
            || expired_url.is_some()
            || allowance.is_some()
            || unservable;
        let rare = has_rare.then(|| {
            Box::new(Rare {
                starts_at: link.starts_at,
                expires_at: link.expires_at,
                expired_url: expired_url.map(|url| url.as_str().as_bytes().into()),
                allowance,
                unservable,
            })
        });
        let target = Location::of(link.destination.as_str());
        let forward_query = if link.forward_query { FORWARD_QUERY } else { 0 };
        Self {
            rest: target.rest.into(),
            rare,
            id: link.id,
            version: link.version,
            status: link.status,
            redirect_status: link.redirect_status,
            flags: target.prefix as u8 | forward_query,
            visited: AtomicU8::new(0),
        }
    }

    pub fn id(&self) -> Id {
        self.id
    }

    pub fn version(&self) -> u32 {
        self.version
    }

    pub fn status(&self) -> LinkStatus {
        self.status
    }

    pub fn redirect_status(&self) -> RedirectStatus {
        self.redirect_status
    }

    pub fn forward_query(&self) -> bool {
        self.flags & FORWARD_QUERY != 0
    }

    /// Destination, ready for a `Location` header.
    pub fn target(&self) -> Location<'_> {
        let prefix = match self.flags & !FORWARD_QUERY {
            HTTPS => Prefix::Https,
            HTTP => Prefix::Http,
            _ => Prefix::None,
        };
        Location { prefix, rest: &self.rest }
    }

    /// Bytes of the destination that this link keeps.
    pub fn target_bytes(&self) -> usize {
        self.rest.len()
    }

    pub fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    /// Marks the link as used since the clock hand last passed. Writes only when it was clear, so
    /// a hot link costs no shared write.
    pub fn visit(&self) {
        if self.visited.load(Ordering::Relaxed) == 0 {
            self.visited.store(1, Ordering::Relaxed);
        }
    }

    /// Clears the mark and says whether it was set.
    pub fn take_visited(&self) -> bool {
        self.visited.swap(0, Ordering::Relaxed) != 0
    }

    /// Bytes on the heap that belong to this link, without the table's own entry and slot.
    pub fn heap_bytes(&self) -> usize {
        let rare = self.rare.as_ref().map_or(0, |rare| {
            let allowance =
                rare.allowance.as_ref().map_or(0, |_| ARC_BYTES + size_of::<Allowance>());
            size_of::<Rare>() + rare.expired_url.as_ref().map_or(0, |url| url.len()) + allowance
        });
        self.rest.len() + rare
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::domain::destination::Destination;
    use crate::domain::link::tests::link;

    fn own(host: &str) -> DestinationPolicy {
        DestinationPolicy { own_hosts: vec![host.into()], ..DestinationPolicy::default() }
    }

    #[test]
    fn a_plain_link_owns_its_target_and_nothing_else() {
        let hot = HotLink::new(&link(), &DestinationPolicy::default(), None);
        assert_eq!(hot.target(), Location::of("https://example.com/"));
        assert!(hot.rare().is_none());
        assert_eq!(hot.heap_bytes(), "example.com/".len());
        assert_eq!((hot.id(), hot.version()), (link().id, link().version));
    }

    #[test]
    fn what_is_rare_takes_one_more_allocation() {
        let mut link = link();
        link.expires_at = Some(Timestamp(5));
        let hot = HotLink::new(&link, &DestinationPolicy::default(), None);
        assert_eq!(hot.rare().unwrap().expires_at, Some(Timestamp(5)));
        assert_eq!(hot.heap_bytes(), "example.com/".len() + size_of::<Rare>());
    }

    #[test]
    fn a_link_that_leads_back_here_is_marked_and_its_way_out_dropped() {
        let mut link = link();
        link.expired_url = Some(Destination::from_stored("https://Other.example./").unwrap());
        let hot = HotLink::new(&link, &own("example.com"), None);
        assert!(hot.rare().unwrap().unservable);
        assert!(hot.rare().unwrap().expired_url.is_some());
        let hot = HotLink::new(&link, &own("other.example"), None);
        assert!(hot.rare().is_none());
    }

    #[test]
    fn an_address_that_is_ours_by_now_is_not_served_in_any_spelling() {
        let policy = own("10.0.0.5");
        for url in ["http://10.0.0.5/", "http://[::ffff:a00:5]/", "http://0xa000005:81/"] {
            let link = Link { destination: Destination::from_stored(url).unwrap(), ..link() };
            let hot = HotLink::new(&link, &policy, None);
            assert!(hot.rare().is_some_and(|rare| rare.unservable), "{url}");
        }
    }

    #[test]
    fn the_destination_and_the_forwarding_of_queries_do_not_disturb_each_other() {
        for url in ["https://example.com/x", "http://example.com/x"] {
            for forward_query in [false, true] {
                let destination = Destination::from_stored(url).unwrap();
                let link = Link { destination, forward_query, ..link() };
                let hot = HotLink::new(&link, &DestinationPolicy::default(), None);
                assert_eq!(
                    (hot.target().to_vec(), hot.forward_query()),
                    (url.into(), forward_query)
                );
            }
        }
    }

    #[test]
    fn the_mark_of_use_is_set_by_readers_and_taken_by_the_owner() {
        let hot = HotLink::new(&link(), &DestinationPolicy::default(), None);
        assert!(!hot.take_visited());
        hot.visit();
        hot.visit();
        assert!(hot.take_visited());
        assert!(!hot.take_visited());
    }

    #[test]
    fn an_allowance_is_drawn_exactly_as_often_as_it_says_by_any_number_of_threads() {
        let allowance = Arc::new(Allowance::new(1_000));
        let drawers: Vec<_> = (0..4)
            .map(|_| {
                let allowance = Arc::clone(&allowance);
                std::thread::spawn(move || (0..500).filter(|_| allowance.draw()).count())
            })
            .collect();
        let drawn: usize = drawers.into_iter().map(|drawer| drawer.join().unwrap()).sum();
        assert_eq!((drawn, allowance.remaining()), (1_000, 0));
        allowance.adjust(-5);
        assert!(!allowance.draw());
        allowance.adjust(6);
        assert!(allowance.draw() && !allowance.draw());
    }
}
