//! What a node knows of its own flushes. Everything here can be told from the database again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use scylla::DeserializeRow;
use tokio::sync::MutexGuard;

use super::packed::{Pair, decode_touched};
use super::{CqlClicks, Place};
use crate::domain::click::SegmentId;
use crate::domain::id::Id;
use crate::storage::error::{Op, StorageResult};
use crate::storage::scylla::run::damaged;

/// So many flushes more may touch a day of a link before that is noted again.
pub(super) const AHEAD: i64 = 64;
/// Days of links that are remembered to be noted, and links to be listed.
const REMEMBERED_MAX: usize = 262_144;
/// A day is listed again after this time: others may have taken it off the list.
const LISTED_FOR: Duration = Duration::from_secs(3_600);

/// A flush of one segment: its number, and the segment.
pub(super) type FlushKey = (i64, u64);

#[derive(Default)]
pub(super) struct State {
    is_loaded: bool,
    /// No flush has this number or a higher one.
    pub(super) next_seq: i64,
    positions: HashMap<SegmentId, Position>,
    /// Flushes that may be there in part, and what they touch.
    pub(super) pending: BTreeMap<FlushKey, Arc<Vec<Pair>>>,
    /// Flushes that wait to be folded.
    pub(super) whole: BTreeSet<FlushKey>,
    /// What was noted as the newest flush that may touch a day of a link.
    noted: HashMap<Pair, i64>,
    listed: HashSet<Pair>,
    days: HashMap<u32, Instant>,
}

/// A row of `click_positions`.
#[derive(Clone, Copy, Debug, DeserializeRow)]
pub(super) struct Position {
    pub(super) covered: i64,
    pub(super) to_record: i64,
    pub(super) node: i32,
    pub(super) seq: i64,
}

impl Position {
    /// A flush was begun, and is not known to be whole.
    pub(super) fn is_open(&self) -> bool {
        self.to_record > self.covered
    }
}

impl State {
    /// Forgets a segment that nobody flushes any more.
    pub(super) fn forget(&mut self, segment: SegmentId) {
        self.positions.remove(&segment);
    }

    pub(super) fn set_position(&mut self, segment: SegmentId, position: Position) {
        self.positions.insert(segment, position);
    }

    /// Whether it must be noted that flushes until before `self.next_seq` touch a day of a link.
    pub(super) fn must_note(&self, pair: Pair) -> bool {
        self.noted.get(&pair).is_none_or(|newest| *newest < self.next_seq - 1)
    }

    pub(super) fn must_list(&self, pair: Pair) -> bool {
        !self.listed.contains(&pair)
    }

    pub(super) fn must_list_day(&self, day: u32) -> bool {
        self.days.get(&day).is_none_or(|at| at.elapsed() > LISTED_FOR)
    }

    /// Remembers what was noted and listed.
    pub(super) fn remember(&mut self, noted: &[Pair], listed: &[Pair], days: &[u32]) {
        if self.noted.len() + noted.len() > REMEMBERED_MAX {
            self.noted = HashMap::new();
        }
        if self.listed.len() + listed.len() > REMEMBERED_MAX {
            self.listed = HashSet::new();
        }
        let newest = self.newest();
        self.noted.extend(noted.iter().take(REMEMBERED_MAX).map(|pair| (*pair, newest)));
        self.listed.extend(listed.iter().take(REMEMBERED_MAX));
        let now = Instant::now();
        self.days.retain(|_, at| at.elapsed() <= LISTED_FOR);
        self.days.extend(days.iter().map(|day| (*day, now)));
    }

    /// What is noted of what is flushed now.
    pub(super) fn newest(&self) -> i64 {
        self.next_seq + AHEAD - 1
    }

    /// Passes over all numbers that were noted; answers the first one behind them.
    pub(super) fn pass_noted(&mut self) -> i64 {
        self.next_seq = self.newest() + 1;
        self.noted.clear();
        self.next_seq
    }

    /// Forgets what is listed: some of it was taken off the lists.
    pub(super) fn forget_listed(&mut self) {
        self.listed.clear();
        self.days.clear();
    }
}

impl CqlClicks {
    /// The node's own knowledge, read from the database by whoever needs it first.
    pub(super) async fn loaded(&self, op: Op) -> StorageResult<MutexGuard<'_, State>> {
        self.cql.check_lease(op)?;
        let mut state = self.state.lock().await;
        if !state.is_loaded {
            self.load(op, &mut state).await?;
            state.is_loaded = true;
        }
        Ok(state)
    }

    async fn load(&self, op: Op, state: &mut State) -> StorageResult<()> {
        let statements = &self.cql.statements().clicks;
        let nodes: Vec<(i32, i64)> = self.cql.all(op, &statements.nodes, ()).await?;
        let known = nodes.into_iter().find(|(node, _)| *node == self.node);
        let heads: Vec<(i64, i64, i32, i32)> =
            self.cql.all(op, &statements.flushes, (self.node,)).await?;
        let first_free = heads.iter().map(|head| head.0 + 1).max().unwrap_or(0);
        let next_seq = known.map_or(0, |(_, seq)| seq).max(first_free);
        if known.is_none() {
            // Whoever erases must know of this node before it flushes.
            self.cql.put(op, &statements.raise_node, (self.node, next_seq)).await?;
        }
        let flushes: BTreeSet<FlushKey> =
            heads.iter().map(|(seq, segment, ..)| (*seq, segment.cast_unsigned())).collect();
        let (mut pending, mut whole) = (BTreeMap::new(), BTreeSet::new());
        for key @ (seq, segment) in flushes {
            let position = self.position(op, SegmentId(segment)).await?;
            let is_open = position.is_some_and(|position| {
                position.is_open() && (position.node, position.seq) == (self.node, seq)
            });
            if !is_open {
                whole.insert(key);
            } else if let Some(pairs) = self.touched(op, self.node, key).await? {
                pending.insert(key, Arc::new(pairs));
            }
        }
        *state = State { next_seq, pending, whole, ..State::default() };
        Ok(())
    }

    /// How far a segment was flushed. `None`: it is unknown, or forgotten since all of it was.
    pub(super) async fn position(
        &self,
        op: Op,
        segment: SegmentId,
    ) -> StorageResult<Option<Position>> {
        let statement = &self.cql.statements().clicks.position;
        self.cql.one(op, statement, (segment.0 as i64,)).await
    }

    /// The same, asked of the database once.
    pub(super) async fn known_position(
        &self,
        op: Op,
        state: &mut State,
        segment: SegmentId,
    ) -> StorageResult<Option<Position>> {
        if let Some(position) = state.positions.get(&segment) {
            return Ok(Some(*position));
        }
        let position = self.position(op, segment).await?;
        if let Some(position) = position {
            state.positions.insert(segment, position);
        }
        Ok(position)
    }

    /// What a flush touches. `None`: that is not there as a whole, so nothing of the flush is.
    pub(super) async fn touched(
        &self,
        op: Op,
        node: i32,
        (seq, segment): FlushKey,
    ) -> StorageResult<Option<Vec<Pair>>> {
        let statement = &self.cql.statements().clicks.touched;
        let rows: Vec<(i32, i32, Vec<u8>)> =
            self.cql.all(op, statement, (node, seq, segment.cast_signed())).await?;
        if rows.first().is_none_or(|(_, parts, _)| rows.len() != *parts as usize) {
            return Ok(None);
        }
        let mut pairs = Vec::new();
        for (_, _, body) in rows {
            decode_touched(&body, &mut pairs).map_err(|damage| damaged(op, damage))?;
        }
        Ok(Some(pairs))
    }

    pub(super) fn own(&self, (link, day): (Id, u32)) -> Place {
        Place { link, day, node: self.node }
    }
}
