//! Rules about the Rust sources: who may import whom, headers of actors, things left behind.

use std::path::{Path, PathBuf};

/// Modules from left to right: each may import those before it. `cli` stands last but for `main`.
const ORDER: [&str; 9] =
    ["domain", "telemetry", "storage", "actors", "service", "http", "config", "app", "cli"];

/// Module and what it must not mention although the order would allow it.
const FORBIDDEN: [(&str, &[&str]); 6] = [
    ("domain", &["tokio", "actix", "actix_web", "rusqlite"]),
    ("telemetry", &["crate::domain", "tokio", "actix_web"]),
    ("storage", &["actix", "actix_web"]),
    ("actors", &["crate::storage::embedded", "crate::storage::memory", "actix_web"]),
    ("service", &["crate::storage::embedded", "crate::storage::memory", "actix_web"]),
    ("http", &["crate::storage::embedded", "crate::storage::memory"]),
];

/// The only files that may hold `unsafe` code, each with its own safety comments.
const UNSAFE_FILES: [&str; 3] =
    ["src/actors/clicks/", "src/main.rs", "src/service/passwords/hasher.rs"];

const LINES_MAX: usize = 500;
const COLUMNS_MAX: usize = 100;
const HEADER_OF_ACTORS: [&str; 4] = ["//! Fed by", "//! Feeds", "//! Bound", "//! When full"];
const LEFT_BEHIND: [&str; 6] = ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "TODO", "XXX"];

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Module under `src`, such as `actors`; `None` for `lib.rs` and `main.rs`.
    fn module(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        let first = rest.split('/').next()?.trim_end_matches(".rs");
        ORDER.contains(&first).then_some(first)
    }

    fn is_test_code(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("tests.rs")
    }

    /// The text before the test module, without comments.
    fn code(&self) -> String {
        let end = self.text.find("#[cfg(test)]").unwrap_or(self.text.len());
        let lines = self.text[..end].lines();
        lines.filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    }
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    let entries = std::fs::read_dir(folder).expect("source folders are readable");
    for entry in entries {
        let path = entry.expect("source folders are readable").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let shown = path.strip_prefix(root()).expect("below the root").display().to_string();
            let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
            found.push(Source { path: shown, text });
        }
    }
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut found);
    }
    assert!(!found.is_empty(), "no sources found");
    found
}

fn assert_none(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn modules_import_only_to_their_left() {
    let mut offences = Vec::new();
    for source in sources(&["src"]) {
        let Some(module) = source.module() else { continue };
        let place = ORDER.iter().position(|name| *name == module).expect("`module` checked it");
        for (number, line) in source.text.lines().enumerate() {
            for right in &ORDER[place + 1..] {
                if line.contains(&format!("crate::{right}::")) {
                    offences.push(format!("{}:{}: {module} → {right}", source.path, number + 1));
                }
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn modules_keep_away_from_what_is_not_theirs() {
    let mut offences = Vec::new();
    for source in sources(&["src"]) {
        let Some(module) = source.module() else { continue };
        if source.is_test_code() {
            continue;
        }
        let code = source.code();
        for (_, words) in FORBIDDEN.iter().filter(|(name, _)| *name == module) {
            for word in *words {
                let uses = [format!("use {word}::"), format!("{word}::")];
                let hit = code.lines().find(|line| {
                    uses.iter().any(|usage| {
                        line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
                            .any(|token| token.starts_with(usage.trim_start_matches("use ")))
                    })
                });
                if let Some(line) = hit {
                    offences.push(format!("{}: {}", source.path, line.trim()));
                }
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn actors_say_who_feeds_them_and_what_happens_when_they_are_full() {
    let mut offences = Vec::new();
    for source in sources(&["src/actors"]) {
        if source.is_test_code() || !source.code().contains("impl Actor for") {
            continue;
        }
        for line in HEADER_OF_ACTORS {
            if !source.text.contains(line) {
                offences.push(format!("{}: the header lacks `{line}`", source.path));
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn nothing_is_left_behind() {
    let mut offences = Vec::new();
    for source in sources(&["src", "loadtest", "benches"]) {
        for (number, line) in source.text.lines().enumerate() {
            if LEFT_BEHIND.iter().any(|word| line.contains(word)) {
                offences.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn files_and_lines_stay_short() {
    let mut offences = Vec::new();
    for source in sources(&["src", "tests", "loadtest"]) {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            offences.push(format!("{}: {lines} lines", source.path));
        }
        for (number, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            // A row of a table in a header cannot be broken.
            if columns > COLUMNS_MAX && !line.starts_with("//! |") {
                offences.push(format!("{}:{}: {columns} columns", source.path, number + 1));
            }
        }
    }
    assert_none(&offences);
}

#[test]
fn every_file_says_what_it_is_for() {
    let headless: Vec<String> = sources(&["src", "tests", "loadtest"])
        .into_iter()
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| format!("{}: no `//!` header", source.path))
        .collect();
    assert_none(&headless);
}

#[test]
fn unsafe_code_stays_where_it_is_explained() {
    let mut offences = Vec::new();
    for source in sources(&["src", "loadtest"]) {
        let allowed = UNSAFE_FILES.iter().any(|start| source.path.starts_with(start));
        if !allowed && source.code().contains("unsafe {") {
            offences.push(source.path);
        }
    }
    assert_none(&offences);
}
