//! Stores what counters bring: bounds first, then what is only found through the clicks, then the
//! clicks, then the positions.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::packed::{Pair, Part, Unit, encode_touched, seal_of, units};
use super::state::{FlushKey, Position, State};
use super::{CqlClicks, IN_FLIGHT, Place};
use crate::domain::click::SegmentId;
use crate::domain::counted::SegmentClicks;
use crate::domain::id::Id;
use crate::storage::chunk::bytes::seal_at;
use crate::storage::chunk::sums::Numbering;
use crate::storage::error::{Op, StorageError, StorageErrorKind, StorageResult};

const OP: Op = "flush_clicks";
/// Partitions of the list of links that were clicked on a day.
pub(in crate::storage::scylla) const SHARDS: u64 = 8;
/// Kinds of `click_calendar`.
pub(in crate::storage::scylla) const LISTED: i32 = 0;
pub(super) const WITH_EVENTS: i32 = 1;
pub(super) const WITH_SUMS: i32 = 2;

/// A segment that brings something new.
struct Fresh<'a> {
    clicks: &'a SegmentClicks,
    position: Position,
    units: Vec<Unit>,
    touched: Arc<Vec<Pair>>,
}

impl Fresh<'_> {
    fn segment(&self) -> SegmentId {
        self.clicks.segment
    }

    fn key(&self) -> FlushKey {
        (self.position.seq, self.clicks.segment.0)
    }
}

/// A row of `click_chunks`.
struct Row {
    place: Place,
    number: i32,
    n_parts: i32,
    counts: (i64, i64, Option<i64>),
    part: Part,
}

/// Where a link stands on the lists of days.
pub(in crate::storage::scylla) fn shard_of(link: Id) -> i32 {
    // Ids of one moment differ in low bits, those of one node in high ones.
    ((link.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % SHARDS) as i32
}

impl CqlClicks {
    pub(super) async fn flush_all(&self, clicks: &[SegmentClicks]) -> StorageResult<()> {
        let mut state = self.loaded(OP).await?;
        let fresh = self.fresh(&mut state, clicks).await?;
        if fresh.is_empty() {
            return Ok(());
        }
        // From here on it is not known what the database has of it, whatever becomes of this call.
        for one in &fresh {
            state.set_position(one.segment(), one.position);
            if one.position.node == self.node {
                state.pending.insert(one.key(), Arc::clone(&one.touched));
            }
        }
        self.begin(&fresh).await?;
        self.list(&mut state, &fresh).await?;
        for one in &fresh {
            self.put_clicks(one).await.map_err(in_doubt)?;
        }
        self.cover(&fresh).await.map_err(in_doubt)?;
        for one in fresh {
            let covered = one.position.to_record;
            state.set_position(one.segment(), Position { covered, ..one.position });
            if state.pending.remove(&one.key()).is_some() {
                state.whole.insert(one.key());
            }
        }
        Ok(())
    }

    /// Those segments of which not everything is there, with the number that their rows get.
    async fn fresh<'a>(
        &self,
        state: &mut State,
        clicks: &'a [SegmentClicks],
    ) -> StorageResult<Vec<Fresh<'a>>> {
        let mut fresh = Vec::new();
        for one in clicks {
            let known = self.known_position(OP, state, one.segment).await?;
            let covered = known.map_or(0, |position| position.covered);
            let (from, to) = (one.from_record as i64, one.to_record as i64);
            if to <= covered {
                continue;
            }
            if from != covered {
                return Err(invalid("the flush does not begin where the last one ended"));
            }
            let begun = known.filter(Position::is_open);
            if begun.is_some_and(|position| position.to_record != to) {
                return Err(invalid("the flush does not end where it did when it was begun"));
            }
            let units = units(one);
            let touched = Arc::new(units.iter().map(|unit| unit.pair).collect());
            let seq = match begun {
                Some(position) if self.is_begun(state, &position, one.segment).await? => position,
                _ => Position { covered, to_record: to, node: self.node, seq: state.next_seq },
            };
            fresh.push(Fresh { clicks: one, position: seq, units, touched });
        }
        state.next_seq += 1;
        Ok(fresh)
    }

    /// Whether rows may stand under the number of a flush.
    async fn is_begun(
        &self,
        state: &State,
        position: &Position,
        segment: SegmentId,
    ) -> StorageResult<bool> {
        let key = (position.seq, segment.0);
        if position.node == self.node && state.pending.contains_key(&key) {
            return Ok(true);
        }
        Ok(self.touched(OP, position.node, key).await?.is_some())
    }

    /// Makes the bounds durable, then what is touched within them.
    async fn begin(&self, fresh: &[Fresh<'_>]) -> StorageResult<()> {
        let statements = &self.cql.statements().clicks;
        let (open, touch) = (self.cql.stamped(&statements.open_flush), &statements.touch);
        stream::iter(fresh)
            .map(Ok)
            .try_for_each_concurrent(IN_FLIGHT, |one| {
                let Position { covered, to_record, node, seq } = one.position;
                let values = (one.segment().0 as i64, covered, to_record, node, seq);
                self.cql.put(OP, &open, values)
            })
            .await?;
        let parts = fresh.iter().flat_map(|one| {
            let parts = encode_touched(&one.touched);
            let n_parts = parts.len() as i32;
            (0..).zip(parts).map(move |(part, body)| {
                let Position { node, seq, .. } = one.position;
                (node, seq, one.segment().0 as i64, part, n_parts, body)
            })
        });
        let touch = self.cql.stamped(touch);
        stream::iter(parts.collect::<Vec<(i32, i64, i64, i32, i32, Vec<u8>)>>())
            .map(Ok)
            .try_for_each_concurrent(IN_FLIGHT, |values| self.cql.put(OP, &touch, values))
            .await
    }

    /// Writes what leads to the clicks, as far as it is not known to be there.
    async fn list(&self, state: &mut State, fresh: &[Fresh<'_>]) -> StorageResult<()> {
        let mut pairs: Vec<Pair> =
            fresh.iter().flat_map(|one| one.touched.iter().copied()).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let mut days: Vec<u32> = pairs.iter().map(|(_, day)| *day).collect();
        days.sort_unstable();
        days.dedup();
        days.retain(|day| state.must_list_day(*day));
        let list: Vec<Pair> = pairs.iter().copied().filter(|pair| state.must_list(*pair)).collect();
        let mut note: Vec<Pair> = pairs;
        note.retain(|pair| state.must_note(*pair));
        self.list_days(&days).await?;
        self.list_links(&list).await?;
        let newest = state.newest();
        let own = note.iter().map(|pair| (self.own(*pair), newest)).collect();
        self.note(own).await?;
        for one in fresh.iter().filter(|one| one.position.node != self.node) {
            self.note_as_other(one).await?;
        }
        state.remember(&note, &list, &days);
        Ok(())
    }

    async fn list_days(&self, days: &[u32]) -> StorageResult<()> {
        let list_day = self.cql.stamped(&self.cql.statements().clicks.list_day);
        for day in days {
            for kind in [LISTED, WITH_EVENTS, WITH_SUMS] {
                self.cql.put(OP, &list_day, (kind, *day as i32)).await?;
            }
        }
        Ok(())
    }

    async fn list_links(&self, pairs: &[Pair]) -> StorageResult<()> {
        let list_link = self.cql.stamped(&self.cql.statements().clicks.list_link);
        stream::iter(pairs.to_vec())
            .map(Ok)
            .try_for_each_concurrent(IN_FLIGHT, |(link, day)| {
                self.cql.put(OP, &list_link, (day as i32, shard_of(link), link.0 as i64))
            })
            .await
    }

    async fn note(&self, newest: Vec<(Place, i64)>) -> StorageResult<()> {
        let note_day = self.cql.stamped(&self.cql.statements().clicks.note_day);
        stream::iter(newest)
            .map(Ok)
            .try_for_each_concurrent(IN_FLIGHT, |(place, newest)| {
                let Place { link, day, node } = place;
                self.cql.put(OP, &note_day, (link.0 as i64, day as i32, node, newest))
            })
            .await
    }

    /// A flush that was begun under another number of this node, which the operator changed.
    async fn note_as_other(&self, one: &Fresh<'_>) -> StorageResult<()> {
        let Position { node, seq, .. } = one.position;
        let mut newest = Vec::with_capacity(one.touched.len());
        for (link, day) in one.touched.iter().copied() {
            let place = Place { link, day, node };
            let known = self.day_row(OP, place).await?.and_then(|row| row.newest);
            newest.push((place, known.unwrap_or(seq).max(seq)));
        }
        self.note(newest).await
    }

    async fn put_clicks(&self, one: &Fresh<'_>) -> StorageResult<()> {
        let put = self.cql.stamped(&self.cql.statements().clicks.put_chunk);
        let mut numbering = Numbering::new(&one.clicks.words);
        let Position { node, seq, .. } = one.position;
        let segment = one.segment().0 as i64;
        let (mut first, mut others) = (Vec::with_capacity(one.units.len()), Vec::new());
        for unit in &one.units {
            let (packed, (link, day)) = (unit.pack(one.clicks, &mut numbering), unit.pair);
            let place = Place { link, day, node };
            let counts = (packed.counts.people as i64, packed.counts.bots as i64, packed.last_at);
            let n_parts = packed.parts.len() as i32;
            for (number, mut part) in (0..).zip(packed.parts) {
                seal_at(seal_of(place, [seq, segment, number.into()]), &mut part.body);
                let row = Row { place, number, n_parts, counts, part };
                if number == 0 { first.push(row) } else { others.push(row) }
            }
        }
        // The first part of a unit tells that the others are there.
        for rows in [others, first] {
            stream::iter(rows)
                .map(Ok)
                .try_for_each_concurrent(IN_FLIGHT, |row| {
                    let Row { place, number, n_parts, counts, part } = row;
                    let (link, day) = (place.link.0 as i64, place.day as i32);
                    let (people, bots, last_at) = counts;
                    let key = (link, day, node, seq, segment, number);
                    let told = (n_parts, people, bots, last_at, part.first, part.last);
                    let values = (
                        key.0, key.1, key.2, key.3, key.4, key.5, told.0, told.1, told.2, told.3,
                        told.4, told.5, part.body,
                    );
                    self.cql.put(OP, &put, values)
                })
                .await?;
        }
        Ok(())
    }

    async fn cover(&self, fresh: &[Fresh<'_>]) -> StorageResult<()> {
        let open = self.cql.stamped(&self.cql.statements().clicks.open_flush);
        stream::iter(fresh)
            .map(Ok)
            .try_for_each_concurrent(IN_FLIGHT, |one| {
                let Position { to_record, node, seq, .. } = one.position;
                let values = (one.segment().0 as i64, to_record, to_record, node, seq);
                self.cql.put(OP, &open, values)
            })
            .await
    }
}

fn invalid(text: &'static str) -> StorageError {
    StorageError::new(StorageErrorKind::Invalid, OP, text)
}

/// Some of the clicks may be there.
fn in_doubt(error: StorageError) -> StorageError {
    StorageError { kind: StorageErrorKind::Timeout, ..error }
}
