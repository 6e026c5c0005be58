//! Loading: where values come from, and what becomes of mistakes.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod mutations;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn every_mistake_is_named_at_once() {
    let problems = load(
        None,
        environment(&[
            ("SHUNT_LOG__FORMAT", "xml"),
            ("SHUNT_LOG__COLOUR", "true"),
            ("SHUNT_NOWHERE__KEY", "1"),
            ("SHUNT_TYPO", "1"),
        ]),
    )
    .unwrap_err();
    let text = problems.to_string();
    for key in ["`log.format`", "`log.colour`", "`nowhere`", "`SHUNT_TYPO`"] {
        assert!(text.contains(key), "{key} is missing in:\n{text}");
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shunt.toml");
    std::fs::write(&file, "[log]\nlevel = \"warn\"\nformat = \"text\"\n").unwrap();
    let settings = load(Some(&file), environment(&[("SHUNT_LOG__LEVEL", "debug")])).unwrap();
    assert_eq!(settings.log.level.as_deref(), Some("debug"));
    assert_eq!(settings.log.format, Some(crate::telemetry::logging::LogFormat::Text));
}

#[test]
fn what_is_printed_can_be_loaded_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("printed.toml");
    let printed = Settings::default().to_toml();
    std::fs::write(&file, &printed).unwrap();
    assert_eq!(load(Some(&file), []).unwrap().to_toml(), printed);
}

#[test]
fn a_file_that_is_not_toml_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    std::fs::write(&file, "[log]\nlevel = \n").unwrap();
    let text = load(Some(&file), []).unwrap_err().to_string();
    assert!(text.contains("bad.toml") && text.contains("line 2"), "{text}");
}
