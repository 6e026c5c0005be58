//! Kinds of records that are rows of a table as they are: SQLite makes JSON of rows, and rows of
//! JSON.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::{send, unreadable};
use crate::domain::email::Email;
use crate::storage::embedded::fault::{Fault, Outcome};
use crate::storage::moving::{Kind, Out, Record};

/// How rows of a kind are told and how they are written. `None`: they are no plain rows.
const fn statements(kind: Kind) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        Kind::Blocks => (
            "SELECT json_object('space', space, 'next', next) FROM id_blocks ORDER BY space",
            "INSERT INTO id_blocks (space, next) VALUES (?1 ->> 'space', ?1 ->> 'next')",
        ),
        Kind::Marks => (
            "SELECT json_object('node', node, 'mark', mark) FROM clock_marks ORDER BY node",
            "INSERT INTO clock_marks (node, mark) VALUES (?1 ->> 'node', ?1 ->> 'mark')",
        ),
        Kind::Workspaces => (
            "SELECT json_object('id', id, 'name', name,
                 'operator', json(iif(operator, 'true', 'false')), 'created_at', created_at,
                 'closed_at', closed_at)
             FROM workspaces ORDER BY id",
            "INSERT INTO workspaces (id, name, operator, created_at, closed_at)
             VALUES (?1 ->> 'id', ?1 ->> 'name', ?1 ->> 'operator', ?1 ->> 'created_at',
                 ?1 ->> 'closed_at')",
        ),
        Kind::Settings => (
            "SELECT json_object('name', name, 'value', value) FROM counters
             WHERE name = 'anonymous_workspace'",
            "INSERT INTO counters (name, value) VALUES (?1 ->> 'name', ?1 ->> 'value')",
        ),
        Kind::Users => (
            "SELECT json_object('id', id, 'email', email, 'email_verified_at', email_verified_at,
                 'name', name, 'password', password, 'workspace', workspace,
                 'created_at', created_at, 'updated_at', updated_at, 'disabled_at', disabled_at)
             FROM users ORDER BY id",
            "INSERT INTO users (id, email, email_key, email_verified_at, name, password, workspace,
                 created_at, updated_at, disabled_at)
             VALUES (?1 ->> 'id', ?1 ->> 'email', ?1 ->> 'email_key', ?1 ->> 'email_verified_at',
                 ?1 ->> 'name', ?1 ->> 'password', ?1 ->> 'workspace', ?1 ->> 'created_at',
                 ?1 ->> 'updated_at', ?1 ->> 'disabled_at')",
        ),
        Kind::Identities => (
            "SELECT json_object('issuer', issuer, 'subject', subject, 'user', user,
                 'created_at', created_at)
             FROM identities",
            "INSERT INTO identities (issuer, subject, user, created_at)
             VALUES (?1 ->> 'issuer', ?1 ->> 'subject', ?1 ->> 'user', ?1 ->> 'created_at')",
        ),
        Kind::Clients => (
            "SELECT json_object('user', user, 'client', hex(client), 'seen_at', seen_at)
             FROM known_clients",
            "INSERT INTO known_clients (user, client, seen_at)
             VALUES (?1 ->> 'user', unhex(?1 ->> 'client'), ?1 ->> 'seen_at')",
        ),
        Kind::Members => (
            "SELECT json_object('workspace', workspace, 'user', user, 'role', role,
                 'joined_at', joined_at)
             FROM members",
            "INSERT INTO members (workspace, user, role, joined_at)
             VALUES (?1 ->> 'workspace', ?1 ->> 'user', ?1 ->> 'role', ?1 ->> 'joined_at')",
        ),
        Kind::Invitations => (
            "SELECT json_object('id', id, 'workspace', workspace, 'digest', hex(digest),
                 'email', email, 'role', role, 'invited_by', invited_by,
                 'created_at', created_at, 'expires_at', expires_at)
             FROM invitations ORDER BY id",
            "INSERT INTO invitations (id, workspace, digest, email, role, invited_by, created_at,
                 expires_at)
             VALUES (?1 ->> 'id', ?1 ->> 'workspace', unhex(?1 ->> 'digest'), ?1 ->> 'email',
                 ?1 ->> 'role', ?1 ->> 'invited_by', ?1 ->> 'created_at', ?1 ->> 'expires_at')",
        ),
        Kind::Sessions => (
            "SELECT json_object('id', id, 'user', user, 'workspace', workspace,
                 'generation', generation, 'digest', hex(digest), 'client', hex(client),
                 'created_at', created_at, 'rotated_at', rotated_at, 'expires_at', expires_at)
             FROM sessions ORDER BY id",
            "INSERT INTO sessions (id, user, workspace, generation, digest, client, created_at,
                 rotated_at, expires_at)
             VALUES (?1 ->> 'id', ?1 ->> 'user', ?1 ->> 'workspace', ?1 ->> 'generation',
                 unhex(?1 ->> 'digest'), unhex(?1 ->> 'client'), ?1 ->> 'created_at',
                 ?1 ->> 'rotated_at', ?1 ->> 'expires_at')",
        ),
        Kind::Tickets => (
            "SELECT json_object('digest', hex(digest), 'kind', kind, 'user', user,
                 'created_at', created_at, 'expires_at', expires_at)
             FROM tickets",
            "INSERT INTO tickets (digest, kind, user, created_at, expires_at)
             VALUES (unhex(?1 ->> 'digest'), ?1 ->> 'kind', ?1 ->> 'user', ?1 ->> 'created_at',
                 ?1 ->> 'expires_at')",
        ),
        Kind::ApiKeys => (
            "SELECT json_object('id', id, 'workspace', workspace, 'user', user, 'name', name,
                 'prefix', prefix, 'digest', hex(digest), 'scopes', scopes,
                 'created_at', created_at, 'expires_at', expires_at, 'revoked_at', revoked_at,
                 'last_used_at', last_used_at, 'uses', uses)
             FROM api_keys ORDER BY id",
            "INSERT INTO api_keys (id, workspace, user, name, prefix, digest, scopes, created_at,
                 expires_at, revoked_at, last_used_at, uses)
             VALUES (?1 ->> 'id', ?1 ->> 'workspace', ?1 ->> 'user', ?1 ->> 'name',
                 ?1 ->> 'prefix', unhex(?1 ->> 'digest'), ?1 ->> 'scopes', ?1 ->> 'created_at',
                 ?1 ->> 'expires_at', ?1 ->> 'revoked_at', ?1 ->> 'last_used_at', ?1 ->> 'uses')",
        ),
        Kind::SigningKeys => (
            "SELECT json_object('kid', kid, 'sealed', hex(sealed), 'created_at', created_at,
                 'retires_at', retires_at)
             FROM signing_keys",
            "INSERT INTO signing_keys (kid, sealed, created_at, retires_at)
             VALUES (?1 ->> 'kid', unhex(?1 ->> 'sealed'), ?1 ->> 'created_at',
                 ?1 ->> 'retires_at')",
        ),
        Kind::AccessChanges => (
            "SELECT json_object('at', at, 'session', session, 'workspace', workspace,
                 'user', user, 'role', role)
             FROM access_changes ORDER BY seq",
            "INSERT INTO access_changes (at, session, workspace, user, role)
             VALUES (?1 ->> 'at', ?1 ->> 'session', ?1 ->> 'workspace', ?1 ->> 'user',
                 ?1 ->> 'role')",
        ),
        Kind::Destinations => (
            "SELECT json_object('link', link, 'version', version, 'destination', destination)
             FROM link_destinations",
            "INSERT INTO link_destinations (link, version, destination)
             VALUES (?1 ->> 'link', ?1 ->> 'version', ?1 ->> 'destination')",
        ),
        Kind::Sealed => (
            "SELECT json_object('domain', domain) FROM foreign_sealed",
            "INSERT INTO foreign_sealed (domain) VALUES (?1 ->> 'domain')",
        ),
        Kind::Replays => (
            "SELECT json_object('workspace', workspace, 'key', key,
                 'fingerprint', hex(fingerprint), 'at', at,
                 'ids', iif(status IS NULL, hex(coalesce(body, x'')), NULL), 'status', status,
                 'location', location, 'etag', etag,
                 'body', iif(status IS NULL, NULL, hex(coalesce(body, x''))))
             FROM replays",
            "INSERT INTO replays (workspace, key, fingerprint, at, status, location, etag, body)
             VALUES (?1 ->> 'workspace', ?1 ->> 'key', unhex(?1 ->> 'fingerprint'), ?1 ->> 'at',
                 ?1 ->> 'status', ?1 ->> 'location', ?1 ->> 'etag',
                 unhex(coalesce(?1 ->> 'body', ?1 ->> 'ids')))",
        ),
        Kind::Positions => (
            "SELECT json_object('segment', segment, 'covered', applied) FROM click_positions",
            "INSERT INTO click_positions (segment, applied)
             VALUES (?1 ->> 'segment', ?1 ->> 'covered')",
        ),
        Kind::Secrets
        | Kind::Audit
        | Kind::Links
        | Kind::Batches
        | Kind::ClickDays
        | Kind::Clicks
        | Kind::ClickTotals => return None,
    })
}

pub(super) fn scan(conn: &Connection, kind: Kind, out: &mut Out) -> Outcome<()> {
    let (scan, _) = statements(kind).ok_or_else(|| unreadable(kind))?;
    let mut statement = conn.prepare(scan)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let line = row.get_ref(0)?.as_str().map_err(|error| Fault::corrupt(error.to_string()))?;
        send(out, Record::parse(kind, line).map_err(Fault::corrupt)?)?;
    }
    Ok(())
}

pub(super) fn put(conn: &Connection, record: &Record) -> Outcome<()> {
    let kind = record.kind();
    let (_, put) = statements(kind).ok_or_else(|| unreadable(kind))?;
    conn.prepare_cached(put)?.execute([line(record)?])?;
    Ok(())
}

/// The record as JSON, with what the table has beside it.
fn line(record: &Record) -> Outcome<String> {
    let line = record.to_line();
    let Record::Users(user) = record else { return Ok(line) };
    let email = Email::parse(&user.email).map_err(|_| unreadable(Kind::Users))?;
    let mut value: Value =
        serde_json::from_str(&line).map_err(|error| Fault::Invalid(error.to_string()))?;
    value["email_key"] = json!(email.key());
    Ok(value.to_string())
}
