//! Words that give a visitor away, found in one pass over the user agent.

use aho_corasick::AhoCorasick;

use super::{crawlers, device};

/// What a word is a sign of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// A crawler, previewer, monitor or feed reader by its name.
    Crawler,
    /// The address of a page about the program, which crawlers are expected to give.
    HomePage,
    /// A library or command that fetches what its user asks for.
    Program,
    /// A browser or telephone that uap-core mistakes for a spider.
    Visitor,
    Wearable,
    Console,
    Speaker,
    Television,
    /// The tablet services of Windows, which desktops have too.
    TabletServices,
    Tablet,
    Phone,
    /// A system of desktops, which some others claim to be.
    Desktop,
    Android,
}

/// The signs found in one user agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Signs(u16);

/// Knows all words of `crawlers` and `device`.
pub(super) struct SignFinder {
    words: AhoCorasick,
    /// What each word is a sign of, in the order of `words`.
    meanings: Vec<Sign>,
}

impl Signs {
    pub(super) fn has(self, sign: Sign) -> bool {
        self.0 & (1 << sign as u16) != 0
    }

    fn add(&mut self, sign: Sign) {
        self.0 |= 1 << sign as u16;
    }
}

impl SignFinder {
    pub(super) fn new() -> Self {
        let lists = crawlers::WORDS.iter().chain(device::WORDS);
        let (meanings, words): (Vec<Sign>, Vec<&str>) =
            lists.flat_map(|(sign, words)| words.iter().map(|word| (*sign, *word))).unzip();
        let words = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(words)
            .expect("a few hundred short words are far below the limits of the automaton");
        Self { words, meanings }
    }

    pub(super) fn find(&self, user_agent: &[u8]) -> Signs {
        let mut signs = Signs::default();
        for found in self.words.find_overlapping_iter(user_agent) {
            signs.add(self.meanings[found.pattern().as_usize()]);
        }
        signs
    }
}
