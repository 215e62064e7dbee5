//! Sessions: accept, report, repeat, chains, credit, drain, and a server that misbehaves.

use std::time::Duration;

use muster_domain::content::MediaDigest;
use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::agent_frame::Body as AgentBody;
use muster_proto::agent_v1::server_frame::Body as ServerBody;
use wire::Outcome::{Cancelled, Expired, Failed, HandedBack, Sent, Uncertain};

use super::server::{desired, welcome};
use super::{Bench, attempt, until};
use crate::error::{AgentError, Refusal};

fn kinds(outcomes: &[(u64, wire::OutcomeReport)]) -> Vec<(u64, wire::Outcome)> {
    outcomes.iter().map(|(_, outcome)| (outcome.attempt.unwrap().message_id, outcome.outcome())).collect()
}

fn sorted<T: Ord + Clone>(list: &[T]) -> Vec<T> {
    let mut list = list.to_vec();
    list.sort();
    list
}

fn with_chain(chain: u64, attempt: wire::Attempt) -> wire::Attempt {
    wire::Attempt { chain, ..attempt }
}

#[tokio::test]
async fn what_is_dispatched_is_acknowledged_sent_in_order_and_reported() {
    let (bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "ok"), attempt(2, "a", "refuse"), attempt(3, "a", "unknown")]).await;
    session.dispatch(0, vec![attempt(4, "a", "ok")]).await;
    let outcomes = session.outcomes(4).await;
    assert_eq!(kinds(&outcomes), [(1, Sent), (2, Failed), (3, Uncertain), (4, Sent)]);
    assert_eq!(outcomes[0].1.network_id, "id-1");
    assert_eq!(outcomes[1].1.failure.as_ref().unwrap().reason(), wire::FailureReason::ContentRejected);
    assert_eq!(bench.agent.gateway.sent(), [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_slow_bot_does_not_delay_another() {
    let (bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "hang"), attempt(2, "a", "ok"), attempt(3, "b", "ok")]).await;
    assert_eq!(kinds(&session.outcomes(1).await), [(3, Sent)]);
    bench.agent.gateway.release(1);
    assert_eq!(kinds(&session.outcomes(2).await), [(1, Sent), (2, Sent)]);
}

#[tokio::test]
async fn a_broken_chain_waits_for_the_message_that_comes_again() {
    let (bench, mut session) = Bench::new().await;
    let chain = |id, text| with_chain(7, attempt(id, "a", text));
    session.dispatch(0, vec![chain(1, "retry"), chain(2, "ok"), attempt(3, "a", "ok"), chain(4, "ok")]).await;
    let outcomes = session.outcomes(4).await;
    assert_eq!(sorted(&kinds(&outcomes)), [(1, Failed), (2, HandedBack), (3, Sent), (4, HandedBack)]);
    assert_eq!(
        (outcomes[1].1.attempt.unwrap().message_id, outcomes[1].1.handback_reason()),
        (2, wire::HandbackReason::ChainBroken)
    );
    // Chosen before the failure was known: an earlier one has to go first. Its own return has to be known as well.
    session.dispatch(outcomes[0].0, vec![chain(5, "ok")]).await;
    let back = session.outcomes(1).await;
    assert_eq!(kinds(&back), [(5, HandedBack)]);
    let again = wire::Attempt { r#ref: Some(wire::AttemptRef { message_id: 1, attempt_no: 2 }), ..chain(1, "ok") };
    session.dispatch(back[0].0, vec![again, chain(2, "ok")]).await;
    assert_eq!(kinds(&session.outcomes(2).await), [(1, Sent), (2, Sent)]);
    assert_eq!(bench.agent.gateway.sent(), [1, 3, 1, 2]);
}

#[tokio::test]
async fn a_refused_bot_gives_back_what_was_chosen_before_the_refusal_was_known() {
    let (bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "limited"), attempt(2, "a", "ok"), attempt(3, "b", "ok")]).await;
    let outcomes = session.outcomes(3).await;
    assert_eq!(sorted(&kinds(&outcomes)), [(1, Failed), (2, HandedBack), (3, Sent)]);
    let back = outcomes.iter().find(|(_, outcome)| outcome.attempt.unwrap().message_id == 2).unwrap();
    assert_eq!(back.1.handback_reason(), wire::HandbackReason::BotUnavailable);
    session.dispatch(back.0, vec![attempt(2, "a", "ok")]).await;
    assert_eq!(kinds(&session.outcomes(1).await), [(2, Sent)]);
    assert_eq!(bench.agent.gateway.sent().len(), 3);
}

#[tokio::test]
async fn a_known_outcome_is_repeated_and_nothing_is_sent_again() {
    let (bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "ok")]).await;
    let first = session.outcomes(1).await;
    // Not acknowledged yet: it has been reported already.
    session.dispatch(0, vec![attempt(1, "a", "ok")]).await;
    session.acknowledge(first[0].0).await;
    session.dispatch(0, vec![attempt(2, "a", "ok")]).await;
    assert_eq!(kinds(&session.outcomes(1).await), [(2, Sent)]);
    session.dispatch(0, vec![attempt(1, "a", "ok")]).await;
    let again = session.outcomes(1).await;
    assert_eq!((kinds(&again), again[0].1.network_id.as_str()), (vec![(1, Sent)], "id-1"));
    let later =
        wire::Attempt { r#ref: Some(wire::AttemptRef { message_id: 1, attempt_no: 2 }), ..attempt(1, "a", "ok") };
    session.dispatch(0, vec![later]).await;
    let again = session.outcomes(1).await;
    assert_eq!(again[0].1.attempt.unwrap().attempt_no, 2);
    assert_eq!(bench.agent.gateway.sent(), [1, 2]);
}

#[tokio::test]
async fn what_may_have_been_sent_is_not_sent_again_under_another_number() {
    let (bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "unknown")]).await;
    let first = session.outcomes(1).await;
    session.acknowledge(first[0].0).await;
    let later =
        wire::Attempt { r#ref: Some(wire::AttemptRef { message_id: 1, attempt_no: 3 }), ..attempt(1, "a", "ok") };
    session.dispatch(0, vec![later]).await;
    let again = session.outcomes(1).await;
    assert_eq!((kinds(&again), again[0].1.attempt.unwrap().attempt_no), (vec![(1, Uncertain)], 3));
    assert_eq!(bench.agent.gateway.sent(), [1]);
}

#[tokio::test]
async fn what_may_have_been_sent_is_sent_again_where_an_operator_decided_so() {
    let (bench, mut session) = Bench::new().await;
    let later = |attempt_no, resend_after| wire::Attempt {
        r#ref: Some(wire::AttemptRef { message_id: 1, attempt_no }),
        resend_after,
        ..attempt(1, "a", "ok")
    };
    session.dispatch(0, vec![attempt(1, "a", "unknown")]).await;
    let first = session.outcomes(1).await;
    session.acknowledge(first[0].0).await;
    session.dispatch(first[0].0, vec![later(2, 1)]).await;
    let second = session.outcomes(1).await;
    assert_eq!((kinds(&second), second[0].1.attempt.unwrap().attempt_no), (vec![(1, Sent)], 2));
    session.acknowledge(second[0].0).await;
    // A server that was restored and forgot that it was sent.
    session.dispatch(second[0].0, vec![later(3, 1)]).await;
    let again = session.outcomes(1).await;
    assert_eq!((kinds(&again), again[0].1.attempt.unwrap().attempt_no), (vec![(1, Sent)], 3));
    assert_eq!(bench.agent.gateway.sent(), [1, 1]);
}

#[tokio::test]
async fn a_failure_that_is_told_again_breaks_its_chain_again() {
    let (bench, mut session) = Bench::new().await;
    let chain = |id, text| with_chain(7, attempt(id, "a", text));
    session.dispatch(0, vec![chain(1, "retry")]).await;
    let failed = session.outcomes(1).await;
    assert_eq!(kinds(&failed), [(1, Failed)]);
    session.acknowledge(failed[0].0).await;
    // A server that was restored and forgot that it failed chose a later message behind it.
    session.dispatch(failed[0].0, vec![chain(1, "retry"), chain(2, "ok")]).await;
    let again = session.outcomes(2).await;
    assert_eq!(kinds(&again), [(1, Failed), (2, HandedBack)]);
    let next = wire::Attempt { r#ref: Some(wire::AttemptRef { message_id: 1, attempt_no: 2 }), ..chain(1, "ok") };
    session.dispatch(again[1].0, vec![next, chain(2, "ok")]).await;
    assert_eq!(kinds(&session.outcomes(2).await), [(1, Sent), (2, Sent)]);
    assert_eq!(bench.agent.gateway.sent(), [1, 1, 2]);
}

#[tokio::test]
async fn two_attempts_of_one_message_in_a_frame_are_sent_once() {
    let (bench, mut session) = Bench::new().await;
    let second =
        wire::Attempt { r#ref: Some(wire::AttemptRef { message_id: 1, attempt_no: 2 }), ..attempt(1, "a", "ok") };
    session.dispatch(0, vec![attempt(1, "a", "hang"), attempt(1, "a", "hang"), second]).await;
    let back = session.outcomes(1).await;
    assert_eq!((kinds(&back), back[0].1.attempt.unwrap().attempt_no), (vec![(1, HandedBack)], 2));
    bench.agent.gateway.release(5);
    assert_eq!(kinds(&session.outcomes(1).await), [(1, Sent)]);
    assert_eq!(bench.agent.gateway.sent(), [1]);
}

#[tokio::test]
async fn a_lost_session_is_resumed_from_the_servers_last_commit() {
    let (mut bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "b", "ok"), attempt(2, "a", "hang"), attempt(3, "a", "ok")]).await;
    let first = session.outcomes(1).await;
    drop(session);
    let mut session = bench.server.session().await;
    let hello = session.hello().await;
    let held = hello.held.iter().map(|held| (held.attempt.unwrap().message_id, held.started)).collect::<Vec<_>>();
    assert_eq!(
        sorted(&held),
        [(1, true), (2, true), (3, false)],
        "an outcome that is not acknowledged is held as well"
    );
    assert_eq!((hello.desired_version, hello.desired_lineage), (1, super::server::LINEAGE));
    assert!(hello.report_head >= first[0].0);
    session.welcome(first[0].0 - 1).await;
    assert_eq!(session.outcomes(1).await[0].0, first[0].0);
    bench.agent.gateway.release(1);
    assert_eq!(kinds(&session.outcomes(2).await), [(2, Sent), (3, Sent)]);
    assert_eq!(sorted(&bench.agent.gateway.sent()), [1, 2, 3]);
}

#[tokio::test]
async fn the_agent_works_on_while_the_server_is_away() {
    let (mut bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "hang"), attempt(2, "a", "ok")]).await;
    drop(session);
    bench.agent.gateway.release(1);
    until("the sends", || bench.agent.gateway.sent().len() == 2).await;
    let mut session = bench.server.session().await;
    session.hello().await;
    session.welcome(0).await;
    assert_eq!(kinds(&session.outcomes(2).await), [(1, Sent), (2, Sent)]);
}

#[tokio::test]
async fn what_the_server_takes_back_is_forgotten_unstarted() {
    let (mut bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "hang"), attempt(2, "a", "ok"), attempt(3, "a", "ok")]).await;
    drop(session);
    let mut session = bench.server.session().await;
    session.hello().await;
    let named = |message_id| wire::AttemptRef { message_id, attempt_no: 1 };
    // The first one is with the gateway: it cannot be taken back any more.
    let drop_two = wire::Welcome { drop: vec![named(1), named(2)], ..welcome(0) };
    session.send(ServerBody::Welcome(drop_two)).await;
    session.dispatch(0, vec![attempt(4, "b", "ok")]).await;
    assert_eq!(kinds(&session.outcomes(1).await), [(4, Sent)]);
    bench.agent.gateway.release(1);
    assert_eq!(kinds(&session.outcomes(2).await), [(1, Sent), (3, Sent)]);
    assert_eq!(sorted(&bench.agent.gateway.sent()), [1, 3, 4]);
    drop(session);
    let mut session = bench.server.session().await;
    assert!(session.hello().await.held.iter().all(|held| held.attempt != Some(named(2))));
}

#[tokio::test]
async fn what_is_cancelled_in_time_is_not_sent() {
    let (bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "hang"), attempt(2, "a", "ok")]).await;
    until("the first send", || bench.agent.gateway.sent() == [1]).await;
    let named = |message_id| wire::AttemptRef { message_id, attempt_no: 1 };
    session.send(ServerBody::Cancel(wire::CancelAttempts { attempts: vec![named(1), named(2), named(9)] })).await;
    assert_eq!(kinds(&session.outcomes(1).await), [(2, Cancelled)]);
    bench.agent.gateway.release(1);
    assert_eq!(kinds(&session.outcomes(1).await), [(1, Sent)]);
}

#[tokio::test]
async fn what_comes_too_late_expires() {
    let (bench, mut session) = Bench::new().await;
    let hurried = wire::Attempt { start_within_ms: 20, ..attempt(2, "a", "ok") };
    session.dispatch(0, vec![attempt(1, "a", "hang"), hurried]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    bench.agent.gateway.release(1);
    assert_eq!(kinds(&session.outcomes(2).await), [(1, Sent), (2, Expired)]);
}

#[tokio::test]
async fn what_a_window_closes_before_goes_back_with_what_is_behind_it() {
    let (bench, mut session) = Bench::new().await;
    let hurried =
        |id| wire::Attempt { start_within_ms: 20, window_closes: true, ..with_chain(7, attempt(id, "a", "ok")) };
    let behind = with_chain(7, attempt(3, "a", "ok"));
    session.dispatch(0, vec![attempt(1, "a", "hang"), hurried(2), behind]).await;
    until("the first send", || bench.agent.gateway.sent() == [1]).await;
    // All of them have arrived by now: the second one is as old as this takes at the least.
    tokio::time::sleep(Duration::from_millis(30)).await;
    bench.agent.gateway.release(1);
    let outcomes = session.outcomes(3).await;
    assert_eq!(kinds(&outcomes), [(1, Sent), (2, HandedBack), (3, HandedBack)]);
    let reasons: Vec<_> = outcomes[1..].iter().map(|(_, outcome)| outcome.handback_reason()).collect();
    assert_eq!(reasons, [wire::HandbackReason::WindowClosed, wire::HandbackReason::ChainBroken]);
}

#[tokio::test]
async fn what_was_chosen_by_an_earlier_window_goes_back() {
    let (bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "hang"), attempt(2, "a", "ok")]).await;
    until("the first send", || bench.agent.gateway.sent() == [1]).await;
    let mut state = desired(2, true);
    state.bots[0].window_generation = 1;
    session.send(ServerBody::DesiredState(state)).await;
    assert_eq!(session.desired_status().await.version, 2);
    let chosen_since = wire::Attempt { window_generation: 1, ..attempt(3, "a", "ok") };
    session.dispatch(0, vec![chosen_since, attempt(4, "b", "ok")]).await;
    assert_eq!(kinds(&session.outcomes(1).await), [(4, Sent)], "it is another bot's window");
    bench.agent.gateway.release(1);
    let outcomes = session.outcomes(3).await;
    assert_eq!(kinds(&outcomes), [(1, Sent), (2, HandedBack), (3, Sent)]);
    assert_eq!(outcomes[1].1.handback_reason(), wire::HandbackReason::WindowClosed);
}

#[tokio::test]
async fn a_held_bot_sends_nothing_more() {
    let (bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "hang"), attempt(2, "a", "ok")]).await;
    session.send(ServerBody::DesiredState(desired(2, false))).await;
    assert_eq!(session.desired_status().await.version, 2);
    bench.agent.gateway.release(1);
    let outcomes = session.outcomes(2).await;
    assert_eq!(kinds(&outcomes), [(1, Sent), (2, HandedBack)]);
    assert_eq!(outcomes[1].1.handback_reason(), wire::HandbackReason::BotUnavailable);
    session.dispatch(0, vec![attempt(3, "stranger", "ok")]).await;
    assert_eq!(kinds(&session.outcomes(1).await), [(3, HandedBack)]);
    assert_eq!(bench.agent.gateway.sent(), [1]);
}

#[tokio::test]
async fn a_bot_without_a_usable_gateway_is_told_and_the_others_work() {
    let (_bench, mut session) = Bench::new().await;
    let mut state = desired(2, true);
    state.gateways.push(wire::DesiredGateway { id: "h".into(), kind: "evolution".into() });
    state.bots[1].gateway = "h".into();
    session.send(ServerBody::DesiredState(state)).await;
    let status = session.desired_status().await;
    let named: Vec<_> = status.errors.iter().map(|error| error.name.as_str()).collect();
    assert_eq!(named, ["gateways/h", "bots/b"]);
    assert!(status.errors[0].message.contains("[gateways.h]"), "{}", status.errors[0].message);
    session.dispatch(0, vec![attempt(1, "a", "ok"), attempt(2, "b", "ok")]).await;
    assert_eq!(sorted(&kinds(&session.outcomes(2).await)), [(1, Sent), (2, HandedBack)]);
}

#[tokio::test]
async fn a_difference_that_does_not_fit_ends_the_session_and_the_whole_is_asked_for() {
    let (mut bench, mut session) = Bench::new().await;
    session
        .send(ServerBody::DesiredState(wire::DesiredState { version: 9, base_version: 8, ..desired(9, true) }))
        .await;
    assert_eq!(session.goodbye().await, wire::goodbye::Reason::ServerFault);
    drop(session);
    let hello = bench.server.session().await.hello().await;
    assert_eq!((hello.desired_version, hello.desired_lineage), (0, 0));
}

#[tokio::test]
async fn a_state_that_was_not_told_to_its_end_leaves_nothing_behind() {
    let (mut bench, mut session) = Bench::new().await;
    let begun = wire::DesiredState { more: true, ..desired(2, true) };
    session.send(ServerBody::DesiredState(begun)).await;
    // What it answers to this one shows that it has read the other.
    session.dispatch(0, vec![attempt(1, "a", "ok")]).await;
    session.outcomes(1).await;
    drop(session);
    let mut session = bench.server.session().await;
    session.hello().await;
    session.welcome(0).await;
    let namesake = wire::DesiredState { bots: desired(2, true).bots.split_off(1), ..desired(2, true) };
    session.send(ServerBody::DesiredState(namesake)).await;
    assert_eq!(session.desired_status().await.version, 2);
    session.dispatch(0, vec![attempt(2, "a", "ok"), attempt(3, "b", "ok")]).await;
    assert_eq!(sorted(&kinds(&session.outcomes(3).await)), [(1, Sent), (2, HandedBack), (3, Sent)]);
}

#[tokio::test]
async fn an_attempt_that_breaks_a_rule_fails_and_the_next_is_sent() {
    let (_bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", ""), attempt(2, "Not A Bot", "ok"), attempt(3, "a", "ok")]).await;
    let outcomes = session.outcomes(3).await;
    assert_eq!(kinds(&outcomes), [(1, Failed), (2, Failed), (3, Sent)]);
    let failure = outcomes[0].1.failure.as_ref().unwrap();
    assert_eq!(
        (failure.reason(), failure.detail.as_str()),
        (wire::FailureReason::InvalidRequest, "text.body: must not be empty")
    );
}

#[tokio::test]
async fn a_stored_medium_is_fetched_once_and_one_that_is_gone_fails() {
    let (bench, mut session) = Bench::new().await;
    let digest = bench.server.put_media(b"a picture");
    let image = |digest: MediaDigest| wire::Content {
        kind: Some(wire::content::Kind::Image(wire::content::Image {
            media: Some(wire::Media {
                mime_type: "image/png".into(),
                source: Some(wire::media::Source::Digest(digest.0.to_vec())),
            }),
            caption: String::new(),
        })),
    };
    let with = |id, digest| wire::Attempt { content: Some(image(digest)), ..attempt(id, "a", "ok") };
    session.dispatch(0, vec![with(1, digest), with(2, digest), with(3, MediaDigest([1; 32]))]).await;
    let outcomes = session.outcomes(3).await;
    assert_eq!(kinds(&outcomes), [(1, Sent), (2, Sent), (3, Failed)]);
    assert_eq!(outcomes[2].1.failure.as_ref().unwrap().reason(), wire::FailureReason::ContentRejected);
    assert_eq!(*bench.agent.gateway.media.lock().unwrap(), [b"a picture", b"a picture"]);
}

#[tokio::test]
async fn credit_comes_back_when_the_server_has_the_outcomes() {
    let (_bench, mut session) = Bench::with(|config| config.attempts_max = 8).await;
    session.dispatch(0, (1..=4).map(|id| attempt(id, "a", "ok")).collect()).await;
    let last = session.outcomes(4).await[3].0;
    session.acknowledge(last).await;
    let mut granted = session.credit().await.attempts_total;
    while granted < 12 {
        granted = session.credit().await.attempts_total;
    }
    assert_eq!(granted, 12);
}

#[tokio::test]
async fn more_than_was_granted_is_refused() {
    let (mut bench, mut session) = Bench::with(|config| config.attempts_max = 2).await;
    let attempts = (1..=3).map(|id| attempt(id, "a", "ok")).collect();
    session.send(ServerBody::Dispatch(wire::Dispatch { attempts, report_committed: 0 })).await;
    assert_eq!(session.goodbye().await, wire::goodbye::Reason::ServerFault);
    drop(session);
    let hello = bench.server.session().await.hello().await;
    assert_eq!((hello.held.len(), bench.agent.gateway.sent().len()), (0, 0));
}

#[tokio::test]
async fn the_agent_drains_before_it_stops() {
    let (bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "hang"), attempt(2, "a", "ok"), attempt(3, "b", "hang")]).await;
    until("the first sends", || bench.agent.gateway.sent().len() == 2).await;
    bench.agent.shutdown.cancel();
    session.expect("Drain", |body| matches!(body, AgentBody::Drain(_)).then_some(())).await;
    // A frame that crossed the request on its way.
    session.dispatch(0, vec![attempt(4, "b", "ok")]).await;
    session.send(ServerBody::DrainAck(wire::DrainAck {})).await;
    bench.agent.gateway.release(2);
    let outcomes = session.outcomes(4).await;
    assert_eq!(sorted(&kinds(&outcomes)), [(1, Sent), (2, HandedBack), (3, Sent), (4, HandedBack)]);
    session.acknowledge(outcomes.iter().map(|(offset, _)| *offset).max().unwrap()).await;
    assert_eq!(session.goodbye().await, wire::goodbye::Reason::Drained);
    drop(session);
    bench.agent.ended().await.unwrap();
}

#[tokio::test]
async fn a_send_that_does_not_end_in_time_is_left_in_the_journal() {
    let (bench, mut session) = Bench::with(|config| config.drain_deadline = Duration::from_millis(200)).await;
    session.dispatch(0, vec![attempt(1, "a", "hang")]).await;
    until("the send", || bench.agent.gateway.sent().len() == 1).await;
    bench.agent.shutdown.cancel();
    session.send(ServerBody::DrainAck(wire::DrainAck {})).await;
    session.acknowledge(2).await;
    assert_eq!(session.goodbye().await, wire::goodbye::Reason::Stopped);
    drop(session);
    bench.agent.ended().await.unwrap();
}

#[tokio::test]
async fn a_silent_server_is_left() {
    let (mut bench, mut session) = Bench::new().await;
    let silent = wire::Welcome { stall_timeout_ms: 100, heartbeat_interval_ms: 60_000, ..welcome(0) };
    drop(session);
    session = bench.server.session().await;
    session.hello().await;
    session.send(ServerBody::Welcome(silent)).await;
    assert_eq!(session.goodbye().await, wire::goodbye::Reason::ServerFault);
    drop(session);
    bench.server.session().await.hello().await;
}

#[tokio::test]
async fn a_gap_in_the_numbers_ends_the_session() {
    let (mut bench, mut session) = Bench::new().await;
    session.seq += 1;
    session.send(ServerBody::ReportAck(wire::ReportAck { committed: 0 })).await;
    assert_eq!(session.goodbye().await, wire::goodbye::Reason::ServerFault);
    drop(session);
    bench.server.session().await.hello().await;
}

#[tokio::test]
async fn an_acknowledgement_of_what_was_never_reported_ends_the_session() {
    let (mut bench, mut session) = Bench::new().await;
    session.acknowledge(1_000_000).await;
    assert_eq!(session.goodbye().await, wire::goodbye::Reason::ServerFault);
    drop(session);
    bench.server.session().await.hello().await;
}

#[tokio::test]
async fn an_unknown_frame_is_answered_and_changes_nothing() {
    let (_bench, mut session) = Bench::new().await;
    session.seq += 1;
    let seq = session.seq;
    session.send_raw(wire::ServerFrame { seq, ack: 0, body: None }).await;
    let named = session.expect("Unsupported", |body| match body {
        AgentBody::Unsupported(unsupported) => Some(unsupported.seq),
        _ => None,
    });
    assert_eq!(named.await, seq);
    session.dispatch(0, vec![attempt(1, "a", "ok")]).await;
}

#[tokio::test]
async fn a_server_that_refuses_a_frame_of_the_agent_ends_the_session() {
    let (mut bench, mut session) = Bench::new().await;
    session.send(ServerBody::Unsupported(wire::Unsupported { seq: 2 })).await;
    assert_eq!(session.goodbye().await, wire::goodbye::Reason::ServerFault);
    drop(session);
    bench.server.session().await.hello().await;
}

#[tokio::test]
async fn a_server_that_chooses_a_revision_that_was_not_offered_gets_no_session() {
    let mut server = super::HandDriven::start().await;
    let dir = tempfile::tempdir().unwrap();
    let agent = super::Agent::start(super::config(&server, dir.path()));
    let mut session = server.session().await;
    let offered = session.hello().await;
    let protocol = offered.protocol_max + 1;
    session.send(ServerBody::Welcome(wire::Welcome { protocol, ..welcome(0) })).await;
    drop(session);
    // It asks again, and takes what it offered.
    let mut session = server.session().await;
    session.hello().await;
    session.welcome(0).await;
    session.declare(1).await;
    drop(agent);
}

fn close(reason: wire::close::Reason, permanent: bool) -> ServerBody {
    ServerBody::Close(wire::Close { reason: reason.into(), message: "do this".into(), retry_after_ms: 300, permanent })
}

#[tokio::test]
async fn a_close_for_good_ends_the_agent_with_what_to_do() {
    let (bench, mut session) = Bench::new().await;
    session.send(close(wire::close::Reason::JournalForked, true)).await;
    let error = bench.agent.ended().await.unwrap_err();
    let AgentError::Refused { reason, message, .. } = &error else { panic!("{error}") };
    assert_eq!((*reason, message.as_str()), (Refusal::JournalForked, "do this"));
}

#[tokio::test]
async fn a_close_with_a_wait_is_waited_out() {
    let (mut bench, mut session) = Bench::new().await;
    session.send(close(wire::close::Reason::ServerStopping, false)).await;
    drop(session);
    assert!(bench.server.stays_alone(Duration::from_millis(250)).await);
    bench.server.session().await.hello().await;
}

fn undeclared() -> ServerBody {
    let reason = wire::close::Reason::NodeUnknown.into();
    ServerBody::Close(wire::Close { reason, message: "declare it".into(), permanent: true, retry_after_ms: 0 })
}

#[tokio::test]
async fn an_agent_whose_node_is_not_declared_goes_on_and_asks_until_it_is() {
    let (mut bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "hang"), attempt(2, "a", "ok")]).await;
    until("the first send", || bench.agent.gateway.sent() == [1]).await;
    session.send(undeclared()).await;
    drop(session);
    for _ in 0..2 {
        let mut refused = bench.server.session().await;
        refused.hello().await;
        refused.send(undeclared()).await;
    }
    bench.agent.gateway.release(1);
    until("the sends", || bench.agent.gateway.sent() == [1, 2]).await;
    let target = bench.agent.gateway.webhook.lock().unwrap().clone().unwrap();
    let post = reqwest::Client::new().post(&target.url).header("x-secret", &target.secret).body("receipt id-1");
    assert_eq!(post.send().await.unwrap().status().as_u16(), 200);
    let mut session = bench.server.session().await;
    session.hello().await;
    session.welcome(0).await;
    assert_eq!(kinds(&session.outcomes(2).await), [(1, Sent), (2, Sent)]);
}

#[tokio::test]
async fn an_agent_that_waits_to_be_declared_stops_at_once_when_asked() {
    let (mut bench, mut session) = Bench::new().await;
    let hour = ServerBody::Close(wire::Close {
        reason: wire::close::Reason::NodeUnknown.into(),
        retry_after_ms: 3_600_000,
        ..Default::default()
    });
    session.send(hour).await;
    drop(session);
    assert!(bench.server.stays_alone(Duration::from_millis(50)).await);
    bench.agent.shutdown.cancel();
    bench.agent.ended().await.unwrap();
}

#[tokio::test]
async fn a_server_that_knows_more_than_the_journal_ends_the_agent() {
    let (mut bench, session) = Bench::new().await;
    drop(session);
    let mut session = bench.server.session().await;
    session.hello().await;
    session.welcome(1_000).await;
    assert!(matches!(bench.agent.ended().await, Err(AgentError::JournalBehind { committed: 1_000, .. })));
}

#[tokio::test]
async fn a_server_that_forgot_gets_what_is_remembered_in_its_place() {
    let (mut bench, mut session) = Bench::new().await;
    session.dispatch(0, vec![attempt(1, "a", "ok")]).await;
    let offset = session.outcomes(1).await[0].0;
    session.acknowledge(offset).await;
    session.dispatch(0, vec![attempt(2, "a", "ok")]).await;
    session.outcomes(1).await;
    drop(session);
    let mut session = bench.server.session().await;
    let hello = session.hello().await;
    assert_eq!((hello.report_acknowledged, hello.forgotten), (offset, None));
    session.welcome(0).await;
    let reports = session.reports().await;
    assert_eq!(reports.first_offset, 1);
    assert_eq!(super::outcome(&reports.reports[offset as usize - 1]), (1, Sent));
    // How the logins are was acknowledged and is not kept: it is told anew.
    let mut logins = std::collections::BTreeSet::new();
    while logins.len() < 2 {
        let reports = session.reports().await;
        for (report_offset, report) in (reports.first_offset..).zip(reports.reports) {
            if let Some(wire::report::Body::Connection(change)) = report.body
                && report_offset > hello.report_head
            {
                logins.insert(change.bot);
            }
        }
    }
}
