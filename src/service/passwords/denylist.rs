//! Passwords that the operator knows to be known: a list, such as one of a breach.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::domain::password::Password;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The passwords of a file, as sorted digests: eight bytes of memory each, whatever their length.
#[derive(Clone, Debug, Default)]
pub struct Denylist(Box<[u64]>);

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DenylistError {
    #[error("`passwords.denylist` cannot be read: {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("`passwords.denylist` is too large: {} has more than {max} bytes", path.display())]
    TooLarge { path: PathBuf, max: u64 },
}

impl Denylist {
    /// Reads one password per line. Lines need not be UTF-8: a list of a breach seldom is.
    pub fn read(path: &Path) -> Result<Self, DenylistError> {
        Self::read_within(path, FILE_BYTES_MAX)
    }

    pub(super) fn read_within(path: &Path, max: u64) -> Result<Self, DenylistError> {
        let unreadable = |error| DenylistError::Unreadable { path: path.to_owned(), error };
        let file = File::open(path).map_err(unreadable)?;
        // One byte more than allowed tells a file that is too large from one that just fits.
        let mut lines = BufReader::new(file.take(max + 1));
        let (mut digests, mut line, mut n_bytes) = (Vec::new(), Vec::new(), 0);
        loop {
            line.clear();
            let n_read = lines.read_until(b'\n', &mut line).map_err(unreadable)?;
            if n_read == 0 {
                break;
            }
            n_bytes += n_read as u64;
            if n_bytes > max {
                return Err(DenylistError::TooLarge { path: path.to_owned(), max });
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']);
            if !text.is_empty() {
                digests.push(digest(text));
            }
        }
        digests.sort_unstable();
        digests.dedup();
        Ok(Self(digests.into_boxed_slice()))
    }

    /// How many different passwords it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, password: &Password) -> bool {
        self.0.binary_search(&digest(password.expose())).is_ok()
    }
}

/// Two passwords of one digest would cost somebody a choice, never safety.
fn digest(text: &str) -> u64 {
    let hash = blake3::hash(text.to_lowercase().as_bytes());
    u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn contains(list: &Denylist, text: &str) -> bool {
        list.contains(&Password::new(text.to_owned()))
    }

    #[test]
    fn a_list_is_read_line_by_line_whatever_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.txt");
        std::fs::write(&path, b"correct horse\r\n\nTr0ub4dour&3\n\xff\xfe\nTR0UB4DOUR&3\n last")
            .unwrap();
        let list = Denylist::read(&path).unwrap();
        assert_eq!(list.len(), 4);
        for text in ["correct horse", "Correct Horse", "tr0ub4dour&3", " last"] {
            assert!(contains(&list, text), "{text}");
        }
        for text in ["", "last", "correct horse\r", "correct"] {
            assert!(!contains(&list, text), "{text}");
        }
    }

    #[test]
    fn a_list_that_is_absent_or_too_large_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.txt");
        let absent = Denylist::read(&path).unwrap_err().to_string();
        std::fs::write(&path, "12345\n1234").unwrap();
        assert_eq!(Denylist::read_within(&path, 10).unwrap().len(), 2);
        let large = Denylist::read_within(&path, 9).unwrap_err().to_string();
        for text in [absent, large] {
            assert!(text.contains("`passwords.denylist`") && text.contains("list.txt"), "{text}");
        }
    }
}
