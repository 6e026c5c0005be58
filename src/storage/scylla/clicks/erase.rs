//! Erases what is known of the clicks of a link. See [`super`] for why it stays erased.

use std::collections::HashMap;

use super::read::{EVER, month_of};
use super::{CqlClicks, Place};
use crate::domain::audit::{Act, AuditAction, Target};
use crate::domain::id::Id;
use crate::storage::error::{Op, StorageResult};

const OP: Op = "erase_clicks";

impl CqlClicks {
    pub(super) async fn erase_link(&self, link: Id, act: Option<Act>) -> StorageResult<()> {
        let statements = &self.cql.statements().clicks;
        let erased = self.begun_so_far().await?;
        let rows = self.day_rows(OP, link, EVER).await?;
        // Whoever erases at once does not bring back what the other erased.
        let mut marks = rows.first().map(|row| row.all_erased()).unwrap_or_default();
        for (node, seq) in &erased {
            let mark = marks.entry(*node).or_default();
            *mark = (*mark).max(*seq);
        }
        self.cql.put(OP, &statements.mark_erased, (&marks, link.0 as i64)).await?;
        // From here on nothing of it counts. What follows makes room.
        self.cql.put(OP, &statements.forget_imported, (link.0 as i64,)).await?;
        for row in rows {
            let Place { day, node, .. } = row.place(link);
            let (id, day) = (link.0 as i64, day as i32);
            let month = month_of(row.day());
            let upto = marks.get(&node).copied().unwrap_or(0);
            self.cql.put(OP, &statements.forget_counts, (id, day, node)).await?;
            self.cql.put(OP, &statements.forget_sums, (id, month, day, node)).await?;
            self.cql.put(OP, &statements.forget_chunks, (id, day, node, upto)).await?;
        }
        let target = Some(Target::link(link));
        if let Some(entry) = act.map(|act| act.entry(AuditAction::LinkResetClicks, target)) {
            self.audit.append(vec![entry]).await?;
        }
        Ok(())
    }

    /// By node, a number above those of all flushes that were begun.
    async fn begun_so_far(&self) -> StorageResult<HashMap<i32, i64>> {
        let statements = &self.cql.statements().clicks;
        let nodes: Vec<(i32, i64)> = self.cql.all(OP, &statements.nodes, ()).await?;
        let mut begun = HashMap::new();
        for (node, next_seq) in nodes {
            let newest: Option<(i64,)> =
                self.cql.one(OP, &statements.newest_flush, (node,)).await?;
            begun.insert(node, newest.map_or(0, |(seq,)| seq + 1).max(next_seq));
        }
        Ok(begun)
    }
}
