//! Sending windows: what they hold back, and what a change of one does.

use std::time::Duration;

use muster_domain::backlog::Bound;
use muster_domain::bot::BotSpec;
use muster_domain::gateway::GatewaySpec;
use muster_domain::message::{HandbackReason, NewMessage, Outcome};
use muster_domain::window::SendingWindow;
use muster_domain::{MessageId, Timestamp};

use super::fixture::{Fixture, bot, bot_spec, gateway_spec, node_spec, outcome, sent, text};
use crate::{AcceptResult, Expect, FleetWrite};

const HOUR: Duration = Duration::from_secs(3_600);

/// A window that opens every day at the full hour that is `begin` hours from the present one, and closes `end` hours from it.
fn window(begin: u64, end: u64) -> SendingWindow {
    let hour = Timestamp::now().as_second().unsigned_abs() / 3_600;
    let shift = format!("{:02}:00-{:02}:00", (hour + begin) % 24, (hour + end) % 24);
    SendingWindow::new("UTC", &[shift]).unwrap()
}

/// Closed, for an hour at least and three at the most.
fn closed() -> SendingWindow {
    window(2, 3)
}

/// Open, for an hour at least and two at the most.
fn open() -> SendingWindow {
    window(23, 26)
}

async fn declare(fixture: &Fixture, sending_window: Option<SendingWindow>) {
    let spec = BotSpec { sending_window, ..bot_spec("a", "g") };
    fixture.write(vec![FleetWrite::PutBot(spec, Expect::Present)]).await.unwrap();
}

/// A text of the bot `a` that is valid for so many hours.
fn valid_for(hours: u32) -> NewMessage {
    NewMessage { expire_time: Timestamp::now() + HOUR * hours, ..text("a", "+5511900000001", "hello") }
}

async fn accept(fixture: &Fixture) -> MessageId {
    fixture.accept(vec![valid_for(24)]).await[0]
}

/// Nothing leaves while the window is closed, and other bots go on. What is chosen in an open one has until it closes. A change
/// is true at once, and wakes the bot.
pub async fn a_closed_window_holds_back(fixture: Fixture) {
    let session = fixture.open_connected().await;
    declare(&fixture, Some(closed())).await;
    let id = accept(&fixture).await;
    let other = fixture.accept(vec![text("b", "+5511900000001", "hello")]).await[0];
    assert_eq!(fixture.claim_ids(&session).await, [other]);
    let found = fixture.bot("a").await;
    assert_eq!(found.spec.sending_window, Some(closed()));
    let span = found.window.unwrap();
    assert!(!span.is_open && span.opens == span.change);
    let wait = fixture.wake_due(100).await.next.unwrap();
    assert!(wait > HOUR - Duration::from_secs(60) && wait <= HOUR * 2, "{wait:?}");
    declare(&fixture, Some(open())).await;
    let woken = fixture.wake_due(100).await;
    assert_eq!(woken.wake.iter().map(|(_, _, id)| id.clone()).collect::<Vec<_>>(), [bot("a")]);
    let claimed = fixture.claim(&session).await.attempts.remove(0);
    assert_eq!(claimed.attempt.message_id, id);
    assert!(claimed.window_closes && claimed.start_within <= HOUR * 2, "{claimed:?}");
    // Without a window, or with one that closes later, the validity is the end.
    for window in [None, Some(window(20, 43))] {
        declare(&fixture, window).await;
        fixture.accept(vec![valid_for(1)]).await;
        let claimed = fixture.claim(&session).await.attempts.remove(0);
        assert!(!claimed.window_closes && claimed.start_within > HOUR / 2, "{claimed:?}");
    }
}

/// A bot that was asked for work is woken when its window opens, and once.
pub async fn an_opening_wakes_who_waits_for_it(fixture: Fixture) {
    let session = fixture.open_connected().await;
    // From one to two hours from now, for an hour: the hour may end while the case runs.
    declare(&fixture, Some(window(2, 4))).await;
    let woken = async || !fixture.wake_due(100).await.wake.is_empty();
    let ids = fixture.accept(vec![valid_for(48), valid_for(48)]).await;
    assert!(!woken().await, "nobody waits before somebody asked");
    assert_eq!(fixture.claim_ids(&session).await, []);
    fixture.pass(HOUR / 2);
    assert!(!woken().await, "it is not open yet");
    fixture.pass(HOUR * 3 / 2);
    assert!(woken().await && !woken().await, "it wakes once");
    assert_eq!(fixture.claim_ids(&session).await, ids);
    // Until tomorrow.
    fixture.pass(HOUR * 3);
    let id = fixture.accept(vec![NewMessage { expire_time: fixture.store.now() + HOUR * 48, ..valid_for(1) }]).await[0];
    assert_eq!(fixture.claim_ids(&session).await, []);
    assert!(!woken().await);
    fixture.pass(HOUR * 21);
    assert!(woken().await);
    assert_eq!(fixture.claim_ids(&session).await, [id]);
}

/// An attempt that comes back because the window closed costs nothing and waits for the next opening.
pub async fn what_comes_back_waits_for_the_next_opening(fixture: Fixture) {
    let session = fixture.open_connected().await;
    declare(&fixture, Some(open())).await;
    let id = accept(&fixture).await;
    let attempt = fixture.claim_attempts(&session).await[0];
    declare(&fixture, Some(closed())).await;
    let back = Outcome::HandedBack(HandbackReason::WindowClosed);
    let applied = fixture.tell(&session, vec![outcome(attempt, back.clone())]).await;
    assert_eq!(applied.wake, [bot("a")]);
    assert_eq!(fixture.claim_ids(&session).await, []);
    assert_eq!((fixture.state(id).await, fixture.message(id).await.parked), ("WAITING", None));
    let attempts = fixture.store.message_attempts(&fixture.tenant, id).await.unwrap();
    assert!(format!("{attempts:?}").contains("HandedBack(WindowClosed)"), "{attempts:?}");
    declare(&fixture, None).await;
    let again = fixture.claim_attempts(&session).await[0];
    assert_eq!((again.message_id, again.attempt_no), (id, 2));
    fixture.tell(&session, vec![outcome(again, sent("w"))]).await;
    assert_eq!(fixture.state(id).await, "SENT");
}

/// Each change of a window has a number, which attempts and the desired state carry. It belongs to the bot and goes with it; what
/// is declared again as it is changes nothing.
pub async fn a_change_is_told_to_the_agent(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let generation = async || {
        let state = fixture.store.desired_state(&session, 0).await.unwrap();
        state.bots.iter().find(|found| found.id == bot("a")).map(|found| found.window_generation)
    };
    assert_eq!(generation().await, Some(0));
    for (declared, wanted) in [(Some(open()), 1), (Some(open()), 1), (None, 2), (None, 2), (Some(open()), 3)] {
        declare(&fixture, declared).await;
        assert_eq!(generation().await, Some(wanted));
    }
    accept(&fixture).await;
    assert_eq!(fixture.claim(&session).await.attempts[0].window_generation, 3);
    let moved = GatewaySpec { id: gateway_spec("g", "m").id, ..gateway_spec("g", "m") };
    let writes = vec![FleetWrite::PutNode(node_spec("m"), Expect::Any), FleetWrite::PutGateway(moved, Expect::Present)];
    fixture.write(writes).await.unwrap();
    assert_eq!(fixture.bot("a").await.spec.sending_window, Some(open()));
    assert_eq!(fixture.store.fleet(&fixture.tenant).await.unwrap().bots[&bot("a")].sending_window, Some(open()));
}

/// A message whose validity ends before the window opens is refused when it comes, and one that is valid for longer is not.
pub async fn what_a_window_leaves_no_time_for_is_refused(fixture: Fixture) {
    declare(&fixture, Some(closed())).await;
    let answer = fixture.store.message_accept(&fixture.tenant, vec![valid_for(1), valid_for(24)]).await.unwrap();
    let AcceptResult::BacklogFull(full) = &answer[0] else { panic!("{answer:?}") };
    assert_eq!((full.bound, full.waiting), (Bound::Window, 0));
    assert!(full.wait > HOUR && full.wait <= HOUR * 2, "{full:?}");
    assert!(matches!(answer[1], AcceptResult::Accepted(_)), "{answer:?}");
    // One that its client wants to leave later is not estimated.
    let later = NewMessage { not_before: Some(Timestamp::now() + HOUR / 2), ..valid_for(1) };
    fixture.accept(vec![later]).await;
}
