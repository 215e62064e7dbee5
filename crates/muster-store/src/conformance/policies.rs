//! What policies decide about uncertain messages.

use std::time::Duration;

use muster_domain::MessageId;
use muster_domain::limits::SILENCE_MAX;
use muster_domain::message::{MessageState, NewMessage};
use muster_domain::on_uncertain::OnUncertain;
use muster_domain::resolution::{DecidedBy, Resolution};

use super::fixture::{Fixture, bot, node, outcome, sent, text, unknown};
use crate::{AttemptRef, ResolveResult, SessionRef, WakeResult};

impl Fixture {
    async fn uncertain_with(&self, session: &SessionRef, on_uncertain: OnUncertain) -> AttemptRef {
        self.accept(vec![NewMessage { on_uncertain, ..text("a", "+5511900000001", "hello") }]).await;
        let attempt = self.claim_attempts(session).await[0];
        self.tell(session, vec![outcome(attempt, unknown())]).await;
        attempt
    }

    /// Moves on what is due, as if everything that is uncertain had been so for long.
    async fn wake_uncertain(&self) -> WakeResult {
        self.store.wake_due(100, SILENCE_MAX, Duration::ZERO).await.unwrap()
    }

    async fn decisions(&self, id: MessageId) -> Vec<(Resolution, DecidedBy)> {
        let records = self.store.message_resolutions(&self.tenant, id).await.unwrap();
        records.into_iter().map(|record| (record.resolution, record.decided_by)).collect()
    }
}

/// A message keeps its policy, and who holds hears nothing of it, however long it waits.
pub async fn who_holds_decides_nothing(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let id = fixture.uncertain_with(&session, OnUncertain::Hold).await.message_id;
    assert_eq!(fixture.message(id).await.on_uncertain, OnUncertain::Hold);
    assert_eq!(fixture.wake_uncertain().await.wake, []);
    assert_eq!((fixture.state(id).await, fixture.decisions(id).await), ("UNCERTAIN", vec![]));
}

/// DROP gives a message up in the same commit, by the policy and not by a person; that it was sent after all is kept as a conflict.
pub async fn drop_gives_up_at_once(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.uncertain_with(&session, OnUncertain::Drop).await;
    let id = attempt.message_id;
    assert_eq!((fixture.state(id).await, fixture.trace(id).await), ("FAILED", vec!["UNCERTAIN"]));
    assert_eq!(fixture.decisions(id).await, [(Resolution::Drop, DecidedBy::Policy)]);
    let changes = fixture.store.changes_since(&fixture.tenant, 0, None, 100).await.unwrap().changes;
    let states: Vec<_> = changes.iter().filter(|change| change.message_id == id).map(|change| change.state).collect();
    use MessageState::{Dispatched, Failed, Uncertain, Waiting};
    assert_eq!(states, [Waiting, Dispatched, Uncertain, Failed]);
    fixture.tell(&session, vec![outcome(attempt, sent("X"))]).await;
    assert_eq!((fixture.state(id).await, fixture.trace(id).await), ("SENT", vec!["SENT"]));
    let records = fixture.store.message_resolutions(&fixture.tenant, id).await.unwrap();
    assert_eq!(records[0].conflict.as_deref(), Some("attempt 1 was sent"));
}

/// RESEND waits for what may be on its way, then has the message sent again with the permission for what was tried, and once:
/// uncertain again, it is left to an operator.
pub async fn resend_waits_and_sends_again_once(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let id = fixture.uncertain_with(&session, OnUncertain::Resend).await.message_id;
    let next = fixture.wake_due(100).await.next.unwrap();
    assert!(next > Duration::from_secs(500) && next <= Duration::from_secs(600), "{next:?}");
    assert_eq!((fixture.state(id).await, fixture.decisions(id).await), ("UNCERTAIN", vec![]));
    assert_eq!(fixture.wake_uncertain().await.wake, [(fixture.tenant.clone(), node(), bot("a"))]);
    assert_eq!(fixture.decisions(id).await, [(Resolution::Resend, DecidedBy::Policy)]);
    let claimed = fixture.claim(&session).await.attempts;
    assert_eq!((claimed[0].attempt.attempt_no, claimed[0].resend_after), (2, 1));
    fixture.tell(&session, vec![outcome(claimed[0].attempt, unknown())]).await;
    assert_eq!(fixture.wake_uncertain().await.wake, []);
    assert_eq!((fixture.state(id).await, fixture.trace(id).await), ("UNCERTAIN", vec!["UNCERTAIN", "UNCERTAIN"]));
    let again = fixture.store.message_resolve(&fixture.tenant, id, Resolution::Resend, String::new()).await.unwrap();
    assert_eq!(again, ResolveResult::Resolved);
    let (by_policy, by_operator) = ((Resolution::Resend, DecidedBy::Policy), (Resolution::Resend, DecidedBy::Operator));
    assert_eq!(fixture.decisions(id).await, [by_policy, by_operator]);
}

/// What is settled before the wait is over is not sent again: a late report, or an operator who was faster.
pub async fn what_is_settled_meanwhile_is_not_sent_again(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let late = fixture.uncertain_with(&session, OnUncertain::Resend).await;
    let seen = fixture.uncertain_with(&session, OnUncertain::Resend).await;
    fixture.tell(&session, vec![outcome(late, sent("X"))]).await;
    fixture.store.message_resolve(&fixture.tenant, seen.message_id, Resolution::Drop, String::new()).await.unwrap();
    assert_eq!(fixture.wake_uncertain().await.wake, []);
    assert_eq!([fixture.state(late.message_id).await, fixture.state(seen.message_id).await], ["SENT", "FAILED"]);
    assert_eq!(fixture.decisions(late.message_id).await, []);
    assert_eq!(fixture.wake_due(100).await.next.filter(|next| *next < Duration::from_secs(601)), None);
}

/// RESEND neither extends a validity nor overrules who wanted the message back: those are left to an operator.
pub async fn what_may_not_leave_is_left_to_an_operator(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let expire_time = muster_domain::Timestamp::now() + Duration::from_secs(60);
    let on_uncertain = OnUncertain::Resend;
    let ids = fixture
        .accept(vec![
            NewMessage { on_uncertain, ..text("a", "+5511900000001", "wanted back") },
            NewMessage { on_uncertain, expire_time, ..text("b", "+5511900000001", "short") },
        ])
        .await;
    let attempts = fixture.claim_attempts(&session).await;
    fixture.store.message_cancel(&fixture.tenant, ids[0]).await.unwrap();
    fixture.tell(&session, attempts.iter().map(|attempt| outcome(*attempt, unknown())).collect()).await;
    fixture.pass(Duration::from_secs(61));
    fixture.wake_uncertain().await;
    for id in ids {
        assert_eq!((fixture.state(id).await, fixture.decisions(id).await), ("UNCERTAIN", vec![]));
    }
}

/// A policy speaks of every way to become uncertain: also of what a lost journal held.
pub async fn policies_speak_of_lost_journals_too(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let drop = NewMessage { on_uncertain: OnUncertain::Drop, ..text("a", "+5511900000001", "hello") };
    let id = fixture.accept(vec![drop]).await[0];
    fixture.claim(&session).await;
    fixture.store.session_close(&session).await.unwrap();
    let other = crate::SessionOpen { journal_id: [9; 16], ..fixture.opening() };
    fixture.store.session_open(other).await.unwrap();
    assert_eq!((fixture.state(id).await, fixture.trace(id).await), ("FAILED", vec!["UNCERTAIN"]));
    assert_eq!(fixture.decisions(id).await, [(Resolution::Drop, DecidedBy::Policy)]);
}
