//! E-mail addresses: the part of RFC 5321 that mail is really sent to.

use std::fmt;

const BYTES_MAX: usize = 254;
const LOCAL_BYTES_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 63;
/// What may stand between the dots of a local part besides letters and digits (RFC 5322 `atext`).
const LOCAL_SIGNS: &[u8] = b"!#$%&'*+-/=?^_`{|}~";

/// A well-formed address, as it was written. Two that differ in case only are one account.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(String);

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an e-mail address looks like name@example.com")]
pub struct EmailError;

impl Email {
    /// Takes `local@domain` in ASCII: dots, letters, digits and the usual signs before the `@`, a
    /// name with a dot after it. Quoted local parts and addresses of machines are refused.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let (local, domain) = text.rsplit_once('@').ok_or(EmailError)?;
        let fits = text.len() <= BYTES_MAX && is_local(local) && is_domain(domain);
        fits.then(|| Self(text.to_owned())).ok_or(EmailError)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What accounts are told apart by.
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Debug for Email {
    /// Shows nothing: logs outlive accounts.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Email(…)")
    }
}

fn is_local(local: &str) -> bool {
    let is_atom = |atom: &str| {
        !atom.is_empty()
            && atom.bytes().all(|byte| byte.is_ascii_alphanumeric() || LOCAL_SIGNS.contains(&byte))
    };
    local.len() <= LOCAL_BYTES_MAX && local.split('.').all(is_atom)
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let top = domain.rsplit('.').next().unwrap_or_default();
    domain.contains('.')
        && domain.split('.').all(is_label)
        && !top.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_that_mail_is_sent_to_are_taken() {
        for text in [
            "a@b.co",
            "first.last+tag@mail.example.com",
            "o'brien@example.org",
            "x_y-z/1@xn--bcher-kva.example",
            &format!("{}@example.com", "a".repeat(64)),
        ] {
            assert_eq!(Email::parse(text).map(|email| email.as_str().to_owned()).unwrap(), text);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long_domain = format!("a@{}.com", ["a".repeat(60).as_str(); 5].join("."));
        for text in [
            "",
            "@",
            "a@",
            "@example.com",
            "a@localhost",
            "a@1.2.3.4",
            "a@[127.0.0.1]",
            "a b@example.com",
            "a@exa mple.com",
            "a@example.com ",
            " a@example.com",
            "a@b@example.com",
            "\"a\"@example.com",
            ".a@example.com",
            "a.@example.com",
            "a..b@example.com",
            "a@example..com",
            "a@-example.com",
            "a@example-.com",
            "a@example.com.",
            "a@example.com\r\nBcc: b@example.com",
            "a\0@example.com",
            "ä@example.com",
            "a@exämple.com",
            "<a@example.com>",
            "a,b@example.com",
            &format!("{}@example.com", "a".repeat(65)),
            &long_domain,
        ] {
            assert_eq!(Email::parse(text), Err(EmailError), "{text:?}");
        }
    }

    #[test]
    fn case_does_not_make_another_account_and_debug_shows_nothing() {
        let (one, two) = (Email::parse("A@Example.com").unwrap(), Email::parse("a@example.COM"));
        assert_eq!(one.key(), two.unwrap().key());
        assert!(!format!("{one:?}").contains('A'));
    }

    proptest! {
        #[test]
        fn what_is_taken_can_stand_in_a_header(text in "\\PC{0,80}") {
            if let Ok(email) = Email::parse(&text) {
                prop_assert!(email.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert_eq!(email.as_str().matches('@').count(), 1);
                prop_assert!(!email.as_str().contains(['<', '>', ',', ';', ':', '"', '\\', ' ']));
            }
        }
    }
}
