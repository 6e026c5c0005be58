//! Rules about everything that is not Rust: scripts, documents, what they promise.

use std::os::unix::fs::PermissionsExt;

use crate::sources::root;

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Words that look like paths of scripts in a document.
fn scripts_named_in(text: &str) -> Vec<String> {
    text.split(|c: char| !(c.is_alphanumeric() || "/_-.".contains(c)))
        .filter(|word| word.starts_with("scripts/"))
        .map(|word| word.trim_end_matches('.').to_owned())
        .collect()
}

#[test]
fn scripts_that_documents_name_exist_and_run() {
    for document in ["README.md", "ARCHITECTURE.md", ".ci/run", "docs/benchmarks.md"] {
        for script in scripts_named_in(&read(document)) {
            let path = root().join(&script);
            let metadata = std::fs::metadata(&path)
                .unwrap_or_else(|error| panic!("{document} names {script}: {error}"));
            assert!(metadata.permissions().mode() & 0o111 != 0, "{script} is not executable");
        }
    }
}

#[test]
fn ci_runs_the_command_of_the_readme() {
    assert!(read("README.md").contains("scripts/test"));
    assert!(read(".ci/run").contains("scripts/test"));
}

#[test]
fn the_changelog_knows_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(read("CHANGELOG.md").contains(version), "CHANGELOG.md does not mention {version}");
}

#[test]
fn decisions_are_numbered_without_gaps() {
    let mut numbers: Vec<u32> = std::fs::read_dir(root().join("docs/adr"))
        .expect("docs/adr exists")
        .filter_map(|entry| {
            let name = entry.expect("docs/adr is readable").file_name();
            name.to_string_lossy().split('-').next().and_then(|number| number.parse().ok())
        })
        .collect();
    numbers.sort_unstable();
    let expected: Vec<u32> = (1..=numbers.len() as u32).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn the_map_names_every_module() {
    let map = read("ARCHITECTURE.md");
    for module in ["domain", "telemetry", "storage", "actors", "service", "http", "config", "cli"] {
        assert!(map.contains(&format!("`{module}")), "ARCHITECTURE.md does not mention {module}");
    }
}
