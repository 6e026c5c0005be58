//! How searches and orders compare texts: one folding for every backend, so that they find the same
//! links in the same order.

use crate::domain::link::Link;

/// Lower case, character by character, by Unicode's simple and special mappings. Accents stay.
pub(super) fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_lowercase).collect()
}

/// True when `folded` (already folded) occurs in code, destination, title or a tag of `link`.
pub(super) fn link_holds(link: &Link, folded: &str) -> bool {
    holds(link.code.as_str(), folded)
        || holds(link.destination.as_str(), folded)
        || holds(&link.title, folded)
        || link.tags.iter().any(|tag| holds(tag, folded))
}

/// True when `folded` occurs in `text`, whatever the case of `text`.
pub(super) fn holds(text: &str, folded: &str) -> bool {
    let Some(first) = folded.as_bytes().first() else {
        return true;
    };
    if !text.is_ascii() {
        return fold(text).contains(folded);
    }
    // Most texts are ASCII; these are compared in place, a million of them per search.
    let (text, folded) = (text.as_bytes(), folded.as_bytes());
    text.windows(folded.len()).any(|window| {
        window[0].to_ascii_lowercase() == *first && window.eq_ignore_ascii_case(folded)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_matter_and_wildcards_mean_themselves() {
        assert!(holds("Grüße AUS Köln", &fold("GRÜSSE".replace("SS", "ß").as_str())));
        assert!(holds("100%_sure", "%_s"));
        assert!(!holds("100 percent", "%"));
    }
}
