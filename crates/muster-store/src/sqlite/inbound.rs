//! Messages that people sent to bots.

use muster_domain::contact::ContactAddress;
use muster_domain::content::{Content, Courtesy, ReplyTarget};
use muster_domain::inbound::{Inbound, InboundId, NewInbound};
use muster_domain::on_uncertain::OnUncertain;
use muster_domain::opt_out::OptSource;
use muster_domain::opt_out_words::is_opt_out;
use muster_domain::{Address, BotId, MessageId, Network, NodeId};
use rusqlite::params;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::directory::bot_id;
use super::error::failed;
use super::txn::Txn;
use super::{body, micros, opt_outs, time};
use crate::{AttemptRef, InboundFilter, OptOut, Result, StoreError};

const INBOUND: &str = "SELECT i.inbound_id, b.bot_id, i.network_id, i.sender, i.participant, i.sender_name, i.body, i.receive_time \
    FROM inbound i JOIN bot b USING (bot_key) WHERE i.tenant_key = ";

/// Keeps inbound messages. One that is known already, by the network's own id, is skipped. Who opts out by one is opted out in the
/// same commit, before anybody can see the message. Returns the attempts under way to them, which their agents should drop.
pub(super) fn insert(txn: &mut Txn, tenant_key: i64, messages: &[NewInbound]) -> Result<Vec<(NodeId, AttemptRef)>> {
    let mut cancel = Vec::new();
    for message in messages {
        let Some(entry) = txn.directory.bot(tenant_key, &message.bot) else { continue };
        let id = txn.issue_id();
        let reply_to = message.reply_to.clone().map(|network_id| ReplyTarget { network_id, resource: None });
        let is_new = txn.execute(
            "INSERT INTO inbound (inbound_id, tenant_key, bot_key, network_id, sender, participant, sender_name, \
             body, receive_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (bot_key, network_id) DO NOTHING",
            params![
                id.raw(),
                tenant_key,
                entry.bot_key,
                message.network_id,
                message.sender.as_str(),
                message.participant.as_ref().map(Address::as_str),
                message.sender_name,
                body::encode(&message.content, reply_to.as_ref(), Courtesy::default(), None, OnUncertain::default()),
                micros(message.receive_time),
            ],
        )?;
        if is_new == 1 {
            cancel.extend(opt_out(txn, tenant_key, entry.kind.network(), InboundId(id), message)?);
        }
    }
    Ok(cancel)
}

/// Opts the sender out if the message says so. A word in a group is said to the group, and opts nobody out.
fn opt_out(
    txn: &mut Txn,
    tenant_key: i64,
    network: Network,
    id: InboundId,
    message: &NewInbound,
) -> Result<Vec<(NodeId, AttemptRef)>> {
    let Content::Text { body } = &message.content else { return Ok(Vec::new()) };
    if message.participant.is_some() || !is_opt_out(&message.content) {
        return Ok(Vec::new());
    }
    let sender = ContactAddress { network, address: message.sender.clone() };
    let (source, text, proof) = (OptSource::Keyword, body.trim().to_owned(), id.resource_name());
    let said = OptOut { source, text, proof, author: String::new() };
    Ok(opt_outs::opt_out(txn, tenant_key, &sender, said)?.cancel)
}

fn inbound(row: &SqliteRow) -> Result<Inbound> {
    let id =
        MessageId::from_raw(row.get(0)).ok_or_else(|| StoreError::Corrupt("an inbound message has no id".into()))?;
    let body = body::decode(row.get(6))?;
    Ok(Inbound {
        id: InboundId(id),
        received: NewInbound {
            bot: bot_id(row.get(1))?,
            network_id: row.get(2),
            sender: Address::from_stored(row.get(3)),
            participant: row.get::<Option<&str>, _>(4).map(Address::from_stored),
            sender_name: row.get(5),
            content: body.content,
            reply_to: body.reply_to.map(|target| target.network_id),
            receive_time: time(row.get(7)),
        },
    })
}

pub(super) async fn get(readers: &SqlitePool, tenant_key: i64, id: InboundId) -> Result<Option<Inbound>> {
    let mut query = QueryBuilder::<Sqlite>::new(INBOUND);
    query.push_bind(tenant_key).push(" AND i.inbound_id = ").push_bind(id.0.raw());
    let row = query.build().fetch_optional(readers).await.map_err(failed)?;
    row.as_ref().map(inbound).transpose()
}

pub(super) async fn list(
    readers: &SqlitePool,
    tenant_key: i64,
    filter: &InboundFilter,
    before: Option<InboundId>,
    limit: u32,
) -> Result<Vec<Inbound>> {
    let mut query = QueryBuilder::<Sqlite>::new(INBOUND);
    query.push_bind(tenant_key);
    push_bot(&mut query, filter.bot.as_ref());
    if !filter.senders.is_empty() {
        query.push(" AND i.sender IN (");
        let mut list = query.separated(", ");
        for sender in &filter.senders {
            list.push_bind(sender.as_str().to_owned());
        }
        query.push(")");
    }
    if let Some(from) = filter.received_from {
        query.push(" AND i.receive_time >= ").push_bind(micros(from));
    }
    if let Some(before) = before {
        query.push(" AND i.inbound_id < ").push_bind(before.0.raw());
    }
    query.push(" ORDER BY i.inbound_id DESC LIMIT ").push_bind(limit);
    let rows = query.build().fetch_all(readers).await.map_err(failed)?;
    rows.iter().map(inbound).collect()
}

pub(super) async fn since(
    readers: &SqlitePool,
    tenant_key: i64,
    after: Option<InboundId>,
    bot: Option<&BotId>,
    limit: u32,
) -> Result<Vec<Inbound>> {
    let mut query = QueryBuilder::<Sqlite>::new(INBOUND);
    query.push_bind(tenant_key);
    push_bot(&mut query, bot);
    query.push(" AND i.inbound_id > ").push_bind(after.map_or(0, |after| after.0.raw()));
    query.push(" ORDER BY i.inbound_id LIMIT ").push_bind(limit);
    let rows = query.build().fetch_all(readers).await.map_err(failed)?;
    rows.iter().map(inbound).collect()
}

fn push_bot(query: &mut QueryBuilder<Sqlite>, bot: Option<&BotId>) {
    if let Some(bot) = bot {
        query.push(" AND b.bot_id = ").push_bind(bot.as_str().to_owned());
    }
}
