//! The cache of links in Redis. A value is replaced by a newer version only, and good only under
//! the epoch that it was written in.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use redis::{Script, Value};

use super::Redis;
use super::record::{decode, encode};
use crate::domain::code::LinkKey;
use crate::domain::link::Link;
use crate::storage::cache::{Cached, LinkCache};
use crate::storage::error::StorageResult;

/// How long a value lives.
const LIFE: Duration = Duration::from_secs(3_600);
/// How long it is remembered that there is no link. A claim replaces it at once.
const ABSENT_LIFE: Duration = Duration::from_secs(1);
/// How long others wait for whoever loads a link; longer than a load may take.
const LEASE: Duration = Duration::from_millis(200);
/// Digits in front of a value: its version.
const VERSION_DIGITS: usize = 10;

/// A value; or 1: whoever asks is to load it; or 0: somebody does.
static GET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local value = redis.call('GET', KEYS[1])
         if value then return value end
         if redis.call('SET', KEYS[2], '', 'NX', 'PX', ARGV[1]) then return 1 end
         return 0",
    )
});

/// Puts a value in place of an older one, and ends the wait for it.
static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local digits = tonumber(ARGV[3])
         local there = redis.call('GETRANGE', KEYS[1], 0, digits - 1)
         redis.call('DEL', KEYS[2])
         if there == '' or there < string.sub(ARGV[1], 1, digits) then
             redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
         end",
    )
});

/// The cache of one installation.
pub struct RedisLinks {
    redis: Redis,
}

impl RedisLinks {
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }

    /// Names of the value of a link and of the lease for loading it: in one slot of a cluster.
    fn names(&self, key: &LinkKey) -> (String, String) {
        let tag = format!("{{{}/{}}}", key.domain.0, key.code.as_str());
        let epoch = self.redis.epoch();
        let name = |kind: char| self.redis.name(&format!("{kind}:{epoch}:{tag}"));
        (name('l'), name('f'))
    }
}

#[async_trait]
impl LinkCache for RedisLinks {
    async fn look(&self, key: &LinkKey, least: u32) -> Cached {
        let (value, lease) = self.names(key);
        let found = self.redis.call("l2_get", |mut connection| async move {
            let mut call = GET.key(value);
            call.key(lease).arg(LEASE.as_millis() as u64);
            call.invoke_async::<Value>(&mut connection).await
        });
        let bytes = match found.await {
            Ok(Value::Int(1)) => return Cached::Mine,
            Ok(Value::Int(_)) => return Cached::Busy,
            Ok(Value::BulkString(bytes)) => bytes,
            Ok(_) | Err(_) => return Cached::Nothing,
        };
        match bytes.split_at_checked(VERSION_DIGITS) {
            Some((_, [])) if least == 0 => Cached::Absent,
            Some((_, body)) => decode(body)
                .filter(|link| link.version >= least && link.key() == *key)
                .map_or(Cached::Nothing, |link| Cached::Link(Box::new(link))),
            None => Cached::Nothing,
        }
    }

    async fn put(&self, key: &LinkKey, link: Option<&Link>) -> StorageResult<()> {
        let (name, lease) = self.names(key);
        let version = link.map_or(0, |link| link.version);
        let mut value = format!("{version:0VERSION_DIGITS$}").into_bytes();
        if let Some(link) = link {
            value.extend(encode(link));
        }
        let life = if link.is_some() { LIFE } else { ABSENT_LIFE };
        self.redis
            .call("l2_put", |mut connection| async move {
                let mut call = PUT.key(name);
                call.key(lease).arg(value).arg(life.as_millis() as u64).arg(VERSION_DIGITS);
                call.invoke_async::<()>(&mut connection).await
            })
            .await
    }

    fn distrust(&self) {
        self.redis.distrust();
    }
}
