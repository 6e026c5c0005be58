//! The feed of changes in the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use shunt::app::SystemClock;
use shunt::domain::time::{Clock, Timestamp};
use shunt::storage::feed::{ChangeFeed, LinkChange};
use shunt::storage::scylla::{Cql, CqlFeed};

use crate::cql::lend;
use crate::make::key;

fn change(code: &str, version: Option<u32>) -> LinkChange {
    LinkChange { key: key(code), version }
}

async fn feed(cql: &Cql) -> CqlFeed {
    let feed = CqlFeed::new(cql.clone(), Arc::new(SystemClock)).unwrap();
    feed.next().await.unwrap();
    feed
}

async fn news(feed: &CqlFeed) -> Vec<LinkChange> {
    feed.next().await.unwrap().changes
}

#[tokio::test]
async fn nodes_hear_what_others_change_and_are_about_to_change() {
    let lent = lend().await;
    let (one, two) = (feed(lent.cql()).await, feed(lent.cql()).await);
    one.prepare(&[key("spring")]).await.unwrap();
    assert_eq!(news(&two).await, [change("spring", None)]);
    assert_eq!(news(&two).await, [change("spring", None)], "until it is made");
    one.announce(&[change("spring", Some(2)), change("new", Some(1))]).await.unwrap();
    assert_eq!(news(&two).await, [change("spring", Some(2))]);
    assert_eq!(news(&two).await, []);
    assert_eq!(news(&one).await, [], "it knows of its own");
}

#[tokio::test]
async fn who_begins_to_listen_hears_what_was_changed_while_it_began() {
    let lent = lend().await;
    let one = feed(lent.cql()).await;
    one.announce(&[change("spring", Some(2))]).await.unwrap();
    let late = CqlFeed::new(lent.cql().clone(), Arc::new(SystemClock)).unwrap();
    let told = late.next().await.unwrap();
    assert_eq!(told.changes, [change("spring", Some(2))]);
    assert_eq!(told.told_at.len(), 1);
}

#[tokio::test]
async fn a_node_that_could_not_read_for_an_hour_reads_all_of_it() {
    let lent = lend().await;
    let hand = Arc::new(Hand(AtomicI64::new(SystemClock.now().as_millis() - 3_600_000)));
    let then = Arc::new(Hand(AtomicI64::new(hand.0.load(Ordering::Relaxed))));
    let one = CqlFeed::new(lent.cql().clone(), then).unwrap();
    let cut_off = CqlFeed::new(lent.cql().clone(), Arc::clone(&hand) as _).unwrap();
    assert_eq!(news(&cut_off).await, []);

    one.announce(&[change("spring", Some(2))]).await.unwrap();
    hand.0.fetch_add(3_600_000, Ordering::Relaxed);
    let told = cut_off.next().await.unwrap();
    assert_eq!((told.changes, told.is_torn), (vec![change("spring", Some(2))], false));
    assert_eq!(news(&cut_off).await, []);
}

/// A clock that a test moves.
struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}
