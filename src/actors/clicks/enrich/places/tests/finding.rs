//! The finder: keys, generations, and how much it remembers.

use std::sync::Arc;

use super::mmdb::{Mmdb, flat};
use super::{Atlas, address, put, tell};
use crate::actors::clicks::enrich::places::finder::{Finder, Found, NOWHERE};

#[test]
fn addresses_of_one_record_have_one_key() {
    let database = Mmdb::new("country")
        .with("192.0.2.0/24", &flat("DE", "", ""))
        .with("198.51.100.0/24", &flat("FR", "", ""))
        .with("2001:db8::/32", &flat("DE", "", ""));
    let mut finder = Atlas::of(&[database]).places.finder();
    let german = finder.find(address("192.0.2.1"));
    assert_ne!(german.key, NOWHERE);
    assert_eq!(finder.find(address("192.0.2.200")), german);
    assert_eq!(finder.find(address("::ffff:192.0.2.200")), german);
    assert_eq!(finder.find(address("2001:db8::1")), german);
    let french = finder.find(address("198.51.100.1"));
    assert_eq!(french.generation, german.generation);
    assert_eq!(tell(finder.place(german.key)), "EU DE -/-");
    assert_eq!(tell(finder.place(french.key)), "EU FR -/-");
}

#[test]
fn an_address_that_nobody_knows_is_nowhere() {
    let database = Mmdb::new("country").v4_only().with("192.0.2.0/24", &flat("DE", "", ""));
    let mut finder = Atlas::of(&[database]).places.finder();
    for unknown in ["127.0.0.1", "192.0.3.1", "::1", "2001:db8::1"] {
        let Found { key, generation } = finder.find(address(unknown));
        assert_eq!((key, generation), (NOWHERE, 1), "{unknown}");
    }
    assert_eq!(tell(finder.place(NOWHERE)), "- - -/-");
    assert_eq!(tell(finder.place(999)), "- - -/-");
}

#[test]
fn without_databases_everything_is_nowhere() {
    let mut finder = Atlas::of(&[]).places.finder();
    assert_eq!(finder.find(address("192.0.2.1")).key, NOWHERE);
}

#[test]
fn a_full_memory_is_emptied_and_the_generation_says_so() {
    let countries = ["DE", "FR", "IT", "ES", "PT"];
    let database = countries.iter().enumerate().fold(Mmdb::new("country"), |all, (at, country)| {
        all.with(&format!("192.0.{at}.0/24"), &flat(country, "", ""))
    });
    let atlas = Atlas::of(&[database]);
    let mut finder = Finder::with_memory(Arc::clone(&atlas.places), 3);
    let mut generations = Vec::new();
    for (at, country) in countries.iter().enumerate() {
        let found = finder.find(address(&format!("192.0.{at}.1")));
        assert!(found.key < 3, "{found:?}");
        assert_eq!(finder.place(found.key).country.as_deref(), Some(*country));
        generations.push(found.generation);
    }
    assert_eq!(generations, [1, 1, 2, 2, 3]);
}

#[test]
fn a_swap_begins_a_generation_and_lets_go_of_the_old_file() {
    let database = |country| Mmdb::new("country").with("192.0.2.0/24", &flat(country, "", ""));
    let atlas = Atlas::of(&[database("DE")]);
    let mut finder = atlas.places.finder();
    let before = finder.find(address("192.0.2.1"));
    let old = Arc::downgrade(&atlas.places.serving().databases[0]);
    put(&atlas.path(0), &database("FR").bytes());
    atlas.places.refresh();
    assert!(old.upgrade().is_some(), "the finder did not look yet");
    finder.keep_up();
    assert!(old.upgrade().is_none(), "nobody needs it any more");
    let after = finder.find(address("192.0.2.1"));
    assert_ne!(after.generation, before.generation);
    assert_eq!(tell(finder.place(after.key)), "EU FR -/-");
}
