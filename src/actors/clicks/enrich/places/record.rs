//! What one record of a database says of a place, whichever way it is written.
//!
//! MaxMind and DB-IP nest: `country.iso_code`, `subdivisions[0].names.en`, `city.names.en`. The
//! files of ip-location-db and IPinfo are flat: `country_code`, `state1` or `region`, `city`.
//! Types of databases are free text (`GeoLite2-City`, but also `city ipv4`) and say little of the
//! layout, so each record is read for both: a label may be a text, or a map with a code and names.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Place;
use super::continents;

/// Longest name of a region or city, in bytes; the rest is cut.
const NAME_BYTES_MAX: usize = 128;
/// Two letters that stand for no country: nothing known, and nobody's.
const NO_COUNTRY: [&str; 2] = ["ZZ", "XX"];

/// A record, read and cleaned.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) place: Place,
    /// Where the owner of the network is registered, which says less than where it is used.
    pub(super) registered: Option<Box<str>>,
}

/// The fields of both layouts that tell a place; others are skipped.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRecord<'a> {
    #[serde(borrow)]
    continent: Label<'a>,
    #[serde(borrow)]
    continent_code: Label<'a>,
    #[serde(borrow)]
    country: Label<'a>,
    #[serde(borrow)]
    country_code: Label<'a>,
    #[serde(borrow)]
    registered_country: Label<'a>,
    #[serde(borrow)]
    subdivisions: Label<'a>,
    #[serde(borrow)]
    region: Label<'a>,
    #[serde(borrow)]
    state1: Label<'a>,
    #[serde(borrow)]
    city: Label<'a>,
}

/// A text counts as code and as name; of a list the first entry counts, which is the largest part
/// of a country. Anything else says nothing.
#[derive(Clone, Copy, Default)]
struct Label<'a> {
    code: Option<&'a str>,
    name: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry<'a> {
    iso_code: Option<&'a str>,
    code: Option<&'a str>,
    #[serde(borrow)]
    names: Names<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Names<'a> {
    en: Option<&'a str>,
}

struct LabelVisitor;

impl Record {
    /// True if it tells nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.registered.is_none() && self.place == Place::default()
    }
}

impl From<RawRecord<'_>> for Record {
    fn from(raw: RawRecord<'_>) -> Self {
        let place = Place {
            continent: [raw.continent_code, raw.continent].into_iter().find_map(continent),
            country: [raw.country_code, raw.country].into_iter().find_map(country),
            region: [raw.subdivisions, raw.region, raw.state1].into_iter().find_map(region),
            city: city(raw.city),
        };
        Self { place, registered: country(raw.registered_country) }
    }
}

impl<'a> From<Entry<'a>> for Label<'a> {
    fn from(entry: Entry<'a>) -> Self {
        Self { code: entry.iso_code.or(entry.code), name: entry.names.en }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Label<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LabelVisitor)
    }
}

impl<'de> Visitor<'de> for LabelVisitor {
    type Value = Label<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a text, a map with a code and names, or a list of such maps")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Label { code: Some(text), name: Some(text) })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Entry::deserialize(MapAccessDeserializer::new(map)).map(Label::from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let first = list.next_element::<Entry<'de>>()?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first.map(Label::from).unwrap_or_default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Label::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Label::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Label::default())
    }

    fn visit_u128<E>(self, _: u128) -> Result<Self::Value, E> {
        Ok(Label::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Label::default())
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Self::Value, E> {
        Ok(Label::default())
    }
}

/// Two letters that may be a country's, in upper case. Codes that ISO 3166-1 leaves to its users
/// pass as well: Kosovo's XK is one of them.
fn country(label: Label<'_>) -> Option<Box<str>> {
    let letters = label.code?.trim();
    let fits = letters.len() == 2 && letters.bytes().all(|byte| byte.is_ascii_alphabetic());
    let code = fits.then(|| letters.to_ascii_uppercase())?;
    (!NO_COUNTRY.contains(&code.as_str())).then(|| code.into())
}

fn continent(label: Label<'_>) -> Option<Box<str>> {
    continents::known(&label.code?.trim().to_ascii_uppercase()).map(Box::from)
}

fn region(label: Label<'_>) -> Option<Box<str>> {
    label.name.and_then(clean).or_else(|| label.code.and_then(clean))
}

/// Flat files of DB-IP add a district in brackets, `Bonn (Beuel)`, to a fifth of their answers. It
/// is cut, so that a city is counted as one. Nested ones have names like `Frankfurt (Oder)`.
fn city(label: Label<'_>) -> Option<Box<str>> {
    let name = clean(label.name?)?;
    let flat = label.code.is_some();
    match name.strip_suffix(')').and_then(|name| name.rsplit_once(" (")) {
        Some((city, _)) if flat && !city.is_empty() => Some(city.trim_end().into()),
        _ => Some(name),
    }
}

/// A name fit to be stored and shown: without anything that could end a line or turn the direction
/// of writing, not too long, and not one of the ways to write that nothing is known.
fn clean(name: &str) -> Option<Box<str>> {
    let visible: String = name.chars().filter(|letter| !is_unseen(*letter)).collect();
    let trimmed = visible.trim();
    let cut = trimmed[..trimmed.floor_char_boundary(NAME_BYTES_MAX)].trim_end();
    (!cut.is_empty() && cut != "-").then(|| cut.into())
}

/// Controls, line and paragraph separators, and the marks that turn the direction of writing.
fn is_unseen(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}')
        || matches!(letter, '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_cannot_be_seen_and_what_is_too_long() {
        assert_eq!(clean(" S\u{e3}o\n Paulo\u{202E} ").as_deref(), Some("S\u{e3}o Paulo"));
        assert_eq!(clean("\u{7f}\u{85}\u{2066}"), None);
        let long = "\u{e9}".repeat(100);
        assert_eq!(clean(&long).map(|name| name.len()), Some(NAME_BYTES_MAX));
        assert_eq!(clean(&format!("x{long}")).map(|name| name.len()), Some(NAME_BYTES_MAX - 1));
        assert_eq!(clean("-"), None);
        assert_eq!(clean(""), None);
    }

    #[test]
    fn a_district_is_cut_from_a_flat_city_only() {
        let flat = |text| city(Label { code: Some(text), name: Some(text) });
        assert_eq!(flat("Bonn (Beuel)").as_deref(), Some("Bonn"));
        assert_eq!(flat("Kempten (Allgau) (Halden)").as_deref(), Some("Kempten (Allgau)"));
        assert_eq!(flat(" (Beuel)").as_deref(), Some("(Beuel)"));
        let nested = city(Label { code: None, name: Some("Frankfurt (Oder)") });
        assert_eq!(nested.as_deref(), Some("Frankfurt (Oder)"));
    }

    #[test]
    fn a_country_is_two_letters() {
        let code = |text| country(Label { code: Some(text), name: None });
        assert_eq!(code("de").as_deref(), Some("DE"));
        assert_eq!(code("XK").as_deref(), Some("XK"));
        for text in ["", "D", "DEU", "D1", "\u{e9}", "ZZ", "--", "Germany"] {
            assert_eq!(code(text), None, "{text}");
        }
    }
}
