//! Entries as bytes: every entry has one encoding, and no other bytes are one.

use super::{Act, AuditAction, AuditDraft, DETAIL_BYTES_MAX, Shown, Target, TargetKind};
use crate::domain::id::Id;
use crate::domain::network::ClientNetwork;
use crate::domain::time::Timestamp;

/// First byte of what is written here.
const FORM: u8 = 1;
const NETWORK_BYTES: usize = 9;

/// The bytes of an entry.
pub fn encode(draft: &AuditDraft) -> Vec<u8> {
    let AuditDraft { act, action, target, before, after, detail } = draft;
    let mut bytes = Vec::with_capacity(96);
    bytes.push(FORM);
    bytes.extend(act.at.as_millis().to_le_bytes());
    bytes.extend(act.workspace.0.to_le_bytes());
    put_number(&mut bytes, act.actor.map(|id| id.0.to_le_bytes()));
    match act.shown {
        Shown::Nothing => bytes.push(0),
        Shown::Key(id) => put_tagged(&mut bytes, 1, &id.0.to_le_bytes()),
        Shown::Session(id) => put_tagged(&mut bytes, 2, &id.0.to_le_bytes()),
        Shown::CommandLine => bytes.push(3),
        Shown::Provider => bytes.push(4),
    }
    match &act.from {
        None => bytes.push(0),
        Some(network) => put_tagged(&mut bytes, 1, network.as_bytes()),
    }
    put_text(&mut bytes, action.as_str());
    match target {
        None => bytes.push(0),
        Some(Target { kind, id }) => {
            put_tagged(&mut bytes, 1, &id.0.to_le_bytes());
            put_text(&mut bytes, kind.as_str());
        }
    }
    put_number(&mut bytes, before.map(u32::to_le_bytes));
    put_number(&mut bytes, after.map(u32::to_le_bytes));
    put_text(&mut bytes, detail);
    bytes
}

/// The entry that was encoded; `None` for all other bytes.
pub fn decode(bytes: &[u8]) -> Option<AuditDraft> {
    let mut rest = Rest(bytes);
    if rest.byte()? != FORM {
        return None;
    }
    let act = Act {
        at: Timestamp(i64::from_le_bytes(rest.array()?)),
        workspace: rest.id()?,
        actor: rest.option(Rest::id)?,
        shown: match rest.byte()? {
            0 => Shown::Nothing,
            1 => Shown::Key(rest.id()?),
            2 => Shown::Session(rest.id()?),
            3 => Shown::CommandLine,
            4 => Shown::Provider,
            _ => return None,
        },
        from: rest.option(|rest| ClientNetwork::from_bytes(rest.take(NETWORK_BYTES)?))?,
    };
    let action = AuditAction::from_word(rest.text()?)?;
    let target = rest.option(|rest| {
        let id = rest.id()?;
        Some(Target { kind: TargetKind::from_word(rest.text()?)?, id })
    })?;
    let number = |rest: &mut Rest<'_>| Some(u32::from_le_bytes(rest.array()?));
    let (before, after) = (rest.option(number)?, rest.option(number)?);
    let detail = rest.text()?;
    let is_whole = rest.0.is_empty() && detail.len() <= DETAIL_BYTES_MAX;
    let detail = detail.to_owned().into();
    is_whole.then_some(AuditDraft { act, action, target, before, after, detail })
}

fn put_number<const N: usize>(bytes: &mut Vec<u8>, number: Option<[u8; N]>) {
    match number {
        None => bytes.push(0),
        Some(number) => put_tagged(bytes, 1, &number),
    }
}

fn put_tagged(bytes: &mut Vec<u8>, tag: u8, value: &[u8]) {
    bytes.push(tag);
    bytes.extend(value);
}

/// Words and details are shorter than 256 bytes.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(DETAIL_BYTES_MAX)];
    put_tagged(bytes, text.len() as u8, text.as_bytes());
}

/// What is left to read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn id(&mut self) -> Option<Id> {
        self.array().map(u64::from_le_bytes).map(Id)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.byte()?;
        std::str::from_utf8(self.take(length.into())?).ok()
    }

    /// `None` when the bytes are none; `Some(None)` for what is left out.
    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.byte()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }
}
