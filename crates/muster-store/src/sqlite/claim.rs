//! Choosing what leaves now: asks the gate, and commits an attempt for each message that it admits.

use std::time::Duration;

use muster_domain::bot::{Connection, Hold, Stage};
use muster_domain::gate::{self, BotFacts, Decision, MessageFacts, RecipientFacts, WaitReason};
use muster_domain::life;
use muster_domain::message::{MessageState, Priority};
use muster_domain::resolution::Resolution;
use muster_domain::{Address, BotId, MessageId, Network, Timestamp};
use rusqlite::{Row, params};

use super::backoffs::{self, Sender};
use super::code::Code as _;
use super::facts::{Facts, Latest};
use super::fence::{self, Fence};
use super::queues;
use super::settle::{self, Step};
use super::turns::{self, InTurn};
use super::txn::Txn;
use super::windows::{self, Sends};
use super::{away, body, bots, micros, opt_outs, time, time_opt};
use crate::{AttemptRef, Claim, Claimed, ClaimedAttempt, Result, StoreError, credit_bytes};

/// When a message is looked at again whose chain is blocked by one that is due itself, and only has to be woken.
const CHAIN_RECHECK: Duration = Duration::from_millis(50);

/// A bot of the claim, as the gate sees it.
struct ClaimBot {
    id: BotId,
    sender: Sender,
    network: Network,
    window: u32,
    stage: Stage,
    hold: Option<Hold>,
    connection: Connection,
    sends: Sends,
    /// Attempts may be under way at a node that the bot has left.
    away: bool,
}

/// A message that could leave, with what it takes along.
pub(super) struct Candidate {
    pub(super) facts: Facts,
    recipient: Address,
    body: body::Body,
    /// See [`ClaimedAttempt::resend_after`].
    resend_after: u32,
    /// When an earlier message of its chain is looked at again, if one has to go first.
    pub(super) chain_until: Option<i64>,
    /// The time that its client named.
    pub(super) not_before: Option<i64>,
    /// What its bot's sending window leaves of the time in which it may be started.
    room: Room,
}

/// See [`ClaimedAttempt::window_closes`] and [`ClaimedAttempt::window_generation`].
#[derive(Debug, Clone, Copy, Default)]
struct Room {
    /// Until the window closes, if it does.
    left: Option<Duration>,
    generation: u32,
}

/// See [`crate::Store::dispatch_claim`].
pub(super) fn claim(txn: &mut Txn, tenant_key: i64, fence: Fence, claim: Claim) -> Result<Claimed> {
    let told = fence::check(txn, fence)?;
    let mut claimed = Claimed { report_committed: told.report_committed, ..Claimed::default() };
    // Until it is known which attempts of earlier sessions arrived, a later message of a chain could overtake one of them.
    if told.settle_after > 0 {
        return Ok(claimed);
    }
    let (mut left, mut bytes_left) = (claim.attempts_max, claim.bytes_max);
    let mut admitted = Vec::new();
    let (mut refused, mut parked) = (Vec::new(), Vec::new());
    let step = claim.priority_step;
    let any_refused = backoffs::any(txn)?;
    for bot in bots(txn, tenant_key, fence, claim.bots)? {
        let backoff = if any_refused { backoffs::of(txn, bot.sender)? } else { None };
        let facts = BotFacts {
            stage: bot.stage,
            hold: bot.hold.as_ref(),
            connection: bot.connection,
            node_cordoned: told.cordoned,
            node_online: true,
            node_given_up: false,
            window: bot.sends.window,
            backoff: backoff.as_ref(),
        };
        // A bot that waits is not looked into. One that is out of service for good is: what came back to it, or was accepted
        // for it since, is refused.
        if let Decision::Wait { reason, until } = gate::decide_bot(&facts, txn.now) {
            if reason == WaitReason::WindowClosed {
                windows::wait(txn, bot.sender.bot_key, &bot.sends, until)?;
            }
            if any_refused {
                backoffs::tell_again(txn, bot.sender)?;
            }
            continue;
        }
        // One that was refused tries with one message; the others wait for what becomes of it.
        let on_trial = backoff.is_some();
        let wanted = bot.window.min(left).min(if on_trial { 1 } else { u32::MAX });
        if wanted == 0 {
            claimed.more.push(bot.id);
            continue;
        }
        let bot_key = bot.sender.bot_key;
        let InTurn { mut candidates, taking_turns } = turns::candidates(txn, tenant_key, bot_key, wanted, step)?;
        if bot.away {
            away::block(txn, fence, bot_key, &mut candidates)?;
        }
        let mut latest = None;
        let mut full = candidates.len() as u32 == wanted;
        let room = Room { left: bot.sends.left(txn.now), generation: bot.sends.generation };
        for mut candidate in candidates {
            let bytes = credit_bytes(&candidate.body.content, &candidate.recipient);
            if left == 0 || (bytes > bytes_left && !admitted.is_empty()) {
                full = true;
                break;
            }
            let recipient = opt_outs::recipient(txn, tenant_key, bot.network, &candidate.recipient)?;
            match decide(&facts, recipient, &candidate, txn) {
                Decision::Admit => {
                    left -= 1;
                    latest = Some(candidate.facts.priority);
                    bytes_left = bytes_left.saturating_sub(bytes);
                    candidate.room = room;
                    admitted.push((bot.id.clone(), candidate));
                    if on_trial {
                        backoffs::trial(txn, bot.sender)?;
                    }
                }
                Decision::Wait { reason, until } => {
                    if let Some(until) = until {
                        parked.push((candidate.facts, until, reason));
                    }
                }
                Decision::Refuse { reason } => refused.push(Step::new(candidate.facts, life::after_refusal(reason))),
            }
        }
        if taking_turns && let Some(latest) = latest {
            txn.turns.note(bot_key, Some(Priority::decode(latest)?));
        } else if !taking_turns {
            txn.turns.note(bot_key, None);
        }
        if full {
            claimed.more.push(bot.id);
        }
    }
    settle::apply(txn, refused)?;
    park(txn, &parked)?;
    commit(txn, fence, &admitted)?;
    claimed.attempts =
        admitted.into_iter().map(|(bot, candidate)| attempt(txn, bot, candidate)).collect::<Result<_>>()?;
    Ok(claimed)
}

fn decide(bot: &BotFacts<'_>, recipient: RecipientFacts, candidate: &Candidate, txn: &Txn) -> Decision {
    let message = MessageFacts {
        recipient,
        expire_time: time(candidate.facts.expire_time),
        // What is in the queue has had its own times already.
        not_before: None,
        retry_time: None,
        // What is parked blocks until it is back in its queue, which may be a moment after its time.
        chain_until: time_opt(candidate.chain_until).map(|until| until.max(txn.now + CHAIN_RECHECK)),
    };
    gate::decide(bot, &message, txn.now)
}

/// The bots of the claim that are on the session's node, in the claim's order.
fn bots(txn: &Txn, tenant_key: i64, fence: Fence, wanted: Vec<(BotId, u32)>) -> Result<Vec<ClaimBot>> {
    let entries = txn.directory.bots(tenant_key, wanted.iter().map(|(id, _)| id));
    let mut found = Vec::with_capacity(entries.len());
    for (entry, (id, window)) in entries.into_iter().zip(wanted) {
        let Some(entry) = entry.filter(|entry| entry.node_key == fence.node_key) else { continue };
        let bot = txn.first(
            "SELECT stage, connection, away, hold_reason, hold_author, hold_since, hold_until, gateway_key, \
             sending_window, window_generation, wake_time FROM bot WHERE bot_key = ? AND node_key = ?",
            params![entry.bot_key, fence.node_key],
            |row| {
                Ok(ClaimBot {
                    id,
                    sender: Sender { bot_key: entry.bot_key, gateway_key: row.get(7)? },
                    network: entry.kind.network(),
                    window,
                    stage: Stage::decode(row.get(0)?)?,
                    connection: Connection::decode(row.get(1)?)?,
                    sends: Sends::of(
                        txn,
                        row.get_ref(8)?.as_str_or_null().map_err(rusqlite::Error::from)?,
                        row.get(9)?,
                        row.get(10)?,
                    )?,
                    away: row.get(2)?,
                    hold: bots::hold(row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?),
                })
            },
        )?;
        found.extend(bot);
    }
    Ok(found)
}

/// The statement that reads candidates, around the part that finds them in `ready`. What blocks a chain is looked for only
/// where something of the bot is parked, and decisions of operators only where there was an attempt before.
macro_rules! candidates_where {
    ($which:literal) => {
        concat!(
            "SELECT m.message_id, m.priority, m.chain, m.expire_time, head.attempt_no, m.recipient, m.body, \
             iif(EXISTS (SELECT 1 FROM parked q WHERE q.bot_key = ?1), (SELECT max(p.wake_time) FROM parked p \
             WHERE p.chain = m.chain AND p.blocks = 1 AND p.message_id < m.message_id), NULL), \
             iif(head.attempt_no > 0, (SELECT max(d.attempt_no) FROM resolution d WHERE d.message_id = m.message_id AND \
             d.resolution = ?3), NULL), m.not_before \
             FROM (SELECT message_id, priority, attempt_no FROM ready WHERE bot_key = ?1 AND ",
            $which,
            " ORDER BY priority, message_id LIMIT ?2) head CROSS JOIN message m ON m.message_id = head.message_id \
             ORDER BY head.priority, head.message_id"
        )
    };
}

/// The first messages of a bot, the most urgent first.
pub(super) fn most_urgent(txn: &Txn, tenant_key: i64, bot_key: i64, limit: u32) -> Result<Vec<Candidate>> {
    let sql = candidates_where!("true");
    txn.all(sql, params![bot_key, limit, Resolution::Resend.code()], |row| candidate(tenant_key, bot_key, row))
}

/// The first messages of one of a bot's queues, as far as they were accepted before an id was issued.
pub(super) fn accepted_before(
    txn: &Txn,
    tenant_key: i64,
    bot_key: i64,
    priority: Priority,
    before: MessageId,
    limit: u32,
) -> Result<Vec<Candidate>> {
    let sql = candidates_where!("priority = ?4 AND message_id < ?5");
    let params = params![bot_key, limit, Resolution::Resend.code(), priority.code(), before.raw()];
    txn.all(sql, params, |row| candidate(tenant_key, bot_key, row))
}

fn candidate(tenant_key: i64, bot_key: i64, row: &Row<'_>) -> Result<Candidate> {
    let facts = Facts {
        message_id: row.get(0)?,
        tenant_key,
        bot_key,
        priority: row.get(1)?,
        chain: row.get(2)?,
        expire_time: row.get(3)?,
        state: MessageState::Waiting,
        attempt_no: row.get(4)?,
        cancel_requested: false,
        opted_out: false,
        latest: None,
    };
    Ok(Candidate {
        facts,
        recipient: Address::from_stored(row.get_ref(5)?.as_str().unwrap_or_default()),
        body: body::decode(row.get_ref(6)?.as_blob().unwrap_or_default())?,
        chain_until: row.get(7)?,
        resend_after: row.get::<_, Option<u32>>(8)?.unwrap_or_default(),
        not_before: row.get(9)?,
        room: Room::default(),
    })
}

/// Moves messages that an earlier one blocks out of the queue until that one's time.
fn park(txn: &Txn, parked: &[(Facts, Timestamp, WaitReason)]) -> Result<()> {
    queues::leave(txn, parked.iter().map(|(facts, _, _)| facts))?;
    parked.iter().try_for_each(|(facts, until, reason)| queues::park(txn, facts, *until, *reason))
}

/// Commits an attempt for each admitted message.
fn commit(txn: &mut Txn, fence: Fence, admitted: &[(BotId, Candidate)]) -> Result<()> {
    // What stood before one of them in its queue was refused or parked by now.
    queues::leave_first(txn, admitted.iter().map(|(_, candidate)| &candidate.facts))?;
    let now = micros(txn.now);
    let latest = Latest { node_key: fence.node_key, epoch: fence.epoch, dispatch_time: now };
    let take_off = |(_, Candidate { facts, .. }): &(BotId, Candidate)| Facts {
        state: MessageState::Dispatched,
        attempt_no: facts.attempt_no + 1,
        latest: Some(latest),
        ..facts.clone()
    };
    let mut dispatched: Vec<Facts> = admitted.iter().map(take_off).collect();
    // In the order of the table, where a row behind the last one costs the least.
    dispatched.sort_unstable_by_key(|facts| facts.message_id);
    let mut insert = txn.prepare(
        "INSERT INTO flight (message_id, node_key, bot_key, attempt_no, epoch, holder_epoch, dispatch_time) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)",
    )?;
    for facts in &dispatched {
        insert.execute(params![
            facts.message_id,
            latest.node_key,
            facts.bot_key,
            facts.attempt_no,
            latest.epoch,
            latest.dispatch_time
        ])?;
    }
    drop(insert);
    for facts in dispatched {
        txn.moved(
            facts.tenant_key,
            facts.bot_key,
            facts.priority,
            facts.message_id,
            MessageState::Waiting,
            facts.state,
        );
        txn.under_way.keep(facts);
    }
    Ok(())
}

fn attempt(txn: &Txn, bot: BotId, candidate: Candidate) -> Result<ClaimedAttempt> {
    let Candidate { facts, recipient, body, resend_after, room, .. } = candidate;
    let message_id = MessageId::from_raw(facts.message_id)
        .ok_or_else(|| StoreError::Corrupt(format!("{} is no message id", facts.message_id)))?;
    let valid_for = Duration::from_micros((facts.expire_time - micros(txn.now)).max(0).unsigned_abs());
    let window_closes = room.left.filter(|left| *left < valid_for);
    Ok(ClaimedAttempt {
        attempt: AttemptRef { message_id, attempt_no: facts.attempt_no as u32 + 1 },
        bot,
        recipient,
        content: body.content,
        chain: facts.chain.cast_unsigned(),
        start_within: window_closes.unwrap_or(valid_for),
        window_closes: window_closes.is_some(),
        window_generation: room.generation,
        reply_to: body.reply_to.map(|target| target.network_id),
        courtesy: body.courtesy,
        resend_after,
    })
}
