//! The tables, as numbered steps. A step that was released is never changed: add another.

use rusqlite::Connection;

use super::fault::{Fault, Outcome};

/// Shards that click pages are spread over. Part of the file format.
pub(super) const CLICK_SHARDS: u64 = 1_024;
/// Groups of shards that click deltas are kept by. Part of the file format.
pub(super) const CLICK_GROUPS: u64 = 16;

/// `application_id`: the letters `Shnt`, so that tools and `open` can tell whose file it is.
const APPLICATION_ID: i64 = 0x5368_6E74;

const STEPS: &[&str] = &[
    "
    CREATE TABLE links (
        id INTEGER PRIMARY KEY,
        workspace INTEGER NOT NULL,
        domain INTEGER NOT NULL,
        code TEXT NOT NULL,
        destination TEXT NOT NULL,
        destination_hash INTEGER NOT NULL,
        title TEXT NOT NULL,
        notes TEXT NOT NULL,
        tags TEXT,
        status INTEGER NOT NULL,
        redirect_status INTEGER NOT NULL,
        starts_at INTEGER,
        expires_at INTEGER,
        expired_url TEXT,
        max_clicks INTEGER,
        forward_query INTEGER NOT NULL,
        external_id TEXT,
        created_via INTEGER NOT NULL,
        created_by INTEGER,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        version INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX links_by_code ON links (domain, code);
    CREATE UNIQUE INDEX links_by_external_id ON links (workspace, external_id)
        WHERE external_id IS NOT NULL AND status <> 4;
    CREATE INDEX links_by_created ON links (workspace, created_at, id) WHERE status <> 4;
    CREATE INDEX links_by_updated ON links (workspace, updated_at, id) WHERE status <> 4;
    CREATE INDEX links_by_destination ON links (destination_hash) WHERE status = 0;
    CREATE INDEX links_by_limit ON links (workspace) WHERE max_clicks IS NOT NULL;

    -- Tags of links that are not deleted.
    CREATE TABLE link_tags (
        workspace INTEGER NOT NULL,
        tag TEXT NOT NULL,
        link INTEGER NOT NULL,
        PRIMARY KEY (workspace, tag, link)
    ) STRICT, WITHOUT ROWID;

    -- Folded texts by trigram. May lag behind: what is in link_texts_pending is compared row by
    -- row, and what this finds is checked against the row, so a search is exact all the same.
    CREATE VIRTUAL TABLE link_texts USING fts5(
        body, content='', contentless_delete=1, detail=none, tokenize='trigram case_sensitive 1'
    );
    CREATE TABLE link_texts_pending (
        link INTEGER PRIMARY KEY,
        -- 1: the index has nothing of it yet, so nothing needs to be taken out.
        fresh INTEGER NOT NULL
    ) STRICT;

    CREATE TABLE foreign_sealed (domain INTEGER PRIMARY KEY) STRICT;
    CREATE TABLE import_batches (digest BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;

    -- Numbers that would be dear to count: `links`, `keys_epoch`, `live:<workspace>`.
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;

    -- How far each journal segment is counted.
    CREATE TABLE click_positions (
        segment INTEGER PRIMARY KEY,
        applied INTEGER NOT NULL
    ) STRICT;
    -- Clicks that were flushed and not folded into pages yet; id = group << 48 | sequence.
    CREATE TABLE click_deltas (
        id INTEGER PRIMARY KEY,
        n_rows INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    -- Counts of many links in one bucket; id = granularity << 48 | shard << 32 | bucket.
    CREATE TABLE click_pages (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;

    CREATE TABLE workspaces (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        operator INTEGER NOT NULL,
        created_at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE api_keys (
        id INTEGER PRIMARY KEY,
        workspace INTEGER NOT NULL REFERENCES workspaces (id),
        name TEXT NOT NULL,
        prefix TEXT NOT NULL,
        digest BLOB NOT NULL UNIQUE,
        scopes INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        last_used_at INTEGER,
        uses INTEGER NOT NULL,
        revoked_at INTEGER
    ) STRICT;

    CREATE TABLE id_blocks (space TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE clock_marks (node INTEGER PRIMARY KEY, mark INTEGER NOT NULL) STRICT;

    CREATE TABLE replays (
        workspace INTEGER NOT NULL,
        key TEXT NOT NULL,
        fingerprint BLOB NOT NULL,
        -- Time of the reservation, then of the answer.
        at INTEGER NOT NULL,
        -- NULL while the first request is under way.
        status INTEGER,
        location TEXT,
        etag TEXT,
        body BLOB,
        PRIMARY KEY (workspace, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX replays_by_age ON replays (at);
",
    "
    -- Number of links, then place and outcome of each that was not created. NULL: not remembered.
    ALTER TABLE import_batches ADD COLUMN outcomes BLOB;
",
    "
    -- Of the rows as they were given. NULL: not remembered.
    ALTER TABLE import_batches ADD COLUMN fingerprint BLOB;
",
    "
    CREATE INDEX links_deleted ON links (workspace) WHERE status = 4;
    -- Clicks that were flushed and not folded yet; id = group << 48 | sequence.
    CREATE TABLE click_chunks (
        id INTEGER PRIMARY KEY,
        n_clicks INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    -- Single clicks; id = day << 38 | shard << 28 | sequence.
    CREATE TABLE click_events (
        id INTEGER PRIMARY KEY,
        n_clicks INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    -- Sums of the clicks of a shard on a day, by link; id = day << 10 | shard.
    CREATE TABLE click_days (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
    -- How far each of these covers the single clicks.
    CREATE TABLE click_marks (
        id INTEGER PRIMARY KEY,
        folded INTEGER NOT NULL,
        pending INTEGER NOT NULL,
        folded_seq INTEGER NOT NULL,
        next_seq INTEGER NOT NULL,
        checksum INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX click_marks_pending ON click_marks (id) WHERE pending > 0;
    -- How often something of the day was changed or removed, and how often clicks were added.
    CREATE TABLE click_epochs (
        day INTEGER PRIMARY KEY,
        epoch INTEGER NOT NULL,
        additions INTEGER NOT NULL
    ) STRICT;
    -- Sums of all links of a workspace on a day, as of an epoch of that day.
    CREATE TABLE click_rollups (
        workspace INTEGER NOT NULL,
        day INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (workspace, day)
    ) STRICT;

    -- What hashes the visitors of a day. Destroyed when the day is over.
    CREATE TABLE visitor_keys (day INTEGER PRIMARY KEY, key BLOB NOT NULL) STRICT;
    -- Where links led before, up to and with a version.
    CREATE TABLE link_destinations (
        link INTEGER NOT NULL,
        version INTEGER NOT NULL,
        destination TEXT NOT NULL,
        PRIMARY KEY (link, version)
    ) STRICT, WITHOUT ROWID;
",
    "
    -- Single clicks; id = day << 38 | shard << 28 | sequence. Times of clicks come before them, so
    -- that they are read without them; of older chunks nothing is known but the day.
    ALTER TABLE click_events RENAME TO click_events_4;
    CREATE TABLE click_events (
        id INTEGER PRIMARY KEY,
        n_clicks INTEGER NOT NULL,
        first_at INTEGER NOT NULL,
        last_at INTEGER NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    INSERT INTO click_events (id, n_clicks, first_at, last_at, body)
        SELECT id, n_clicks, day * 86400000, (day + 1) * 86400000 - 1, body
        FROM (SELECT *, (id & ~(1 << 61)) >> 38 AS day FROM click_events_4);
    DROP TABLE click_events_4;
",
    "
    -- What is asked of workspaces: which links (a filter as text), and what of each day (kind, and
    -- the minutes at which it is cut).
    CREATE TABLE click_questions (
        id INTEGER PRIMARY KEY,
        workspace INTEGER NOT NULL,
        filter TEXT NOT NULL,
        kind INTEGER NOT NULL,
        cuts BLOB NOT NULL,
        -- The newest day of clicks when it was asked last, zero if it never was, and how many days
        -- before that its first and its last day were.
        asked INTEGER NOT NULL,
        back INTEGER NOT NULL,
        fore INTEGER NOT NULL,
        -- What is kept for it.
        bytes INTEGER NOT NULL,
        UNIQUE (workspace, filter, kind, cuts)
    ) STRICT;
    -- What a question is told of a day, as of an epoch of that day. Made again when it is asked.
    DROP TABLE click_rollups;
    CREATE TABLE click_rollups (
        question INTEGER NOT NULL,
        day INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        additions INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (question, day)
    ) STRICT;
",
    "
    ALTER TABLE api_keys ADD COLUMN user INTEGER;
    CREATE INDEX api_keys_by_user ON api_keys (user) WHERE user IS NOT NULL;
    CREATE INDEX links_anonymous ON links (created_by, id) WHERE created_via = 2 AND status < 3;
    -- Set: its links are being taken down, because its last owner deleted the account.
    ALTER TABLE workspaces ADD COLUMN closed_at INTEGER;

    CREATE TABLE users (
        id INTEGER PRIMARY KEY,
        email TEXT NOT NULL,
        -- The same in the form that accounts are told apart by.
        email_key TEXT NOT NULL UNIQUE,
        email_verified_at INTEGER,
        name TEXT NOT NULL,
        password TEXT,
        workspace INTEGER NOT NULL REFERENCES workspaces (id),
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        disabled_at INTEGER
    ) STRICT;
    CREATE TABLE members (
        workspace INTEGER NOT NULL REFERENCES workspaces (id),
        user INTEGER NOT NULL REFERENCES users (id),
        role INTEGER NOT NULL,
        joined_at INTEGER NOT NULL,
        PRIMARY KEY (workspace, user)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX members_by_user ON members (user);

    CREATE TABLE sessions (
        id INTEGER PRIMARY KEY,
        user INTEGER NOT NULL REFERENCES users (id),
        workspace INTEGER NOT NULL,
        generation INTEGER NOT NULL,
        digest BLOB NOT NULL,
        client BLOB NOT NULL,
        created_at INTEGER NOT NULL,
        rotated_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX sessions_by_user ON sessions (user);
    CREATE INDEX sessions_by_expiry ON sessions (expires_at);
    -- Clients that a user signed in from: a keyed hash, which names no client.
    CREATE TABLE known_clients (
        user INTEGER NOT NULL REFERENCES users (id),
        client BLOB NOT NULL,
        seen_at INTEGER NOT NULL,
        PRIMARY KEY (user, client)
    ) STRICT, WITHOUT ROWID;
    -- What credentials that are out may do no longer, for as long as they may be out.
    CREATE TABLE access_changes (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        session INTEGER,
        workspace INTEGER,
        user INTEGER,
        role INTEGER
    ) STRICT;
    CREATE INDEX access_changes_by_age ON access_changes (at);

    -- Who somebody is at a provider of identities.
    CREATE TABLE identities (
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        user INTEGER NOT NULL REFERENCES users (id),
        created_at INTEGER NOT NULL,
        PRIMARY KEY (issuer, subject)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX identities_by_user ON identities (user);

    -- One-time tokens that were sent by mail, by their keyed hash.
    CREATE TABLE tickets (
        digest BLOB PRIMARY KEY,
        kind INTEGER NOT NULL,
        user INTEGER NOT NULL REFERENCES users (id),
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX tickets_by_user ON tickets (user);
    CREATE INDEX tickets_by_expiry ON tickets (expires_at);
    CREATE TABLE invitations (
        id INTEGER PRIMARY KEY,
        workspace INTEGER NOT NULL REFERENCES workspaces (id),
        digest BLOB NOT NULL UNIQUE,
        email TEXT,
        role INTEGER NOT NULL,
        invited_by INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX invitations_by_workspace ON invitations (workspace, id);
    CREATE INDEX invitations_by_expiry ON invitations (expires_at);
",
    "
    -- Keys that sign access tokens, sealed with a secret that is not in this file. The one that is
    -- not to retire signs.
    CREATE TABLE signing_keys (
        kid TEXT PRIMARY KEY,
        sealed BLOB NOT NULL,
        created_at INTEGER NOT NULL,
        retires_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX signing_keys_current ON signing_keys ((retires_at IS NULL))
        WHERE retires_at IS NULL;
",
    "
    -- Who changed what. `hash` seals the body, its place and the hash before, with a key that is
    -- not in this file; what stands beside the body is in it, too.
    CREATE TABLE audit_log (
        seq INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        workspace INTEGER NOT NULL,
        body BLOB NOT NULL,
        hash BLOB NOT NULL
    ) STRICT;
    CREATE INDEX audit_log_by_workspace ON audit_log (workspace, seq);
    -- Where it ends, sealed: a log that was cut off cannot pass for a whole one.
    CREATE TABLE audit_head (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        seq INTEGER NOT NULL,
        hash BLOB NOT NULL,
        seal BLOB NOT NULL
    ) STRICT;
    CREATE TRIGGER audit_log_stays BEFORE UPDATE ON audit_log BEGIN
        SELECT raise(ABORT, 'entries of the audit log are never changed');
    END;
    CREATE TRIGGER audit_log_is_kept BEFORE DELETE ON audit_log BEGIN
        SELECT raise(ABORT, 'entries of the audit log are never removed');
    END;
",
    "
    -- The import that the store came from: which archive, and how many of its records are here.
    CREATE TABLE moves (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        archive BLOB NOT NULL,
        done INTEGER NOT NULL,
        finished INTEGER NOT NULL
    ) STRICT;
    -- Records of clicks until all of their place are here.
    CREATE TABLE moved_clicks (
        place INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        number INTEGER NOT NULL,
        line TEXT NOT NULL,
        PRIMARY KEY (place, kind, number)
    ) STRICT, WITHOUT ROWID;
",
];

/// The newest layout that this build knows.
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// Brings the file up to date. Call after [`refuse_strangers`].
pub(super) fn migrate(conn: &Connection) -> Outcome<()> {
    if version(conn)? == VERSION {
        return Ok(());
    }
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let done = apply_missing(conn);
    conn.execute_batch(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    done
}

/// Refuses, without touching it, a file of another program or of a newer version of this one.
pub(super) fn refuse_strangers(conn: &Connection) -> Outcome<()> {
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let owner: i64 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if tables > 0 && owner != APPLICATION_ID {
        return Err(Fault::Invalid("the file is a database of another program".into()));
    }
    let found = version(conn)?;
    if found > VERSION {
        return Err(Fault::Invalid(format!(
            "the store was written by a newer Shunt (layout {found}, this build knows {VERSION}); \
             start the newer version, or restore a backup made by this one"
        )));
    }
    Ok(())
}

/// Refuses a file of any other layout than that of this build.
pub(super) fn refuse_others(conn: &Connection) -> Outcome<()> {
    refuse_strangers(conn)?;
    let found = version(conn)?;
    if found < VERSION {
        return Err(Fault::Invalid(format!(
            "the store has an older layout ({found}, this build has {VERSION}); `shunt migrate` \
             brings it up to date"
        )));
    }
    Ok(())
}

/// Number of the last step that was applied; zero in a new file.
pub(super) fn version(conn: &Connection) -> Outcome<i64> {
    Ok(conn.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

fn apply_missing(conn: &Connection) -> Outcome<()> {
    // Read again under the lock: another process may have been faster.
    refuse_strangers(conn)?;
    let applied = usize::try_from(version(conn)?).unwrap_or(0);
    conn.execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID}"))?;
    for step in &STEPS[applied..] {
        conn.execute_batch(step)?;
    }
    conn.execute_batch(&format!("PRAGMA user_version = {VERSION}"))?;
    Ok(())
}

#[cfg(test)]
mod tests;
