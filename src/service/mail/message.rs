//! A mail as bytes: headers that no text of a caller can add to.

use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};

use super::{Mail, MailError};

/// Builds the message. Kinds: `Address`, `Content`.
pub(super) fn message(from: &Mailbox, mail: &Mail) -> Result<Message, MailError> {
    let to: Address = mail.to.parse().map_err(|_| MailError::Address)?;
    // Quoted local parts may hold such characters; nobody has an address like that.
    if mail.to.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(MailError::Address);
    }
    let subject: String =
        mail.subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| MailError::Content(error.to_string()))?;
    let id = format!("<{:032x}@{}>", u128::from_ne_bytes(random), from.email.domain());
    // So that no machine answers: RFC 3834.
    let automatic = HeaderValue::new(
        HeaderName::new_from_ascii_str("Auto-Submitted"),
        "auto-generated".to_owned(),
    );
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(subject)
        .date_now()
        .message_id(Some(id))
        .raw_header(automatic)
        .header(ContentType::TEXT_PLAIN)
        .body(mail.text.clone())
        .map_err(|error| MailError::Content(error.to_string()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mail(to: &str, subject: &str, text: &str) -> Mail {
        Mail { to: to.to_owned(), subject: subject.to_owned(), text: text.to_owned() }
    }

    fn built(mail: &Mail) -> Result<String, MailError> {
        let from = "Links <links@go.example>".parse().unwrap();
        Ok(String::from_utf8(message(&from, mail)?.formatted()).unwrap())
    }

    /// Names of the headers, without continuations.
    fn headers(message: &str) -> Vec<String> {
        let (head, _) = message.split_once("\r\n\r\n").unwrap();
        let lines = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
        lines.map(|line| line.split_once(':').unwrap().0.to_owned()).collect()
    }

    const EXPECTED: [&str; 8] = [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "Content-Type",
        "Content-Transfer-Encoding",
    ];

    #[test]
    fn a_mail_has_exactly_the_headers_it_needs() {
        let message = built(&mail("margaret@example.com", "Hello", "Hi.\nBye.\n")).unwrap();
        assert_eq!(headers(&message), EXPECTED);
        assert!(message.contains("\r\nAuto-Submitted: auto-generated\r\n"), "{message}");
        assert!(message.contains("@go.example>\r\n"), "{message}");
        assert!(message.ends_with("\r\n\r\nHi.\r\nBye.\r\n"), "{message}");
    }

    #[test]
    fn a_subject_is_one_line_whatever_is_in_it() {
        let message = built(&mail("margaret@example.com", "a\r\nb\tc\0d", "t")).unwrap();
        assert!(message.contains("\r\nSubject: a  b c d\r\n"), "{message}");
    }

    #[test]
    fn no_address_adds_a_header_or_a_recipient() {
        for to in [
            "a@example.com\r\nBcc: b@example.com",
            "a@example.com\nBcc: b@example.com",
            "a@example.com, b@example.com",
            "a@example.com> b@example.com",
            "Somebody <a@example.com>",
            "\"a\r\nBcc: b\"@example.com",
            "\"a b\"@example.com",
            "a@example.com\0",
            "a@exa\tmple.com",
            "a@b@example.com",
            "@example.com",
            "a@",
            "a",
            "",
        ] {
            assert_eq!(built(&mail(to, "s", "t")).unwrap_err(), MailError::Address, "{to:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_adds_a_header(subject in any::<String>(), text in any::<String>()) {
            for subject in [subject.clone(), format!("x\r\nBcc: a@b.example\r\n\r\n{subject}")] {
                let message = built(&mail("margaret@example.com", &subject, &text)).unwrap();
                prop_assert_eq!(headers(&message), EXPECTED, "{:?}", message);
                prop_assert!(message.is_ascii());
            }
        }
    }
}
