//! Links as they are moved to another store: the truth alone travels, what leads to it is made
//! anew.

use futures_util::TryStreamExt as _;

use super::super::moving::{PUT, SCAN, unreadable};
use super::claim::wants_external_id;
use super::row::{LinkRow, cql_time, inserting};
use crate::domain::link::Link;
use crate::storage::error::StorageResult;
use crate::storage::moving::records::LinkRecord;
use crate::storage::moving::{Kind, Out, Record};
use crate::storage::scylla::Cql;
use crate::storage::scylla::ids::signed;

/// Rows that are read at once: texts of links may be long.
const LINKS_PER_PAGE: i32 = 500;

impl Cql {
    pub(in crate::storage::scylla) async fn scan_all_links(
        &self,
        mut out: Out,
    ) -> StorageResult<()> {
        let statement = &self.statements().moving.links;
        let rows = self.stream::<LinkRow>(SCAN, statement, LINKS_PER_PAGE).await?;
        let mut rows = std::pin::pin!(rows);
        while let Some(row) = rows.try_next().await? {
            // One that was on its way when its writer ended arrives now, or stays where it was.
            let standing = row.decode(SCAN)?;
            if let Some(link) = self.link_arrived(SCAN, standing).await? {
                out.send(SCAN, LinkRecord::from(&link)).await?;
            }
        }
        out.end(SCAN).await
    }

    /// Notes which partitions will hold rows of the links among some records.
    pub(in crate::storage::scylla) async fn note_links(
        &self,
        records: &[Record],
    ) -> StorageResult<()> {
        let links = records.iter().filter_map(|record| match record {
            Record::Links(record) => record.to_link(),
            _ => None,
        });
        let links: Vec<Link> = links.collect();
        self.again(|| self.note_buckets(PUT, links.iter())).await
    }

    /// Puts a link. Its buckets are noted before.
    pub(in crate::storage::scylla) async fn put_link(
        &self,
        record: &LinkRecord,
    ) -> StorageResult<()> {
        let link = record.to_link().ok_or_else(|| unreadable(Kind::Links))?;
        let statements = &self.statements().moving;
        if let Some(external_id) = wants_external_id(&link) {
            let (workspace, id) = (signed(link.workspace), signed(link.id));
            let values = (workspace, external_id, id, cql_time(link.created_at));
            self.put_moved(&statements.put_external, values).await?;
        }
        self.again(|| self.put_index(PUT, &link)).await?;
        self.put_moved(&statements.put_link, inserting(&link, None)).await
    }
}
