//! Links: each change keeps the row, its tags, the counters and the list of texts to index in step.

use async_trait::async_trait;
use rusqlite::{Connection, Row};

use super::audit::Log;
use super::fault::{Fault, Outcome, or_damaged};
use super::readers::Lane;
use super::rows::{self, COLUMNS};
use super::{Embedded, clicks, count_up, counter, imports, list, signed, unsigned};
use crate::domain::api_key::KeyDigest;
use crate::domain::audit::Act;
use crate::domain::code::{DomainId, LinkKey};
use crate::domain::id::Id;
use crate::domain::link::{Link, LinkStatus};
use crate::storage::{
    BatchAnswer, Claim, ImportedLink, LinkPage, LinkQuery, LinkStore, Replace, StorageResult,
};

#[async_trait]
impl LinkStore for Embedded {
    async fn fetch(&self, key: &LinkKey) -> StorageResult<Option<Link>> {
        let key = *key;
        self.read("fetch_link", Lane::Short, move |conn| fetch(conn, &key)).await
    }

    async fn claim(&self, links: Vec<Link>, act: Option<Act>) -> StorageResult<Vec<Claim>> {
        let log = self.log(act);
        self.write("claim_links", move |conn| claim(conn, &links, &log)).await
    }

    async fn fetch_all(&self, ids: &[Id]) -> StorageResult<Vec<Link>> {
        let ids = ids.to_vec();
        self.read("fetch_links", Lane::Short, move |conn| {
            let found = ids.iter().map(|id| by_id(conn, *id));
            Ok(found.collect::<Outcome<Vec<_>>>()?.into_iter().flatten().collect())
        })
        .await
    }

    async fn replace(&self, link: Link, act: Option<Act>) -> StorageResult<Replace> {
        let erases = link.status == LinkStatus::Deleted;
        let log = self.log(act);
        let work = move |conn: &_| replace(conn, &link, &log);
        match erases {
            true => self.write_erasing("replace_link", work).await,
            false => self.write("replace_link", work).await,
        }
    }

    async fn relocate(
        &self,
        from: &LinkKey,
        link: Link,
        tombstone_id: Id,
        act: Option<Act>,
    ) -> StorageResult<Replace> {
        let (from, log) = (*from, self.log(act));
        self.write("relocate_link", move |conn| relocate(conn, &from, (&link, tombstone_id), &log))
            .await
    }

    async fn find_by_destination(
        &self,
        workspace: Id,
        domain: DomainId,
        destination: &str,
        limit: u32,
    ) -> StorageResult<Vec<Link>> {
        let wanted = destination.to_owned();
        self.read("find_by_destination", Lane::Short, move |conn| {
            find_by_destination(conn, (workspace, domain), &wanted, limit)
        })
        .await
    }

    async fn list(&self, query: &LinkQuery) -> StorageResult<LinkPage> {
        let (query, hurry) = (query.clone(), self.inner.hurry.clone());
        self.read("list_links", Lane::Long, move |conn| list::list(conn, &query, &hurry)).await
    }

    async fn tags(&self, workspace: Id) -> StorageResult<Vec<(String, u64)>> {
        self.read("list_tags", Lane::Long, move |conn| {
            let mut statement = conn.prepare_cached(
                "SELECT tag, count(*) FROM link_tags WHERE workspace = ?1
                 GROUP BY tag ORDER BY tag",
            )?;
            let rows = statement.query_map([signed(workspace)], |row| {
                Ok((row.get(0)?, row.get::<_, i64>(1)? as u64))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn scan(&self, after: Id, limit: u32) -> StorageResult<Vec<Link>> {
        self.read("scan_links", Lane::Long, move |conn| {
            let sql = format!("SELECT {COLUMNS} FROM links WHERE id > ?1 ORDER BY id LIMIT ?2");
            select(conn, &sql, (signed(after), limit))
        })
        .await
    }

    async fn hottest(&self, limit: u32) -> StorageResult<Vec<LinkKey>> {
        self.read("hottest_links", Lane::Long, move |conn| {
            keys_of(conn, &clicks::hottest(conn, limit)?)
        })
        .await
    }

    async fn count(&self) -> StorageResult<u64> {
        self.read("count_links", Lane::Short, |conn| Ok(counter(conn, "links")? as u64)).await
    }

    async fn import(
        &self,
        digest: [u8; 16],
        fingerprint: KeyDigest,
        batch: Vec<ImportedLink>,
        act: Option<Act>,
    ) -> StorageResult<BatchAnswer> {
        let log = self.log(act);
        let work = move |conn: &_| imports::import(conn, (&digest, &fingerprint), &batch, &log);
        self.write("import_links", work).await
    }

    async fn anonymous(
        &self,
        creator: Id,
        before: Option<Id>,
        limit: u32,
    ) -> StorageResult<(Vec<Link>, u64)> {
        self.read("anonymous_links", Lane::Short, move |conn| {
            let theirs = "FROM links WHERE created_by = ?1 AND created_via = 2 AND status < 3";
            let sql = format!(
                "SELECT {COLUMNS} {theirs} AND (?2 IS NULL OR id < ?2) ORDER BY id DESC LIMIT ?3"
            );
            let links = select(conn, &sql, (signed(creator), before.map(signed), limit))?;
            let total: i64 = conn
                .prepare_cached(&format!("SELECT count(*) {theirs}"))?
                .query_row([signed(creator)], |row| row.get(0))?;
            Ok((links, total as u64))
        })
        .await
    }

    async fn has_foreign_sealed(&self, domain: DomainId) -> StorageResult<bool> {
        self.read("has_foreign_sealed", Lane::Short, move |conn| {
            let found = conn
                .prepare_cached("SELECT 1 FROM foreign_sealed WHERE domain = ?1")?
                .exists([domain.0])?;
            Ok(found)
        })
        .await
    }
}

/// Runs a query for [`COLUMNS`] and decodes all of its rows.
pub(super) fn select(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Outcome<Vec<Link>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut found = statement.query(params)?;
    let mut links = Vec::new();
    while let Some(row) = found.next()? {
        links.push(rows::decode(row)?);
    }
    Ok(links)
}

/// Keys of links that are not deleted, in the order of `ranked`.
fn keys_of(conn: &Connection, ranked: &[Id]) -> Outcome<Vec<LinkKey>> {
    // Read in the order of the table: neighbours share a page.
    let mut by_id: Vec<(usize, Id)> = ranked.iter().copied().enumerate().collect();
    by_id.sort_unstable_by_key(|(_, id)| *id);
    let mut statement =
        conn.prepare_cached("SELECT domain, code FROM links WHERE id = ?1 AND status <> 4")?;
    let mut keys = vec![None; ranked.len()];
    for (rank, id) in by_id {
        let mut found = statement.query([signed(id)])?;
        if let Some(row) = found.next()? {
            // A damaged row is no key, and no reason to know nothing of the others.
            keys[rank] = or_damaged(key_of(row))?;
        }
    }
    Ok(keys.into_iter().flatten().collect())
}

fn key_of(row: &Row<'_>) -> Outcome<LinkKey> {
    let code = row.get_ref(1)?.as_str().map_err(|error| Fault::corrupt(error.to_string()))?;
    let code = crate::domain::code::Code::parse(code.as_bytes())
        .map_err(|error| Fault::corrupt(format!("a code in the store: {error}")))?;
    Ok(LinkKey::new(DomainId(row.get(0)?), code))
}

/// The link at `key`, deleted ones included.
pub(super) fn fetch(conn: &Connection, key: &LinkKey) -> Outcome<Option<Link>> {
    let sql = format!("SELECT {COLUMNS} FROM links WHERE domain = ?1 AND code = ?2");
    let found = select(conn, &sql, (key.domain.0, key.code.as_str()))?.pop();
    match found {
        // A damaged index may point at another row; its target must not be served here.
        Some(link) if link.key() != *key => {
            Err(Fault::Damaged(format!("the index by code leads to link {}", link.id)))
        }
        found => Ok(found),
    }
}

fn by_id(conn: &Connection, id: Id) -> Outcome<Option<Link>> {
    let sql = format!("SELECT {COLUMNS} FROM links WHERE id = ?1");
    Ok(select(conn, &sql, [signed(id)])?.pop())
}

fn find_by_destination(
    conn: &Connection,
    (workspace, domain): (Id, DomainId),
    destination: &str,
    limit: u32,
) -> Outcome<Vec<Link>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM links WHERE destination_hash = ?1 AND status = 0 \
         AND workspace = ?2 AND domain = ?3 AND destination = ?4 \
         ORDER BY created_at DESC, id DESC LIMIT ?5"
    );
    let hash = rows::destination_hash(workspace, domain, destination);
    select(conn, &sql, (hash, signed(workspace), domain.0, destination, limit))
}

fn claim(conn: &Connection, links: &[Link], log: &Log) -> Outcome<Vec<Claim>> {
    let mut tally = Tally::default();
    let outcomes = links
        .iter()
        .map(|link| match insert(conn, link, &mut tally)? {
            Inserted::Yes => Ok(Claim::Won),
            Inserted::CodeTaken => Ok(Claim::Taken),
            Inserted::ExternalIdTaken => Ok(Claim::ExternalIdTaken),
        })
        .collect::<Outcome<Vec<_>>>()?;
    tally.store(conn)?;
    let won = links.iter().zip(&outcomes).filter(|(_, claim)| **claim == Claim::Won);
    log.add_each(conn, won.map(|(link, _)| link), Act::created)?;
    Ok(outcomes)
}

fn replace(conn: &Connection, link: &Link, log: &Log) -> Outcome<Replace> {
    let Some(old) = fetch(conn, &link.key())? else {
        return Ok(Replace::Stale);
    };
    if old.id != link.id || Some(old.version) != link.version.checked_sub(1) {
        return Ok(Replace::Stale);
    }
    if !rows::update(conn, link)? {
        return Ok(Replace::ExternalIdTaken);
    }
    settle_change(conn, &old, link)?;
    log.add(conn, |act| act.changed(&old, link))?;
    Ok(Replace::Done)
}

fn relocate(
    conn: &Connection,
    from: &LinkKey,
    (link, tombstone_id): (&Link, Id),
    log: &Log,
) -> Outcome<Replace> {
    let Some(old) = fetch(conn, from)? else {
        return Ok(Replace::Stale);
    };
    if old.id != link.id || Some(old.version) != link.version.checked_sub(1) {
        return Ok(Replace::Stale);
    }
    if is_used(conn, &link.key())? {
        return Ok(Replace::Taken);
    }
    if !rows::update(conn, link)? {
        return Ok(Replace::ExternalIdTaken);
    }
    settle_change(conn, &old, link)?;
    log.add(conn, |act| act.changed(&old, link))?;
    let tombstone = Link {
        id: tombstone_id,
        status: LinkStatus::Deleted,
        version: link.version,
        updated_at: link.updated_at,
        ..old
    };
    let mut tally = Tally::default();
    if !matches!(insert(conn, &tombstone, &mut tally)?, Inserted::Yes) {
        return Err(Fault::Invalid(format!("the id {tombstone_id} is in use")));
    }
    tally.store(conn)?;
    Ok(Replace::Done)
}

/// What an insert did.
pub(super) enum Inserted {
    Yes,
    CodeTaken,
    ExternalIdTaken,
}

/// Puts a new link with all that belongs to it.
pub(super) fn insert(conn: &Connection, link: &Link, tally: &mut Tally) -> Outcome<Inserted> {
    if !rows::insert(conn, link)? {
        if is_used(conn, &link.key())? {
            return Ok(Inserted::CodeTaken);
        }
        if by_id(conn, link.id)?.is_some() {
            return Err(Fault::Invalid(format!("the id {} is in use", link.id)));
        }
        return Ok(Inserted::ExternalIdTaken);
    }
    tally.links += 1;
    if link.status != LinkStatus::Deleted {
        tally.live(link.workspace, 1);
        add_tags(conn, link)?;
        conn.prepare_cached(
            "INSERT OR REPLACE INTO link_texts_pending (link, fresh) VALUES (?1, 1)",
        )?
        .execute([signed(link.id)])?;
    }
    Ok(Inserted::Yes)
}

fn is_used(conn: &Connection, key: &LinkKey) -> Outcome<bool> {
    let used = conn
        .prepare_cached("SELECT 1 FROM links WHERE domain = ?1 AND code = ?2")?
        .exists((key.domain.0, key.code.as_str()))?;
    Ok(used)
}

/// Brings tags, counters and the index of texts from `old` to `new`, which have the same id.
fn settle_change(conn: &Connection, old: &Link, new: &Link) -> Outcome<()> {
    let mut tally = Tally::default();
    let live = |link: &Link| link.status != LinkStatus::Deleted;
    if live(old) {
        tally.live(old.workspace, -1);
        let mut remove = conn.prepare_cached(
            "DELETE FROM link_tags WHERE workspace = ?1 AND tag = ?2 AND link = ?3",
        )?;
        for tag in &old.tags {
            remove.execute((signed(old.workspace), tag, signed(old.id)))?;
        }
    }
    if live(new) {
        tally.live(new.workspace, 1);
        add_tags(conn, new)?;
    }
    let texts = |link: &Link| {
        (link.code, link.destination.clone(), link.title.clone(), link.tags.clone(), live(link))
    };
    if texts(old) != texts(new) {
        // An entry that says "fresh" stays as it is: the index still has nothing to take out.
        conn.prepare_cached(
            "INSERT OR IGNORE INTO link_texts_pending (link, fresh) VALUES (?1, 0)",
        )?
        .execute([signed(new.id)])?;
    }
    if old.workspace != new.workspace {
        // Sums of all links of a workspace are kept as if links stayed where they are; those that
        // are being made now have not seen these counters.
        count_up(conn, &moves_counter(old.workspace), 1)?;
        count_up(conn, &moves_counter(new.workspace), 1)?;
        conn.prepare_cached(
            "DELETE FROM click_rollups WHERE question IN
             (SELECT id FROM click_questions WHERE workspace IN (?1, ?2))",
        )?
        .execute((signed(old.workspace), signed(new.workspace)))?;
    }
    if old.destination != new.destination {
        // Statistics tell where a click of an earlier version led.
        conn.prepare_cached(
            "INSERT OR IGNORE INTO link_destinations (link, version, destination)
             VALUES (?1, ?2, ?3)",
        )?
        .execute((signed(old.id), old.version, old.destination.as_str()))?;
    }
    tally.store(conn)
}

fn add_tags(conn: &Connection, link: &Link) -> Outcome<()> {
    if link.tags.is_empty() {
        return Ok(());
    }
    let mut add = conn.prepare_cached(
        "INSERT OR IGNORE INTO link_tags (workspace, tag, link) VALUES (?1, ?2, ?3)",
    )?;
    for tag in &link.tags {
        add.execute((signed(link.workspace), tag, signed(link.id)))?;
    }
    Ok(())
}

/// What a command adds to the counters: written once per command, not once per link.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) links: i64,
    live: Vec<(Id, i64)>,
}

impl Tally {
    fn live(&mut self, workspace: Id, by: i64) {
        match self.live.iter_mut().find(|(id, _)| *id == workspace) {
            Some((_, n)) => *n += by,
            None => self.live.push((workspace, by)),
        }
    }

    pub(super) fn store(&self, conn: &Connection) -> Outcome<()> {
        count_up(conn, "links", self.links)?;
        for (workspace, by) in &self.live {
            count_up(conn, &live_counter(*workspace), *by)?;
        }
        Ok(())
    }
}

/// Name of the counter of a workspace's links that are not deleted.
pub(super) fn live_counter(workspace: Id) -> String {
    format!("live:{workspace}")
}

/// Name of the counter of links that came into a workspace or left it.
pub(super) fn moves_counter(workspace: Id) -> String {
    format!("moves:{workspace}")
}

/// Ids of a query whose only column is an id.
pub(super) fn ids(conn: &Connection, sql: &str, params: impl rusqlite::Params) -> Outcome<Vec<Id>> {
    let mut statement = conn.prepare_cached(sql)?;
    let found = statement.query_map(params, |row| row.get(0))?;
    Ok(found.map(|id| id.map(unsigned)).collect::<Result<_, _>>()?)
}
