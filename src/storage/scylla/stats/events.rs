//! Single clicks of a link, the newest first. Only those rows are read in whose time they may be.

use std::cmp::Reverse;

use crate::domain::counted::click_id;
use crate::domain::day::{day_of, start_of};
use crate::domain::event::ClickEvent;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::storage::EventQuery;
use crate::storage::chunk::newest::Newest;
use crate::storage::chunk::span::Span;
use crate::storage::error::{Op, StorageResult};
use crate::storage::scylla::clicks::{ALL, CqlClicks, DayRow, PartKey};
use crate::storage::scylla::run::damaged;

const OP: Op = "stats_events";

impl CqlClicks {
    pub(super) async fn newest_events(&self, query: &EventQuery) -> StorageResult<Vec<ClickEvent>> {
        let mut newest = Newest::new(query);
        let reach = Span { from: query.from, to: newest.until.plus_millis(1) };
        let rows = self.day_rows(OP, query.link, reach.days()).await?;
        for day in rows.chunk_by(|a, b| a.day() == b.day()).rev() {
            let end = start_of(day[0].day() + 1, 0).plus_millis(-1);
            if newest.has_all_from(click_id(end, u32::MAX)) {
                break;
            }
            self.read_day(query.link, day, &mut newest).await?;
        }
        Ok(newest.into_events())
    }

    async fn read_day(
        &self,
        link: Id,
        nodes: &[DayRow],
        newest: &mut Newest<'_>,
    ) -> StorageResult<()> {
        let mut keys = Vec::new();
        for row in nodes {
            keys.extend(self.part_keys(OP, row.place(link), row.erased()..ALL.end).await?);
        }
        keys.sort_unstable_by_key(|key| Reverse(key.last));
        for key in keys {
            if newest.has_all_from(click_id(Timestamp(key.last), u32::MAX)) {
                break;
            }
            if is_in_reach(&key, newest)
                && let Some((seal, body)) = self.part(OP, &key).await?
            {
                newest.read(seal, &body).map_err(|damage| damaged(OP, damage))?;
            }
        }
        Ok(())
    }
}

fn is_in_reach(key: &PartKey, newest: &Newest<'_>) -> bool {
    let first = Timestamp(key.first);
    let before = newest.query.before;
    first < newest.span.to
        && Timestamp(key.last) >= newest.span.from
        && before.is_none_or(|before| click_id(first, 0) < before)
        && day_of(first) <= day_of(newest.until)
}
