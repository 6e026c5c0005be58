//! Import and export against a target in memory.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod batches;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::domain::destination::DestinationPolicy;
use crate::domain::id::Id;
use crate::domain::seal::{SealKey, Sealer};
use crate::domain::time::Timestamp;
use crate::service::codes::CodesConfig;
use crate::service::import::{BatchDigest, ImportContext, ImportRow, Trial};
use crate::storage::memory::MemoryStore;

/// A target that keeps rows in memory, as the port promises: a batch once, a code once.
#[derive(Default)]
struct Shelf {
    rows: Vec<ImportRow>,
    batches: Vec<(BatchDigest, Vec<RowOutcome>)>,
    /// Fails when this many batches were taken.
    breaks_after: Option<usize>,
}

impl ImportTarget for Shelf {
    fn import(
        &mut self,
        digest: BatchDigest,
        rows: Vec<ImportRow>,
    ) -> anyhow::Result<BatchOutcome> {
        if self.breaks_after.is_some_and(|most| self.batches.len() >= most) {
            anyhow::bail!("the shelf broke");
        }
        if let Some((_, known)) = self.batches.iter().find(|(known, _)| *known == digest) {
            return Ok(BatchOutcome::DoneBefore(known.clone()));
        }
        let mut outcomes = Vec::new();
        for row in rows {
            let known = self.rows.iter().find(|known| row.code.is_some() && known.code == row.code);
            outcomes.push(match known {
                Some(known) if known.destination == row.destination => RowOutcome::Unchanged,
                Some(_) => RowOutcome::Taken,
                None => {
                    self.rows.push(row);
                    RowOutcome::Created
                }
            });
        }
        self.batches.push((digest, outcomes.clone()));
        Ok(BatchOutcome::Done(outcomes))
    }
}

/// A shelf that answers when it is asked to finish, as the store does.
#[derive(Default)]
struct SlowShelf {
    shelf: Shelf,
    begun: std::collections::VecDeque<(BatchDigest, Vec<ImportRow>)>,
    most_begun: usize,
}

impl ImportTarget for SlowShelf {
    fn import(
        &mut self,
        digest: BatchDigest,
        rows: Vec<ImportRow>,
    ) -> anyhow::Result<BatchOutcome> {
        self.shelf.import(digest, rows)
    }

    fn begin(
        &mut self,
        digest: BatchDigest,
        rows: Vec<ImportRow>,
    ) -> anyhow::Result<Option<BatchOutcome>> {
        self.begun.push_back((digest, rows));
        self.most_begun = self.most_begun.max(self.begun.len());
        Ok(None)
    }

    fn finish(&mut self) -> anyhow::Result<BatchOutcome> {
        let (digest, rows) = self.begun.pop_front().unwrap();
        self.shelf.import(digest, rows)
    }
}

/// Gives the rows of a shelf in pages of two.
struct Pages(Vec<ImportRow>);

impl ExportSource for Pages {
    fn total(&mut self) -> anyhow::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn next_page(&mut self) -> anyhow::Result<Vec<ImportRow>> {
        let n_rows = self.0.len().min(2);
        Ok(self.0.drain(..n_rows).collect())
    }
}

struct BrokenSource;

impl ExportSource for BrokenSource {
    fn total(&mut self) -> anyhow::Result<u64> {
        Ok(1)
    }

    fn next_page(&mut self) -> anyhow::Result<Vec<ImportRow>> {
        anyhow::bail!("the source broke")
    }
}

fn server() -> ServerArgs {
    ServerArgs { url: None, key: None }
}

fn args(file: &Path) -> ImportArgs {
    ImportArgs {
        file: file.display().to_string(),
        format: None,
        dry_run: false,
        ignore_unknown: false,
        server: server(),
    }
}

fn file(name: &str, content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

/// Imports `content` into a new shelf.
fn imported(name: &str, content: impl AsRef<[u8]>) -> (Shelf, ImportReport) {
    let (_folder, path) = file(name, content);
    let mut shelf = Shelf::default();
    let report = import(&args(&path), &mut shelf).unwrap();
    (shelf, report)
}

fn refusal(name: &str, content: impl AsRef<[u8]>) -> anyhow::Error {
    let (_folder, path) = file(name, content);
    let mut shelf = Shelf::default();
    let error = import(&args(&path), &mut shelf).expect_err("the file must be refused");
    assert!(shelf.rows.is_empty());
    error
}

fn lines(report: &ImportReport) -> Vec<u64> {
    report.problems.iter().map(|problem| problem.line).collect()
}

fn full_rows() -> Vec<ImportRow> {
    let text = |text: &str| Some(text.to_owned());
    let full = ImportRow {
        code: text("a"),
        domain: text("sho.rt"),
        destination: text("https://example.com/a,b\"c"),
        title: text("=1+1; \"quoted\", with, commas"),
        notes: text("two\nlines, \"and\" more"),
        tags: Some(vec!["one".into(), "two|three".into(), "back\\slash".into()]),
        redirect_status: Some(301),
        starts_at: text("2026-01-01T00:00:00Z"),
        expires_at: text("2027-01-01T00:00:00.250Z"),
        expires_in: None,
        expired_url: text("https://example.com/gone"),
        max_clicks: Some(100),
        forward_query: Some(false),
        external_id: text("@SUM(A1)"),
        code_scheme: None,
        code_length: None,
        status: text("archived"),
        created_at: text("2025-01-01T00:00:00Z"),
        updated_at: text("2025-06-01T00:00:00Z"),
        created_via: text("web"),
        clicks: Some(42),
        last_clicked_at: text("2025-07-01T00:00:00Z"),
        version: Some(9),
    };
    let plain = ImportRow {
        code: text("b"),
        destination: text("https://example.com/b"),
        ..ImportRow::default()
    };
    let odd = ImportRow { code: text("c"), title: text("-1 ä 😀"), ..plain.clone() };
    vec![full, plain, odd]
}

#[test]
fn what_an_export_writes_an_import_reads_in_both_formats() {
    for name in ["links.csv", "links.ndjson", "links.JSONL"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let export_args =
            ExportArgs { file: path.display().to_string(), format: None, server: server() };
        let report = export(&export_args, &mut Pages(full_rows())).unwrap();
        assert_eq!(report.n_rows, 3);
        let mut shelf = Shelf::default();
        let report = import(&args(&path), &mut shelf).unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(shelf.rows, full_rows(), "{name}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "something was left over");
    }
}

#[test]
fn an_export_that_fails_leaves_no_half_file_and_keeps_the_old_one() {
    let (folder, path) = file("links.csv", "old");
    let export_args =
        ExportArgs { file: path.display().to_string(), format: None, server: server() };
    assert!(export(&export_args, &mut BrokenSource).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_empty_store_exports_a_header_alone_and_imports_as_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("links.csv");
    let export_args =
        ExportArgs { file: path.display().to_string(), format: None, server: server() };
    export(&export_args, &mut Pages(Vec::new())).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("code,domain,destination,"));
    let report = import(&args(&path), &mut Shelf::default()).unwrap();
    assert_eq!((report.n_rows, report.is_clean()), (0, true));
}

#[test]
fn columns_come_in_any_order_and_empty_cells_are_absent() {
    let (shelf, report) = imported(
        "l.csv",
        "\u{feff}tags,destination,alias,max_clicks,forward_query\n\
         one|two,https://a.example/,x,,TRUE\n,https://b.example/,,5,\n",
    );
    assert!(report.is_clean(), "{report:?}");
    let [first, second] = shelf.rows.as_slice() else { panic!("{:?}", shelf.rows) };
    assert_eq!(first.tags.as_deref(), Some(&["one".to_owned(), "two".to_owned()][..]));
    assert_eq!((first.code.as_deref(), first.forward_query), (Some("x"), Some(true)));
    assert_eq!((second.code.as_deref(), second.max_clicks), (None, Some(5)));
    assert_eq!((second.forward_query, second.tags.as_ref()), (None, None));
}

#[test]
fn unknown_columns_are_named_and_refused_unless_ignored() {
    let csv = "destination,colour,size\nhttps://a.example/,red,5\n";
    let error = refusal("l.csv", csv);
    assert!(error.downcast_ref::<WrongUsage>().is_some());
    let words = error.to_string();
    assert!(words.contains("`colour`, `size`") && words.contains("--ignore-unknown"), "{words}");

    let ndjson = "{\"destination\":\"https://a.example/\",\"colour\":\"red\"}\n";
    let (shelf, report) = imported("l.ndjson", ndjson);
    assert!(shelf.rows.is_empty());
    assert!(report.problems[0].reason.contains("`colour`"), "{report:?}");

    for (name, content) in [("l.csv", csv), ("l.ndjson", ndjson)] {
        let (_folder, path) = file(name, content);
        let mut shelf = Shelf::default();
        let args = ImportArgs { ignore_unknown: true, ..args(&path) };
        assert!(import(&args, &mut shelf).unwrap().is_clean());
        assert_eq!(shelf.rows[0].destination.as_deref(), Some("https://a.example/"));
    }
}

#[test]
fn files_that_do_not_fit_the_command_are_refused_before_anything_is_done() {
    for (name, content, word) in [
        ("l.csv", &b""[..], "empty"),
        ("l.csv", b"code,title\nx,y\n", "`destination`"),
        ("l.csv", b"destination,code,destination\n", "twice"),
        ("l.csv", b"destination,alias,code\n", "twice"),
        ("l.csv", b"destination,\xff\n", "UTF-8"),
        ("l.csv", b"code;destination\n", "code;destination"),
    ] {
        let error = refusal(name, content);
        assert!(error.downcast_ref::<WrongUsage>().is_some(), "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let missing = import(&args(Path::new("/nowhere/l.csv")), &mut Shelf::default());
    assert!(missing.unwrap_err().downcast_ref::<WrongUsage>().is_some());
}

#[test]
fn bad_lines_of_a_csv_are_reported_by_number_and_the_good_ones_imported() {
    let mut csv = b"destination,code,max_clicks,forward_query,version\n".to_vec();
    csv.extend_from_slice(b"https://a.example/,a,,,\n");
    csv.extend_from_slice(b"https://a.example/\xff,b,,,\n");
    csv.extend_from_slice(b"https://a.example/,c,\n");
    csv.extend_from_slice(b"https://a.example/,d,many,,\n");
    csv.extend_from_slice(b"https://a.example/,e,-1,,\n");
    csv.extend_from_slice(b"https://a.example/,f,,yes,\n");
    csv.extend_from_slice(b"https://a.example/,g,,,99999999999\n");
    csv.extend_from_slice(b"https://a.example/,\"h\nh\",x,,\n");
    csv.extend_from_slice(b"https://a.example/,i,,,\n");
    let (shelf, report) = imported("l.csv", csv);
    assert_eq!(lines(&report), [3, 4, 5, 6, 7, 8, 9]);
    assert_eq!((report.n_rows, report.n_created, report.n_refused), (9, 2, 7));
    assert_eq!(shelf.rows.len(), 2);
    let reasons: Vec<_> = report.problems.iter().map(|problem| &problem.reason).collect();
    assert!(reasons[0].contains("`destination` is not valid UTF-8"));
    assert!(reasons[1].contains("3 columns") && reasons[1].contains('5'));
    assert!(reasons[2].contains("`max_clicks`"));
    assert!(reasons[6].contains("2 lines"), "{}", reasons[6]);
}

#[test]
fn line_numbers_hold_with_crlf_and_with_line_breaks_in_cells() {
    for ending in ["\n", "\r\n"] {
        let rows = [
            "destination,notes,max_clicks",
            "https://a.example/,\"one\ntwo\",1",
            "https://a.example/,,bad",
            "https://a.example/,,2",
            "https://a.example/,,bad",
        ];
        let (_, report) = imported("l.csv", rows.join(ending));
        assert_eq!(lines(&report), [4, 6], "{ending:?}");
        assert_eq!(report.n_created, 2);
    }
}

#[test]
fn bad_lines_of_an_ndjson_are_reported_by_number_and_the_good_ones_imported() {
    let mut text = b"\xEF\xBB\xBF{\"destination\":\"https://a.example/\"}\n".to_vec();
    text.extend_from_slice(b"\n   \r\n");
    text.extend_from_slice(b"not json\n");
    text.extend_from_slice(b"{\"destination\":\"\xff\"}\n");
    text.extend_from_slice(b"{\"destination\":5}\n");
    text.extend_from_slice(b"[]\n");
    text.extend_from_slice(b"{\"destination\":\"a\",\"destination\":\"b\"}\n");
    text.extend_from_slice(b"{\"destination\":\"a\",\"code\":\"x\",\"alias\":\"y\"}\n");
    text.extend_from_slice("[".repeat(10_000).as_bytes());
    text.extend_from_slice(b"\n{\"destination\":\"https://b.example/\",\"tags\":null}");
    let (shelf, report) = imported("l.ndjson", text);
    assert_eq!(lines(&report), [4, 5, 6, 7, 8, 9, 10], "{report:?}");
    assert_eq!((report.n_rows, report.n_created), (9, 2));
    assert_eq!(shelf.rows[1].destination.as_deref(), Some("https://b.example/"));
}

#[test]
fn absurdly_long_lines_neither_fill_the_memory_nor_pass() {
    let long = "x".repeat(3 * ROW_BYTES_MAX);
    let text = format!("{{\"title\":\"{long}\"}}\n{{\"destination\":\"https://a.example/\"}}\n");
    let (shelf, report) = imported("l.ndjson", text);
    assert_eq!((lines(&report), shelf.rows.len()), (vec![1], 1));

    let open_quote = format!("destination\nhttps://a.example/\n\"https://b.example/\n{long}\n");
    let error = refusal("l.csv", open_quote);
    let words = format!("{error:#}");
    assert!(words.contains("line 3") && words.contains("quotation mark"), "{words}");
}

#[test]
fn a_dry_run_judges_every_row() {
    let csv = "destination,max_clicks,domain\nhttps://a.example/,1,sho.rt\nhttps://a.example/,x,\n\
               javascript:alert(1),1,\nhttps://a.example/,0,\nhttps://sho.rt/x,1,\n";
    let (_folder, path) = file("l.csv", csv);
    let args = ImportArgs { dry_run: true, ..args(&path) };
    let context = ImportContext {
        workspace: Id(1),
        created_by: None,
        policy: DestinationPolicy {
            own_hosts: vec!["sho.rt".into()],
            ..DestinationPolicy::default()
        },
        domain: "sho.rt".into(),
        sealer: Sealer::new(vec![SealKey { version: 1, secret: [1; 32] }]),
        codes: CodesConfig::default(),
        now: Timestamp(0),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let links = MemoryStore::new().links;
    let mut trial = StoreTrial { runtime: &runtime, links, context, trial: Trial::default() };
    let report = import(&args, &mut trial).unwrap();
    assert_eq!(lines(&report), [3, 4, 5, 6]);
    let told = "5 rows: 1 can be imported, 0 unchanged, 4 refused; nothing written";
    assert_eq!(report.to_string(), told);
    trial.context.domain = "other.example".into();
    assert_eq!(lines(&import(&args, &mut trial).unwrap()), [2, 3, 4, 5, 6]);
}

#[test]
fn refused_lines_are_printed_up_to_a_bound_and_counted_beyond() {
    let csv = format!("destination,max_clicks\n{}", "https://a.example/,x\n".repeat(1_500));
    let (_, report) = imported("l.csv", csv);
    assert_eq!((report.n_refused, report.problems.len()), (1_500, 1_000));
    let mut printed = Vec::new();
    report.write_problems(&mut printed).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    assert!(printed.starts_with("line 2: `max_clicks`"), "{printed}");
    assert!(printed.contains("and 500 more lines"), "{printed}");
}

#[test]
fn codes_that_are_taken_are_refused_by_line() {
    let csv = "code,destination\na,https://a.example/\nb,https://b.example/\n\
               a,https://a.example/\nb,https://c.example/\n";
    let (_, report) = imported("l.csv", csv);
    assert_eq!((report.n_created, report.n_unchanged, report.n_refused), (2, 1, 1));
    assert_eq!(lines(&report), [5]);
    assert_eq!(report.to_string(), "4 rows: 2 created, 1 unchanged, 0 done before, 1 refused");
}

#[test]
fn formats_are_told_by_the_extension_or_asked_for() {
    for csv in ["a.CSV", "-", "csv", "a.txt", "/dev/stdin"] {
        assert_eq!(Format::of(None, csv), Format::Csv, "{csv}");
    }
    for ndjson in ["a.b/c.ndjson", "a.jsonl"] {
        assert_eq!(Format::of(None, ndjson), Format::Ndjson, "{ndjson}");
    }
    assert_eq!(Format::of(Some(Format::Ndjson), "-"), Format::Ndjson);
}

#[test]
fn the_key_is_not_printed() {
    let args = ServerArgs { url: Some("http://a".into()), key: Some("shunt_secret".into()) };
    assert!(!format!("{args:?}").contains("secret"));
}

/// What any bytes do to a reader, row by row: nothing but rows and refusals.
fn assert_readable(bytes: &[u8], format: Format) {
    let Ok(mut reader) = read::RowReader::open(bytes, format, true) else { return };
    let mut last = 0;
    while let Ok(Some(row)) = reader.next(&mut blake3::Hasher::new()) {
        assert!(row.line > 0 && row.line >= last, "line {} after {last}", row.line);
        last = row.line;
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>, text in "(.|[\",{}:\r\n]){0,100}") {
        for format in [Format::Csv, Format::Ndjson] {
            assert_readable(&bytes, format);
            assert_readable(&[b"destination,code\n", text.as_bytes()].concat(), format);
        }
    }
}
