//! Token buckets that nodes share. Without Redis each node limits by itself.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use redis::Script;

use super::Redis;
use crate::domain::bucket::Verdict;
use crate::storage::buckets::{BucketKey, BucketStore, Take};
use crate::storage::error::StorageResult;

static BUCKET: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("bucket.lua")));

/// Buckets in Redis, by its time; in `local` while it does not answer.
pub struct SharedBuckets {
    redis: Redis,
    local: Arc<dyn BucketStore>,
}

/// What to do with a bucket.
#[derive(Clone, Copy)]
enum Act {
    Take,
    Peek,
    Back,
}

impl Act {
    fn word(self) -> &'static str {
        match self {
            Self::Take => "take",
            Self::Peek => "peek",
            Self::Back => "back",
        }
    }
}

impl SharedBuckets {
    pub fn new(redis: Redis, local: Arc<dyn BucketStore>) -> Self {
        Self { redis, local }
    }

    /// One after the other: in a cluster they may be on several servers.
    async fn each(&self, takes: &[Take], act: Act) -> StorageResult<Vec<Verdict>> {
        let mut verdicts = Vec::with_capacity(takes.len());
        for take in takes {
            verdicts.push(self.run(take, act).await?);
        }
        Ok(verdicts)
    }

    async fn run(&self, take: &Take, act: Act) -> StorageResult<Verdict> {
        let name = self.name(take.bucket);
        let (n, window_ms) = (take.quota.n, take.quota.window_ms);
        let answer: (u8, String) = self
            .redis
            .call("bucket", |mut connection| async move {
                let mut call = BUCKET.key(name);
                call.arg(act.word()).arg(n).arg(window_ms).arg(take.cost);
                call.invoke_async(&mut connection).await
            })
            .await?;
        let (allowed, debt) = (answer.0 == 1, answer.1.parse().unwrap_or(u64::MAX));
        Ok(take.quota.after(allowed, debt, take.cost))
    }

    /// What a bucket tells when another one refused: what is there, or that it would have refused
    /// as well.
    async fn untaken(&self, take: &Take) -> StorageResult<Verdict> {
        let would = self.run(take, Act::Peek).await?;
        match would.allowed {
            true => self.run(&Take { cost: 0, ..*take }, Act::Peek).await,
            false => Ok(would),
        }
    }

    /// From all or from none: what was taken before one refused is put back.
    async fn take_all(&self, takes: &[Take]) -> StorageResult<Vec<Verdict>> {
        let mut verdicts = Vec::with_capacity(takes.len());
        for (index, take) in takes.iter().enumerate() {
            let verdict = self.run(take, Act::Take).await?;
            verdicts.push(verdict);
            if !verdict.allowed {
                let before = self.each(&takes[..index], Act::Back).await?;
                verdicts.splice(..index, before);
                for rest in &takes[index + 1..] {
                    verdicts.push(self.untaken(rest).await?);
                }
                break;
            }
        }
        Ok(verdicts)
    }

    fn name(&self, bucket: BucketKey) -> String {
        let hex = blake3::Hash::from_bytes(wide(bucket)).to_hex();
        self.redis.name(&format!("b:{}", &hex[..32]))
    }
}

fn wide(bucket: BucketKey) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&bucket.0);
    bytes
}

#[async_trait]
impl BucketStore for SharedBuckets {
    async fn take(&self, takes: &[Take], now_ms: u64) -> StorageResult<Vec<Verdict>> {
        match self.take_all(takes).await {
            Ok(verdicts) => Ok(verdicts),
            Err(_) => self.local.take(takes, now_ms).await,
        }
    }

    async fn peek(&self, takes: &[Take], now_ms: u64) -> StorageResult<Vec<Verdict>> {
        match self.each(takes, Act::Peek).await {
            Ok(verdicts) => Ok(verdicts),
            Err(_) => self.local.peek(takes, now_ms).await,
        }
    }

    async fn put_back(&self, takes: &[Take], now_ms: u64) -> StorageResult<Vec<Verdict>> {
        match self.each(takes, Act::Back).await {
            Ok(verdicts) => Ok(verdicts),
            Err(_) => self.local.put_back(takes, now_ms).await,
        }
    }

    async fn fill(&self, bucket: BucketKey) -> StorageResult<()> {
        let name = self.name(bucket);
        let filled = self.redis.call("fill_bucket", |mut connection| async move {
            redis::cmd("DEL").arg(name).query_async::<()>(&mut connection).await
        });
        // Either may hold what was taken.
        let _without_redis = filled.await;
        self.local.fill(bucket).await
    }
}
