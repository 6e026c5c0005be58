//! Chunks: many single clicks as one value, with the dictionary of their texts.
//!
//! Layout: CRC-32 of row id and rest, a dictionary, the base minute, the number of links; per link
//! the distance to the previous link id, the number of clicks and of surplus rows, and the bytes
//! that they take, so that others can be passed over. A click: milliseconds since the one before it
//! (the first: since the base minute), flags, serial, version, five words, and the visitor if one
//! is kept. A surplus row: minutes since the base minute, then its sums. Numbers are LEB128.

use super::bytes::{Outcome, Reader, damaged, put, seal_at, unzigzag, zigzag};
use super::sums::{Numbering, RawWords, put_stats, read_stats};
use crate::domain::click::ClickFlags;
use crate::domain::counted::{CountedClick, Surplus};
use crate::domain::day::DayStats;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::domain::words::{Lexicon, Translation, Word, Words};

/// Bit of a click's flags, in the store only: a visitor follows.
const HAS_VISITOR: u8 = 128;
const MINUTE_MS: i64 = 60_000;
/// What a click takes in a chunk, about.
const CLICK_BYTES: usize = 28;

/// What a chunk holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::storage) struct Chunk {
    pub(in crate::storage) words: Words,
    /// By link, then time.
    pub(in crate::storage) clicks: Vec<CountedClick>,
    /// By link, then minute.
    pub(in crate::storage) surplus: Vec<Surplus>,
}

impl Chunk {
    /// What it holds, with words of `lexicon`.
    pub(in crate::storage) fn in_words_of(
        mut self,
        lexicon: &mut Lexicon,
    ) -> (Vec<CountedClick>, Vec<Surplus>) {
        let mut translation = Translation::new(&self.words);
        for click in &mut self.clicks {
            for word in words_of(click) {
                *word = translation.word(*word, lexicon);
            }
        }
        for row in &mut self.surplus {
            let mut stats = DayStats::default();
            stats.merge(&row.stats, &mut translation, lexicon);
            row.stats = stats;
        }
        (self.clicks, self.surplus)
    }
}

/// Packs clicks and surplus rows, both by link, then time, to be kept under row `id`.
pub(in crate::storage) fn encode(
    id: i64,
    words: &Words,
    numbering: &mut Numbering,
    clicks: &[CountedClick],
    surplus: &[Surplus],
) -> Vec<u8> {
    numbering.begin();
    let base = clicks
        .iter()
        .map(|click| click.at.minute())
        .chain(surplus.iter().map(|row| row.minute))
        .min()
        .unwrap_or(0);
    let mut body = Vec::with_capacity(clicks.len() * CLICK_BYTES);
    let (mut clicks, mut surplus) = (clicks, surplus);
    let (mut n_links, mut previous, mut entries) = (0, 0, Vec::new());
    while let Some(link) = first_link(clicks, surplus) {
        let (own, rest) = clicks.split_at(clicks.partition_point(|click| click.link == link));
        let (rows, others) = surplus.split_at(surplus.partition_point(|row| row.link == link));
        (clicks, surplus) = (rest, others);
        entries.clear();
        put_clicks(&mut entries, own, base, numbering);
        for row in rows {
            put(&mut entries, u64::from(row.minute - base));
            put_stats(&mut entries, &row.stats, |word| numbering.number(word));
        }
        put(&mut body, link.0 - previous);
        put(&mut body, own.len() as u64);
        put(&mut body, rows.len() as u64);
        put(&mut body, entries.len() as u64);
        body.extend_from_slice(&entries);
        (n_links, previous) = (n_links + 1, link.0);
    }
    let mut out = vec![0; 4];
    numbering.put(&mut out, words);
    put(&mut out, base.into());
    put(&mut out, n_links);
    out.extend_from_slice(&body);
    seal_at(id, &mut out);
    out
}

/// Walks through a chunk link by link. Anything that `encode` would not write is damage.
pub(in crate::storage) struct Walk<'a> {
    words: RawWords<'a>,
    base: u32,
    left: usize,
    link: Option<u64>,
    reader: Reader<'a>,
}

/// What a chunk holds of one link.
pub(in crate::storage) struct Part<'a> {
    pub(in crate::storage) link: Id,
    n_clicks: u64,
    n_rows: u64,
    entries: Reader<'a>,
}

impl<'a> Walk<'a> {
    pub(in crate::storage) fn open(id: i64, body: &'a [u8]) -> Outcome<Self> {
        let mut reader = Reader::open_at(id, body)?;
        let words = RawWords::read(&mut reader)?;
        let base = u32::try_from(reader.number()?).map_err(|_| damaged())?;
        let left = reader.count(4)?;
        Ok(Self { words, base, left, link: None, reader })
    }

    /// The next link's part. `None`: that was all.
    pub(in crate::storage) fn next(&mut self) -> Outcome<Option<Part<'a>>> {
        if self.left == 0 {
            return if self.reader.is_empty() { Ok(None) } else { Err(damaged()) };
        }
        self.left -= 1;
        let step = self.reader.number()?;
        let link = match self.link {
            None => step,
            Some(last) if step > 0 => last.checked_add(step).ok_or_else(damaged)?,
            Some(_) => return Err(damaged()),
        };
        self.link = Some(link);
        let (n_clicks, n_rows) = (self.reader.number()?, self.reader.number()?);
        let len = self.reader.count(1)?;
        let entries = self.reader.part(len)?;
        Ok(Some(Part { link: Id(link), n_clicks, n_rows, entries }))
    }

    /// The part of one link.
    fn find(&mut self, link: Id) -> Outcome<Option<Part<'a>>> {
        while let Some(part) = self.next()? {
            if part.link >= link {
                return Ok(Some(part).filter(|part| part.link == link));
            }
        }
        Ok(None)
    }

    /// Adds a part to `chunk`.
    fn read(&self, mut part: Part<'_>, chunk: &mut Chunk) -> Outcome<()> {
        let (entries, link) = (&mut part.entries, part.link);
        self.read_clicks(entries, link, part.n_clicks, |click| {
            chunk.clicks.push(click);
            true
        })?;
        for _ in 0..part.n_rows {
            let (minute, stats) = read_row(entries, self.base, &self.words)?;
            chunk.surplus.push(Surplus { link, minute, stats });
        }
        part.entries.finish()
    }

    /// Hands out clicks while `each` wants more.
    fn read_clicks(
        &self,
        reader: &mut Reader<'_>,
        link: Id,
        n: u64,
        mut each: impl FnMut(CountedClick) -> bool,
    ) -> Outcome<()> {
        let mut at = i64::from(self.base) * MINUTE_MS;
        for _ in 0..n {
            at = at.wrapping_add(unzigzag(reader.number()?));
            let flags = reader.byte()?;
            let serial = reader.bytes(3)?;
            let serial = u32::from_le_bytes([serial[0], serial[1], serial[2], 0]);
            let version = u32::try_from(reader.number()?).map_err(|_| damaged())?;
            let mut word = || self.words.check(reader.number()?);
            let (agent, place, referrer) = (word()?, word()?, word()?);
            let (language, utm) = (word()?, word()?);
            let visitor = match flags & HAS_VISITOR {
                0 => 0,
                _ => u64::from_le_bytes(reader.bytes(8)?.try_into().map_err(|_| damaged())?),
            };
            let flags = ClickFlags(flags & !HAS_VISITOR);
            let at = Timestamp(at);
            let click = CountedClick {
                link,
                at,
                serial,
                version,
                flags,
                visitor,
                agent,
                place,
                referrer,
                language,
                utm,
            };
            if !each(click) {
                break;
            }
        }
        Ok(())
    }

    /// Clicks of people in a part, and the time of the newest in milliseconds.
    pub(in crate::storage) fn count(&self, mut part: Part<'_>) -> Outcome<(u64, u64)> {
        let (mut people, mut last_at) = (0, 0);
        let entries = &mut part.entries;
        self.read_clicks(entries, part.link, part.n_clicks, |click| {
            if !click.is_bot() {
                people += 1;
                last_at = last_at.max(click.at.as_millis().max(0) as u64);
            }
            true
        })?;
        for _ in 0..part.n_rows {
            let (_, stats) = read_row(entries, self.base, &self.words)?;
            people += stats.counts().people;
            let last = stats.people_at.map_or(0, |times| times.last.as_millis().max(0) as u64);
            last_at = last_at.max(last);
        }
        part.entries.finish()?;
        Ok((people, last_at))
    }
}

/// Unpacks a chunk.
pub(in crate::storage) fn decode(id: i64, body: &[u8]) -> Outcome<Chunk> {
    let (mut walk, mut chunk) = (Walk::open(id, body)?, Chunk::default());
    chunk.clicks.reserve(body.len() / CLICK_BYTES);
    while let Some(part) = walk.next()? {
        walk.read(part, &mut chunk)?;
    }
    chunk.words = walk.words.words()?;
    Ok(chunk)
}

/// Unpacks what a chunk holds of one link; nothing when that is nothing.
pub(in crate::storage) fn decode_link(id: i64, body: &[u8], link: Id) -> Outcome<Option<Chunk>> {
    let mut walk = Walk::open(id, body)?;
    let Some(part) = walk.find(link)? else { return Ok(None) };
    let mut chunk = Chunk::default();
    walk.read(part, &mut chunk)?;
    chunk.words = walk.words.words()?;
    Ok(Some(chunk))
}

/// Unpacks the single clicks of one link up to and with a time, and those texts that they use.
pub(in crate::storage) fn decode_until(
    id: i64,
    body: &[u8],
    link: Id,
    until: Timestamp,
) -> Outcome<Chunk> {
    let (mut walk, mut chunk) = (Walk::open(id, body)?, Chunk::default());
    if Timestamp(i64::from(walk.base) * MINUTE_MS) > until && walk.base > 0 {
        return Ok(chunk);
    }
    let Some(mut part) = walk.find(link)? else { return Ok(chunk) };
    walk.read_clicks(&mut part.entries, link, part.n_clicks, |click| {
        let wanted = click.at <= until;
        if wanted {
            chunk.clicks.push(click);
        }
        wanted
    })?;
    let mut known = vec![Word::NONE; walk.words.len()];
    for click in &mut chunk.clicks {
        for word in words_of(click) {
            let Some(at) = (word.0 as usize).checked_sub(1) else { continue };
            if known[at].is_none() {
                known[at] = chunk.words.push(walk.words.text(at)?.into());
            }
            *word = known[at];
        }
    }
    Ok(chunk)
}

/// All words of a click.
fn words_of(click: &mut CountedClick) -> [&mut Word; 5] {
    let CountedClick { agent, place, referrer, language, utm, .. } = click;
    [agent, place, referrer, language, utm]
}

fn first_link(clicks: &[CountedClick], surplus: &[Surplus]) -> Option<Id> {
    let (click, row) = (clicks.first().map(|click| click.link), surplus.first().map(|r| r.link));
    match (click, row) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

fn put_clicks(out: &mut Vec<u8>, clicks: &[CountedClick], base: u32, numbers: &mut Numbering) {
    let mut previous = i64::from(base) * MINUTE_MS;
    for click in clicks {
        let at = click.at.as_millis();
        // Signed: clicks before 1970, which have no minute of their own, come before the base.
        put(out, zigzag(at.wrapping_sub(previous)));
        previous = at;
        let visitor = if click.visitor == 0 { 0 } else { HAS_VISITOR };
        out.push((click.flags.0 & !HAS_VISITOR) | visitor);
        out.extend_from_slice(&click.serial.to_le_bytes()[..3]);
        put(out, click.version.into());
        for word in [click.agent, click.place, click.referrer, click.language, click.utm] {
            put(out, numbers.number(word));
        }
        if click.visitor != 0 {
            out.extend_from_slice(&click.visitor.to_le_bytes());
        }
    }
}

fn read_row(reader: &mut Reader<'_>, base: u32, words: &RawWords<'_>) -> Outcome<(u32, DayStats)> {
    let minute = u32::try_from(reader.number()?).map_err(|_| damaged())?;
    let minute = base.checked_add(minute).ok_or_else(damaged)?;
    Ok((minute, read_stats(reader, words)?))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::{
        assert_damage_is_found, clicks, in_words_of, spoilt, stats_in, surplus, words,
    };
    use super::*;

    fn packed(clicks: &[CountedClick], surplus: &[Surplus]) -> Vec<u8> {
        let words = words();
        encode(7, &words, &mut Numbering::new(&words), clicks, surplus)
    }

    /// The same with the words of `to`.
    fn click_in(click: &CountedClick, to: &Words) -> CountedClick {
        let from = words();
        let word = |word| in_words_of(word, &from, to);
        CountedClick {
            agent: word(click.agent),
            place: word(click.place),
            referrer: word(click.referrer),
            language: word(click.language),
            utm: word(click.utm),
            ..*click
        }
    }

    fn row_in(row: &Surplus, to: &Words) -> Surplus {
        Surplus { stats: stats_in(&row.stats, &words(), to), ..*row }
    }

    proptest! {
        #[test]
        fn a_chunk_reads_back_as_it_was_written(clicks in clicks(), surplus in surplus()) {
            let chunk = decode(7, &packed(&clicks, &surplus)).unwrap();
            let expected: Vec<_> =
                clicks.iter().map(|click| click_in(click, &chunk.words)).collect();
            prop_assert_eq!(&chunk.clicks, &expected);
            let rows: Vec<_> = surplus.iter().map(|row| row_in(row, &chunk.words)).collect();
            prop_assert_eq!(&chunk.surplus, &rows);
            prop_assert!(decode(8, &packed(&clicks, &surplus)).is_err(), "of another place");
        }

        #[test]
        fn a_link_reads_back_alone(
            clicks in clicks(),
            surplus in surplus(),
            other in any::<u64>(),
        ) {
            let body = packed(&clicks, &surplus);
            let links = clicks.iter().map(|click| click.link);
            for link in links.chain(surplus.iter().map(|row| row.link)).chain([Id(other)]) {
                let all = decode(7, &body).unwrap();
                let found = decode_link(7, &body, link).unwrap().unwrap_or_default();
                let own = all.clicks.iter().filter(|click| click.link == link);
                prop_assert_eq!(found.clicks, own.copied().collect::<Vec<_>>());
                let own = all.surplus.iter().filter(|row| row.link == link);
                prop_assert_eq!(found.surplus, own.cloned().collect::<Vec<_>>());
            }
        }

        #[test]
        fn a_walk_counts_people_and_tells_their_last(clicks in clicks()) {
            let body = packed(&clicks, &[]);
            let mut walk = Walk::open(7, &body).unwrap();
            while let Some(part) = walk.next().unwrap() {
                let link = part.link;
                let own = || clicks.iter().filter(|click| click.link == link && !click.is_bot());
                let last = own().map(|click| click.at.as_millis().max(0) as u64).max();
                let counted = walk.count(part).unwrap();
                prop_assert_eq!(counted, (own().count() as u64, last.unwrap_or(0)));
            }
        }

        #[test]
        fn damage_is_found(
            clicks in clicks(),
            surplus in surplus(),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let body = packed(&clicks, &surplus);
            assert_damage_is_found(&body, at.index(body.len()), bit, |body| {
                decode(7, body).is_err() && decode_link(7, body, Id(3)).is_err()
            });
        }

        #[test]
        fn damage_with_a_right_checksum_never_panics(
            clicks in clicks(),
            surplus in surplus(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let body = packed(&clicks, &surplus);
            for body in spoilt(&body, at.index(body.len()), byte) {
                let _ = decode(7, &body);
                let _ = decode_link(7, &body, Id(3));
            }
        }

        #[test]
        fn noise_with_a_right_checksum_never_panics(
            noise in prop::collection::vec(any::<u8>(), 4..400),
        ) {
            let mut body = noise;
            seal_at(7, &mut body);
            let _ = decode(7, &body);
            let _ = decode_link(7, &body, Id(3));
        }
    }
}
