//! The import loop: rows in, batches out, a report at the end.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};

use anyhow::Context;

use crate::service::import::{BatchDigest, ImportContext, ImportRow, RowOutcome};

use super::read::{ReadRow, RowReader};
use super::{BATCH_ROWS, BatchOutcome, Format, ImportArgs, WrongUsage, progress};

/// Refused lines that are printed; all are counted.
const PROBLEMS_MAX: usize = 1_000;

/// Takes rows: the store itself, or a running server.
pub trait ImportTarget {
    /// Imports `rows` unless a batch with this digest was imported before.
    fn import(&mut self, digest: BatchDigest, rows: Vec<ImportRow>)
    -> anyhow::Result<BatchOutcome>;
}

/// Judges rows and keeps none: the other end of a dry run.
pub struct Checker {
    pub context: ImportContext,
    /// The name of the default domain is not known here, so none is refused.
    pub any_domain: bool,
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
    lines: Vec<u64>,
    rows: Vec<ImportRow>,
}

/// Imports a file, batch by batch; a dry run needs a [`Checker`] as target. Fails with
/// [`WrongUsage`] when the file does not fit the
/// command, else when reading or the target fails; run again, it goes on where it stopped.
pub fn import(args: &ImportArgs, target: &mut dyn ImportTarget) -> anyhow::Result<ImportReport> {
    let format = Format::of(args.format, &args.file)?;
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

impl ImportTarget for Checker {
    /// `Created` stands for a row that could be imported.
    fn import(&mut self, _: BatchDigest, rows: Vec<ImportRow>) -> anyhow::Result<BatchOutcome> {
        let judged = rows.into_iter().map(|mut row| {
            if self.any_domain {
                row.domain = None;
            }
            match row.judge(&self.context) {
                Ok(_) => RowOutcome::Created,
                Err(error) => RowOutcome::Invalid(error.to_string()),
            }
        });
        Ok(BatchOutcome::Done(judged.collect()))
    }
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

    fn refuse(&mut self, line: u64, reason: impl Into<String>) {
        self.n_refused += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { line, reason: reason.into() });
        }
    }

    fn settle(&mut self, line: u64, outcome: RowOutcome) {
        match outcome {
            RowOutcome::Created => self.n_created += 1,
            RowOutcome::Unchanged => self.n_unchanged += 1,
            RowOutcome::Taken => {
                self.refuse(line, "`code` is or was in use by another link");
            }
            RowOutcome::ExternalIdTaken => {
                self.refuse(line, "`external_id` belongs to another link");
            }
            RowOutcome::Invalid(reason) => self.refuse(line, reason),
        }
    }
}

/// The summary: one line for standard output.
impl fmt::Display for ImportReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { n_rows, n_created, n_unchanged, n_done_before, n_refused, .. } = self;
        if self.dry_run {
            return write!(
                out,
                "{n_rows} rows: {n_created} can be imported, {n_refused} refused; nothing written"
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
    let mut report = ImportReport { dry_run: args.dry_run, ..ImportReport::default() };
    for index in 0_u64.. {
        let done = report.n_rows;
        let again = || match (done, args.dry_run) {
            (0, _) | (_, true) => "nothing was imported".to_owned(),
            _ => format!("{done} rows are done; run the same command again to go on"),
        };
        let Some(batch) = next_batch(&mut reader, index, &mut report).with_context(again)? else {
            break;
        };
        let outcome = send(target, batch.digest, batch.rows).with_context(again)?;
        match outcome {
            BatchOutcome::DoneBefore(refused) => {
                report.n_done_before += (batch.lines.len() - refused.len()) as u64;
                for (place, reason) in refused {
                    report.refuse(batch.lines[place], reason);
                }
            }
            BatchOutcome::Done(outcomes) => {
                for (line, outcome) in batch.lines.into_iter().zip(outcomes) {
                    report.settle(line, outcome);
                }
            }
        }
        tell(report.n_rows);
    }
    // Bad cells are found when a row is read, broken rules when its batch was sent.
    report.problems.sort_by_key(|problem| problem.line);
    Ok(report)
}

fn send(
    target: &mut dyn ImportTarget,
    digest: BatchDigest,
    rows: Vec<ImportRow>,
) -> anyhow::Result<BatchOutcome> {
    let n_rows = rows.len();
    let outcome = match n_rows {
        0 => BatchOutcome::Done(Vec::new()),
        _ => target.import(digest, rows)?,
    };
    if let BatchOutcome::Done(outcomes) = &outcome {
        anyhow::ensure!(outcomes.len() == n_rows, "the answer does not fit the rows sent");
    }
    Ok(outcome)
}

/// Reads the rows of one batch, bad ones included: they are refused here and counted in the
/// digest. The digest names the place of the batch in the file and all of its bytes, so that a
/// file that was corrected at one place is imported again there only.
fn next_batch(
    reader: &mut RowReader<impl Read>,
    index: u64,
    report: &mut ImportReport,
) -> anyhow::Result<Option<Batch>> {
    let mut hasher = blake3::Hasher::new_derive_key("shunt 2026 batch of an import");
    hasher.update(&index.to_le_bytes());
    reader.begin(&mut hasher);
    let mut batch = Batch { digest: BatchDigest::default(), lines: Vec::new(), rows: Vec::new() };
    let mut n_read = 0;
    while n_read < BATCH_ROWS {
        let Some(ReadRow { line, row }) = reader.next(&mut hasher)? else { break };
        n_read += 1;
        match row {
            Ok(row) => {
                batch.lines.push(line);
                batch.rows.push(row);
            }
            Err(reason) => report.refuse(line, reason),
        }
    }
    report.n_rows += n_read as u64;
    hasher.finalize_xof().fill(&mut batch.digest);
    Ok((n_read > 0).then_some(batch))
}
