//! The feed of changes as a Redis stream, which every node reads from where it was.
//!
//! What it loses (a fail-over, a restart, more entries than it keeps while a node was away) the
//! feed of the store tells all the same, a little later.

use std::time::Duration;

use async_trait::async_trait;
use redis::streams::{StreamId, StreamReadOptions, StreamReadReply};
use redis::{AsyncCommands, RedisResult};
use tokio::sync::Mutex;
use tracing::warn;

use super::target::Connection;
use super::{CONNECT_TIMEOUT, Redis};
use crate::domain::code::{Code, DomainId, LinkKey};
use crate::domain::time::Timestamp;
use crate::storage::error::{StorageError, StorageErrorKind, StorageResult};
use crate::storage::feed::{ChangeFeed, LinkChange, News};

/// Entries that the stream keeps, about.
const KEPT: usize = 100_000;
/// Entries that are read at once.
const READ_MAX: usize = 1_000;
/// How long a read waits for an entry.
const WAIT: Duration = Duration::from_secs(1);

/// Fields of an entry.
const DOMAIN: &str = "d";
const CODE: &str = "c";
const VERSION: &str = "v";
const EPOCH: &str = "e";

/// The stream of one installation.
pub struct RedisFeed {
    redis: Redis,
    reader: Mutex<Reader>,
}

#[derive(Default)]
struct Reader {
    /// A connection of its own: a read that waits would hold up everybody else.
    connection: Option<Connection>,
    /// The last entry that was read. `None` before the first read.
    cursor: Option<String>,
}

impl RedisFeed {
    pub fn new(redis: Redis) -> Self {
        Self { redis, reader: Mutex::default() }
    }
}

#[async_trait]
impl ChangeFeed for RedisFeed {
    async fn announce(&self, changes: &[LinkChange]) -> StorageResult<()> {
        let stream = self.redis.name("feed");
        let mut pipe = redis::pipe();
        for LinkChange { key, version } in changes {
            add(&mut pipe, &stream)
                .arg(DOMAIN)
                .arg(key.domain.0)
                .arg(CODE)
                .arg(key.code.as_bytes())
                .arg(VERSION)
                .arg(version.unwrap_or_default())
                .ignore();
        }
        self.redis
            .call("announce", |mut connection| async move {
                pipe.query_async::<()>(&mut connection).await
            })
            .await
    }

    async fn next(&self) -> StorageResult<News> {
        let mut reader = self.reader.lock().await;
        let read = tokio::time::timeout(WAIT + CONNECT_TIMEOUT * 4, reader.read(&self.redis)).await;
        let failed = |kind| StorageError { kind, op: "follow_feed", source: None };
        let read = match read {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(error)) => {
                Err(StorageError::new(StorageErrorKind::Unavailable, "follow_feed", error))
            }
            Err(_) => Err(failed(StorageErrorKind::Timeout)),
        };
        if read.is_err() {
            reader.connection = None;
        }
        read
    }
}

impl Reader {
    async fn read(&mut self, redis: &Redis) -> RedisResult<News> {
        let stream = redis.name("feed");
        if self.connection.is_none() {
            self.connection = Some(redis.shared.target.connect().await?);
        }
        let Some(connection) = self.connection.as_mut() else { return Ok(News::default()) };
        let cursor = match self.cursor.take() {
            Some(cursor) => cursor,
            None => last(connection, &stream).await?,
        };
        // Kept whatever becomes of the read: the next one begins there as well.
        self.cursor = Some(cursor.clone());
        let millis = WAIT.as_millis() as usize;
        let options = StreamReadOptions::default().block(millis).count(READ_MAX);
        let reply: Option<StreamReadReply> =
            connection.xread_options(&[&stream], &[&cursor], &options).await?;
        let entries: Vec<StreamId> =
            reply.into_iter().flat_map(|reply| reply.keys).flat_map(|stream| stream.ids).collect();
        if let Some(entry) = entries.last() {
            self.cursor = Some(entry.id.clone());
        } else if last(connection, &stream).await? < cursor {
            // A Redis that forgot: from now on its entries are told again.
            self.cursor = Some("0-0".to_owned());
        }
        let mut news = News::default();
        for entry in &entries {
            if let Some(epoch) = entry.get::<u64>(EPOCH) {
                redis.shared.epoch.fetch_max(epoch, std::sync::atomic::Ordering::SeqCst);
            } else if let Some(change) = decode(entry) {
                news.changes.push(change);
                news.told_at.extend(told_at(entry));
            } else {
                warn!(entry = entry.id, "an entry of the feed cannot be read");
            }
        }
        Ok(news)
    }
}

/// The newest entry of a stream, in the form that compares as a text: streams of one installation
/// have times of one length.
async fn last(connection: &mut Connection, stream: &str) -> RedisResult<String> {
    let newest: redis::streams::StreamRangeReply =
        connection.xrevrange_count(stream, "+", "-", 1).await?;
    Ok(newest.ids.into_iter().next().map_or_else(|| "0-0".to_owned(), |entry| entry.id))
}

/// Tells all nodes which contents of Redis are good from now on.
pub(super) async fn tell_epoch(
    connection: &mut Connection,
    prefix: &str,
    epoch: u64,
) -> RedisResult<()> {
    let mut pipe = redis::pipe();
    add(&mut pipe, &format!("{prefix}:feed")).arg(EPOCH).arg(epoch).ignore();
    pipe.query_async(connection).await
}

fn add<'a>(pipe: &'a mut redis::Pipeline, stream: &str) -> &'a mut redis::Pipeline {
    pipe.cmd("XADD").arg(stream).arg("MAXLEN").arg("~").arg(KEPT).arg("*")
}

fn decode(entry: &StreamId) -> Option<LinkChange> {
    let code: Vec<u8> = entry.get(CODE)?;
    let key = LinkKey::new(DomainId(entry.get(DOMAIN)?), Code::parse(&code).ok()?);
    Some(LinkChange { key, version: entry.get::<u32>(VERSION).filter(|version| *version > 0) })
}

/// Entries are named after the milliseconds at which Redis took them.
fn told_at(entry: &StreamId) -> Option<Timestamp> {
    Some(Timestamp(entry.id.split_once('-')?.0.parse().ok()?))
}
