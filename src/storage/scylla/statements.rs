//! Every statement, from `cql/queries/`, prepared once at the start.
//!
//! A file holds the statements of one port, each below a line `-- name: kind`. The kind says how it
//! is run, see [`Kind`]. A name that is missing in the file or in the list here fails the start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use scylla::client::execution_profile::{ExecutionProfile, ExecutionProfileHandle};
use scylla::client::session::Session;
use scylla::policies::retry::{DefaultRetryPolicy, FallthroughRetryPolicy, RetryPolicy};
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};

use super::dialect::Dialect;
use super::fault::OpenError;
use crate::storage::patience::STATEMENT_MAX;

/// After which a second replica is asked for what a visitor waits for.
const SPECULATE_AFTER: Duration = Duration::from_millis(40);
/// The same for what an API request waits for, or nobody: much longer than a database that is well
/// takes, so that one that is busy is not asked for more, and short beside [`STATEMENT_MAX`].
const SPECULATE_REST_AFTER: Duration = Duration::from_millis(500);

/// How a statement is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Read for a visitor who waits: by a quorum, asked of a second replica when the first is slow,
    /// given up soon.
    Fill,
    /// Read by a quorum; of a second replica, too, when the first is very slow.
    Read,
    /// Read what conditional writes agreed on, finishing those that hang.
    Serial,
    /// A write that may be repeated, and is by a second replica when the first is very slow.
    Write,
    /// A conditional write. Never marked idempotent: to repeat it could answer "not applied" for
    /// what was.
    Lwt,
}

impl Kind {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "fill" => Self::Fill,
            "read" => Self::Read,
            "serial" => Self::Serial,
            "write" => Self::Write,
            "lwt" => Self::Lwt,
            _ => return None,
        })
    }
}

/// Time limits and policies, one set for each kind.
pub(super) struct Profiles {
    fill_timeout: Duration,
    fill: ExecutionProfileHandle,
    rest: ExecutionProfileHandle,
    lwt: ExecutionProfileHandle,
}

impl Profiles {
    /// `fill_timeout` is what a visitor waits for at most.
    pub(super) fn new(fill_timeout: Duration) -> Self {
        let speculative = |retry_interval| {
            Arc::new(SimpleSpeculativeExecutionPolicy { max_retry_count: 1, retry_interval })
        };
        let profile = |timeout, retry: Arc<dyn RetryPolicy>| {
            ExecutionProfile::builder()
                .consistency(Consistency::LocalQuorum)
                .serial_consistency(Some(SerialConsistency::LocalSerial))
                .request_timeout(Some(timeout))
                .retry_policy(retry)
        };
        let again = || Arc::new(DefaultRetryPolicy::new());
        Self {
            fill_timeout,
            fill: profile(fill_timeout, again())
                .speculative_execution_policy(Some(speculative(SPECULATE_AFTER)))
                .build()
                .into_handle(),
            rest: profile(STATEMENT_MAX, again())
                .speculative_execution_policy(Some(speculative(SPECULATE_REST_AFTER)))
                .build()
                .into_handle(),
            lwt: profile(STATEMENT_MAX, Arc::new(FallthroughRetryPolicy::new()))
                .build()
                .into_handle(),
        }
    }

    /// For what is run unprepared: the schema.
    pub(super) fn rest(&self) -> ExecutionProfileHandle {
        self.rest.clone()
    }
}

/// Prepares the statements of one file; answers them by name.
pub(super) async fn prepare(
    session: &Session,
    profiles: &Profiles,
    dialect: Dialect,
    file: &'static str,
) -> Result<BTreeMap<&'static str, PreparedStatement>, OpenError> {
    let all = parse(file)?.into_iter().map(|(name, kind, text)| async move {
        let text = match kind {
            Kind::Fill => dialect.with_timeout(text, profiles.fill_timeout),
            _ => text.to_owned(),
        };
        let prepared = session.prepare(text).await;
        let mut prepared =
            prepared.map_err(|cause| OpenError::Prepare { name, cause: Box::new(cause) })?;
        prepared.set_is_idempotent(kind != Kind::Lwt);
        if kind == Kind::Serial {
            prepared.set_consistency(Consistency::LocalSerial);
        }
        prepared.set_execution_profile_handle(Some(match kind {
            Kind::Fill => profiles.fill.clone(),
            Kind::Read | Kind::Serial | Kind::Write => profiles.rest.clone(),
            Kind::Lwt => profiles.lwt.clone(),
        }));
        Ok::<_, OpenError>((name, prepared))
    });
    Ok(try_join_all(all).await?.into_iter().collect())
}

/// Name, kind and text of each statement in a file.
fn parse(file: &'static str) -> Result<Vec<(&'static str, Kind, &'static str)>, OpenError> {
    let bad = |line: &str| OpenError::Query(line.to_owned());
    let mut statements = Vec::new();
    for part in file.split("\n-- ").map(|part| part.strip_prefix("-- ").unwrap_or(part)) {
        if part.trim().is_empty() {
            continue;
        }
        let (head, text) = part.split_once('\n').ok_or_else(|| bad(part))?;
        let (name, kind) = head.split_once(": ").ok_or_else(|| bad(head))?;
        let kind = Kind::from_word(kind.trim()).ok_or_else(|| bad(head))?;
        let text = text.trim().strip_suffix(';').ok_or_else(|| bad(head))?;
        statements.push((name, kind, text));
    }
    Ok(statements)
}

/// Makes structs of prepared statements out of the files in `cql/queries/`.
macro_rules! statements {
    ($($struct:ident in $field:ident: $file:literal { $($name:ident),+ $(,)? })+) => {
        /// All statements, by port.
        pub(super) struct Statements {
            $(pub(super) $field: $struct,)+
        }

        impl Statements {
            pub(super) async fn prepare(
                session: &Session,
                profiles: &Profiles,
                dialect: Dialect,
            ) -> Result<Self, OpenError> {
                Ok(Self {
                    $($field: {
                        let file = include_str!(concat!("../../../cql/queries/", $file));
                        let mut all = prepare(session, profiles, dialect, file).await?;
                        let statements = $struct {
                            $($name: all.remove(stringify!($name))
                                .ok_or_else(|| OpenError::Query(stringify!($name).to_owned()))?,)+
                        };
                        if let Some(name) = all.into_keys().next() {
                            return Err(OpenError::Query(name.to_owned()));
                        }
                        statements
                    },)+
                })
            }
        }

        $(pub(super) struct $struct {
            $(pub(super) $name: PreparedStatement,)+
        })+
    };
}

statements! {
    FeedStatements in feed: "feed.cql" {
        add, read,
    }
    GrantStatements in grants: "grants.cql" {
        granted, first_grant, grant,
    }
    NodeStatements in nodes: "nodes.cql" {
        next_block, first_block, take_block, clock_mark, first_mark, raise_mark,
        leased, lease_node, note_holder, renew_node, retake_node, release_node, secrets,
        keep_secrets,
    }
    LinkStatements in links: "links.cql" {
        fetch, read, agree, insert, replace, leave, arrive, turn_back, open_id, settle_id,
        drop_id, keys_of_id, ids_after, count_ids, open_ids, put_bucket, close_bucket, buckets,
        open_owned, settle_owned, drop_owned, owned_newest, owned_oldest, count_owned,
        put_owner_bucket, owner_buckets, put_destination, drop_destination, of_destination,
        put_creator, drop_creator, of_creator, hold_external, external, take_external,
        free_external, put_past, begin_batch, batch, end_batch, put_imported_clicks,
        mark_foreign_sealed, foreign_sealed, hot,
    }
    FindingStatements in finding: "finding.cql" {
        claim, claimed, claimant, take_over, release, note, noted, forget, forget_all, plan, due,
        seen_to, hour_is_over,
    }
    WorkspaceStatements in workspaces: "workspaces.cql" {
        whole, plain, closed, member, of_kind, invitation, put, put_member, put_invitation,
        put_untold, remove, told, unmake,
    }
    UserStatements in users: "users.cql" {
        whole, plain, row, settled_row, put, touch, put_session, put_ticket, end_row, remove,
        rotate, take_ticket, unmake,
    }
    AccessStatements in access: "access.cql" {
        end, settled_end, changes, stamp_at, lead_on, extend, add, remove_up_to, know, known, knows,
        unknow, unknow_all,
    }
    AccountStatements in accounts: "accounts.cql" {
        found, installation, operator, finish, mark, settled_mark, move_mark, add_key, keys, key,
        revoke, unname, count,
    }
    SigningStatements in signing: "signing.cql" {
        keys, sign_with, add, retire, remove,
    }
    ReplayStatements in replays: "replays.cql" {
        known, put, forget,
    }
    AuditStatements in audit: "audit.cql" {
        end, settled_end, hash_at, extend, add, part, index, entries, n_entries,
    }
    ClickStatements in clicks: "clicks.cql" {
        nodes, raise_node, position, open_flush, forget_segment, touch, flushes, touched,
        newest_flush, forget_flush, note_day, list_link, list_day, put_chunk, put_sums,
        put_counts, mark_bare, mark_erased, forget_counts, forget_chunks, forget_sums, imported,
        forget_imported, unlist_day, unlist_links, visitor_keys, add_visitor_key,
        drop_visitor_key, need_keys, key_needs, put_hot,
    }
    MovingStatements in moving: "moving.cql" {
        moved, begin, came_to, finish, take_back, any_installation, any_workspace, any_link,
        any_secrets, leases, blocks, marks, workspace_ids, user_ids, claims, clients, audit_end,
        audit_part, links, destinations, sealed, batches, replays, positions, days, erased,
        chunks, imported, put_secrets, put_block, put_mark, put_setting, put_installation,
        put_workspace, put_user, put_claim, put_key, sign_with, last_change, first_hour,
        end_audit, put_link, put_external, put_batch, put_replay,
    }
    StatsStatements in stats: "stats.cql" {
        days, heads, chunks, chunk, sums, sums_reach, calendar, listed, past_destinations,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_statement_by_statement() {
        let file = "-- one: read\nSELECT a\nFROM b;\n\n-- two: lwt\nINSERT;\n";
        let expected = vec![("one", Kind::Read, "SELECT a\nFROM b"), ("two", Kind::Lwt, "INSERT")];
        assert_eq!(parse(file).unwrap(), expected);
        for bad in ["-- one\nSELECT;", "-- one: what\nSELECT;", "-- one: read\nSELECT"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
