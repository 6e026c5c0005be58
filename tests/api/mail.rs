//! Mails, as a mail server that nobody here wrote takes and understands them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shunt::domain::secret::Secret;
use shunt::service::mail::{
    Enqueued, Mail, MailConfig, MailError, Mailer, Outbox, Pauses, SmtpMailer, texts,
};
use shunt::telemetry::metrics::{Metrics, ResultLabel};

use crate::harness::SOON;
use crate::smtp::SmtpServer;

fn config(url: &str) -> MailConfig {
    MailConfig {
        url: Some(Secret(url.to_owned())),
        from: Some("Links <links@go.example>".to_owned()),
        ..MailConfig::default()
    }
}

fn mail(to: &str) -> Mail {
    let (subject, text) = ("Grüße".to_owned(), "Żółw.\n.\nEnd\n".to_owned());
    Mail { to: to.to_owned(), subject, text }
}

async fn send(config: &MailConfig, to: &str) -> Result<(), MailError> {
    SmtpMailer::new(config).expect("a mailer").send(&mail(to)).await
}

/// An outbox with short pauses, and its counts.
struct Sender {
    outbox: Outbox,
    metrics: Arc<Metrics>,
}

impl Sender {
    fn to(url: &str, pauses: Pauses) -> Self {
        let metrics = Metrics::new();
        let mailer = Arc::new(SmtpMailer::new(&config(url)).expect("a mailer"));
        let outbox = Outbox::start_with(mailer, Arc::clone(&metrics), pauses, 10);
        Self { outbox, metrics }
    }

    fn counted(&self, result: &'static str) -> u64 {
        self.metrics.mails.get_or_create(&ResultLabel { result }).get()
    }

    /// Waits until so many mails have come to this end.
    async fn becomes(&self, result: &'static str, expected: u64) {
        let begun = Instant::now();
        while self.counted(result) != expected {
            assert!(begun.elapsed() < SOON, "{result} is {}", self.counted(result));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn short() -> Pauses {
    Pauses(vec![Duration::from_millis(10), Duration::from_millis(20)])
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_written() {
    let mut server = SmtpServer::start().await;
    send(&config(&server.url()), "margaret@example.com").await.expect("taken");
    let got = server.next_mail().await;
    assert_eq!(got.to, ["margaret@example.com"]);
    assert_eq!(got.from, "links@go.example");
    assert_eq!((got.subject.as_str(), got.text.as_str()), ("Grüße", "Żółw.\n.\nEnd\n"));
    assert_eq!((got.n_attachments, got.html, got.user.clone()), (0, false, None));
    assert_eq!(got.headers["auto-submitted"], "Auto-Submitted: auto-generated");
    assert_eq!(got.headers["from"], "From: Links <links@go.example>");
    assert!(got.headers["message-id"].ends_with("@go.example>"), "{:?}", got.headers);
    assert!(got.headers["content-type"].contains("text/plain; charset=utf-8"));
}

#[tokio::test]
async fn links_in_mails_arrive_whole() {
    let mut server = SmtpServer::start().await;
    let site =
        texts::MailSite { name: "go.example".to_owned(), url: "https://go.example/".to_owned() };
    let link = format!("https://go.example/verify?token={}", "aB3=".repeat(60));
    let mailer = SmtpMailer::new(&config(&server.url())).expect("a mailer");
    let hour = Duration::from_secs(3_600);
    mailer.send(&texts::verification(&site, "m@example.com", &link, hour)).await.expect("taken");
    assert_eq!(server.next_mail().await.link(), link);
}

#[tokio::test]
async fn hostile_texts_add_neither_headers_nor_recipients() {
    let mut server = SmtpServer::start().await;
    let mailer = SmtpMailer::new(&config(&server.url())).expect("a mailer");
    let plain = Mail { subject: "x".to_owned(), ..mail("margaret@example.com") };
    mailer.send(&plain).await.expect("taken");
    let n_headers = server.next_mail().await.n_headers;
    let hostile = "x\r\nBcc: b@evil.example\r\n\r\n.\r\nRCPT TO:<b@evil.example>\r\n";
    for mail in [
        Mail { subject: hostile.to_owned(), ..plain.clone() },
        Mail { text: hostile.to_owned(), ..plain.clone() },
    ] {
        mailer.send(&mail).await.expect("taken");
        let got = server.next_mail().await;
        assert_eq!((got.to, got.n_headers), (vec!["margaret@example.com".to_owned()], n_headers));
    }
    let to = "margaret@example.com>\r\nRCPT TO:<b@evil.example".to_owned();
    assert_eq!(mailer.send(&Mail { to, ..plain }).await, Err(MailError::Address));
    assert_eq!(server.n_unread(), 0);
}

#[tokio::test]
async fn what_is_put_off_is_tried_again_and_what_is_refused_is_not() {
    let mut server = SmtpServer::start().await;
    let sender = Sender::to(&server.url(), short());
    for to in ["refused@example.com", "busy-2@example.com", "busy-3@example.com"] {
        assert_eq!(sender.outbox.enqueue(mail(to)), Enqueued::Taken);
    }
    assert_eq!(server.next_mail().await.to, ["busy-2@example.com"]);
    sender.becomes("failed", 2).await;
    sender.becomes("sent", 1).await;
    assert_eq!(server.n_unread(), 0);
    assert!(sender.outbox.drain(SOON).await);
}

#[tokio::test]
async fn no_recipient_is_told_in_errors() {
    let server = SmtpServer::start().await;
    for (to, retryable) in [("refused@example.com", false), ("busy-9@example.com", true)] {
        let error = send(&config(&server.url()), to).await.expect_err("it is not taken");
        assert_eq!(error.retryable(), retryable, "{error}");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("example.com") && !text.contains("busy-9"), "{text}");
        // The server's own words are what an operator needs.
        assert!(text.contains(if retryable { "451" } else { "550" }), "{text}");
    }
}

#[tokio::test]
async fn a_server_that_wants_a_login_gets_one() {
    let mut server = SmtpServer::builder().login("links", "hunter2").start().await;
    send(&config(&server.url()), "m@example.com").await.expect("taken");
    assert_eq!(server.next_mail().await.user.as_deref(), Some("links"));

    let wrong = server.url().replace("hunter2", "hunter3");
    let error = send(&config(&wrong), "m@example.com").await.expect_err("a wrong password");
    assert!(!error.retryable() && error.to_string().contains("535"), "{error}");
    assert!(!error.to_string().contains("hunter3"), "{error}");
    let none = format!("smtp://127.0.0.1:{}", server.port());
    assert!(send(&config(&none), "m@example.com").await.is_err());
    assert_eq!(server.n_unread(), 0);
}

#[tokio::test]
async fn with_tls_required_nothing_is_sent_without_it() {
    let server = SmtpServer::start().await;
    let required = format!("{}?tls=required", server.url());
    let error = send(&config(&required), "m@example.com").await.expect_err("no STARTTLS");
    assert!(!error.retryable(), "{error}");
    assert_eq!(server.n_unread(), 0);

    let mut server = SmtpServer::builder().login("links", "hunter2").starttls().start().await;
    let error = send(&config(&server.url()), "m@example.com").await.expect_err("not vouched for");
    assert!(error.to_string().contains("certificate"), "{error}");
    let trusting = MailConfig { ca_file: Some(SmtpServer::ca_file()), ..config(&server.url()) };
    send(&trusting, "m@example.com").await.expect("taken");
    let got = server.next_mail().await;
    assert!(got.secure && got.user.is_some(), "{got:?}");
    assert_eq!(server.n_unread(), 0);
}

#[tokio::test]
async fn a_file_of_authorities_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    let absent = MailConfig { ca_file: Some(path), ..config("smtps://mail.example") };
    let error = SmtpMailer::new(&absent).err().expect("no file").to_string();
    assert!(error.contains("`mail.ca_file`") && error.contains("ca.pem"), "{error}");
}

#[tokio::test]
async fn a_server_that_comes_back_gets_what_waited() {
    let server = SmtpServer::start().await;
    let url = server.url();
    let stopped = server.stop();
    // Tried until the server is back: so many pauses that the test decides, not the clock.
    let sender = Sender::to(&url, Pauses(vec![Duration::from_millis(50); 1_000]));
    assert_eq!(sender.outbox.enqueue(mail("margaret@example.com")), Enqueued::Taken);
    let error = send(&config(&url), "m@example.com").await.expect_err("nobody listens");
    assert!(error.retryable(), "{error}");
    let mut server = stopped.start().await;
    assert_eq!(server.next_mail().await.to, ["margaret@example.com"]);
    sender.becomes("sent", 1).await;
    assert_eq!((sender.counted("failed"), server.n_unread()), (0, 0));
}
