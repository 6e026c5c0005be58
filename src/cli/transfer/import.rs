//! The import loop: rows in, batches out, a report at the end.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};

use anyhow::Context;

use crate::service::import::{BatchDigest, ImportRow, RowOutcome};

use super::read::{ReadRow, RowReader};
use super::{BATCH_ROWS, BatchOutcome, Format, ImportArgs, WrongUsage, progress};

/// Refused lines that are printed; all are counted.
const PROBLEMS_MAX: usize = 1_000;
/// Batches under way at once. The embedded store makes all that wait durable together, which
/// writes every page of its indexes once instead of once per batch.
const UNDER_WAY_MAX: usize = 64;
/// Bytes of cells under way at once: bounds the memory when rows are long.
const UNDER_WAY_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// Takes rows: the store itself, or a running server.
pub trait ImportTarget {
    /// Imports `rows` unless a batch with this digest was imported before.
    fn import(&mut self, digest: BatchDigest, rows: Vec<ImportRow>)
    -> anyhow::Result<BatchOutcome>;

    /// Like [`import`](Self::import), but may answer `None`: [`finish`](Self::finish) tells the
    /// outcome. Batches are imported in the order they were begun in.
    fn begin(
        &mut self,
        digest: BatchDigest,
        rows: Vec<ImportRow>,
    ) -> anyhow::Result<Option<BatchOutcome>> {
        self.import(digest, rows).map(Some)
    }

    /// Waits for the oldest batch that was begun and not finished.
    fn finish(&mut self) -> anyhow::Result<BatchOutcome> {
        anyhow::bail!("no batch is under way")
    }
}

/// A line that was not imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the row begins, counted from 1.
    pub line: u64,
    pub reason: String,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    pub dry_run: bool,
    /// Rows read, without the header.
    pub n_rows: u64,
    pub n_created: u64,
    pub n_unchanged: u64,
    /// Rows that an earlier run of the same import had done.
    pub n_done_before: u64,
    pub n_refused: u64,
    /// The first of the refused lines, in order.
    pub problems: Vec<Problem>,
}

/// Rows that go together.
struct Batch {
    digest: BatchDigest,
    /// Rows read, bad ones included.
    n_read: usize,
    n_bytes: usize,
    /// Where the good rows begin.
    lines: Vec<u64>,
    rows: Vec<ImportRow>,
    /// Rows with a bad cell.
    refused: Vec<Problem>,
}

/// Batches that were begun, in order, and what came of those that are finished.
struct UnderWay<'a> {
    target: &'a mut dyn ImportTarget,
    batches: VecDeque<(Batch, Option<BatchOutcome>)>,
    n_bytes: usize,
    /// Rows of finished batches.
    n_done: u64,
    report: ImportReport,
}

/// Imports a file, batch by batch; a dry run needs a target that writes nothing. Fails with
/// [`WrongUsage`] when the file does not fit the command, else when reading or the target fails;
/// run again, it goes on where it stopped.
pub fn import(args: &ImportArgs, target: &mut dyn ImportTarget) -> anyhow::Result<ImportReport> {
    let format = Format::of(args.format, &args.file);
    let (input, n_bytes): (Box<dyn Read>, _) = if args.file == "-" {
        (Box::new(io::stdin().lock()), None)
    } else {
        let file = File::open(&args.file)
            .map_err(|error| WrongUsage(format!("cannot open {}: {error}", args.file)))?;
        let metadata = file.metadata().with_context(|| format!("cannot open {}", args.file))?;
        let n_bytes = metadata.is_file().then_some(metadata.len());
        (Box::new(file), n_bytes)
    };
    let template = match n_bytes {
        Some(_) => "{bar:32} {percent:>3} %  {bytes}/{total_bytes}  {msg} rows  {eta} left",
        None => "{spinner} {bytes}  {msg} rows",
    };
    let bar = progress(n_bytes, template);
    let outcome = run(args, format, bar.wrap_read(input), target, &|n_rows| {
        bar.set_message(n_rows.to_string());
    });
    bar.finish_and_clear();
    outcome
}

impl ImportReport {
    /// True when every line was taken.
    pub fn is_clean(&self) -> bool {
        self.n_refused == 0
    }

    /// Writes one line per refused row, for standard error. Kinds: those of `out`.
    pub fn write_problems(&self, out: &mut dyn Write) -> io::Result<()> {
        for Problem { line, reason } in &self.problems {
            writeln!(out, "line {line}: {reason}")?;
        }
        let n_more = self.n_refused.saturating_sub(self.problems.len() as u64);
        if n_more > 0 {
            writeln!(out, "and {n_more} more lines")?;
        }
        if !self.is_clean() && !self.dry_run {
            writeln!(out, "Put the corrected lines into a file of their own and import that.")?;
        }
        Ok(())
    }

    /// Counts a batch.
    fn settle(&mut self, batch: Batch, outcome: BatchOutcome) {
        self.n_rows += batch.n_read as u64;
        let mut refused = batch.refused;
        let (outcomes, before) = match outcome {
            BatchOutcome::Done(outcomes) => (outcomes, false),
            BatchOutcome::DoneBefore(outcomes) => (outcomes, true),
        };
        for (line, outcome) in batch.lines.into_iter().zip(outcomes) {
            if let Some(reason) = self.count(outcome, before) {
                refused.push(Problem { line, reason });
            }
        }
        // Bad cells were found when a row was read, broken rules when its batch was sent.
        refused.sort_by_key(|problem| problem.line);
        self.n_refused += refused.len() as u64;
        refused.truncate(PROBLEMS_MAX.saturating_sub(self.problems.len()));
        self.problems.append(&mut refused);
    }

    /// Counts a row that was taken, or says why it was refused.
    fn count(&mut self, outcome: RowOutcome, before: bool) -> Option<String> {
        match outcome {
            RowOutcome::Created | RowOutcome::Unchanged if before => self.n_done_before += 1,
            RowOutcome::Created => self.n_created += 1,
            RowOutcome::Unchanged => self.n_unchanged += 1,
            RowOutcome::Taken => return Some("`code` is or was in use by another link".into()),
            RowOutcome::ExternalIdTaken => {
                return Some("`external_id` belongs to another link".into());
            }
            RowOutcome::Invalid(reason) => return Some(reason),
            RowOutcome::Unknown => {
                return Some(
                    "was imported before under other rules; what became of it is not remembered"
                        .into(),
                );
            }
        }
        None
    }
}

impl UnderWay<'_> {
    /// Begins a batch, then finishes old ones until there is room for another.
    fn begin(&mut self, mut batch: Batch) -> anyhow::Result<()> {
        let rows = std::mem::take(&mut batch.rows);
        let outcome = match rows.len() {
            0 => Some(BatchOutcome::Done(Vec::new())),
            _ => self.target.begin(batch.digest, rows)?,
        };
        self.n_bytes += batch.n_bytes;
        self.batches.push_back((batch, outcome));
        while self.batches.len() >= UNDER_WAY_MAX
            || self.n_bytes >= UNDER_WAY_BYTES_MAX
            || self.batches.front().is_some_and(|(_, outcome)| outcome.is_some())
        {
            self.finish_one()?;
        }
        Ok(())
    }

    fn finish_all(&mut self) -> anyhow::Result<()> {
        while !self.batches.is_empty() {
            self.finish_one()?;
        }
        Ok(())
    }

    fn finish_one(&mut self) -> anyhow::Result<()> {
        let Some((batch, outcome)) = self.batches.pop_front() else { return Ok(()) };
        self.n_bytes -= batch.n_bytes;
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => self.target.finish()?,
        };
        let (BatchOutcome::Done(outcomes) | BatchOutcome::DoneBefore(outcomes)) = &outcome;
        let fits = outcomes.len() == batch.lines.len();
        anyhow::ensure!(fits, "the answer does not fit the rows sent");
        self.n_done += batch.n_read as u64;
        self.report.settle(batch, outcome);
        Ok(())
    }
}

/// The summary: one line for standard output.
impl fmt::Display for ImportReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { n_rows, n_created, n_unchanged, n_done_before, n_refused, .. } = self;
        if self.dry_run {
            return write!(
                out,
                "{n_rows} rows: {n_created} can be imported, {n_unchanged} unchanged, {n_refused} \
                 refused; nothing written"
            );
        }
        write!(
            out,
            "{n_rows} rows: {n_created} created, {n_unchanged} unchanged, {n_done_before} done \
             before, {n_refused} refused"
        )
    }
}

fn run(
    args: &ImportArgs,
    format: Format,
    input: impl Read,
    target: &mut dyn ImportTarget,
    tell: &dyn Fn(u64),
) -> anyhow::Result<ImportReport> {
    let mut reader = RowReader::open(input, format, args.ignore_unknown)?;
    let report = ImportReport { dry_run: args.dry_run, ..ImportReport::default() };
    let batches = VecDeque::with_capacity(UNDER_WAY_MAX);
    let mut under_way = UnderWay { target, batches, n_bytes: 0, n_done: 0, report };
    let imported = import_all(&mut reader, &mut under_way, tell);
    let n_done = under_way.n_done;
    imported.with_context(|| match (n_done, args.dry_run) {
        (0, _) | (_, true) => "nothing was imported".to_owned(),
        _ => format!("{n_done} rows are done; run the same command again to go on"),
    })?;
    Ok(under_way.report)
}

fn import_all(
    reader: &mut RowReader<impl Read>,
    under_way: &mut UnderWay<'_>,
    tell: &dyn Fn(u64),
) -> anyhow::Result<()> {
    for index in 0_u64.. {
        match next_batch(reader, index) {
            Ok(Some(batch)) => under_way.begin(batch)?,
            Ok(None) => break,
            Err(error) => {
                // What stands before the unreadable place is imported, and counted.
                under_way.finish_all()?;
                return Err(error);
            }
        }
        tell(under_way.n_done);
    }
    under_way.finish_all()
}

/// Reads the rows of one batch, bad ones included: they are refused here and counted in the
/// digest. The digest names the place of the batch in the file and all of its bytes, so that a
/// file that was corrected at one place is imported again there only.
fn next_batch(reader: &mut RowReader<impl Read>, index: u64) -> anyhow::Result<Option<Batch>> {
    let mut hasher = blake3::Hasher::new_derive_key("shunt 2026 batch of an import");
    hasher.update(&index.to_le_bytes());
    reader.begin(&mut hasher);
    let mut batch = Batch {
        digest: BatchDigest::default(),
        n_read: 0,
        n_bytes: 0,
        lines: Vec::new(),
        rows: Vec::new(),
        refused: Vec::new(),
    };
    while batch.n_read < BATCH_ROWS {
        let Some(ReadRow { line, n_bytes, row }) = reader.next(&mut hasher)? else { break };
        batch.n_read += 1;
        batch.n_bytes += n_bytes;
        match row {
            Ok(row) => {
                batch.lines.push(line);
                batch.rows.push(row);
            }
            Err(reason) => batch.refused.push(Problem { line, reason }),
        }
    }
    hasher.finalize_xof().fill(&mut batch.digest);
    Ok((batch.n_read > 0).then_some(batch))
}
