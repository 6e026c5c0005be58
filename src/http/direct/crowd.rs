//! Who has how many connections open: no single client may take them all.
//!
//! Counted when a connection is opened and when it ends; a request costs nothing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tracing::warn;

/// How often the log tells that connections are refused.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The open connections of all workers, by client.
pub(crate) struct Crowd {
    /// Connections that one client may have; 0 is no bound.
    max: u32,
    refused: Counter,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// Clients with a connection, and no others.
    by_client: HashMap<IpAddr, u32>,
    told_at: Option<Instant>,
}

/// A connection that is counted, until this is dropped.
pub(super) struct Place(Option<(Arc<Crowd>, IpAddr)>);

impl Crowd {
    pub(crate) fn new(max: u32, refused: Counter) -> Self {
        Self { max, refused, open: Mutex::default() }
    }

    /// A place for a connection from `address`; `None` when the client has as many as it may.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        if self.max == 0 {
            return Some(Self::uncounted());
        }
        let client = client_of(address);
        let mut open = self.lock();
        let n_open = open.by_client.entry(client).or_default();
        if *n_open < self.max {
            *n_open += 1;
            return Some(Place(Some((Arc::clone(self), client))));
        }
        self.refused.inc();
        let now = Instant::now();
        let told = open.told_at.is_some_and(|at| now.duration_since(at) < TELL_EVERY);
        if !told {
            open.told_at = Some(now);
        }
        drop(open);
        if !told {
            warn!(
                max = self.max,
                "a client has `http.max_connections_per_client` connections and gets no more; a \
                 proxy belongs into `http.trusted_proxies`"
            );
        }
        None
    }

    /// A place for a connection that is not the client's own.
    pub(super) fn uncounted() -> Place {
        Place(None)
    }

    fn leave(&self, client: IpAddr) {
        let mut open = self.lock();
        if let Some(n_open) = open.by_client.get_mut(&client) {
            *n_open -= 1;
            if *n_open == 0 {
                open.by_client.remove(&client);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((crowd, client)) = self.0.take() {
            crowd.leave(client);
        }
    }
}

/// Who it is that an address belongs to: a household has 2⁶⁴ of IPv6.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn crowd(max: u32) -> Arc<Crowd> {
        Arc::new(Crowd::new(max, Counter::default()))
    }

    fn enter(crowd: &Arc<Crowd>, address: &str) -> Option<Place> {
        crowd.enter(address.parse().unwrap())
    }

    #[test]
    fn a_client_has_so_many_connections_and_gets_new_ones_for_those_that_end() {
        let crowd = crowd(2);
        let first = enter(&crowd, "198.51.100.7").unwrap();
        let _second = enter(&crowd, "::ffff:198.51.100.7").unwrap();
        assert!(enter(&crowd, "198.51.100.7").is_none());
        assert!(enter(&crowd, "198.51.100.8").is_some(), "others are not concerned");
        assert_eq!(crowd.refused.get(), 1);
        drop(first);
        let _third = enter(&crowd, "198.51.100.7").unwrap();
        assert!(enter(&crowd, "198.51.100.7").is_none());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let crowd = crowd(1);
        let _one = enter(&crowd, "2001:db8:1:2::3").unwrap();
        assert!(enter(&crowd, "2001:db8:1:2:ffff::4").is_none());
        assert!(enter(&crowd, "2001:db8:1:3::3").is_some());
    }

    #[test]
    fn who_left_is_forgotten_and_without_a_bound_nobody_is_known() {
        let bounded = crowd(8);
        let places: Vec<Place> = (0..8).map(|_| enter(&bounded, "198.51.100.7").unwrap()).collect();
        drop(places);
        assert!(bounded.lock().by_client.is_empty());
        let free = crowd(0);
        let _places: Vec<Place> = (0..99).map(|_| enter(&free, "198.51.100.7").unwrap()).collect();
        assert!(free.lock().by_client.is_empty());
    }
}
