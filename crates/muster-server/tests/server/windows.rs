//! Bots that send only at certain times.

use muster_domain::Timestamp;
use muster_proto::agent_v1 as wire;
use muster_proto::v1::{self, MessageState};
use tonic::Code;

use crate::agent::sent;
use crate::world::{World, bot, fields, fleet, refused, text, until};

/// A window that opens every day at the full hour that is `begin` hours from the present one, and closes `end` hours from it.
fn window(begin: u64, end: u64) -> Option<v1::SendingWindow> {
    let hour = Timestamp::now().as_second().unsigned_abs() / 3_600;
    let shift = format!("{:02}:00-{:02}:00", (hour + begin) % 24, (hour + end) % 24);
    Some(v1::SendingWindow { time_zone: "UTC".into(), shifts: vec![shift] })
}

async fn apply(world: &World, sending_window: Option<v1::SendingWindow>) -> v1::ApplyFleetResponse {
    let mut fleet = fleet(&[]);
    fleet.bots.push(v1::Bot { sending_window, ..bot("a") });
    world.fleet().apply_fleet(fleet).await.unwrap().into_inner()
}

#[tokio::test]
async fn what_waits_for_a_window_leaves_when_it_opens_and_comes_back_when_it_is_changed() {
    let world = World::start().await;
    let closed = window(2, 3);
    apply(&world, closed.clone()).await;
    let mut agent = world.agent(&["a"]).await;
    let message = world.send_text("a", "r", "hello").await;
    let waiting =
        until(async || world.message(&message.name).await.waiting.filter(|why| why.reason == "WINDOW_CLOSED")).await;
    assert!(waiting.explanation.contains("bots/a sends only within its window (UTC; "), "{}", waiting.explanation);
    assert!(waiting.explanation.contains("it opens at "), "{}", waiting.explanation);
    let shown = world.bot("a").await;
    assert_eq!(shown.sending_window, closed);
    let state = shown.window_state.unwrap();
    assert!(!state.open && state.open_time.is_some());
    assert_eq!(state.open_time, waiting.until);

    let changed = apply(&world, window(23, 26)).await;
    assert_eq!(changed.differences[0].fields[0].field, "sending_window");
    let attempt = agent.attempts(1).await.remove(0);
    assert!(attempt.window_closes && attempt.start_within_ms <= 2 * 3_600_000, "{attempt:?}");
    assert_eq!(attempt.window_generation, 2);

    apply(&world, closed).await;
    while agent.desired().await.bots[0].window_generation < 3 {}
    let back = wire::OutcomeReport {
        attempt: attempt.r#ref,
        outcome: wire::Outcome::HandedBack.into(),
        handback_reason: wire::HandbackReason::WindowClosed.into(),
        ..Default::default()
    };
    agent.report(vec![wire::report::Body::Outcome(back)]).await;
    until(async || world.message(&message.name).await.waiting.filter(|why| why.reason == "WINDOW_CLOSED")).await;

    apply(&world, None).await;
    let again = agent.attempts(1).await.remove(0);
    assert!(!again.window_closes, "{again:?}");
    agent.report(vec![sent(&again, "W")]).await;
    until(async || (world.message(&message.name).await.state() == MessageState::Sent).then_some(())).await;
}

#[tokio::test]
async fn a_window_is_checked_where_it_is_declared() {
    let world = World::start().await;
    apply(&world, None).await;
    let update = |sending_window: Option<v1::SendingWindow>| v1::UpdateBotRequest {
        bot: Some(v1::Bot { sending_window, ..bot("a") }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["sending_window".into()] }),
        ..Default::default()
    };
    let declared = |zone: &str, shifts: &[&str]| {
        let shifts = shifts.iter().map(|shift| (*shift).to_owned()).collect();
        update(Some(v1::SendingWindow { time_zone: zone.into(), shifts }))
    };
    for (wrong, named) in [
        (declared("Mars/Olympus", &["08:00-20:00"]), "bot.sending_window.time_zone"),
        (declared("UTC", &[]), "bot.sending_window.shifts"),
        (declared("UTC", &["08:00-08:00"]), "bot.sending_window.shifts[0]"),
        (declared("UTC", &["08:00-20:00", "mon 19:00-21:00"]), "bot.sending_window.shifts[1]"),
    ] {
        let status = refused(world.bots().update_bot(wrong).await, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(fields(&status), [named]);
    }
    let good = declared("america/sao_paulo", &["mon-fri 8:00-18:00"]);
    let changed = world.bots().update_bot(good).await.unwrap().into_inner().bot.unwrap();
    let window = changed.sending_window.unwrap();
    assert_eq!(
        (window.time_zone.as_str(), window.shifts),
        ("America/Sao_Paulo", vec!["mon-fri 08:00-18:00".to_owned()])
    );
    let ended = world.bots().update_bot(update(None)).await.unwrap().into_inner().bot.unwrap();
    assert_eq!((ended.sending_window, ended.window_state), (None, None));
}

#[tokio::test]
async fn a_message_that_no_window_is_open_for_is_refused() {
    let world = World::start().await;
    apply(&world, window(2, 3)).await;
    let validity = Some(prost_types::Duration { seconds: 600, nanos: 0 });
    let message = v1::Message { validity, ..text("a", "r", "hello") };
    let status = refused(world.send(message).await, Code::ResourceExhausted, "BACKLOG_FULL");
    assert!(status.message().contains("sends only within its window"), "{}", status.message());
}
