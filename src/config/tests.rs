//! Loading: where values come from, and what becomes of mistakes.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod mutations;

use super::*;
use crate::domain::secret::Secret;

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, text)| (name.into(), text.into())).collect()
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
fn only_a_node_that_is_not_alone_may_leave_something_to_others() {
    let problems = |pairs: &[(&str, &str)]| match load(None, environment(pairs)) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.sentences().to_vec(),
    };
    let (cql, some) = (("SHUNT_STORAGE__CQL", "[\"db:9042\"]"), "[\"redirect\", \"worker\"]");
    assert_eq!(problems(&[cql, ("SHUNT_NODE__ROLES", some)]), Vec::<String>::new());
    for (pairs, part) in [
        (vec![("SHUNT_NODE__ROLES", some)], "without `storage.cql` a node is alone"),
        (vec![cql, ("SHUNT_NODE__ROLES", "[]")], "`node.roles` is empty"),
        (vec![cql, ("SHUNT_NODE__ROLES", "[\"cook\"]")], "cook"),
    ] {
        let problems = problems(&pairs);
        assert!(problems.len() == 1 && problems[0].contains(part), "{problems:?}");
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

/// A list of tables, as the environment has it.
const PROVIDERS: &str = r#"[{ id = "acme", name = "Acme", issuer = "https://login.acme.example",
    client_id = "somebody", client_secret = "hunter2" }]"#;

#[test]
fn a_list_of_tables_from_the_environment_is_printed_as_tables_and_loaded_again() {
    let printed = load(None, environment(&[("SHUNT_OIDC__PROVIDERS", PROVIDERS)])).unwrap();
    assert_eq!(printed.oidc.providers[0].client_secret, Some(Secret("hunter2".to_owned())));
    let printed = printed.to_toml();
    assert!(printed.contains("[[oidc.providers]]\nid = \"acme\""), "{printed}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("printed.toml");
    std::fs::write(&file, &printed).unwrap();
    assert_eq!(load(Some(&file), []).unwrap().to_toml(), printed);
}

#[test]
fn secrets_are_shown_nowhere() {
    let words = [
        ("SHUNT_STORAGE__CQL_USER", "somebody"),
        ("SHUNT_STORAGE__CQL_PASSWORD", "hunter2"),
        ("SHUNT_REDIS__URL", ""),
        ("SHUNT_OIDC__PROVIDERS", PROVIDERS),
    ];
    let mut settings = load(None, environment(&words)).unwrap();
    assert_eq!(settings.storage.cql_password, Some(Secret("hunter2".to_owned())));
    settings.redis.url = Some(Secret("redis://:hunter2@127.0.0.1/".to_owned()));
    for shown in [settings.to_toml(), format!("{settings:?}")] {
        assert!(shown.contains("somebody") && !shown.contains("hunter2"), "{shown}");
    }
}
