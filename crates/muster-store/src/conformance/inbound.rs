//! Inbound messages: each is kept once, and read from a cursor.

use muster_domain::content::Content;
use muster_domain::inbound::{InboundId, NewInbound};
use muster_domain::{Address, Timestamp};

use super::fixture::{Fixture, bot};
use crate::{InboundFilter, ReportBody};

fn inbound(to: &str, network_id: &str, sender: &str) -> NewInbound {
    NewInbound {
        bot: bot(to),
        network_id: network_id.into(),
        sender: Address::from_stored(sender),
        participant: Some(Address::from_stored("+5511900000007")),
        sender_name: "Ana".into(),
        content: Content::Text { body: "hello".into() },
        reply_to: Some("3EB0".into()),
        receive_time: Timestamp::from_second(1_800_000_000).unwrap(),
    }
}

async fn received(fixture: &Fixture, messages: Vec<NewInbound>) {
    let session = fixture.open().await.session;
    fixture.tell(&session, messages.into_iter().map(ReportBody::Inbound).collect()).await;
}

/// The network's own id tells a message that came twice, in one batch or in two; another bot's is another message.
pub async fn a_message_that_comes_twice_is_kept_once(fixture: Fixture) {
    let first = inbound("a", "X", "+5511900000001");
    let other_text = NewInbound { content: Content::Text { body: "again".into() }, ..first.clone() };
    let session = fixture.open().await.session;
    let bodies = [first.clone(), other_text.clone(), inbound("b", "X", "+5511900000001")];
    fixture.tell(&session, bodies.map(ReportBody::Inbound).to_vec()).await;
    fixture
        .tell(&session, vec![ReportBody::Inbound(other_text), ReportBody::Inbound(inbound("nobody", "Y", "+1"))])
        .await;
    let all = fixture.store.inbound_since(&fixture.tenant, None, None, 9).await.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].received, first);
    assert_eq!(fixture.store.inbound_get(&fixture.tenant, all[0].id).await.unwrap().as_ref(), Some(&all[0]));
}

/// A reader that goes on from its cursor sees every message once, in the order in which they became durable.
pub async fn a_cursor_goes_on_without_gap_or_repeat(fixture: Fixture) {
    received(&fixture, (0..7).map(|i| inbound("a", &i.to_string(), "+5511900000001")).collect()).await;
    let (mut cursor, mut seen): (Option<InboundId>, Vec<String>) = (None, Vec::new());
    loop {
        let page = fixture.store.inbound_since(&fixture.tenant, cursor, None, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        cursor = Some(last.id);
        seen.extend(page.into_iter().map(|message| message.received.network_id));
    }
    assert_eq!(seen, ["0", "1", "2", "3", "4", "5", "6"]);
    let of_b = fixture.store.inbound_since(&fixture.tenant, None, Some(&bot("b")), 9).await.unwrap();
    assert_eq!(of_b, []);
}

/// Lists show the newest first, page, and every filter leaves out the others.
pub async fn lists_page_and_filter(fixture: Fixture) {
    let later = NewInbound {
        receive_time: Timestamp::from_second(1_900_000_000).unwrap(),
        ..inbound("b", "2", "+5511900000002")
    };
    let messages = vec![inbound("a", "0", "+5511900000001"), inbound("a", "1", "+5511900000002"), later];
    received(&fixture, messages).await;
    let list = async |filter: InboundFilter, before, limit| {
        let rows = fixture.store.inbound_list(&fixture.tenant, &filter, before, limit).await.unwrap();
        rows.into_iter().map(|row| (row.id, row.received.network_id)).collect::<Vec<_>>()
    };
    let names = |rows: Vec<(InboundId, String)>| rows.into_iter().map(|(_, id)| id).collect::<Vec<_>>();
    let any = InboundFilter::default;
    let page = list(any(), None, 2).await;
    let before = Some(page[1].0);
    assert_eq!(names(page), ["2", "1"]);
    assert_eq!(names(list(any(), before, 2).await), ["0"]);
    assert_eq!(names(list(InboundFilter { bot: Some(bot("a")), ..any() }, None, 9).await), ["1", "0"]);
    let senders = vec![Address::from_stored("+5511900000002")];
    assert_eq!(names(list(InboundFilter { senders, ..any() }, None, 9).await), ["2", "1"]);
    let received_from = Some(Timestamp::from_second(1_850_000_000).unwrap());
    assert_eq!(names(list(InboundFilter { received_from, ..any() }, None, 9).await), ["2"]);
}
