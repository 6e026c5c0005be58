//! The port through which a store is moved, whole, and the records that it travels in.
//!
//! A record says one thing in words of the domain, whatever tables it came from: any store writes
//! what any other one read. What follows from other records (indexes, counters, candidates) does
//! not travel; whoever puts a record makes it anew.

pub mod clicks;
mod hex;
pub mod records;
mod sum;

use async_trait::async_trait;
use tokio::sync::mpsc;

pub use self::hex::Hex;
use self::records::{
    AccessChangeRecord, ApiKeyRecord, AuditRecord, BatchRecord, BlockRecord, ClickDayRecord,
    ClickTotalRecord, ClicksRecord, ClientRecord, DestinationRecord, IdentityRecord,
    InvitationRecord, LinkRecord, MarkRecord, MemberRecord, PositionRecord, ReplayRecord,
    SealedRecord, SecretsRecord, SessionRecord, SettingRecord, SigningKeyRecord, TicketRecord,
    UserRecord, WorkspaceRecord,
};
pub use self::sum::Sum;
use super::error::{Op, StorageError, StorageErrorKind, StorageResult};
use crate::domain::audit::{AuditHash, AuditKey, GENESIS};

/// Records that are handed on together.
const PAGE: usize = 256;
/// Pages that wait for whoever takes them.
const PAGES_WAITING: usize = 4;

/// Gives kinds of records their names and their types, from one list.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident = $word:literal: $record:ident,)+) => {
        /// A kind of records. They travel in this order: each follows those that it names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[doc = $doc])* $kind,)+
        }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$kind,)+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $word,)+ }
            }

            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
            }
        }

        /// Something that a store holds. Never printed: no `Debug`.
        #[derive(Clone, PartialEq, Eq)]
        pub enum Record {
            $($kind(Box<$record>),)+
        }

        impl Record {
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$kind(_) => Kind::$kind,)+ }
            }

            /// As one line of JSON, the same for equal records.
            pub fn to_line(&self) -> String {
                let line = match self {
                    $(Self::$kind(record) => serde_json::to_string(record),)+
                };
                line.expect("texts, numbers and lists are JSON")
            }

            /// Back from [`Record::to_line`]. The error shows nothing of the line, which may be
            /// secret.
            pub fn parse(kind: Kind, line: &str) -> Result<Self, String> {
                let wrong = |error: serde_json::Error| {
                    format!("no record of {} (column {})", kind.as_str(), error.column())
                };
                Ok(match kind {
                    $(Kind::$kind => {
                        Self::$kind(Box::new(serde_json::from_str(line).map_err(wrong)?))
                    })+
                })
            }
        }

        $(impl From<$record> for Record {
            fn from(record: $record) -> Self {
                Self::$kind(Box::new(record))
            }
        })+
    };
}

kinds! {
    /// Keys of sealed codes, of digests, of cursors.
    Secrets = "secrets": SecretsRecord,
    /// Ids that are given out.
    Blocks = "id_blocks": BlockRecord,
    /// Times that ids of nodes may carry already.
    Marks = "clock_marks": MarkRecord,
    Workspaces = "workspaces": WorkspaceRecord,
    /// Numbers with a name of their own.
    Settings = "settings": SettingRecord,
    Users = "users": UserRecord,
    Identities = "identities": IdentityRecord,
    Clients = "known_clients": ClientRecord,
    Members = "members": MemberRecord,
    Invitations = "invitations": InvitationRecord,
    Sessions = "sessions": SessionRecord,
    Tickets = "tickets": TicketRecord,
    ApiKeys = "api_keys": ApiKeyRecord,
    SigningKeys = "signing_keys": SigningKeyRecord,
    /// What credentials that are out may do no longer, in order.
    AccessChanges = "access_changes": AccessChangeRecord,
    /// The audit log, in order.
    Audit = "audit_log": AuditRecord,
    Links = "links": LinkRecord,
    /// Where links led before.
    Destinations = "past_destinations": DestinationRecord,
    /// Domains that took in codes of sealed shape from elsewhere.
    Sealed = "foreign_sealed": SealedRecord,
    /// Batches of links that were imported.
    Batches = "import_batches": BatchRecord,
    /// Answers kept for `Idempotency-Key`.
    Replays = "replays": ReplayRecord,
    /// How far journal segments are counted.
    Positions = "click_positions": PositionRecord,
    /// Sums of links by day.
    ClickDays = "click_days": ClickDayRecord,
    /// Single clicks.
    Clicks = "clicks": ClicksRecord,
    /// How often links were clicked in all.
    ClickTotals = "click_totals": ClickTotalRecord,
}

/// An import that a store knows of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Names the archive.
    pub archive: [u8; 32],
    /// Records of it that are there.
    pub done: u64,
    /// Until then the store is not to be served.
    pub finished: bool,
}

/// Reads everything that a store holds, and writes it as it is. No server may work on the store
/// meanwhile.
#[async_trait]
pub trait MoveStore: Send + Sync {
    /// Brings what was flushed to where it stays, before it is read. Kind `Invalid`: something is
    /// under way that only a server can end; the text says what is to be done.
    async fn settle(&self) -> StorageResult<()>;

    /// Hands out all records of a kind. Kinds: `Corrupt`, `Damaged`, `Timeout`, `Unavailable`.
    async fn scan(&self, kind: Kind, out: Out) -> StorageResult<()>;

    /// The import into this store, whether it is finished or not.
    async fn moved(&self) -> StorageResult<Option<Move>>;

    /// Notes that an archive is going to be imported. False, and nothing noted: the store is not
    /// empty.
    async fn begin(&self, archive: [u8; 32]) -> StorageResult<bool>;

    /// Writes records, the first of which has the number `from` in its archive, and notes how far
    /// the import came. Numbers rise without gaps; the same again changes nothing.
    async fn put(&self, from: u64, records: Vec<Record>) -> StorageResult<()>;

    /// Makes what follows from all records together. May be cut short and called again.
    async fn complete(&self) -> StorageResult<()>;

    /// Notes that everything is there. From now on the store may be served.
    async fn finish(&self) -> StorageResult<()>;
}

/// Where records go, page by page. Whoever sends waits for whoever takes.
pub struct Out {
    pages: mpsc::Sender<Vec<Record>>,
    page: Vec<Record>,
}

impl Out {
    /// A way from a store to whoever takes its records.
    pub fn channel() -> (Self, mpsc::Receiver<Vec<Record>>) {
        let (pages, taken) = mpsc::channel(PAGES_WAITING);
        (Self { pages, page: Vec::new() }, taken)
    }

    /// Sends a record. Kind `Unavailable`: nobody takes it any more.
    pub async fn send(&mut self, op: Op, record: impl Into<Record>) -> StorageResult<()> {
        self.page.push(record.into());
        if self.page.len() < PAGE {
            return Ok(());
        }
        let page = std::mem::take(&mut self.page);
        self.pages.send(page).await.map_err(|_| gone(op))
    }

    /// The same outside of async code.
    pub fn send_blocking(&mut self, op: Op, record: impl Into<Record>) -> StorageResult<()> {
        self.page.push(record.into());
        if self.page.len() < PAGE {
            return Ok(());
        }
        let page = std::mem::take(&mut self.page);
        self.pages.blocking_send(page).map_err(|_| gone(op))
    }

    /// Sends what is left.
    pub async fn end(self, op: Op) -> StorageResult<()> {
        self.pages.send(self.page).await.map_err(|_| gone(op))
    }

    /// The same outside of async code.
    pub fn end_blocking(self, op: Op) -> StorageResult<()> {
        self.pages.blocking_send(self.page).map_err(|_| gone(op))
    }
}

fn gone(op: Op) -> StorageError {
    StorageError::new(StorageErrorKind::Unavailable, op, "nobody takes the records any more")
}

/// Follows the audit log from its first entry: what is moved must be what was written.
pub(super) struct Chain {
    key: AuditKey,
    seq: u64,
    hash: AuditHash,
}

impl Chain {
    pub(super) fn new(key: AuditKey) -> Self {
        Self { key, seq: 0, hash: GENESIS }
    }

    /// Takes the next entry. Kind `Corrupt`: it is not the next.
    pub(super) fn follow(&mut self, op: Op, entry: &AuditRecord) -> StorageResult<()> {
        let seq = self.seq + 1;
        let hash = self.key.link(&self.hash, seq, &entry.body.0);
        if (entry.seq, entry.hash.0.as_slice()) != (seq as i64, hash.as_slice()) {
            let text = format!("entry {seq} of the audit log is missing, or not what was written");
            return Err(StorageError::corrupt(op, text));
        }
        (self.seq, self.hash) = (seq, hash);
        Ok(())
    }

    /// The log must end here, as it says itself.
    pub(super) fn end(&self, op: Op, seq: u64, hash: &[u8], seal: &[u8]) -> StorageResult<()> {
        let is_end = (seq, hash) == (self.seq, self.hash.as_slice());
        if is_end && self.key.head(self.seq, &self.hash) == seal {
            return Ok(());
        }
        let text = format!("the audit log does not end behind entry {} as it says", self.seq);
        Err(StorageError::corrupt(op, text))
    }
}
