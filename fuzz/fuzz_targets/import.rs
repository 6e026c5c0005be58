//! Whatever somebody imports: no panic, every row is either taken or refused by its line, and what
//! was taken reads back from an export.

#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use shunt::cli::transfer::{
    BatchOutcome, ExportArgs, ExportSource, Format, ImportArgs, ImportReport, ImportTarget,
    ServerArgs, export, import,
};
use shunt::service::import::{BatchDigest, ImportRow, RowOutcome};
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> =
    LazyLock::new(|| TempDir::new().expect("a folder for files can be made"));

/// Takes every row.
#[derive(Default)]
struct Taken {
    digests: Vec<BatchDigest>,
    rows: Vec<ImportRow>,
}

impl ImportTarget for Taken {
    fn import(
        &mut self,
        digest: BatchDigest,
        rows: Vec<ImportRow>,
    ) -> anyhow::Result<BatchOutcome> {
        let n_rows = rows.len();
        self.digests.push(digest);
        self.rows.extend(rows);
        Ok(BatchOutcome::Done(vec![RowOutcome::Created; n_rows]))
    }
}

/// Gives all of its rows as one page.
struct Page(Vec<ImportRow>);

impl ExportSource for Page {
    fn total(&mut self) -> anyhow::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn next_page(&mut self) -> anyhow::Result<Vec<ImportRow>> {
        Ok(std::mem::take(&mut self.0))
    }
}

// The first byte chooses the format and whether unknown fields are left out; the rest is the file.
fuzz_target!(|input: &[u8]| {
    let Some((choice, text)) = input.split_first() else { return };
    let format = if choice & 1 == 0 { Format::Csv } else { Format::Ndjson };
    let ignore_unknown = choice & 2 != 0;
    let file = FOLDER.path().join("in");
    fs::write(&file, text).expect("the file can be written");
    let Some((report, taken)) = read(&file, format, ignore_unknown) else { return };

    assert_eq!(report.n_rows, report.n_created + report.n_refused);
    assert_eq!(report.n_created, taken.rows.len() as u64);
    assert_eq!(report.problems.len() as u64, report.n_refused.min(1_000));
    let n_lines = 1 + text.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() as u64;
    assert!(report.problems.iter().all(|problem| (1..=n_lines).contains(&problem.line)));
    assert!(report.problems.is_sorted_by_key(|problem| problem.line));
    let again = read(&file, format, ignore_unknown).map(|(_, again)| again.digests);
    assert_eq!(again, Some(taken.digests), "an import finds its place again by digests");

    check_export(&taken.rows, Format::Ndjson);
    check_export(&taken.rows.into_iter().map(without_blanks).collect::<Vec<_>>(), Format::Csv);
});

fn read(file: &Path, format: Format, ignore_unknown: bool) -> Option<(ImportReport, Taken)> {
    let args = ImportArgs {
        file: file.display().to_string(),
        format: Some(format),
        dry_run: false,
        ignore_unknown,
        server: ServerArgs { url: None, key: None },
    };
    let mut taken = Taken::default();
    let report = import(&args, &mut taken).ok()?;
    Some((report, taken))
}

fn check_export(rows: &[ImportRow], format: Format) {
    let file = FOLDER.path().join("out");
    let args = ExportArgs {
        file: file.display().to_string(),
        format: Some(format),
        server: ServerArgs { url: None, key: None },
    };
    let report = export(&args, &mut Page(rows.to_vec())).expect("every row can be written");
    assert_eq!(report.n_rows, rows.len() as u64);
    let (report, back) = read(&file, format, false).expect("what was exported can be imported");
    assert!(report.is_clean(), "{:?}", report.problems);
    assert_eq!(back.rows, rows);
}

/// The row as a table can hold it: an empty cell is an absent field.
fn without_blanks(row: ImportRow) -> ImportRow {
    let text = |field: Option<String>| field.filter(|text| !text.is_empty());
    ImportRow {
        code: text(row.code),
        domain: text(row.domain),
        destination: text(row.destination),
        title: text(row.title),
        notes: text(row.notes),
        tags: row.tags.filter(|tags| !tags.is_empty() && *tags != [""]),
        starts_at: text(row.starts_at),
        expires_at: text(row.expires_at),
        expired_url: text(row.expired_url),
        external_id: text(row.external_id),
        status: text(row.status),
        created_at: text(row.created_at),
        updated_at: text(row.updated_at),
        created_via: text(row.created_via),
        last_clicked_at: text(row.last_clicked_at),
        ..row
    }
}
