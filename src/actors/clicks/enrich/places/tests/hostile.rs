//! Files that are damaged, or made to do harm.

use std::fs;
use std::net::IpAddr;
use std::sync::atomic::AtomicBool;

use super::mmdb::{Mmdb, Value, flat, map, nested, text};
use super::{Atlas, address, fixture, tell};
use crate::actors::clicks::enrich::places::Places;
use crate::actors::clicks::enrich::places::database::{Database, DatabaseError};

/// Bytes of one node with sides of 24 bits.
const NODE_BYTES: usize = 6;

fn check(bytes: Vec<u8>) -> Result<Database, DatabaseError> {
    Database::check(bytes, &AtomicBool::new(false))
}

/// Opens the bytes as a database and asks it for some addresses. What it says does not matter.
fn ask(bytes: Vec<u8>) -> bool {
    let Ok(database) = check(bytes) else { return false };
    for text in ["0.0.0.0", "192.0.2.1", "255.255.255.255", "::", "2001:db8::1", "ffff::ffff"] {
        let address: IpAddr = address(text);
        let number = database.record_number(address);
        let record = database.record(address);
        assert_eq!(number.is_some(), record.is_some(), "every record was read when it was opened");
    }
    true
}

fn small() -> Mmdb {
    Mmdb::new("city")
        .record_bits(24)
        .with("192.0.2.0/24", &flat("DE", "Hesse", "Kassel"))
        .with("192.0.2.128/25", &nested("EU", "NL", "Utrecht", "Zeist"))
        .with("2001:db8::/32", &flat("JP", "", ""))
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = small().bytes();
    assert!(ask(whole.clone()));
    for len in 0..whole.len() {
        assert!(!ask(whole[..len].to_vec()), "cut to {len} of {} bytes", whole.len());
    }
}

#[test]
fn a_byte_changed_anywhere_does_no_harm() {
    let whole = small().bytes();
    for at in 0..whole.len() {
        for pattern in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= pattern;
            ask(bytes);
        }
    }
}

#[test]
fn many_changes_at_once_do_no_harm() {
    let whole = fs::read(fixture("GeoIP2-City-Test.mmdb")).unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize % below
    };
    for _ in 0..1_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random(20) {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        ask(bytes);
    }
}

#[test]
fn the_damaged_files_of_other_readers_are_refused() {
    let mut n_files = 0;
    for entry in fs::read_dir(fixture("damaged")).unwrap() {
        let path = entry.unwrap().path();
        let places = Places::open(std::slice::from_ref(&path));
        let error = places.health()[0].error.clone();
        assert!(error.is_some(), "{} was taken", path.display());
        assert_eq!(tell(&places.place_of(address("1.1.1.1"))), "- - -/-");
        n_files += 1;
    }
    assert!(n_files > 10, "only {n_files} files");
}

#[test]
fn a_tree_with_more_ways_than_anybody_can_follow_is_walked() {
    // The IPv4 part lies 96 nodes deep. Each node on the way there leads to the next on both
    // sides: as many ways as there are prefixes of 96 bits.
    let mut bytes =
        Mmdb::new("country").record_bits(24).with("192.0.2.0/24", &flat("DE", "", "")).bytes();
    for node in bytes[..96 * NODE_BYTES].chunks_mut(NODE_BYTES) {
        node.copy_within(0..3, 3);
    }
    let database = check(bytes).unwrap();
    assert!(database.record(address("192.0.2.1")).is_some());
    assert!(database.record(address("2001:db8::c000:201")).is_some());
    assert_eq!(database.about.n_records, 1);
}

#[test]
fn a_tree_in_circles_is_walked_and_asked_to_an_end() {
    let mut bytes = small().bytes();
    // The right side of the root leads to the root.
    bytes[3..NODE_BYTES].fill(0);
    let database = check(bytes).unwrap();
    assert_eq!(database.record(address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")), None);
}

#[test]
fn a_tree_deeper_than_an_address_is_refused() {
    let database = Mmdb::new("country").v4_only().record_bits(24);
    let mut bytes = database.with("192.0.2.1/32", &flat("DE", "", "")).bytes();
    // The last of 32 nodes leads to the first.
    bytes[31 * NODE_BYTES..32 * NODE_BYTES].fill(0);
    bytes[32 * NODE_BYTES - 1] = 1;
    assert!(matches!(check(bytes), Err(DatabaseError::TreeDeep)));
}

#[test]
fn a_record_of_too_many_values_is_refused() {
    let many = Value::List((0..60_000).map(|_| map(&[])).collect());
    let record = map(&[("country_code", text("DE")), ("subdivisions", many.clone())]);
    let twice = map(&[("city", many.clone()), ("country_code", text("DE")), ("region", many)]);
    assert!(check(Mmdb::new("city").with("192.0.2.0/24", &record).bytes()).is_ok());
    let refused = check(Mmdb::new("city").with("192.0.2.0/24", &twice).bytes());
    assert!(matches!(refused, Err(DatabaseError::Record(..))));
}

#[test]
fn a_check_is_given_up_when_the_server_stops() {
    let ended = AtomicBool::new(true);
    assert!(matches!(Database::check(small().bytes(), &ended), Err(DatabaseError::Ended)));
}

#[test]
fn what_a_file_says_of_itself_is_cut_and_made_visible() {
    let kind = format!("city\n{}", "x".repeat(1_000));
    let about = check(Mmdb::new(&kind).with("192.0.2.0/24", &flat("DE", "", "")).bytes()).unwrap();
    assert_eq!(about.about.database_type.len(), 256);
    assert!(about.about.database_type.starts_with("cityxxx"));
    // An error may quote a text of the file.
    let names = text(&"y".repeat(10_000));
    let record = map(&[("city", map(&[("names", names)])), ("country_code", text("DE"))]);
    let atlas = Atlas::of(&[Mmdb::new("city").with("192.0.2.0/24", &record)]);
    assert!(atlas.error(0).unwrap().len() < 1_000);
}
