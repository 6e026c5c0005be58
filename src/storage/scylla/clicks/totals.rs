//! How often links were clicked in all: from counts, without a look at single clicks.

use std::collections::HashMap;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::CqlClicks;
use super::read::{ALL, EVER, Head};
use crate::domain::click::ClickTotals;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::error::{Op, StorageResult};

const OP: Op = "click_totals";
/// Links that are asked for at once.
const LINKS: usize = 64;

impl CqlClicks {
    pub(super) async fn totals_of(&self, links: &[Id]) -> StorageResult<Vec<ClickTotals>> {
        let totals = stream::iter(links.to_vec()).map(|link| self.total(link));
        totals.buffered(LINKS).try_collect().await
    }

    async fn total(&self, link: Id) -> StorageResult<ClickTotals> {
        let mut rows = self.day_rows(OP, link, EVER).await?;
        let mut heads: HashMap<(u32, i32), Vec<Head>> = HashMap::new();
        for row in rows.iter().filter(|row| row.is_open()) {
            let seqs = row.folded().upto..ALL.end;
            let found = self.heads(OP, row.place(link), seqs).await?;
            heads.insert((row.day(), row.node()), found);
        }
        if !heads.is_empty() {
            // What was folded meanwhile is in these, and is left out below.
            rows = self.day_rows(OP, link, EVER).await?;
        }
        let mut total = Total::default();
        for row in &rows {
            let folded = row.folded();
            total.add(folded.people, folded.last_at);
            let heads = heads.get(&(row.day(), row.node()));
            for head in heads.into_iter().flatten().filter(|head| head.seq >= folded.upto) {
                total.add(head.people, head.last_at);
            }
        }
        let statement = &self.cql.statements().clicks.imported;
        let brought: Vec<(i64, Option<i64>)> =
            self.cql.all(OP, statement, (link.0 as i64,)).await?;
        for (clicks, last_at) in brought {
            total.add(clicks as u64, last_at);
        }
        Ok(total.0)
    }
}

#[derive(Default)]
struct Total(ClickTotals);

impl Total {
    fn add(&mut self, clicks: u64, last_at: Option<i64>) {
        self.0.clicks = self.0.clicks.saturating_add(clicks);
        self.0.last_clicked_at = self.0.last_clicked_at.max(last_at.map(Timestamp));
    }
}
