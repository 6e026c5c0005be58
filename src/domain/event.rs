//! One click with everything that is known of it, in words.

use crate::domain::click::ClickFlags;
use crate::domain::counted::CountedClick;
use crate::domain::id::Id;
use crate::domain::time::Timestamp;
use crate::domain::words::Words;

/// A single click. What is not known is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClickEvent {
    pub id: Id,
    pub link: Id,
    pub at: Timestamp,
    /// Version of the link that answered.
    pub version: u32,
    pub flags: ClickFlags,
    /// Keyed hash of address and user agent, with a new key every day.
    pub visitor: Option<u64>,
    pub continent: Option<String>,
    pub country: Option<String>,
    pub region: Option<String>,
    pub city: Option<String>,
    pub device: Option<String>,
    pub os: Option<String>,
    pub browser: Option<String>,
    pub referrer: Option<String>,
    pub referrer_domain: Option<String>,
    pub language: Option<String>,
    /// Source, medium, campaign, term, content.
    pub utm: [Option<String>; 5],
}

impl ClickEvent {
    pub fn new(click: &CountedClick, words: &Words) -> Self {
        let [device, os, browser] = owned(words.parts(click.agent));
        let [continent, country, region, city] = owned(words.parts(click.place));
        let [referrer_domain, referrer] = owned(words.parts(click.referrer));
        let [language] = owned(words.parts(click.language));
        Self {
            id: click.id(),
            link: click.link,
            at: click.at,
            version: click.version,
            flags: click.flags,
            visitor: (click.visitor != 0).then_some(click.visitor),
            continent,
            country,
            region,
            city,
            device,
            os,
            browser,
            referrer,
            referrer_domain,
            language,
            utm: owned(words.parts(click.utm)),
        }
    }

    pub fn is_bot(&self) -> bool {
        self.flags.has(ClickFlags::BOT)
    }
}

fn owned<const N: usize>(parts: [Option<&str>; N]) -> [Option<String>; N] {
    parts.map(|part| part.map(str::to_owned))
}
