//! Texts of clicks as numbers: a dictionary that travels with the clicks that use it.
//!
//! What is always found out together is one text: its parts are joined by [`SEPARATOR`], so that a
//! click carries five numbers and not fourteen.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

/// Between the parts of a text. Texts of visitors never contain it.
pub const SEPARATOR: char = '\u{1f}';

/// A text of a [`Words`]; zero is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(pub u32);

impl Word {
    pub const NONE: Self = Self(0);
    /// Stands for all values of a dimension beyond those that are kept.
    pub const OTHER: Self = Self(u32::MAX);

    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// A dictionary. Words are numbered from one in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    texts: Vec<Arc<str>>,
    bytes: usize,
}

impl Words {
    /// Adds a text without asking whether it is there; see [`Lexicon`].
    pub fn push(&mut self, text: Arc<str>) -> Word {
        self.bytes += text.len();
        self.texts.push(text);
        Word(self.texts.len() as u32)
    }

    /// The text of a word; `None` for [`Word::NONE`], [`Word::OTHER`] and words of others.
    pub fn text(&self, word: Word) -> Option<&str> {
        self.shared(word).map(|text| &**text)
    }

    /// The same, to be kept.
    pub fn shared(&self, word: Word) -> Option<&Arc<str>> {
        self.texts.get((word.0 as usize).checked_sub(1)?)
    }

    /// The parts of a word, in order; empty ones are absent.
    pub fn parts<const N: usize>(&self, word: Word) -> [Option<&str>; N] {
        let mut parts = [None; N];
        let text = self.text(word).unwrap_or_default();
        for (part, text) in parts.iter_mut().zip(text.split(SEPARATOR)) {
            *part = Some(text).filter(|text| !text.is_empty());
        }
        parts
    }

    /// Bytes of all texts.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// All texts, in the order of their words.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.texts.iter()
    }
}

impl FromIterator<Arc<str>> for Words {
    fn from_iter<I: IntoIterator<Item = Arc<str>>>(texts: I) -> Self {
        let texts: Vec<Arc<str>> = texts.into_iter().collect();
        Self { bytes: texts.iter().map(|text| text.len()).sum(), texts }
    }
}

/// A dictionary in the making: gives equal texts one word.
#[derive(Debug, Default)]
pub struct Lexicon {
    words: Words,
    known: HashMap<Arc<str>, Word>,
}

impl Lexicon {
    /// Goes on with a dictionary whose texts are all different.
    pub fn of(words: Words) -> Self {
        let mut known = HashMap::with_capacity(words.len());
        for (number, text) in (1..).zip(words.iter()) {
            known.insert(Arc::clone(text), Word(number));
        }
        Self { words, known }
    }

    /// The word of a text; none for an empty one.
    pub fn word(&mut self, text: &str) -> Word {
        if text.is_empty() {
            return Word::NONE;
        }
        match self.known.get(text) {
            Some(word) => *word,
            None => self.add(Arc::from(text)),
        }
    }

    /// The same without a copy of the text.
    pub fn shared(&mut self, text: &Arc<str>) -> Word {
        match self.known.get(text) {
            Some(word) => *word,
            None => self.add(Arc::clone(text)),
        }
    }

    fn add(&mut self, text: Arc<str>) -> Word {
        let word = self.words.push(Arc::clone(&text));
        self.known.insert(text, word);
        word
    }

    pub fn words(&self) -> &Words {
        &self.words
    }

    pub fn into_words(self) -> Words {
        self.words
    }
}

/// Translates words of one dictionary into another, each text once.
#[derive(Debug)]
pub struct Translation<'a> {
    from: &'a Words,
    known: Vec<Word>,
}

impl<'a> Translation<'a> {
    pub fn new(from: &'a Words) -> Self {
        Self { from, known: vec![Word::NONE; from.len()] }
    }

    /// The word of `to` with the text of `word`.
    pub fn word(&mut self, word: Word, to: &mut Lexicon) -> Word {
        if word == Word::OTHER {
            return word;
        }
        let Some(text) = self.from.shared(word) else { return Word::NONE };
        let known = &mut self.known[word.0 as usize - 1];
        if known.is_none() {
            *known = to.shared(text);
        }
        *known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_word() {
        let mut lexicon = Lexicon::default();
        let (a, b, again) = (lexicon.word("a"), lexicon.word("b"), lexicon.word("a"));
        assert_eq!((a, b, again), (Word(1), Word(2), Word(1)));
        assert_eq!(lexicon.word(""), Word::NONE);
        let mut more = Lexicon::of(lexicon.into_words());
        assert_eq!((more.word("b"), more.word("c")), (Word(2), Word(3)));
    }

    #[test]
    fn parts_come_apart_as_they_were_joined() {
        let words: Words = [Arc::from("EU\u{1f}DE\u{1f}\u{1f}Berlin")].into_iter().collect();
        assert_eq!(words.parts(Word(1)), [Some("EU"), Some("DE"), None, Some("Berlin")]);
        assert_eq!(words.parts::<2>(Word::NONE), [None, None]);
        assert_eq!(words.parts::<2>(Word(9)), [None, None]);
    }

    #[test]
    fn a_translation_keeps_texts() {
        let from: Words = [Arc::from("a"), Arc::from("b")].into_iter().collect();
        let mut to = Lexicon::default();
        to.word("b");
        let mut translation = Translation::new(&from);
        assert_eq!(translation.word(Word(1), &mut to), Word(2));
        assert_eq!(translation.word(Word(2), &mut to), Word(1));
        assert_eq!(translation.word(Word::OTHER, &mut to), Word::OTHER);
        assert_eq!(translation.word(Word::NONE, &mut to), Word::NONE);
    }
}
