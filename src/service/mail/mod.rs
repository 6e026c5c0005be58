//! Mail: plain text to one recipient, handed to a mail server behind the answer.
//!
//! An address of a recipient is personal data: it is in no log and in no text of an error.

mod config;
mod log;
mod message;
mod outbox;
mod smtp;
pub mod texts;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use config::{MailConfig, MailStartError};
pub use log::LogMailer;
pub use outbox::{Enqueued, Outbox, Pauses};
pub use smtp::SmtpMailer;

/// Hands mails to whoever delivers them.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Returns when the mail is somebody else's to deliver. Kinds: all of `MailError`.
    async fn send(&self, mail: &Mail) -> Result<(), MailError>;
}

/// One mail. Its text may hold what only the recipient may know.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// The bare address, as in `somebody@example.com`.
    pub to: String,
    pub subject: String,
    /// Plain text, lines parted by `\n`.
    pub text: String,
}

/// Why a mail was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    #[error("the recipient's address is not one that mail can be sent to")]
    Address,
    #[error("the mail cannot be written: {0}")]
    Content(String),
    #[error("the mail server refuses it: {0}")]
    Refused(String),
    #[error("the mail server does not take it now: {0}")]
    Deferred(String),
}

impl MailError {
    /// Whether the same mail may be taken later.
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Deferred(_))
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Mail({}, {:?})", masked(&self.to), self.subject)
    }
}

/// The mailer that the settings ask for. Call inside the runtime that is to send.
pub fn mailer(config: &MailConfig) -> Result<Arc<dyn Mailer>, MailStartError> {
    match &config.url {
        Some(_) => Ok(Arc::new(SmtpMailer::new(config)?)),
        None => Ok(Arc::new(LogMailer::new())),
    }
}

/// An address as a log may show it: `m…@example.com`.
pub fn masked(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let first: String = local.chars().take(1).filter(|first| first.is_alphanumeric()).collect();
    let host: String = domain.chars().filter(|c| !c.is_control()).collect();
    format!("{first}…@{host}")
}

/// What a server said, without the address it said it about.
fn without_address(text: &str, address: &str) -> String {
    let local = address.rsplit_once('@').map_or(address, |(local, _)| local).to_lowercase();
    let tells = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        word.contains('@') || bare == local || word.to_lowercase() == local
    };
    let words = text.split_whitespace().map(|word| if tells(word) { "…" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_by_its_first_letter_and_its_host() {
        for (address, shown) in [
            ("margaret@example.com", "m…@example.com"),
            ("ż@example.com", "ż…@example.com"),
            ("\"a@b\"@example.com", "…@example.com"),
            ("margaret@example.com\r\nx: y", "m…@example.comx: y"),
            ("margaret", "m…@"),
            ("", "…@"),
        ] {
            assert_eq!(masked(address), shown);
        }
        let mail = Mail {
            to: "margaret@example.com".to_owned(),
            subject: "Hello".to_owned(),
            text: "token".to_owned(),
        };
        assert_eq!(format!("{mail:?}"), "Mail(m…@example.com, \"Hello\")");
    }

    #[test]
    fn what_a_server_says_is_told_without_the_address() {
        let address = "Margaret.H@example.com";
        for (said, told) in [
            ("5.1.1 <margaret.h@example.com>: no such user", "5.1.1 … no such user"),
            ("5.1.1 user 'margaret.h' unknown", "5.1.1 user … unknown"),
            ("5.7.1 Relay\r\naccess denied", "5.7.1 Relay access denied"),
            ("RCPT TO:<x@y> failed", "RCPT … failed"),
        ] {
            assert_eq!(without_address(said, address), told);
        }
    }

    #[test]
    fn only_what_the_server_puts_off_is_tried_again() {
        assert!(MailError::Deferred(String::new()).retryable());
        for error in [
            MailError::Address,
            MailError::Content(String::new()),
            MailError::Refused(String::new()),
        ] {
            assert!(!error.retryable(), "{error}");
        }
    }
}
