//! Tickets: texts that are good for one thing, most of them once, and mostly sent by mail. 43
//! characters of random bytes behind a prefix that tells what they are for; the store keeps a
//! keyed digest.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const DIGEST_CONTEXT: &str = "shunt 2026 digest of a ticket";
const SECRET_BYTES: usize = 32;
const SECRET_CHARS: usize = 43;

/// Keyed hash of a ticket's text: all that is ever stored of it.
pub type TicketDigest = [u8; 32];

/// What a ticket is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TicketKind {
    /// Shows that mail to an address reaches its owner.
    Verification = 0,
    /// Sets a new password.
    PasswordReset = 1,
    /// Lets somebody into a workspace.
    Invitation = 2,
    /// Speaks for links that were made without an account.
    Anonymous = 3,
}

impl TicketKind {
    pub const ALL: &[Self] =
        &[Self::Verification, Self::PasswordReset, Self::Invitation, Self::Anonymous];

    /// What texts of this kind begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Verification => "shuntv_",
            Self::PasswordReset => "shuntp_",
            Self::Invitation => "shunti_",
            Self::Anonymous => "shunta_",
        }
    }

    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| *kind as u8 == byte)
    }
}

/// The text of a ticket: shown once, never stored, never printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    kind: TicketKind,
    text: String,
}

impl Ticket {
    /// Makes a ticket from 32 random bytes.
    pub fn new(kind: TicketKind, entropy: &[u8; SECRET_BYTES]) -> Self {
        let text = format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(entropy));
        Self { kind, text }
    }

    /// Accepts a well-formed text of this kind only, in the one spelling that there is of it.
    pub fn parse(kind: TicketKind, text: &str) -> Option<Self> {
        let secret = text.strip_prefix(kind.prefix())?;
        let mut bytes = [0; SECRET_BYTES];
        // The decoder refuses padding, and a last character with bits that say nothing.
        let n_bytes = match secret.len() {
            SECRET_CHARS => URL_SAFE_NO_PAD.decode_slice(secret, &mut bytes).ok()?,
            _ => return None,
        };
        (n_bytes == SECRET_BYTES).then(|| Self { kind, text: text.to_owned() })
    }

    /// blake3 keyed hash of the text, its prefix included, so that kinds never meet. `key` is the
    /// secret of the installation.
    pub fn digest(&self, key: &[u8; 32]) -> TicketDigest {
        let key = blake3::derive_key(DIGEST_CONTEXT, key);
        *blake3::keyed_hash(&key, self.text.as_bytes()).as_bytes()
    }

    pub const fn kind(&self) -> TicketKind {
        self.kind
    }

    /// The whole ticket: for its owner's eyes, once.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Ticket({:?} …)", self.kind)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_made_ticket_is_well_formed_and_of_its_kind_alone(entropy: [u8; 32]) {
            for kind in TicketKind::ALL {
                let ticket = Ticket::new(*kind, &entropy);
                prop_assert_eq!(ticket.as_str().len(), 50);
                prop_assert_eq!(ticket.kind(), *kind);
                for other in TicketKind::ALL {
                    let read = Ticket::parse(*other, ticket.as_str());
                    prop_assert_eq!(read, (kind == other).then(|| ticket.clone()));
                }
            }
        }

        #[test]
        fn one_wrong_character_makes_another_ticket_or_none(
            entropy: [u8; 32],
            position in 0..50_usize,
            replacement in "[ -~]",
        ) {
            let ticket = Ticket::new(TicketKind::PasswordReset, &entropy);
            let mut text = ticket.as_str().to_owned();
            prop_assume!(text[position..=position] != replacement);
            text.replace_range(position..=position, &replacement);
            if let Some(other) = Ticket::parse(TicketKind::PasswordReset, &text) {
                prop_assert_eq!(other.as_str(), text.as_str());
                prop_assert_ne!(other.digest(&[1; 32]), ticket.digest(&[1; 32]));
            }
        }

        #[test]
        fn any_text_parses_without_panic(text: String) {
            for kind in TicketKind::ALL {
                prop_assert_eq!(Ticket::parse(*kind, &text), None);
            }
        }
    }

    #[test]
    fn tickets_cut_extended_padded_or_spelled_otherwise_are_refused() {
        let ticket = Ticket::new(TicketKind::Verification, &[0; 32]);
        let text = ticket.as_str();
        for broken in [
            String::new(),
            text[..49].to_owned(),
            format!("{text}A"),
            format!("{text}="),
            format!("{text}\n"),
            format!(" {text}"),
            format!("{}B", &text[..49]),
            format!("{}+", &text[..49]),
            format!("{}=", &text[..49]),
            format!("shuntv_{}a", "ä".repeat(21)),
            text.to_uppercase(),
        ] {
            assert_eq!(Ticket::parse(TicketKind::Verification, &broken), None, "{broken}");
        }
    }

    #[test]
    fn digests_differ_by_kind_and_by_key() {
        let digest = |kind, key| Ticket::new(kind, &[5; 32]).digest(&[key; 32]);
        assert_ne!(digest(TicketKind::Invitation, 1), digest(TicketKind::Anonymous, 1));
        assert_ne!(digest(TicketKind::Invitation, 1), digest(TicketKind::Invitation, 2));
    }

    #[test]
    fn kinds_are_kept_as_bytes() {
        for kind in TicketKind::ALL {
            assert_eq!(TicketKind::from_byte(*kind as u8), Some(*kind));
        }
        assert_eq!(TicketKind::from_byte(4), None);
    }

    #[test]
    fn a_ticket_is_never_printed_by_debug() {
        let ticket = Ticket::new(TicketKind::Invitation, &[5; 32]);
        assert!(!format!("{ticket:?}").contains(&ticket.as_str()[7..]));
    }
}
