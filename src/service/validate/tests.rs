//! What drafts become, and what is said of those that become nothing.

use std::sync::Arc;

use super::*;
use crate::domain::code::{DomainId, LinkKey};
use crate::domain::destination::BlockedHosts;
use crate::domain::id::Id;
use crate::domain::scheme::CodeScheme;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn rules() -> Rules {
    Rules {
        policy: DestinationPolicy::default(),
        codes: CodesConfig::default(),
        domain: "go.example".to_owned(),
    }
}

fn set(text: &str) -> Field<String> {
    Field::Set(text.to_owned())
}

fn draft() -> LinkDraft {
    LinkDraft { destination: set("https://shop.example/"), ..LinkDraft::default() }
}

fn new(draft: LinkDraft) -> Result<(Destination, Edit, CodePlan), Vec<(String, FieldCode)>> {
    judge_new(draft, &rules(), NOW).map_err(named)
}

fn named(errors: Vec<FieldError>) -> Vec<(String, FieldCode)> {
    errors.into_iter().map(|error| (error.pointer, error.code)).collect()
}

fn link() -> Link {
    let key = LinkKey::new(DomainId::DEFAULT, Code::parse(b"1abcdefg").expect("a code"));
    let destination = Destination::from_stored("https://shop.example/").expect("a URL");
    Link {
        title: "Shop".to_owned(),
        tags: vec!["mail".to_owned()],
        redirect_status: RedirectStatus::MovedPermanently,
        starts_at: Some(NOW.plus_millis(1_000)),
        max_clicks: Some(5),
        forward_query: false,
        external_id: Some("x".to_owned()),
        created_at: NOW,
        updated_at: NOW,
        ..Link::plain(Id(1), Id(2), key, destination)
    }
}

fn changed(draft: LinkDraft) -> Result<Link, Vec<(String, FieldCode)>> {
    let mut link = link();
    judge_change(draft, &link, &rules(), NOW).map_err(named)?.apply(&mut link);
    Ok(link)
}

#[test]
fn every_fault_of_a_draft_is_named() {
    let bad = LinkDraft {
        destination: set("javascript:alert(1)"),
        alias: set("api"),
        domain: set("other.example"),
        title: set(&"x".repeat(TITLE_CHARS_MAX + 1)),
        notes: set("a\r\nb"),
        tags: Field::Set(vec!["ok".into(), " ".into(), "a\tb".into(), "y".repeat(51)]),
        redirect_status: Field::Set(200),
        expires_at: Field::Set(NOW),
        expired_url: set(""),
        max_clicks: Field::Set(0),
        external_id: set(""),
        code_length: Field::Set(8),
        faults: vec![FieldError::new("/forward_query", FieldCode::WrongType, "")],
        ..LinkDraft::default()
    };
    let mut found = new(bad).expect_err("nothing in it is right");
    found.sort_by(|left, right| left.0.cmp(&right.0));
    let expected = [
        ("/alias", FieldCode::InvalidAlias),
        ("/code_length", FieldCode::NotAvailable),
        ("/destination", FieldCode::InvalidUrl),
        ("/domain", FieldCode::InvalidValue),
        ("/expired_url", FieldCode::InvalidUrl),
        ("/expires_at", FieldCode::OutOfRange),
        ("/external_id", FieldCode::OutOfRange),
        ("/forward_query", FieldCode::WrongType),
        ("/max_clicks", FieldCode::OutOfRange),
        ("/notes", FieldCode::ControlCharacter),
        ("/redirect_status", FieldCode::InvalidValue),
        ("/tags/1", FieldCode::InvalidValue),
        ("/tags/2", FieldCode::ControlCharacter),
        ("/tags/3", FieldCode::TooLong),
        ("/title", FieldCode::TooLong),
    ];
    assert_eq!(found, expected.map(|(pointer, code)| (pointer.to_owned(), code)));
}

#[test]
fn a_blocked_host_is_named_as_such_in_each_field_and_asked_about_only_when_given() {
    let mut blocked = BlockedHosts::default();
    blocked.add("shop.example").expect("a host");
    let policy = DestinationPolicy { blocked: Arc::new(blocked), ..DestinationPolicy::default() };
    let rules = Rules { policy, ..rules() };
    let out = || set("https://www.shop.example/out");
    let both = LinkDraft { expired_url: out(), ..draft() };
    let expected = [("/destination", FieldCode::DestinationBlocked)];
    let with_out = [expected[0], ("/expired_url", FieldCode::DestinationBlocked)];
    let owned = |pairs: &[(&str, FieldCode)]| -> Vec<_> {
        pairs.iter().map(|(pointer, code)| ((*pointer).to_owned(), *code)).collect()
    };
    let new = |draft| judge_new(draft, &rules, NOW).map(drop).map_err(named);
    let change = |draft| judge_change(draft, &link(), &rules, NOW).map(drop).map_err(named);
    assert_eq!(new(draft()), Err(owned(&expected)));
    assert_eq!(new(both.clone()), Err(owned(&with_out)));
    assert_eq!(change(draft()), Err(owned(&expected)));
    assert_eq!(change(both), Err(owned(&with_out)));
    // The link leads there already.
    let title = LinkDraft { title: set("Summer"), ..LinkDraft::default() };
    assert_eq!(change(title), Ok(()));
}

#[test]
fn texts_at_their_bounds_are_taken() {
    let good = LinkDraft {
        title: set(&"ü".repeat(TITLE_CHARS_MAX)),
        notes: set(&"a\n".repeat(NOTES_CHARS_MAX / 2)),
        tags: Field::Set(vec!["ü".repeat(TAG_CHARS_MAX); TAGS_MAX]),
        external_id: set(&"x".repeat(EXTERNAL_ID_BYTES_MAX)),
        max_clicks: Field::Set(CLICK_LIMIT_MAX),
        expires_in: Field::Set(EXPIRES_IN_MAX),
        domain: set("GO.example"),
        ..draft()
    };
    assert!(new(good).is_ok());
    let tags = Field::Set(vec!["x".to_owned(); TAGS_MAX + 1]);
    let found = new(LinkDraft { tags, ..draft() }).expect_err("one tag too many");
    assert_eq!(found, [("/tags".to_owned(), FieldCode::TooMany)]);
}

#[test]
fn tags_are_trimmed_and_equal_ones_kept_once() {
    let tags = ["b", " a ", "b ", "B"].map(str::to_owned).to_vec();
    let (_, edit, _) = new(LinkDraft { tags: Field::Set(tags), ..draft() }).expect("good tags");
    assert_eq!(edit.tags, Some(vec!["b".to_owned(), "a".to_owned(), "B".to_owned()]));
}

#[test]
fn expiry_is_told_once_lies_ahead_and_follows_the_start() {
    let soon = NOW.plus_millis(5_000);
    let expires_in = LinkDraft { expires_in: Field::Set(5), ..draft() };
    let (_, edit, _) = new(expires_in).expect("five seconds are fine");
    assert_eq!(edit.expires_at, Some(Some(soon)));
    for (bad, pointer) in [
        (
            LinkDraft { expires_in: Field::Set(5), expires_at: Field::Set(soon), ..draft() },
            "/expires_in",
        ),
        (LinkDraft { expires_in: Field::Set(0), ..draft() }, "/expires_in"),
        (LinkDraft { expires_in: Field::Set(u64::MAX), ..draft() }, "/expires_in"),
        (LinkDraft { expires_at: Field::Set(NOW), ..draft() }, "/expires_at"),
        (
            LinkDraft { expires_at: Field::Set(soon), starts_at: Field::Set(soon), ..draft() },
            "/expires_at",
        ),
    ] {
        let found = new(bad).expect_err(pointer);
        assert_eq!(found.first().map(|(pointer, _)| pointer.as_str()), Some(pointer));
    }
}

#[test]
fn a_missing_destination_is_required_and_one_of_the_wrong_type_is_not_missing() {
    let missing = new(LinkDraft::default()).expect_err("nothing to lead to");
    assert_eq!(missing, [("/destination".to_owned(), FieldCode::Required)]);
    let wrong = FieldError::new("/destination", FieldCode::WrongType, "");
    let found = new(LinkDraft { faults: vec![wrong], ..LinkDraft::default() });
    assert_eq!(found.expect_err("a number"), [("/destination".to_owned(), FieldCode::WrongType)]);
}

#[test]
fn pointers_begin_where_the_draft_stands() {
    let found = new(LinkDraft { pointer: "/links/7".to_owned(), ..LinkDraft::default() });
    let expected = ("/links/7/destination".to_owned(), FieldCode::Required);
    assert_eq!(found.expect_err("nothing to lead to"), [expected]);
}

#[test]
fn the_code_can_be_chosen_where_the_operator_allows() {
    let choice = LinkDraft {
        code_scheme: Field::Set(CodeScheme::Random),
        code_length: Field::Set(12),
        ..draft()
    };
    assert!(new(choice.clone()).is_err());
    let mut free = rules();
    free.codes.allow_choice = true;
    let (.., plan) = judge_new(choice, &free, NOW).expect("a free choice");
    assert_eq!(plan, CodePlan { scheme: CodeScheme::Random, length: 12 });
    let sealed = LinkDraft { code_length: Field::Set(12), ..draft() };
    assert!(judge_new(sealed, &free, NOW).is_err(), "sealed codes have one length");
    let same = LinkDraft { code_scheme: Field::Set(CodeScheme::Sealed), ..draft() };
    assert!(new(same).is_ok(), "what is configured anyway may be said");
}

#[test]
fn absent_keeps_and_null_clears() {
    let before = link();
    assert_eq!(changed(LinkDraft::default()), Ok(before.clone()));
    let cleared = changed(LinkDraft {
        title: Field::Null,
        tags: Field::Null,
        redirect_status: Field::Null,
        starts_at: Field::Null,
        max_clicks: Field::Null,
        forward_query: Field::Null,
        external_id: Field::Null,
        ..LinkDraft::default()
    });
    let expected = Link {
        title: String::new(),
        tags: Vec::new(),
        redirect_status: RedirectStatus::Found,
        starts_at: None,
        max_clicks: None,
        forward_query: true,
        external_id: None,
        ..before
    };
    assert_eq!(cleared, Ok(expected));
}

#[test]
fn what_a_link_cannot_be_without_is_not_cleared() {
    let found = changed(LinkDraft {
        destination: Field::Null,
        alias: Field::Null,
        status: Field::Null,
        ..LinkDraft::default()
    });
    let pointers: Vec<_> = found.expect_err("all three stay").into_iter().map(|(p, _)| p).collect();
    assert_eq!(pointers, ["/alias", "/destination", "/status"]);
}

#[test]
fn a_change_is_judged_with_what_stays() {
    let early = LinkDraft { expires_at: Field::Set(NOW.plus_millis(500)), ..LinkDraft::default() };
    let found = changed(early).expect_err("it would expire before it starts");
    assert_eq!(found, [("/expires_at".to_owned(), FieldCode::Contradiction)]);
}

#[test]
fn the_own_code_is_no_new_alias() {
    let same = LinkDraft { alias: set("1abcdefg"), ..LinkDraft::default() };
    assert!(judge_change(same, &link(), &rules(), NOW).is_ok_and(|edit| edit.alias.is_none()));
    let other = LinkDraft { alias: set("2abcdefg"), ..LinkDraft::default() };
    assert_eq!(
        changed(other).expect_err("it looks generated"),
        [("/alias".to_owned(), FieldCode::InvalidAlias)]
    );
}

#[test]
fn nobody_blocks_or_deletes_by_status() {
    for status in [LinkStatus::Blocked, LinkStatus::Deleted] {
        let draft = LinkDraft { status: Field::Set(status), ..LinkDraft::default() };
        assert_eq!(
            changed(draft).expect_err("not the owner's to set"),
            [("/status".to_owned(), FieldCode::InvalidValue)]
        );
    }
}
