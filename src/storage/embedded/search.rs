//! Search in texts: an index of trigrams of folded text, which may lag behind and is checked.
//!
//! Indexing costs some 45 µs per link, as much as all the rest of an import, so it happens behind.
//! The index only narrows down: whatever it finds is compared with the row, and what it does not
//! know yet is compared row by row. A search is therefore exact at any time.

use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};

use super::clicks::ClickView;
use super::fault::Outcome;
use super::rows::decode_tags;
use super::unsigned;
use crate::storage::text::{fold, holds};

/// Trigrams of a query that the index is asked for; more would not narrow down much further.
const TRIGRAMS_MAX: usize = 24;

/// Gives a connection `shunt_holds(folded, code, destination, title, tags)` and `shunt_fold(text)`.
pub(super) fn register(conn: &Connection) -> Outcome<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    conn.create_scalar_function("shunt_holds", 5, flags, |context| {
        let folded = context.get_raw(0).as_str()?;
        for index in 1..4 {
            if holds(context.get_raw(index).as_str()?, folded) {
                return Ok(true);
            }
        }
        Ok(match context.get_raw(4) {
            ValueRef::Text(tags) => std::str::from_utf8(tags)
                .ok()
                .and_then(|tags| decode_tags(tags).ok())
                .is_some_and(|tags| tags.iter().any(|tag| holds(tag, folded))),
            _ => false,
        })
    })?;
    conn.create_scalar_function("shunt_fold", 1, flags, |context| {
        Ok(fold(context.get_raw(0).as_str()?))
    })?;
    Ok(())
}

/// Gives a connection `shunt_clicks(id)`, until it is given another.
pub(super) fn register_clicks(conn: &Connection, view: ClickView) -> Outcome<()> {
    conn.create_scalar_function("shunt_clicks", 1, FunctionFlags::SQLITE_UTF8, move |context| {
        let link = unsigned(context.get(0)?);
        Ok(i64::try_from(view.clicks(link)).unwrap_or(i64::MAX))
    })?;
    Ok(())
}

/// The question to the index for a folded text. `None` when it is too short to have a trigram.
pub(super) fn trigrams(folded: &str) -> Option<String> {
    let chars: Vec<char> = folded.chars().collect();
    let mut terms: Vec<String> = chars
        .windows(3)
        // The query parser ends at a zero byte.
        .filter(|three| !three.contains(&'\0'))
        .map(|three| format!("\"{}\"", three.iter().collect::<String>().replace('"', "\"\"")))
        .collect();
    terms.sort();
    terms.dedup();
    terms.truncate(TRIGRAMS_MAX);
    (!terms.is_empty()).then(|| terms.join(" AND "))
}

pub(super) fn has_pending(conn: &Connection) -> Outcome<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM link_texts_pending LIMIT 1")?.exists([])?)
}

/// Indexes up to `limit` links. Call inside a transaction.
pub(super) fn index_some(conn: &Connection, limit: u32) -> Outcome<()> {
    let mut statement =
        conn.prepare_cached("SELECT link, fresh FROM link_texts_pending ORDER BY link LIMIT ?1")?;
    let pending: Vec<(i64, bool)> = statement
        .query_map([limit], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut take_out = conn.prepare_cached("DELETE FROM link_texts WHERE rowid = ?1")?;
    let mut put_in = conn.prepare_cached("INSERT INTO link_texts (rowid, body) VALUES (?1, ?2)")?;
    let mut done = conn.prepare_cached("DELETE FROM link_texts_pending WHERE link = ?1")?;
    for (link, fresh) in pending {
        if !fresh {
            take_out.execute([link])?;
        }
        if let Some(body) = body_of(conn, link)? {
            put_in.execute((link, body))?;
        }
        done.execute([link])?;
    }
    Ok(())
}

/// Everything of a link that can be searched, folded; `None` when it is deleted.
fn body_of(conn: &Connection, link: i64) -> Outcome<Option<String>> {
    let body = conn
        .prepare_cached(
            "SELECT code, destination, title, tags FROM links WHERE id = ?1 AND status <> 4",
        )?
        .query_row([link], |row| {
            let tags: Option<String> = row.get(3)?;
            let text = [0, 1, 2].map(|index| row.get::<_, String>(index));
            let [code, destination, title] = text;
            Ok((format!("{}\n{}\n{}", code?, destination?, title?), tags))
        })
        .optional()?;
    let Some((mut body, tags)) = body else {
        return Ok(None);
    };
    for tag in tags.as_deref().map(decode_tags).transpose()?.unwrap_or_default() {
        body.push('\n');
        body.push_str(&tag);
    }
    Ok(Some(fold(&body)))
}
