//! What operators decide about uncertain messages, and what is reported against it.

use muster_domain::MessageId;
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::message::{MessageState, NewMessage, Outcome, ReceiptKind};
use muster_domain::resolution::Resolution;

use super::fixture::{Fixture, PATIENCE, outcome, receipt, sent, text, unknown};
use crate::{AttemptRef, ResolveResult, SessionRef};

impl Fixture {
    async fn resolve(&self, id: MessageId, resolution: Resolution) -> ResolveResult {
        self.store.message_resolve(&self.tenant, id, resolution, "seen in the chat".into()).await.unwrap()
    }

    async fn uncertain(&self, session: &SessionRef) -> AttemptRef {
        let attempt = self.dispatched(session).await;
        self.tell(session, vec![outcome(attempt, unknown())]).await;
        attempt
    }

    async fn conflicts(&self, id: MessageId) -> Vec<Option<String>> {
        let records = self.store.message_resolutions(&self.tenant, id).await.unwrap();
        records.into_iter().map(|record| record.conflict).collect()
    }
}

/// Each decision leads to its state, and stays with the message together with the attempt that nobody knows of.
pub async fn decisions_lead_to_their_states(fixture: Fixture) {
    let session = fixture.open_connected().await;
    for (resolution, state) in
        [(Resolution::Sent, "SENT"), (Resolution::Resend, "WAITING"), (Resolution::Drop, "FAILED")]
    {
        let id = fixture.uncertain(&session).await.message_id;
        assert_eq!(fixture.resolve(id, resolution).await, ResolveResult::Resolved);
        assert_eq!(fixture.state(id).await, state);
        assert_eq!(fixture.trace(id).await, ["UNCERTAIN"]);
        let records = fixture.store.message_resolutions(&fixture.tenant, id).await.unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].resolution, records[0].attempt_no), (resolution, 1));
        assert_eq!((records[0].reason.as_str(), &records[0].conflict), ("seen in the chat", &None));
        let failure = fixture.message(id).await.failure.map(|failure| failure.reason);
        assert_eq!(failure.is_none(), resolution == Resolution::Sent);
    }
    let counts = &fixture.store.message_counts(&fixture.tenant, &[]).await.unwrap()[0];
    assert_eq!((counts.total(), counts.get(MessageState::Uncertain)), (3, 0));
}

/// Only an uncertain message can be resolved; any other is told its state.
pub async fn only_what_is_uncertain_is_resolved(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let id = fixture.accept(vec![text("a", "+5511900000001", "hello")]).await[0];
    assert_eq!(fixture.resolve(id, Resolution::Drop).await, ResolveResult::NotUncertain(MessageState::Waiting));
    let attempt = fixture.claim_attempts(&session).await[0];
    fixture.tell(&session, vec![outcome(attempt, unknown())]).await;
    fixture.resolve(id, Resolution::Sent).await;
    assert_eq!(fixture.resolve(id, Resolution::Resend).await, ResolveResult::NotUncertain(MessageState::Sent));
    assert_eq!(fixture.store.message_resolutions(&fixture.tenant, id).await.unwrap().len(), 1);
    let nobody = MessageId::from_raw(2).unwrap();
    assert_eq!(fixture.resolve(nobody, Resolution::Drop).await, ResolveResult::NotFound);
}

/// What is sent again leaves under the next number, and carries the permission for the attempts before it, until it ends.
pub async fn what_is_sent_again_carries_the_permission(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let first = fixture.uncertain(&session).await;
    fixture.resolve(first.message_id, Resolution::Resend).await;
    let claimed = fixture.claim(&session).await.attempts;
    assert_eq!((claimed.len(), claimed[0].attempt.attempt_no, claimed[0].resend_after), (1, 2, 1));
    fixture.tell(&session, vec![outcome(claimed[0].attempt, sent("X"))]).await;
    assert_eq!(fixture.state(first.message_id).await, "SENT");
    assert_eq!(fixture.trace(first.message_id).await, ["UNCERTAIN", "SENT"]);
    assert_eq!(fixture.conflicts(first.message_id).await, [None]);
    fixture.dispatched(&session).await;
    let other = fixture.accept(vec![text("b", "+5511900000001", "hello")]).await[0];
    let claimed = fixture.claim(&session).await.attempts;
    assert_eq!((claimed[0].attempt.message_id, claimed[0].resend_after), (other, 0));
}

/// Neither a message whose validity ended nor one that a client wanted back leaves again; both can be decided otherwise.
pub async fn what_may_not_leave_is_not_sent_again(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let wanted_back = fixture.dispatched(&session).await;
    fixture.store.message_cancel(&fixture.tenant, wanted_back.message_id).await.unwrap();
    let expire_time = muster_domain::Timestamp::now() + std::time::Duration::from_secs(60);
    let short = NewMessage { expire_time, ..text("b", "+5511900000001", "hello") };
    let short = fixture.accept(vec![short]).await[0];
    let expiring = fixture.claim_attempts(&session).await[0];
    fixture.tell(&session, vec![outcome(wanted_back, unknown()), outcome(expiring, unknown())]).await;
    assert_eq!(fixture.resolve(wanted_back.message_id, Resolution::Resend).await, ResolveResult::CancelRequested);
    fixture.pass(std::time::Duration::from_secs(61));
    assert_eq!(fixture.resolve(short, Resolution::Resend).await, ResolveResult::Expired);
    assert_eq!(fixture.state(short).await, "UNCERTAIN");
    for id in [short, wanted_back.message_id] {
        assert_eq!(fixture.resolve(id, Resolution::Drop).await, ResolveResult::Resolved);
    }
}

/// A late report that a message was sent goes before the decision to drop it or to send it again, and is kept as a conflict.
pub async fn a_late_sent_beats_a_decision(fixture: Fixture) {
    let session = fixture.open_connected().await;
    for (i, resolution) in [Resolution::Drop, Resolution::Resend].into_iter().enumerate() {
        let attempt = fixture.uncertain(&session).await;
        fixture.resolve(attempt.message_id, resolution).await;
        let network_id = format!("X{i}");
        fixture.tell(&session, vec![receipt(&network_id, ReceiptKind::Delivered)]).await;
        fixture.tell(&session, vec![outcome(attempt, sent(&network_id))]).await;
        assert_eq!(fixture.state(attempt.message_id).await, "DELIVERED");
        assert_eq!(fixture.trace(attempt.message_id).await, ["SENT"]);
        assert_eq!(fixture.conflicts(attempt.message_id).await, [Some("attempt 1 was sent".to_owned())]);
        assert_eq!(fixture.message(attempt.message_id).await.failure, None);
        assert_eq!(fixture.claim_attempts(&session).await, []);
    }
}

/// A late report about the earlier attempt does not move a message whose next attempt is under way or was sent too, but the trace
/// tells of it.
pub async fn a_late_sent_beside_a_resend_is_kept(fixture: Fixture) {
    let session = fixture.open_connected().await;
    for (i, is_sent) in [false, true].into_iter().enumerate() {
        let first = fixture.uncertain(&session).await;
        fixture.resolve(first.message_id, Resolution::Resend).await;
        let second = fixture.claim_attempts(&session).await[0];
        let (late, own) = (outcome(first, sent(&format!("X{i}"))), outcome(second, sent(&format!("Y{i}"))));
        if is_sent {
            fixture.tell(&session, vec![own, late]).await;
        } else {
            fixture.tell(&session, vec![late]).await;
            assert_eq!(fixture.state(first.message_id).await, "DISPATCHED");
            fixture.tell(&session, vec![own]).await;
        }
        assert_eq!(fixture.trace(first.message_id).await, ["SENT", "SENT"]);
        assert_eq!(fixture.message(first.message_id).await.network_id, Some(format!("Y{i}")));
        assert_eq!(fixture.conflicts(first.message_id).await, [Some("attempt 1 was sent".to_owned())]);
    }
}

/// A late report that agrees with the operator names the message for its receipts; one that does not is kept as a conflict.
pub async fn a_message_taken_for_sent_hears_late_reports(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let right = fixture.uncertain(&session).await;
    let wrong = fixture.uncertain(&session).await;
    for attempt in [right, wrong] {
        fixture.resolve(attempt.message_id, Resolution::Sent).await;
    }
    let refusal = Outcome::Failed(Failure::new(FailureReason::ContentRejected, "no"));
    fixture.tell(&session, vec![outcome(right, sent("X")), outcome(wrong, refusal)]).await;
    fixture.tell(&session, vec![receipt("X", ReceiptKind::Read)]).await;
    assert_eq!(fixture.state(right.message_id).await, "READ");
    assert_eq!(fixture.conflicts(right.message_id).await, [None]);
    assert_eq!(fixture.state(wrong.message_id).await, "SENT");
    let conflict = "attempt 1 was not sent: CONTENT_REJECTED".to_owned();
    assert_eq!(fixture.conflicts(wrong.message_id).await, [Some(conflict)]);
}

/// That the outcome is unknown is no news to who decided to send again.
pub async fn a_repeated_uncertain_does_not_undo_a_resend(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let first = fixture.uncertain(&session).await;
    fixture.resolve(first.message_id, Resolution::Resend).await;
    fixture.tell(&session, vec![outcome(first, unknown())]).await;
    assert_eq!(fixture.state(first.message_id).await, "WAITING");
    let second = fixture.claim_attempts(&session).await[0];
    fixture.tell(&session, vec![outcome(second, unknown())]).await;
    assert_eq!(fixture.state(first.message_id).await, "UNCERTAIN");
    assert_eq!(fixture.resolve(first.message_id, Resolution::Resend).await, ResolveResult::Resolved);
    assert_eq!(fixture.claim(&session).await.attempts[0].resend_after, 2);
    assert_eq!(fixture.store.message_resolutions(&fixture.tenant, first.message_id).await.unwrap().len(), 2);
}

/// Decisions go with their message.
pub async fn decisions_go_with_their_message(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let id = fixture.uncertain(&session).await.message_id;
    fixture.resolve(id, Resolution::Drop).await;
    let policy = crate::RetentionPolicy { messages: std::time::Duration::ZERO, ..crate::RetentionPolicy::default() };
    let end = tokio::time::Instant::now() + PATIENCE;
    while fixture.store.message_get(&fixture.tenant, id).await.unwrap().is_some() {
        assert!(tokio::time::Instant::now() < end);
        fixture.store.retention_run(&policy, 100).await.unwrap();
    }
    assert_eq!(fixture.store.message_resolutions(&fixture.tenant, id).await.unwrap(), []);
}
