//! Batches: stopped, begun ahead, corrected, repeated.

use super::*;

#[test]
fn an_import_that_was_stopped_goes_on_without_doubling() {
    let mut csv = "code,destination\n".to_owned();
    for n in 0..3_500 {
        // Every other row has no code: nothing but the batch tells it was imported.
        let code = if n % 2 == 0 { format!("c{n}") } else { String::new() };
        let _ = writeln!(csv, "{code},https://a.example/{n}");
    }
    let (_folder, path) = file("l.csv", csv);
    let mut shelf = Shelf { breaks_after: Some(2), ..Shelf::default() };
    let error = import(&args(&path), &mut shelf).unwrap_err();
    assert!(format!("{error:#}").contains("run the same command again"), "{error:#}");
    assert_eq!(shelf.rows.len(), 2_000);

    shelf.breaks_after = None;
    let report = import(&args(&path), &mut shelf).unwrap();
    assert_eq!((report.n_done_before, report.n_created), (2_000, 1_500));
    assert_eq!(shelf.rows.len(), 3_500);
    let report = import(&args(&path), &mut shelf).unwrap();
    assert_eq!((report.n_done_before, report.n_created), (3_500, 0));
    assert_eq!(shelf.rows.len(), 3_500);
}

#[test]
fn batches_are_begun_ahead_and_only_answered_ones_are_called_done() {
    let mut csv = "destination,max_clicks\n".to_owned();
    for n in 0..5_500 {
        let clicks = if n % 1_000 == 0 { "bad" } else { "" };
        let _ = writeln!(csv, "https://a.example/{n},{clicks}");
    }
    let (_folder, path) = file("l.csv", csv);
    let mut slow = SlowShelf::default();
    slow.shelf.breaks_after = Some(2);
    let error = import(&args(&path), &mut slow).unwrap_err();
    assert!(error.to_string().contains("2000 rows are done"), "{error:#}");
    assert!(slow.most_begun > 1);

    slow.shelf.breaks_after = None;
    slow.begun.clear();
    let report = import(&args(&path), &mut slow).unwrap();
    assert_eq!((report.n_rows, report.n_done_before, report.n_created), (5_500, 1_998, 3_496));
    assert_eq!(lines(&report), [2, 1_002, 2_002, 3_002, 4_002, 5_002]);
    assert_eq!(slow.shelf.rows.len(), 5_494);
}

#[test]
fn correcting_one_line_imports_its_batch_again_and_no_other() {
    let rows = |bad: &str| {
        let mut csv = "code,destination,max_clicks\n".to_owned();
        for n in 0..3_000 {
            let clicks = if n == 1_500 { bad } else { "" };
            let _ = writeln!(csv, "c{n},https://a.example/{n},{clicks}");
        }
        csv
    };
    let (_folder, path) = file("l.csv", rows("bad"));
    let mut shelf = Shelf::default();
    let report = import(&args(&path), &mut shelf).unwrap();
    assert_eq!((lines(&report), report.n_created), (vec![1_502], 2_999));
    std::fs::write(&path, rows("5")).unwrap();
    let report = import(&args(&path), &mut shelf).unwrap();
    assert_eq!((report.n_done_before, report.n_unchanged, report.n_created), (2_000, 999, 1));
}

#[test]
fn equal_rows_at_different_places_are_different_batches() {
    let csv = format!("destination\n{}", "https://a.example/\n".repeat(2_000));
    let (shelf, report) = imported("l.csv", csv);
    assert_eq!((report.n_created, shelf.rows.len()), (2_000, 2_000));
}
