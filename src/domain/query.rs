//! Query strings: what a visitor brought, merged into where the link leads.
//!
//! Names are compared decoded (`%61` and `a` are one name, `+` is a space), so that an override
//! cannot be dodged by another spelling. Parameters that nobody touches keep their bytes.

use std::borrow::Cow;
use std::cmp::Ordering;

use percent_encoding::percent_decode;

/// One `name=value` of a visitor.
struct Parameter<'a> {
    name: Cow<'a, [u8]>,
    text: &'a str,
    position: usize,
    placed: bool,
}

/// `location` with the visitor's parameters: equal names are overridden where they stand, other
/// parameters follow, `strip` is removed, the fragment stays last. When the visitor brings nothing
/// else, `location` comes back as it is. What the visitor adds is printable ASCII (0x21 to 0x7E),
/// whatever it was; `location` is expected to be that already. The time grows with the lengths,
/// never with the product of the numbers of parameters.
pub fn merge_query(location: &str, visitor_query: &str, strip: &str) -> String {
    let mut visitor = parameters(visitor_query, strip);
    if visitor.is_empty() {
        return location.to_owned();
    }
    let (rest, fragment) = split_off(location, '#');
    let (base, own) = split_off(rest, '?');

    let mut merged = String::with_capacity(location.len() + visitor_query.len() + 1);
    merged.push_str(base);
    let mut separator = '?';
    if let Some(own) = own.filter(|own| !own.is_empty()) {
        visitor.sort_by(|a, b| a.name.cmp(&b.name).then(a.position.cmp(&b.position)));
        for text in own.split('&') {
            place_own(text, &mut visitor, &mut merged, &mut separator);
        }
        visitor.sort_by_key(|parameter| parameter.position);
    }
    for parameter in visitor.iter().filter(|parameter| !parameter.placed) {
        push(&mut merged, &mut separator, |merged| push_visitor(merged, parameter.text));
    }
    if let Some(fragment) = fragment {
        merged.push('#');
        merged.push_str(fragment);
    }
    merged
}

/// True when `query` has a parameter called `name`, with or without a value.
pub fn has_parameter(query: &str, name: &str) -> bool {
    query.split('&').any(|text| is_named(text, name.as_bytes()))
}

/// Writes one parameter of the destination, or all that the visitor put in its place. A name that
/// was replaced once is left out when it comes again.
fn place_own<'a>(
    text: &str,
    visitor: &mut [Parameter<'a>],
    merged: &mut String,
    separator: &mut char,
) {
    let name = name_of(text);
    let first = visitor.partition_point(|parameter| parameter.name.as_ref() < name.as_ref());
    let same = visitor[first..]
        .iter_mut()
        .take_while(|parameter| parameter.name.as_ref().cmp(name.as_ref()) == Ordering::Equal);
    let mut overridden = false;
    for parameter in same {
        overridden = true;
        if parameter.placed {
            break;
        }
        parameter.placed = true;
        push(merged, separator, |merged| push_visitor(merged, parameter.text));
    }
    if !overridden {
        push(merged, separator, |merged| merged.push_str(text));
    }
}

fn push(merged: &mut String, separator: &mut char, write: impl FnOnce(&mut String)) {
    merged.push(std::mem::replace(separator, '&'));
    write(merged);
}

/// Keeps printable ASCII but for what could end an attribute, a header or the query.
fn push_visitor(merged: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if (0x21..=0x7E).contains(&byte) && !matches!(byte, b'"' | b'<' | b'>' | b'#') {
            merged.push(char::from(byte));
        } else {
            merged.push('%');
            merged.push(char::from(HEX[usize::from(byte >> 4)]));
            merged.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// The visitor's parameters in order, without empty ones and without those called `strip`.
fn parameters<'a>(query: &'a str, strip: &str) -> Vec<Parameter<'a>> {
    query
        .split('&')
        .filter(|text| !text.is_empty() && !is_named(text, strip.as_bytes()))
        .enumerate()
        .map(|(position, text)| Parameter { name: name_of(text), text, position, placed: false })
        .collect()
}

fn is_named(text: &str, name: &[u8]) -> bool {
    // An empty piece between two `&` is no parameter, not one with an empty name.
    !text.is_empty() && name_of(text).as_ref() == name
}

/// The decoded name of a `name=value` text. Borrows unless there is something to decode.
fn name_of(text: &str) -> Cow<'_, [u8]> {
    let name = text.split_once('=').map_or(text, |(name, _)| name).as_bytes();
    if name.contains(&b'+') {
        let spaced: Vec<u8> =
            name.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        Cow::Owned(percent_decode(&spaced).collect())
    } else {
        percent_decode(name).into()
    }
}

/// Splits at the first `mark`, which is dropped.
fn split_off(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(head, tail)| (head, Some(tail)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STRIP: &str = "shunt-no-track";

    #[track_caller]
    fn assert_merged(location: &str, query: &str, expected: &str) {
        assert_eq!(merge_query(location, query, STRIP), expected, "{location} with {query}");
    }

    #[test]
    fn an_empty_query_changes_nothing() {
        for location in ["https://a/", "https://a/?x=1", "https://a/?x=1&&y#f?g", "https://a/?"] {
            assert_merged(location, "", location);
            assert_merged(location, "&&", location);
            assert_merged(location, "shunt-no-track=1", location);
        }
    }

    #[test]
    fn parameters_are_added_before_the_fragment() {
        assert_merged("https://a/", "x=1", "https://a/?x=1");
        assert_merged("https://a/#f", "x=1", "https://a/?x=1#f");
        assert_merged("https://a/?", "x=1", "https://a/?x=1");
        assert_merged("https://a/?y=2#f?g&h", "x=1&z", "https://a/?y=2&x=1&z#f?g&h");
        assert_merged("https://a/?y=2&", "x=1", "https://a/?y=2&&x=1");
    }

    #[test]
    fn the_visitor_overrides_equal_names_where_they_stand() {
        assert_merged("https://a/?x=1&y=2", "x=9", "https://a/?x=9&y=2");
        assert_merged("https://a/?x=1&y=2&x=3", "z=0&x=8&x=9", "https://a/?x=8&x=9&y=2&z=0");
        assert_merged("https://a/?x=1&y=2", "y", "https://a/?x=1&y");
        assert_merged("https://a/?x", "x=", "https://a/?x=");
        assert_merged("https://a/?X=1", "x=2", "https://a/?X=1&x=2");
    }

    #[test]
    fn merging_again_brings_equal_names_together_and_loses_nothing() {
        let once = "https://a/?x=1&a=2&b=3&%61=4";
        let twice = "https://a/?x=1&a=2&%61=4&b=3";
        assert_merged("https://a/?x=1", "a=2&b=3&%61=4", once);
        assert_merged(once, "a=2&b=3&%61=4", twice);
        assert_merged(twice, "a=2&b=3&%61=4", twice);
    }

    #[test]
    fn names_are_compared_decoded() {
        assert_merged("https://a/?%78=1", "x=2", "https://a/?x=2");
        assert_merged("https://a/?x=1", "%78=2", "https://a/?%78=2");
        assert_merged("https://a/?a%20b=1", "a+b=2", "https://a/?a+b=2");
        assert_merged("https://a/?a%2Bb=1", "a+b=2", "https://a/?a%2Bb=1&a+b=2");
    }

    #[test]
    fn untouched_parameters_keep_their_bytes() {
        assert_merged(
            "https://a/?q=a%2fb%20c+d&%zz&=&&e='{|}",
            "x=%2f%2F",
            "https://a/?q=a%2fb%20c+d&%zz&=&&e='{|}&x=%2f%2F",
        );
    }

    #[test]
    fn the_parameter_that_asks_not_to_be_counted_is_removed() {
        assert_merged("https://a/", "x=1&shunt-no-track&y=2", "https://a/?x=1&y=2");
        assert_merged("https://a/", "shunt%2Dno-track=1&x=1", "https://a/?x=1");
        assert_merged("https://a/?shunt-no-track=1", "x=1", "https://a/?shunt-no-track=1&x=1");
    }

    #[test]
    fn what_must_not_stand_in_a_header_is_encoded() {
        assert_merged(
            "https://a/",
            "x=\r\nSet-Cookie: a=\"b\"<c>#d&ä=ö\0",
            "https://a/?x=%0D%0ASet-Cookie:%20a=%22b%22%3Cc%3E%23d&%C3%A4=%C3%B6%00",
        );
    }

    #[test]
    fn parameters_are_found_with_and_without_a_value() {
        assert!(has_parameter("qr=1", "qr"));
        assert!(has_parameter("a=b&qr", "qr"));
        assert!(has_parameter("a=b&%71r=", "qr"));
        assert!(!has_parameter("aqr=1&qra", "qr"));
        assert!(!has_parameter("a=qr", "qr"));
        assert!(!has_parameter("", ""));
        assert!(!has_parameter("", "qr"));
    }

    #[test]
    fn thousands_of_parameters_are_merged_in_reasonable_work() {
        // All names equal, then all different: neither makes the work quadratic.
        let own = format!("https://a/?{}", vec!["a"; 4_000].join("&"));
        let visitor = vec!["a"; 4_000].join("&");
        assert_eq!(merge_query(&own, &visitor, STRIP).len(), own.len());
        let names: Vec<_> = (0..4_000).map(|index| format!("n{index}")).collect();
        let own = format!("https://a/?{}", names.join("&"));
        let merged = merge_query(&own, &names.join("&"), STRIP);
        assert_eq!(merged, own);
    }

    /// The same rules, written the slow and obvious way.
    fn reference(location: &str, query: &str) -> String {
        let visitor: Vec<&str> = query
            .split('&')
            .filter(|p| !p.is_empty() && name_of(p).as_ref() != STRIP.as_bytes())
            .collect();
        if visitor.is_empty() {
            return location.to_owned();
        }
        let (rest, fragment) = split_off(location, '#');
        let (base, own) = split_off(rest, '?');
        let own: Vec<&str> =
            own.filter(|own| !own.is_empty()).map_or(vec![], |own| own.split('&').collect());
        let mut out: Vec<&str> = Vec::new();
        let mut done: Vec<Vec<u8>> = Vec::new();
        for text in own {
            let name = name_of(text).into_owned();
            let mut replacing = visitor.iter().filter(|p| name_of(p).as_ref() == name).peekable();
            if replacing.peek().is_none() {
                out.push(text);
            } else if !done.contains(&name) {
                out.extend(replacing);
                done.push(name);
            }
        }
        out.extend(visitor.iter().filter(|p| !done.contains(&name_of(p).into_owned())));
        let fragment = fragment.map_or(String::new(), |fragment| format!("#{fragment}"));
        format!("{base}?{}{fragment}", out.join("&"))
    }

    proptest! {
        #[test]
        fn merging_follows_the_rules(
            own in "(\\?([ab%61]{0,3}(=[xy]{0,2})?&?){0,6})?(#[a?&]{0,3})?",
            query in "([abc+%2061]{0,3}(=[xy]{0,2})?&?){0,6}",
        ) {
            let location = format!("https://example.com/{own}");
            prop_assert_eq!(merge_query(&location, &query, STRIP), reference(&location, &query));
        }

        #[test]
        fn the_result_is_printable_and_keeps_host_and_fragment(query: String) {
            let merged = merge_query("https://example.com/p?a=1&b=2#f", &query, STRIP);
            prop_assert!(merged.bytes().all(|byte| (0x21..=0x7E).contains(&byte)));
            prop_assert!(merged.starts_with("https://example.com/p?") && merged.ends_with("#f"));
            prop_assert_eq!(merged.matches('#').count(), 1);
        }
    }
}
