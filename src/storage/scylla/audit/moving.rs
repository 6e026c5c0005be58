//! The audit log as it is moved to another store: with its seals, which must be those of the
//! installation's key.

use std::collections::BTreeMap;

use super::bucket_of;
use crate::domain::audit::{AuditKey, GENESIS};
use crate::storage::error::StorageResult;
use crate::storage::moving::records::AuditRecord;
use crate::storage::moving::{Chain, Hex, Out, Record};
use crate::storage::scylla::Cql;
use crate::storage::scylla::moving::SCAN;

/// Place and seal of the last entry of a bucket, and the seal of both.
type End = (i64, Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>);
type Row = (i64, i64, i64, Vec<u8>, Vec<u8>);

impl Cql {
    /// Fails where the log is not what was written.
    pub(in crate::storage::scylla) async fn scan_log(
        &self,
        key: AuditKey,
        mut out: Out,
    ) -> StorageResult<()> {
        let statements = &self.statements().moving;
        let mut chain = Chain::new(key);
        for bucket in 0_i64.. {
            let end: Option<End> = self.one(SCAN, &statements.audit_end, (bucket,)).await?;
            let Some((_, Some(last), hash, seal)) = end else { break };
            let rows = self.all::<Row>(SCAN, &statements.audit_part, (bucket, last)).await?;
            for (seq, at, workspace, body, hash) in rows {
                let entry = AuditRecord { seq, at, workspace, body: Hex(body), hash: Hex(hash) };
                chain.follow(SCAN, &entry)?;
                out.send(SCAN, entry).await?;
            }
            let (hash, seal) = (hash.unwrap_or_default(), seal.unwrap_or_default());
            chain.end(SCAN, last.cast_unsigned(), &hash, &seal)?;
        }
        out.end(SCAN).await
    }

    pub(in crate::storage::scylla) async fn put_entry(
        &self,
        record: &AuditRecord,
    ) -> StorageResult<()> {
        let AuditRecord { seq, at, workspace, body, hash } = record;
        let bucket = bucket_of(seq.cast_unsigned()).cast_signed();
        let values = (bucket, seq, at, workspace, &body.0, &hash.0);
        self.put_moved(&self.statements().audit.add, values).await
    }

    /// Notes that the buckets of some entries end with the last of them.
    pub(in crate::storage::scylla) async fn end_log(
        &self,
        key: &AuditKey,
        records: &[Record],
    ) -> StorageResult<()> {
        let mut ends = BTreeMap::new();
        for record in records {
            if let Record::Audit(entry) = record {
                ends.insert(bucket_of(entry.seq.cast_unsigned()), entry);
            }
        }
        for (bucket, entry) in ends {
            let (seq, hash) = (entry.seq, entry.hash.array().unwrap_or(GENESIS));
            let seal = key.head(seq.cast_unsigned(), &hash);
            let values = (seq, hash.as_slice(), seal.as_slice(), bucket.cast_signed());
            let statement = &self.statements().moving.end_audit;
            self.put_moved_at(seq, statement, values).await?;
        }
        Ok(())
    }
}
