//! What was not sent: counted, listed, and sent once more.

use std::time::Duration;

use muster_domain::bot::Stage;
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::message::{NewMessage, Outcome};
use muster_domain::replay::{Cause, Refusal};
use muster_domain::resolution::Resolution;
use muster_domain::{MessageId, Timestamp};

use super::fixture::{Fixture, bot, node, note, outcome, sent, text, unknown};
use crate::{FailedBy, FailedFilter, FailedKey, FleetWrite, Replay, ReplayPart, SessionRef};

const REJECTED: Cause = Cause::Failed(FailureReason::ContentRejected);

/// Accepts messages, lets each come to an outcome, and returns them.
async fn come_to(
    fixture: &Fixture,
    session: &SessionRef,
    messages: Vec<(NewMessage, Option<Outcome>)>,
) -> Vec<MessageId> {
    let mut ids = Vec::new();
    for (message, what) in messages {
        let id = fixture.accept(vec![message]).await[0];
        let attempts = fixture.claim_attempts(session).await;
        let attempt = attempts.into_iter().find(|attempt| attempt.message_id == id);
        if let (Some(attempt), Some(what)) = (attempt, what) {
            fixture.tell(session, vec![outcome(attempt, what)]).await;
        }
        ids.push(id);
    }
    ids
}

fn failed(reason: FailureReason) -> Option<Outcome> {
    Some(Outcome::Failed(Failure::new(reason, "no")))
}

/// Two rejected messages of `a`, one internal failure of `b`, one sent, one uncertain, and one of `b` that expired.
async fn mixed(fixture: &Fixture) -> (SessionRef, Vec<MessageId>) {
    let session = fixture.open_connected().await;
    let short = NewMessage { expire_time: Timestamp::now(), ..text("b", "+5511900000006", "short") };
    let messages = vec![
        (text("a", "+5511900000001", "one"), failed(FailureReason::ContentRejected)),
        (text("a", "+5511900000002", "two"), failed(FailureReason::ContentRejected)),
        (text("b", "+5511900000003", "three"), failed(FailureReason::Internal)),
        (text("a", "+5511900000004", "four"), Some(sent("X"))),
        (text("a", "+5511900000005", "five"), Some(unknown())),
        (short, None),
    ];
    let ids = come_to(fixture, &session, messages).await;
    assert_eq!(fixture.state(ids[5]).await, "EXPIRED");
    (session, ids)
}

fn everything() -> Replay {
    Replay {
        filter: FailedFilter::default(),
        after: None,
        limit: 100,
        replays_max: u32::MAX,
        force: false,
        dry_run: false,
        validity: Duration::from_secs(600),
    }
}

async fn replay(fixture: &Fixture, asked: Replay) -> ReplayPart {
    fixture.store.failed_replay(&fixture.tenant, asked).await.unwrap()
}

/// Failures are counted by what they have in common, and what was sent or is uncertain is none.
pub async fn failures_are_counted_by_what_they_share(fixture: Fixture) {
    let (_, ids) = mixed(&fixture).await;
    let count =
        async |filter: FailedFilter, by| fixture.store.failed_count(&fixture.tenant, &filter, by).await.unwrap();
    let causes = count(FailedFilter::default(), FailedBy::Cause).await;
    let found: Vec<_> = causes.iter().map(|group| (group.key.clone(), group.count)).collect();
    assert_eq!(found[0], (FailedKey::Cause(REJECTED), 2));
    assert_eq!((causes[0].oldest, causes[0].newest, causes[0].replayed), (ids[0], ids[1], 0));
    assert!(found.contains(&(FailedKey::Cause(Cause::Expired), 1)) && found.len() == 3, "{found:?}");
    let bots = count(FailedFilter::default(), FailedBy::Bot).await;
    assert_eq!(bots.iter().map(|group| group.count).collect::<Vec<_>>(), [2, 2]);
    let nodes = count(FailedFilter { node: Some(node()), ..FailedFilter::default() }, FailedBy::Node).await;
    assert_eq!((&nodes[0].key, nodes[0].count, nodes.len()), (&FailedKey::Node(Some(node())), 3, 1));
    let days = count(FailedFilter { bot: Some(bot("b")), ..FailedFilter::default() }, FailedBy::Day).await;
    let FailedKey::Day(day) = days[0].key else { panic!("{:?}", days[0].key) };
    assert!(day <= ids[0].accept_time() && ids[0].accept_time() < day + Duration::from_secs(24 * 3600));
    let later =
        FailedFilter { accepted_from: Some(Timestamp::now() + Duration::from_secs(1)), ..FailedFilter::default() };
    assert_eq!(count(later, FailedBy::Cause).await, []);
    let nobody = FailedFilter { bot: Some(bot("nobody")), ..FailedFilter::default() };
    assert_eq!(count(nobody, FailedBy::Cause).await, []);
}

/// Lists page by the filter, the newest first.
pub async fn lists_page_and_filter(fixture: Fixture) {
    let (_, ids) = mixed(&fixture).await;
    let list = async |filter: FailedFilter, before, limit| {
        let found = fixture.store.failed_list(&fixture.tenant, &filter, before, limit).await.unwrap();
        found.into_iter().map(|message| message.id).collect::<Vec<_>>()
    };
    assert_eq!(list(FailedFilter::default(), None, 2).await, [ids[5], ids[2]]);
    assert_eq!(list(FailedFilter::default(), Some(ids[2]), 9).await, [ids[1], ids[0]]);
    let rejected = FailedFilter { causes: vec![REJECTED], ..FailedFilter::default() };
    assert_eq!(list(rejected, None, 9).await, [ids[1], ids[0]]);
}

/// A replay is a new message, and both know of each other; asking again replays nothing twice.
pub async fn a_message_is_replayed_once(fixture: Fixture) {
    let (session, ids) = mixed(&fixture).await;
    let dry = replay(&fixture, Replay { dry_run: true, ..everything() }).await;
    assert_eq!(dry.replayed, []);
    let part = replay(&fixture, everything()).await;
    assert_eq!(part.counts, dry.counts);
    let old: Vec<_> = part.replayed.iter().map(|(old, _)| *old).collect();
    assert_eq!(old, [ids[2], ids[5]], "rejected content would be rejected again");
    let (first, again) = (part.replayed[0].1, fixture.message(part.replayed[0].1).await);
    let before = fixture.message(ids[2]).await;
    assert_eq!((again.recipient, again.content, again.attempt_no), (before.recipient, before.content, 0));
    assert_eq!((before.state.as_str(), again.state.as_str()), ("FAILED", "WAITING"));
    let links = async |id| fixture.store.message_replays(&fixture.tenant, id).await.unwrap();
    assert_eq!([links(ids[2]).await, links(first).await], [(None, Some(first)), (Some(ids[2]), None)]);
    let repeated = replay(&fixture, everything()).await;
    assert_eq!(repeated.replayed, []);
    assert!(repeated.counts.iter().any(|(_, _, verdict, count)| (*verdict, *count) == (Err(Refusal::Replayed), 1)));
    assert_eq!(fixture.claim_ids(&session).await, part.replayed.iter().map(|(_, new)| *new).collect::<Vec<_>>());
    let group = fixture.store.failed_count(&fixture.tenant, &FailedFilter::default(), FailedBy::Cause).await.unwrap();
    assert_eq!(group.iter().map(|group| group.replayed).sum::<u64>(), 2);
}

/// A replay goes on where the part before ended, and keeps to its limit.
pub async fn a_replay_goes_on_part_by_part(fixture: Fixture) {
    let (_, ids) = mixed(&fixture).await;
    let forced = Replay { force: true, limit: 1, ..everything() };
    let mut old = Vec::new();
    let mut after = None;
    loop {
        let part = replay(&fixture, Replay { after, ..forced.clone() }).await;
        old.extend(part.replayed.iter().map(|(old, _)| *old));
        after = part.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(old, [ids[0], ids[1], ids[2], ids[5]]);
    assert_eq!(fixture.store.message_replays(&fixture.tenant, ids[4]).await.unwrap(), (None, None));
}

/// The number of replays is bounded where the caller says so.
pub async fn a_replay_keeps_to_its_bound(fixture: Fixture) {
    let (_, ids) = mixed(&fixture).await;
    let part = replay(&fixture, Replay { force: true, replays_max: 3, ..everything() }).await;
    assert_eq!(part.replayed.iter().map(|(old, _)| *old).collect::<Vec<_>>(), ids[..3]);
    assert_eq!(part.next, None);
}

/// What may have been sent is never replayed, whatever is forced; neither is anything of a bot that is out of service.
pub async fn what_may_have_been_sent_is_not_replayed(fixture: Fixture) {
    let (_, ids) = mixed(&fixture).await;
    let dropped = Resolution::Drop;
    fixture.store.message_resolve(&fixture.tenant, ids[4], dropped, String::new()).await.unwrap();
    fixture.write(vec![FleetWrite::SetStage(bot("b"), Stage::Retired, note())]).await.unwrap();
    let part = replay(&fixture, Replay { force: true, ..everything() }).await;
    assert_eq!(part.replayed.iter().map(|(old, _)| *old).collect::<Vec<_>>(), ids[..2]);
    let refused =
        |cause, refusal| part.counts.iter().any(|(_, known, verdict, _)| (*known, *verdict) == (cause, Err(refusal)));
    assert!(refused(Cause::Failed(FailureReason::OutcomeUnknown), Refusal::MayHaveBeenSent));
    assert!(refused(Cause::Expired, Refusal::BotOutOfService));
}
