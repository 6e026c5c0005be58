//! Rows out of a file, one at a time. A bad row is told apart from a file that cannot be read on.

use std::io::{self, BufRead, BufReader, Read};

use anyhow::{Context, anyhow, bail};

use crate::service::import::ImportRow;

use super::cells::Column;
use super::{Format, ROW_BYTES_MAX, WrongUsage};

/// One row and where it began, counted from 1.
pub(super) struct ReadRow {
    pub(super) line: u64,
    /// Bytes of its cells.
    pub(super) n_bytes: usize,
    /// The row, or what is wrong with it.
    pub(super) row: Result<ImportRow, String>,
}

/// Reads rows of either format.
pub(super) enum RowReader<R: Read> {
    Csv(Box<CsvRows<R>>),
    Ndjson(NdjsonRows<R>),
}

/// Rows under a header.
pub(super) struct CsvRows<R: Read> {
    reader: csv::Reader<Limited<R>>,
    /// What each column is; `None` for one that is left out.
    columns: Vec<Option<Column>>,
    /// What the header contributes to the digest of every batch.
    header: [u8; 32],
    record: csv::ByteRecord,
}

/// One object per line.
pub(super) struct NdjsonRows<R: Read> {
    reader: BufReader<R>,
    ignore_unknown: bool,
    line: u64,
    text: Vec<u8>,
}

/// Fails a read that takes more than a row may have, so that an open quotation mark cannot pull a
/// whole file into memory.
pub(super) struct Limited<R> {
    inner: R,
    left: usize,
    /// Rows of this file end with CR LF: the parser sees the LF only with the next row.
    crlf: Option<bool>,
    last: u8,
}

impl<R: Read> RowReader<R> {
    /// Reads what stands before the rows. Fails with [`WrongUsage`] when it does not fit.
    pub(super) fn open(input: R, format: Format, ignore_unknown: bool) -> anyhow::Result<Self> {
        match format {
            Format::Csv => Ok(Self::Csv(Box::new(CsvRows::open(input, ignore_unknown)?))),
            Format::Ndjson => Ok(Self::Ndjson(NdjsonRows {
                reader: BufReader::with_capacity(64 * 1_024, input),
                ignore_unknown,
                line: 0,
                text: Vec::new(),
            })),
        }
    }

    /// The next row, mixed into `digest` byte for byte; `None` at the end. Fails when the file
    /// cannot be read on.
    pub(super) fn next(&mut self, digest: &mut blake3::Hasher) -> anyhow::Result<Option<ReadRow>> {
        match self {
            Self::Csv(rows) => rows.next(digest),
            Self::Ndjson(rows) => rows.next(digest),
        }
    }

    /// Mixes into `digest` what all rows depend on.
    pub(super) fn begin(&self, digest: &mut blake3::Hasher) {
        match self {
            Self::Csv(rows) => digest.update(&rows.header),
            Self::Ndjson(_) => digest.update(b"ndjson"),
        };
    }
}

impl<R: Read> CsvRows<R> {
    fn open(input: R, ignore_unknown: bool) -> anyhow::Result<Self> {
        let limited = Limited { inner: input, left: ROW_BYTES_MAX, crlf: None, last: 0 };
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            // Rows of another width are reported one by one, not the end of everything.
            .flexible(true)
            .buffer_capacity(64 * 1_024)
            .from_reader(limited);
        let mut record = csv::ByteRecord::new();
        if !reader.read_byte_record(&mut record).context("cannot read the header row")? {
            return Err(WrongUsage("the file is empty: a header row is missing".into()).into());
        }
        let columns = columns(&record, ignore_unknown)?;
        let mut header = blake3::Hasher::new();
        mix(&mut header, &record);
        Ok(Self { reader, columns, header: *header.finalize().as_bytes(), record })
    }

    fn next(&mut self, digest: &mut blake3::Hasher) -> anyhow::Result<Option<ReadRow>> {
        let before = self.line_now();
        self.reader.get_mut().left = ROW_BYTES_MAX;
        let found = self.reader.read_byte_record(&mut self.record);
        if !found.map_err(|error| unreadable(before, error))? {
            return Ok(None);
        }
        mix(digest, &self.record);
        let n_lines = self.line_now().saturating_sub(before).max(1);
        let row = self.row().map_err(|reason| match n_lines {
            1 => reason,
            _ => {
                format!("{reason} (the row takes {n_lines} lines: is a quotation mark left open?)")
            }
        });
        Ok(Some(ReadRow { line: before, n_bytes: self.record.as_slice().len(), row }))
    }

    /// The line that the next row begins in.
    fn line_now(&self) -> u64 {
        let behind = self.reader.get_ref().crlf == Some(true);
        self.reader.position().line() + u64::from(behind)
    }

    fn row(&self) -> Result<ImportRow, String> {
        let (found, expected) = (self.record.len(), self.columns.len());
        if found != expected {
            return Err(format!("there are {found} columns, the header has {expected}"));
        }
        let mut row = ImportRow::default();
        for (column, cell) in self.columns.iter().zip(&self.record) {
            let Some(column) = column else { continue };
            let cell = std::str::from_utf8(cell)
                .map_err(|_| format!("`{}` is not valid UTF-8", column.name()))?;
            column.put(&mut row, cell)?;
        }
        Ok(row)
    }
}

impl<R: Read> NdjsonRows<R> {
    fn next(&mut self, digest: &mut blake3::Hasher) -> anyhow::Result<Option<ReadRow>> {
        loop {
            self.line += 1;
            let (n_bytes, fits) = self
                .read_line()
                .with_context(|| format!("cannot read on at line {}", self.line))?;
            if n_bytes == 0 {
                return Ok(None);
            }
            let text = self.text.trim_ascii();
            if text.is_empty() && fits {
                continue;
            }
            digest.update(&n_bytes.to_le_bytes()).update(text);
            let row = if fits {
                ImportRow::from_json(text, self.ignore_unknown)
            } else {
                Err(format!("the line is longer than {ROW_BYTES_MAX} bytes"))
            };
            return Ok(Some(ReadRow { line: self.line, n_bytes: text.len(), row }));
        }
    }

    /// Reads to the end of a line and keeps at most [`ROW_BYTES_MAX`] of it. Answers how many bytes
    /// there were and whether all were kept.
    fn read_line(&mut self) -> io::Result<(u64, bool)> {
        self.text.clear();
        let (mut n_bytes, mut fits) = (0, true);
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            let end = buffer.iter().position(|byte| *byte == b'\n').map(|index| index + 1);
            let used = end.unwrap_or(buffer.len());
            let kept = used.min(ROW_BYTES_MAX - self.text.len());
            self.text.extend_from_slice(&buffer[..kept]);
            fits &= kept == used;
            self.reader.consume(used);
            n_bytes += used as u64;
            if end.is_some() {
                break;
            }
        }
        if self.line == 1 && self.text.starts_with(b"\xEF\xBB\xBF") {
            self.text.drain(..3);
        }
        Ok((n_bytes, fits))
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let allowed = buffer.len().min(self.left);
        let n_bytes = self.inner.read(&mut buffer[..allowed])?;
        self.left -= n_bytes;
        let read = &buffer[..n_bytes];
        if self.crlf.is_none()
            && let Some(end) = read.iter().position(|byte| *byte == b'\n')
        {
            let before = if end == 0 { self.last } else { read[end - 1] };
            self.crlf = Some(before == b'\r');
        }
        self.last = read.last().copied().unwrap_or(self.last);
        Ok(n_bytes)
    }
}

/// Finds out what each column is. All that are not known are named at once.
fn columns(header: &csv::ByteRecord, ignore: bool) -> anyhow::Result<Vec<Option<Column>>> {
    let mut columns = Vec::with_capacity(header.len());
    let mut unknown = Vec::new();
    for name in header {
        let name = std::str::from_utf8(name)
            .map_err(|_| WrongUsage("the header row is not valid UTF-8".into()))?;
        let column = Column::named(name);
        if column.is_none() {
            unknown.push(format!("`{}`", name.escape_debug()));
        } else if columns.contains(&column) {
            bail!(WrongUsage(format!("the column `{name}` stands twice in the header row")));
        }
        columns.push(column);
    }
    if !unknown.is_empty() && !ignore {
        let known: Vec<_> = Column::known().map(|(_, name)| name).collect();
        bail!(WrongUsage(format!(
            "unknown columns: {}; leave them out with `--ignore-unknown`. Known are: {}",
            unknown.join(", "),
            known.join(", ")
        )));
    }
    if !columns.contains(&Some(Column::Destination)) {
        bail!(WrongUsage("the header row names no column `destination`".into()));
    }
    Ok(columns)
}

/// Mixes the cells in, with their lengths: `a,b` is not `ab`.
fn mix(digest: &mut blake3::Hasher, record: &csv::ByteRecord) {
    digest.update(&(record.len() as u64).to_le_bytes());
    for cell in record {
        digest.update(&(cell.len() as u64).to_le_bytes()).update(cell);
    }
}

fn unreadable(line: u64, error: csv::Error) -> anyhow::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => anyhow!(
            "line {line} begins a row of more than {ROW_BYTES_MAX} bytes: is a quotation mark left \
             open?"
        ),
        csv::ErrorKind::Io(error) => {
            anyhow::Error::from(error).context(format!("cannot read on at line {line}"))
        }
        kind => anyhow!("cannot read on at line {line}: {kind:?}"),
    }
}
