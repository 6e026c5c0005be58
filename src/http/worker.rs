//! What one worker thread holds: made once per worker, shared by the front service and the slow
//! path. Nothing here is shared with other threads except what is lock-free to read.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use actix_server::GracefulShutdownSignal;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use bytes::BytesMut;
use tokio::sync::mpsc::{Sender, WeakSender};

use crate::actors::clicks::{ClickLane, ClickSink};
use crate::actors::links::LinkTable;
use crate::domain::bot;
use crate::domain::click::{ClickFlags, RawClick};
use crate::domain::code::DomainId;
use crate::domain::decide::{Decision, Target, decide};
use crate::domain::limits::CLICK_FIELD_BYTES_MAX;
use crate::domain::time::Clock;
use crate::http::client::TrustedProxies;
use crate::http::direct::{Crowd, PlainVisit};
use crate::http::hosts::Hosts;
use crate::http::pages::Pages;
use crate::http::redirect::RedirectRules;
use crate::http::safety::Safety;
use crate::service::limits::{Measured, VisitLimits};
use crate::telemetry::metrics::{Metrics, Outcome, WorkerStats};

/// One hit in this many is timed; its time weighs as many.
const SAMPLE_EVERY: u32 = 64;
/// Header values are cut from chunks of this size. All of them are dropped by the time a chunk is
/// used up, so the same one, still in the cache, is used again.
const CHUNK_BYTES: usize = 16 * 1_024;

/// What every worker is made from.
#[derive(Clone)]
pub(crate) struct WorkerParts {
    pub links: LinkTable,
    /// `None`: clicks are not recorded.
    pub clicks: Option<ClickSink>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
    pub hosts: Arc<Hosts>,
    pub redirects: bool,
    pub proxies: Arc<TrustedProxies>,
    pub rules: Arc<RedirectRules>,
    pub pages: Arc<Pages>,
    pub limits: VisitLimits,
    pub safety: Arc<Safety>,
    pub crowd: Arc<Crowd>,
    pub stopping: GracefulShutdownSignal,
    /// Held by every living worker: when all are gone, no click can come any more.
    pub alive: WeakSender<()>,
}

/// State of one worker thread.
pub(crate) struct Worker {
    pub links: LinkTable,
    pub stats: Arc<WorkerStats>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
    pub hosts: Arc<Hosts>,
    /// Codes are answered here.
    pub redirects: bool,
    pub rules: Arc<RedirectRules>,
    pub pages: Arc<Pages>,
    /// None, unless the operator sets any.
    pub limits: VisitLimits,
    pub safety: Arc<Safety>,
    pub crowd: Arc<Crowd>,
    /// Tells answers without an end that the server stops.
    pub stopping: GracefulShutdownSignal,
    clicks: Option<ClickLane>,
    /// Flags of clicks that mean something here.
    flags_kept: ClickFlags,
    proxies: Arc<TrustedProxies>,
    arena: Arena,
    request_ids: RequestIds,
    visits: Cell<u32>,
    /// Last, so that the lane is gone before the worker counts as gone.
    _alive: Option<Sender<()>>,
}

impl Worker {
    pub(crate) fn new(parts: &WorkerParts) -> Self {
        let stats = parts.metrics.worker();
        Self {
            links: parts.links.clone(),
            clicks: parts.clicks.as_ref().and_then(|sink| sink.lane(Arc::clone(&stats))),
            stats,
            flags_kept: parts.rules.flags_kept(),
            metrics: Arc::clone(&parts.metrics),
            clock: Arc::clone(&parts.clock),
            hosts: Arc::clone(&parts.hosts),
            redirects: parts.redirects,
            rules: Arc::clone(&parts.rules),
            pages: Arc::clone(&parts.pages),
            limits: parts.limits.clone(),
            safety: Arc::clone(&parts.safety),
            crowd: Arc::clone(&parts.crowd),
            stopping: parts.stopping.clone(),
            proxies: Arc::clone(&parts.proxies),
            arena: Arena::default(),
            request_ids: RequestIds::new(),
            visits: Cell::new(0),
            _alive: parts.alive.upgrade(),
        }
    }

    /// A header value of these parts; `None` when they cannot be one.
    pub(crate) fn header_value(&self, parts: &[&[u8]]) -> Option<HeaderValue> {
        self.arena.header_value(parts)
    }

    /// A request id that no other request of this process has.
    pub(crate) fn request_id(&self) -> HeaderValue {
        self.arena.header_value(&[&self.new_request_id()]).expect("hexadecimal digits are ASCII")
    }

    /// The same as sixteen hexadecimal digits.
    pub(crate) fn new_request_id(&self) -> [u8; 16] {
        self.request_ids.next()
    }

    /// A visit of a link in memory, decided and recorded: what `render` makes of where it leads and
    /// of a limit on redirects, if there is one. `None` when there is more to it: no such link
    /// here, a refusal, a click limit, too many redirects, or a target that cannot be rendered.
    pub(crate) fn hit<R>(
        &self,
        (domain, code): (DomainId, &[u8]),
        mut click: Option<RawClick<'_>>,
        client: impl FnOnce() -> IpAddr,
        render: impl FnOnce(&Target<'_>, Option<&Measured>) -> Option<R>,
    ) -> Option<R> {
        let now = self.clock.now();
        self.links.read(domain, code, |link| {
            let Decision::Go(target) = decide(link, now) else { return None };
            if link.rare().is_some_and(|rare| rare.allowance.is_some()) {
                return None;
            }
            let measured = match &self.limits.redirects {
                None => None,
                Some(limit) => match limit.take(client()) {
                    measured if measured.verdict.allowed => Some(measured),
                    // The slow path says so.
                    _ => return None,
                },
            };
            let answer = render(&target, measured.as_ref())?;
            // Completed where it is: every copy of it is a dozen instructions of each hit.
            if target.counts
                && let Some(click) = &mut click
            {
                (click.at, click.link, click.version) = (now, link.id(), link.version());
                self.record(click);
            }
            self.stats.count(self.hit_outcome());
            Some(answer)
        })?
    }

    /// What a visit of a link in memory counts as.
    pub(crate) fn hit_outcome(&self) -> Outcome {
        if self.links.may_be_stale() { Outcome::Stale } else { Outcome::Hit }
    }

    /// True when the peer may tell for whom it asks.
    pub(crate) fn trusts(&self, peer: SocketAddr) -> bool {
        self.proxies.trusts(peer.ip().to_canonical())
    }

    /// The start of a visit, for one in [`SAMPLE_EVERY`].
    pub(crate) fn sample(&self) -> Option<Instant> {
        let visit = self.visits.get().wrapping_add(1);
        self.visits.set(visit);
        visit.is_multiple_of(SAMPLE_EVERY).then(Instant::now)
    }

    /// Ends what [`Self::sample`] began.
    pub(crate) fn observe_sample(&self, started: Instant) {
        self.stats.observe(nanos_since(started), u64::from(SAMPLE_EVERY));
    }

    /// The address that a visit counts for.
    pub(crate) fn client(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> IpAddr {
        let lines = |name| headers.get_all(name).map(HeaderValue::as_bytes);
        self.proxies.client(peer, lines(header::FORWARDED), lines(header::X_FORWARDED_FOR))
    }

    /// The same of a plain visit.
    pub(crate) fn client_of(&self, peer: SocketAddr, visit: &PlainVisit<'_>) -> IpAddr {
        let (forwarded, x_forwarded_for) = (visit.forwarded, visit.x_forwarded_for);
        self.proxies.client(Some(peer), forwarded.into_iter(), x_forwarded_for.into_iter())
    }

    /// Whether the visits of a user agent are no clicks.
    pub(crate) fn is_bot(&self, user_agent: &[u8]) -> bool {
        match &self.clicks {
            Some(lane) => lane.is_bot(user_agent),
            None => bot::is_bot(user_agent.get(..CLICK_FIELD_BYTES_MAX).unwrap_or(user_agent)),
        }
    }

    /// Puts a click on record, unless clicks are switched off.
    pub(crate) fn record(&self, click: &mut RawClick<'_>) {
        let Some(lane) = &self.clicks else { return };
        click.flags = click.flags.only(self.flags_kept);
        lane.record(click);
    }
}

/// Nanoseconds since `started`, at most what 64 bits hold.
pub(crate) fn nanos_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Cuts header values from shared chunks, so that a redirect does not allocate.
#[derive(Default)]
struct Arena(RefCell<BytesMut>);

impl Arena {
    fn header_value(&self, parts: &[&[u8]]) -> Option<HeaderValue> {
        let mut chunk = self.0.borrow_mut();
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if chunk.capacity() < len {
            // Takes the chunk again from its start when no value cut from it is left.
            chunk.reserve(len.max(CHUNK_BYTES));
        }
        parts.iter().for_each(|part| chunk.extend_from_slice(part));
        HeaderValue::from_maybe_shared(chunk.split().freeze()).ok()
    }
}

/// Sixteen hexadecimal digits: a count, scattered, from a random start.
struct RequestIds {
    next: Cell<u64>,
}

impl RequestIds {
    fn new() -> Self {
        // Ids need to differ, not to be secret: without entropy they start at zero.
        Self { next: Cell::new(getrandom::u64().unwrap_or_default()) }
    }

    fn next(&self) -> [u8; 16] {
        // Adding an odd constant walks through all 64-bit numbers before it repeats one.
        let id = self.next.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.next.set(id);
        let mut text = [0; 16];
        for (digit, byte) in text.chunks_exact_mut(2).zip(id.to_be_bytes()) {
            digit[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            digit[1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        text
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn request_ids_do_not_repeat() {
        let ids = RequestIds::new();
        let made: HashSet<[u8; 16]> = (0..10_000).map(|_| ids.next()).collect();
        assert_eq!(made.len(), 10_000);
        assert!(made.iter().flatten().all(u8::is_ascii_hexdigit));
    }

    #[test]
    fn header_values_keep_their_bytes_while_chunks_are_used_again() {
        let arena = Arena::default();
        let long = vec![b'x'; 3 * CHUNK_BYTES];
        let kept = arena.header_value(&[b"https://", b"kept.example/"]).unwrap();
        for round in 0..5_000 {
            let text = format!("https://{round}.example/");
            assert_eq!(arena.header_value(&[text.as_bytes()]).unwrap(), text);
        }
        assert_eq!(arena.header_value(&[&long]).unwrap().as_bytes(), long);
        assert_eq!(kept, "https://kept.example/");
    }

    #[test]
    fn bytes_that_would_end_a_header_never_become_one() {
        let arena = Arena::default();
        for bytes in [&b"https://a.example/\r\nSet-Cookie: a=b"[..], b"a\nb", b"a\0b", b"a\x7fb"] {
            assert_eq!(arena.header_value(&[bytes]), None);
        }
        assert_eq!(arena.header_value(&[b"https://a.example/"]).unwrap(), "https://a.example/");
    }

    #[test]
    fn a_used_up_chunk_is_taken_again_when_its_values_are_gone() {
        let arena = Arena::default();
        let first = arena.header_value(&[b"first"]).unwrap().as_bytes().as_ptr();
        for _ in 0..CHUNK_BYTES {
            arena.header_value(&[b"0123456789"]).unwrap();
        }
        let chunk = arena.0.borrow();
        let distance = (chunk.as_ptr() as usize).wrapping_sub(first as usize);
        assert!(distance <= CHUNK_BYTES, "still in the first chunk");
    }
}
