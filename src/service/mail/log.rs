//! Mails without a mail server: an installation that is being tried out shows them in its log.

use async_trait::async_trait;
use tracing::{info, warn};

use super::{Mail, MailError, Mailer, masked};

/// Writes mails to the log, links and all; recipients are masked.
pub struct LogMailer(());

impl LogMailer {
    /// Says once that no mail will reach anybody.
    #[expect(clippy::new_without_default, reason = "it says something")]
    pub fn new() -> Self {
        warn!("`mail.url` is unset: mails go to this log, with the links in them, and to nobody");
        Self(())
    }
}

#[async_trait]
impl Mailer for LogMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let Mail { to, subject, text } = mail;
        info!(to = masked(to), subject, text, "a mail that is not sent");
        Ok(())
    }
}
