//! Problems found in a configuration: all of them, not the first.

use std::fmt::{Display, Write};
use std::ops::RangeInclusive;

/// Collects one sentence per setting that cannot be honoured.
#[derive(Debug, Default)]
pub struct Problems(Vec<String>);

impl Problems {
    /// Adds one sentence; name the key in backticks.
    pub fn add(&mut self, sentence: impl Into<String>) {
        self.0.push(sentence.into());
    }

    /// Adds a line unless `value` lies in `allowed`. Name the key as the operator writes it.
    #[expect(clippy::needless_pass_by_value, reason = "callers hand in plain numbers and spans")]
    pub fn range<T: PartialOrd + Display>(
        &mut self,
        key: &str,
        value: T,
        allowed: RangeInclusive<T>,
    ) {
        if !allowed.contains(&value) {
            let (low, high) = (allowed.start(), allowed.end());
            self.add(format!("`{key}` is {value}; it must be from {low} to {high}"));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn sentences(&self) -> &[String] {
        &self.0
    }
}

impl Display for Problems {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, sentence) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_char('\n')?;
            }
            write!(out, "- {sentence}")?;
        }
        Ok(())
    }
}
