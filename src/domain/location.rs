//! Where a redirect leads, in two parts: how URLs of its kind begin, and the rest.
//!
//! Links are kept by the million and nearly all begin with `https://`: the table keeps the rest
//! only, and an answer is put together from both.

/// How a location begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Prefix {
    /// Neither of the others: the rest is everything.
    #[default]
    None = 0,
    Http = 1,
    Https = 2,
}

/// Bytes ready for a `Location` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    pub prefix: Prefix,
    pub rest: &'a [u8],
}

impl Prefix {
    pub const fn bytes(self) -> &'static [u8] {
        match self {
            Self::None => b"",
            Self::Http => b"http://",
            Self::Https => b"https://",
        }
    }
}

impl<'a> Location<'a> {
    pub fn of(url: &'a str) -> Self {
        Self::from_bytes(url.as_bytes())
    }

    pub fn from_bytes(url: &'a [u8]) -> Self {
        for prefix in [Prefix::Https, Prefix::Http] {
            if let Some(rest) = url.strip_prefix(prefix.bytes()) {
                return Self { prefix, rest };
            }
        }
        Self { prefix: Prefix::None, rest: url }
    }

    /// What follows each other in the header.
    pub const fn parts(&self) -> [&'a [u8]; 2] {
        [self.prefix.bytes(), self.rest]
    }

    pub fn to_vec(&self) -> Vec<u8> {
        self.parts().concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_url_again() {
        for (url, prefix) in [
            ("https://example.com/", Prefix::Https),
            ("http://example.com/a?b#c", Prefix::Http),
            ("https://", Prefix::Https),
            ("http:/x", Prefix::None),
            ("", Prefix::None),
        ] {
            let location = Location::of(url);
            assert_eq!(location.prefix, prefix, "{url}");
            assert_eq!(location.to_vec(), url.as_bytes());
        }
    }
}
