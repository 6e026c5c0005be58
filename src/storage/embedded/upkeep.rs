//! What the writer does besides commands: folds click deltas, joins small chunks, indexes texts. In
//! small steps, when nothing waits; when much has piled up, between batches too.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use tracing::warn;

use super::days::{self, Mark, Place};
use super::fault::{Fault, Outcome};
use super::join::{self, Joiner};
use super::load::Load;
use super::log::LogBound;
use super::people::scrub;
use super::schema::CLICK_GROUPS;
use super::{fold, search};

/// Deltas of a group that are folded together at the latest. Bounds what readers add up.
const DELTAS_MAX: i64 = 64;
/// Rows of a group that are folded together at the latest. The pages of a group's shards are
/// rewritten with each fold, whatever comes, so that many rows at once cost less each.
const ROWS_MAX: i64 = 131_072;
/// How long a row waits for others at the longest: what is not folded is not pruned.
const WAIT_MAX: Duration = Duration::from_secs(600);
/// Pages of sums that may be due while redirects need the processor.
const PLACES_PUT_OFF_MAX: usize = 4_096;
/// How often pages of sums of days that are over are looked for.
const LOOK_BACK_EVERY: Duration = Duration::from_secs(30);
/// How often the backlog is looked at, and how long the writer sleeps when there is none.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Pause between two steps when the writer is idle and more is to be folded.
const FOLD_PAUSE: Duration = Duration::from_millis(2);
/// Pause between two steps of indexing when a search waits for it.
const HURRY_PAUSE: Duration = Duration::from_millis(20);
/// Pause between two steps of indexing while the process has time to spare.
const CALM_PAUSE: Duration = Duration::from_millis(100);
/// Rows indexed per step, some ten milliseconds, and while redirects need the processor.
const TEXTS_PER_STEP: u32 = 256;
const TEXTS_PER_BUSY_STEP: u32 = 16;
/// Pages of sums written per step when everything is to be settled.
const PLACES_PER_STEP: usize = 1_024;
/// Share of the time that scrubbing may take: one in so many parts.
const SCRUB_PARTS: u32 = 50;
/// Pause after readers were in the way of cutting the log off.
const READERS_PAUSE: Duration = Duration::from_secs(2);
/// Pause after a step failed, so that a full disk is not hammered.
const REST: Duration = Duration::from_secs(10);

pub(super) struct Upkeep {
    /// Groups whose deltas are due, the largest backlog first.
    due: Vec<Due>,
    /// Since when something waits in each group, as far as this process saw.
    waits_since: [Option<Instant>; CLICK_GROUPS as usize],
    /// Shards and days whose pages of sums are due.
    places: BTreeSet<Place>,
    looked_at: Instant,
    looked_back_at: Option<Instant>,
    joiner: Joiner,
    indexed_at: Instant,
    texts_waiting: bool,
    load: Load,
    hurry: Arc<AtomicBool>,
    cut_log: Arc<AtomicBool>,
    /// Before this, nothing is scrubbed again.
    scrub_at: Instant,
    rests_until: Option<Instant>,
    wait_max: Duration,
    log: LogBound,
}

#[derive(Clone, Copy)]
struct Due {
    group: u64,
    /// Twice over the bound: not to be put off even when commands wait.
    pressing: bool,
}

impl Upkeep {
    pub(super) fn new(conn: &Connection, hurry: Arc<AtomicBool>) -> Outcome<Self> {
        let now = Instant::now();
        let mut upkeep = Self {
            due: Vec::new(),
            waits_since: [None; CLICK_GROUPS as usize],
            places: BTreeSet::new(),
            looked_at: now,
            looked_back_at: None,
            joiner: Joiner::new(),
            indexed_at: now,
            texts_waiting: false,
            load: Load::start(),
            hurry,
            cut_log: Arc::default(),
            scrub_at: now,
            rests_until: None,
            wait_max: WAIT_MAX,
            log: LogBound::default(),
        };
        // A store whose statistics are damaged is opened all the same: links are not.
        upkeep.attempt(conn, Self::look);
        Ok(upkeep)
    }

    /// Cuts the log off when `wanted` says so.
    pub(super) fn cutting(self, wanted: Arc<AtomicBool>) -> Self {
        Self { cut_log: wanted, ..self }
    }

    /// How long the writer may wait for commands before it calls `idle`.
    pub(super) fn patience(&self) -> Duration {
        if self.rests() {
            LOOK_EVERY
        } else if !self.due.is_empty() || self.wants_place() || self.joins() {
            FOLD_PAUSE
        } else if self.texts_waiting && self.hurry.load(Ordering::Relaxed) {
            HURRY_PAUSE
        } else if self.texts_waiting && !self.load.busy {
            CALM_PAUSE
        } else {
            LOOK_EVERY
        }
    }

    /// One step, while nothing waits.
    pub(super) fn idle(&mut self, conn: &Connection) {
        self.attempt(conn, |this, conn| {
            this.leave_no_trace(conn)?;
            if let Some(due) = this.due.pop() {
                return this.fold(conn, due.group);
            }
            if this.wants_place()
                && let Some(place) = this.places.pop_first()
            {
                return in_transaction(conn, || days::fold(conn, place));
            }
            // Not without an end: a pass through all days may take long.
            if this.joins() && this.looked_at.elapsed() < LOOK_EVERY {
                return in_transaction(conn, || this.joiner.step(conn, today()));
            }
            this.look_back(conn)?;
            this.index(conn)?;
            this.look(conn)
        });
    }

    /// After a batch, while more commands may wait: only what is pressing.
    pub(super) fn after_batch(&mut self, conn: &Connection) {
        if self.looked_at.elapsed() < LOOK_EVERY {
            return;
        }
        self.attempt(conn, |this, conn| {
            this.leave_no_trace(conn)?;
            if let Some(due) = this.due.pop_if(|due| due.pressing) {
                return this.fold(conn, due.group);
            }
            if this.indexed_at.elapsed() >= LOOK_EVERY {
                this.index(conn)?;
            }
            this.look(conn)
        });
    }

    /// The last step: what an erasure left is not left to the next start.
    pub(super) fn close(&mut self, conn: &Connection) {
        self.rests_until = None;
        self.attempt(
            conn,
            |_, conn| if scrub::is_due(conn)? { scrub::scrub(conn) } else { Ok(()) },
        );
    }

    /// Overwrites what erased people left, on the pages and in the log.
    fn leave_no_trace(&mut self, conn: &Connection) -> Outcome<()> {
        let now = Instant::now();
        if !self.cut_log.load(Ordering::Relaxed) || now < self.scrub_at {
            return Ok(());
        }
        if scrub::is_due(conn)? {
            scrub::scrub(conn)?;
            self.scrub_at = now + now.elapsed() * SCRUB_PARTS;
        }
        if self.log.cut(conn)? {
            self.cut_log.store(false, Ordering::Relaxed);
        } else {
            // Each try keeps commands waiting for a moment.
            self.scrub_at = self.scrub_at.max(now + READERS_PAUSE);
        }
        Ok(())
    }

    fn index(&mut self, conn: &Connection) -> Outcome<()> {
        self.indexed_at = Instant::now();
        self.texts_waiting = search::has_pending(conn)?;
        self.load.look();
        if self.texts_waiting {
            let yields = self.load.busy && !self.hurry.load(Ordering::Relaxed);
            let limit = if yields { TEXTS_PER_BUSY_STEP } else { TEXTS_PER_STEP };
            in_transaction(conn, || search::index_some(conn, limit))?;
        } else {
            self.hurry.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Folds some of a group. What could be folded is, also when a shard of it is stuck.
    fn fold(&mut self, conn: &Connection, group: u64) -> Outcome<()> {
        self.waits_since[group as usize] = None;
        let folded = in_transaction(conn, || fold::fold(conn, group))?;
        self.places.extend(folded.due);
        folded.stuck.map_or(Ok(()), |(shard, fault)| {
            Err(Fault::corrupt(format!("the counts of shard {shard}: {fault}")))
        })
    }

    fn look(&mut self, conn: &Connection) -> Outcome<()> {
        self.looked_at = Instant::now();
        let mut statement = conn.prepare_cached(
            "SELECT id >> 48, count(*), sum(n) FROM
                (SELECT id, n_rows AS n FROM click_deltas
                 UNION ALL SELECT id, n_clicks FROM click_chunks)
             GROUP BY 1 ORDER BY 3",
        )?;
        let mut found = statement.query([])?;
        self.due.clear();
        let mut waits_since = [None; CLICK_GROUPS as usize];
        while let Some(row) = found.next()? {
            let (group, n_deltas, n_rows): (i64, i64, i64) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let Some(group) =
                usize::try_from(group).ok().filter(|group| *group < waits_since.len())
            else {
                continue;
            };
            let since = self.waits_since[group].unwrap_or(self.looked_at);
            waits_since[group] = Some(since);
            let times_over = (n_deltas / DELTAS_MAX).max(n_rows / ROWS_MAX);
            if times_over >= 1 || since.elapsed() >= self.wait_max {
                self.due.push(Due { group: group as u64, pressing: times_over >= 2 });
            }
        }
        self.waits_since = waits_since;
        self.log.keep(conn)
    }

    /// Pages of sums are written when there is time to spare: what is not on them is added up by
    /// whoever asks.
    fn wants_place(&self) -> bool {
        !self.places.is_empty() && (!self.load.busy || self.places.len() > PLACES_PUT_OFF_MAX)
    }

    /// Small chunks are joined when there is time to spare.
    fn joins(&self) -> bool {
        self.joiner.is_due() && !self.load.busy
    }

    /// Finds pages of sums that are due: those with as much to come as they hold, and those of days
    /// that are over.
    fn look_back(&mut self, conn: &Connection) -> Outcome<()> {
        if self.looked_back_at.is_some_and(|at| at.elapsed() < LOOK_BACK_EVERY) {
            return Ok(());
        }
        self.looked_back_at = Some(Instant::now());
        let places = days::pending(conn)?;
        // A click of the future, from a clock that jumped, does not end today.
        let newest = places.last().map_or(0, |(place, _)| place.day.min(today()));
        let due =
            |(place, mark): (Place, Mark)| (mark.is_due() || place.day < newest).then_some(place);
        self.places.extend(places.into_iter().filter_map(due));
        Ok(())
    }

    fn rests(&self) -> bool {
        self.rests_until.is_some_and(|until| Instant::now() < until)
    }

    fn attempt(
        &mut self,
        conn: &Connection,
        step: impl FnOnce(&mut Self, &Connection) -> Outcome<()>,
    ) {
        if self.rests() {
            return;
        }
        self.rests_until = None;
        let done = catch_unwind(AssertUnwindSafe(|| step(self, conn)));
        let done = done.unwrap_or_else(|_| {
            // The writer must go on, and not in the middle of a transaction.
            if !conn.is_autocommit() {
                conn.execute_batch("ROLLBACK")?;
            }
            Err(Fault::Invalid("upkeep panicked".into()))
        });
        if let Err(fault) = done {
            warn!(error = %fault, "upkeep of the store failed and is tried again later");
            self.rests_until = Some(Instant::now() + REST);
        }
    }
}

/// Days since the epoch, by the machine's clock.
pub(super) fn today() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs() / 86_400) as u32
}

/// Some of everything that waits; true when more is left. Call inside a transaction.
pub(super) fn settle_some(conn: &Connection) -> Outcome<bool> {
    for group in 0..CLICK_GROUPS {
        if !fold::fold_some(conn, group)? {
            return Ok(true);
        }
    }
    let places = days::pending(conn)?;
    for (place, _) in places.iter().take(PLACES_PER_STEP) {
        days::fold_all(conn, *place)?;
        join::join_all(conn, *place)?;
    }
    if places.len() > PLACES_PER_STEP {
        return Ok(true);
    }
    if search::has_pending(conn)? {
        search::index_some(conn, TEXTS_PER_STEP)?;
        return Ok(true);
    }
    Ok(false)
}

fn in_transaction<T>(conn: &Connection, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let done = work().and_then(|value| {
        conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(value)
    });
    if done.is_err() && !conn.is_autocommit() {
        conn.prepare_cached("ROLLBACK")?.execute([])?;
    }
    done
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::domain::counted::CountedClick;
    use crate::domain::day::start_of;
    use crate::domain::id::Id;
    use crate::domain::words::Words;
    use crate::storage::chunk::sums::Numbering;
    use crate::storage::embedded::pages::{group_of, shard_of};
    use crate::storage::embedded::{EmbeddedConfig, open_for_reading, open_for_writing};

    #[test]
    fn a_lonely_click_is_folded_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shunt.db");
        let conn = open_for_writing(&file, &EmbeddedConfig::default()).unwrap();
        let rows = |table: &str| -> i64 {
            conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
        };
        let (words, click) = (Words::default(), CountedClick::default());
        let group = group_of(shard_of(click.link));
        let mut numbering = Numbering::new(&words);
        let clicks = (&[click][..], &[][..]);
        crate::storage::embedded::unfolded::store(
            &conn,
            group as i64,
            &words,
            &mut numbering,
            clicks,
        )
        .unwrap();
        let mut upkeep = Upkeep::new(&conn, Arc::default()).unwrap();
        (0..5).for_each(|_| upkeep.idle(&conn));
        assert_eq!((rows("click_chunks"), rows("click_events")), (1, 0), "others may come");
        upkeep.wait_max = Duration::ZERO;
        (0..5).for_each(|_| upkeep.idle(&conn));
        assert_eq!((rows("click_chunks"), rows("click_events")), (0, 1));
    }

    #[test]
    fn small_chunks_of_earlier_runs_are_joined_when_there_is_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shunt.db");
        let conn = open_for_writing(&file, &EmbeddedConfig::default()).unwrap();
        let (words, link) = (Words::default(), Id(7));
        let mut numbering = Numbering::new(&words);
        // More places than one step passes over have nothing to join.
        for day in 0..100 {
            let place = Place { day, shard: shard_of(link) };
            let click = CountedClick { link, at: start_of(day, 5), ..CountedClick::default() };
            for _ in 0..if day == 90 { 8 } else { 1 } {
                days::append(&conn, place, &words, &mut numbering, (&[click], &[])).unwrap();
            }
            days::fold_all(&conn, place).unwrap();
        }
        let n_chunks = || -> i64 {
            conn.query_row("SELECT count(*) FROM click_events", [], |row| row.get(0)).unwrap()
        };
        let mut upkeep = Upkeep::new(&conn, Arc::default()).unwrap();
        upkeep.load.busy = true;
        assert!(!upkeep.joins(), "redirects come first");
        while upkeep.joiner.is_due() {
            // Other tests may take all processors.
            upkeep.load.busy = false;
            upkeep.idle(&conn);
        }
        assert_eq!(n_chunks(), 100);
    }

    #[test]
    fn a_log_that_readers_kept_growing_is_written_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shunt.db");
        let conn = open_for_writing(&file, &EmbeddedConfig::default()).unwrap();
        let mut upkeep = Upkeep::new(&conn, Arc::default()).unwrap();
        upkeep.log.bytes_max = 100_000;
        let log = || std::fs::metadata(folder.path().join("shunt.db-wal")).unwrap().len();
        let write = || {
            conn.execute_batch(
                "INSERT OR REPLACE INTO click_pages (id, body) VALUES (1, zeroblob(1000000))",
            )
            .unwrap();
        };
        write();
        let reader = open_for_reading(&file).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM links").unwrap();
        write();
        let (before, started) = (log(), Instant::now());
        upkeep.idle(&conn);
        assert!(log() >= before, "what a reader may still need was cut off");
        assert!(started.elapsed() < Duration::from_secs(2), "the writer stood still for a reader");
        write();
        reader.execute_batch("COMMIT").unwrap();
        upkeep.log.tried_at = None;
        upkeep.idle(&conn);
        assert_eq!(log(), 0);
    }
}
