//! Sums of all links of a workspace on one day, kept so that a month of them is read at once.
//!
//! Made by the first question about a day. Valid for one epoch of the day: whatever is changed or
//! removed counts its epoch up. Clicks that come later are in chunks behind those that the roll-up
//! covers, and are added by whoever asks. Layout of a body: CRC-32 of key and rest, a dictionary,
//! the sums, then per link and version the distance to the previous link id, the version and the
//! counts; then how many additions it has seen, and per shard the first chunk that it does not
//! cover.

use rusqlite::Connection;
use tracing::debug;

use crate::domain::day::DayStats;
use crate::domain::id::Id;
use crate::domain::stats::LinkCounts;
use crate::domain::words::{Lexicon, Words};
use crate::storage::embedded::epochs::Epoch;
use crate::storage::embedded::fault::{Outcome, or_damaged};
use crate::storage::embedded::pages::{Reader, damaged, put, seal_at};
use crate::storage::embedded::schema::CLICK_SHARDS;
use crate::storage::embedded::sums::{
    Numbering, RawWords, put_counts, put_stats, read_counts, read_stats,
};
use crate::storage::embedded::{Embedded, signed};

pub(super) struct Rollup {
    pub(super) day: u32,
    pub(super) epoch: Epoch,
    pub(super) words: Words,
    pub(super) stats: DayStats,
    pub(super) links: Vec<LinkCounts>,
    /// By shard, the first chunk that is not covered.
    pub(super) next_seqs: Vec<u32>,
}

/// What is kept of a workspace's day, if it is as of `epoch`; texts go into `lexicon`. What is
/// damaged is made again.
pub(super) fn read(
    conn: &Connection,
    workspace: Id,
    day: u32,
    epoch: i64,
    lexicon: &mut Lexicon,
) -> Outcome<Option<Rollup>> {
    let mut statement = conn.prepare_cached(
        "SELECT body FROM click_rollups WHERE workspace = ?1 AND day = ?2 AND epoch = ?3",
    )?;
    let mut found = statement.query((signed(workspace), day, epoch))?;
    let Some(row) = found.next()? else { return Ok(None) };
    let body = row.get_ref(0)?.as_blob().map_err(|_| damaged());
    or_damaged(body.and_then(|body| Rollup::decode((workspace, day, epoch), body, lexicon)))
}

impl Embedded {
    /// Keeps what a question made. Failing that, the next question makes it again.
    pub(super) async fn keep_rollups(&self, workspace: Id, fresh: Vec<Rollup>) {
        let kept = self
            .write("keep_rollups", move |conn| {
                let mut keep = conn.prepare_cached(
                    "INSERT OR REPLACE INTO click_rollups (workspace, day, epoch, body)
                     SELECT ?1, ?2, ?3, ?4
                     WHERE ?3 = coalesce((SELECT epoch FROM click_epochs WHERE day = ?2), 0)",
                )?;
                for one in &fresh {
                    let body = one.encode(workspace);
                    keep.execute((signed(workspace), one.day, one.epoch.epoch, body))?;
                }
                Ok(())
            })
            .await;
        if let Err(error) = kept {
            debug!(%error, "sums of days were not kept");
        }
    }
}

impl Rollup {
    fn encode(&self, workspace: Id) -> Vec<u8> {
        let mut numbering = Numbering::new(&self.words);
        numbering.begin();
        let mut stats = Vec::new();
        put_stats(&mut stats, &self.stats, |word| numbering.number(word));
        let mut out = vec![0; 4];
        numbering.put(&mut out, &self.words);
        out.extend_from_slice(&stats);
        put(&mut out, self.links.len() as u64);
        let mut previous = 0;
        for one in &self.links {
            put(&mut out, one.link.0 - previous);
            put(&mut out, one.version.into());
            put_counts(&mut out, one.counts);
            previous = one.link.0;
        }
        put(&mut out, self.epoch.additions as u64);
        self.next_seqs.iter().for_each(|seq| put(&mut out, (*seq).into()));
        seal_at(seal_of(workspace, self.day, self.epoch.epoch), &mut out);
        out
    }

    fn decode(key: (Id, u32, i64), body: &[u8], lexicon: &mut Lexicon) -> Outcome<Self> {
        let (workspace, day, epoch) = key;
        let mut reader = Reader::open_at(seal_of(workspace, day, epoch), body)?;
        let words = RawWords::read(&mut reader)?;
        let mut stats = read_stats(&mut reader, &words)?;
        let n = reader.count(4)?;
        let (mut links, mut link) = (Vec::with_capacity(n), 0_u64);
        for _ in 0..n {
            link = link.checked_add(reader.number()?).ok_or_else(damaged)?;
            let version = u32::try_from(reader.number()?).map_err(|_| damaged())?;
            links.push(LinkCounts { link: Id(link), version, counts: read_counts(&mut reader)? });
        }
        let additions = i64::try_from(reader.number()?).map_err(|_| damaged())?;
        let seq = |_| u32::try_from(reader.number()?).map_err(|_| damaged());
        let next_seqs = (0..CLICK_SHARDS).map(seq).collect::<Outcome<_>>()?;
        reader.finish()?;
        let words = words.in_lexicon(lexicon)?;
        for row in &mut stats.rows {
            // Words that were checked are numbers of this dictionary.
            if let Some(word) = (row.value.0 as usize).checked_sub(1).and_then(|at| words.get(at)) {
                row.value = *word;
            }
        }
        let epoch = Epoch { epoch, additions };
        Ok(Self { day, epoch, words: Words::default(), stats, links, next_seqs })
    }
}

/// The key of a roll-up as one number, for its checksum.
fn seal_of(workspace: Id, day: u32, epoch: i64) -> i64 {
    signed(workspace).rotate_left(17) ^ (i64::from(day) << 32) ^ epoch
}
