//! Keys that sign access tokens: one signs, however many want to replace it.

use shunt::domain::time::Timestamp;
use shunt::storage::Stores;
use shunt::storage::signing::StoredSigningKey;

use crate::make::NOW;

fn key(kid: &str, created_at: Timestamp) -> StoredSigningKey {
    let sealed = format!("\0sealed {kid}\u{ff}").into_bytes();
    StoredSigningKey { kid: kid.to_owned(), sealed, created_at, retires_at: None }
}

/// Retires the key `kid` an hour from now.
fn retire(kid: &str) -> Option<(String, Timestamp)> {
    Some((kid.to_owned(), NOW.plus_millis(3_600_000)))
}

async fn add(stores: &Stores, kid: &str, at: i64, former: Option<&str>) -> bool {
    let new = key(kid, NOW.plus_millis(at));
    stores.signing.add_signing_key(new, former.and_then(retire)).await.unwrap()
}

/// Names of the keys, and whether each still signs.
async fn kids(stores: &Stores) -> Vec<(String, bool)> {
    let keys = stores.signing.signing_keys().await.unwrap();
    keys.into_iter().map(|key| (key.kid, key.retires_at.is_none())).collect()
}

pub(crate) async fn a_signing_key_comes_back_field_by_field(stores: Stores) {
    assert_eq!(stores.signing.signing_keys().await.unwrap(), []);
    assert!(stores.signing.add_signing_key(key("a", NOW), None).await.unwrap());
    assert_eq!(stores.signing.signing_keys().await.unwrap(), [key("a", NOW)]);
}

pub(crate) async fn a_new_signing_key_retires_the_one_that_signs(stores: Stores) {
    assert!(add(&stores, "b", 0, None).await);
    assert!(add(&stores, "a", 5, Some("b")).await);
    let keys = stores.signing.signing_keys().await.unwrap();
    let old = StoredSigningKey { retires_at: Some(NOW.plus_millis(3_600_000)), ..key("b", NOW) };
    assert_eq!(keys, [old, key("a", NOW.plus_millis(5))]);
}

pub(crate) async fn who_does_not_know_the_key_that_signs_changes_nothing(stores: Stores) {
    assert!(!add(&stores, "b", 0, Some("a")).await, "there is none to retire");
    assert!(add(&stores, "a", 0, None).await);
    assert!(!add(&stores, "b", 1, None).await, "there is one already");
    assert!(!add(&stores, "b", 1, Some("x")).await, "another one signs");
    assert!(add(&stores, "c", 2, Some("a")).await);
    assert!(!add(&stores, "b", 1, Some("a")).await, "it signs no more");
    let expected = [("a".to_owned(), false), ("c".to_owned(), true)];
    assert_eq!(kids(&stores).await, expected);
}

pub(crate) async fn of_many_rotations_at_once_exactly_one_wins(stores: Stores) {
    assert!(add(&stores, "first", 0, None).await);
    let rotations = (0..24).map(|n| {
        let signing = stores.signing.clone();
        let new = key(&format!("{n}"), NOW.plus_millis(1));
        tokio::spawn(async move { signing.add_signing_key(new, retire("first")).await.unwrap() })
    });
    let mut won = 0;
    for rotation in rotations.collect::<Vec<_>>() {
        won += usize::from(rotation.await.unwrap());
    }
    assert_eq!(won, 1);
    let kids = kids(&stores).await;
    assert_eq!(kids.len(), 2);
    assert_eq!(kids.iter().filter(|(_, signs)| *signs).count(), 1);
}

pub(crate) async fn signing_keys_are_dropped_when_they_are_retired(stores: Stores) {
    assert!(add(&stores, "a", 0, None).await);
    assert!(add(&stores, "b", 1, Some("a")).await);
    stores.signing.drop_signing_keys(NOW.plus_millis(3_599_999)).await.unwrap();
    assert_eq!(kids(&stores).await.len(), 2, "a millisecond too early");
    stores.signing.drop_signing_keys(NOW.plus_millis(3_600_000)).await.unwrap();
    assert_eq!(kids(&stores).await, [("b".to_owned(), true)]);
}
