//! Numbers of nodes, which belong to one process at a time.

use shunt::domain::time::Timestamp;
use shunt::storage::scylla::Cql;
use shunt::storage::{NodeStore, StorageErrorKind};

use crate::cql::{Lent, config, lend};

/// A process of its own.
async fn process(lent: &Lent) -> Cql {
    Box::pin(Cql::open(&config(lent.keyspace))).await.unwrap()
}

async fn may_write(process: &Cql) -> bool {
    match process.raise_clock_mark(0, Timestamp(1)).await {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.kind, StorageErrorKind::Unavailable);
            false
        }
    }
}

#[tokio::test]
async fn every_process_gets_a_number_of_its_own_and_gives_it_back() {
    let lent = lend().await;
    let (one, two, three) = (process(&lent).await, process(&lent).await, process(&lent).await);
    assert_eq!(one.lease_node(None, 11).await.unwrap(), Some(0));
    assert_eq!(two.lease_node(None, 22).await.unwrap(), Some(1));
    assert_eq!(three.lease_node(Some(1), 33).await.unwrap(), None);
    assert!(!two.renew_node(0, 22).await.unwrap(), "it is somebody else's");
    assert!(one.renew_node(0, 11).await.unwrap());
    one.release_node(0, 11).await.unwrap();
    assert_eq!(three.lease_node(None, 33).await.unwrap(), Some(0));
}

#[tokio::test]
async fn of_many_that_start_at_once_no_two_get_the_same_number() {
    let lent = lend().await;
    let cql = process(&lent).await;
    let leases = (0..8).map(|holder| cql.lease_node(None, 100 + holder));
    let mut numbers = futures_util::future::try_join_all(leases).await.unwrap();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 8);
}

#[tokio::test]
async fn a_lease_that_ran_out_is_taken_again_only_when_nobody_had_it_since() {
    let lent = lend().await;
    let (one, two) = (process(&lent).await, process(&lent).await);
    assert_eq!(one.lease_node(Some(7), 11).await.unwrap(), Some(7));
    let run_out = "UPDATE node_leases SET holder = null WHERE node = 7 IF holder != null";
    lent.run(run_out).await;
    assert!(one.renew_node(7, 11).await.unwrap(), "it is still the last who had it");
    assert!(may_write(&one).await);

    lent.run(run_out).await;
    assert_eq!(two.lease_node(Some(7), 22).await.unwrap(), Some(7));
    assert!(!one.renew_node(7, 11).await.unwrap());
    two.release_node(7, 22).await.unwrap();
    assert!(!one.renew_node(7, 11).await.unwrap(), "somebody else had it in between");
    assert!(!may_write(&one).await, "nothing is written under a number that was lost");
    assert!(may_write(&two).await);
}
