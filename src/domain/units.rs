//! Lengths of time and amounts of memory as operators write them: `250ms`, `90d`, `2GiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time, written like `250ms`, `5s`, `24h` or `90d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// An amount of bytes, written like `512KiB`, `64MiB` or `2GiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// Why a text is neither.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("{0:?} is not a length of time; write it like 250ms, 5s, 24h or 90d")]
    Span(String),
    #[error("{0:?} is not a size; write it like 512KiB, 64MiB or 2GiB")]
    Size(String),
}

const SPANS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Span {
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
}

impl Size {
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    pub const fn gib(gib: u64) -> Self {
        Self(gib << 30)
    }
}

/// Splits `12ms` into 12 and the factor of `ms`; surrounding spaces and one space between are fine.
fn split(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|byte: char| !byte.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim_start();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// The largest unit that divides the amount, so that the text reads as it was written.
fn join(amount: u64, units: &[(&str, u64)], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let fitting = units.iter().find(|(_, factor)| amount != 0 && amount.is_multiple_of(*factor));
    match fitting.or(units.last()) {
        Some((unit, factor)) => write!(out, "{}{unit}", amount / factor),
        None => Ok(()),
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        split(text, &SPANS).map(Self::from_millis).ok_or_else(|| UnitError::Span(text.to_owned()))
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        split(text, &SIZES).map(Self).ok_or_else(|| UnitError::Size(text.to_owned()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut units = SPANS;
        units.sort_by_key(|(_, factor)| std::cmp::Reverse(*factor));
        join(self.0.as_millis() as u64, &units, out)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        join(self.0, &SIZES, out)
    }
}

/// Settings are text; serde is the border they cross.
macro_rules! as_text {
    ($type:ident) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(Span);
as_text!(Size);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_read_back_as_they_were_written() {
        for text in ["250ms", "5s", "3m", "24h", "90d", "1500ms"] {
            assert_eq!(
                text.parse::<Span>().map(|span| span.to_string()),
                Ok(text.to_owned()).map(|t| if t == "24h" { "1d".into() } else { t })
            );
        }
        for text in ["1B", "512KiB", "64MiB", "2GiB"] {
            assert_eq!(text.parse::<Size>().map(|size| size.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "5", "s", "-1s", "5 parsecs", "99999999999999999999s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
