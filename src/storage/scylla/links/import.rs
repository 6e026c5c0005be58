//! Imported batches, each taken in once. Ids and codes that a batch is given are kept before the
//! first link is made: however often it is tried, and by however many at once, every try makes the
//! same links.

use super::super::ids::signed;
use super::claim::{Placed, wanted};
use super::row::domain;
use super::{TRIES, crowded, each, waves};
use crate::domain::api_key::KeyDigest;
use crate::domain::audit::Act;
use crate::domain::code::{Code, LinkKey};
use crate::domain::id::Id;
use crate::domain::limits::CODE_ATTEMPTS_MAX;
use crate::domain::link::{Link, LinkStatus};
use crate::domain::scheme::CodeSeries;
use crate::domain::time::Timestamp;
use crate::storage::error::{Op, StorageResult};
use crate::storage::scylla::Cql;
use crate::storage::scylla::fault::is_unknown;
use crate::storage::scylla::run::damaged;
use crate::storage::{BatchAnswer, Imported, ImportedLink, patience};

const OP: Op = "import_links";

/// Where a batch stands before it is tried.
enum Begun {
    /// It is to be done, with these ids and codes.
    Plan(Vec<Planned>),
    Answered(Vec<Imported>),
    Other,
}

/// What every try of a batch uses for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Planned {
    id: Id,
    code: Code,
    series: Option<CodeSeries>,
}

impl Cql {
    pub(super) async fn import_batch(
        &self,
        (digest, fingerprint): (&[u8; 16], &KeyDigest),
        mut batch: Vec<ImportedLink>,
        act: Option<Act>,
    ) -> StorageResult<BatchAnswer> {
        // One after the other, as they came.
        let _turn = patience::within(OP, self.shared.links.import.lock()).await?;
        let plan = match self.begin_batch((digest, fingerprint), &batch).await? {
            Begun::Plan(plan) if plan.len() == batch.len() => plan,
            Begun::Plan(_) | Begun::Other => return Ok(BatchAnswer::Mismatch),
            Begun::Answered(rows) => return Ok(BatchAnswer::Known(rows)),
        };
        for (entry, planned) in batch.iter_mut().zip(plan) {
            (entry.link.id, entry.link.code) = (planned.id, planned.code);
            entry.series = planned.series;
        }
        self.note_buckets(OP, batch.iter().map(|entry| &entry.link)).await?;
        let (first, others) = waves(batch.len(), |n| wanted(&batch[n].link));
        let take_in = |n: usize| {
            let entry = &batch[n];
            async move { Ok((n, self.take_in_link(digest, entry).await?)) }
        };
        let mut rows = each(first, take_in).await?;
        for n in others {
            rows.push(take_in(n).await?);
        }
        rows.sort_by_key(|(n, _)| *n);
        let rows: Vec<Imported> = rows.into_iter().map(|(_, row)| row).collect();
        self.end_batch(digest, rows, act).await
    }

    /// Keeps what the tries of a batch use, or finds what an earlier one kept.
    async fn begin_batch(
        &self,
        (digest, fingerprint): (&[u8; 16], &KeyDigest),
        batch: &[ImportedLink],
    ) -> StorageResult<Begun> {
        let statements = &self.statements().links;
        let plan: Vec<Planned> = batch.iter().map(Planned::of).collect();
        for _ in 0..TRIES {
            let values = (digest.as_slice(), fingerprint.as_slice(), encode(&plan));
            match self.apply(OP, &statements.begin_batch, values).await {
                Ok(true) => return Ok(Begun::Plan(plan)),
                Ok(false) => (),
                Err(error) if is_unknown(&error) => (),
                Err(error) => return Err(error),
            }
            if let Some((of, plan, outcomes)) = self.batch_row(digest).await? {
                return Ok(match outcomes {
                    _ if of != fingerprint => Begun::Other,
                    Some(letters) => Begun::Answered(rows_of(&letters)?),
                    None => Begun::Plan(decode(&plan).ok_or_else(unreadable)?),
                });
            }
        }
        Err(crowded(OP))
    }

    async fn batch_row(
        &self,
        digest: &[u8; 16],
    ) -> StorageResult<Option<(Vec<u8>, Vec<u8>, Option<String>)>> {
        self.one(OP, &self.statements().links.batch, (digest.as_slice(),)).await
    }

    /// Keeps what became of a batch. Of several who did it at once, one tells of it.
    async fn end_batch(
        &self,
        digest: &[u8; 16],
        rows: Vec<Imported>,
        act: Option<Act>,
    ) -> StorageResult<BatchAnswer> {
        let (letters, statement) = (letters_of(&rows), &self.statements().links.end_batch);
        for _ in 0..TRIES {
            let values = (letters.as_str(), digest.as_slice());
            let unknown = match self.apply(OP, statement, values).await {
                Ok(true) => return Ok(self.tell_of_batch(rows, act).await),
                Ok(false) => false,
                Err(error) if is_unknown(&error) => true,
                Err(error) => return Err(error),
            };
            match self.batch_row(digest).await?.and_then(|(_, _, outcomes)| outcomes) {
                Some(kept) if unknown && kept == letters => {
                    return Ok(self.tell_of_batch(rows, act).await);
                }
                Some(kept) => return rows_of(&kept).map(BatchAnswer::Known),
                None => (),
            }
        }
        Err(crowded(OP))
    }

    async fn tell_of_batch(&self, rows: Vec<Imported>, act: Option<Act>) -> BatchAnswer {
        let is_new = |row: &&Imported| matches!(row, Imported::Created | Imported::Recoded(_));
        let created = rows.iter().filter(is_new).count();
        if let Some(act) = act.filter(|_| created > 0) {
            self.tell(vec![act.imported(created, rows.len() - created)]).await;
        }
        BatchAnswer::New(rows)
    }

    async fn take_in_link(
        &self,
        digest: &[u8; 16],
        entry: &ImportedLink,
    ) -> StorageResult<Imported> {
        if entry.foreign_sealed {
            self.mark_foreign_sealed(&entry.link).await?;
        }
        let outcome = self.place_in_series(entry).await?;
        if matches!(outcome, Imported::Created | Imported::Recoded(_)) && entry.clicks > 0 {
            let (clicks, last) = (entry.clicks, entry.last_clicked_at);
            self.add_imported_clicks(digest, entry.link.id, clicks, last).await?;
        }
        Ok(outcome)
    }

    /// Marks the domain before the link is there: without the mark, nobody would look for it.
    async fn mark_foreign_sealed(&self, link: &Link) -> StorageResult<()> {
        let there = self.link_at(OP, &link.key()).await?;
        if there.is_some_and(|there| there.id != link.id && !is_same(&there, link)) {
            return Ok(());
        }
        let statement = &self.statements().links.mark_foreign_sealed;
        self.put(OP, statement, (domain(link.domain),)).await
    }

    /// Puts a link at its code, or at the first free one of its series.
    async fn place_in_series(&self, entry: &ImportedLink) -> StorageResult<Imported> {
        let (first, mut link) = (entry.link.key(), entry.link.clone());
        let created = |key: LinkKey| match key == first {
            true => Imported::Created,
            false => Imported::Recoded(key),
        };
        for attempt in 1..=CODE_ATTEMPTS_MAX {
            match self.place_link(OP, &link).await? {
                Placed::Won => return Ok(created(link.key())),
                Placed::ExternalIdTaken => return Ok(Imported::ExternalIdTaken),
                // By an earlier try.
                Placed::Taken(Some(there)) if there.id == link.id => {
                    return Ok(created(link.key()));
                }
                Placed::Taken(Some(there)) if is_same(&there, &link) => {
                    return Ok(Imported::Unchanged);
                }
                Placed::Taken(_) => (),
            }
            let Some(series) = entry.series else { return Ok(Imported::Taken) };
            link.code = series.code(link.destination.as_str(), attempt);
        }
        Ok(Imported::Taken)
    }

    /// Adds clicks that a link brought along with a batch; again changes nothing.
    async fn add_imported_clicks(
        &self,
        digest: &[u8; 16],
        link: Id,
        clicks: u64,
        last: Option<Timestamp>,
    ) -> StorageResult<()> {
        let statement = &self.statements().links.put_imported_clicks;
        let values =
            (signed(link), digest.as_slice(), clicks.cast_signed(), last.map(Timestamp::as_millis));
        self.put(OP, statement, values).await
    }
}

impl Planned {
    fn of(entry: &ImportedLink) -> Self {
        Self { id: entry.link.id, code: entry.link.code, series: entry.series }
    }
}

/// The same owner and target; a deleted link is not the same as a living one.
fn is_same(there: &Link, wanted: &Link) -> bool {
    let deleted = |link: &Link| link.status == LinkStatus::Deleted;
    (there.workspace, &there.destination, deleted(there))
        == (wanted.workspace, &wanted.destination, deleted(wanted))
}

/// For each link its id, its code with the length before, and its series with a byte that says
/// which kind it is, zero for none.
fn encode(plan: &[Planned]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(plan.len() * 48);
    for Planned { id, code, series } in plan {
        bytes.extend_from_slice(&id.0.to_le_bytes());
        bytes.push(code.as_bytes().len() as u8);
        bytes.extend_from_slice(code.as_bytes());
        match series {
            None => bytes.push(0),
            Some(series) => {
                bytes.push(1 + u8::from(series.hashed));
                bytes.extend_from_slice(&(series.length as u32).to_le_bytes());
                bytes.extend_from_slice(&series.seed);
            }
        }
    }
    bytes
}

fn decode(mut bytes: &[u8]) -> Option<Vec<Planned>> {
    let mut plan = Vec::new();
    while !bytes.is_empty() {
        let id = Id(u64::from_le_bytes(take(&mut bytes)?));
        let [length] = take(&mut bytes)?;
        let code = Code::parse(bytes.split_off(..usize::from(length))?).ok()?;
        let series = match take(&mut bytes)? {
            [0] => None,
            [kind @ (1 | 2)] => Some(CodeSeries {
                hashed: kind == 2,
                length: u32::from_le_bytes(take(&mut bytes)?) as usize,
                seed: take(&mut bytes)?,
            }),
            _ => return None,
        };
        plan.push(Planned { id, code, series });
    }
    Some(plan)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

/// A letter for each outcome.
fn letters_of(rows: &[Imported]) -> String {
    rows.iter().map(Imported::letter).collect()
}

fn rows_of(letters: &str) -> StorageResult<Vec<Imported>> {
    letters.chars().map(|letter| Imported::from_letter(letter).ok_or_else(unreadable)).collect()
}

fn unreadable() -> crate::storage::error::StorageError {
    damaged(OP, "what is kept of an imported batch cannot be read")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_back_and_nothing_else() {
        let code = |text: &str| Code::parse(text.as_bytes()).unwrap();
        let series = CodeSeries { hashed: true, length: 7, seed: [3; 16] };
        let plan = vec![
            Planned { id: Id(1 << 62), code: code("a"), series: None },
            Planned { id: Id(2), code: code(&"z".repeat(50)), series: Some(series) },
            Planned {
                id: Id(3),
                code: code("b-_"),
                series: Some(CodeSeries { hashed: false, ..series }),
            },
        ];
        let bytes = encode(&plan);
        assert_eq!(decode(&bytes), Some(plan.clone()));
        let whole: Vec<usize> = (0..=plan.len()).map(|n| encode(&plan[..n]).len()).collect();
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]).is_some(), whole.contains(&cut), "cut at {cut}");
        }
    }

    #[test]
    fn outcomes_are_read_back() {
        let key = LinkKey::new(crate::domain::code::DomainId(1), Code::parse(b"a").unwrap());
        let rows = [
            Imported::Created,
            Imported::Recoded(key),
            Imported::Unchanged,
            Imported::Taken,
            Imported::ExternalIdTaken,
        ];
        assert_eq!(letters_of(&rows), "ccute");
        assert_eq!(letters_of(&rows_of("ccute").unwrap()), "ccute");
        assert!(rows_of("x").is_err());
    }
}
