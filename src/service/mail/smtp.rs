//! Mails by SMTP.

use std::time::Duration;

use async_trait::async_trait;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::config::{Security, Target};
use super::message::message;
use super::{Mail, MailConfig, MailError, MailStartError, Mailer, without_address};

/// Times `mail.timeout` that a whole mail may take, from the greeting to the end.
const TIMEOUTS_PER_MAIL: u32 = 6;

/// Sends each mail over a connection of its own: a conversation that is cut short must not become
/// the beginning of the next.
pub struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    send_max: Duration,
}

impl SmtpMailer {
    /// Reads `mail.ca_file`; connects to nobody yet.
    pub fn new(config: &MailConfig) -> Result<Self, MailStartError> {
        let unset = || MailStartError::Setting("`mail.url` and `mail.from` must be set".to_owned());
        let target = config.target().map_err(MailStartError::Setting)?.ok_or_else(unset)?;
        let from = config.sender().map_err(MailStartError::Setting)?.ok_or_else(unset)?;
        let timeout = config.timeout.0;
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(target.host.as_str())
                .port(target.port)
                .timeout(Some(timeout))
                .tls(tls(config, &target)?);
        if let Some((user, password)) = target.login {
            builder = builder.credentials(Credentials::new(user, password));
        }
        if let Some(name) = target.hello {
            builder = builder.hello_name(ClientId::Domain(name));
        }
        Ok(Self { transport: builder.build(), from, send_max: timeout * TIMEOUTS_PER_MAIL })
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = message(&self.from, mail)?;
        match tokio::time::timeout(self.send_max, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(refusal(&error, &mail.to)),
            Err(_) => Err(MailError::Deferred("it takes too long".to_owned())),
        }
    }
}

/// What the server could not do, or would not do to us, stays so: only a `4xx` and trouble on the
/// way there are tried again.
fn refusal(error: &lettre::transport::smtp::Error, to: &str) -> MailError {
    let said = without_address(&error.to_string(), to);
    match error.is_permanent() || error.is_client() {
        true => MailError::Refused(said),
        false => MailError::Deferred(said),
    }
}

fn tls(config: &MailConfig, target: &Target) -> Result<Tls, MailStartError> {
    if target.security == Security::None {
        return Ok(Tls::None);
    }
    let mut builder = TlsParameters::builder(target.host.clone());
    if let Some(path) = &config.ca_file {
        let pem = std::fs::read(path)
            .map_err(|error| MailStartError::CaFile { path: path.clone(), error })?;
        let certificate = Certificate::from_pem(&pem).map_err(|error| {
            MailStartError::Certificates { path: path.clone(), reason: error.to_string() }
        })?;
        builder = builder.add_root_certificate(certificate);
    }
    let parameters = builder.build().map_err(|error| MailStartError::Tls(error.to_string()))?;
    Ok(match target.security {
        Security::None => Tls::None,
        Security::Opportunistic => Tls::Opportunistic(parameters),
        Security::Required => Tls::Required(parameters),
        Security::Wrapped => Tls::Wrapper(parameters),
    })
}
