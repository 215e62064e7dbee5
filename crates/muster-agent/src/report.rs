//! Reports as the journal keeps them: what happened, in the words of the wire, without its age.

use bytes::Bytes;
use muster_domain::inbound::NewInbound;
use muster_proto::agent_v1 as wire;
use muster_proto::convert::agent_v1::{AttemptOutcome, ConnectionChange, Receipt};
use prost::Message;

use crate::clock::Stamp;
use crate::journal::record::{Record, Report, Settled, Settlement};

fn record(stamp: Stamp, settles: Option<Settled>, body: wire::report::Body) -> Record {
    let body = wire::Report { age_ms: 0, body: Some(body) }.encode_to_vec();
    Record::Report(Report { offset: 0, stamp, settles, body: Bytes::from(body) })
}

/// What an attempt came to.
pub(crate) fn outcome(outcome: AttemptOutcome, stamp: Stamp) -> Record {
    let how = Settlement::of(&outcome.outcome);
    let settles = Some(Settled { attempt: outcome.attempt, how });
    record(stamp, settles, wire::report::Body::Outcome(outcome.into()))
}

/// What the network said about a message.
pub(crate) fn receipt(receipt: Receipt, stamp: Stamp) -> Record {
    record(stamp, None, wire::report::Body::Receipt(receipt.into()))
}

/// A message that somebody sent to a bot.
pub(crate) fn inbound(inbound: NewInbound, stamp: Stamp) -> Record {
    record(stamp, None, wire::report::Body::Inbound(inbound.into()))
}

/// A bot's login changed.
pub(crate) fn connection(change: ConnectionChange, stamp: Stamp) -> Record {
    record(stamp, None, wire::report::Body::Connection(change.into()))
}
