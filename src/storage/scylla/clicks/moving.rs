//! Puts clicks that came with a move: as rows of a node that there is not, which were folded.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::try_join;

use super::super::moving::unreadable;
use super::flush::{LISTED, WITH_EVENTS, WITH_SUMS, shard_of};
use super::fold::add_chunk;
use super::packed::{encode_sums, seal_of};
use super::read::month_of;
use super::{CqlClicks, Place};
use crate::domain::day::DayStats;
use crate::domain::id::Id;
use crate::domain::words::Lexicon;
use crate::storage::chunk::bytes::seal_at;
use crate::storage::chunk::clicks::{Chunk, encode};
use crate::storage::chunk::sums::Numbering;
use crate::storage::error::StorageResult;
use crate::storage::moving::records::{ClickDayRecord, ClickTotalRecord, ClicksRecord};
use crate::storage::moving::{Kind, Record};
use crate::storage::scylla::Cql;

/// The node whose rows came with a move.
pub(super) const MOVED: i32 = -1;
/// Above the numbers of its flushes.
const UPTO: i64 = 1 << 48;
/// Stands for the batch that brought clicks along.
const DIGEST: &[u8] = b"moved";

impl Cql {
    /// The clicks that came with a move.
    pub(in crate::storage::scylla) fn moved_clicks(&self) -> CqlClicks {
        let this = Arc::new(self.clone());
        self.clicks_as(MOVED, Arc::clone(&this) as _, this)
    }
}

impl CqlClicks {
    /// Whoever erases clicks must know of the node that these are of.
    pub(in crate::storage::scylla) async fn note_moved(&self) -> StorageResult<()> {
        let statement = &self.cql.statements().clicks.raise_node;
        self.cql.put_moved(statement, (MOVED, UPTO)).await
    }

    pub(in crate::storage::scylla) async fn put_day(
        &self,
        record: &ClickDayRecord,
    ) -> StorageResult<()> {
        let statements = &self.cql.statements().clicks;
        let ClickDayRecord { link, day, people, sums } = record;
        let (days, people) = (day.cast_signed(), people.cast_signed());
        let Some(sums) = sums else {
            let values = (link, days, MOVED, 0_i64, UPTO, people, 0_i64, None::<i64>);
            self.cql.put_moved(&statements.put_counts, values).await?;
            return self.cql.put_moved(&statements.mark_bare, (link, days, MOVED)).await;
        };
        let mut lexicon = Lexicon::default();
        let stats: DayStats =
            sums.stats(&mut lexicon).ok_or_else(|| unreadable(Kind::ClickDays))?;
        let place = Place { link: Id(link.cast_unsigned()), day: *day, node: MOVED };
        let body = encode_sums(seal_of(place, [0, UPTO, 0]), &stats, lexicon.words());
        let last_at = stats.people_at.map(|times| times.last.as_millis());
        let bots = stats.counts().bots.cast_signed();
        let counts = (link, days, MOVED, 0_i64, UPTO, people, bots, last_at);
        let sums = (link, month_of(*day), days, MOVED, 0_i64, UPTO, body);
        try_join(
            self.cql.put_moved(&statements.put_sums, sums),
            self.cql.put_moved(&statements.put_counts, counts),
        )
        .await?;
        let listed = (days, shard_of(place.link), link);
        self.cql.put_moved(&statements.list_link, listed).await
    }

    /// The number of the record in its archive is that of its flush.
    pub(in crate::storage::scylla) async fn put_moved_clicks(
        &self,
        number: u64,
        record: &ClicksRecord,
    ) -> StorageResult<()> {
        let mut lexicon = Lexicon::default();
        let all = record.clicks(&mut lexicon).ok_or_else(|| unreadable(Kind::Clicks))?;
        let (mut clicks, mut surplus) = all;
        clicks.sort_by_key(|click| click.at);
        surplus.sort_by_key(|row| row.minute);
        let words = lexicon.into_words();
        let mut body = encode(0, &words, &mut Numbering::new(&words), &clicks, &surplus);
        let (link, seq) = (Id(record.link.cast_unsigned()), number.cast_signed());
        let place = Place { link, day: record.day, node: MOVED };
        seal_at(seal_of(place, [seq, 0, 0]), &mut body);
        let millis = |click: &crate::domain::counted::CountedClick| click.at.as_millis();
        let (first, last) = (clicks.first().map(millis), clicks.last().map(millis));
        let (mut stats, mut words_of_stats) = (DayStats::default(), Lexicon::default());
        add_chunk(&mut stats, &Chunk { words, clicks, surplus }, &mut words_of_stats);
        let counts = stats.counts();
        let last_at = stats.people_at.map(|times| times.last.as_millis());
        let key = (record.link, record.day.cast_signed(), MOVED, seq);
        let told = (counts.people.cast_signed(), counts.bots.cast_signed(), last_at);
        let values =
            (key.0, key.1, key.2, key.3, 0_i64, 0, 1, told.0, told.1, told.2, first, last, body);
        self.cql.put_moved(&self.cql.statements().clicks.put_chunk, values).await
    }

    pub(in crate::storage::scylla) async fn put_total(
        &self,
        record: &ClickTotalRecord,
    ) -> StorageResult<()> {
        let ClickTotalRecord { link, brought, last_at, .. } = record;
        let values = (link, DIGEST, brought.cast_signed(), last_at);
        self.cql.put_moved(&self.cql.statements().links.put_imported_clicks, values).await
    }

    /// Puts the days of some records on the lists of days.
    pub(in crate::storage::scylla) async fn list_moved(
        &self,
        records: &[Record],
    ) -> StorageResult<()> {
        let mut days = BTreeSet::new();
        for record in records {
            match record {
                Record::ClickDays(record) if record.sums.is_some() => {
                    days.extend([(LISTED, record.day), (WITH_SUMS, record.day)]);
                }
                Record::Clicks(record) => drop(days.insert((WITH_EVENTS, record.day))),
                _ => (),
            }
        }
        for (kind, day) in days {
            let statement = &self.cql.statements().clicks.list_day;
            self.cql.put_moved(statement, (kind, day.cast_signed())).await?;
        }
        Ok(())
    }
}
