//! Makes what questions about workspaces will need before they are asked.
//!
//! Of days that are over, one at a time: for what was asked lately, and where workspaces are few,
//! for what the dashboard of each asks first. What is made is what the question would leave.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};

use super::members::Choice;
use super::shelf::{KEPT_DAYS, Kind, Leaves, Seen, Shape};
use super::{buckets, workspace};
use crate::storage::StorageResult;
use crate::storage::embedded::epochs::Epoch;
use crate::storage::embedded::fault::Outcome;
use crate::storage::embedded::load::Load;
use crate::storage::embedded::readers::Lane;
use crate::storage::embedded::{Embedded, signed, unsigned};

/// Days before the newest that are looked at: those that are told when no range is given, in any
/// zone.
const RECENT_DAYS: u32 = 31;
/// Workspaces up to which something is made for those that nobody asked about.
const WORKSPACES_MAX: usize = 16;

/// How far a pass over everything has come.
pub(in crate::storage::embedded) struct Ahead(Mutex<Pass>);

struct Pass {
    last: Option<Place>,
    load: Load,
}

/// A day of a question: what comes first, the question's id or zero, then whose, then the day.
type Place = (i64, i64, u32);

/// What is to be made, if it is not there.
struct Task {
    id: Option<i64>,
    /// Asked by nobody.
    unasked: bool,
    choice: Choice,
    shape: Shape,
    days: Vec<u32>,
}

/// One step of a pass.
struct Step {
    made: Option<(Place, Vec<Leaves>)>,
    took: Duration,
}

impl Ahead {
    pub(in crate::storage::embedded) fn new() -> Self {
        Self(Mutex::new(Pass { last: None, load: Load::start() }))
    }

    fn last(&self) -> Option<Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    /// Where to go on, unless the process is busy.
    fn next(&self) -> Option<Option<Place>> {
        let mut pass = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pass.load.look();
        (!pass.load.busy).then_some(pass.last)
    }

    fn note(&self, step: &Step) {
        let mut pass = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pass.last = step.made.as_ref().map(|(place, _)| *place);
        pass.load.leave_out(step.took);
    }
}

impl Embedded {
    /// Makes one day of one question; true when more may be to be made. Each pass over everything
    /// tries everything once.
    pub(in crate::storage::embedded) async fn make_ahead(&self) -> StorageResult<bool> {
        match self.inner.ahead.next() {
            Some(last) => self.make_next(last).await,
            None => Ok(false),
        }
    }

    /// Makes all that is known to be asked for now, instead of bit by bit while there is time to
    /// spare; answers how many days that were. For measurements and tests.
    pub async fn make_all_ahead(&self) -> StorageResult<u64> {
        let mut n = 0;
        while self.make_next(self.inner.ahead.last()).await? {
            n += 1;
        }
        Ok(n)
    }

    async fn make_next(&self, last: Option<Place>) -> StorageResult<bool> {
        let step = self.read("roll_up_clicks", Lane::Long, move |conn| step(conn, last)).await?;
        self.inner.ahead.note(&step);
        let Some((_, leaves)) = step.made else { return Ok(false) };
        self.keep(leaves).await;
        Ok(true)
    }
}

fn step(conn: &Connection, last: Option<Place>) -> Outcome<Step> {
    let began = Instant::now();
    let made = match next_task(conn, last)? {
        None => None,
        Some((place, Task { choice, shape, .. })) => {
            let day = place.2;
            let leaves = match shape.kind {
                Kind::Sums => workspace::ahead(conn, &choice, day, &shape)?,
                Kind::Slices => buckets::ahead(conn, &choice, day, &shape)?,
            };
            Some((place, leaves))
        }
    };
    Ok(Step { made, took: began.elapsed() })
}

/// The first day behind `last` that is not up to date.
fn next_task(conn: &Connection, last: Option<Place>) -> Outcome<Option<(Place, Task)>> {
    let newest = workspace::newest_day(conn)?;
    let first = newest.saturating_sub(KEPT_DAYS);
    let epochs = by_day(
        conn,
        "SELECT day, epoch, additions FROM click_epochs WHERE day >= ?1 AND day < ?2 AND ?3 = 0",
        (first, newest, 0),
    )?;
    for task in tasks(conn, newest)? {
        let order = if task.unasked { 0 } else { task.id.unwrap_or(0) };
        let place = |day: u32| (order, signed(task.choice.workspace), day);
        let behind = |day: &u32| last.is_none_or(|last| place(*day) > last);
        if !task.days.last().is_some_and(behind) {
            continue;
        }
        let kept = by_day(
            conn,
            "SELECT day, epoch, additions FROM click_rollups
             WHERE day >= ?1 AND day < ?2 AND question = ?3",
            (first, newest, task.id.unwrap_or(0)),
        )?;
        let due = |day: &&u32| {
            behind(day) && epochs.get(day).is_some_and(|epoch| kept.get(day) != Some(epoch))
        };
        if let Some(day) = task.days.iter().find(due).copied() {
            return Ok(Some((place(day), task)));
        }
    }
    Ok(None)
}

/// In the order of their places, each with its days in order.
fn tasks(conn: &Connection, newest: u32) -> Outcome<Vec<Task>> {
    let plain = Shape::whole_day();
    let recent = newest.saturating_sub(RECENT_DAYS);
    let mut tasks = Vec::new();
    let workspaces: Vec<i64> = conn
        .prepare_cached("SELECT id FROM workspaces ORDER BY id LIMIT ?1")?
        .query_map([WORKSPACES_MAX as i64 + 1], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let few = workspaces.len() <= WORKSPACES_MAX;
    for workspace in workspaces.into_iter().filter(|_| few) {
        let id = conn
            .prepare_cached(
                "SELECT id FROM click_questions
                 WHERE workspace = ?1 AND filter = '' AND kind = 0 AND cuts = ?2",
            )?
            .query_row((workspace, plain.encode()), |row| row.get(0))
            .optional()?;
        let choice = Choice { workspace: unsigned(workspace), tag: None, domain: None };
        let days = (recent..newest).collect();
        tasks.push(Task { id, unasked: true, choice, shape: plain.clone(), days });
    }
    let mut statement = conn.prepare_cached(
        "SELECT id, workspace, filter, kind, cuts, asked, back, fore FROM click_questions
         WHERE asked > 0 AND asked >= ?1 ORDER BY id",
    )?;
    let mut found = statement.query([recent])?;
    while let Some(row) = found.next()? {
        let (id, workspace): (i64, i64) = (row.get(0)?, row.get(1)?);
        let filter: String = row.get(2)?;
        let cuts: Vec<u8> = row.get(4)?;
        let seen = Seen { asked: row.get(5)?, back: row.get(6)?, fore: row.get(7)? };
        // What does not parse is asked by nobody.
        let Some(choice) = Choice::of_filter(unsigned(workspace), &filter) else { continue };
        let Ok(shape) = Shape::decode(row.get(3)?, &cuts) else { continue };
        if few && choice.is_everything() && shape == plain {
            continue;
        }
        let days = wanted(&shape, seen, newest);
        tasks.push(Task { id: Some(id), unasked: false, choice, shape, days });
    }
    Ok(tasks)
}

/// Days that are over of which the same question will ask, if its range moves on with time.
fn wanted(shape: &Shape, seen: Seen, newest: u32) -> Vec<u32> {
    let day = |back: u32| newest.saturating_sub(back);
    if shape.kind == Kind::Sums && !shape.is_whole_day() {
        // A range begins or ends there.
        let mut days: Vec<u32> = [seen.back, seen.fore]
            .into_iter()
            .filter(|back| (1..=KEPT_DAYS).contains(back))
            .map(day)
            .collect();
        days.dedup();
        return days;
    }
    (day(seen.back.min(RECENT_DAYS))..=day(seen.fore)).filter(|day| *day < newest).collect()
}

/// Epochs by day.
fn by_day(
    conn: &Connection,
    sql: &str,
    (from, to, question): (u32, u32, i64),
) -> Outcome<BTreeMap<u32, Epoch>> {
    let mut statement = conn.prepare_cached(sql)?;
    let found = statement.query_map((from, to, question), |row| {
        Ok((row.get(0)?, Epoch { epoch: row.get(1)?, additions: row.get(2)? }))
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_moves_on_begins_a_day_later() {
        let seen = |back, fore| Seen { asked: 500, back, fore };
        let shape = |cuts: &[u16], kind| Shape { kind, cuts: cuts.to_vec() };
        let whole = Shape::whole_day();
        assert_eq!(wanted(&whole, seen(3, 0), 501), [498, 499, 500]);
        assert_eq!(wanted(&whole, seen(400, 29), 501), [470, 471, 472]);
        assert!(wanted(&whole, seen(0, 0), 501).is_empty());
        let part = shape(&[240, 1_440], Kind::Sums);
        assert_eq!(wanted(&part, seen(29, 29), 501), [472]);
        assert_eq!(wanted(&part, seen(30, 6), 501), [471, 495]);
        assert!(wanted(&part, seen(2_000, 0), 501).is_empty());
        let slices = shape(&[0, 1_110, 1_440], Kind::Slices);
        assert_eq!(wanted(&slices, seen(2, 1), 501), [499, 500]);
    }
}
