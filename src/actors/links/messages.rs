//! What travels to a shard, and what its tasks report back.

use std::future::Future;
use std::pin::Pin;

use actix::Message;
use serde::Serialize;
use tokio::sync::oneshot;

use super::LoadError;
use super::key::Key;
use super::shared::WriteGuard;
use crate::domain::audit::Act;
use crate::domain::code::LinkKey;
use crate::domain::hot::HotLink;
use crate::domain::id::Id;
use crate::domain::link::Link;
use crate::storage::Replace;
use crate::storage::patience::Carried;

pub(super) type Reply<T> = oneshot::Sender<Result<T, LoadError>>;

/// Who waits for a write and for how long, and the count that keeps a shutdown waiting for it.
pub(super) struct Asker<T> {
    pub(super) reply: Reply<T>,
    pub(super) guard: WriteGuard,
    pub(super) patience: Carried,
}

/// Asks for a link that is not in the table. True: it is there now. False: there is none.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Load {
    pub(super) link: LinkKey,
    pub(super) key: Key,
    pub(super) reply: Reply<bool>,
}

/// Changes one link, in order with other work on its code.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Change {
    pub(super) key: Key,
    pub(super) link: LinkKey,
    pub(super) job: Job,
}

/// Runs a write of many fresh codes on the shard's thread; it hands what it won to the owners.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Run(pub(super) Pin<Box<dyn Future<Output = ()> + Send>>);

/// Puts links into the table that a write stored, each sent to its owner.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Adopt(pub(super) Vec<Fresh>);

/// Nobody knows whether a write of these fresh codes was applied.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Doubt(pub(super) Vec<Key>);

/// Somebody else changed the link at a code, or is about to.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Heard {
    pub(super) key: Key,
    pub(super) link: LinkKey,
    /// Its version now. `None`: nobody knows yet.
    pub(super) version: Option<u32>,
}

/// Takes every link out of the table: nobody knows which of them changed.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ForgetAll;

/// Puts links into the table that were read from the store in bulk, while there is room.
#[derive(Message)]
#[rtype(result = "Filled")]
pub(super) struct Fill(pub(super) Vec<Fresh>);

/// Answer to [`Fill`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filled {
    pub(super) links: u64,
    /// The slice has no room for more.
    pub(super) full: bool,
}

/// Bulk reads begin: changes from now on are remembered, so that an older row cannot undo them.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct BeginWarm;

/// Bulk reads ended. True is answered when the slice is complete.
#[derive(Message)]
#[rtype(result = "bool")]
pub(super) struct EndWarm {
    /// Every link of the store was sent.
    pub(super) whole: bool,
}

#[derive(Message)]
#[rtype(result = "ShardReport")]
pub(super) struct Inspect;

/// A shard as it is right now, for `/debug/actors`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ShardReport {
    pub shard: usize,
    /// Messages sent and not handled yet.
    pub mailbox_depth: usize,
    /// Callers that wait for work on their code.
    pub waiting: usize,
    /// Links in the slice.
    pub entries: usize,
    /// Bytes that the slice takes in memory, and the most it may.
    pub bytes: usize,
    pub bytes_max: usize,
    /// Codes with work under way.
    pub in_flight: usize,
    /// Unknown codes remembered.
    pub negative_entries: usize,
    /// Every link of the slice is in memory.
    pub complete: bool,
    pub restarts: u64,
}

/// A change of one code.
pub(super) enum Job {
    Replace {
        link: Box<Link>,
        act: Option<Act>,
        asker: Asker<Replace>,
    },
    Relocate {
        link: Box<Link>,
        tombstone: Id,
        act: Option<Act>,
        asker: Asker<Replace>,
    },
    /// Finds out what the store holds after a write with unknown outcome.
    Verify,
    /// Takes over what somebody else changed.
    Refresh,
}

/// What the store has at a key.
pub(super) struct Fresh {
    pub(super) key: Key,
    pub(super) state: State,
}

pub(super) enum State {
    Live(HotLink),
    /// Deleted at this version; zero when there never was a link.
    Gone(u32),
}

/// A task's report to the shard that started it.
pub(super) struct Settled {
    pub(super) key: Key,
    /// Which piece of work; an answer to work that a restart forgot has no match.
    pub(super) ticket: u64,
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    Loaded(Result<State, LoadError>),
    Wrote {
        effect: Effect,
        answer: Result<Replace, LoadError>,
        asker: Asker<Replace>,
    },
    Verified(Effect),
    /// The task panicked.
    Crashed,
}

/// What a write means for the table.
pub(super) enum Effect {
    None,
    Set(State),
    /// The outcome is unknown: ask the store.
    Verify,
    /// What the store holds cannot be told: forget the link, the next visitor loads it.
    Forget,
}

impl<T> Asker<T> {
    pub(super) fn answer(self, answer: Result<T, LoadError>) {
        drop(self.guard);
        // A caller that went away does not want to know.
        let _gone = self.reply.send(answer);
    }
}

impl State {
    pub(super) fn version(&self) -> u32 {
        match self {
            Self::Live(link) => link.version(),
            Self::Gone(version) => *version,
        }
    }
}
