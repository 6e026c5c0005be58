//! The finder: keys, generations, and how much it remembers.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::mmdb::{Mmdb, flat};
use super::{Atlas, address, fixture, put, tell};
use crate::actors::clicks::enrich::places::database::Database;
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

#[test]
fn steps_taken_beforehand_lead_where_the_reader_goes() {
    let networks = [
        "10.0.0.0/8",
        "20.16.0.0/12",
        "30.2.0.0/15",
        "40.1.0.0/16",
        "50.1.128.0/17",
        "60.1.2.0/24",
        "60.1.3.254/31",
        "70.255.255.255/32",
        "128.0.0.0/1",
    ];
    let mut files: Vec<Vec<u8>> = ["GeoIP2-City-Test.mmdb", "GeoLite2-Country-Test.mmdb"]
        .map(|name| std::fs::read(fixture(name)).unwrap())
        .into();
    for bits in [24, 28, 32] {
        for v4_only in [false, true] {
            let mut database = Mmdb::new("city").record_bits(bits);
            if v4_only {
                database = database.v4_only();
            }
            for (index, network) in networks.iter().enumerate() {
                let record = flat("DE", &format!("region {index}"), "");
                database = database.with(network, &record);
            }
            files.push(database.bytes());
        }
    }
    let border = |network: &str| -> [u32; 4] {
        let (first, bits) = network.split_once('/').unwrap();
        let first: Ipv4Addr = first.parse().unwrap();
        let last = first.to_bits() | u32::MAX.checked_shr(bits.parse().unwrap()).unwrap_or(0);
        [first.to_bits().wrapping_sub(1), first.to_bits(), last, last.wrapping_add(1)]
    };
    let near = networks.iter().chain(&["81.2.69.160/27"]).flat_map(|network| border(network));
    let spread = (0..20_000_u32).map(|n| n.wrapping_mul(0x9E37_79B1));
    let addresses: Vec<u32> = near.chain(spread).collect();
    for file in files {
        let database = Database::check(file, &AtomicBool::new(false)).unwrap();
        let mut n_known = 0;
        for bits in &addresses {
            let address = IpAddr::V4(Ipv4Addr::from_bits(*bits));
            let number = database.record_number(address);
            assert_eq!(number, database.number_by_reader(address), "{address}");
            n_known += usize::from(number.is_some());
        }
        assert!(n_known > 0);
    }
}
