//! Files that are replaced, rewritten, damaged or taken away while the server runs.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::mmdb::{Mmdb, flat};
use super::{Atlas, address, age, overwrite, put};
use crate::actors::clicks::enrich::places::{FILES_MAX, Places, Watch};

const WAIT_MAX: Duration = Duration::from_secs(20);

fn in_country(country: &str) -> Mmdb {
    Mmdb::new("country").with("192.0.2.0/24", &flat(country, "", ""))
}

#[test]
fn a_file_that_was_replaced_serves_at_the_next_look() {
    let atlas = Atlas::of(&[in_country("DE")]);
    put(&atlas.path(0), &in_country("FR").bytes());
    assert_eq!(atlas.tell("192.0.2.1"), "EU DE -/-");
    atlas.places.refresh();
    assert_eq!(atlas.tell("192.0.2.1"), "EU FR -/-");
}

#[test]
fn a_file_that_was_rewritten_in_place_serves_at_the_next_look() {
    let atlas = Atlas::of(&[in_country("DE")]);
    overwrite(&atlas.path(0), &in_country("FR").bytes());
    atlas.places.refresh();
    assert_eq!(atlas.tell("192.0.2.1"), "EU FR -/-");
}

#[test]
fn a_file_that_is_still_being_written_waits_and_never_serves_in_part() {
    let atlas = Atlas::of(&[in_country("DE")]);
    let bytes = in_country("FR").bytes();
    // Just written: looked at later.
    fs::write(atlas.path(0), &bytes[..bytes.len() / 2]).unwrap();
    atlas.places.refresh();
    assert_eq!(atlas.error(0), None);
    // The writer paused for long.
    age(&atlas.path(0));
    atlas.places.refresh();
    assert_eq!(atlas.tell("192.0.2.1"), "EU DE -/-");
    let error = atlas.error(0).unwrap();
    assert!(error.contains("0.mmdb") && error.contains("no MaxMind database"), "{error}");
    overwrite(&atlas.path(0), &bytes);
    atlas.places.refresh();
    assert_eq!(atlas.tell("192.0.2.1"), "EU FR -/-");
    assert_eq!(atlas.error(0), None);
}

#[test]
fn a_refused_file_keeps_the_old_one_and_its_account() {
    let atlas = Atlas::of(&[in_country("DE"), in_country("NL")]);
    let before = atlas.places.health();
    put(&atlas.path(0), &Mmdb::new("GeoLite2-ASN").with("192.0.2.0/24", &flat("", "", "")).bytes());
    atlas.places.refresh();
    let after = atlas.places.health();
    assert!(after[0].error.as_ref().unwrap().contains("GeoLite2-ASN"), "{after:?}");
    assert_eq!(after[0].database_type, before[0].database_type);
    assert_eq!(after[0].loaded_at, before[0].loaded_at);
    assert_eq!(after[1], before[1]);
    assert_eq!(atlas.tell("192.0.2.1"), "EU DE -/-");
    // It is not read again before it changes.
    atlas.places.refresh();
    assert_eq!(atlas.places.health(), after);
}

#[test]
fn a_file_that_is_gone_keeps_serving_from_memory() {
    let atlas = Atlas::of(&[in_country("DE")]);
    let elsewhere = atlas.folder.path().join("elsewhere");
    fs::rename(atlas.path(0), &elsewhere).unwrap();
    atlas.places.refresh();
    assert!(atlas.error(0).unwrap().contains("cannot be read"));
    assert_eq!(atlas.tell("192.0.2.1"), "EU DE -/-");
    fs::rename(&elsewhere, atlas.path(0)).unwrap();
    atlas.places.refresh();
    assert_eq!(atlas.error(0), None);
}

#[test]
fn a_file_that_cannot_be_used_at_the_start_leaves_the_others_alone() {
    let atlas = Atlas::of(&[in_country("DE")]);
    let folder = atlas.folder.path();
    fs::write(folder.join("text.mmdb"), "no database").unwrap();
    let paths =
        [folder.join("none.mmdb"), folder.to_owned(), folder.join("text.mmdb"), atlas.path(0)];
    let places = Places::open(&paths);
    assert_eq!(places.place_of(address("192.0.2.1")).country.as_deref(), Some("DE"));
    let errors: Vec<_> = places.health().into_iter().map(|health| health.error).collect();
    let parts = ["cannot be read", "not a file", "no MaxMind database"];
    for ((path, part), error) in paths.iter().zip(parts).zip(&errors) {
        let error = error.as_ref().unwrap();
        assert!(error.contains(part) && error.contains(path.to_str().unwrap()), "{error}");
    }
    assert_eq!(errors[3], None);
    // What was missing may come later.
    put(&paths[0], &in_country("FR").bytes());
    places.refresh();
    assert_eq!(places.place_of(address("192.0.2.1")).country.as_deref(), Some("FR"));
}

#[test]
fn files_beyond_the_bound_are_told() {
    let databases: Vec<_> = (0..=FILES_MAX).map(|_| in_country("DE")).collect();
    let atlas = Atlas::of(&databases);
    assert_eq!(atlas.error(FILES_MAX - 1), None);
    assert!(atlas.error(FILES_MAX).unwrap().contains("only the first 8"));
}

#[test]
fn look_ups_go_on_while_files_are_swapped() {
    let atlas = Atlas::of(&[in_country("DE"), in_country("DE")]);
    let (places, done) = (Arc::clone(&atlas.places), Arc::new(AtomicBool::new(false)));
    let asked = Arc::clone(&done);
    let asking = thread::spawn(move || {
        let mut finder = places.finder();
        let (mut generations, mut last) = (0, 0);
        while !asked.load(Ordering::Relaxed) {
            let found = finder.find(address("192.0.2.1"));
            let country = finder.place(found.key).country.as_deref();
            assert!(matches!(country, Some("DE" | "FR")), "{country:?}");
            generations += u32::from(found.generation != last);
            last = found.generation;
        }
        let last = finder.find(address("192.0.2.1"));
        (generations, finder.place(last.key).country.clone())
    });
    for country in ["FR", "DE"].repeat(50) {
        put(&atlas.path(0), &in_country(country).bytes());
        put(&atlas.path(1), b"not this one");
        atlas.places.refresh();
    }
    put(&atlas.path(0), &in_country("FR").bytes());
    atlas.places.refresh();
    done.store(true, Ordering::Relaxed);
    let (generations, last) = asking.join().unwrap();
    assert!(generations >= 1);
    assert_eq!(last.as_deref(), Some("FR"));
}

#[test]
fn the_watch_notices_a_new_file_and_ends_when_told() {
    let atlas = Atlas::of(&[in_country("DE")]);
    let every = Duration::from_millis(2);
    let watch = Watch::start_every(Arc::clone(&atlas.places), every).unwrap();
    put(&atlas.path(0), &in_country("FR").bytes());
    let deadline = Instant::now() + WAIT_MAX;
    while atlas.tell("192.0.2.1") != "EU FR -/-" {
        assert!(Instant::now() < deadline, "{:?}", atlas.places.health());
        thread::park_timeout(every);
    }
    watch.end();
    put(&atlas.path(0), &in_country("NL").bytes());
    assert_eq!(atlas.tell("192.0.2.1"), "EU FR -/-");
}

#[test]
fn a_watch_ends_at_once_although_it_looks_seldom() {
    let atlas = Atlas::of(&[in_country("DE")]);
    let begun = Instant::now();
    Watch::start(Arc::clone(&atlas.places)).unwrap().end();
    Watch::start(Arc::new(Places::open(&[]))).unwrap().end();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}
