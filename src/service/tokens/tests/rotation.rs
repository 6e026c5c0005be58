//! Keys come and go: who signs, who still verifies, and what several processes make of it.

use super::*;

/// How long a key verifies after another took over.
const OVERLAP: i64 = 15 * MINUTE + LEEWAY + HANDOVER_MS;

fn store() -> Arc<dyn SigningKeyStore> {
    MemoryStore::new().signing
}

async fn stored(store: &Arc<dyn SigningKeyStore>) -> Vec<StoredSigningKey> {
    store.signing_keys().await.unwrap()
}

/// Brings a process to a time, as its follower would.
async fn go(process: &Process, at: Timestamp) {
    process.clock.set(at);
    process.chain.refresh().await.unwrap();
}

#[tokio::test]
async fn the_key_is_made_once_and_stays_over_restarts() {
    let store = store();
    let first = Process::on(Arc::clone(&store)).await;
    let second = Process::on(Arc::clone(&store)).await;
    assert_eq!(first.kids(), second.kids());
    assert_eq!(second.verify(&first.token()), Ok(claims_at(NOON)));
    assert_eq!(stored(&store).await.len(), 1);
}

#[tokio::test]
async fn an_old_key_gives_way_and_verifies_until_its_last_token_has_expired() {
    let store = store();
    let process = Process::on(Arc::clone(&store)).await;
    let old = process.kid();
    let turn = NOON.plus_millis(30 * DAY);
    go(&process, turn.plus_millis(-1)).await;
    assert_eq!(process.kids(), std::slice::from_ref(&old), "a millisecond too early");
    // Issued at the last whole second before.
    let last = process.token();
    go(&process, turn).await;
    let new = process.kid();
    assert_ne!(new, old);
    assert_eq!(process.kids(), [new.clone(), old.clone()], "two keys, of which the new one signs");
    assert!(part(&process.token(), 0).contains(&new));
    let end = turn.plus_millis(15 * MINUTE - 1_000 + LEEWAY);
    // Once from memory, once with a check of the signature.
    for forgotten in [false, true] {
        if forgotten {
            let keys = process.chain.held.load().keys.clone();
            process.chain.held.store(Arc::new(Held { keys, verified: Arc::default() }));
        }
        go(&process, end.plus_millis(-1)).await;
        assert!(process.verify(&last).is_ok());
        go(&process, end).await;
        assert_eq!(process.verify(&last), Err(TokenFault::Expired));
    }
    go(&process, turn.plus_millis(OVERLAP - 1)).await;
    assert_eq!(stored(&store).await.len(), 2);
    assert_eq!(process.chain.jwks()["keys"].as_array().unwrap().len(), 2);
    go(&process, turn.plus_millis(OVERLAP)).await;
    assert_eq!(stored(&store).await.len(), 1, "it is dropped");
    assert_eq!(process.chain.jwks()["keys"].as_array().unwrap().len(), 1);
    assert_eq!(process.verify(&last), Err(TokenFault::UnknownKey));
    go(&process, turn.plus_millis(OVERLAP + 1)).await;
    assert_eq!(process.kids(), [new]);
}

#[tokio::test]
async fn a_retired_key_verifies_nothing_even_before_it_is_dropped() {
    let process = Process::new().await;
    let old = process.chain.held.load().keys[0].clone();
    let turn = NOON.plus_millis(30 * DAY);
    go(&process, turn).await;
    // Whoever has the old key makes a token of today.
    let forge = |at: Timestamp| {
        let message = claims_at(at).message(old.kid(), "https://go.example", "shunt");
        format!("{message}.{}", old.sign(&message))
    };
    let before = turn.plus_millis(OVERLAP - 1);
    assert!(process.chain.verify(&forge(before), before).is_ok());
    let after = turn.plus_millis(OVERLAP);
    assert_eq!(process.chain.verify(&forge(after), after), Err(TokenFault::UnknownKey));
}

#[tokio::test]
async fn what_a_removed_key_signed_is_forgotten_too() {
    let store = store();
    let process = Process::on(Arc::clone(&store)).await;
    go(&process, NOON.plus_millis(30 * DAY - 1_000)).await;
    let old = process.token();
    go(&process, NOON.plus_millis(30 * DAY)).await;
    let new = process.token();
    assert!(process.verify(&old).is_ok() && process.verify(&new).is_ok());
    // Somebody takes the old one out by hand.
    store.drop_signing_keys(NOON.plus_millis(99 * DAY)).await.unwrap();
    process.chain.refresh().await.unwrap();
    assert_eq!(process.verify(&old), Err(TokenFault::UnknownKey));
    assert!(process.verify(&new).is_ok());
}

#[tokio::test]
async fn two_first_starts_at_once_end_with_one_key() {
    let store = store();
    let watched = Watched::meeting(Arc::clone(&store));
    let (one, two) = tokio::join!(
        Process::on(Arc::clone(&watched) as _),
        Process::on(Arc::clone(&watched) as _),
    );
    assert_eq!(one.kids(), two.kids());
    assert_eq!(stored(&store).await.len(), 1);
    assert!(one.verify(&two.token()).is_ok() && two.verify(&one.token()).is_ok());
}

#[tokio::test]
async fn two_rotations_at_once_end_with_one_key_that_signs() {
    let store = store();
    drop(Process::on(Arc::clone(&store)).await);
    let watched = Watched::meeting(Arc::clone(&store));
    // Two processes that started together meet as they read, at the time of the turn.
    let (one, two) = tokio::join!(
        Process::on(Arc::clone(&watched) as _),
        Process::on(Arc::clone(&watched) as _),
    );
    let turn = NOON.plus_millis(30 * DAY);
    for process in [&one, &two] {
        process.clock.set(turn);
    }
    watched.n_reads.store(0, Ordering::Relaxed);
    let (first, second) = tokio::join!(one.chain.refresh(), two.chain.refresh());
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(one.kids(), two.kids());
    assert_eq!(one.kids().len(), 2);
    let keys = stored(&store).await;
    assert_eq!(keys.len(), 2);
    assert_eq!(keys.iter().filter(|key| key.retires_at.is_none()).count(), 1);
    assert!(one.verify(&two.token()).is_ok() && two.verify(&one.token()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_another_process_made_is_found_when_it_is_needed() {
    let store = store();
    let watched = Watched::new(Arc::clone(&store));
    let follower = Process::on(Arc::clone(&watched) as _).await;
    let leader = Process::on(Arc::clone(&store)).await;
    go(&leader, NOON.plus_millis(30 * DAY)).await;
    let (token, now) = (leader.token(), leader.clock.now());
    follower.clock.set(now);
    assert_eq!(follower.verify(&token), Err(TokenFault::UnknownKey));
    assert_eq!(follower.chain.verify_fresh(&token, now).await, Ok(claims_at(now)));
    assert_eq!(follower.verify(&token), Ok(claims_at(now)));
}

#[tokio::test(start_paused = true)]
async fn however_many_unknown_keys_come_the_store_is_asked_once_in_a_while() {
    let watched = Watched::new(store());
    let process = Process::on(Arc::clone(&watched) as _).await;
    let before = watched.n_reads();
    let header = process.header().replace(&process.kid(), &"A".repeat(43));
    let payload = part(&process.token(), 1);
    let asks = (0..200).map(|_| {
        let (chain, token) = (Arc::clone(&process.chain), process.forge(&header, &payload));
        tokio::spawn(async move { chain.verify_fresh(&token, NOON).await })
    });
    for ask in asks.collect::<Vec<_>>() {
        assert_eq!(ask.await.unwrap(), Err(TokenFault::UnknownKey));
    }
    // The first comer's question, and one for those who came while it was answered.
    assert!(watched.n_reads() - before <= 2, "{}", watched.n_reads() - before);
}

#[tokio::test]
async fn the_store_is_not_asked_about_tokens_that_are_refused_for_something_else() {
    let watched = Watched::new(store());
    let process = Process::on(Arc::clone(&watched) as _).await;
    let before = watched.n_reads();
    let expired = process.chain.sign(&claims_at(NOON.plus_millis(-DAY)));
    let good = process.token();
    let unsigned = format!("{}.{}", good.rsplit_once('.').unwrap().0, encode([1; 64]));
    let pathlike = process.header().replace(&process.kid(), "../../dev/null");
    for token in ["", "a.b.c", &expired, &unsigned, &process.forge(&pathlike, "{}")] {
        assert!(process.chain.verify_fresh(token, NOON).await.is_err());
    }
    assert!(process.chain.verify_fresh(&good, NOON).await.is_ok());
    assert_eq!(watched.n_reads(), before);
}

#[tokio::test]
async fn a_store_that_is_gone_keeps_nobody_out() {
    let watched = Watched::new(store());
    let process = Process::on(Arc::clone(&watched) as _).await;
    let token = process.token();
    watched.gone.store(true, Ordering::Relaxed);
    process.clock.set(NOON.plus_millis(30 * DAY));
    assert!(matches!(process.chain.refresh().await, Err(KeyChainError::Storage(_))));
    assert_eq!(process.chain.verify(&token, NOON), Ok(claims_at(NOON)));
    assert!(process.verify(&process.token()).is_ok(), "the old key signs on");
    let unknown = process.header().replace(&process.kid(), &"A".repeat(43));
    let outcome = process.chain.verify_fresh(&process.forge(&unknown, "{}"), NOON).await;
    assert_eq!(outcome, Err(TokenFault::UnknownKey));
    watched.gone.store(false, Ordering::Relaxed);
    process.chain.refresh().await.unwrap();
    assert_eq!(process.kids().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_follower_turns_keys_over_by_itself() {
    let store = store();
    let process = Process::on(Arc::clone(&store)).await;
    let follower = tokio::spawn(Arc::clone(&process.chain).follow());
    let old = process.kid();
    process.clock.set(NOON.plus_millis(30 * DAY));
    // Time is the test's own: it passes at once.
    tokio::time::sleep(POLL_EVERY * 2).await;
    assert_ne!(process.kid(), old);
    assert_eq!(stored(&store).await.len(), 2);
    follower.abort();
}

#[tokio::test]
async fn a_key_of_an_installation_with_other_secrets_is_named_and_not_replaced() {
    let store = store();
    let kid = Process::on(Arc::clone(&store)).await.kid();
    let config = TokensConfig::default();
    let refused = Process::start(Arc::clone(&store), [8; 32], &config).await.err().unwrap();
    assert!(matches!(&refused, KeyChainError::StoredKey { kid: named, .. } if *named == kid));
    let text = refused.to_string();
    assert!(text.contains(&kid) && text.contains("keys.toml"), "{text}");
    assert_eq!(stored(&store).await.len(), 1);
}

#[tokio::test]
async fn a_damaged_key_is_a_clear_error_and_a_retired_one_is_left_out() {
    let clean = store();
    let process = Process::on(Arc::clone(&clean)).await;
    go(&process, NOON.plus_millis(30 * DAY)).await;
    let keys = stored(&clean).await;
    for (damaged, fails) in [(1, true), (0, false)] {
        let store = store();
        for (place, key) in keys.iter().enumerate() {
            let mut key = key.clone();
            if place == damaged {
                key.sealed[20] ^= 1;
            }
            store.add_signing_key(key, None).await.unwrap();
        }
        let started = Process::on_at(store, NOON.plus_millis(30 * DAY)).await;
        match started {
            Ok(started) => assert_eq!(started.kids(), [process.kid()]),
            Err(error) => assert!(fails && error.to_string().contains("damaged"), "{error}"),
        }
    }
}
