//! Links, keys, clicks and the like, with defaults that a test changes where it matters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shunt::domain::api_key::{ApiKey, Scopes};
use shunt::domain::click::SegmentId;
use shunt::domain::code::{Code, DomainId, LinkKey};
use shunt::domain::counted::{CountedClick, SegmentClicks, Surplus};
use shunt::domain::day::DayStats;
use shunt::domain::destination::Destination;
use shunt::domain::id::Id;
use shunt::domain::link::{CreatedVia, Link, LinkStatus, RedirectStatus};
use shunt::domain::time::Timestamp;
use shunt::domain::words::{Lexicon, Word};
use shunt::storage::{ImportedLink, Workspace};

/// The workspace that most tests use.
pub(crate) const HOME: Id = Id(77);
/// A time like today's.
pub(crate) const NOW: Timestamp = Timestamp(1_780_000_000_000);

static NEXT_ID: AtomicU64 = AtomicU64::new(1 << 40);

pub(crate) fn id() -> Id {
    Id(NEXT_ID.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn key(code: &str) -> LinkKey {
    LinkKey::new(DomainId::DEFAULT, Code::parse(code.as_bytes()).unwrap())
}

pub(crate) fn url(text: &str) -> Destination {
    Destination::from_stored(text).unwrap()
}

/// A plain active link.
pub(crate) fn link(code: &str) -> Link {
    let to = url(&format!("https://example.com/{code}"));
    Link { created_at: NOW, updated_at: NOW, ..Link::plain(id(), HOME, key(code), to) }
}

/// A link with something in every field.
pub(crate) fn full_link(code: &str) -> Link {
    Link {
        domain: DomainId(3),
        title: "Späte Ernte".into(),
        notes: "line one\nline two".into(),
        tags: vec!["wine".into(), "a|b \"c\"".into()],
        status: LinkStatus::Archived,
        redirect_status: RedirectStatus::PermanentRedirect,
        starts_at: Some(NOW.plus_millis(1)),
        expires_at: Some(NOW.plus_millis(2)),
        expired_url: Some(url("https://example.com/late")),
        max_clicks: Some(1_000_000_000_000),
        forward_query: false,
        external_id: Some("crm-4711".into()),
        created_via: CreatedVia::Bulk,
        created_by: Some(Id(5)),
        updated_at: NOW.plus_millis(3),
        version: 9,
        ..link(code)
    }
}

/// The next version of a link.
pub(crate) fn next(link: &Link) -> Link {
    Link { version: link.version + 1, updated_at: link.updated_at.plus_millis(5), ..link.clone() }
}

pub(crate) fn imported(link: Link) -> ImportedLink {
    ImportedLink { link, clicks: 0, last_clicked_at: None, foreign_sealed: false, series: None }
}

pub(crate) fn workspace(id: Id) -> Workspace {
    Workspace { id, name: "home".into(), operator: true, created_at: NOW }
}

pub(crate) fn api_key(id: u64, digest: u8) -> ApiKey {
    ApiKey {
        id: Id(id),
        workspace: HOME,
        user: None,
        name: "ci".into(),
        prefix: "shunt_abcdef".into(),
        digest: [digest; 32],
        scopes: Scopes::EVERYTHING,
        created_at: NOW,
        expires_at: Some(NOW.plus_millis(9)),
        last_used_at: None,
        uses: 0,
        revoked_at: None,
    }
}

/// What a counter found out, on its way to the store. Clicks come in any order.
#[derive(Default)]
pub(crate) struct Flush {
    pub(crate) lexicon: Lexicon,
    pub(crate) clicks: Vec<CountedClick>,
    pub(crate) surplus: Vec<Surplus>,
}

impl Flush {
    /// Parts as one word.
    pub(crate) fn word(&mut self, parts: &[&str]) -> Word {
        self.lexicon.word(&parts.join("\u{1f}"))
    }

    /// Adds clicks of people of whom nothing is known, a millisecond apart from `minute` on.
    pub(crate) fn add(&mut self, link: Id, minute: u32, n: u32) -> &mut Self {
        self.clicks.extend((1..=n).map(|n| click(link, at(minute, n.into()), n)));
        self
    }

    /// The same clicks, not kept one by one.
    pub(crate) fn add_surplus(&mut self, link: Id, minute: u32, n: u64) -> &mut Self {
        let mut stats = DayStats::default();
        stats.add_plain(n, at(minute, n as i64));
        self.surplus.push(Surplus { link, minute, stats });
        self
    }

    pub(crate) fn of(mut self, segment: u64, from_record: u64, to_record: u64) -> SegmentClicks {
        self.clicks.sort_by_key(|click| (click.link, click.at));
        self.surplus.sort_by_key(|row| (row.link, row.minute));
        SegmentClicks {
            segment: SegmentId(segment),
            from_record,
            to_record,
            words: Arc::new(self.lexicon.into_words()),
            clicks: self.clicks,
            surplus: self.surplus,
        }
    }
}

pub(crate) fn click(link: Id, at: Timestamp, serial: u32) -> CountedClick {
    CountedClick { link, at, serial, version: 1, ..CountedClick::default() }
}

/// A time that many milliseconds after the beginning of a minute.
pub(crate) fn at(minute: u32, millis: i64) -> Timestamp {
    Timestamp(i64::from(minute) * 60_000 + millis)
}

/// Clicks of links, as (link, minute, clicks), as a flush of a segment.
pub(crate) fn clicked(
    segment: u64,
    from_record: u64,
    to_record: u64,
    rows: &[(Id, u32, u32)],
) -> SegmentClicks {
    let mut flush = Flush::default();
    for (link, minute, n) in rows {
        flush.add(*link, *minute, *n);
    }
    flush.of(segment, from_record, to_record)
}
