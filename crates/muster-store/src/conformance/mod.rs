//! The suite that every store passes. A new database passes it before anything is built on it:
//!
//! ```ignore
//! muster_store::conformance_tests!(|clock| async { open_a_fresh_store(clock).await });
//! ```
//!
//! Each case gets a fresh, empty store that reads the clock it is given. Cases speak to the contract only.

#![expect(clippy::unwrap_used, reason = "a suite of tests")]

pub mod absences;
pub mod backlog;
pub mod backoffs;
pub mod changes;
pub mod contacts;
pub mod cordons;
pub mod dispatching;
pub mod drains;
pub mod failed;
pub mod fixture;
pub mod fleet;
pub mod inbound;
pub mod media;
pub mod messages;
pub mod policies;
pub mod receipts;
pub mod reports;
pub mod resolving;
pub mod retention;
pub mod sessions;
pub mod tenants;
pub mod waking;
pub mod walk;
pub mod windows;

/// Makes one test of each case of the suite. `$open` gives a fresh store that goes by the [`crate::Clock`] it is
/// called with: an `Arc<dyn Store>` with whatever must live as long as it.
#[macro_export]
macro_rules! conformance_tests {
    ($open:expr) => {
        $crate::conformance_cases! {
            $open;
            absences:
                a_bot_waits_unless_told_otherwise, what_could_have_left_fails, a_bot_fails_over_once_there_is_somewhere,
                a_lost_node_is_heard_when_it_is_back, the_absence_of_the_server_does_not_count,
                a_standby_gateway_is_in_use, a_turn_is_bounded;
            backlog:
                what_would_not_leave_in_time_is_refused, what_is_ahead_is_what_leaves_before, a_repeat_is_not_refused,
                what_is_for_later_is_taken, a_limit_slows_its_bot_down;
            backoffs:
                a_refused_bot_waits_as_a_whole, a_refused_gateway_holds_back_all_its_bots, one_message_tries_for_all,
                a_trial_decides_what_follows, what_was_under_way_tells_nothing_new, a_message_that_alone_is_refused_fails,
                an_outage_is_held_against_no_message, a_new_login_ends_only_the_wait_for_one;
            changes:
                a_cursor_goes_on_without_gap_or_repeat, a_filter_moves_the_cursor, a_late_watcher_is_told_so,
                commits_wake_watchers;
            contacts:
                an_opt_out_ends_what_waits, what_is_under_way_does_not_come_back, a_client_may_cancel_it_too,
                an_agent_that_was_away_is_asked, what_is_sent_again_fails, a_word_opts_its_sender_out, what_the_network_says_counts,
                only_their_own_word_takes_it_back, a_repeat_has_its_first_answer,
                an_opt_out_speaks_to_one_tenant_on_one_network, lists_page_and_filter;
            cordons:
                a_cordoned_node_gets_nothing_new, a_cordon_set_again_keeps_its_time, a_cordon_goes_with_its_node,
                what_waits_at_a_node_is_found;
            dispatching:
                a_message_goes_its_whole_way, what_is_due_again_is_not_overtaken,
                nothing_overtakes_an_attempt_that_may_return, priority_goes_before_acceptance, what_waited_for_long_takes_turns, a_claim_keeps_to_each_window,
                a_claim_keeps_to_its_attempts, a_claim_keeps_to_its_bytes, bots_that_cannot_send_are_left_alone,
                a_claim_leaves_out_bots_of_others, a_claim_refuses_what_expired, a_refused_message_blocks_its_chain_only,
                a_chain_goes_on_when_its_first_message_ends, an_uncertain_message_blocks_nobody, a_chain_that_was_given_back_keeps_its_order;
            drains:
                a_drain_tells_what_became_of_each, a_drain_may_begin_again, a_drain_ends_with_its_cordon,
                what_is_under_way_is_listed, what_comes_back_wakes_its_bot_where_it_is;
            failed:
                failures_are_counted_by_what_they_share, lists_page_and_filter, a_message_is_replayed_once,
                a_replay_goes_on_part_by_part, a_replay_keeps_to_its_bound, what_may_have_been_sent_is_not_replayed;
            fleet:
                what_was_declared_is_there, a_write_finds_what_it_expects, writes_of_a_call_are_all_or_nothing,
                a_request_is_carried_out_once, what_is_in_use_is_not_removed, an_address_has_one_owner,
                a_gateway_takes_its_bots_along, desired_states_are_differences,
                an_agent_is_told_what_it_does_not_have, apply_errors_are_shown_until_the_next_state,
                lists_page_and_filter, an_unknown_tenant_has_nothing, what_was_removed_is_gone_until_declared_again,
                a_node_declared_again_begins_behind_its_sessions, a_moved_bot_is_connected_by_its_new_node,
                writes_of_a_call_see_each_other, a_moved_bot_overtakes_nothing, a_bot_that_comes_back_waits_for_nothing,
                what_a_moved_bot_left_tells_nothing_of_its_gateway,
                what_a_thing_is_stays;
            inbound:
                a_message_that_comes_twice_is_kept_once, a_cursor_goes_on_without_gap_or_repeat, lists_page_and_filter;
            media:
                the_same_bytes_are_kept_once;
            messages:
                an_accepted_message_is_kept_as_given, a_key_returns_its_first_answer, a_key_tells_what_it_was_used_for,
                a_key_has_one_message_among_many_callers, ids_grow_in_the_order_of_acceptance,
                refusals_stay_with_their_message, retiring_a_bot_fails_what_waits, a_waiting_message_is_cancelled,
                a_dispatched_message_is_asked_for, an_earliest_time_parks_and_blocks_nobody, lists_page_and_filter,
                a_closed_store_says_so, what_returns_to_a_retired_bot_fails;
            policies:
                who_holds_decides_nothing, drop_gives_up_at_once, resend_waits_and_sends_again_once,
                what_is_settled_meanwhile_is_not_sent_again, what_may_not_leave_is_left_to_an_operator,
                policies_speak_of_lost_journals_too;
            receipts:
                a_receipt_may_overtake_its_outcome, receipts_never_move_back, receipts_keep_their_first_times,
                a_failed_receipt_fails_a_sent_message, an_early_failed_receipt_keeps_its_reason,
                receipts_follow_an_uncertain_message, receipts_stay_with_their_bot;
            reports:
                each_report_is_taken_once, an_unknown_report_takes_its_offset, outcomes_lead_to_their_states,
                outcomes_keep_their_evidence, a_retriable_failure_parks, handing_back_costs_no_try, tries_end,
                a_sent_message_is_sent_whatever_was_asked, an_outcome_of_an_earlier_attempt_changes_nothing,
                outcomes_of_one_batch_follow_each_other, reports_about_unknown_things_take_their_offsets,
                connections_decide_who_is_claimed, a_ban_fails_what_waits, a_refused_message_is_cancelled_if_asked,
                a_refusal_resolves_an_uncertain_attempt;
            resolving:
                decisions_lead_to_their_states, only_what_is_uncertain_is_resolved,
                what_is_sent_again_carries_the_permission, what_may_not_leave_is_not_sent_again,
                a_late_sent_beats_a_decision, a_late_sent_beside_a_resend_is_kept,
                a_message_taken_for_sent_hears_late_reports, a_repeated_uncertain_does_not_undo_a_resend,
                decisions_go_with_their_message;
            retention:
                what_is_not_over_stays, a_run_keeps_to_its_limit, what_is_young_stays, keys_outlive_their_messages,
                media_go_with_their_last_message;
            sessions:
                epochs_grow, an_unknown_node_has_no_session, a_fenced_session_changes_nothing,
                a_session_of_the_future_is_fenced, a_closed_session_takes_its_node_offline,
                an_older_opening_of_a_journal_is_a_fork, a_journal_opened_by_two_processes_is_a_fork,
                a_journal_that_ends_before_what_was_taken_is_a_fork, a_restart_takes_over,
                a_lost_journal_leaves_uncertain_attempts, a_restored_store_hears_again_what_is_remembered,
                what_a_restored_store_gave_up_may_turn_out_sent, what_a_restored_store_ended_is_what_it_came_to,
                a_number_that_is_given_again_is_not_held,
                what_an_agent_forgot_leaves_uncertain_messages, what_was_accepted_since_is_not_forgotten, unreceived_attempts_return_once_in_order, held_attempts_go_on,
                attempts_that_went_on_without_the_agent_are_dropped, reports_are_heard_before_attempts_return,
                a_late_sent_beats_what_was_believed, a_late_uncertain_beats_what_was_believed,
                wishes_to_cancel_are_repeated, attempts_belong_to_their_node, a_removed_node_leaves_uncertain_attempts;
            tenants:
                what_was_declared_is_there, a_removed_tenant_keeps_its_rows;
            waking:
                what_is_due_wakes_its_bot, the_next_wait_is_the_earliest, validity_ends, holds_end_by_themselves,
                an_attempt_of_which_nobody_tells_becomes_uncertain, many_ends_of_validity_take_several_turns;
            walk:
                a_first_walk_keeps_the_promises, a_second_walk_keeps_the_promises, a_third_walk_keeps_the_promises;
            windows:
                a_closed_window_holds_back, an_opening_wakes_who_waits_for_it, what_comes_back_waits_for_the_next_opening,
                a_change_is_told_to_the_agent, what_a_window_leaves_no_time_for_is_refused;
        }
    };
}

/// See [`conformance_tests`].
#[macro_export]
#[doc(hidden)]
macro_rules! conformance_cases {
    ($open:expr; $($module:ident: $($case:ident),+);+ $(;)?) => {
        $(mod $module {
            use super::*;
            $(#[tokio::test]
            async fn $case() {
                use $crate::conformance::fixture::{Fixture, MovedClock};
                let time = MovedClock::default();
                let (store, _keep) = ($open)(time.clock()).await;
                $crate::conformance::$module::$case(Fixture::on(time, store).await).await;
            })+
        })+
    };
}
