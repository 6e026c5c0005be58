//! Cursors: where a page ended, sealed so that only the list that made one takes it back.
//!
//! A cursor is the mark and a keyed hash over it, the workspace and the filters, in hex.

use crate::domain::id::Id;
use crate::storage::{PageMark, SortValue};

/// Longest cursor taken, in bytes. The longest mark is a title.
const CURSOR_BYTES_MAX: usize = 4_096;
const TAG_BYTES: usize = 16;
const NUMBER: u8 = 0;
const TEXT: u8 = 1;

/// Seals and opens cursors under a key of this installation.
#[derive(Clone)]
pub struct CursorSealer {
    key: [u8; 32],
}

/// What a cursor belongs to: one list, of one workspace, with one set of filters and one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorScope([u8; 32]);

impl CursorScope {
    /// `filters` is anything that tells two lists apart.
    pub fn new(list: &str, workspace: Id, filters: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [list.as_bytes(), &workspace.0.to_le_bytes(), filters.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }
}

impl CursorSealer {
    pub fn new(secret: &[u8; 32]) -> Self {
        Self { key: blake3::derive_key("shunt list cursors v1", secret) }
    }

    /// The cursor that brings a caller back to behind `mark` in the list of `scope`.
    pub fn seal(&self, scope: &CursorScope, mark: &PageMark) -> String {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend(mark.id.0.to_le_bytes());
        match &mark.value {
            SortValue::Number(number) => {
                bytes.push(NUMBER);
                bytes.extend(number.to_le_bytes());
            }
            SortValue::Text(text) => {
                bytes.push(TEXT);
                bytes.extend(text.as_bytes());
            }
        }
        bytes.extend(self.tag(scope, &bytes));
        to_hex(&bytes)
    }

    /// The mark, if this installation sealed it for this very list.
    pub fn open(&self, scope: &CursorScope, cursor: &str) -> Option<PageMark> {
        if cursor.len() > CURSOR_BYTES_MAX {
            return None;
        }
        let bytes = from_hex(cursor)?;
        let (mark, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG_BYTES)?)?;
        // Compared in constant time: the hash type does so.
        let expected = blake3::Hash::from(widen(&self.tag(scope, mark)));
        if expected != blake3::Hash::from(widen(tag)) {
            return None;
        }
        let (id, value) = mark.split_first_chunk::<8>()?;
        let (kind, value) = value.split_first()?;
        let value = match *kind {
            NUMBER => SortValue::Number(i64::from_le_bytes(value.try_into().ok()?)),
            TEXT => SortValue::Text(String::from_utf8(value.to_vec()).ok()?),
            _ => return None,
        };
        Some(PageMark { value, id: Id(u64::from_le_bytes(*id)) })
    }

    fn tag(&self, scope: &CursorScope, mark: &[u8]) -> [u8; TAG_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&scope.0).update(mark);
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&hasher.finalize().as_bytes()[..TAG_BYTES]);
        tag
    }
}

fn widen(tag: &[u8]) -> [u8; 32] {
    let mut wide = [0; 32];
    let length = tag.len().min(wide.len());
    wide[..length].copy_from_slice(&tag[..length]);
    wide
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

/// The bytes of lower-case hex, so that one cursor has one spelling.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks() -> [PageMark; 4] {
        [
            PageMark { value: SortValue::Number(i64::MIN), id: Id(1) },
            PageMark { value: SortValue::Number(1_700_000_000_000), id: Id(u64::MAX) },
            PageMark { value: SortValue::Text(String::new()), id: Id(7) },
            PageMark { value: SortValue::Text("Ümlaut & ₿".repeat(20)), id: Id(7) },
        ]
    }

    #[test]
    fn a_cursor_opens_to_the_mark_it_was_made_from() {
        let sealer = CursorSealer::new(&[1; 32]);
        let scope = CursorScope::new("links", Id(3), "sort=title");
        for mark in marks() {
            assert_eq!(sealer.open(&scope, &sealer.seal(&scope, &mark)), Some(mark));
        }
    }

    #[test]
    fn a_cursor_with_any_byte_changed_is_refused() {
        let sealer = CursorSealer::new(&[1; 32]);
        let scope = CursorScope::new("links", Id(3), "");
        for mark in marks() {
            let cursor = sealer.seal(&scope, &mark);
            for place in 0..cursor.len() {
                let mut forged = cursor.clone().into_bytes();
                forged[place] = if forged[place] == b'0' { b'1' } else { b'0' };
                let forged = String::from_utf8(forged).unwrap_or_default();
                assert_eq!(sealer.open(&scope, &forged), None, "{forged}");
                assert_eq!(sealer.open(&scope, &cursor[..place]), None);
            }
        }
    }

    #[test]
    fn a_cursor_fits_one_list_of_one_workspace_with_one_filter_and_one_installation() {
        let sealer = CursorSealer::new(&[1; 32]);
        let scope = CursorScope::new("links", Id(3), "tag=a");
        let cursor = sealer.seal(&scope, &marks()[0]);
        for other in [
            CursorScope::new("links", Id(4), "tag=a"),
            CursorScope::new("links", Id(3), "tag=b"),
            CursorScope::new("keys", Id(3), "tag=a"),
        ] {
            assert_eq!(sealer.open(&other, &cursor), None);
        }
        assert_eq!(CursorSealer::new(&[2; 32]).open(&scope, &cursor), None);
    }

    #[test]
    fn nonsense_is_no_cursor() {
        let sealer = CursorSealer::new(&[1; 32]);
        let scope = CursorScope::new("links", Id(3), "");
        let long = "a".repeat(100_000);
        for text in ["", "0", "zz", "ABCDEF", "é", "00000000000000000000000000000000", &long] {
            assert_eq!(sealer.open(&scope, text), None, "{text}");
        }
    }
}
