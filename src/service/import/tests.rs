//! Rows of an import: what is taken, what is refused, and why.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::domain::click::ClickTotals;
use crate::domain::code::DomainId;
use crate::domain::destination::{BlockedHosts, DestinationPolicy};
use crate::domain::link::{CreatedVia, Link, LinkStatus, RedirectStatus};
use crate::domain::scheme::CodeScheme;
use crate::domain::seal::{SealKey, Sealer};
use crate::domain::time::Timestamp;
use crate::service::codes::CodesConfig;

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn sealer(byte: u8) -> Sealer {
    Sealer::new(vec![SealKey { version: 1, secret: [byte; 32] }])
}

fn context() -> ImportContext {
    ImportContext {
        workspace: Id(5),
        created_by: Some(Id(6)),
        policy: DestinationPolicy {
            own_hosts: vec!["sho.rt".into()],
            ..DestinationPolicy::default()
        },
        domain: "sho.rt".into(),
        sealer: sealer(1),
        codes: CodesConfig::default(),
        now: NOW,
    }
}

fn row() -> ImportRow {
    ImportRow {
        code: Some("spring".into()),
        destination: Some("https://example.com/spring".into()),
        ..ImportRow::default()
    }
}

fn link_of(row: ImportRow) -> ImportedLink {
    row.judge(&context()).unwrap().into_link(Id(9), None)
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "cases are written in place")]
fn assert_refused(row: ImportRow, field: &str) {
    let error = row.clone().judge(&context()).expect_err("the row must be refused");
    assert_eq!(error.field, field, "{row:?}: {error}");
}

/// Counts up; codes are `n1`, `n2`, …
#[derive(Default)]
struct CountingNames(AtomicU64);

#[async_trait]
impl Names for CountingNames {
    async fn id(&self) -> Result<Id, NamingError> {
        Ok(Id(self.0.fetch_add(1, Ordering::Relaxed) + 1))
    }

    async fn code(
        &self,
        _plan: CodePlan,
        id: Id,
        _destination: &Destination,
    ) -> Result<NewCode, NamingError> {
        Ok(NewCode { code: Code::parse(format!("n{id}").as_bytes())?, series: None })
    }
}

#[test]
fn a_row_with_a_destination_alone_becomes_a_plain_link() {
    let row = ImportRow { code: None, ..row() };
    let judged = row.judge(&context()).unwrap();
    assert!(judged.needs_code());
    let made = Code::parse(b"made").unwrap();
    let imported = judged.into_link(Id(9), Some(NewCode { code: made, series: None }));
    let link = &imported.link;
    assert_eq!((link.id, link.workspace, link.code), (Id(9), Id(5), made));
    assert_eq!((link.created_at, link.updated_at, link.version), (NOW, NOW, 1));
    assert_eq!((link.status, link.redirect_status), (LinkStatus::Active, RedirectStatus::Found));
    assert_eq!((link.created_via, link.created_by), (CreatedVia::Import, Some(Id(6))));
    assert!(link.forward_query && !imported.foreign_sealed && imported.clicks == 0);
}

#[test]
fn codes_of_any_kind_are_kept() {
    for code in ["x", "ab", "login", "API", "1abcdefg", &"a".repeat(50), "-_-"] {
        let imported = link_of(ImportRow { code: Some(code.into()), ..row() });
        assert_eq!(imported.link.code.as_str(), code);
    }
    for code in ["", "a b", "a/b", "ä", "a\n", &"a".repeat(51), "health"] {
        assert_refused(ImportRow { code: Some(code.into()), ..row() }, "code");
    }
}

#[test]
fn a_code_that_only_looks_sealed_is_marked() {
    let foreign =
        |code: &str| link_of(ImportRow { code: Some(code.into()), ..row() }).foreign_sealed;
    assert!(!foreign(sealer(1).seal(77).as_str()));
    let theirs = (0..9).filter(|id| foreign(sealer(2).seal(*id).as_str())).count();
    assert!(theirs >= 8, "{theirs} of 9 codes of another key are marked");
    assert!(!foreign("springs1"));
}

#[test]
fn every_field_is_judged() {
    let text = |text: &str| Some(text.to_owned());
    for (field, bad) in [
        ("destination", ImportRow { destination: None, ..row() }),
        ("destination", ImportRow { destination: text(""), ..row() }),
        ("destination", ImportRow { destination: text("javascript:alert(1)"), ..row() }),
        ("destination", ImportRow { destination: text(" https://a.example/"), ..row() }),
        ("destination", ImportRow { destination: text("https://SHO.rt./x"), ..row() }),
        ("destination", ImportRow { destination: text("http://127.1/"), ..row() }),
        ("domain", ImportRow { domain: text("other.example"), ..row() }),
        ("title", ImportRow { title: text("a\r\nb"), ..row() }),
        ("title", ImportRow { title: Some("ä".repeat(201)), ..row() }),
        ("notes", ImportRow { notes: text("a\0b"), ..row() }),
        ("notes", ImportRow { notes: text("a\rb"), ..row() }),
        ("notes", ImportRow { notes: Some("a".repeat(2_001)), ..row() }),
        ("tags", ImportRow { tags: Some(vec![String::new()]), ..row() }),
        ("tags", ImportRow { tags: Some(vec!["a\n".into()]), ..row() }),
        ("tags", ImportRow { tags: Some(vec!["a".repeat(51)]), ..row() }),
        ("tags", ImportRow { tags: Some(vec!["a".into(); 21]), ..row() }),
        ("redirect_status", ImportRow { redirect_status: Some(304), ..row() }),
        ("starts_at", ImportRow { starts_at: text("tomorrow"), ..row() }),
        ("expires_at", ImportRow { expires_at: text("2026-01-01"), ..row() }),
        ("expired_url", ImportRow { expired_url: text("ftp://a.example/"), ..row() }),
        ("max_clicks", ImportRow { max_clicks: Some(0), ..row() }),
        ("max_clicks", ImportRow { max_clicks: Some(u64::MAX), ..row() }),
        ("clicks", ImportRow { clicks: Some(u64::MAX), ..row() }),
        ("external_id", ImportRow { external_id: text(""), ..row() }),
        ("external_id", ImportRow { external_id: Some("x".repeat(256)), ..row() }),
        ("status", ImportRow { status: text("Active"), ..row() }),
        ("created_at", ImportRow { created_at: text("2026-13-01T00:00:00Z"), ..row() }),
        ("updated_at", ImportRow { updated_at: text(""), ..row() }),
        ("created_via", ImportRow { created_via: text("magic"), ..row() }),
        ("last_clicked_at", ImportRow { last_clicked_at: text("now"), ..row() }),
        ("version", ImportRow { version: Some(0), ..row() }),
        ("version", ImportRow { version: Some(u32::MAX), ..row() }),
    ] {
        assert_refused(bad, field);
    }
}

#[test]
fn values_at_their_bounds_are_taken() {
    let fitting = ImportRow {
        domain: Some("SHO.rt".into()),
        title: Some("ä".repeat(200)),
        notes: Some("two\r\nlines".into()),
        tags: Some(vec![" a ".into(), "a".into(), "b|c".into()]),
        expires_at: Some("1999-12-31T23:59:59.5+02:00".into()),
        created_at: Some("2020-01-01T00:00:00Z".into()),
        version: Some(7),
        ..row()
    };
    let link = link_of(fitting).link;
    assert_eq!(link.notes, "two\nlines");
    assert_eq!(link.tags, ["a", "b|c"]);
    assert_eq!(link.expires_at.map(write_time).as_deref(), Some("1999-12-31T21:59:59.500Z"));
    assert_eq!(link.updated_at, link.created_at);
    assert_eq!(link.version, 7);
}

#[test]
fn a_row_that_leads_to_a_blocked_host_is_refused_with_the_reason() {
    let mut blocked = BlockedHosts::default();
    blocked.add("evil.example").unwrap();
    let policy = DestinationPolicy { blocked: Arc::new(blocked), ..context().policy };
    let context = ImportContext { policy, ..context() };
    let evil = Some("https://www.evil.example/".to_owned());
    for (row, field) in [
        (ImportRow { destination: evil.clone(), ..row() }, "destination"),
        (ImportRow { expired_url: evil, ..row() }, "expired_url"),
    ] {
        let error = row.judge(&context).unwrap_err();
        assert_eq!(error.field, field);
        assert!(error.reason.contains("the operator"), "{error}");
    }
    assert!(row().judge(&context).is_ok());
}

#[tokio::test]
async fn outcomes_stand_in_the_order_of_the_rows() {
    let bad = ImportRow { destination: None, ..row() };
    let coded = ImportRow { code: None, ..row() };
    let rows = vec![bad.clone(), row(), coded, bad, row()];
    let names = CountingNames::default();
    let mut batch = PreparedBatch::new(rows, &context(), &names).await.unwrap();
    let links = batch.take_links();
    let codes: Vec<_> = links.iter().map(|link| link.link.code.to_string()).collect();
    assert_eq!(codes, ["spring", "n2", "spring"]);
    let answers = vec![Imported::Unchanged, Imported::Created, Imported::Taken];
    let settled = batch.settle(&BatchAnswer::New(answers)).unwrap();
    assert!(!settled.replayed);
    let words: Vec<_> = settled.outcomes.iter().map(RowOutcome::as_str).collect();
    assert_eq!(words, ["invalid", "unchanged", "created", "invalid", "taken"]);
}

#[tokio::test]
async fn a_batch_that_was_imported_before_has_the_outcomes_of_then() {
    let names: Arc<dyn Names> = Arc::new(CountingNames::default());
    let bad = ImportRow { destination: None, ..row() };
    let words = async |answers: Vec<Imported>| {
        let rows = vec![row(), bad.clone(), row()];
        let batch = PreparedBatch::new(rows, &context(), names.as_ref()).await.unwrap();
        let settled = batch.settle(&BatchAnswer::Known(answers)).unwrap();
        assert!(settled.replayed);
        settled.outcomes.iter().map(RowOutcome::as_str).collect::<Vec<_>>()
    };
    let known = vec![Imported::Created, Imported::Taken];
    assert_eq!(words(known).await, ["created", "invalid", "taken"]);
    // Rules were others then, or the store remembers no more than that it was done.
    assert_eq!(words(vec![Imported::Taken]).await, ["unknown", "invalid", "unknown"]);
    assert_eq!(words(Vec::new()).await, ["unknown", "invalid", "unknown"]);
}

#[tokio::test]
async fn a_made_code_comes_with_those_to_try_after_it() {
    let codes = CodeMaker::new(sealer(1), crate::storage::memory::MemoryStore::new().nodes);
    let to = Destination::from_stored("https://a.example/").unwrap();
    for (scheme, has_series) in [
        (CodeScheme::Random, true),
        (CodeScheme::Hash, true),
        (CodeScheme::Sealed, false),
        (CodeScheme::Snowflake, false),
    ] {
        let plan = CodePlan { scheme, length: 7 };
        let made = NewCode::make(&codes, plan, Id(9), &to).await.unwrap();
        assert_eq!(made.series.is_some(), has_series, "{scheme:?}");
        if let Some(series) = made.series {
            assert_eq!(series.code(to.as_str(), 0), made.code);
            assert_ne!(series.code(to.as_str(), 1), made.code);
        }
    }
}

#[test]
fn outcomes_read_back_from_their_words() {
    for outcome in [
        RowOutcome::Created,
        RowOutcome::Unchanged,
        RowOutcome::Taken,
        RowOutcome::ExternalIdTaken,
        RowOutcome::Invalid("why".into()),
        RowOutcome::Unknown,
    ] {
        let read = RowOutcome::from_word(outcome.as_str(), Some("why".into()));
        assert_eq!(read, Some(outcome));
    }
    assert_eq!(RowOutcome::from_word("maybe", None), None);
}

#[test]
fn the_same_batch_has_another_digest_in_another_workspace() {
    let digest = [7; 16];
    assert_eq!(digest_in(Id(1), &digest), digest_in(Id(1), &digest));
    assert_ne!(digest_in(Id(1), &digest), digest_in(Id(2), &digest));
    assert_ne!(digest_in(Id(1), &digest), digest_in(Id(1), &[8; 16]));
}

fn links() -> impl Strategy<Value = (Link, ClickTotals)> {
    let times =
        proptest::option::of((-62_135_596_800_000_i64..253_402_300_799_999).prop_map(Timestamp));
    let words = ("[A-Za-z0-9_-]{1,50}", "[ -~äö|\\\\]{0,40}", "[ -~ä\n]{0,60}");
    let tags = proptest::collection::vec("[!-~]([ -~]{0,10}[!-~])?", 0..4);
    let choices = (
        proptest::sample::select(LinkStatus::ALL),
        proptest::sample::select(RedirectStatus::ALL),
        proptest::sample::select(CreatedVia::ALL),
    );
    let rare = (
        proptest::collection::vec(times, 5),
        proptest::option::of(1..1_000_u64),
        proptest::option::of("[ -~]{1,20}"),
    );
    (words, tags, choices, rare, (any::<bool>(), 0..1_000_u64, 1..100_u32)).prop_map(
        |((code, title, notes), mut tags, choices, (times, max_clicks, external_id), rest)| {
            let at = |index: usize| times[index];
            tags.dedup();
            let link = Link {
                id: Id(9),
                workspace: Id(5),
                domain: DomainId::DEFAULT,
                code: Code::parse(code.as_bytes()).unwrap(),
                destination: Destination::from_stored("https://example.com/a").unwrap(),
                title,
                notes,
                tags,
                status: choices.0,
                redirect_status: choices.1,
                starts_at: at(0),
                expires_at: at(1),
                expired_url: at(2).map(|_| Destination::from_stored("https://b.example/").unwrap()),
                max_clicks,
                forward_query: rest.0,
                external_id,
                created_via: choices.2,
                created_by: Some(Id(6)),
                created_at: at(3).unwrap_or_default(),
                updated_at: at(4).unwrap_or_default(),
                version: rest.2,
            };
            (link, ClickTotals { clicks: rest.1, last_clicked_at: at(2) })
        },
    )
}

proptest! {
    #[test]
    fn what_was_written_as_a_row_comes_back_as_the_same_link((link, totals) in links()) {
        prop_assume!(link.tags.iter().enumerate().all(|(at, tag)| !link.tags[..at].contains(tag)));
        prop_assume!(link.code.as_str() != "health");
        let row = ImportRow::of(&link, totals);
        let text = serde_json::to_string(&row).unwrap();
        let read: ImportRow = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read, &row);
        let imported = read.judge(&context()).unwrap().into_link(Id(9), None);
        prop_assert_eq!(imported.link, link);
        prop_assert_eq!(imported.clicks, totals.clicks);
        prop_assert_eq!(imported.last_clicked_at, totals.last_clicked_at);
    }

    #[test]
    fn any_row_is_judged_without_panic(
        texts in proptest::collection::vec(any::<Option<String>>(), 11),
    ) {
        let at = |index: usize| texts[index].clone();
        let row = ImportRow {
            code: at(0), domain: at(1), destination: at(2), title: at(3), notes: at(4),
            starts_at: at(5), expired_url: at(6), external_id: at(7), status: at(8),
            created_at: at(9), created_via: at(10),
            ..ImportRow::default()
        };
        let _ = row.judge(&context());
    }
}
