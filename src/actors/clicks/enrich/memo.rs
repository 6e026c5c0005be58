//! Texts that counters meet again and again, each kept once.

use std::sync::Arc;

use foldhash::HashMap;

use crate::domain::words::{Word, Words};

/// Texts that are kept at most, and their bytes. More come of strangers who send another text with
/// every request; then all are forgotten.
const TEXTS_MAX: usize = 131_072;
const BYTES_MAX: usize = 16 << 20;

/// Texts with a number each; zero is the empty text.
#[derive(Default)]
pub(super) struct Texts {
    known: HashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
    bytes: usize,
}

impl Texts {
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if let Some(number) = self.known.get(text) {
            return *number;
        }
        let text: Arc<str> = Arc::from(text);
        self.bytes += text.len();
        self.texts.push(Arc::clone(&text));
        let number = self.texts.len() as u32;
        self.known.insert(text, number);
        number
    }

    pub(super) fn is_full(&self) -> bool {
        self.texts.len() >= TEXTS_MAX || self.bytes >= BYTES_MAX
    }

    fn text(&self, number: u32) -> Option<&Arc<str>> {
        self.texts.get((number as usize).checked_sub(1)?)
    }
}

/// A dictionary of the texts that were used since it was taken last.
#[derive(Default)]
pub(super) struct WordsOfTexts {
    words: Words,
    /// By number of a text: the dictionary that has it, and its word there.
    known: Vec<(u32, Word)>,
    dictionary: u32,
}

impl WordsOfTexts {
    pub(super) fn word(&mut self, number: u32, texts: &Texts) -> Word {
        let Some(text) = texts.text(number) else { return Word::NONE };
        let at = number as usize;
        if self.known.len() <= at {
            self.known.resize(at + 1, (u32::MAX, Word::NONE));
        }
        if self.known[at].0 != self.dictionary {
            self.known[at] = (self.dictionary, self.words.push(Arc::clone(text)));
        }
        self.known[at].1
    }

    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    pub(super) fn take(&mut self) -> Words {
        self.dictionary = self.dictionary.wrapping_add(1);
        if self.dictionary == u32::MAX {
            self.dictionary = 0;
            self.known.clear();
        }
        std::mem::take(&mut self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dictionary_has_the_texts_that_were_used_since_the_last() {
        let (mut texts, mut words) = (Texts::default(), WordsOfTexts::default());
        let (a, b) = (texts.number("a"), texts.number("b"));
        assert_eq!((texts.number("a"), texts.number("")), (a, 0));
        assert_eq!(words.word(b, &texts), Word(1));
        assert_eq!(words.word(a, &texts), Word(2));
        assert_eq!(words.word(b, &texts), Word(1));
        assert_eq!(words.word(0, &texts), Word::NONE);
        assert_eq!(words.take().text(Word(2)), Some("a"));
        assert_eq!(words.word(a, &texts), Word(1));
        assert_eq!(words.take().len(), 1);
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let mut texts = Texts::default();
        let mut n = 0;
        while !texts.is_full() {
            texts.number(&format!("{n:>1000}"));
            n += 1;
        }
        assert!(n <= BYTES_MAX / 1_000 + 1);
    }
}
