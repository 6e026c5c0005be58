//! Where visitors are: told by databases that can be replaced, for addresses that nobody can forge
//! and that are kept nowhere.

#[path = "../support/mmdb.rs"]
mod mmdb;

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use self::mmdb::{Mmdb, flat, nested};
use crate::harness::TestApp;

/// A database is looked at every ten seconds, and must have been left alone for one.
const SEEN_WITHIN: Duration = Duration::from_secs(40);
const COUNTED_WITHIN: Duration = Duration::from_secs(10);

/// A server behind a trusted proxy, whose database is in `folder`.
async fn start(folder: &Path, trusted: &str) -> TestApp {
    let files = json!([folder.join("places.mmdb"), folder.join("countries.mmdb")]).to_string();
    let app = TestApp::builder()
        .set("SHUNT_HTTP__TRUSTED_PROXIES", trusted)
        .set("SHUNT_CLICKS__GEOIP", &files)
        .set("SHUNT_CLICKS__SEGMENT_AGE_MAX", "1s")
        .start()
        .await;
    app.create(json!({"destination": "https://shop.example/", "alias": "spring"})).await;
    app
}

fn countries(folder: &Path) {
    let countries = Mmdb::new("countries").with("198.51.100.0/24", &flat("FR", "", ""));
    countries.with("2001:db8:3::/48", &flat("JP", "", "")).write(&folder.join("countries.mmdb"));
}

fn places(folder: &Path, city: &str) {
    let cities = Mmdb::new("GeoLite2-City")
        .with("203.0.113.0/24", &nested("EU", "DE", "Hesse", city))
        .with("2001:db8:1::/48", &nested("NA", "US", "Oregon", "Salem"));
    cities.write(&folder.join("places.mmdb"));
}

async fn visit(app: &TestApp, address: &str) {
    let request = app.request(Method::GET, "/spring").header("X-Forwarded-For", address);
    app.send(request).await;
}

/// The single clicks, once there are so many.
async fn clicks(app: &TestApp, n: usize) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let page = app.api(Method::GET, "/links/spring/clicks?limit=100", None).await;
        let clicks =
            page.json()["data"].as_array().unwrap_or_else(|| panic!("{}", page.text())).clone();
        if clicks.len() == n {
            return clicks;
        }
        assert!(begun.elapsed() < COUNTED_WITHIN, "{} clicks and not {n}", clicks.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn where_is(click: &Value) -> [Option<&str>; 4] {
    ["continent", "country", "region", "city"].map(|name| click[name].as_str())
}

#[tokio::test]
async fn clicks_are_told_by_country_region_city_and_continent() {
    let folder = tempfile::tempdir().expect("a folder");
    places(folder.path(), "Kassel");
    countries(folder.path());
    let app = start(folder.path(), r#"["127.0.0.0/8"]"#).await;
    for address in ["203.0.113.7", "2001:db8:1::5", "198.51.100.9", "192.0.2.1", "2001:db8:3::1"] {
        visit(&app, address).await;
    }
    let clicks = clicks(&app, 5).await;
    let mut found: Vec<_> = clicks.iter().map(where_is).collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            [None, None, None, None],
            [Some("AS"), Some("JP"), None, None],
            [Some("EU"), Some("DE"), Some("Hesse"), Some("Kassel")],
            [Some("EU"), Some("FR"), None, None],
            [Some("NA"), Some("US"), Some("Oregon"), Some("Salem")],
        ]
    );
    let stats = app.api(Method::GET, "/links/spring/stats", None).await.json();
    let continents = &stats["continents"];
    assert_eq!(continents[0], json!({"value": "EU", "clicks": 2, "share": 0.4}), "{continents}");
    assert_eq!(stats["cities"].as_array().map(Vec::len), Some(2));
    assert_eq!(stats["summary"]["unique_visitors"], 5);
    app.finish().await;
}

#[tokio::test]
async fn a_forged_header_does_not_change_the_country() {
    let folder = tempfile::tempdir().expect("a folder");
    places(folder.path(), "Kassel");
    countries(folder.path());
    let app = start(folder.path(), r#"["10.0.0.0/8"]"#).await;
    visit(&app, "203.0.113.7").await;
    let clicks = clicks(&app, 1).await;
    assert_eq!(where_is(&clicks[0]), [None; 4]);
    app.finish().await;
}

#[tokio::test]
async fn a_replaced_database_serves_and_a_damaged_one_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    places(folder.path(), "Kassel");
    countries(folder.path());
    let app = start(folder.path(), r#"["127.0.0.0/8"]"#).await;
    let mut n = 0;
    let mut city_is = async |app: &TestApp, city: &str| {
        let begun = Instant::now();
        loop {
            visit(app, "203.0.113.7").await;
            n += 1;
            if where_is(&clicks(app, n).await[0])[3] == Some(city) {
                return;
            }
            assert!(begun.elapsed() < SEEN_WITHIN, "never in {city}");
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    };
    city_is(&app, "Kassel").await;
    places(folder.path(), "Fulda");
    city_is(&app, "Fulda").await;

    let bytes = std::fs::read(folder.path().join("places.mmdb")).expect("the database");
    std::fs::write(folder.path().join("places.mmdb"), &bytes[..bytes.len() / 2]).expect("written");
    let begun = Instant::now();
    loop {
        let health = app.ops_get("/healthz").await;
        let geoip = health.json()["checks"]["geoip"].to_string();
        if geoip.contains("warn") {
            assert!(geoip.contains("places.mmdb"), "{geoip}");
            break;
        }
        assert!(begun.elapsed() < SEEN_WITHIN, "the damage is never told: {geoip}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    city_is(&app, "Fulda").await;
    app.finish().await;
}

#[tokio::test]
async fn an_address_is_nowhere_once_its_click_is_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    places(folder.path(), "Kassel");
    countries(folder.path());
    let app = start(folder.path(), r#"["127.0.0.0/8"]"#).await;
    let address: std::net::Ipv6Addr = "2001:db8:1:7a5b:9c3d:1e2f:6478:beef".parse().expect("one");
    visit(&app, &address.to_string()).await;
    clicks(&app, 1).await;
    let data = app.data();
    let begun = Instant::now();
    while holds(&data.join("journal"), &address.octets()) {
        assert!(begun.elapsed() < SEEN_WITHIN, "the journal keeps the address");
        // Another click has the segment closed, so that it can be given up.
        visit(&app, "192.0.2.1").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let logged = serde_json::to_string(&app.logged()).expect("a log");
    let kept = app.finish_and_keep().await;
    for bytes in [&address.octets()[..], address.to_string().as_bytes()] {
        assert!(!holds(&data, bytes), "the store keeps the address");
    }
    assert!(!logged.contains(&address.to_string()), "the log keeps the address");
    drop(kept);
}

/// Whether these bytes are in a file of a folder.
fn holds(folder: &Path, wanted: &[u8]) -> bool {
    let files = std::fs::read_dir(folder).expect("a folder");
    files.flatten().filter(|file| file.path().is_file()).any(|file| {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        bytes.windows(wanted.len()).any(|part| part == wanted)
    })
}
