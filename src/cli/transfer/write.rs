//! Rows into a file. A file appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;

use crate::service::import::ImportRow;

use super::Format;
use super::cells::Column;

/// Where an export goes.
pub(super) enum Output {
    Stdout(io::StdoutLock<'static>),
    /// Written beside its place and moved there at the end.
    File {
        file: File,
        unfinished: PathBuf,
        place: PathBuf,
    },
}

/// Writes rows of either format.
pub(super) enum RowWriter<W: Write> {
    Csv(Box<csv::Writer<W>>),
    Ndjson(BufWriter<W>),
}

impl Output {
    pub(super) fn open(file: &str) -> anyhow::Result<Self> {
        if file == "-" {
            return Ok(Self::Stdout(io::stdout().lock()));
        }
        let place = PathBuf::from(file);
        let mut unfinished = place.clone().into_os_string();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        let file = File::create(&unfinished)
            .with_context(|| format!("cannot create {}", unfinished.display()))?;
        Ok(Self::File { file, unfinished, place })
    }

    /// Makes a file durable and moves it to its place.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Stdout(mut out) => out.flush().context("cannot write to standard output"),
            Self::File { file, unfinished, place } => {
                file.sync_all().context("cannot write the file to the disk")?;
                fs::rename(&unfinished, &place)
                    .with_context(|| format!("cannot move the file to {}", place.display()))
            }
        }
    }

    /// Takes away what was written after a failure.
    pub(super) fn abandon(self) {
        if let Self::File { unfinished, .. } = self {
            // The failure that led here is what the operator needs to read, not this one.
            let _ = fs::remove_file(unfinished);
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File { file, .. } => file.flush(),
        }
    }
}

impl<W: Write> RowWriter<W> {
    /// Writes the header, where the format has one.
    pub(super) fn open(out: W, format: Format) -> anyhow::Result<Self> {
        match format {
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(out);
                writer.write_record(Column::ALL.iter().map(|(_, name)| name))?;
                Ok(Self::Csv(Box::new(writer)))
            }
            Format::Ndjson => Ok(Self::Ndjson(BufWriter::new(out))),
        }
    }

    pub(super) fn write(&mut self, mut row: ImportRow) -> anyhow::Result<()> {
        match self {
            Self::Csv(writer) => {
                for (column, _) in Column::ALL {
                    writer.write_field(column.take(&mut row))?;
                }
                writer.write_record(None::<&[u8]>)?;
            }
            Self::Ndjson(out) => {
                serde_json::to_writer(&mut *out, &row)?;
                out.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Csv(writer) => writer.flush(),
            Self::Ndjson(out) => out.flush(),
        }
    }
}
