//! The feed of changes in the database.

use std::sync::Arc;

use shunt::app::SystemClock;
use shunt::storage::feed::{ChangeFeed, LinkChange};
use shunt::storage::scylla::{Cql, CqlFeed};

use crate::cql::lend;
use crate::make::key;

fn change(code: &str, version: Option<u32>) -> LinkChange {
    LinkChange { key: key(code), version }
}

async fn feed(cql: &Cql) -> CqlFeed {
    let feed = CqlFeed::new(cql.clone(), Arc::new(SystemClock)).unwrap();
    assert_eq!(feed.next().await.unwrap(), []);
    feed
}

#[tokio::test]
async fn nodes_hear_what_others_change_and_are_about_to_change() {
    let lent = lend().await;
    let (one, two) = (feed(lent.cql()).await, feed(lent.cql()).await);
    one.prepare(&[key("spring")]).await.unwrap();
    assert_eq!(two.next().await.unwrap(), [change("spring", None)]);
    assert_eq!(two.next().await.unwrap(), [change("spring", None)], "until it is made");
    one.announce(&[change("spring", Some(2)), change("new", Some(1))]).await.unwrap();
    assert_eq!(two.next().await.unwrap(), [change("spring", Some(2))]);
    assert_eq!(two.next().await.unwrap(), []);
    assert_eq!(one.next().await.unwrap(), [], "it knows of its own");
    // Who begins to listen hears nothing of what was before.
    feed(lent.cql()).await;
}
