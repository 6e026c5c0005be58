//! What records say, in both layouts, and how databases are joined.

use std::fs;

use super::mmdb::{Mmdb, Value, flat, map, nested, text};
use super::{Atlas, address, fixture, tell};
use crate::actors::clicks::enrich::places::Places;

#[test]
fn a_nested_record_tells_all_four() {
    let record = nested("EU", "DE", "Berlin", "Berlin");
    let atlas = Atlas::of(&[Mmdb::new("GeoLite2-City").with("192.0.2.0/24", &record)]);
    assert_eq!(atlas.tell("192.0.2.77"), "EU DE Berlin/Berlin");
    assert_eq!(atlas.tell("192.0.3.77"), "- - -/-");
}

#[test]
fn a_flat_record_tells_three_and_the_continent_follows() {
    let database = Mmdb::new("city ipv4")
        .v4_only()
        .with("192.0.2.0/24", &flat("US", "California", "Mountain View"))
        .with("192.0.3.0/24", &flat("br", "", ""));
    let atlas = Atlas::of(&[database]);
    assert_eq!(atlas.tell("192.0.2.77"), "NA US California/Mountain View");
    assert_eq!(atlas.tell("192.0.3.77"), "SA BR -/-");
}

#[test]
fn other_flat_layouts_are_understood_too() {
    let ipinfo = map(&[
        ("continent_code", text("oc")),
        ("country", text("Australia")),
        ("country_code", text("AU")),
        ("region", text("Queensland")),
        ("city", text("Brisbane")),
    ]);
    let short = map(&[("continent", text("AS")), ("country", text("TR"))]);
    let odd = map(&[
        ("country_code", text("KE")),
        ("region", Value::Number(7)),
        ("city", Value::List(vec![])),
        ("continent", Value::Double(1.5)),
    ]);
    let database = Mmdb::new("ipinfo lite")
        .with("192.0.2.0/24", &ipinfo)
        .with("192.0.3.0/24", &short)
        .with("192.0.4.0/24", &odd);
    let atlas = Atlas::of(&[database]);
    assert_eq!(atlas.tell("192.0.2.1"), "OC AU Queensland/Brisbane");
    assert_eq!(atlas.tell("192.0.3.1"), "AS TR -/-");
    assert_eq!(atlas.tell("192.0.4.1"), "AF KE -/-");
}

#[test]
fn a_region_without_an_english_name_is_told_by_its_code() {
    let record = map(&[
        ("country", map(&[("iso_code", text("CH"))])),
        ("subdivisions", Value::List(vec![map(&[("iso_code", text("ZH"))])])),
    ]);
    let atlas = Atlas::of(&[Mmdb::new("GeoIP2-City").with("192.0.2.0/24", &record)]);
    assert_eq!(atlas.tell("192.0.2.1"), "EU CH ZH/-");
}

#[test]
fn the_country_of_the_owner_counts_only_when_no_other_is_known() {
    let registered = map(&[("registered_country", map(&[("iso_code", text("GB"))]))]);
    let satellite = Mmdb::new("GeoLite2-Country")
        .with("192.0.2.0/24", &registered)
        .with("192.0.3.0/24", &registered);
    let other = Mmdb::new("country").with("192.0.3.0/24", &flat("IQ", "", ""));
    let atlas = Atlas::of(&[satellite, other]);
    assert_eq!(atlas.tell("192.0.2.1"), "EU GB -/-");
    assert_eq!(atlas.tell("192.0.3.1"), "AS IQ -/-");
}

#[test]
fn the_first_database_that_knows_a_thing_is_believed() {
    let countries = Mmdb::new("country").with("192.0.0.0/16", &flat("DE", "", ""));
    let cities = Mmdb::new("city")
        .with("192.0.0.0/16", &flat("DE", "Hesse", "Frankfurt"))
        .with("192.0.2.0/24", &flat("FR", "Grand Est", "Strasbourg"))
        .with("192.1.0.0/16", &flat("FR", "Grand Est", "Metz"));
    let more = Mmdb::new("GeoLite2-City")
        .with("192.0.0.0/16", &nested("EU", "DE", "Hesse", "Kassel"))
        .with("192.0.2.0/24", &nested("EU", "DE", "Saarland", ""));
    let atlas = Atlas::of(&[countries, cities, more]);
    assert_eq!(atlas.tell("192.0.1.1"), "EU DE Hesse/Frankfurt");
    // The second sees another country, so its city is not taken; the third agrees.
    assert_eq!(atlas.tell("192.0.2.1"), "EU DE Saarland/-");
    assert_eq!(atlas.tell("192.1.2.1"), "EU FR Grand Est/Metz");
}

#[test]
fn a_city_is_added_only_to_its_own_region() {
    let regions = Mmdb::new("region").with("192.0.2.0/23", &flat("US", "Nevada", ""));
    let cities = Mmdb::new("city")
        .with("192.0.2.0/24", &flat("US", "California", "Truckee"))
        .with("192.0.3.0/24", &flat("US", "Nevada", "Reno"));
    let atlas = Atlas::of(&[regions, cities]);
    assert_eq!(atlas.tell("192.0.2.1"), "NA US Nevada/-");
    assert_eq!(atlas.tell("192.0.3.1"), "NA US Nevada/Reno");
}

#[test]
fn files_for_either_kind_of_address_make_one() {
    let v4 = Mmdb::new("city ipv4").v4_only().with("192.0.2.0/24", &flat("DE", "Hesse", "Kassel"));
    let v6 = Mmdb::new("city ipv6").with("2001:db8::/32", &flat("NL", "Utrecht", "Zeist"));
    let atlas = Atlas::of(&[v4, v6]);
    assert_eq!(atlas.tell("192.0.2.1"), "EU DE Hesse/Kassel");
    assert_eq!(atlas.tell("::ffff:192.0.2.1"), "EU DE Hesse/Kassel");
    assert_eq!(atlas.tell("2001:db8::1"), "EU NL Utrecht/Zeist");
    assert_eq!(atlas.tell("2001:db9::1"), "- - -/-");
}

#[test]
fn nodes_of_every_size_are_read() {
    for bits in [24, 28, 32] {
        let record = flat("JP", "Tokyo", "Chiyoda");
        let database = Mmdb::new("city").record_bits(bits).with("198.51.100.0/24", &record);
        let atlas = Atlas::of(&[database.with("2001:db8::/33", &record)]);
        assert_eq!(atlas.tell("198.51.100.9"), "AS JP Tokyo/Chiyoda");
        assert_eq!(atlas.tell("2001:db8::9"), "AS JP Tokyo/Chiyoda");
        assert_eq!(atlas.tell("2001:db8:8000::9"), "- - -/-");
    }
}

#[test]
fn the_test_databases_of_maxmind_are_read() {
    let places = Places::open(&[fixture("GeoIP2-City-Test.mmdb")]);
    let told = |text| tell(&places.place_of(address(text)));
    assert_eq!(told("2.125.160.216"), "EU GB England/Boxford");
    assert_eq!(told("81.2.69.160"), "EU GB England/London");
    assert_eq!(told("::ffff:81.2.69.160"), "EU GB England/London");
    assert_eq!(told("2001:218::1"), "AS JP -/-");
    let [health] = &places.health()[..] else { panic!("one file, one account") };
    assert_eq!(health.database_type.as_deref(), Some("GeoIP2-City"));
    assert!(health.n_places > 50 && health.n_places <= health.n_records, "{health:?}");
    assert!(health.built_at.is_some() && health.loaded_at.is_some(), "{health:?}");

    let countries = Places::open(&[fixture("GeoLite2-Country-Test.mmdb")]);
    assert_eq!(tell(&countries.place_of(address("81.2.69.160"))), "EU GB -/-");
    let [attribution] = &countries.attributions()[..] else { panic!("GeoLite2 asks for one") };
    assert!(attribution.contains("https://www.maxmind.com"), "{attribution}");
}

#[test]
fn what_licences_ask_for_is_told_once() {
    let record = flat("DE", "", "");
    let lite = || Mmdb::new("DBIP-City-Lite").with("192.0.2.0/24", &record);
    let described = Mmdb::new("city").described("DB-IP Lite").with("192.0.2.0/24", &record);
    let unnamed = || Mmdb::new("city ipv4").with("192.0.2.0/24", &record);
    let atlas = Atlas::of(&[lite(), described, unnamed()]);
    let texts = atlas.places.attributions();
    assert_eq!(texts, ["IP Geolocation by DB-IP, https://db-ip.com"]);
    assert_eq!(atlas.places.health()[2].attribution, None);

    let beside = "Read this.\n2.mmdb: Places by\tExample \n1.mmdb:\n";
    fs::write(atlas.folder.path().join("ATTRIBUTION.txt"), beside).unwrap();
    let again = Places::open(&[atlas.path(1), atlas.path(2)]);
    assert_eq!(again.attributions(), [&texts[0], "Places byExample"]);
}
