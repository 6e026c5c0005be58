//! The names that uap-core's own tests expect, and the words that save most of the work.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod vendored;

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

static RULES: LazyLock<Rules> = LazyLock::new(Rules::new);

#[derive(Deserialize)]
struct File {
    test_cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    user_agent_string: String,
    family: String,
}

/// A file of `vendor/uap-core`.
fn vendored_file(name: &str) -> String {
    let path = format!("{}/vendor/uap-core/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("the file is part of the repository")
}

fn cases(file: &str) -> Vec<Case> {
    let File { test_cases } = yaml_serde::from_str(&vendored_file(file)).unwrap();
    test_cases
}

/// Checks every case of a file; answers how many there were.
fn check(file: &str, name_of: fn(Found) -> Option<Box<str>>) -> usize {
    let cases = cases(file);
    let mut wrong = Vec::new();
    for Case { user_agent_string, family } in &cases {
        let found = name_of(RULES.find(user_agent_string.as_bytes()));
        let found = found.as_deref().unwrap_or(UNKNOWN);
        if found != family {
            wrong.push(format!("{user_agent_string}: {found}, not {family}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    cases.len()
}

#[test]
fn browsers_are_named_as_uap_core_expects() {
    assert_eq!(check("tests/test_ua.yaml", |found| found.browser), 1_460);
}

#[test]
fn systems_are_named_as_uap_core_expects() {
    assert_eq!(check("tests/test_os.yaml", |found| found.os), 468);
}

#[test]
fn devices_are_named_as_uap_core_expects() {
    assert_eq!(check("tests/test_device.yaml", |found| found.device), 16_124);
}

#[test]
fn every_rule_compiles_and_few_need_no_words() {
    for rule in &RULES.rules {
        rule.compile();
    }
    let n_always_tried = RULES.rules.iter().filter(|rule| rule.needed == 0).count();
    assert!(n_always_tried <= 4, "{n_always_tried} rules are tried on every user agent");
}

#[test]
fn a_name_takes_groups_where_it_says_so() {
    let regex = Regex::new("(a+)(b+)?(c+)").unwrap();
    let groups = regex.captures(b"aacc").unwrap();
    assert_eq!(fill("x $3-$1$2 ", &groups), "x cc-aa");
    assert_eq!(fill("$9", &groups), "");
}

/// As `Rules::find`, but tries every rule.
fn find_without_words(user_agent: &[u8]) -> Found {
    let first = |kind: &Range<usize>| -> Option<Box<str>> {
        let name = RULES.rules[kind.clone()].iter().find_map(|rule| rule.name_of(user_agent))?;
        (!name.is_empty() && name != UNKNOWN).then(|| name.into())
    };
    Found {
        browser: first(&RULES.browsers),
        os: first(&RULES.systems),
        device: first(&RULES.devices),
    }
}

static SAMPLES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let files = ["tests/test_ua.yaml", "tests/test_os.yaml", "tests/test_device.yaml"];
    let cases = files.into_iter().flat_map(cases);
    cases.step_by(7).map(|case| case.user_agent_string).collect()
});

/// A piece of a user agent, as it is or in another case.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let whole = any::<prop::sample::Index>();
    (whole, 0..200_usize, 0..200_usize, 0..8_u8).prop_map(|(whole, from, len, case)| {
        let sample = whole.get(&SAMPLES).as_bytes();
        let from = if from < 100 { 0 } else { from.min(sample.len()) };
        let piece = &sample[from..(from + len).min(sample.len())];
        match case {
            0 => piece.to_ascii_lowercase(),
            1 => piece.to_ascii_uppercase(),
            _ => piece.to_vec(),
        }
    })
}

proptest! {
    #[test]
    fn words_never_hide_a_rule_that_matches(
        pieces in vec(prop_oneof![9 => piece(), 1 => vec(any::<u8>(), 0..9)], 1..4)
    ) {
        let user_agent = pieces.concat();
        prop_assert_eq!(RULES.find(&user_agent), find_without_words(&user_agent));
        prop_assert_eq!(RULES.find_device(&user_agent), RULES.find(&user_agent).device);
    }
}
