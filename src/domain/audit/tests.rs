//! The log, its encoding and its chain, over entries of every kind.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::domain::code::{Code, DomainId, LinkKey};
use crate::domain::destination::Destination;

fn ids() -> impl Strategy<Value = Id> {
    any::<u64>().prop_map(Id)
}

fn shown() -> impl Strategy<Value = Shown> {
    prop_oneof![
        Just(Shown::Nothing),
        ids().prop_map(Shown::Key),
        ids().prop_map(Shown::Session),
        Just(Shown::CommandLine),
        Just(Shown::Provider),
    ]
}

fn acts() -> impl Strategy<Value = Act> {
    let from = any::<Option<IpAddr>>().prop_map(|address| address.map(ClientNetwork::of));
    (any::<i64>(), ids(), proptest::option::of(ids()), shown(), from).prop_map(
        |(at, workspace, actor, shown, from)| Act {
            at: Timestamp(at),
            workspace,
            actor,
            shown,
            from,
        },
    )
}

fn targets() -> impl Strategy<Value = Target> {
    let kinds = proptest::sample::select(TargetKind::ALL.to_vec());
    (kinds, ids()).prop_map(|(kind, id)| Target { kind, id })
}

fn drafts() -> impl Strategy<Value = AuditDraft> {
    let action = proptest::sample::select(AuditAction::ALL.to_vec());
    let versions = (any::<Option<u32>>(), any::<Option<u32>>());
    (acts(), action, proptest::option::of(targets()), versions, ".{0,90}").prop_map(
        |(act, action, target, (before, after), detail)| {
            AuditDraft { before, after, ..act.entry(action, target) }.saying(detail)
        },
    )
}

/// Seals bodies as the store does.
fn chain(key: &AuditKey, bodies: &[Vec<u8>]) -> Vec<AuditHash> {
    let mut before = GENESIS;
    let sealed = (1..).zip(bodies).map(|(seq, body)| {
        before = key.link(&before, seq, body);
        before
    });
    sealed.collect()
}

proptest! {
    #[test]
    fn an_entry_comes_back_from_its_bytes(draft in drafts()) {
        prop_assert_eq!(decode(&encode(&draft)), Some(draft));
    }

    #[test]
    fn entries_that_differ_have_bytes_that_differ(one in drafts(), other in drafts()) {
        prop_assert_eq!(one == other, encode(&one) == encode(&other));
    }

    #[test]
    fn no_other_bytes_are_an_entry(draft in drafts(), at in any::<prop::sample::Index>(), by: u8) {
        let mut bytes = encode(&draft);
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        if let Some(read) = decode(&bytes) {
            prop_assert_eq!(encode(&read), bytes);
        }
        let whole = encode(&draft);
        prop_assert_eq!(decode(&whole[..at]), None);
        prop_assert_eq!(decode(&[&whole[..], &[0]].concat()), None);
    }

    #[test]
    fn a_changed_byte_breaks_the_chain_there(
        drafts in prop::collection::vec(drafts(), 1..12),
        entry in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        by in 1_u8..,
    ) {
        let key = AuditKey::of(&[7; 32]);
        let mut bodies: Vec<_> = drafts.iter().map(encode).collect();
        let hashes = chain(&key, &bodies);
        let entry = entry.index(bodies.len());
        let at = at.index(bodies[entry].len());
        bodies[entry][at] ^= by;
        let others = chain(&key, &bodies);
        prop_assert_eq!(&hashes[..entry], &others[..entry]);
        prop_assert!(hashes[entry..].iter().zip(&others[entry..]).all(|(one, other)| one != other));
    }
}

#[test]
fn a_seal_depends_on_the_key_the_place_and_what_came_before() {
    let (key, other) = (AuditKey::of(&[7; 32]), AuditKey::of(&[8; 32]));
    let seal = key.link(&GENESIS, 1, b"body");
    assert_ne!(seal, other.link(&GENESIS, 1, b"body"));
    assert_ne!(seal, key.link(&GENESIS, 2, b"body"));
    assert_ne!(seal, key.link(&[1; 32], 1, b"body"));
    assert_ne!(key.head(1, &seal), key.head(2, &seal));
    assert_ne!(key.head(1, &seal), other.head(1, &seal));
    assert_ne!(key.head(1, &seal), key.link(&seal, 1, b""), "ends are not entries");
}

fn link() -> Link {
    let key = LinkKey::new(DomainId::DEFAULT, Code::parse(b"spring").unwrap());
    Link::plain(Id(9), Id(2), key, Destination::from_stored("https://a.example/").unwrap())
}

#[test]
fn an_entry_names_versions_and_fields_and_nothing_that_somebody_wrote() {
    let act = Act::on_command_line(Id(2), Timestamp(5));
    let old = Link { title: "private@mail.example".into(), ..link() };
    let made = act.created(&old);
    assert_eq!((made.before, made.after), (None, Some(1)));
    let moved = LinkKey::new(DomainId::DEFAULT, Code::parse(b"summer").unwrap());
    let new = Link { version: 2, code: moved.code, tags: vec!["private".into()], ..old.clone() };
    let changed = act.changed(&old, &new);
    assert_eq!((changed.before, changed.after), (Some(1), Some(2)));
    assert_eq!((changed.action, &*changed.detail), (AuditAction::LinkChange, "alias,tags"));
    let gone = Link { version: 3, status: LinkStatus::Deleted, ..new.clone() };
    let deleted = act.changed(&new, &gone);
    assert_eq!(
        (deleted.action, deleted.before, deleted.after),
        (AuditAction::LinkDelete, Some(2), None)
    );
    for entry in [made, changed, deleted] {
        let bytes = encode(&entry);
        assert!(!bytes.windows(7).any(|part| part == b"private"));
    }
}

#[test]
fn a_detail_has_a_bound_and_stays_text() {
    let long = "ü".repeat(DETAIL_BYTES_MAX);
    let draft = Act::on_command_line(Id(2), Timestamp(5)).entry(AuditAction::UserLogin, None);
    let draft = draft.saying(long);
    assert_eq!(draft.detail.len(), DETAIL_BYTES_MAX);
    assert_eq!(decode(&encode(&draft)), Some(draft));
}

#[test]
fn words_are_told_apart() {
    for action in AuditAction::ALL {
        assert_eq!(AuditAction::from_word(action.as_str()), Some(*action));
    }
    for kind in TargetKind::ALL {
        assert_eq!(TargetKind::from_word(kind.as_str()), Some(*kind));
    }
    assert_eq!(AuditAction::from_word("link.created"), None);
}
