//! What changed of late, on this node or on another.

use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use papaya::HashMap;

use super::feed::LinkChange;
use crate::domain::code::LinkKey;

/// How long changes are remembered. A node that could not tell a cache of one must have put the
/// cache out of use in this time.
const REMEMBER: Duration = Duration::from_secs(600);
/// Changes that are remembered; beyond these no cache is good enough.
const REMEMBERED_MAX: usize = 100_000;

/// Versions below which nothing that a cache holds is good enough. Readers take no lock.
#[derive(Default)]
pub struct Recent {
    /// The least version, or that nobody knows it, and when that was heard.
    changes: HashMap<LinkKey, (Least, Instant), RandomState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Least {
    Version(u32),
    /// A change is on its way.
    Unknown,
}

impl Recent {
    /// Notes changes that were made here, or that a feed told of.
    pub fn note(&self, changes: &[LinkChange]) {
        let (map, now) = (self.changes.pin(), Instant::now());
        if map.len() + changes.len() > REMEMBERED_MAX {
            map.retain(|_, (_, at)| now - *at < REMEMBER);
        }
        for LinkChange { key, version } in changes {
            let told = version.map_or(Least::Unknown, Least::Version);
            let newer = |(there, _): &(Least, Instant)| match (*there, told) {
                (Least::Version(there), Least::Version(told)) => {
                    (Least::Version(there.max(told)), now)
                }
                _ => (told, now),
            };
            map.update_or_insert(*key, newer, (told, now));
        }
    }

    /// The least version that is good enough. `None`: only the store knows.
    pub fn least(&self, key: &LinkKey) -> Option<u32> {
        let map = self.changes.pin();
        if map.len() > REMEMBERED_MAX {
            return None;
        }
        match map.get(key).filter(|(_, at)| at.elapsed() < REMEMBER) {
            Some((Least::Version(least), _)) => Some(*least),
            Some((Least::Unknown, _)) => None,
            None => Some(0),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::domain::code::{Code, DomainId};

    fn change(n: usize, version: Option<u32>) -> LinkChange {
        let code = Code::parse(format!("code-{n}").as_bytes()).unwrap();
        LinkChange { key: LinkKey::new(DomainId::DEFAULT, code), version }
    }

    #[test]
    fn the_newest_version_is_the_least() {
        let recent = Recent::default();
        let key = change(1, None).key;
        assert_eq!(recent.least(&key), Some(0));
        recent.note(&[change(1, Some(7)), change(1, Some(5))]);
        assert_eq!(recent.least(&key), Some(7));
        recent.note(&[change(1, None)]);
        assert_eq!(recent.least(&key), None);
        recent.note(&[change(1, Some(8))]);
        assert_eq!(recent.least(&key), Some(8));
        assert_eq!(recent.least(&change(2, None).key), Some(0));
    }

    #[test]
    fn of_too_many_changes_nothing_is_forgotten() {
        let recent = Recent::default();
        let all: Vec<_> = (0..=REMEMBERED_MAX).map(|n| change(n, Some(2))).collect();
        recent.note(&all);
        assert_eq!(recent.least(&change(REMEMBERED_MAX + 9, None).key), None);
    }
}
