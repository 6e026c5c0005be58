//! From a template to a page: reading an operator's file, filling in, and the policy that allows
//! the page's own styles and nothing else.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

/// Largest template, in bytes: a page is kept in memory once per reason.
const TEMPLATE_BYTES_MAX: u64 = 256 * 1_024;

/// Placeholders by name, and the HTML that takes their place.
pub(super) type Values<'a> = [(&'static str, &'a str)];

/// An operator's template with line ends as browsers see them; `None` when there is none. The error
/// says what is wrong with the file.
pub(super) fn read_template(path: &Path) -> Result<Option<String>, String> {
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
        // Opening a pipe would wait for whoever writes into it.
        Ok(found) if !found.is_file() => return Err("is not a file".to_owned()),
        Ok(_) => (),
    }
    let mut bytes = Vec::new();
    let mut file = fs::File::open(path).map_err(unreadable)?.take(TEMPLATE_BYTES_MAX + 1);
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > TEMPLATE_BYTES_MAX {
        return Err(format!("is larger than {TEMPLATE_BYTES_MAX} bytes"));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| format!("is not UTF-8 from byte {}", error.utf8_error().valid_up_to()))?;
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(Some(text.replace("\r\n", "\n").replace('\r', "\n")))
}

/// Puts the values in. The error says which placeholder is unknown, and which ones are known.
pub(super) fn fill(template: &str, values: &Values<'_>) -> Result<String, String> {
    let mut page = String::with_capacity(template.len() + 512);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or("has a `{{` without its `}}`")?;
        let name = name.trim();
        let Some((_, value)) = values.iter().find(|(known, _)| *known == name) else {
            let known: Vec<String> =
                values.iter().map(|(name, _)| format!("`{{{{{name}}}}}`")).collect();
            let known = known.join(", ");
            return Err(format!("has an unknown placeholder `{{{{{name}}}}}`; there are {known}"));
        };
        page.push_str(before);
        page.push_str(value);
        rest = after;
    }
    page.push_str(rest);
    Ok(page)
}

/// Text as it may stand between tags and in quoted attributes.
pub(crate) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            letter => html.push(letter),
        }
    }
    html
}

/// Nothing may be run or framed, and forms go to `forms` only. The page's own styles are allowed by
/// their digests, and what `extras` names: the sources of images and fonts.
pub(super) fn content_policy(html: &str, forms: &str, extras: &str) -> String {
    let mut policy = format!(
        "default-src 'none'; base-uri 'none'; form-action {forms}; frame-ancestors 'none'; {extras}"
    );
    let digests: Vec<String> = styles(html)
        .map(|style| format!("'sha256-{}'", BASE64.encode(Sha256::digest(style))))
        .collect();
    if !digests.is_empty() {
        policy.push_str("; style-src ");
        policy.push_str(&digests.join(" "));
    }
    policy
}

/// Contents of the `<style>` elements. Looks for the next one right behind the tag, not behind the
/// element: a tag in a comment must not hide the element that follows, and a digest too many
/// allows nothing that is not on the page.
pub(super) fn styles(html: &str) -> impl Iterator<Item = &str> {
    let lower = html.to_ascii_lowercase();
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let tag = from + lower[from..].find("<style")?;
            from = tag + "<style".len();
            let Some(bytes) = tag_bytes(&lower[tag..]) else { continue };
            let start = tag + bytes;
            let end = start + lower[start..].find("</style")?;
            return Some(&html[start..end]);
        }
    })
}

/// Length of the tag that `html` begins with. A `>` in a quoted attribute does not end it.
fn tag_bytes(html: &str) -> Option<usize> {
    let mut quote = None;
    for (index, byte) in html.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(index + 1),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => (),
        }
    }
    None
}
