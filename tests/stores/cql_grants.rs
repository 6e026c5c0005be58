//! What nodes take of the clicks of limited links.

use shunt::domain::id::Id;
use shunt::storage::grants::GrantStore;

use crate::cql::lend;

const LINK: Id = Id(7);

#[tokio::test]
async fn clicks_are_taken_only_from_what_was_read() {
    let lent = lend().await;
    let cql = lent.cql();
    assert_eq!(cql.granted(LINK).await.unwrap(), None);
    assert!(!cql.grant(LINK, Some(0), 5).await.unwrap(), "nothing was taken yet");
    assert!(cql.grant(LINK, None, 5).await.unwrap());
    assert!(!cql.grant(LINK, None, 9).await.unwrap(), "somebody was first");
    assert!(!cql.grant(LINK, Some(4), 9).await.unwrap());
    assert!(cql.grant(LINK, Some(5), 9).await.unwrap());
    assert_eq!(cql.granted(LINK).await.unwrap(), Some(9));
    assert_eq!(cql.granted(Id(8)).await.unwrap(), None);
}

#[tokio::test]
async fn of_many_that_take_at_once_none_takes_what_another_has() {
    let lent = lend().await;
    let take = || async {
        loop {
            let from = lent.cql().granted(LINK).await.unwrap();
            if lent.cql().grant(LINK, from, from.unwrap_or(0) + 3).await.unwrap() {
                return;
            }
        }
    };
    futures_util::future::join_all((0..8).map(|_| take())).await;
    assert_eq!(lent.cql().granted(LINK).await.unwrap(), Some(24));
}
