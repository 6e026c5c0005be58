//! Records that are rows of a table as they are, and what keeps a database from being moved.

use futures_util::TryStreamExt as _;

use super::{ROWS_PER_PAGE, SCAN, unreadable};
use crate::storage::error::{Op, StorageError, StorageErrorKind, StorageResult};
use crate::storage::moving::records::{
    BatchRecord, BlockRecord, DestinationRecord, MarkRecord, PositionRecord, ReplayRecord,
    SealedRecord, SecretsRecord, SettingRecord, SigningKeyRecord,
};
use crate::storage::moving::{Hex, Kind, Out, Record};
use crate::storage::scylla::Cql;
use crate::storage::scylla::accounts::ANONYMOUS;
use crate::storage::scylla::ids::unsigned;
use crate::storage::scylla::replays::shard_of;
use crate::storage::scylla::run::damaged;
use crate::storage::scylla::signing::RING;
use crate::storage::signing::SigningKeyStore as _;

/// What belongs to no node: it wrote a position down that came with a move.
const NO_NODE: i32 = -1;

/// A row of `replays`.
type ReplayRow = (
    i64,
    String,
    Option<Vec<u8>>,
    Option<i64>,
    Option<Vec<u8>>,
    Option<i16>,
    Option<String>,
    Option<String>,
    Option<Vec<u8>>,
);

impl Cql {
    /// The secrets of the installation, if there are any.
    pub(super) async fn secrets_text(&self, op: Op) -> StorageResult<Option<String>> {
        let row: Option<(String,)> = self.one(op, &self.statements().nodes.secrets, ()).await?;
        Ok(row.map(|(text,)| text))
    }

    /// Whether nothing was ever started on this database, and nobody is about to.
    pub(super) async fn is_empty(&self, op: Op) -> StorageResult<bool> {
        let statements = &self.statements().moving;
        let installation: Option<(i32,)> = self.one(op, &statements.any_installation, ()).await?;
        let secrets: Option<(i32,)> = self.one(op, &statements.any_secrets, ()).await?;
        let workspace: Option<(i64,)> = self.one(op, &statements.any_workspace, ()).await?;
        let link: Option<(i64,)> = self.one(op, &statements.any_link, ()).await?;
        let nodes = self.nodes_in_use(op).await?;
        let none = installation.is_none() && secrets.is_none();
        Ok(none && workspace.is_none() && link.is_none() && nodes.is_empty())
    }

    /// Node numbers that somebody holds: a row may tell of who held one before.
    async fn nodes_in_use(&self, op: Op) -> StorageResult<Vec<i32>> {
        let leases: Vec<(i32, Option<i64>)> =
            self.all(op, &self.statements().moving.leases, ()).await?;
        let held = leases.into_iter().filter(|(_, holder)| holder.is_some());
        let mut nodes: Vec<i32> = held.map(|(node, _)| node).collect();
        nodes.sort_unstable();
        Ok(nodes)
    }

    /// Kind `Invalid`: servers have the database open.
    pub(super) async fn refuse_servers(&self, op: Op) -> StorageResult<()> {
        let nodes = self.nodes_in_use(op).await?;
        if nodes.is_empty() {
            return Ok(());
        }
        let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        let text = format!(
            "the node numbers {} are in use: stop all servers (one that was killed keeps its \
             number for ten minutes)",
            nodes.join(", ")
        );
        Err(StorageError::new(StorageErrorKind::Invalid, op, text))
    }

    /// Kind `Invalid`: something was begun that only a server ends.
    pub(super) async fn refuse_unfinished(&self, op: Op) -> StorageResult<()> {
        let invalid = |text: String| Err(StorageError::new(StorageErrorKind::Invalid, op, text));
        let statements = &self.statements().moving;
        let positions: Vec<(i64, i64, i64, i32)> = self.all(op, &statements.positions, ()).await?;
        let open = positions.iter().find(|(_, covered, to_record, _)| to_record > covered);
        if let Some((segment, _, _, node)) = open {
            return invalid(format!(
                "node {node} has clicks in its journal that are counted in part (segment \
                 {segment:016x}): start it once and stop it with SIGTERM"
            ));
        }
        let users: Vec<(i64, Option<i64>, Option<i64>)> =
            self.all(op, &statements.user_ids, ()).await?;
        if let Some((user, ..)) = users.iter().find(|(_, _, erasing_at)| erasing_at.is_some()) {
            return invalid(format!(
                "account {} is being erased: start a server for two minutes, which ends it",
                unsigned(*user)
            ));
        }
        Ok(())
    }

    pub(super) async fn scan_rows(&self, kind: Kind, mut out: Out) -> StorageResult<()> {
        let statements = &self.statements().moving;
        match kind {
            Kind::Secrets => {
                if let Some(secrets) = self.secrets_text(SCAN).await? {
                    out.send(SCAN, SecretsRecord { secrets }).await?;
                }
            }
            Kind::Blocks => {
                let rows: Vec<(String, i64)> = self.all(SCAN, &statements.blocks, ()).await?;
                for (space, next) in rows {
                    out.send(SCAN, BlockRecord { space, next }).await?;
                }
            }
            Kind::Marks => {
                let rows: Vec<(i32, i64)> = self.all(SCAN, &statements.marks, ()).await?;
                for (node, mark) in rows {
                    let node = u16::try_from(node).map_err(|error| damaged(SCAN, error))?;
                    out.send(SCAN, MarkRecord { node, mark }).await?;
                }
            }
            Kind::Settings => {
                if let Some(value) = self.settled_mark(SCAN, ANONYMOUS).await? {
                    let name = ANONYMOUS.to_owned();
                    out.send(SCAN, SettingRecord { name, value }).await?;
                }
            }
            Kind::SigningKeys => {
                for key in self.signing_keys().await? {
                    let record = SigningKeyRecord {
                        kid: key.kid,
                        sealed: Hex(key.sealed),
                        created_at: key.created_at.as_millis(),
                        retires_at: key.retires_at.map(|at| at.as_millis()),
                    };
                    out.send(SCAN, record).await?;
                }
            }
            Kind::Destinations => {
                let rows = self.stream(SCAN, &statements.destinations, ROWS_PER_PAGE).await?;
                let mut rows = std::pin::pin!(rows);
                while let Some((link, version, destination)) = rows.try_next().await? {
                    let (link, version): (i64, i32) = (link, version);
                    let version = version.cast_unsigned();
                    out.send(SCAN, DestinationRecord { link, version, destination }).await?;
                }
            }
            Kind::Sealed => {
                let rows: Vec<(i32,)> = self.all(SCAN, &statements.sealed, ()).await?;
                for (domain,) in rows {
                    out.send(SCAN, SealedRecord { domain: domain.cast_unsigned() }).await?;
                }
            }
            Kind::Batches => self.scan_batches(&mut out).await?,
            Kind::Replays => self.scan_replays(&mut out).await?,
            Kind::Positions => {
                let rows: Vec<(i64, i64, i64, i32)> =
                    self.all(SCAN, &statements.positions, ()).await?;
                for (segment, covered, ..) in rows {
                    out.send(SCAN, PositionRecord { segment, covered }).await?;
                }
            }
            _ => return Err(unreadable(kind)),
        }
        out.end(SCAN).await
    }

    /// Batches that are not done are left out: to import one again finds its links.
    async fn scan_batches(&self, out: &mut Out) -> StorageResult<()> {
        type Row = (Vec<u8>, Option<Vec<u8>>, Option<String>);
        let statement = &self.statements().moving.batches;
        let rows = self.stream::<Row>(SCAN, statement, ROWS_PER_PAGE).await?;
        let mut rows = std::pin::pin!(rows);
        while let Some((digest, fingerprint, outcomes)) = rows.try_next().await? {
            if let Some((fingerprint, outcomes)) = fingerprint.zip(outcomes) {
                let (digest, fingerprint) = (Hex(digest), Hex(fingerprint));
                out.send(SCAN, BatchRecord { digest, fingerprint, outcomes }).await?;
            }
        }
        Ok(())
    }

    async fn scan_replays(&self, out: &mut Out) -> StorageResult<()> {
        let statement = &self.statements().moving.replays;
        let rows = self.stream::<ReplayRow>(SCAN, statement, ROWS_PER_PAGE).await?;
        let mut rows = std::pin::pin!(rows);
        while let Some(row) = rows.try_next().await? {
            let (workspace, key, Some(fingerprint), Some(at), ids, status, location, etag, body) =
                row
            else {
                continue;
            };
            let is_open = status.is_none();
            let record = ReplayRecord {
                workspace,
                key,
                fingerprint: Hex(fingerprint),
                at,
                ids: is_open.then(|| Hex(ids.unwrap_or_default())),
                status: status.map(i16::cast_unsigned),
                location,
                etag,
                body: (!is_open).then(|| Hex(body.unwrap_or_default())),
            };
            out.send(SCAN, record).await?;
        }
        Ok(())
    }

    pub(super) async fn put_row(&self, record: &Record) -> StorageResult<()> {
        let statements = &self.statements().moving;
        match record {
            Record::Secrets(record) => {
                self.put_moved(&statements.put_secrets, (&record.secrets,)).await
            }
            Record::Blocks(record) => {
                self.put_moved(&statements.put_block, (&record.space, record.next)).await
            }
            Record::Marks(record) => {
                let values = (i32::from(record.node), record.mark);
                self.put_moved(&statements.put_mark, values).await
            }
            Record::Settings(record) if record.name == ANONYMOUS => {
                self.put_moved(&statements.put_setting, (ANONYMOUS, record.value)).await
            }
            Record::SigningKeys(record) => self.put_signing_key(record).await,
            Record::Destinations(record) => {
                let values = (record.link, record.version.cast_signed(), &record.destination);
                self.put_moved(&self.statements().links.put_past, values).await
            }
            Record::Sealed(record) => {
                let values = (record.domain.cast_signed(),);
                self.put_moved(&self.statements().links.mark_foreign_sealed, values).await
            }
            Record::Batches(record) => {
                let BatchRecord { digest, fingerprint, outcomes } = &**record;
                let values = (&digest.0, &fingerprint.0, outcomes);
                self.put_moved(&statements.put_batch, values).await
            }
            Record::Replays(record) => self.put_replay(record).await,
            Record::Positions(record) => {
                let PositionRecord { segment, covered } = **record;
                let values = (segment, covered, covered, NO_NODE, i64::from(NO_NODE));
                self.put_moved(&self.statements().clicks.open_flush, values).await
            }
            record => Err(unreadable(record.kind())),
        }
    }

    async fn put_signing_key(&self, record: &SigningKeyRecord) -> StorageResult<()> {
        let SigningKeyRecord { kid, sealed, created_at, retires_at } = record;
        let values = (RING, kid, &sealed.0, created_at, retires_at);
        self.put_moved(&self.statements().signing.add, values).await?;
        match retires_at {
            Some(_) => Ok(()),
            None => self.put_moved(&self.statements().moving.sign_with, (kid, RING)).await,
        }
    }

    async fn put_replay(&self, record: &ReplayRecord) -> StorageResult<()> {
        let bytes = |bytes: &Option<Hex>| bytes.as_ref().map(|bytes| bytes.0.clone());
        let values = (
            record.workspace,
            shard_of(&record.key),
            &record.key,
            &record.fingerprint.0,
            record.at,
            bytes(&record.ids).unwrap_or_default(),
            record.status.map(u16::cast_signed),
            &record.location,
            &record.etag,
            bytes(&record.body),
        );
        self.put_moved(&self.statements().moving.put_replay, values).await
    }
}
