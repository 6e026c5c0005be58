//! Lists: every filter and order of a query as one SQL statement, pages by the last row seen.

use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};
use tracing::warn;

use super::clicks::ClickView;
use super::fault::{Fault, Outcome};
use super::links::{ids, live_counter};
use super::rows::{self, COLUMNS, N_COLUMNS};
use super::{counter, search, signed, unsigned};
use crate::domain::link::{LinkState, LinkStatus};
use crate::storage::text::fold;
use crate::storage::{LinkPage, LinkQuery, LinkSort, PageMark, SortValue};

/// Up to here the clicks of a workspace are looked up link by link; above, all are read.
const FEW_LINKS: i64 = 500;
/// When a search had to compare more rows than this one by one, the index is told to hurry.
const PENDING_MANY: i64 = 2_000;

/// One page and the number of all matches, from one snapshot.
pub(super) fn list(conn: &Connection, query: &LinkQuery, hurry: &AtomicBool) -> Outcome<LinkPage> {
    let folded = query.text.as_deref().map(fold).filter(|text| !text.is_empty());
    let live = counter(conn, &live_counter(query.workspace))?;
    if needs_clicks(query) {
        search::register_clicks(conn, view_for(conn, query, live)?)?;
    }
    let plan = Plan::new(conn, query, folded.as_deref(), live, hurry)?;
    let total = plan.count(conn, query, live)?;
    let page = plan.page(conn, query);
    if needs_clicks(query) {
        // The counts of all links are not kept in memory between lists.
        search::register_clicks(conn, ClickView::default())?;
    }
    let (links, next) = page?;
    Ok(LinkPage { links, next, total })
}

/// Where candidates come from, and what they must satisfy.
struct Plan {
    from: String,
    from_values: Vec<Value>,
    conditions: String,
    values: Vec<Value>,
    /// Nothing but the workspace, or nothing but one tag: the answer to "how many" is at hand.
    known_total: Option<i64>,
}

impl Plan {
    fn new(
        conn: &Connection,
        query: &LinkQuery,
        folded: Option<&str>,
        live: i64,
        hurry: &AtomicBool,
    ) -> Outcome<Self> {
        let mut plan = Self {
            from: "links".into(),
            from_values: Vec::new(),
            conditions: "links.workspace = ? AND links.status <> 4".into(),
            values: vec![signed(query.workspace).into()],
            known_total: None,
        };
        let n_tagged = plan.tags(conn, query, live)?;
        plan.text(conn, folded, hurry)?;
        plan.fields(query);
        if let Some(state) = query.state {
            plan.state(state, query.now.as_millis());
        }
        let filtered = folded.is_some() || query.state.is_some() || has_fields(query);
        plan.known_total = match (filtered, query.tags.len()) {
            (true, _) => None,
            (false, 0) => Some(live),
            (false, 1) => n_tagged,
            (false, _) => None,
        };
        Ok(plan)
    }

    fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.conditions.push_str(" AND ");
        self.conditions.push_str(condition);
        self.values.extend(values);
    }

    /// A rare tag leads the search, a common one only filters. Answers how many have the rarest.
    fn tags(&mut self, conn: &Connection, query: &LinkQuery, live: i64) -> Outcome<Option<i64>> {
        let mut counted = Vec::new();
        for tag in &query.tags {
            let n: i64 = conn
                .prepare_cached("SELECT count(*) FROM link_tags WHERE workspace = ?1 AND tag = ?2")?
                .query_row((signed(query.workspace), tag), |row| row.get(0))?;
            counted.push((n, tag));
        }
        counted.sort();
        for (n, tag) in &counted {
            let values = [Value::from(signed(query.workspace)), Value::from((*tag).clone())];
            if *n < live / 16 + 1_000 && self.from_values.is_empty() {
                self.from =
                    "(SELECT link FROM link_tags WHERE workspace = ? AND tag = ?) AS found \
                     CROSS JOIN links ON links.id = found.link"
                        .into();
                self.from_values.extend(values);
            } else {
                self.and(
                    "EXISTS (SELECT 1 FROM link_tags WHERE link_tags.workspace = ? \
                     AND link_tags.tag = ? AND link_tags.link = links.id)",
                    values,
                );
            }
        }
        Ok(counted.first().map(|(n, _)| *n))
    }

    fn text(&mut self, conn: &Connection, folded: Option<&str>, hurry: &AtomicBool) -> Outcome<()> {
        let Some(folded) = folded else {
            return Ok(());
        };
        if let Some(question) = search::trigrams(folded) {
            let pending: i64 = conn
                .prepare_cached("SELECT count(*) FROM link_texts_pending")?
                .query_row([], |row| row.get(0))?;
            if pending > PENDING_MANY {
                hurry.store(true, Ordering::Relaxed);
            }
            let candidates = "SELECT rowid AS link FROM link_texts WHERE link_texts MATCH ? \
                 UNION SELECT link FROM link_texts_pending";
            if self.from_values.is_empty() {
                self.from =
                    format!("({candidates}) AS found CROSS JOIN links ON links.id = found.link");
                self.from_values.push(question.into());
            } else {
                self.and(&format!("links.id IN ({candidates})"), [question.into()]);
            }
        }
        self.and(
            "shunt_holds(?, links.code, links.destination, links.title, links.tags)",
            [Value::from(folded.to_owned())],
        );
        Ok(())
    }

    fn fields(&mut self, query: &LinkQuery) {
        if let Some(domain) = query.domain {
            self.and("links.domain = ?", [i64::from(domain.0).into()]);
        }
        if let Some(via) = query.created_via {
            self.and("links.created_via = ?", [i64::from(via as u8).into()]);
        }
        if let Some(after) = query.created_after {
            self.and("links.created_at >= ?", [after.as_millis().into()]);
        }
        if let Some(before) = query.created_before {
            self.and("links.created_at < ?", [before.as_millis().into()]);
        }
        if let Some(external_id) = &query.external_id {
            self.and("links.external_id = ?", [external_id.clone().into()]);
        }
    }

    /// The conditions of `Link::state`, in its order.
    fn state(&mut self, state: LinkState, now: i64) {
        let status = match state {
            LinkState::Disabled => LinkStatus::Disabled,
            LinkState::Archived => LinkStatus::Archived,
            LinkState::Blocked => LinkStatus::Blocked,
            _ => LinkStatus::Active,
        };
        self.and("links.status = ?", [i64::from(status as u8).into()]);
        const LIVING: &str = "(links.expires_at IS NULL OR links.expires_at > ?)";
        const EXHAUSTED: &str =
            "(links.max_clicks IS NOT NULL AND shunt_clicks(links.id) >= links.max_clicks)";
        match state {
            LinkState::Expired => self.and("links.expires_at <= ?", [now.into()]),
            LinkState::Exhausted => {
                self.and(LIVING, [now.into()]);
                self.and(EXHAUSTED, []);
            }
            LinkState::Scheduled | LinkState::Active => {
                self.and(LIVING, [now.into()]);
                self.and(&format!("NOT {EXHAUSTED}"), []);
                let started = state == LinkState::Active;
                let condition = if started {
                    "(links.starts_at IS NULL OR links.starts_at <= ?)"
                } else {
                    "links.starts_at > ?"
                };
                self.and(condition, [now.into()]);
            }
            LinkState::Disabled | LinkState::Archived | LinkState::Blocked => (),
        }
    }

    fn count(&self, conn: &Connection, _query: &LinkQuery, _live: i64) -> Outcome<u64> {
        if let Some(total) = self.known_total {
            return Ok(total.max(0) as u64);
        }
        let sql = format!("SELECT count(*) FROM {} WHERE {}", self.from, self.conditions);
        let values = self.from_values.iter().chain(&self.values);
        let total: i64 =
            conn.prepare_cached(&sql)?.query_row(params_from_iter(values), |row| row.get(0))?;
        Ok(total as u64)
    }

    fn page(
        &self,
        conn: &Connection,
        query: &LinkQuery,
    ) -> Outcome<(Vec<crate::domain::link::Link>, Option<PageMark>)> {
        let (value, descending) = order_of(query.sort);
        let (sign, way) = if descending { ("<", "DESC") } else { (">", "ASC") };
        let limit = query.limit.max(1) as usize;
        let mut values: Vec<Value> = self.from_values.iter().chain(&self.values).cloned().collect();
        let mut sql =
            format!("SELECT {COLUMNS}, {value} FROM {} WHERE {}", self.from, self.conditions);
        if let Some(mark) = &query.after {
            sql.push_str(&format!(" AND ({value}, links.id) {sign} (?, ?)"));
            values.push(match &mark.value {
                SortValue::Number(number) => (*number).into(),
                SortValue::Text(text) => text.clone().into(),
            });
            values.push(signed(mark.id).into());
        }
        sql.push_str(&format!(" ORDER BY {value} {way}, links.id {way} LIMIT ?"));
        values.push((limit as i64 + 1).into());

        let mut statement = conn.prepare_cached(&sql)?;
        let mut found = statement.query(params_from_iter(&values))?;
        let mut links = Vec::with_capacity(limit.min(1_000));
        let mut next = None;
        let mut n_rows = 0;
        while let Some(row) = found.next()? {
            if n_rows == limit {
                return Ok((links, next));
            }
            n_rows += 1;
            let id = unsigned(row.get(0)?);
            match rows::decode(row) {
                Ok(link) => links.push(link),
                // The others are still worth a list.
                Err(Fault::Damaged(cause)) => warn!(cause, "a damaged row is left out of a list"),
                Err(fault) => return Err(fault),
            }
            next = Some(PageMark { value: sort_value(row)?, id });
        }
        Ok((links, None))
    }
}

fn has_fields(query: &LinkQuery) -> bool {
    query.domain.is_some()
        || query.created_via.is_some()
        || query.created_after.is_some()
        || query.created_before.is_some()
        || query.external_id.is_some()
}

fn order_of(sort: LinkSort) -> (&'static str, bool) {
    match sort {
        LinkSort::CreatedDesc => ("links.created_at", true),
        LinkSort::CreatedAsc => ("links.created_at", false),
        LinkSort::UpdatedDesc => ("links.updated_at", true),
        LinkSort::ClicksDesc => ("shunt_clicks(links.id)", true),
        LinkSort::ClicksAsc => ("shunt_clicks(links.id)", false),
        LinkSort::TitleAsc => ("shunt_fold(links.title)", false),
    }
}

fn sort_value(row: &Row<'_>) -> Outcome<SortValue> {
    match row.get_ref(N_COLUMNS)? {
        ValueRef::Integer(number) => Ok(SortValue::Number(number)),
        ValueRef::Text(text) => std::str::from_utf8(text)
            .map(|text| SortValue::Text(text.to_owned()))
            .map_err(|error| Fault::corrupt(error.to_string())),
        _ => Err(Fault::corrupt("a link without the value it is sorted by")),
    }
}

fn sorts_by_clicks(query: &LinkQuery) -> bool {
    matches!(query.sort, LinkSort::ClicksDesc | LinkSort::ClicksAsc)
}

fn needs_clicks(query: &LinkQuery) -> bool {
    let by_limit = matches!(
        query.state,
        Some(LinkState::Active | LinkState::Scheduled | LinkState::Exhausted)
    );
    sorts_by_clicks(query) || by_limit
}

/// Clicks of as few links as the query allows.
fn view_for(conn: &Connection, query: &LinkQuery, live: i64) -> Outcome<ClickView> {
    if sorts_by_clicks(query) && live > FEW_LINKS {
        return ClickView::of_all(conn);
    }
    let sql = if sorts_by_clicks(query) {
        "SELECT id FROM links WHERE workspace = ?1 AND status <> 4"
    } else {
        "SELECT id FROM links WHERE workspace = ?1 AND max_clicks IS NOT NULL"
    };
    let wanted = ids(conn, sql, [signed(query.workspace)])?;
    ClickView::of(conn, &wanted)
}
