//! Sums of links of a workspace on one day, or in a part of it, kept so that a month of them is
//! read at once.
//!
//! Layout of a body: CRC-32 of key and rest, what it covers, a dictionary, the sums, then per link
//! and version the distance to the previous link id, the version and the counts.

use super::members::Members;
use super::shelf::{Cover, Found};
use crate::domain::day::DayStats;
use crate::domain::id::Id;
use crate::domain::stats::LinkCounts;
use crate::domain::words::{Lexicon, Words};
use crate::storage::chunk::sums::{
    Numbering, RawWords, put_counts, put_stats, read_counts, read_stats,
};
use crate::storage::embedded::fault::Outcome;
use crate::storage::embedded::pages::{Reader, damaged, put, seal_at};

pub(super) struct Rollup {
    pub(super) cover: Cover,
    pub(super) stats: DayStats,
    pub(super) links: Vec<LinkCounts>,
}

impl Rollup {
    /// The sums have `words`.
    pub(super) fn encode(&self, seal: i64, words: &Words) -> Vec<u8> {
        let mut numbering = Numbering::new(words);
        numbering.begin();
        let mut stats = Vec::new();
        put_stats(&mut stats, &self.stats, |word| numbering.number(word));
        let mut out = vec![0; 4];
        self.cover.put(&mut out);
        numbering.put(&mut out, words);
        out.extend_from_slice(&stats);
        put(&mut out, self.links.len() as u64);
        let mut previous = 0;
        for one in &self.links {
            put(&mut out, one.link.0 - previous);
            put(&mut out, one.version.into());
            put_counts(&mut out, one.counts);
            previous = one.link.0;
        }
        seal_at(seal, &mut out);
        out
    }

    /// Nothing when it is of other links; texts go into `lexicon`.
    pub(super) fn decode(
        found: &Found<'_>,
        members: &Members,
        lexicon: &mut Lexicon,
    ) -> Outcome<Option<Self>> {
        let mut reader = Reader::open_at(found.seal, found.body)?;
        let cover = Cover::read(&mut reader)?;
        if !members.are_as_of(cover.census) {
            return Ok(None);
        }
        let words = RawWords::read(&mut reader)?;
        let mut stats = read_stats(&mut reader, &words)?;
        let n = reader.count(4)?;
        let (mut links, mut link) = (Vec::with_capacity(n), 0_u64);
        for _ in 0..n {
            link = link.checked_add(reader.number()?).ok_or_else(damaged)?;
            let version = u32::try_from(reader.number()?).map_err(|_| damaged())?;
            links.push(LinkCounts { link: Id(link), version, counts: read_counts(&mut reader)? });
        }
        reader.finish()?;
        let words = words.in_lexicon(lexicon)?;
        for row in &mut stats.rows {
            // Words that were checked are numbers of this dictionary.
            if let Some(word) = (row.value.0 as usize).checked_sub(1).and_then(|at| words.get(at)) {
                row.value = *word;
            }
        }
        Ok(Some(Self { cover, stats, links }))
    }
}
