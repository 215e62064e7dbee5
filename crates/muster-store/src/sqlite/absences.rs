//! Bots whose nodes are absent: what their policies make of that.

use std::time::Duration;

use muster_domain::absence::{AbsencePolicy, FailOver, OnNodeAbsent};
use muster_domain::bot::{Connection, Hold, Stage};
use muster_domain::gate::{self, BotFacts, Decision};
use muster_domain::{GatewayId, Timestamp, life};
use rusqlite::{Row, params};

use super::code::Code as _;
use super::directory::gateway_id;
use super::settle::{self, Step};
use super::txn::Txn;
use super::{bots, duration_us, facts, fleet, micros, time};
use crate::{AbsencesActed, MovedBot, Result, StoreError};

/// When it is looked again at a bot for which something is due that cannot be done yet, or that may be asked for more.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The policy that three columns tell.
pub(super) fn policy(word: i64, after: Option<i64>, standby: Option<&str>) -> Result<AbsencePolicy> {
    let after = Duration::from_micros(after.unwrap_or_default().unsigned_abs());
    Ok(match (OnNodeAbsent::decode(word)?, standby) {
        (OnNodeAbsent::Wait, _) => AbsencePolicy::Wait,
        (OnNodeAbsent::Fail, _) => AbsencePolicy::Fail { after },
        (OnNodeAbsent::FailOver, Some(standby)) => {
            AbsencePolicy::FailOver { after, standby_gateway: gateway_id(standby)? }
        }
        (OnNodeAbsent::FailOver, None) => return Err(StoreError::Corrupt("a bot fails over to nowhere".into())),
    })
}

/// The columns of a policy.
pub(super) fn columns(policy: &AbsencePolicy) -> (i64, Option<i64>, Option<&str>) {
    let standby = policy.standby_gateway().map(GatewayId::as_str);
    (policy.on_node_absent().code(), policy.absent_after().map(duration_us), standby)
}

/// The move that three columns tell, if there was one.
pub(super) fn fail_over_of(from: Option<&str>, absent: Option<i64>, moved: Option<i64>) -> Result<Option<FailOver>> {
    let Some(from) = from else { return Ok(None) };
    let (absent_since, moved) = (time(absent.unwrap_or_default()), time(moved.unwrap_or_default()));
    Ok(Some(FailOver { from_gateway: gateway_id(from)?, absent_since, time: moved }))
}

/// Forgets that a bot was moved by its policy, if it is moved to another gateway now.
pub(super) fn moved_by_hand(txn: &Txn, bot_key: i64, gateway_key: i64) -> Result<()> {
    txn.execute(
        "UPDATE bot SET fail_over_from = NULL, fail_over_absent = NULL, fail_over_time = NULL \
         WHERE bot_key = ? AND gateway_key <> ? AND fail_over_from IS NOT NULL",
        params![bot_key, gateway_key],
    )
    .map(drop)
}

/// A bot with a policy, whose node has no session.
struct Absent {
    tenant_key: i64,
    bot_key: i64,
    node_key: i64,
    gateway: String,
    policy: AbsencePolicy,
    since: Timestamp,
    stage: Stage,
    hold: Option<Hold>,
    connection: Connection,
    cordoned: bool,
}

/// See [`crate::Store::absences_act`].
pub(super) fn act(txn: &mut Txn, serving_since: Timestamp, limit: u32) -> Result<AbsencesActed> {
    let mut acted = AbsencesActed::default();
    let mut left = limit;
    for bot in absent(txn, serving_since)? {
        let Some(due) = bot.policy.due(bot.since) else { continue };
        let next = if due > txn.now {
            Duration::try_from(due.duration_since(txn.now)).unwrap_or_default()
        } else if left == 0 {
            Duration::ZERO
        } else {
            match &bot.policy {
                AbsencePolicy::Wait => {}
                AbsencePolicy::FailOver { standby_gateway, .. } => {
                    if let Some(moved) = fail_over(txn, &bot, standby_gateway)? {
                        acted.moved.push(moved);
                        left -= 1;
                    }
                }
                AbsencePolicy::Fail { .. } => {
                    let failed = fail(txn, &bot, left)?;
                    left -= failed;
                    acted.failed += u64::from(failed);
                }
            }
            if left == 0 { Duration::ZERO } else { LOOK_AGAIN }
        };
        acted.next = Some(acted.next.map_or(next, |known| known.min(next)));
    }
    Ok(acted)
}

/// Bots with a policy whose nodes have no session, but for those that are at their standby gateways already. The stages stand in
/// the text: a bot that is banned or retired sends nothing.
fn absent(txn: &Txn, serving_since: Timestamp) -> Result<Vec<Absent>> {
    let sql = "SELECT b.tenant_key, b.bot_key, b.node_key, g.gateway_id, b.on_node_absent, b.absent_after, b.standby_gateway, \
        max(n.online_time, ?1), b.stage, b.hold_reason, b.hold_author, b.hold_since, b.hold_until, b.connection, \
        n.cordon_time IS NOT NULL FROM node n CROSS JOIN bot b ON b.node_key = n.node_key JOIN gateway g USING (gateway_key) \
        WHERE n.online = 0 AND n.online_time IS NOT NULL AND b.on_node_absent > 0 AND b.stage NOT IN (8, 9) \
        AND b.standby_gateway IS NOT g.gateway_id";
    txn.all(sql, [micros(serving_since)], absent_row)
}

fn absent_row(row: &Row<'_>) -> Result<Absent> {
    Ok(Absent {
        tenant_key: row.get(0)?,
        bot_key: row.get(1)?,
        node_key: row.get(2)?,
        gateway: row.get(3)?,
        policy: policy(row.get(4)?, row.get(5)?, row.get::<_, Option<String>>(6)?.as_deref())?,
        since: time(row.get(7)?),
        stage: Stage::decode(row.get(8)?)?,
        hold: bots::hold(row.get(9)?, row.get(10)?, row.get(11)?, row.get(12)?),
        connection: Connection::decode(row.get(13)?)?,
        cordoned: row.get(14)?,
    })
}

/// Moves a bot to its standby gateway, once that one's node is there and takes work.
fn fail_over(txn: &mut Txn, bot: &Absent, standby: &GatewayId) -> Result<Option<MovedBot>> {
    let ready: Option<i64> = txn.value_opt(
        "SELECT n.node_key FROM gateway g JOIN node n USING (node_key) WHERE g.tenant_key = ? AND g.gateway_id = ? AND \
         g.removed = 0 AND n.online = 1 AND n.cordon_time IS NULL",
        params![bot.tenant_key, standby.as_str()],
    )?;
    let Some(to) = ready else { return Ok(None) };
    let id = txn.directory.bot_id(bot.bot_key)?;
    fleet::move_bot(txn, bot.tenant_key, bot.bot_key, id.clone(), standby, &bot.policy)?;
    txn.execute(
        "UPDATE bot SET fail_over_from = ?, fail_over_absent = ?, fail_over_time = ? WHERE bot_key = ?",
        params![bot.gateway, micros(bot.since), micros(txn.now), bot.bot_key],
    )?;
    Ok(Some(MovedBot {
        tenant: txn.directory.tenant_id(bot.tenant_key)?,
        bot: id,
        from: txn.directory.node_id(bot.node_key)?,
        to: txn.directory.node_id(to)?,
    }))
}

/// Fails what could have left of a bot, if the gate says so: a hold or a cordon goes before. Returns how many messages.
fn fail(txn: &mut Txn, bot: &Absent, limit: u32) -> Result<u32> {
    let facts = BotFacts {
        stage: bot.stage,
        hold: bot.hold.as_ref(),
        connection: bot.connection,
        node_cordoned: bot.cordoned,
        node_online: false,
        node_given_up: bot.policy.has_given_up(bot.since, txn.now),
        window: None,
        backoff: None,
    };
    let Decision::Refuse { reason } = gate::decide_bot(&facts, txn.now) else { return Ok(0) };
    let condition = "m.message_id IN (SELECT message_id FROM ready WHERE bot_key = ? LIMIT ?)";
    let waiting = facts::of_those(txn, condition, params![bot.bot_key, limit])?;
    let count = u32::try_from(waiting.len()).unwrap_or(limit);
    let refuse = |facts| Step::new(facts, life::after_refusal(reason));
    settle::apply(txn, waiting.into_iter().map(refuse).collect())?;
    Ok(count)
}
