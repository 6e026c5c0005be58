//! `vendor/uap-core/rules.tsv` is made here from `regexes.yaml`: each expression with words that it
//! cannot match without.
//!
//! `SHUNT_BLESS=1 cargo test --lib vendored` writes it anew.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};
use serde::Deserialize;

use super::vendored_file;

const NOTICE: &str =
    "# Made from regexes.yaml of uap-core, under its licence (Apache-2.0); do not edit.\n";
/// Shorter words are everywhere.
const WORD_BYTES_MIN: usize = 2;
/// Most sets of words of one rule: a bit each.
const SETS_MAX: usize = 8;

#[derive(Deserialize)]
struct File {
    user_agent_parsers: Vec<Parser>,
    os_parsers: Vec<Parser>,
    device_parsers: Vec<Parser>,
}

#[derive(Deserialize)]
struct Parser {
    regex: String,
    #[serde(default)]
    regex_flag: String,
    #[serde(default, alias = "family_replacement", alias = "os_replacement")]
    #[serde(alias = "device_replacement")]
    name: String,
}

/// Words of which one must be there.
type Set = Vec<String>;

/// The table that is compiled into the program.
fn render() -> String {
    let file: File = yaml_serde::from_str(&vendored_file("regexes.yaml")).unwrap();
    let mut table = NOTICE.to_owned();
    for (kind, parsers) in
        [("b", file.user_agent_parsers), ("o", file.os_parsers), ("d", file.device_parsers)]
    {
        for Parser { regex, regex_flag, name } in parsers {
            let regex = widened(&regex);
            let hir = ParserBuilder::new()
                .case_insensitive(regex_flag == "i")
                .unicode(false)
                .utf8(false)
                .build()
                .parse(&regex)
                .unwrap();
            // Without a name of its own a rule gives what its first group matched.
            let name = if name.is_empty() { "$1" } else { &name };
            let columns = [kind, &regex_flag, name, &regex].map(str::to_owned);
            assert!(columns.iter().all(|column| !column.contains(['\t', '\n'])), "{regex}");
            let sets = best(required(&hir)).into_iter().map(|set| set.join("|"));
            let line: Vec<String> = columns.into_iter().chain(sets).collect();
            table.push_str(&line.join("\t"));
            table.push('\n');
        }
    }
    table
}

/// Lets go of the long counts, such as `{0,200}`: they keep other engines from running wild, which
/// this one cannot, and cost it half of its memory. Those that say how near the start a word must
/// be remain.
fn widened(regex: &str) -> String {
    let near = if regex.starts_with("^.{0,") { regex.find('}').unwrap_or_default() } else { 0 };
    let (start, rest) = regex.split_at(near);
    let rest = ["100}", "200}", "300}"].into_iter().fold(rest.to_owned(), |rest, end| {
        rest.replace(&format!("{{0,{end}"), "*").replace(&format!("{{1,{end}"), "+")
    });
    start.to_owned() + &rest
}

/// Sets of words: whatever an expression matches has a word of each.
fn required(hir: &Hir) -> Vec<Set> {
    match hir.kind() {
        HirKind::Concat(parts) => of_sequence(parts),
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Alternation(branches) => {
            let branches = branches.iter().map(|branch| best(required(branch)));
            branches.reduce(|one, other| either(&one, &other)).unwrap_or_default()
        }
        HirKind::Repetition(_) => Vec::new(),
        _ => of_sequence(std::slice::from_ref(hir)),
    }
}

/// Neighbours that match one text each make one word.
fn of_sequence(parts: &[Hir]) -> Vec<Set> {
    let mut sets = Vec::new();
    let mut word = String::new();
    for part in parts {
        if let Some(more) = exact(part) {
            word.push_str(&more);
            continue;
        }
        sets.push(vec![std::mem::take(&mut word)]);
        if !matches!(part.kind(), HirKind::Literal(_) | HirKind::Class(_)) {
            sets.extend(required(part));
        }
    }
    sets.push(vec![word]);
    sets.retain(|set| set.iter().all(|word| usable(word)));
    sets
}

/// What holds of both branches: a word of a set of the one, or a word of a set of the other.
fn either(one: &[Set], other: &[Set]) -> Vec<Set> {
    let pairs = one.iter().flat_map(|one| other.iter().map(move |other| [&one[..], other]));
    best(pairs.map(|pair| shortest(pair.concat())).collect())
}

/// The one text that an expression matches, in lower case.
fn exact(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(String::new()),
        HirKind::Literal(literal) => {
            Some(std::str::from_utf8(&literal.0).ok()?.to_ascii_lowercase())
        }
        HirKind::Class(Class::Bytes(class)) => {
            let mut letters = class.iter().flat_map(|range| range.start()..=range.end());
            let first = letters.next().filter(u8::is_ascii)?.to_ascii_lowercase();
            letters
                .all(|letter| letter.to_ascii_lowercase() == first)
                .then(|| char::from(first).to_string())
        }
        HirKind::Capture(capture) => exact(&capture.sub),
        HirKind::Concat(parts) => parts.iter().map(exact).collect(),
        _ => None,
    }
}

fn usable(word: &str) -> bool {
    word.len() >= WORD_BYTES_MIN && !word.contains(['|', '\t', '\n'])
}

/// Leaves out words that hold another of the set.
fn shortest(mut set: Set) -> Set {
    set.sort_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
    let mut kept = Set::new();
    for word in set {
        if !kept.iter().any(|kept| word.contains(kept.as_str())) {
            kept.push(word);
        }
    }
    kept
}

/// As many sets as a rule may have, the longest words first: those are the rarest.
fn best(mut sets: Vec<Set>) -> Vec<Set> {
    let weakest = |set: &Set| set.iter().map(String::len).min().unwrap_or_default();
    sets.sort_by_key(|set| (std::cmp::Reverse(weakest(set)), set.len()));
    sets.dedup();
    sets.truncate(SETS_MAX);
    sets
}

#[test]
fn the_rules_are_those_of_uap_core() {
    let rendered = render();
    let path = format!("{}/vendor/uap-core/rules.tsv", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("SHUNT_BLESS").is_some() {
        std::fs::write(&path, &rendered).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(kept == rendered, "{path} is out of date; run with SHUNT_BLESS=1");
}
