//! Finds out about clicks what their requests did not say: off the redirect path, by the counters.
//!
//! What is shared (databases, rules, keys) is in `Enrichment`; each counter has an `Enricher`
//! with memories of its own, because most visitors come with the same few user agents, referrers
//! and languages. The address ends here: what leaves is a keyed hash of it.

pub mod agent;
mod keys;
mod memo;
pub mod places;
mod text;

use std::sync::Arc;

use self::agent::{AgentMemo, Agents};
pub(super) use self::keys::Keys;
use self::memo::WordsOfTexts;
use self::places::{Finder, NOWHERE, Places};
use super::journal::Record;
use crate::domain::bot;
use crate::domain::click::{ClickFlags, SegmentId};
use crate::domain::counted::{CountedClick, serial_of};
use crate::domain::day::day_of;
use crate::domain::time::Timestamp;
use crate::domain::visitor::VisitorKey;
use crate::domain::words::{Lexicon, SEPARATOR, Word, Words};

/// User agents that are classified between two calls of [`Enricher::go_on`]: some 40 ms of work. A
/// flood of new ones must not hold up the counting of clicks.
const CLASSIFIED_MAX: u32 = 4_096;

/// What all counters use.
pub(super) struct Enrichment {
    pub(super) agents: Arc<Agents>,
    pub(super) places: Arc<Places>,
    pub(super) keys: Keys,
}

/// What is remembered of a user agent.
#[derive(Clone, Copy)]
struct KnownAgent {
    /// Tells visitors of one address apart.
    digest: u64,
    text: Word,
    bot: bool,
}

/// Turns records into clicks. One per counter.
pub(super) struct Enricher {
    shared: Arc<Enrichment>,
    agents: AgentMemo<KnownAgent>,
    finder: Finder,
    /// By key of the finder, while its generation lasts: the text of the place.
    places: (u32, Vec<Option<Word>>),
    referrers: AgentMemo<Word>,
    languages: AgentMemo<Word>,
    key: Option<(u32, VisitorKey)>,
    /// User agents that may still be classified.
    unknown_left: u32,
    /// Clicks whose user agent was not.
    unclassified: u64,
    /// Everything found out so far; the memories above name texts by its words.
    texts: Lexicon,
    words: WordsOfTexts,
}

impl Enricher {
    pub(super) fn new(shared: Arc<Enrichment>) -> Self {
        Self {
            agents: AgentMemo::new(),
            finder: shared.places.finder(),
            places: (0, Vec::new()),
            referrers: AgentMemo::new(),
            languages: AgentMemo::new(),
            key: None,
            unknown_left: u32::MAX,
            unclassified: 0,
            texts: Lexicon::default(),
            words: WordsOfTexts::default(),
            shared,
        }
    }

    /// The click that record number `number` of a segment is. Its time is `at`, which may be
    /// another than the record's when the clock had jumped.
    pub(super) fn click(
        &mut self,
        record: &Record<'_>,
        at: Timestamp,
        segment: SegmentId,
        number: u64,
    ) -> CountedClick {
        let mut click = CountedClick {
            link: record.link,
            at,
            serial: serial_of(segment, number),
            version: record.version,
            flags: record.flags,
            ..CountedClick::default()
        };
        if record.flags.has(ClickFlags::PRIVATE) {
            return click;
        }
        let agent = self.agent(record.user_agent);
        click.agent = self.word(agent.text);
        if agent.bot {
            click.flags = click.flags.with(ClickFlags::BOT);
        }
        if let Some(address) = record.address {
            let place = self.place(address);
            click.place = self.word(place);
            click.visitor = self.key(day_of(at)).visitor(address, agent.digest);
        }
        if !record.referrer.is_empty() {
            let referrer = self.referrer(record.referrer);
            click.referrer = self.word(referrer);
        }
        if !record.language.is_empty() {
            let language = self.language(record.language);
            click.language = self.word(language);
        }
        if !record.query.is_empty() {
            let utm = text::utm(record.query);
            let utm = self.texts.word(&utm);
            click.utm = self.word(utm);
        }
        click
    }

    /// Allows the next so many user agents to be classified; answers how many clicks were left
    /// without since the last call.
    pub(super) fn go_on(&mut self) -> u64 {
        self.unknown_left = CLASSIFIED_MAX;
        // Asked for again: the store may have one by now, or have destroyed it.
        self.key = None;
        std::mem::take(&mut self.unclassified)
    }

    /// The dictionary of all clicks since the last call. What is found out next has another one.
    pub(super) fn take_words(&mut self) -> Words {
        if self.is_full() {
            self.texts = Lexicon::default();
            self.agents = AgentMemo::new();
            self.referrers = AgentMemo::new();
            self.languages = AgentMemo::new();
            self.places = (0, Vec::new());
        }
        self.words.take()
    }

    /// The dictionary so far.
    pub(super) fn words(&self) -> &Words {
        self.words.words()
    }

    /// True when the dictionary should be taken before more is read.
    pub(super) fn is_full(&self) -> bool {
        memo::is_full(&self.texts)
    }

    fn word(&mut self, text: Word) -> Word {
        self.words.word(text, &self.texts)
    }

    fn agent(&mut self, user_agent: &[u8]) -> KnownAgent {
        if let Some(known) = self.agents.get(user_agent) {
            return known;
        }
        let digest = text::digest(user_agent);
        if self.unknown_left == 0 {
            self.unclassified += 1;
            return KnownAgent { digest, text: Word::NONE, bot: bot::is_bot(user_agent) };
        }
        self.unknown_left -= 1;
        let found = self.shared.agents.classify(user_agent);
        let parts = [found.device, found.os.as_deref(), found.browser.as_deref()];
        let text = self.texts.word(&joined(&parts));
        let known = KnownAgent { digest, text, bot: found.bot };
        self.agents.insert(user_agent, known);
        known
    }

    fn place(&mut self, address: std::net::IpAddr) -> Word {
        let found = self.finder.find(address);
        if found.key == NOWHERE {
            return Word::NONE;
        }
        let (generation, texts) = &mut self.places;
        if *generation != found.generation {
            *generation = found.generation;
            texts.clear();
        }
        let at = found.key as usize;
        if texts.len() <= at {
            texts.resize(at + 1, None);
        }
        *texts[at].get_or_insert_with(|| {
            let place = self.finder.place(found.key);
            let parts = [&place.continent, &place.country, &place.region, &place.city];
            self.texts.word(&joined(&parts.map(|part| part.as_deref())))
        })
    }

    fn referrer(&mut self, referrer: &[u8]) -> Word {
        if let Some(known) = self.referrers.get(referrer) {
            return known;
        }
        let kept = self.texts.word(&text::referrer(referrer));
        self.referrers.insert(referrer, kept);
        kept
    }

    fn language(&mut self, language: &[u8]) -> Word {
        if let Some(known) = self.languages.get(language) {
            return known;
        }
        let kept = self.texts.word(&text::language(language).unwrap_or_default());
        self.languages.insert(language, kept);
        kept
    }

    fn key(&mut self, day: u32) -> VisitorKey {
        match self.key {
            Some((known, key)) if known == day => key,
            _ => {
                let key = self.shared.keys.of(day);
                self.key = Some((day, key));
                key
            }
        }
    }
}

/// Parts as one text; empty when all of them are absent.
fn joined(parts: &[Option<&str>]) -> String {
    let mut text = String::new();
    if parts.iter().all(Option::is_none) {
        return text;
    }
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            text.push(SEPARATOR);
        }
        text.push_str(part.unwrap_or_default());
    }
    text
}
