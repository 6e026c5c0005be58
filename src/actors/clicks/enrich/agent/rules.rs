//! The rules of uap-core: which browser, operating system and device a user agent names.
//!
//! A list of rules is tried from the top and the first that matches decides. Trying some 1,200
//! expressions would take long, so each comes with words that it cannot match without: one pass
//! finds all words, and the few rules that have theirs are tried. An expression is compiled when
//! it is first tried; most never are.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::OnceLock;

use aho_corasick::AhoCorasick;
use regex::bytes::{Captures, Regex, RegexBuilder};

/// Device that uap-core says crawlers are.
pub(super) const SPIDER: &str = "Spider";
/// What uap-core says when it does not know.
const UNKNOWN: &str = "Other";

/// One rule a line: kind (`b`rowser, `o`perating system, `d`evice), flag, name, expression, then
/// sets of words in lower case, all parted by tabs. An expression matches only where a word of each
/// set is. Made from `regexes.yaml` by a test, which also proves it.
const TABLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/vendor/uap-core/rules.tsv"));

/// Most bytes that one compiled expression takes to remember the states it went through.
const STATES_BYTES_MAX: usize = 128 * 1_024;

/// What the rules say of one user agent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) browser: Option<Box<str>>,
    pub(super) os: Option<Box<str>>,
    pub(super) device: Option<Box<str>>,
}

/// All rules, and the words that call for them.
pub(super) struct Rules {
    rules: Vec<Rule>,
    browsers: Range<usize>,
    systems: Range<usize>,
    devices: Range<usize>,
    words: AhoCorasick,
    /// Which sets each word is in, in the order of `words`.
    places: Vec<Vec<Place>>,
}

struct Rule {
    pattern: &'static str,
    ignore_case: bool,
    /// May hold `$1` and the like.
    name: &'static str,
    /// One bit per set of words.
    needed: u8,
    compiled: OnceLock<Regex>,
}

#[derive(Clone, Copy)]
struct Place {
    rule: u16,
    set: u8,
}

impl Rules {
    pub(super) fn new() -> Self {
        let mut rules = Vec::new();
        let mut kinds = String::new();
        let mut uses: Vec<(&str, Place)> = Vec::new();
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let mut columns = line.split('\t');
            let mut column = || columns.next().unwrap_or_default();
            let (kind, flag, name, pattern) = (column(), column(), column(), column());
            let rule = rules.len() as u16;
            let mut needed = 0;
            for (set, words) in (0..).zip(columns) {
                needed |= 1 << set;
                uses.extend(words.split('|').map(|word| (word, Place { rule, set })));
            }
            kinds.push_str(kind);
            let ignore_case = flag == "i";
            rules.push(Rule { pattern, ignore_case, name, needed, compiled: OnceLock::new() });
        }
        let (words, places) = gather(uses);
        let end_of = |kind| kinds.rfind(kind).map_or(0, |last| last + 1);
        let (browsers_end, systems_end) = (end_of('b'), end_of('o'));
        Self {
            browsers: 0..browsers_end,
            systems: browsers_end..systems_end,
            devices: systems_end..rules.len(),
            rules,
            words,
            places,
        }
    }

    pub(super) fn find(&self, user_agent: &[u8]) -> Found {
        let seen = self.look(user_agent);
        Found {
            browser: self.first(&self.browsers, &seen, user_agent),
            os: self.first(&self.systems, &seen, user_agent),
            device: self.first(&self.devices, &seen, user_agent),
        }
    }

    /// As `find(..).device`, for less.
    pub(super) fn find_device(&self, user_agent: &[u8]) -> Option<Box<str>> {
        self.first(&self.devices, &self.look(user_agent), user_agent)
    }

    /// For each rule, the sets of which a word is there.
    fn look(&self, user_agent: &[u8]) -> Vec<u8> {
        let mut seen = vec![0; self.rules.len()];
        for found in self.words.find_overlapping_iter(user_agent) {
            for place in &self.places[found.pattern().as_usize()] {
                seen[usize::from(place.rule)] |= 1 << place.set;
            }
        }
        seen
    }

    /// The name that the first rule of a kind gives, if one matches.
    fn first(&self, kind: &Range<usize>, seen: &[u8], user_agent: &[u8]) -> Option<Box<str>> {
        let rules = self.rules[kind.clone()].iter().zip(&seen[kind.clone()]);
        let name = rules
            .filter(|(rule, seen)| rule.needed == **seen)
            .find_map(|(rule, _)| rule.name_of(user_agent))?;
        (!name.is_empty() && name != UNKNOWN).then(|| name.into())
    }
}

impl Rule {
    /// The name it gives, if it matches.
    fn name_of(&self, user_agent: &[u8]) -> Option<Cow<'static, str>> {
        let regex = self.compiled.get_or_init(|| self.compile());
        // Most rules that are tried do not match, which is found out for less without groups.
        if !regex.is_match(user_agent) {
            return None;
        }
        if !self.name.contains('$') {
            return Some(self.name.into());
        }
        regex.captures(user_agent).map(|groups| fill(self.name, &groups).into())
    }

    /// Bytes, not characters: expressions are smaller, and user agents need not be UTF-8.
    fn compile(&self) -> Regex {
        RegexBuilder::new(self.pattern)
            .case_insensitive(self.ignore_case)
            .unicode(false)
            .dfa_size_limit(STATES_BYTES_MAX)
            .build()
            .expect("a test compiles every rule")
    }
}

/// Finds each word once, wherever it is used.
fn gather(mut uses: Vec<(&'static str, Place)>) -> (AhoCorasick, Vec<Vec<Place>>) {
    uses.sort_by_key(|(word, _)| *word);
    let same = uses.chunk_by(|(one, _), (other, _)| one == other);
    let (words, places): (Vec<&str>, Vec<Vec<Place>>) =
        same.map(|uses| (uses[0].0, uses.iter().map(|(_, place)| *place).collect())).unzip();
    let words = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(words)
        .expect("a few thousand short words are far below the limits of the automaton");
    (words, places)
}

/// Puts groups in the place of `$1` to `$9`.
fn fill(name: &str, groups: &Captures<'_>) -> String {
    let mut parts = name.split('$');
    let mut filled = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (number, rest) = part.split_at_checked(1).unwrap_or_default();
        let group = number.parse().ok().and_then(|number| groups.get(number));
        filled.extend_from_slice(group.map_or(b"", |group| group.as_bytes()));
        filled.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8_lossy(&filled).trim().to_owned()
}
