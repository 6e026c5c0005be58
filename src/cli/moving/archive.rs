//! An archive on disk: a folder with a manifest and parts, each of which holds records of one kind,
//! one line of JSON per record.
//!
//! The manifest says what each part is and hashes to, and what all records of a kind add up to. It
//! is written last: without it nothing in the folder counts. Its first line is JSON, its second one
//! the hash of the first, which also names the archive.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::storage::moving::{Kind, Record, Sum};

/// The layout that this build writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// Name of the manifest in the folder.
pub const MANIFEST: &str = "manifest.json";

const PROGRAM: &str = "shunt archive";
/// Bytes of a part, about: what is read again when an import goes on is no more than this.
const PART_BYTES: u64 = 64 << 20;
/// Bytes of the longest line that is read: sums of a day with full sketches in every hour.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Records, and bytes of them, that are put together.
const PAGE_RECORDS: usize = 1_000;
const PAGE_BYTES: usize = 4 << 20;
/// The archive holds the secrets of the installation.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// What an archive holds.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    program: String,
    format: u32,
    /// Version of the program that wrote it.
    pub version: String,
    /// Milliseconds since 1970.
    pub made_at: i64,
    pub kinds: Vec<KindLine>,
    parts: Vec<PartLine>,
}

/// What all records of a kind add up to.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KindLine {
    pub kind: String,
    pub count: u64,
    pub sum: String,
}

#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct PartLine {
    file: String,
    kind: String,
    records: u64,
    bytes: u64,
    blake3: String,
}

impl KindLine {
    pub fn new(kind: Kind, sum: &Sum) -> Self {
        Self { kind: kind.as_str().to_owned(), count: sum.count, sum: sum.to_string() }
    }
}

/// An archive in the making.
pub struct Writer {
    folder: PathBuf,
    manifest: Manifest,
    part: Option<Part>,
}

struct Part {
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    line: PartLine,
}

impl Writer {
    /// Begins an archive in a folder that is empty, or made.
    pub fn create(folder: &Path, made_at: i64) -> Result<Self> {
        let shown = folder.display();
        if folder.exists() {
            let mut entries = fs::read_dir(folder).with_context(|| format!("reading {shown}"))?;
            ensure!(entries.next().is_none(), "{shown} is not empty; name another folder");
        } else {
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(FOLDER_MODE).create(folder);
            made.with_context(|| format!("making {shown}"))?;
        }
        let manifest = Manifest {
            program: PROGRAM.to_owned(),
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            made_at,
            kinds: Vec::new(),
            parts: Vec::new(),
        };
        Ok(Self { folder: folder.to_owned(), manifest, part: None })
    }

    /// Adds a record. Those of a kind come one after the other.
    pub fn add(&mut self, record: &Record) -> Result<()> {
        let kind = record.kind().as_str();
        let has_room = |part: &Part| part.line.kind == kind && part.line.bytes < PART_BYTES;
        if !self.part.as_ref().is_some_and(has_room) {
            self.end_part()?;
            self.part = Some(self.begin_part(kind)?);
        }
        let part = self.part.as_mut().context("a part is open")?;
        let mut line = record.to_line();
        line.push('\n');
        part.file.write_all(line.as_bytes()).context("writing the archive")?;
        part.hasher.update(line.as_bytes());
        part.line.records += 1;
        part.line.bytes += line.len() as u64;
        Ok(())
    }

    fn begin_part(&self, kind: &str) -> Result<Part> {
        let file = format!("{:06}-{kind}.ndjson", self.manifest.parts.len() + 1);
        let path = self.folder.join(&file);
        let opened = create_file(&path).with_context(|| format!("making {}", path.display()))?;
        let (kind, blake3) = (kind.to_owned(), String::new());
        let line = PartLine { file, kind, records: 0, bytes: 0, blake3 };
        Ok(Part { file: BufWriter::new(opened), hasher: blake3::Hasher::new(), line })
    }

    fn end_part(&mut self) -> Result<()> {
        let Some(part) = self.part.take() else { return Ok(()) };
        let Part { file, hasher, mut line } = part;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).context("writing the archive")?;
        line.blake3 = hasher.finalize().to_string();
        self.manifest.parts.push(line);
        Ok(())
    }

    /// Notes what all records of a kind add up to.
    pub fn end_kind(&mut self, line: KindLine) -> Result<()> {
        self.manifest.kinds.push(line);
        self.end_part()
    }

    /// Writes the manifest: from now on it is an archive.
    pub fn finish(mut self) -> Result<Archive> {
        self.end_part()?;
        let line = serde_json::to_string(&self.manifest).context("writing the manifest")?;
        let id = blake3::hash(line.as_bytes());
        let (draft, path) = (self.folder.join("manifest.draft"), self.folder.join(MANIFEST));
        let write = || -> io::Result<()> {
            let mut file = create_file(&draft)?;
            file.write_all(format!("{line}\nblake3 {id}\n").as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().with_context(|| format!("writing {}", path.display()))?;
        Ok(Archive { folder: self.folder, manifest: self.manifest, id: id.into() })
    }
}

fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)
}

/// A whole archive.
#[derive(Debug)]
pub struct Archive {
    folder: PathBuf,
    pub manifest: Manifest,
    /// Names it: the hash of its manifest.
    pub id: [u8; 32],
}

impl Archive {
    /// Opens an archive and believes its manifest when that is whole.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let shown = path.display();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
                "{} is no archive, or its export was cut short: {MANIFEST} is missing",
                folder.display()
            ),
            Err(error) => return Err(error).with_context(|| format!("reading {shown}")),
        };
        let text = str::from_utf8(&bytes).unwrap_or_default();
        let (line, rest) = text.split_once('\n').unwrap_or_default();
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        ensure!(value["program"] == PROGRAM, "{shown} is damaged, or of another program");
        let format = value["format"].as_u64();
        if let Some(format) = format.filter(|format| *format > u64::from(FORMAT)) {
            bail!(
                "{shown} was written by a newer Shunt (format {format}, this build reads {FORMAT})"
            );
        }
        let id = blake3::hash(line.as_bytes());
        ensure!(rest == format!("blake3 {id}\n"), "{shown} is damaged: its hash does not fit");
        let manifest: Manifest =
            serde_json::from_str(line).with_context(|| format!("{shown} is malformed"))?;
        ensure!(manifest.format == FORMAT, "{shown} has the unknown format {}", manifest.format);
        Ok(Self { folder: folder.to_owned(), manifest, id: id.into() })
    }

    /// Records in all parts.
    pub fn n_records(&self) -> u64 {
        self.manifest.parts.iter().map(|part| part.records).sum()
    }

    /// Reads every byte: all parts are what was written, and their records add up.
    pub fn check(&self) -> Result<()> {
        let (mut kinds, mut sum) = (Vec::<KindLine>::new(), Sum::default());
        let mut known = Kind::ALL.iter().peekable();
        for part in &self.manifest.parts {
            let kind = self.kind_of(part)?;
            // Kinds follow each other in their order.
            while let Some(next) = known.next_if(|next| **next < kind) {
                kinds.push(KindLine::new(*next, &std::mem::take(&mut sum)));
            }
            ensure!(known.peek() == Some(&&kind), "{}: out of order", part.file);
            self.check_part(part, kind, &mut sum)?;
        }
        for next in known {
            kinds.push(KindLine::new(*next, &std::mem::take(&mut sum)));
        }
        ensure!(kinds == self.manifest.kinds, "the records do not add up to what {MANIFEST} says");
        Ok(())
    }

    fn kind_of(&self, part: &PartLine) -> Result<Kind> {
        let kind = Kind::from_word(&part.kind);
        kind.with_context(|| format!("{}: there are no records of {}", part.file, part.kind))
    }

    fn check_part(&self, part: &PartLine, kind: Kind, sum: &mut Sum) -> Result<()> {
        let mut lines = self.lines(part)?;
        let (mut hasher, mut n_bytes, mut n_records) = (blake3::Hasher::new(), 0, 0);
        while let Some(line) = lines.next_line()? {
            hasher.update(line.as_bytes());
            n_bytes += line.len() as u64;
            n_records += 1;
            sum.add(&lines.parse(kind, line.trim_end_matches('\n'))?);
        }
        let found = (n_records, n_bytes, hasher.finalize().to_string());
        let written = (part.records, part.bytes, part.blake3.clone());
        ensure!(found == written, "{} is damaged: its hash does not fit", lines.shown());
        Ok(())
    }

    fn lines(&self, part: &PartLine) -> Result<Lines> {
        let file = Path::new(&part.file).file_name().context("a part without a name")?;
        let path = self.folder.join(file);
        let opened = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        Ok(Lines { path, file: BufReader::new(opened), number: 0 })
    }

    /// Hands out records from number `from` on, in pages, each of one kind.
    pub fn pages(&self, from: u64) -> Pages<'_> {
        Pages { archive: self, from, next: 0, part: 0, lines: None }
    }
}

struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    number: u64,
}

impl Lines {
    fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// The next line with its end. `None`: that was all.
    fn next_line(&mut self) -> Result<Option<String>> {
        let mut line = Vec::new();
        let mut limited = io::Read::take(&mut self.file, LINE_BYTES_MAX as u64);
        let read = limited.read_until(b'\n', &mut line);
        let n = read.with_context(|| format!("reading {}", self.path.display()))?;
        if n == 0 {
            return Ok(None);
        }
        self.number += 1;
        let line = String::from_utf8(line).ok().filter(|line| line.ends_with('\n'));
        let number = self.number;
        line.map(Some).with_context(|| format!("{} is damaged in line {number}", self.shown()))
    }

    fn parse(&self, kind: Kind, line: &str) -> Result<Record> {
        let wrong = |reason| anyhow::anyhow!("{}, line {}: {reason}", self.shown(), self.number);
        Record::parse(kind, line).map_err(wrong)
    }
}

/// Records of an archive, page by page.
pub struct Pages<'a> {
    archive: &'a Archive,
    /// Records before this one are passed over.
    from: u64,
    next: u64,
    part: usize,
    lines: Option<Lines>,
}

impl Pages<'_> {
    /// The number of the first record of a page, and the page. `None`: that was all.
    pub fn next_page(&mut self) -> Result<Option<(u64, Vec<Record>)>> {
        let (mut page, mut n_bytes) = (Vec::new(), 0);
        while let Some(part) = self.archive.manifest.parts.get(self.part) {
            let kind = self.archive.kind_of(part)?;
            if self.lines.is_none() && self.next + part.records <= self.from {
                self.next += part.records;
                self.part += 1;
                continue;
            }
            let mut lines = match self.lines.take() {
                Some(lines) => lines,
                None => self.archive.lines(part)?,
            };
            while page.len() < PAGE_RECORDS && n_bytes < PAGE_BYTES {
                let Some(line) = lines.next_line()? else {
                    self.part += 1;
                    return Ok(self.page(page));
                };
                self.next += 1;
                if self.next > self.from {
                    n_bytes += line.len();
                    page.push(lines.parse(kind, line.trim_end_matches('\n'))?);
                }
            }
            self.lines = Some(lines);
            return Ok(self.page(page));
        }
        Ok(self.page(page))
    }

    fn page(&self, page: Vec<Record>) -> Option<(u64, Vec<Record>)> {
        let is_end = page.is_empty() && self.part == self.archive.manifest.parts.len();
        (!is_end).then(|| (self.next - page.len() as u64, page))
    }
}
