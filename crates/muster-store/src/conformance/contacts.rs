//! Contacts: who opts out gets nothing any more, whatever waits, is under way or comes back.

use muster_domain::contact::{Contact, ContactAddress};
use muster_domain::content::Content;
use muster_domain::failure::{Failure, FailureReason};
use muster_domain::inbound::NewInbound;
use muster_domain::message::{HandbackReason, Idempotency, NewMessage, Outcome, ReceiptKind};
use muster_domain::on_uncertain::OnUncertain;
use muster_domain::opt_out::{OptChange, OptInRefusal, OptSource};
use muster_domain::resolution::Resolution;
use muster_domain::tenant::TenantSpec;
use muster_domain::{Address, MessageId, Network, TenantId, Timestamp};

use super::fixture::{Fixture, bot, node, outcome, sent, text, unknown};
use crate::{
    AcceptResult, ContactFilter, Held, InboundFilter, OptIn, OptInResult, OptOut, OptedOut, ReportBody, ResolveResult,
    SessionOpen, SessionRef,
};

/// The recipient that most cases are about.
const ANA: &str = "+5511900000001";

/// An address of the fixture's bots.
pub fn address(text: &str) -> ContactAddress {
    ContactAddress { network: Network::WhatsApp, address: Address::from_stored(text) }
}

/// An opt-out as a caller asks for it.
pub fn by_operator() -> OptOut {
    OptOut {
        source: OptSource::Operator,
        text: "asked on the phone".into(),
        proof: "call 7".into(),
        author: "ana".into(),
    }
}

fn says(network_id: &str, sender: &str, body: &str) -> ReportBody {
    ReportBody::Inbound(NewInbound {
        bot: bot("a"),
        network_id: network_id.into(),
        sender: Address::from_stored(sender),
        participant: None,
        sender_name: String::new(),
        content: Content::Text { body: body.into() },
        reply_to: None,
        receive_time: Timestamp::now(),
    })
}

impl Fixture {
    /// Opts an address out, as an operator.
    pub async fn opt_out(&self, recipient: &str) -> OptedOut {
        self.store.contact_opt_out(&self.tenant, &address(recipient), by_operator()).await.unwrap()
    }

    async fn opt_in(&self, recipient: &str, proof: &str) -> Result<Contact, OptInRefusal> {
        let asked = OptIn { text: "wrote again".into(), proof: proof.into(), author: "ana".into() };
        match self.store.contact_opt_in(&self.tenant, &address(recipient), asked).await.unwrap() {
            OptInResult::OptedIn(contact) => Ok(contact),
            OptInResult::Refused(refusal) => Err(refusal),
            OptInResult::Unknown => panic!("nobody has this address"),
        }
    }

    async fn contact(&self, recipient: &str) -> Option<Contact> {
        self.store.contact_get(&self.tenant, &address(recipient)).await.unwrap()
    }

    async fn why_failed(&self, id: MessageId) -> Option<FailureReason> {
        assert_eq!(self.state(id).await, "FAILED");
        self.message(id).await.failure.map(|failure| failure.reason)
    }

    /// The name of the latest inbound message.
    async fn latest_inbound(&self) -> String {
        let found = self.store.inbound_list(&self.tenant, &InboundFilter::default(), None, 1).await.unwrap();
        found[0].id.resource_name()
    }

    async fn uncertain_to_ana(&self, session: &SessionRef, on_uncertain: OnUncertain) -> MessageId {
        let id = self.accept(vec![NewMessage { on_uncertain, ..text("a", ANA, "hello") }]).await[0];
        let attempt = self.claim_attempts(session).await[0];
        self.tell(session, vec![outcome(attempt, unknown())]).await;
        id
    }
}

/// What waits for the one who opted out fails in the same commit, whatever it waits for; the others go on, and nothing more is
/// accepted for this one.
pub async fn an_opt_out_ends_what_waits(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let later = NewMessage {
        not_before: Some(Timestamp::now() + std::time::Duration::from_secs(600)),
        ..text("a", ANA, "later")
    };
    let to_other = text("a", "+5511900000002", "hello");
    let ids = fixture.accept(vec![text("a", ANA, "hello"), later, text("b", ANA, "hello"), to_other]).await;
    let done = fixture.opt_out(ANA).await;
    assert_eq!((done.failed, done.cancel), (3, Vec::new()));
    assert!(done.contact.opt_out_time.is_some());
    for id in &ids[..3] {
        assert_eq!(fixture.why_failed(*id).await, Some(FailureReason::RecipientOptedOut));
        assert_eq!(fixture.trace(*id).await, Vec::<&str>::new());
    }
    let more = vec![text("b", ANA, "hello"), text("b", "+5511900000003", "hello")];
    let results = fixture.store.message_accept(&fixture.tenant, more).await.unwrap();
    assert_eq!(results[0], AcceptResult::RecipientOptedOut);
    let AcceptResult::Accepted(to_third) = results[1] else { panic!("{results:?}") };
    assert_eq!(fixture.claim_ids(&session).await, [ids[3], to_third]);
}

/// What is under way is asked for, and does not wait again whatever its agent says; what was sent was sent.
pub async fn what_is_under_way_does_not_come_back(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let count = 4;
    fixture.accept((0..count).map(|_| text("a", ANA, "hello")).collect()).await;
    let attempts = fixture.claim_attempts(&session).await;
    let done = fixture.opt_out(ANA).await;
    assert_eq!(done.failed, 0);
    assert_eq!(done.cancel, attempts.iter().map(|attempt| (node(), *attempt)).collect::<Vec<_>>());
    assert_eq!(fixture.state(attempts[0].message_id).await, "DISPATCHED");
    let outcomes = [
        Outcome::Cancelled,
        Outcome::HandedBack(HandbackReason::ChainBroken),
        super::fixture::refused(std::time::Duration::ZERO),
        sent("X"),
    ];
    let bodies = attempts.iter().zip(outcomes).map(|(attempt, came_to)| outcome(*attempt, came_to)).collect();
    fixture.tell(&session, bodies).await;
    for (attempt, trace) in attempts.iter().zip(["CANCELLED", "HANDED_BACK", "FAILED"]) {
        assert_eq!(fixture.why_failed(attempt.message_id).await, Some(FailureReason::RecipientOptedOut), "{trace}");
        assert_eq!(fixture.trace(attempt.message_id).await, [trace]);
    }
    assert_eq!(fixture.state(attempts[3].message_id).await, "SENT");
    fixture.wake_due(100).await;
    assert_eq!(fixture.claim_ids(&session).await, []);
}

/// A client that takes back what its recipient does not want either gets what it asked for.
pub async fn a_client_may_cancel_it_too(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    fixture.opt_out(ANA).await;
    fixture.store.message_cancel(&fixture.tenant, attempt.message_id).await.unwrap();
    fixture.tell(&session, vec![outcome(attempt, Outcome::Cancelled)]).await;
    assert_eq!(fixture.state(attempt.message_id).await, "CANCELLED");
}

/// An agent that was away when its recipient opted out is asked when it is back, and what it never received fails.
pub async fn an_agent_that_was_away_is_asked(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let attempt = fixture.dispatched(&session).await;
    fixture.opt_out(ANA).await;
    let held = vec![Held { attempt, started: false, reported_at: None }];
    let open = SessionOpen { report_head: 2, held, ..fixture.opening() };
    assert_eq!(fixture.store.session_open(open.clone()).await.unwrap().cancel, [attempt]);
    fixture.store.session_open(SessionOpen { held: Vec::new(), ..open }).await.unwrap();
    assert_eq!(fixture.why_failed(attempt.message_id).await, Some(FailureReason::RecipientOptedOut));
    assert_eq!(fixture.trace(attempt.message_id).await, ["NOT_RECEIVED"]);
}

/// Neither an operator nor a policy has a message sent again to one who opted out meanwhile.
pub async fn what_is_sent_again_fails(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let held = fixture.uncertain_to_ana(&session, OnUncertain::Hold).await;
    let waits = fixture.uncertain_to_ana(&session, OnUncertain::Resend).await;
    fixture.opt_out(ANA).await;
    assert_eq!((fixture.state(held).await, fixture.state(waits).await), ("UNCERTAIN", "UNCERTAIN"));
    let resolved = fixture.store.message_resolve(&fixture.tenant, held, Resolution::Resend, String::new()).await;
    assert_eq!(resolved.unwrap(), ResolveResult::Resolved);
    fixture.store.wake_due(9, muster_domain::limits::SILENCE_MAX, std::time::Duration::ZERO).await.unwrap();
    for id in [held, waits] {
        assert_eq!(fixture.why_failed(id).await, Some(FailureReason::RecipientOptedOut));
        assert_eq!(fixture.trace(id).await, ["UNCERTAIN"]);
    }
    assert_eq!(fixture.claim_ids(&session).await, []);
}

/// A word opts its sender out in the commit that keeps the message. What says more does not, nor does a word in a group, nor the
/// same message once more.
pub async fn a_word_opts_its_sender_out(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let waiting = fixture.accept(vec![text("a", ANA, "hello")]).await[0];
    let under_way = fixture.dispatched(&session).await;
    assert_eq!(fixture.tell(&session, vec![says("1", ANA, "please stop by at five")]).await.cancel, []);
    let ReportBody::Inbound(in_group) = says("2", "120363025246125486@g.us", "stop") else { unreachable!() };
    let in_group = NewInbound { participant: Some(Address::from_stored(ANA)), ..in_group };
    fixture.tell(&session, vec![ReportBody::Inbound(in_group)]).await;
    assert_eq!(fixture.contact(ANA).await, None);
    assert_eq!(fixture.contact("120363025246125486@g.us").await, None);
    let applied = fixture.tell(&session, vec![says("3", ANA, " Parar! ")]).await;
    let asked: Vec<_> = applied.cancel.iter().map(|(_, attempt)| attempt.message_id).collect();
    assert_eq!(asked, [waiting, under_way.message_id], "both had been claimed");
    let contact = fixture.contact(ANA).await.unwrap();
    let record = &contact.opt_records[0];
    assert_eq!((record.change, record.source, record.text.as_str()), (OptChange::OptOut, OptSource::Keyword, "Parar!"));
    assert_eq!(record.proof, fixture.latest_inbound().await);
    assert_eq!(contact.opt_out_time, Some(record.time));
    fixture.tell(&session, vec![says("3", ANA, "stop"), says("4", ANA, "stop")]).await;
    assert_eq!(fixture.contact(ANA).await.unwrap(), contact, "what is said again changes nothing");
    let refused = fixture.store.message_accept(&fixture.tenant, vec![text("b", ANA, "hello")]).await.unwrap();
    assert_eq!(refused, [AcceptResult::RecipientOptedOut]);
}

/// Where the network refuses a message because its recipient blocked the sender or asked it to stop, at once or later, that is an
/// opt-out; another refusal is none.
pub async fn what_the_network_says_counts(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let failure = |reason| Failure::new(reason, "user stopped marketing");
    let refused = async |recipient: &str, reason| {
        let id = fixture.accept(vec![text("a", recipient, "hello")]).await[0];
        let attempt = fixture.claim_attempts(&session).await[0];
        fixture.tell(&session, vec![outcome(attempt, Outcome::Failed(failure(reason)))]).await;
        id
    };
    let recipients = ["+5511900000002", "+5511900000003"];
    refused(recipients[0], FailureReason::RecipientUnreachable).await;
    assert_eq!(fixture.contact(recipients[0]).await, None);
    let id = refused(recipients[1], FailureReason::RecipientOptedOut).await;
    let record = fixture.contact(recipients[1]).await.unwrap().opt_records.remove(0);
    assert_eq!((record.source, record.text.as_str()), (OptSource::Network, "user stopped marketing"));
    assert_eq!(record.proof, id.resource_name());
    let attempt = fixture.dispatched(&session).await;
    fixture.tell(&session, vec![outcome(attempt, sent("X"))]).await;
    let waiting = fixture.accept(vec![text("b", ANA, "hello")]).await[0];
    let failure = Some(failure(FailureReason::RecipientOptedOut));
    let (bot, network_id, kind) = (bot("a"), "X".to_owned(), ReceiptKind::Failed);
    fixture.tell(&session, vec![ReportBody::Receipt { bot, network_id, kind, failure }]).await;
    assert_eq!(fixture.why_failed(waiting).await, Some(FailureReason::RecipientOptedOut));
    assert_eq!(fixture.contact(ANA).await.unwrap().opt_records[0].proof, attempt.message_id.resource_name());
    assert_eq!(fixture.opt_in(ANA, "form 8").await, Err(OptInRefusal::OwnWordNeeded));
}

/// What a person said themself is taken back by a later message of theirs only; what an operator noted, by any proof. All of it
/// stays in the history.
pub async fn only_their_own_word_takes_it_back(fixture: Fixture) {
    let session = fixture.open_connected().await;
    let nobody = crate::OptIn { text: String::new(), proof: "form 8".into(), author: String::new() };
    let unknown = fixture.store.contact_opt_in(&fixture.tenant, &address(ANA), nobody).await.unwrap();
    assert_eq!(unknown, OptInResult::Unknown);
    fixture.opt_out(ANA).await;
    assert_eq!(fixture.opt_in(ANA, "form 8").await.unwrap().opt_out_time, None);
    assert_eq!(fixture.opt_in(ANA, "form 8").await, Err(OptInRefusal::NotOptedOut));
    fixture.tell(&session, vec![says("1", ANA, "hello")]).await;
    let before = fixture.latest_inbound().await;
    fixture.tell(&session, vec![says("2", ANA, "stop")]).await;
    let the_word = fixture.latest_inbound().await;
    fixture.tell(&session, vec![says("3", "+5511900000002", "start")]).await;
    let of_another = fixture.latest_inbound().await;
    fixture.opt_out(ANA).await;
    for proof in ["form 8", &before, &the_word, &of_another, "inboundMessages/x"] {
        assert_eq!(fixture.opt_in(ANA, proof).await, Err(OptInRefusal::OwnWordNeeded), "{proof}");
    }
    fixture.tell(&session, vec![says("4", ANA, "please write to me again")]).await;
    let own_word = fixture.latest_inbound().await;
    let contact = fixture.opt_in(ANA, &own_word).await.unwrap();
    let history: Vec<_> = contact.opt_records.iter().map(|record| (record.change, record.source)).collect();
    use OptChange::{OptIn, OptOut};
    use OptSource::{Keyword, Operator};
    assert_eq!(
        history,
        [(OptOut, Operator), (OptIn, Operator), (OptOut, Keyword), (OptOut, Operator), (OptIn, Operator)]
    );
    assert_eq!(contact.opt_records[4].proof, own_word);
    assert_eq!(fixture.contact(ANA).await, Some(contact));
    let id = fixture.accept(vec![text("a", ANA, "hello")]).await[0];
    assert_eq!(fixture.claim_ids(&session).await, [id]);
}

/// A key that was used before its recipient opted out has its first answer; a new one is refused and stays free.
pub async fn a_repeat_has_its_first_answer(fixture: Fixture) {
    let keyed = |key: &str| {
        let idempotency = Some(Idempotency { key: key.into(), fingerprint: [1; 16] });
        vec![NewMessage { idempotency, ..text("a", ANA, "hello") }]
    };
    let id = fixture.accept(keyed("k")).await[0];
    fixture.opt_out(ANA).await;
    let accept = async |key| fixture.store.message_accept(&fixture.tenant, keyed(key)).await.unwrap().remove(0);
    assert_eq!(accept("k").await, AcceptResult::Replayed(id));
    assert_eq!(accept("new").await, AcceptResult::RecipientOptedOut);
    fixture.opt_in(ANA, "form 8").await.unwrap();
    assert!(matches!(accept("new").await, AcceptResult::Accepted(_)));
}

/// P8. Another tenant's contact of the same address is another contact; so is the same text on another network.
pub async fn an_opt_out_speaks_to_one_tenant_on_one_network(fixture: Fixture) {
    let clinic = TenantId::new("clinic").unwrap();
    let spec = TenantSpec { id: clinic.clone(), weight: 1, on_uncertain: OnUncertain::Hold };
    fixture.store.tenant_put(spec).await.unwrap();
    let elsewhere = ContactAddress { network: Network::Null, ..address(ANA) };
    fixture.store.contact_opt_out(&clinic, &address(ANA), by_operator()).await.unwrap();
    fixture.store.contact_opt_out(&fixture.tenant, &elsewhere, by_operator()).await.unwrap();
    assert_eq!(fixture.contact(ANA).await, None);
    let session = fixture.open_connected().await;
    let id = fixture.accept(vec![text("a", ANA, "hello")]).await[0];
    assert_eq!(fixture.claim_ids(&session).await, [id]);
}

/// Lists page by id, and the filter leaves out who may be written to.
pub async fn lists_page_and_filter(fixture: Fixture) {
    let addresses = ["+5511900000001", "+5511900000002", "+5511900000003"];
    for recipient in addresses {
        fixture.opt_out(recipient).await;
    }
    fixture.opt_in(addresses[1], "form 8").await.unwrap();
    let list = async |filter, after, limit| {
        let found = fixture.store.contact_list(&fixture.tenant, filter, after, limit).await.unwrap();
        let name = |contact: &Contact| contact.addresses[0].address.as_str().to_owned();
        (found.iter().map(name).collect::<Vec<_>>(), found.last().map(|contact| contact.id))
    };
    let (first, after) = list(ContactFilter::default(), None, 2).await;
    assert_eq!(first, addresses[..2]);
    assert_eq!(list(ContactFilter::default(), after, 2).await.0, addresses[2..]);
    assert_eq!(list(ContactFilter { opted_out: true }, None, 9).await.0, [addresses[0], addresses[2]]);
}
