//! Passwords: the text, and what makes one acceptable.
//!
//! A password is judged by its characters, whole, whatever script they are from. Every rule it
//! breaks is named at once.

use std::fmt;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::limits::PASSWORD_CHARS_MAX;
use super::secret::MASK;

/// A password is common when it is found with fewer guesses than this: what a patient stranger
/// gets through against a login that slows guesses down. It covers the ranked lists of common
/// passwords, names and words, and what people do to them: a capital, a digit, a year, `@` for `a`.
const COMMON_GUESSES: u64 = 1_000_000;
/// Characters that are looked up at a time. The cost of looking grows with the square of them and
/// more; of so many, hostile ones take five milliseconds.
const JUDGED_CHARS: usize = 32;
/// Words of the account that are looked for in its password.
const OWN_WORDS_MAX: usize = 32;
/// The service's own name is no secret either.
const SERVICE_WORD: &str = "shunt";

/// The text of a password. It is wiped from memory when dropped, and never printed.
pub struct Password(Zeroizing<String>);

/// A rule that a password breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    #[error("a password has at least {chars_min} characters")]
    TooShort { chars_min: usize },
    #[error("a password has at most {PASSWORD_CHARS_MAX} characters")]
    TooLong,
    #[error("a password needs an upper-case letter")]
    NoUpper,
    #[error("a password needs a lower-case letter")]
    NoLower,
    #[error("a password needs a digit")]
    NoDigit,
    #[error("this password is too easy to guess: it is common, or close to your name or address")]
    Common,
    #[error("this password is on a list of passwords that are known to others")]
    Listed,
}

/// What a password must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// Fewest characters.
    pub chars_min: usize,
    pub upper: bool,
    pub lower: bool,
    pub digit: bool,
}

impl Password {
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself. Let it go no further than to what judges or hashes it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(MASK)
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl Weakness {
    /// The reason as programs read it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooShort { .. } => "too_short",
            Self::TooLong => "too_long",
            Self::NoUpper => "no_upper",
            Self::NoLower => "no_lower",
            Self::NoDigit => "no_digit",
            Self::Common => "common",
            Self::Listed => "listed",
        }
    }
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { chars_min: 8, upper: true, lower: true, digit: true }
    }
}

impl PasswordPolicy {
    /// Every rule that `password` breaks. `own` is what is known of whoever chooses it: e-mail
    /// address, name. Takes up to ten milliseconds: not for a thread that serves redirects.
    pub fn weaknesses(&self, password: &Password, own: &[&str]) -> Vec<Weakness> {
        let text = password.expose();
        let n_chars = text.chars().count();
        // Also keeps anything long away from what follows.
        if n_chars > PASSWORD_CHARS_MAX {
            return vec![Weakness::TooLong];
        }
        let lacks = |wanted: bool, has: fn(char) -> bool| wanted && !text.chars().any(has);
        let chars_min = self.chars_min;
        let rules = [
            (n_chars < chars_min, Weakness::TooShort { chars_min }),
            (lacks(self.upper, char::is_uppercase), Weakness::NoUpper),
            (lacks(self.lower, char::is_lowercase), Weakness::NoLower),
            (lacks(self.digit, char::is_numeric), Weakness::NoDigit),
            (is_common(text, own), Weakness::Common),
        ];
        rules.into_iter().filter(|(broken, _)| *broken).map(|(_, weakness)| weakness).collect()
    }
}

/// Whether a password is one of the first that somebody would try. Of a long one both ends count:
/// it is common only if neither is hard to guess.
fn is_common(text: &str, own: &[&str]) -> bool {
    let words = own_words(own);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let guessed = |part: &str| zxcvbn::zxcvbn(part, &words).guesses() < COMMON_GUESSES;
    let starts: Vec<usize> = text.char_indices().map(|(start, _)| start).collect();
    match starts.get(JUDGED_CHARS) {
        None => guessed(text),
        Some(end) => {
            let start = starts[starts.len() - JUDGED_CHARS];
            guessed(&text[..*end]) && guessed(&text[start..])
        }
    }
}

/// The texts themselves, the parts of them, and the parts put together.
fn own_words(own: &[&str]) -> Vec<String> {
    let mut words = Vec::new();
    for text in own {
        let text: String = text.to_lowercase().chars().take(PASSWORD_CHARS_MAX).collect();
        let (local, _) = text.split_once('@').unwrap_or((&text, ""));
        let joined: String = local.chars().filter(|c| c.is_alphanumeric()).collect();
        words.extend([local.to_owned(), joined]);
        words.extend(text.split(|c: char| !c.is_alphanumeric()).map(str::to_owned));
        words.push(text);
    }
    words.push(SERVICE_WORD.to_owned());
    // Two letters are in every second password.
    words.retain(|word| word.chars().count() > 2);
    words.truncate(OWN_WORDS_MAX);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [&str; 2] = ["margaret.hamilton@mail.example", "Margaret Hamilton"];

    fn weaknesses(text: &str) -> Vec<Weakness> {
        PasswordPolicy::default().weaknesses(&Password::new(text.to_owned()), &OWN)
    }

    #[test]
    fn every_broken_rule_is_named_at_once() {
        use Weakness::{Common, NoDigit, NoLower, NoUpper, TooLong, TooShort};
        let short = TooShort { chars_min: 8 };
        for (text, expected) in [
            ("", vec![short, NoUpper, NoLower, NoDigit, Common]),
            ("abc", vec![short, NoUpper, NoDigit, Common]),
            ("kP3xW9q", vec![short]),
            ("kP3xW9qz", vec![]),
            ("kp3xw9qzt", vec![NoUpper]),
            ("KP3XW9QZT", vec![NoLower]),
            ("kPtxWvqzt", vec![NoDigit]),
            // Characters count, not bytes; and letters of all scripts are letters.
            ("ΩμέγΔδ7", vec![short]),
            ("ΩμέγαΔδ7", vec![]),
            ("Żółw jeździ 3 razy", vec![]),
            ("Xk3 \u{1f512}\u{1f511}\u{0} q\u{7}", vec![]),
        ] {
            assert_eq!(weaknesses(text), expected, "{text:?}");
        }
        let long = |n: usize| "kP3xW9qzTv4LmR8s".chars().cycle().take(n).collect::<String>();
        assert_eq!(weaknesses(&long(PASSWORD_CHARS_MAX)), []);
        assert_eq!(weaknesses(&long(PASSWORD_CHARS_MAX + 1)), [TooLong]);
        assert_eq!(weaknesses(&"é".repeat(1 << 20)), [TooLong]);
    }

    #[test]
    fn the_operator_says_which_kinds_are_needed() {
        let policy = PasswordPolicy { chars_min: 12, upper: false, lower: false, digit: false };
        let weaknesses = |text: &str| policy.weaknesses(&Password::new(text.to_owned()), &[]);
        assert_eq!(weaknesses("correct horse battery"), []);
        assert_eq!(weaknesses("kP3xW9qzTv4"), [Weakness::TooShort { chars_min: 12 }]);
        assert_eq!(weaknesses("passwordpassword"), [Weakness::Common]);
    }

    #[test]
    fn common_passwords_and_what_people_do_to_them_are_refused() {
        for text in [
            "Password1",
            "Qwerty123",
            "Welcome2024",
            "Abc12345",
            "P@ssw0rd",
            "Passw0rd1",
            "Password123!",
            "Winter2026",
            "Admin1234",
            "Iloveyou1",
            "Zaq12wsx",
            "1qaz2wsxE",
            "Aa12345678",
            "Aaaaaaaa1",
            "Changeme1",
            "Shunt123",
            "Hamilton1",
            "Margaret1906",
            "Margaret.Hamilton1",
            "MargaretHamilton1",
            "Margaret.hamilton@mail.example1",
        ] {
            assert_eq!(weaknesses(text), [Weakness::Common], "{text}");
        }
        // Long ones at both ends, so that nothing hides behind the part that is looked at.
        let repeated = format!("A1{}", "a".repeat(PASSWORD_CHARS_MAX - 2));
        assert_eq!(weaknesses(&repeated), [Weakness::Common]);
        let easy = &repeated[..JUDGED_CHARS + 1];
        assert_eq!(weaknesses(easy), [Weakness::Common]);
        assert_eq!(weaknesses(&format!("{easy}xK9qLm2Zp7Rv")), []);
        assert_eq!(weaknesses(&format!("xK9qLm2Zp7Rv{easy}")), []);
    }

    #[test]
    fn the_own_address_and_name_are_refused_as_they_are() {
        for text in OWN {
            assert!(weaknesses(text).contains(&Weakness::Common), "{text}");
        }
        let stranger = Password::new("Margaret.Hamilton@mail.example1".to_owned());
        assert_eq!(PasswordPolicy::default().weaknesses(&stranger, &["x@y.example"]), []);
    }

    #[test]
    fn good_passwords_are_taken() {
        for text in ["correct Horse battery 9", "xK9qLm2Zp7Rv", "Blue7Horse under the bridge"] {
            assert_eq!(weaknesses(text), [], "{text}");
        }
    }

    #[test]
    fn a_password_is_not_printed_by_debug() {
        assert_eq!(format!("{:?}", Password::new("Hunter2!".to_owned())), MASK);
    }
}
