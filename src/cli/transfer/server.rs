//! A running server as the other end, through its API.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use tokio::runtime::Runtime;

use crate::domain::limits::{BULK_BODY_BYTES_MAX, PAGE_ROWS_MAX};
use crate::service::import::{BatchDigest, ImportRow, RowOutcome};

use super::{BatchOutcome, ExportSource, ImportTarget, ServerArgs};

/// Longest wait for one answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(60);
/// Tries of one call that the server could not serve; all calls here can be repeated.
const TRIES_MAX: u32 = 8;
/// Longest pause between two tries, in seconds, whatever the server asks for.
const PAUSE_MAX_SECS: u64 = 30;
/// Room for the rows of one call; below the server's limit.
const BODY_BYTES_MAX: usize = BULK_BODY_BYTES_MAX - 64 * 1_024;

/// Imports through and exports from a running server. Calls block.
pub struct ServerEnd {
    runtime: Runtime,
    client: Client,
    base: String,
    key: String,
    /// Whether the server ever answered: one that restarts is waited for, a wrong address is not.
    reached: Cell<bool>,
    /// Where the next page begins, once there was one.
    cursor: Option<String>,
    exhausted: bool,
    /// The first page, read early to learn the total.
    first: Option<Vec<ImportRow>>,
}

/// Answer of the import call.
#[derive(Deserialize)]
struct ImportAnswer {
    #[serde(default)]
    results: Vec<LineAnswer>,
    #[serde(default)]
    replayed: bool,
}

#[derive(Deserialize)]
struct LineAnswer {
    outcome: String,
    detail: Option<String>,
}

/// Answer of the list call.
#[derive(Deserialize)]
struct Page {
    data: Vec<ListedLink>,
    next_cursor: Option<String>,
    total: u64,
}

/// A link as the API shows it: what a row takes of it.
#[derive(Deserialize)]
struct ListedLink {
    code: String,
    destination: String,
    title: Option<String>,
    notes: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    status: String,
    redirect_status: u16,
    starts_at: Option<String>,
    expires_at: Option<String>,
    expired_url: Option<String>,
    max_clicks: Option<u64>,
    forward_query: bool,
    external_id: Option<String>,
    created_via: String,
    created_at: String,
    updated_at: String,
    clicks: u64,
    last_clicked_at: Option<String>,
    version: u32,
}

/// What a problem document says to a person.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ProblemDocument {
    code: String,
    detail: String,
}

impl ServerEnd {
    /// `None` when the arguments name no server. Fails when a client cannot be made.
    pub fn of(args: &ServerArgs) -> anyhow::Result<Option<Self>> {
        let (Some(url), Some(key)) = (&args.url, &args.key) else { return Ok(None) };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let client = Client::builder()
            .timeout(ANSWER_WAIT_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("cannot make an HTTP client")?;
        let base = url.trim_end_matches('/').to_owned();
        let key = key.clone();
        let (cursor, exhausted, first) = (None, false, None);
        let reached = Cell::new(false);
        Ok(Some(Self { runtime, client, base, key, reached, cursor, exhausted, first }))
    }

    /// Sends until there is an answer that more tries would not change.
    fn call<T: for<'de> Deserialize<'de>>(
        &self,
        make: impl Fn(&Client) -> RequestBuilder,
    ) -> anyhow::Result<T> {
        self.runtime.block_on(async {
            let mut tries = 0;
            loop {
                tries += 1;
                let answer = make(&self.client).bearer_auth(&self.key).send().await;
                self.reached.set(self.reached.get() || answer.is_ok());
                let pause = match answer {
                    Ok(response) if response.status().is_success() => {
                        return response
                            .json()
                            .await
                            .context("the server's answer is not readable");
                    }
                    Ok(response) if !is_temporary(response.status()) || tries >= TRIES_MAX => {
                        return Err(refusal(response).await);
                    }
                    Ok(response) => pause_asked(&response),
                    // The call may have been served: repeating it does no harm.
                    Err(error)
                        if tries >= TRIES_MAX || error.is_builder() || !self.reached.get() =>
                    {
                        let base = &self.base;
                        return Err(error)
                            .with_context(|| format!("cannot reach {base}; check `--url`"));
                    }
                    Err(_) => None,
                };
                let secs = pause.unwrap_or(1 << tries.min(5)).min(PAUSE_MAX_SECS);
                tokio::time::sleep(Duration::from_secs(secs)).await;
            }
        })
    }

    /// What the server says of rows, in as few calls as their size allows. Each call is made by
    /// `send`, from its number and its body. Answers whether all of them were done before.
    fn ask(
        &self,
        rows: &[ImportRow],
        send: impl Fn(RequestBuilder, usize) -> RequestBuilder,
    ) -> anyhow::Result<(Vec<RowOutcome>, bool)> {
        let url = format!("{}/api/v1/links/import", self.base);
        let mut outcomes = Vec::with_capacity(rows.len());
        let mut replayed = true;
        for (index, (body, n_rows)) in bodies(rows)?.into_iter().enumerate() {
            let answer: ImportAnswer = self.call(|client| {
                let request = client.post(&url).header("Content-Type", "application/x-ndjson");
                send(request, index).body(body.clone())
            })?;
            if answer.results.len() != n_rows {
                bail!("the server answered for {} of {n_rows} rows", answer.results.len());
            }
            replayed &= answer.replayed;
            for LineAnswer { outcome, detail } in answer.results {
                let known = RowOutcome::from_word(&outcome, detail);
                let known = known.ok_or_else(|| anyhow!("unknown outcome {outcome:?}"))?;
                outcomes.push(known);
            }
        }
        Ok((outcomes, replayed))
    }

    /// What the server would do with rows. A call without a key imports nothing, also on a server
    /// that knows no dry run.
    pub(super) fn try_rows(&self, rows: &[ImportRow]) -> anyhow::Result<Vec<RowOutcome>> {
        let dry = |request: RequestBuilder, _| request.query(&[("dry_run", "true")]);
        self.ask(rows, dry).map(|(outcomes, _)| outcomes)
    }

    fn page(&mut self) -> anyhow::Result<Page> {
        let url = format!("{}/api/v1/links", self.base);
        let limit = PAGE_ROWS_MAX.to_string();
        let mut query = vec![("limit", limit.as_str()), ("sort", "created_at")];
        query.extend(self.cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page: Page = self.call(|client| client.get(&url).query(&query))?;
        self.exhausted = page.next_cursor.is_none() || page.data.is_empty();
        self.cursor.clone_from(&page.next_cursor);
        Ok(page)
    }
}

impl ImportTarget for ServerEnd {
    /// Sends the rows in as few calls as their size allows. Every call has a key of its own, the
    /// same one each time the same batch is sent.
    fn import(
        &mut self,
        digest: BatchDigest,
        rows: Vec<ImportRow>,
    ) -> anyhow::Result<BatchOutcome> {
        let named = |request: RequestBuilder, index| {
            request.header("Idempotency-Key", part_key(&digest, index))
        };
        // A batch of several calls that was stopped in between is done just now.
        Ok(match self.ask(&rows, named)? {
            (outcomes, true) => BatchOutcome::DoneBefore(outcomes),
            (outcomes, false) => BatchOutcome::Done(outcomes),
        })
    }
}

impl ExportSource for ServerEnd {
    fn total(&mut self) -> anyhow::Result<u64> {
        let page = self.page()?;
        self.first = Some(page.data.into_iter().map(ImportRow::from).collect());
        Ok(page.total)
    }

    fn next_page(&mut self) -> anyhow::Result<Vec<ImportRow>> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        if self.exhausted {
            return Ok(Vec::new());
        }
        Ok(self.page()?.data.into_iter().map(ImportRow::from).collect())
    }
}

impl From<ListedLink> for ImportRow {
    fn from(link: ListedLink) -> Self {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        Self {
            code: Some(link.code),
            // There is one domain, the default one, which another installation calls otherwise.
            domain: None,
            destination: Some(link.destination),
            title: filled(link.title),
            notes: filled(link.notes),
            tags: (!link.tags.is_empty()).then_some(link.tags),
            redirect_status: Some(link.redirect_status),
            starts_at: link.starts_at,
            expires_at: link.expires_at,
            expires_in: None,
            expired_url: link.expired_url,
            max_clicks: link.max_clicks,
            forward_query: Some(link.forward_query),
            external_id: link.external_id,
            code_scheme: None,
            code_length: None,
            status: Some(link.status),
            created_at: Some(link.created_at),
            updated_at: Some(link.updated_at),
            created_via: Some(link.created_via),
            clicks: Some(link.clicks),
            last_clicked_at: link.last_clicked_at,
            version: Some(link.version),
        }
    }
}

/// NDJSON bodies within the limit of the server, each with the number of its rows.
fn bodies(rows: &[ImportRow]) -> anyhow::Result<Vec<(Vec<u8>, usize)>> {
    let mut bodies: Vec<(Vec<u8>, usize)> = Vec::new();
    for row in rows {
        let mut line = serde_json::to_vec(row).context("cannot write a row as JSON")?;
        line.push(b'\n');
        match bodies.last_mut() {
            Some((body, n_rows)) if body.len() + line.len() <= BODY_BYTES_MAX => {
                body.extend_from_slice(&line);
                *n_rows += 1;
            }
            _ => bodies.push((line, 1)),
        }
    }
    Ok(bodies)
}

/// The digest in hex; later parts of a batch that took several calls have names made from it.
fn part_key(digest: &BatchDigest, index: usize) -> String {
    let mut name = *digest;
    if index > 0 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(digest).update(&(index as u64).to_le_bytes());
        hasher.finalize_xof().fill(&mut name);
    }
    name.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_temporary(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

fn pause_asked(response: &Response) -> Option<u64> {
    response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()
}

async fn refusal(response: Response) -> anyhow::Error {
    let status = response.status();
    let problem: ProblemDocument = response.json().await.unwrap_or_default();
    let hint = match status {
        StatusCode::UNAUTHORIZED => "; check `--key`",
        StatusCode::FORBIDDEN => "; the key needs the scope links:write, or links:read to export",
        StatusCode::NOT_FOUND => "; check `--url`",
        _ => "",
    };
    let ProblemDocument { code, detail } = problem;
    anyhow!("the server refused: {status} {code} {detail}{hint}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn bodies_stay_below_the_limit_and_lose_no_row() {
        let row = ImportRow { notes: Some("n".repeat(40_000)), ..ImportRow::default() };
        let rows = vec![row; 1_000];
        let bodies = bodies(&rows).unwrap();
        assert!(bodies.len() > 1);
        assert!(bodies.iter().all(|(body, _)| body.len() <= BODY_BYTES_MAX));
        assert_eq!(bodies.iter().map(|(_, n_rows)| n_rows).sum::<usize>(), 1_000);
        let lines: usize =
            bodies.iter().map(|(body, _)| body.iter().filter(|byte| **byte == b'\n').count()).sum();
        assert_eq!(lines, 1_000);
    }

    #[test]
    fn parts_of_a_batch_have_different_keys_and_the_first_is_the_digest() {
        let digest = [0xAB; 16];
        assert_eq!(part_key(&digest, 0), "ab".repeat(16));
        assert_ne!(part_key(&digest, 1), part_key(&digest, 2));
        assert_eq!(part_key(&digest, 1), part_key(&digest, 1));
        assert_eq!(part_key(&digest, 1).len(), 32);
    }

    #[test]
    fn a_link_of_the_api_becomes_a_row_that_an_import_takes() {
        let listed = serde_json::json!({
            "id": "1", "code": "spring", "domain": "sho.rt", "short_url": "https://sho.rt/spring",
            "destination": "https://example.com/", "title": "", "notes": null, "tags": ["a"],
            "status": "active", "state": "active", "redirect_status": 302, "starts_at": null,
            "expires_at": "2999-01-01T00:00:00Z", "expired_url": null, "max_clicks": 5,
            "password_protected": false, "rules": [], "utm": null, "forward_query": true,
            "external_id": null, "created_via": "api", "created_by": "2",
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00.250Z",
            "clicks": 3, "last_clicked_at": "2026-01-02T00:00:00Z", "version": 2
        });
        let row = ImportRow::from(serde_json::from_value::<ListedLink>(listed).unwrap());
        assert_eq!(row.title, None);
        assert_eq!((row.clicks, row.version, row.max_clicks), (Some(3), Some(2), Some(5)));
        let read: ImportRow = serde_json::from_str(&serde_json::to_string(&row).unwrap()).unwrap();
        assert_eq!(read, row);
    }
}
