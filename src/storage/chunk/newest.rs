//! The newest clicks of a link, out of many chunks.
//!
//! In memory are as many clicks as are asked for, one chunk, and the texts that they use.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::bytes::Outcome;
use super::clicks::decode_until;
use super::span::Span;
use crate::domain::counted::CountedClick;
use crate::domain::event::ClickEvent;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::domain::words::Words;
use crate::storage::EventQuery;

/// The newest clicks found so far, at most as many as are asked for.
pub(in crate::storage) struct Newest<'a> {
    pub(in crate::storage) query: &'a EventQuery,
    pub(in crate::storage) span: Span,
    /// No wanted click is younger.
    pub(in crate::storage) until: Timestamp,
    /// The smallest id is on top: the first that gives way.
    found: BinaryHeap<Reverse<Found>>,
}

struct Found {
    id: Id,
    click: CountedClick,
    words: Arc<Words>,
}

impl<'a> Newest<'a> {
    pub(in crate::storage) fn new(query: &'a EventQuery) -> Self {
        let span = Span { from: query.from, to: query.to };
        let last = query.to.plus_millis(-1);
        let until = query.before.map_or(last, |id| last.min(id.created_at()));
        Self { query, span, until, found: BinaryHeap::new() }
    }

    /// Takes what is wanted out of a chunk.
    pub(in crate::storage) fn read(&mut self, id: i64, body: &[u8]) -> Outcome<()> {
        let chunk = decode_until(id, body, self.query.link, self.until)?;
        let (limit, words) = (self.query.limit as usize, Arc::new(chunk.words));
        for click in chunk.clicks {
            let id = click.id();
            let wanted = self.span.has(click.at)
                && self.query.before.is_none_or(|before| id < before)
                && self.query.bots.is_none_or(|bots| bots == click.is_bot());
            let room = self.found.len() < limit;
            if wanted && (room || self.found.peek().is_some_and(|least| id > least.0.id)) {
                self.found.push(Reverse(Found { id, click, words: Arc::clone(&words) }));
                if self.found.len() > limit {
                    self.found.pop();
                }
            }
        }
        Ok(())
    }

    /// Whether nothing up to and with this id can be among the newest any more.
    pub(in crate::storage) fn has_all_from(&self, id: Id) -> bool {
        self.found.len() >= self.query.limit as usize
            && self.found.peek().is_none_or(|least| least.0.id >= id)
    }

    /// What was found, the newest first.
    pub(in crate::storage) fn into_events(self) -> Vec<ClickEvent> {
        let mut found = self.found.into_vec();
        found.sort_unstable();
        found.iter().map(|Reverse(found)| ClickEvent::new(&found.click, &found.words)).collect()
    }
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Found {}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.id.cmp(&other.id)
    }
}
