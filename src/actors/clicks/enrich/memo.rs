//! Texts that counters meet again and again, each kept once.

use std::sync::Arc;

use crate::domain::words::{Lexicon, Word, Words};

/// Texts that are kept at most, and their bytes. More come of strangers who send another text with
/// every request; then all are forgotten.
const TEXTS_MAX: usize = 131_072;
const BYTES_MAX: usize = 16 << 20;

/// True when a counter keeps as many texts as it may.
pub(super) fn is_full(texts: &Lexicon) -> bool {
    texts.words().len() >= TEXTS_MAX || texts.words().bytes() >= BYTES_MAX
}

/// A dictionary of the texts that were used since it was taken last.
#[derive(Default)]
pub(super) struct WordsOfTexts {
    words: Words,
    /// By kept text: the dictionary that has it, and its word there.
    known: Vec<(u32, Word)>,
    dictionary: u32,
}

impl WordsOfTexts {
    /// The word that the dictionary has for one of the kept `texts`.
    pub(super) fn word(&mut self, kept: Word, texts: &Lexicon) -> Word {
        let Some(text) = texts.words().shared(kept) else { return Word::NONE };
        let at = kept.0 as usize;
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
        let (mut texts, mut words) = (Lexicon::default(), WordsOfTexts::default());
        let (a, b) = (texts.word("a"), texts.word("b"));
        assert_eq!((texts.word("a"), texts.word("")), (a, Word::NONE));
        assert_eq!(words.word(b, &texts), Word(1));
        assert_eq!(words.word(a, &texts), Word(2));
        assert_eq!(words.word(b, &texts), Word(1));
        assert_eq!(words.word(Word::NONE, &texts), Word::NONE);
        assert_eq!(words.take().text(Word(2)), Some("a"));
        assert_eq!(words.word(a, &texts), Word(1));
        assert_eq!(words.take().len(), 1);
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let mut texts = Lexicon::default();
        let mut n = 0;
        while !is_full(&texts) {
            texts.word(&format!("{n:>1000}"));
            n += 1;
        }
        assert!(n <= BYTES_MAX / 1_000 + 1);
    }
}
