//! The export loop: pages in, rows out.

use std::fmt;

use crate::service::import::ImportRow;

use super::write::{Output, RowWriter};
use super::{ExportArgs, Format, progress};

/// Gives rows: the store itself, or a running server.
pub trait ExportSource {
    /// How many rows there will be, about.
    fn total(&mut self) -> anyhow::Result<u64>;

    /// The next rows, oldest links first; an empty page is the end.
    fn next_page(&mut self) -> anyhow::Result<Vec<ImportRow>>;
}

/// What an export did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportReport {
    pub n_rows: u64,
}

/// The summary: one line, for standard error when the export itself goes to standard output.
impl fmt::Display for ExportReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} links exported", self.n_rows)
    }
}

/// Exports every link. Fails when the source or the output fails; no half file is left then.
pub fn export(args: &ExportArgs, source: &mut dyn ExportSource) -> anyhow::Result<ExportReport> {
    let format = Format::of(args.format, &args.file);
    let bar =
        progress(Some(source.total()?), "{bar:32} {percent:>3} %  {pos}/{len} links  {eta} left");
    let mut output = Output::open(&args.file)?;
    let outcome = run(&mut output, format, source, &|n_rows| bar.set_position(n_rows));
    bar.finish_and_clear();
    match outcome {
        Ok(report) => output.finish().map(|()| report),
        Err(error) => {
            output.abandon();
            Err(error)
        }
    }
}

fn run(
    output: &mut Output,
    format: Format,
    source: &mut dyn ExportSource,
    tell: &dyn Fn(u64),
) -> anyhow::Result<ExportReport> {
    let mut writer = RowWriter::open(output, format)?;
    let mut report = ExportReport::default();
    loop {
        let rows = source.next_page()?;
        if rows.is_empty() {
            break;
        }
        report.n_rows += rows.len() as u64;
        for row in rows {
            writer.write(row)?;
        }
        tell(report.n_rows);
    }
    writer.flush()?;
    Ok(report)
}
