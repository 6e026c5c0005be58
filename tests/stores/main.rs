//! One suite for every backend, and what only the embedded store must withstand.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod accounts;
mod ahead;
mod audit;
mod clicks;
mod counts;
mod cql;
mod cql_audit;
mod cql_clicks;
mod cql_feed;
mod cql_folds;
mod cql_grants;
mod cql_links;
mod cql_nodes;
mod cql_people;
mod damage;
mod durability;
mod events;
mod joined;
mod kept;
mod leaving;
mod links;
mod listing;
mod make;
mod model;
mod moving;
mod people;
mod pruned;
mod redis;
mod restores;
mod signing;
mod spoilt;
mod sums;
mod tampered;
mod tell;
mod traces;
mod workspaces;
mod zones;

#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/redis.rs"]
mod redis_server;
#[path = "../support/services.rs"]
mod services;
#[path = "../support/wire.rs"]
mod wire;

use shunt::domain::audit::AuditKey;
use shunt::storage::embedded::{Embedded, Mode};
use shunt::storage::memory::MemoryStore;

/// Runs each named case on each backend.
macro_rules! suite {
    ($($module:ident { $($case:ident),+ $(,)? })+) => {
        mod on_memory {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::$module::$case(super::MemoryStore::new()).await;
                }
            )+)+
        }

        /// While clicks are folded and texts indexed all the time, on a store opened twice.
        mod on_busy_embedded {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let folder = tempfile::tempdir().unwrap();
                    let store = super::Embedded::open(folder.path(), super::Mode::Create).unwrap();
                    let (path, mode) = (folder.path(), super::Mode::Existing);
                    let other = super::Embedded::open(path, mode).unwrap();
                    let upkeep = tokio::spawn(async move {
                        loop {
                            other.settle().await.unwrap();
                            tokio::task::yield_now().await;
                        }
                    });
                    store.seal_audit_log(super::AuditKey::of(&[7; 32]));
                    crate::$module::$case(store.stores()).await;
                    assert!(!upkeep.is_finished(), "upkeep failed");
                    upkeep.abort();
                }
            )+)+
        }

        /// Links behind Redis, as one node of several sees them.
        mod on_redis {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let stores = crate::redis::behind_redis(super::MemoryStore::new()).await;
                    crate::$module::$case(stores).await;
                }
            )+)+
        }

        /// On a real CQL database.
        mod on_cql {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let lent = crate::cql::lend().await;
                    crate::$module::$case(crate::cql::stores(lent.cql())).await;
                }
            )+)+
        }

        mod on_embedded {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let folder = tempfile::tempdir().unwrap();
                    let store = super::Embedded::open(folder.path(), super::Mode::Create).unwrap();
                    store.seal_audit_log(super::AuditKey::of(&[7; 32]));
                    crate::$module::$case(store.stores()).await;
                }
            )+)+
        }
    };
}

suite! {
    people {
        an_address_is_one_account_whatever_its_case,
        of_many_registrations_of_one_address_one_wins,
        names_and_addresses_change_and_another_address_is_not_proven,
        a_password_is_changed_from_the_one_that_is_and_sessions_end,
        a_token_is_exchanged_once_however_many_try,
        the_oldest_of_too_many_sessions_end,
        a_disabled_user_has_nothing_in_force,
        invitations_are_used_once_and_in_time,
        a_workspace_keeps_an_owner,
        whoever_leaves_leaves_no_key_behind,
        an_erased_user_leaves_ids_only,
        a_subject_of_a_provider_is_one_user,
        a_ticket_works_once_for_what_it_is_for,
        what_is_over_is_pruned_and_nothing_else,
    }
    leaving {
        offers_by_and_to_an_erased_user_go_with_it,
        offers_into_a_closed_workspace_go_with_it_whoever_made_them,
        clients_are_known_by_each_exchange_and_not_without_end,
        every_change_of_what_keys_may_do_moves_the_epoch,
    }
    links {
        a_claimed_link_comes_back_field_by_field,
        a_code_is_claimed_once,
        of_a_thousand_concurrent_claims_exactly_one_wins,
        one_call_cannot_claim_a_code_twice,
        an_external_id_is_unique_in_its_workspace_until_its_link_is_deleted,
        a_change_needs_the_version_before_it,
        racing_changes_of_one_version_let_one_through,
        a_moved_link_leaves_its_code_reserved,
        a_move_to_a_used_code_changes_nothing,
        active_links_of_a_destination_are_found_the_newest_first,
        a_scan_sees_every_link_once_in_order,
        an_import_counts_once,
        an_import_tells_apart_unchanged_and_taken,
        an_imported_link_whose_made_code_is_taken_gets_the_next_one,
        imported_clicks_are_in_the_totals_and_in_no_bucket,
        a_foreign_sealed_code_marks_its_domain,
    }
    listing {
        every_filter_selects_what_it_says,
        states_are_judged_at_the_time_asked_for,
        a_text_is_found_in_any_case_and_wildcards_mean_themselves,
        a_changed_text_is_found_by_its_new_words_only,
        every_order_pages_through_all_links_once,
        pages_stay_whole_while_links_are_added,
        deleted_links_are_not_listed_and_not_tagged,
        tags_are_counted,
    }
    clicks {
        a_flush_is_counted_by_minute_hour_and_day,
        the_same_flush_again_changes_nothing,
        a_flush_that_leaves_a_gap_is_refused_whole,
        segments_add_up,
        a_released_segment_is_forgotten_and_its_clicks_stay,
        many_flushes_add_up_exactly,
        the_most_clicked_links_are_the_hottest,
    }
    sums {
        a_link_is_told_by_day_hour_and_dimension,
        part_of_a_day_is_told_to_the_millisecond,
        buckets_have_bounds_of_any_kind,
        clicks_that_are_not_kept_one_by_one_are_in_every_sum,
        of_too_many_values_the_rest_is_one,
        texts_are_kept_as_they_are,
    }
    workspaces {
        a_workspace_is_the_sum_of_its_links,
        a_link_that_changes_hands_takes_its_clicks_along,
        tags_and_domains_choose_links_deleted_ones_too,
        buckets_of_a_workspace_tell_its_visitors,
        a_later_click_on_an_old_day_is_in_the_next_answer,
        past_destinations_tell_where_earlier_versions_led,
    }
    zones {
        zones_and_filters_are_told_as_later_clicks_come,
        zones_and_filters_are_told_after_clicks_were_erased,
        zones_and_filters_are_told_as_links_change,
    }
    events {
        a_click_comes_back_field_by_field,
        pages_of_clicks_go_through_all_of_them_once,
        clicks_are_chosen_by_time_and_by_who_clicked,
    }
    kept {
        an_erased_link_has_no_clicks_and_counts_again,
        sums_outlive_single_clicks,
        totals_outlive_everything,
        keys_of_visitors_are_made_once_and_destroyed_for_good,
    }
    accounts {
        of_many_first_starts_exactly_one_wins,
        workspaces_are_found_by_their_names_and_ids,
        a_digest_is_stored_once,
        a_key_is_revoked_once_and_in_its_workspace_only,
        uses_of_keys_add_up,
        every_change_of_a_key_moves_the_epoch,
        leased_blocks_never_overlap,
        a_clock_mark_never_falls,
        an_answer_is_replayed_until_its_window_ends,
        a_reservation_without_an_answer_lapses,
        an_abandoned_key_is_free_again,
        an_idempotency_key_belongs_to_its_workspace,
        a_request_without_an_outcome_gets_its_ids_back,
        a_late_request_leaves_the_reservation_of_another_alone,
    }
    signing {
        a_signing_key_comes_back_field_by_field,
        a_new_signing_key_retires_the_one_that_signs,
        who_does_not_know_the_key_that_signs_changes_nothing,
        of_many_rotations_at_once_exactly_one_wins,
        signing_keys_are_dropped_when_they_are_retired,
    }
    audit {
        every_change_of_a_link_is_told_with_its_versions,
        every_change_of_a_key_is_told,
        what_takes_no_effect_is_not_told,
        of_an_import_the_log_tells_once,
        pages_go_through_all_entries_once_the_newest_first,
        every_filter_of_the_log_selects_what_it_says,
        many_writers_make_one_log_without_gaps,
    }
}
