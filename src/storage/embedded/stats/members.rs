//! Which links of a workspace a question is about.

use foldhash::HashSet;
use rusqlite::Connection;

use crate::domain::code::DomainId;
use crate::domain::id::Id;
use crate::storage::embedded::fault::Outcome;
use crate::storage::embedded::pages::shard_of;
use crate::storage::embedded::schema::CLICK_SHARDS;
use crate::storage::embedded::{signed, unsigned};

/// Which links.
pub(super) struct Choice {
    pub(super) workspace: Id,
    pub(super) tag: Option<String>,
    pub(super) domain: Option<DomainId>,
}

/// Links as they were chosen.
pub(super) enum Members {
    All,
    Some(Chosen),
}

pub(super) struct Chosen {
    ids: HashSet<u64>,
    /// The shards in which they are.
    shards: Box<[bool; CLICK_SHARDS as usize]>,
    /// Of those that a filter chose: what tells them from others.
    roll: Option<Roll>,
}

/// The links that a filter chose, in order, so that they can be compared with those of before.
struct Roll {
    ids: Vec<i64>,
    /// A hash of each link and all before it.
    hashes: Vec<u64>,
    /// The newest link of the store.
    newest: i64,
}

/// What sums of chosen links were made of. A link that is newer than all that there were when sums
/// were made has no click in them, so it needs no place here: sums outlive that links are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// The newest link of the store.
    pub(super) newest: i64,
    /// Stands for all that were chosen.
    pub(super) hash: u64,
}

impl Choice {
    pub(super) fn is_everything(&self) -> bool {
        self.tag.is_none() && self.domain.is_none()
    }

    /// The filter as one text; that of everything is empty.
    pub(super) fn filter(&self) -> String {
        let domain = self.domain.map(|domain| domain.0.to_string()).unwrap_or_default();
        match &self.tag {
            Some(tag) => format!("{domain}#{tag}"),
            None => domain,
        }
    }

    /// Back from [`Choice::filter`]; `None` for what it never makes.
    pub(super) fn of_filter(workspace: Id, filter: &str) -> Option<Self> {
        let (domain, tag) = match filter.split_once('#') {
            Some((domain, tag)) => (domain, Some(tag.to_owned())),
            None => (filter, None),
        };
        let domain = match domain {
            "" => None,
            number => Some(DomainId(number.parse().ok()?)),
        };
        Some(Self { workspace, tag, domain })
    }

    pub(super) fn members(&self, conn: &Connection) -> Outcome<Members> {
        let only: (i64, Option<i64>) =
            conn.query_row("SELECT count(*), max(id) FROM workspaces", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let is_only = only == (1, Some(signed(self.workspace)));
        if is_only && self.is_everything() {
            return Ok(Members::All);
        }
        // Each half by an index of its own: links that are not deleted, and those that are.
        let mut statement = conn.prepare_cached(if self.tag.is_some() {
            "SELECT links.id FROM link_tags AS tagged CROSS JOIN links ON links.id = tagged.link
             WHERE tagged.workspace = ?1 AND tagged.tag = ?3 AND (?2 IS NULL OR domain = ?2)
             UNION ALL SELECT id FROM links WHERE workspace = ?1 AND status = 4
             AND (?2 IS NULL OR domain = ?2) AND tags IS NOT NULL
             AND EXISTS (SELECT 1 FROM json_each(links.tags) WHERE value = ?3)"
        } else if self.domain.is_some() {
            "SELECT id FROM links WHERE workspace = ?1 AND status <> 4 AND domain = ?2
             UNION ALL SELECT id FROM links
             WHERE workspace = ?1 AND status = 4 AND domain = ?2 AND ?3 IS NULL"
        } else {
            "SELECT id FROM links WHERE workspace = ?1 AND status <> 4 AND ?2 IS NULL
             UNION ALL SELECT id FROM links WHERE workspace = ?1 AND status = 4 AND ?3 IS NULL"
        })?;
        let domain = self.domain.map(|domain| i64::from(domain.0));
        let found = statement
            .query_map((signed(self.workspace), domain, &self.tag), |row| row.get::<_, i64>(0))?;
        let found: Vec<i64> = found.collect::<Result<_, _>>()?;
        let mut shards = Box::new([false; CLICK_SHARDS as usize]);
        found.iter().for_each(|id| shards[shard_of(unsigned(*id)) as usize] = true);
        let ids = found.iter().map(|id| unsigned(*id).0).collect();
        let roll = if self.is_everything() { None } else { Some(Roll::call(conn, found)?) };
        Ok(Members::Some(Chosen { ids, shards, roll }))
    }
}

impl Members {
    pub(super) fn has(&self, link: Id) -> bool {
        match self {
            Self::All => true,
            Self::Some(chosen) => chosen.ids.contains(&link.0),
        }
    }

    /// Whether some of them may be in a shard.
    pub(super) fn are_in(&self, shard: u64) -> bool {
        match self {
            Self::All => true,
            Self::Some(chosen) => chosen.shards[shard as usize],
        }
    }

    /// What is to be kept with sums of them. Links stay in their workspace: without a filter,
    /// there is nothing to tell.
    pub(super) fn census(&self) -> Census {
        self.roll().map_or_else(Census::default, |roll| roll.census(roll.newest))
    }

    /// Whether sums of them still hold.
    pub(super) fn are_as_of(&self, census: Census) -> bool {
        self.roll().is_none_or(|roll| roll.census(census.newest) == census)
    }

    fn roll(&self) -> Option<&Roll> {
        match self {
            Self::All => None,
            Self::Some(chosen) => chosen.roll.as_ref(),
        }
    }
}

impl Roll {
    fn call(conn: &Connection, mut ids: Vec<i64>) -> Outcome<Self> {
        let newest: Option<i64> =
            conn.prepare_cached("SELECT max(id) FROM links")?.query_row([], |row| row.get(0))?;
        ids.sort_unstable();
        Ok(Self::of(ids, newest.unwrap_or(i64::MIN)))
    }

    /// The ids are in order.
    fn of(ids: Vec<i64>, newest: i64) -> Self {
        let hashes = ids.iter().scan(0, |hash, id| {
            *hash = mixed(*hash ^ *id as u64);
            Some(*hash)
        });
        Self { hashes: hashes.collect(), ids, newest }
    }

    /// Of the links up to `newest`.
    fn census(&self, newest: i64) -> Census {
        let n = self.ids.partition_point(|id| *id <= newest);
        Census { newest, hash: n.checked_sub(1).map_or(0, |last| self.hashes[last]) }
    }
}

/// Changes with every bit of a number, and never the same for two (splitmix64).
const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_reads_back_as_it_was_written() {
        for tag in [None, Some(""), Some("red"), Some("#a#b")] {
            for domain in [None, Some(DomainId(0)), Some(DomainId(30))] {
                let choice = Choice { workspace: Id(1), tag: tag.map(str::to_owned), domain };
                let filter = choice.filter();
                assert_eq!(filter.is_empty(), choice.is_everything());
                let back = Choice::of_filter(Id(1), &filter).map(|back| (back.tag, back.domain));
                assert_eq!(back, Some((choice.tag, domain)), "{filter}");
            }
        }
        assert!(Choice::of_filter(Id(1), "red").is_none());
    }

    #[test]
    fn a_census_holds_until_an_older_link_comes_or_goes() {
        let roll = |ids: &[i64], newest| {
            Members::Some(Chosen {
                ids: HashSet::default(),
                shards: Box::new([false; CLICK_SHARDS as usize]),
                roll: Some(Roll::of(ids.to_vec(), newest)),
            })
        };
        let before = roll(&[-3, 2, 5], 7).census();
        assert!(roll(&[-3, 2, 5], 9).are_as_of(before));
        assert!(roll(&[-3, 2, 5, 8], 9).are_as_of(before), "it was made since");
        assert!(!roll(&[-3, 2, 5, 6], 9).are_as_of(before), "it was there");
        assert!(!roll(&[-3, 2], 9).are_as_of(before));
        assert!(!roll(&[2, 5], 9).are_as_of(before));
        assert!(!roll(&[], 9).are_as_of(before));
        let empty = roll(&[], 7).census();
        assert!(roll(&[8], 9).are_as_of(empty) && !roll(&[6], 9).are_as_of(empty));
    }
}
