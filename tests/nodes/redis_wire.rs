//! A wire to a Redis that may swallow what the feed of changes tells, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What only a connection sends that follows the feed.
const FOLLOWS: &[u8] = b"XREAD";
const CHUNK_BYTES: usize = 16 * 1_024;

pub(crate) struct RedisWire {
    pub(crate) url: String,
    swallows: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

impl RedisWire {
    /// A wire to the Redis on a port of this machine, which may come and go.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let swallows = Arc::<AtomicBool>::default();
        let shared = Arc::clone(&swallows);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, port, Arc::clone(&shared)));
            }
        });
        Self { url, swallows, accepting }
    }

    /// Whether followers of the feed get no answers.
    pub(crate) fn swallow(&self, swallows: bool) {
        self.swallows.store(swallows, Ordering::SeqCst);
    }
}

impl Drop for RedisWire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One connection, until an end of it closes.
async fn carry(client: TcpStream, port: u16, swallows: Arc<AtomicBool>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let is_feed = AtomicBool::new(false);
    let asks = pass(from_client, to_server, |bytes| {
        let follows = bytes.windows(FOLLOWS.len()).any(|word| word == FOLLOWS);
        is_feed.fetch_or(follows, Ordering::SeqCst);
        true
    });
    let answers = pass(from_server, to_client, |_| {
        !(is_feed.load(Ordering::SeqCst) && swallows.load(Ordering::SeqCst))
    });
    tokio::select! {
        () = asks => (),
        () = answers => (),
    }
}

/// Hands on what `passes`.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, passes: impl Fn(&[u8]) -> bool) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(n @ 1..) = from.read(&mut chunk).await {
        if passes(&chunk[..n]) && to.write_all(&chunk[..n]).await.is_err() {
            return;
        }
    }
}
