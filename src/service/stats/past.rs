//! Where a link led when it answered a click.

use crate::domain::id::Id;
use crate::domain::link::Link;
use crate::storage::{StorageResult, Stores};

/// Destinations that some links had before.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    /// Link, last version that led there, destination; in order.
    entries: Vec<(Id, u32, String)>,
}

impl Past {
    /// Kinds: those of the store.
    pub(super) async fn of(stores: &Stores, links: &[Id]) -> StorageResult<Self> {
        let mut entries = stores.stats.past_destinations(links).await?;
        entries.sort_unstable();
        Ok(Self { entries })
    }

    /// Where `version` of `link` led. The link must have been read before this was, and be no
    /// older than `version`.
    pub(super) fn destination<'a>(&'a self, link: &'a Link, version: u32) -> &'a str {
        let at = self.entries.partition_point(|(id, last, _)| (*id, *last) < (link.id, version));
        match self.entries.get(at) {
            Some((id, _, destination)) if *id == link.id => destination,
            _ => link.destination.as_str(),
        }
    }
}

/// Where one link led, for clicks that come later too.
#[derive(Clone, Debug)]
pub struct Destinations {
    link: Link,
    past: Past,
}

impl Destinations {
    /// Kinds: those of the store.
    pub async fn of(stores: &Stores, link: Link) -> StorageResult<Self> {
        let past = Past::of(stores, &[link.id]).await?;
        Ok(Self { link, past })
    }

    /// Finds out about `version` if it is newer than what is known. Kinds: those of the store.
    pub async fn learn(&mut self, stores: &Stores, version: u32) -> StorageResult<()> {
        if version > self.link.version {
            self.link = up_to_date(stores, self.link.clone(), version).await?;
            self.past = Past::of(stores, &[self.link.id]).await?;
        }
        Ok(())
    }

    /// Where a version led that is known.
    pub fn at(&self, version: u32) -> &str {
        self.past.destination(&self.link, version)
    }
}

/// The link, read again if it is older than `version`. Kinds: those of the store.
pub(super) async fn up_to_date(stores: &Stores, link: Link, version: u32) -> StorageResult<Link> {
    if link.version >= version {
        return Ok(link);
    }
    Ok(stores.links.fetch_all(&[link.id]).await?.pop().unwrap_or(link))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::domain::code::{Code, DomainId, LinkKey};
    use crate::domain::destination::Destination;

    #[test]
    fn a_click_led_where_its_version_did() {
        let key = LinkKey::new(DomainId::DEFAULT, Code::parse(b"spring").unwrap());
        let now = Destination::from_stored("https://now.example/").unwrap();
        let link = Link { version: 9, ..Link::plain(Id(5), Id(1), key, now) };
        let entry = |id, last, text: &str| (Id(id), last, text.to_owned());
        let entries = vec![entry(4, 7, "x"), entry(5, 2, "a"), entry(5, 6, "b"), entry(6, 9, "y")];
        let past = Past { entries };
        let led = [1, 2, 3, 6, 7, 9].map(|version| past.destination(&link, version));
        let now = "https://now.example/";
        assert_eq!(led, ["a", "a", "b", "b", now, now]);
    }
}
