//! What was made for questions about a workspace, kept so that the next one finds it.
//!
//! A question is asked of one filter and of UTC days that are cut at the same minutes; of each day
//! there is one body. A body is valid for one epoch of its day: whatever is changed or removed
//! counts the epoch up. Clicks that come later are in chunks behind those that it covers, and are
//! added by whoever asks. Which links a filter chose is in the body's own head. Of what is asked
//! by more than all clicks of whole days, the last `KEPT_DAYS` are kept, and of each workspace as
//! much as its bounds allow, what was not asked for longest going first.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};
use tracing::debug;

use super::Span;
use super::members::{Census, Choice};
use crate::domain::day::start_of;
use crate::domain::id::Id;
use crate::storage::embedded::epochs::{self, Epoch};
use crate::storage::embedded::fault::{Outcome, or_damaged};
use crate::storage::embedded::pages::{Reader, damaged, put};
use crate::storage::embedded::schema::CLICK_SHARDS;
use crate::storage::embedded::{Embedded, counter, links, signed};

/// Minutes of a day.
pub(super) const DAY_MINUTES: u16 = 1_440;
/// The cuts of a day that is asked as a whole.
const WHOLE_DAY: [u16; 2] = [0, DAY_MINUTES];
/// Days before the newest of which more is kept than the sums of all clicks of whole days: the
/// longest range that is told by day unasked.
pub(super) const KEPT_DAYS: u32 = 93;
/// Questions of a workspace beside that about all clicks of whole days, and of all workspaces.
const QUESTIONS_PER_WORKSPACE: i64 = 64;
const QUESTIONS_MAX: i64 = 1_024;
/// Bytes that are kept for these questions of a workspace.
const BYTES_PER_WORKSPACE: i64 = 128 << 20;
/// Bodies that one question leaves behind; the next one makes others.
const BODIES_PER_QUESTION: usize = 64;
/// Chunks behind a body at which it is made again.
const CHUNKS_BEHIND_MAX: u32 = 256;

/// What a body tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Sums of a day, or of the part between two cuts.
    Sums = 0,
    /// Counts and visitors between each cut and the next.
    Slices = 1,
}

/// What is asked of a day. Minutes of the day, the first and last edge included.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    pub(super) cuts: Vec<u16>,
}

/// What of a day a body covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cover {
    pub(super) census: Census,
    /// By shard, the first chunk that is not covered.
    pub(super) next_seqs: Vec<u32>,
}

/// A body as it was found.
pub(super) struct Found<'a> {
    pub(super) body: &'a [u8],
    pub(super) seal: i64,
}

/// What was made of a day.
pub(super) struct Made {
    pub(super) day: u32,
    pub(super) epoch: Epoch,
    /// Chunks that were added to what was found; `None` when nothing was found.
    pub(super) n_added: Option<u32>,
    /// The newest day that is asked for, which is about to change again.
    pub(super) is_last: bool,
}

/// A body to be kept.
struct Fresh {
    day: u32,
    epoch: Epoch,
    body: Vec<u8>,
}

/// When a question was asked, and for which days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The newest day when it was asked; zero when nobody asked.
    pub(super) asked: u32,
    /// How many days before that its first day was, and its last one.
    pub(super) back: u32,
    pub(super) fore: u32,
}

/// What a question leaves.
pub(super) struct Leaves {
    workspace: Id,
    filter: String,
    shape: Shape,
    seen: Seen,
    /// The first day of which something is kept.
    kept_from: u32,
    bodies: Vec<Fresh>,
}

/// What is kept for the questions of one call.
pub(super) struct Shelf<'a> {
    conn: &'a Connection,
    workspace: Id,
    /// Links that came into the workspace or left it so far. Bodies of before do not hold.
    moves: i64,
    filter: String,
    /// The newest day that there are clicks of.
    newest: u32,
    /// Nobody asks: bodies are made for whoever will.
    ahead: bool,
    open: BTreeMap<Shape, Open>,
    n_fresh: usize,
}

/// A question that was looked up.
#[derive(Default)]
struct Open {
    id: Option<i64>,
    seen: Seen,
    /// By this call.
    now: Option<Seen>,
    fresh: Vec<Fresh>,
}

impl Seen {
    /// Both, if they were on the same day, else the later.
    fn with(self, other: Self) -> Self {
        match self.asked.cmp(&other.asked) {
            Ordering::Less => other,
            Ordering::Greater => self,
            Ordering::Equal => Self {
                asked: self.asked,
                back: self.back.max(other.back),
                fore: self.fore.min(other.fore),
            },
        }
    }
}

impl Shape {
    pub(super) fn whole_day() -> Self {
        Self { kind: Kind::Sums, cuts: WHOLE_DAY.to_vec() }
    }

    pub(super) fn is_whole_day(&self) -> bool {
        self.kind == Kind::Sums && self.cuts == WHOLE_DAY
    }

    /// The time on a day that it is about.
    pub(super) fn span(&self, day: u32) -> Span {
        let at = |cut: Option<&u16>| {
            let minutes = cut.copied().unwrap_or_default();
            start_of(day, 0).plus_millis(i64::from(minutes) * 60_000)
        };
        Span { from: at(self.cuts.first()), to: at(self.cuts.last()) }
    }

    /// The cuts as they are kept.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.cuts.iter().for_each(|cut| put(&mut out, (*cut).into()));
        out
    }

    pub(super) fn decode(kind: i64, cuts: &[u8]) -> Outcome<Self> {
        let kind = match kind {
            0 => Kind::Sums,
            1 => Kind::Slices,
            _ => return Err(damaged()),
        };
        let (mut reader, mut minutes) = (Reader::of(cuts), Vec::new());
        while !reader.is_empty() {
            let minute = u16::try_from(reader.number()?).map_err(|_| damaged())?;
            if minute > DAY_MINUTES || minutes.last().is_some_and(|last| *last >= minute) {
                return Err(damaged());
            }
            minutes.push(minute);
        }
        if minutes.len() < 2 { Err(damaged()) } else { Ok(Self { kind, cuts: minutes }) }
    }
}

impl Cover {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put(out, self.census.newest as u64);
        out.extend_from_slice(&self.census.hash.to_le_bytes());
        self.next_seqs.iter().for_each(|seq| put(out, (*seq).into()));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Outcome<Self> {
        let newest = reader.number()? as i64;
        let hash = u64::from_le_bytes(reader.bytes(8)?.try_into().map_err(|_| damaged())?);
        let seq = |_| u32::try_from(reader.number()?).map_err(|_| damaged());
        let next_seqs = (0..CLICK_SHARDS).map(seq).collect::<Outcome<_>>()?;
        Ok(Self { census: Census { newest, hash }, next_seqs })
    }
}

impl<'a> Shelf<'a> {
    pub(super) fn new(
        conn: &'a Connection,
        choice: &Choice,
        newest: u32,
        ahead: bool,
    ) -> Outcome<Self> {
        let (workspace, filter) = (choice.workspace, choice.filter());
        let moves = counter(conn, &links::moves_counter(workspace))?;
        let (open, n_fresh) = (BTreeMap::new(), 0);
        Ok(Self { conn, workspace, moves, filter, newest, ahead, open, n_fresh })
    }

    /// What `decode` makes of the body of a day, if there is one that holds as far as it goes; and
    /// as of when it is: its clicks are all of the day if that is the day's epoch. One that is
    /// damaged is none.
    pub(super) fn find<T>(
        &mut self,
        shape: &Shape,
        (day, epoch): (u32, Epoch),
        decode: impl FnOnce(&Found<'_>) -> Outcome<Option<T>>,
    ) -> Outcome<Option<(T, Epoch)>> {
        let back = self.newest.saturating_sub(day);
        let now = Seen { asked: self.newest, back, fore: back };
        let open = self.opened(shape)?;
        open.now = Some(open.now.map_or(now, |known| known.with(now)));
        let Some(id) = open.id else { return Ok(None) };
        let mut statement = self.conn.prepare_cached(
            "SELECT additions, body FROM click_rollups
             WHERE question = ?1 AND day = ?2 AND epoch = ?3",
        )?;
        let mut found = statement.query((id, day, epoch.epoch))?;
        let Some(row) = found.next()? else { return Ok(None) };
        let epoch = Epoch { additions: row.get(0)?, ..epoch };
        let seal = self.seal(shape, day, epoch);
        let body = row.get_ref(1)?.as_blob().map_err(|_| damaged());
        let made = or_damaged(body.and_then(|body| decode(&Found { body, seal })))?.flatten();
        Ok(made.map(|made| (made, epoch)))
    }

    /// Keeps a body for the next call, if it is worth it.
    pub(super) fn leave(
        &mut self,
        shape: &Shape,
        made: &Made,
        encode: impl FnOnce(i64) -> Vec<u8>,
    ) -> Outcome<()> {
        let Made { day, epoch, n_added, is_last } = *made;
        let behind = match n_added {
            None => true,
            Some(_) if self.ahead => true,
            Some(n) => n >= CHUNKS_BEHIND_MAX || n > 0 && !is_last,
        };
        let lasts = self.is_plain(shape) || day >= self.kept_from();
        if !behind || !lasts || self.n_fresh >= BODIES_PER_QUESTION {
            return Ok(());
        }
        let body = encode(self.seal(shape, day, epoch));
        self.n_fresh += 1;
        self.opened(shape)?.fresh.push(Fresh { day, epoch, body });
        Ok(())
    }

    /// What is to be written.
    pub(super) fn leaves(self) -> Vec<Leaves> {
        let kept_from = self.kept_from();
        let mut leaves = Vec::new();
        for (shape, open) in self.open {
            let Open { id, seen: before, now, fresh: bodies } = open;
            let seen = now.filter(|_| !self.ahead).map_or(before, |now| before.with(now));
            if bodies.is_empty() && (id.is_none() || seen == before) {
                continue;
            }
            let (workspace, filter) = (self.workspace, self.filter.clone());
            leaves.push(Leaves { workspace, filter, shape, seen, kept_from, bodies });
        }
        leaves
    }

    fn opened(&mut self, shape: &Shape) -> Outcome<&mut Open> {
        if !self.open.contains_key(shape) {
            let mut statement = self.conn.prepare_cached(
                "SELECT id, asked, back, fore FROM click_questions
                 WHERE workspace = ?1 AND filter = ?2 AND kind = ?3 AND cuts = ?4",
            )?;
            let key = (signed(self.workspace), &self.filter, shape.kind as i64, shape.encode());
            let open = statement.query_row(key, |row| {
                let seen = Seen { asked: row.get(1)?, back: row.get(2)?, fore: row.get(3)? };
                Ok(Open { id: row.get(0)?, seen, ..Open::default() })
            });
            self.open.insert(shape.clone(), open.optional()?.unwrap_or_default());
        }
        Ok(self.open.entry(shape.clone()).or_default())
    }

    fn is_plain(&self, shape: &Shape) -> bool {
        self.filter.is_empty() && shape.is_whole_day()
    }

    fn kept_from(&self) -> u32 {
        self.newest.saturating_sub(KEPT_DAYS)
    }

    /// Whose body it is, as one number, for its checksum.
    fn seal(&self, shape: &Shape, day: u32, epoch: Epoch) -> i64 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&signed(self.workspace).to_le_bytes());
        crc.update(&epoch.additions.to_le_bytes());
        crc.update(&epoch.epoch.to_le_bytes());
        crc.update(&[shape.kind as u8]);
        crc.update(&shape.encode());
        crc.update(self.filter.as_bytes());
        if self.moves > 0 {
            crc.update(&self.moves.to_le_bytes());
        }
        (i64::from(crc.finalize()) << 31) ^ i64::from(day)
    }
}

impl Embedded {
    /// Keeps what a question made. Failing that, the next question makes it again.
    pub(super) async fn keep(&self, leaves: Vec<Leaves>) {
        if leaves.is_empty() {
            return;
        }
        let kept = self
            .write("keep_rollups", move |conn| {
                leaves.iter().try_for_each(|one| one.keep(conn))?;
                bound(conn, leaves[0].workspace, leaves[0].kept_from)
            })
            .await;
        if let Err(error) = kept {
            debug!(%error, "sums of days were not kept");
        }
    }
}

impl Leaves {
    fn keep(&self, conn: &Connection) -> Outcome<()> {
        let key = (signed(self.workspace), &self.filter, self.shape.kind as i64);
        let (cuts, Seen { asked, back, fore }) = (self.shape.encode(), self.seen);
        // Of two that were asked at once, the one that is written later may know less.
        let id: i64 = conn
            .prepare_cached(
                "INSERT INTO click_questions
                    (workspace, filter, kind, cuts, asked, back, fore, bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)
                 ON CONFLICT (workspace, filter, kind, cuts) DO UPDATE SET
                    asked = max(asked, excluded.asked),
                    back = CASE WHEN excluded.asked >= asked THEN excluded.back ELSE back END,
                    fore = CASE WHEN excluded.asked >= asked THEN excluded.fore ELSE fore END
                 RETURNING id",
            )?
            .query_row((key.0, key.1, key.2, &cuts, asked, back, fore), |row| row.get(0))?;
        let mut keep = conn.prepare_cached(
            "INSERT OR REPLACE INTO click_rollups (question, day, epoch, additions, body)
             SELECT ?1, ?2, ?3, ?4, ?5
             WHERE ?3 = coalesce((SELECT epoch FROM click_epochs WHERE day = ?2), 0)",
        )?;
        for Fresh { day, epoch, body } in &self.bodies {
            keep.execute((id, day, epoch.epoch, epoch.additions, body))?;
        }
        if !(self.filter.is_empty() && self.shape.is_whole_day()) {
            conn.prepare_cached("DELETE FROM click_rollups WHERE question = ?1 AND day < ?2")?
                .execute((id, self.kept_from))?;
        }
        conn.prepare_cached(
            "UPDATE click_questions SET bytes =
                (SELECT coalesce(sum(length(body)), 0) FROM click_rollups WHERE question = ?1)
             WHERE id = ?1",
        )?
        .execute([id])?;
        Ok(())
    }
}

/// Forgets the questions that were not asked for longest, as far as bounds are exceeded, and those
/// that were not asked since `kept_from`.
fn bound(conn: &Connection, workspace: Id, kept_from: u32) -> Outcome<()> {
    let plain = Shape::whole_day().encode();
    let surplus: Vec<i64> = conn
        .prepare_cached(
            "SELECT id FROM
                (SELECT id, asked, row_number() OVER newest AS n, sum(bytes) OVER newest AS bytes
                 FROM click_questions
                 WHERE workspace = ?1 AND NOT (filter = '' AND kind = 0 AND cuts = ?2)
                 WINDOW newest AS (ORDER BY asked DESC, id DESC))
             WHERE n > ?3 OR bytes > ?4 OR asked < ?6
             UNION ALL SELECT id FROM
                (SELECT id, row_number() OVER (ORDER BY asked DESC, id DESC) AS n
                 FROM click_questions WHERE NOT (filter = '' AND kind = 0 AND cuts = ?2))
             WHERE n > ?5",
        )?
        .query_map(
            (
                signed(workspace),
                plain,
                QUESTIONS_PER_WORKSPACE,
                BYTES_PER_WORKSPACE,
                QUESTIONS_MAX,
                kept_from,
            ),
            |row| row.get(0),
        )?
        .collect::<Result<_, _>>()?;
    for id in surplus {
        conn.prepare_cached("DELETE FROM click_rollups WHERE question = ?1")?.execute([id])?;
        conn.prepare_cached("DELETE FROM click_questions WHERE id = ?1")?.execute([id])?;
    }
    Ok(())
}

/// Forgets what was made of a day of which something was changed or removed, also what is in the
/// making.
pub(in crate::storage::embedded) fn forget(conn: &Connection, day: u32) -> Outcome<()> {
    conn.prepare_cached("DELETE FROM click_rollups WHERE day = ?1")?.execute([day])?;
    epochs::touch(conn, day)
}
