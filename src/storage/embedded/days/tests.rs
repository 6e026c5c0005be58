//! Pages of sums: what is written is read back, and damage is found.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use proptest::prelude::*;

use super::*;
use crate::storage::chunk::samples::{
    assert_damage_is_found, clicks, spoilt, stats, stats_in, surplus, words,
};

/// Of row id 7.
const PLACE: Place = Place { day: 0, shard: 7 };

fn page() -> impl Strategy<Value = DayPage> {
    let links = prop::collection::btree_map(any::<u64>().prop_map(Id), stats(), 0..8);
    links.prop_map(|links| DayPage { lexicon: Lexicon::of(words()), links })
}

proptest! {
    #[test]
    fn a_page_reads_back_as_it_was_written(page in page()) {
        let body = page.encode(PLACE);
        let found = DayPage::decode(PLACE, &body).unwrap();
        prop_assert!(found.links.keys().eq(page.links.keys()));
        for (link, stats) in &page.links {
            let own = stats_in(stats, &words(), found.lexicon.words());
            prop_assert_eq!(&found.links[link], &own);
            let (words_alone, alone) = link_on_page(PLACE, &body, *link).unwrap().unwrap();
            prop_assert_eq!(alone, own);
            prop_assert_eq!(&words_alone, found.lexicon.words());
        }
        if !page.links.contains_key(&Id(4)) {
            prop_assert!(link_on_page(PLACE, &body, Id(4)).unwrap().is_none());
        }
    }

    #[test]
    fn damage_is_found(page in page(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let body = page.encode(PLACE);
        assert_damage_is_found(&body, at.index(body.len()), bit, |body| {
            DayPage::decode(PLACE, body).is_err() && link_on_page(PLACE, body, Id(4)).is_err()
        });
    }

    #[test]
    fn damage_with_a_right_checksum_never_panics(
        page in page(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let body = page.encode(PLACE);
        for body in spoilt(&body, at.index(body.len()), byte) {
            let _ = DayPage::decode(PLACE, &body);
            let _ = link_on_page(PLACE, &body, Id(4));
        }
    }

    #[test]
    fn a_page_that_was_written_in_between_adds_up_the_same(
        a in clicks(),
        rows in surplus(),
        b in clicks(),
    ) {
        let chunk = |clicks, surplus| Chunk { words: words(), clicks, surplus };
        let (first, second) = (chunk(a, rows), chunk(b, Vec::new()));
        let mut at_once = DayPage::default();
        at_once.add(&first);
        let mut in_between = DayPage::decode(PLACE, &at_once.encode(PLACE)).unwrap();
        at_once.add(&second);
        in_between.add(&second);
        prop_assert!(at_once.links.keys().eq(in_between.links.keys()));
        for (link, stats) in &at_once.links {
            let (from, to) = (at_once.lexicon.words(), in_between.lexicon.words());
            prop_assert_eq!(&in_between.links[link], &stats_in(stats, from, to));
        }
    }
}

#[test]
fn row_ids_keep_their_parts() {
    let place = Place { day: u32::MAX / 1_440, shard: 1_023 };
    assert_eq!(Place::of(place.id()), place);
    assert_eq!(Place::of_chunk(place.chunk(7)), place);
    assert_eq!(sequence_of(place.chunk(7)), 7);
    assert!(place.chunk((1 << SEQUENCE_BITS) - 1) < place.end());
    assert!(place.end() < ASIDE, "what is set aside is behind everything");
    assert_eq!(places(3).1, places(4).0);
}
