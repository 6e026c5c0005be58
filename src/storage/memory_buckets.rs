//! Token buckets in the memory of one node. Never waits, never fails.
//!
//! Buckets are spread over shards, each behind a lock that is held for some map operations. A full
//! bucket is as good as none: such buckets are dropped when a shard runs out of room. When none of
//! its buckets is full, a new one is not kept: its request passes or is refused as its limit says,
//! and is counted. The last eighth of each shard is for limits that refuse then, so that requests
//! of all sorts cannot take the room of those that keep guesses away.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use foldhash::fast::RandomState;
use prometheus_client::metrics::counter::Counter;

use super::buckets::{BucketKey, BucketStore, LocalBuckets, NoRoom, Take};
use super::error::StorageResult;
use crate::domain::bucket::{Bucket, Verdict};
use crate::domain::limits::{BUCKET_SHARDS, BUCKETS_MAX};

/// A shard without room is not searched for full buckets more often than this.
const SWEEP_EVERY_MS: u64 = 1_000;
/// After how long to come back when there was no room.
const NO_ROOM_RETRY_MS: u64 = 1_000;

/// All buckets of this node.
pub struct MemoryBuckets {
    shards: Box<[Mutex<Shard>]>,
    shard_max: usize,
    /// Requests for which no bucket could be kept.
    unkept: Counter,
}

#[derive(Default)]
struct Shard {
    buckets: HashMap<BucketKey, Bucket, RandomState>,
    /// Before this a search for full buckets would find as few as the last one.
    sweep_at_ms: u64,
}

/// A bucket on loan from its shard.
enum Found {
    Kept(Bucket),
    NoRoom,
}

impl Shard {
    fn find(&mut self, take: &Take, shard_max: usize, now_ms: u64) -> Found {
        if let Some(bucket) = self.buckets.get(&take.bucket) {
            return Found::Kept(*bucket);
        }
        let room = match take.when_no_room {
            NoRoom::Pass => shard_max - shard_max / 8,
            NoRoom::Refuse => shard_max,
        };
        if self.buckets.len() >= room && now_ms >= self.sweep_at_ms {
            self.buckets.retain(|_, bucket| !bucket.is_full(now_ms));
            self.sweep_at_ms = now_ms.saturating_add(SWEEP_EVERY_MS);
        }
        if self.buckets.len() < room { Found::Kept(Bucket::default()) } else { Found::NoRoom }
    }

    fn keep(&mut self, key: BucketKey, bucket: Bucket, now_ms: u64) {
        if bucket.is_full(now_ms) {
            self.buckets.remove(&key);
        } else {
            self.buckets.insert(key, bucket);
        }
    }

    fn take(&mut self, take: &Take, shard_max: usize, now_ms: u64) -> (Verdict, bool) {
        match self.find(take, shard_max, now_ms) {
            Found::Kept(mut bucket) => {
                let verdict = bucket.take(take.quota, take.cost, now_ms);
                if verdict.allowed && take.cost > 0 {
                    self.keep(take.bucket, bucket, now_ms);
                }
                (verdict, true)
            }
            Found::NoRoom => (without_bucket(take, now_ms), false),
        }
    }

    fn put_back(&mut self, take: &Take, now_ms: u64) -> Verdict {
        let mut bucket = self.buckets.get(&take.bucket).copied().unwrap_or_default();
        let verdict = bucket.put_back(take.quota, take.cost, now_ms);
        self.keep(take.bucket, bucket, now_ms);
        verdict
    }
}

/// The answer to a request whose bucket cannot be kept.
fn without_bucket(take: &Take, now_ms: u64) -> Verdict {
    let fresh = Bucket::default().peek(take.quota, take.cost, now_ms);
    match take.when_no_room {
        NoRoom::Pass => fresh,
        NoRoom::Refuse => Verdict {
            allowed: false,
            remaining: 0,
            reset_after_ms: NO_ROOM_RETRY_MS,
            retry_after_ms: NO_ROOM_RETRY_MS,
        },
    }
}

impl MemoryBuckets {
    /// No buckets yet. `unkept` counts the requests for which there was no room.
    pub fn new(unkept: Counter) -> Self {
        Self::with_room(BUCKETS_MAX / BUCKET_SHARDS, unkept)
    }

    fn with_room(shard_max: usize, unkept: Counter) -> Self {
        let shards = (0..BUCKET_SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, shard_max, unkept }
    }

    /// Buckets that are kept; some may be full by now.
    pub fn len(&self) -> usize {
        let lens = self.shards.iter().map(|shard| lock(shard).buckets.len());
        lens.sum()
    }

    /// True when none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take_all(&self, takes: &[Take], now_ms: u64) -> Vec<Verdict> {
        if let [only] = takes {
            return vec![self.take_here(only, now_ms)];
        }
        let mut held = Held::lock(self, takes);
        let mut verdicts = Vec::with_capacity(takes.len());
        for (index, take) in takes.iter().enumerate() {
            let (verdict, kept) = held.shard(take).take(take, self.shard_max, now_ms);
            if !kept {
                self.unkept.inc();
            }
            verdicts.push(verdict);
            if !verdict.allowed {
                // What was taken before goes back, and the others are only looked at.
                for (taken, verdict) in takes.iter().zip(&mut verdicts).take(index) {
                    *verdict = held.shard(taken).put_back(taken, now_ms);
                }
                let rest = takes[index + 1..].iter();
                verdicts.extend(rest.map(|take| held.shard(take).untaken(take, now_ms)));
                break;
            }
        }
        verdicts
    }
}

impl Shard {
    /// What is there, when another bucket refused; or that this one would have as well.
    fn untaken(&self, take: &Take, now_ms: u64) -> Verdict {
        match self.look(take, now_ms) {
            would if would.allowed => self.look(&Take { cost: 0, ..*take }, now_ms),
            refuses => refuses,
        }
    }

    fn look(&self, take: &Take, now_ms: u64) -> Verdict {
        let bucket = self.buckets.get(&take.bucket).copied().unwrap_or_default();
        bucket.peek(take.quota, take.cost, now_ms)
    }
}

/// The shards of some buckets, locked in the order of their places, so that two requests never wait
/// for each other.
struct Held<'a>(Vec<(usize, MutexGuard<'a, Shard>)>);

impl<'a> Held<'a> {
    fn lock(buckets: &'a MemoryBuckets, takes: &[Take]) -> Self {
        let mut places: Vec<usize> = takes.iter().map(|take| place(take.bucket)).collect();
        places.sort_unstable();
        places.dedup();
        Self(places.into_iter().map(|place| (place, lock(&buckets.shards[place]))).collect())
    }

    fn shard(&mut self, take: &Take) -> &mut Shard {
        let place = place(take.bucket);
        let found = self.0.iter_mut().find(|(held, _)| *held == place);
        &mut found.expect("the shards of all takes are locked").1
    }
}

fn place(key: BucketKey) -> usize {
    // The key is a hash already.
    usize::from(key.0[0]) % BUCKET_SHARDS
}

/// A panic between two map operations leaves nothing half done.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LocalBuckets for MemoryBuckets {
    fn take_here(&self, take: &Take, now_ms: u64) -> Verdict {
        let shard = &self.shards[place(take.bucket)];
        let (verdict, kept) = lock(shard).take(take, self.shard_max, now_ms);
        if !kept {
            self.unkept.inc();
        }
        verdict
    }
}

#[async_trait]
impl BucketStore for MemoryBuckets {
    async fn take(&self, takes: &[Take], now_ms: u64) -> StorageResult<Vec<Verdict>> {
        Ok(self.take_all(takes, now_ms))
    }

    async fn peek(&self, takes: &[Take], now_ms: u64) -> StorageResult<Vec<Verdict>> {
        let look = |take: &Take| lock(&self.shards[place(take.bucket)]).look(take, now_ms);
        Ok(takes.iter().map(look).collect())
    }

    async fn put_back(&self, takes: &[Take], now_ms: u64) -> StorageResult<Vec<Verdict>> {
        let back = |take: &Take| lock(&self.shards[place(take.bucket)]).put_back(take, now_ms);
        Ok(takes.iter().map(back).collect())
    }

    async fn fill(&self, bucket: BucketKey) -> StorageResult<()> {
        lock(&self.shards[place(bucket)]).buckets.remove(&bucket);
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;

    use super::*;
    use crate::domain::bucket::Quota;

    fn key(name: u64) -> BucketKey {
        BucketKey::new(&[7; 32], "test", &[&name.to_le_bytes()])
    }

    fn take(name: u64, n: u32, cost: u32) -> Take {
        let quota = Quota::per_minute(n);
        Take { bucket: key(name), quota, cost, when_no_room: NoRoom::Pass }
    }

    fn all(buckets: &MemoryBuckets, takes: &[Take], now_ms: u64) -> Vec<(bool, u32)> {
        let verdicts = buckets.take(takes, now_ms).now_or_never().expect("it does not wait");
        verdicts.unwrap().iter().map(|verdict| (verdict.allowed, verdict.remaining)).collect()
    }

    #[test]
    fn names_differ_when_any_part_of_them_does() {
        let names = [
            BucketKey::new(&[7; 32], "a", &[b"bc", b"d"]),
            BucketKey::new(&[7; 32], "ab", &[b"c", b"d"]),
            BucketKey::new(&[7; 32], "a", &[b"b", b"cd"]),
            BucketKey::new(&[7; 32], "a", &[b"bcd"]),
            BucketKey::new(&[8; 32], "a", &[b"bcd"]),
        ];
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{index}");
        }
    }

    #[test]
    fn either_all_are_charged_or_none() {
        let buckets = MemoryBuckets::new(Counter::default());
        let three = [take(1, 10, 1), take(2, 2, 1), take(3, 10, 1)];
        assert_eq!(all(&buckets, &three, 0), [(true, 9), (true, 1), (true, 9)]);
        assert_eq!(all(&buckets, &three, 0), [(true, 8), (true, 0), (true, 8)]);
        assert_eq!(all(&buckets, &three, 0), [(true, 8), (false, 0), (true, 8)]);
        assert_eq!(all(&buckets, &three, 0), [(true, 8), (false, 0), (true, 8)]);
    }

    #[test]
    fn one_bucket_named_twice_is_charged_twice() {
        let buckets = MemoryBuckets::new(Counter::default());
        let twice = [take(1, 3, 1), take(1, 3, 1)];
        assert_eq!(all(&buckets, &twice, 0), [(true, 2), (true, 1)]);
        assert_eq!(all(&buckets, &twice, 0), [(true, 1), (false, 0)]);
        assert_eq!(all(&buckets, &twice[..1], 0), [(true, 0)]);
    }

    #[test]
    fn looking_and_putting_back_keep_no_bucket() {
        let buckets = MemoryBuckets::new(Counter::default());
        let one = [take(1, 3, 1)];
        let look = buckets.peek(&one, 0).now_or_never().unwrap().unwrap();
        assert!(look[0].allowed && buckets.is_empty());
        all(&buckets, &one, 0);
        assert_eq!(buckets.len(), 1);
        let back = buckets.put_back(&one, 0).now_or_never().unwrap().unwrap();
        assert_eq!(back[0].remaining, 3);
        assert!(buckets.is_empty());
        all(&buckets, &[take(1, 3, 3)], 0);
        buckets.fill(key(1)).now_or_never().unwrap().unwrap();
        assert_eq!(all(&buckets, &one, 0), [(true, 2)]);
    }

    #[test]
    fn parallel_requests_get_exactly_what_there_is() {
        let buckets = Arc::new(MemoryBuckets::new(Counter::default()));
        let threads = (0..8).map(|thread| {
            let buckets = Arc::clone(&buckets);
            std::thread::spawn(move || {
                let mut takes = [take(1, 500, 1), take(2, 800, 1)];
                // Some name them the other way round.
                takes.rotate_left(thread % 2);
                (0..1_000).filter(|_| all(&buckets, &takes, 0).iter().all(|one| one.0)).count()
            })
        });
        let threads: Vec<_> = threads.collect();
        let n_given: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(n_given, 500);
        assert_eq!(all(&buckets, &[take(2, 800, 0)], 0), [(true, 300)]);
    }

    #[test]
    fn full_buckets_make_room_for_new_ones() {
        let unkept = Counter::default();
        let buckets = MemoryBuckets::with_room(8, unkept.clone());
        for name in 0..2_000 {
            all(&buckets, &[take(name, 10, 1)], 0);
        }
        assert_eq!(buckets.len(), 7 * BUCKET_SHARDS, "the last eighth is not theirs");
        let n_unkept = unkept.get();
        assert_eq!(n_unkept, 2_000 - 7 * BUCKET_SHARDS as u64);
        for name in 2_000..2_040 {
            assert_eq!(all(&buckets, &[take(name, 10, 1)], 6_000), [(true, 9)]);
        }
        assert_eq!(unkept.get(), n_unkept, "all were full by then");
        assert!(buckets.len() < 7 * BUCKET_SHARDS);
    }

    #[test]
    fn without_room_requests_pass_and_guesses_do_not() {
        let unkept = Counter::default();
        let buckets = MemoryBuckets::with_room(8, unkept.clone());
        let guess = |name| Take { when_no_room: NoRoom::Refuse, ..take(name, 10, 1) };
        for name in 0..2_000 {
            all(&buckets, &[guess(name)], 0);
        }
        assert_eq!(buckets.len(), 8 * BUCKET_SHARDS);
        let n_unkept = unkept.get();
        assert_eq!(all(&buckets, &[take(3_000, 10, 1)], 0), [(true, 9)]);
        assert_eq!(all(&buckets, &[take(3_000, 10, 1)], 0), [(true, 9)], "nobody remembers it");
        assert_eq!(all(&buckets, &[guess(3_001)], 0), [(false, 0)]);
        assert_eq!(all(&buckets, &[take(3_002, 5, 2), guess(3_001)], 0), [(true, 5), (false, 0)]);
        assert_eq!(unkept.get(), n_unkept + 5);
        assert_eq!(all(&buckets, &[guess(0)], 0), [(true, 8)], "those that are kept go on");
    }
}
