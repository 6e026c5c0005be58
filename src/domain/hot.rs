//! The part of a link that a redirect needs, as small as it can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use crate::domain::destination::{Destination, DestinationPolicy};
use crate::domain::id::Id;
use crate::domain::link::{Link, LinkStatus, RedirectStatus};
use crate::domain::time::Timestamp;

/// Lives inside the table's entry. Readers share it by reference; only `visited` and a click
/// allowance ever change after it was built.
#[derive(Debug)]
pub struct HotLink {
    target: Box<[u8]>,
    rare: Option<Box<Rare>>,
    id: Id,
    version: u32,
    status: LinkStatus,
    redirect_status: RedirectStatus,
    forward_query: bool,
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
pub struct Allowance(AtomicI64);

impl Allowance {
    pub const fn new(remaining: i64) -> Self {
        Self(AtomicI64::new(remaining))
    }

    pub fn remaining(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes one click. False when none was left; nothing is taken then.
    pub fn draw(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| (left > 0).then(|| left - 1))
            .is_ok()
    }

    /// Moves the limit by `difference` clicks, for an edit of `max_clicks`.
    pub fn adjust(&self, difference: i64) {
        self.0.fetch_add(difference, Ordering::Relaxed);
    }
}

impl HotLink {
    /// `allowance` is given exactly when the link has a click limit.
    pub fn new(link: &Link, policy: &DestinationPolicy, allowance: Option<Arc<Allowance>>) -> Self {
        let unservable = !is_servable(&link.destination, policy);
        let has_rare = link.starts_at.is_some()
            || link.expires_at.is_some()
            || link.expired_url.is_some()
            || allowance.is_some()
            || unservable;
        let rare = has_rare.then(|| {
            Box::new(Rare {
                starts_at: link.starts_at,
                expires_at: link.expires_at,
                expired_url: link.expired_url.as_ref().map(|url| url.as_str().as_bytes().into()),
                allowance,
                unservable,
            })
        });
        Self {
            target: link.destination.as_str().as_bytes().into(),
            rare,
            id: link.id,
            version: link.version,
            status: link.status,
            redirect_status: link.redirect_status,
            forward_query: link.forward_query,
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
        self.forward_query
    }

    /// Destination bytes, ready for a `Location` header.
    pub fn target(&self) -> &[u8] {
        &self.target
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
            size_of::<Rare>() + rare.expired_url.as_ref().map_or(0, |url| url.len())
        });
        self.target.len() + rare
    }
}

/// A row may have been planted or may predate a rule: own domains are refused again when served.
fn is_servable(destination: &Destination, policy: &DestinationPolicy) -> bool {
    policy.own_hosts.is_empty() || !policy.own_hosts.iter().any(|own| own == destination.host())
}
