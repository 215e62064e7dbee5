//! What the journal records, and how a record looks on disk.
//!
//! A frame is `length u32 | crc32 u32 | kind u8 | payload`, little-endian. The length counts kind and payload; the checksum
//! covers length, kind and payload.

use bytes::{Buf, Bytes};
use muster_domain::MessageId;
use muster_domain::message::{AttemptRef, Outcome};
use muster_domain::retry::{Next, after_failure};

use crate::clock::Stamp;

/// Bytes before kind and payload.
const HEAD_BYTES: usize = 8;

/// Largest frame, in bytes: twice the largest frame of the stream, since a record never holds more than came in one.
pub(crate) const FRAME_BYTES_MAX: usize = 2 * muster_domain::limits::FRAME_BYTES_MAX;

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// Opens what is written and made durable together, at this byte of the file. It exists only if everything before it
    /// was durable: that tells a torn end, which nobody relied on, from damage.
    Batch {
        /// The byte at which this very record begins.
        at: u64,
    },
    /// The agent answers for an attempt now.
    Accept(Accept),
    /// The gateway is about to be called for an attempt.
    Intent(AttemptRef),
    /// Something that the server has to learn.
    Report(Report),
    /// The server committed all reports up to this offset.
    Acknowledged(u64),
    /// An attempt that was not started is no longer the agent's.
    Forget(AttemptRef),
    /// Messages of a chain that were chosen before a report have to wait for an earlier one. Carried from segment to segment.
    Chain {
        /// The chain.
        chain: u64,
        /// The report after which an attempt must have been chosen.
        offset: u64,
    },
    /// Outcomes are not remembered any more. Carried from segment to segment.
    Forgotten(Forgotten),
}

/// The latest of the outcomes that are not remembered any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forgotten {
    /// Where it was reported: every outcome behind it is remembered.
    pub(crate) through: u64,
    /// When it was reported.
    pub(crate) stamp: Stamp,
}

/// An attempt that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accept {
    /// Its place among the attempts that are held, by which they leave. The journal assigns it: zero until then.
    pub(crate) order: u64,
    /// Which.
    pub(crate) attempt: AttemptRef,
    /// Its chain.
    pub(crate) chain: u64,
    /// What it counts against the credit of bytes.
    pub(crate) weight: u64,
    /// Reports up to here were taken into account when it was chosen.
    pub(crate) report_committed: u64,
    /// When it arrived.
    pub(crate) stamp: Stamp,
    /// The attempt as the wire carries it.
    pub(crate) body: Bytes,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// Its place among all reports of the journal, from 1. The journal assigns it: zero until then.
    pub(crate) offset: u64,
    /// When it happened.
    pub(crate) stamp: Stamp,
    /// The attempt that ends with it, if one does.
    pub(crate) settles: Option<Settled>,
    /// The report as the wire carries it, without its age.
    pub(crate) body: Bytes,
}

/// An attempt that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Which.
    pub(crate) attempt: AttemptRef,
    /// How.
    pub(crate) how: Settlement,
}

/// How an attempt ended, as far as it matters for what comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// The gateway took it.
    Sent,
    /// Nobody knows.
    Uncertain,
    /// It was not sent and will not be tried again.
    Ended,
    /// It was not sent, and the server tries again unless that was the last try.
    Retry,
    /// It was given back unstarted.
    HandedBack,
}

impl Settlement {
    /// What `outcome` means. Only the server knows how many tries a message has left: a refusal that can be tried again is
    /// taken as if it were.
    pub(crate) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Sent { .. } => Settlement::Sent,
            Outcome::Uncertain(_) => Settlement::Uncertain,
            Outcome::Expired | Outcome::Cancelled => Settlement::Ended,
            Outcome::HandedBack(_) => Settlement::HandedBack,
            Outcome::Failed(failure) => match after_failure(failure, 1, 1) {
                Next::RetryAfter(_) | Next::WithItsBot => Settlement::Retry,
                Next::GiveUp | Next::Hold => Settlement::Ended,
            },
        }
    }

    /// Whether the message comes again and must go before later ones of its chain.
    pub(crate) fn breaks_chain(self) -> bool {
        matches!(self, Settlement::Retry | Settlement::HandedBack)
    }

    /// Whether a repeated dispatch is answered with it. What was given back may come again under the same number.
    pub(crate) fn is_remembered(self) -> bool {
        self != Settlement::HandedBack
    }

    const ALL: [Settlement; 5] =
        [Settlement::Sent, Settlement::Uncertain, Settlement::Ended, Settlement::Retry, Settlement::HandedBack];

    fn to_byte(self) -> u8 {
        match self {
            Settlement::Sent => 1,
            Settlement::Uncertain => 2,
            Settlement::Ended => 3,
            Settlement::Retry => 4,
            Settlement::HandedBack => 5,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|settlement| settlement.to_byte() == byte)
    }
}

mod kind {
    pub(super) const BATCH: u8 = 1;
    pub(super) const ACCEPT: u8 = 2;
    pub(super) const INTENT: u8 = 3;
    pub(super) const REPORT: u8 = 4;
    pub(super) const ACKNOWLEDGED: u8 = 5;
    pub(super) const FORGET: u8 = 6;
    pub(super) const CHAIN: u8 = 7;
    pub(super) const FORGOTTEN: u8 = 8;
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// The bytes end before the frame does.
    Incomplete,
    /// The length or the checksum is wrong.
    Damaged,
    /// The checksum is right, but the payload does not fit its kind: it was written so.
    Malformed,
    /// The checksum is right and the kind is not known here.
    KindUnknown(u8),
}

impl Record {
    /// Appends the record's frame to `out`, and returns its length in bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> u64 {
        let start = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        match self {
            Record::Batch { at } => {
                out.push(kind::BATCH);
                out.extend_from_slice(&at.to_le_bytes());
            }
            Record::Accept(accept) => {
                out.push(kind::ACCEPT);
                out.extend_from_slice(&accept.order.to_le_bytes());
                put_attempt(out, accept.attempt);
                out.extend_from_slice(&accept.chain.to_le_bytes());
                out.extend_from_slice(&accept.weight.to_le_bytes());
                out.extend_from_slice(&accept.report_committed.to_le_bytes());
                put_stamp(out, accept.stamp);
                out.extend_from_slice(&accept.body);
            }
            Record::Intent(attempt) => {
                out.push(kind::INTENT);
                put_attempt(out, *attempt);
            }
            Record::Report(report) => {
                out.push(kind::REPORT);
                out.extend_from_slice(&report.offset.to_le_bytes());
                put_stamp(out, report.stamp);
                match report.settles {
                    None => out.push(0),
                    Some(Settled { attempt, how }) => {
                        out.push(how.to_byte());
                        put_attempt(out, attempt);
                    }
                }
                out.extend_from_slice(&report.body);
            }
            Record::Acknowledged(through) => {
                out.push(kind::ACKNOWLEDGED);
                out.extend_from_slice(&through.to_le_bytes());
            }
            Record::Forget(attempt) => {
                out.push(kind::FORGET);
                put_attempt(out, *attempt);
            }
            Record::Chain { chain, offset } => {
                out.push(kind::CHAIN);
                out.extend_from_slice(&chain.to_le_bytes());
                out.extend_from_slice(&offset.to_le_bytes());
            }
            Record::Forgotten(Forgotten { through, stamp }) => {
                out.push(kind::FORGOTTEN);
                out.extend_from_slice(&through.to_le_bytes());
                put_stamp(out, *stamp);
            }
        }
        let length = u32::try_from(out.len() - start - HEAD_BYTES).unwrap_or(u32::MAX).to_le_bytes();
        let checksum = checksum(length, &out[start + HEAD_BYTES..]).to_le_bytes();
        out[start..start + 4].copy_from_slice(&length);
        out[start + 4..start + HEAD_BYTES].copy_from_slice(&checksum);
        (out.len() - start) as u64
    }

    /// Whether a batch may begin here, told without a checksum: for looking through a whole file.
    pub(crate) fn may_be_batch(bytes: &[u8]) -> bool {
        bytes.starts_with(&[9, 0, 0, 0]) && bytes.get(HEAD_BYTES) == Some(&kind::BATCH)
    }

    /// Reads the frame at the beginning of `bytes`, and returns the record and the frame's length.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Record, usize), FrameError> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(FrameError::Incomplete);
        };
        let length_bytes = [head[0], head[1], head[2], head[3]];
        let length = u32::from_le_bytes(length_bytes) as usize;
        if length == 0 || length > FRAME_BYTES_MAX {
            return Err(FrameError::Damaged);
        }
        if rest.len() < length {
            return Err(FrameError::Incomplete);
        }
        if checksum(length_bytes, &rest[..length]) != u32::from_le_bytes([head[4], head[5], head[6], head[7]]) {
            return Err(FrameError::Damaged);
        }
        let frame_bytes = HEAD_BYTES + length;
        let record = decode_payload(&rest[..length])?;
        Ok((record, frame_bytes))
    }
}

fn checksum(length: [u8; 4], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(content);
    hasher.finalize()
}

fn put_attempt(out: &mut Vec<u8>, attempt: AttemptRef) {
    out.extend_from_slice(&attempt.message_id.raw().to_le_bytes());
    out.extend_from_slice(&attempt.attempt_no.to_le_bytes());
}

fn put_stamp(out: &mut Vec<u8>, stamp: Stamp) {
    out.extend_from_slice(&stamp.boot_ms.to_le_bytes());
    out.extend_from_slice(&stamp.wall_ms.to_le_bytes());
}

fn decode_payload(mut payload: &[u8]) -> Result<Record, FrameError> {
    let kind = payload.get_u8();
    let read = &mut payload;
    let record = match kind {
        kind::BATCH => Record::Batch { at: u64_of(read)? },
        kind::ACCEPT => Record::Accept(Accept {
            order: u64_of(read)?,
            attempt: attempt_of(read)?,
            chain: u64_of(read)?,
            weight: u64_of(read)?,
            report_committed: u64_of(read)?,
            stamp: stamp_of(read)?,
            body: body_of(read),
        }),
        kind::INTENT => Record::Intent(attempt_of(read)?),
        kind::REPORT => {
            let offset = u64_of(read)?;
            let stamp = stamp_of(read)?;
            let settles = match read.try_get_u8().map_err(|_| FrameError::Malformed)? {
                0 => None,
                how => {
                    let how = Settlement::from_byte(how).ok_or(FrameError::Malformed)?;
                    Some(Settled { attempt: attempt_of(read)?, how })
                }
            };
            Record::Report(Report { offset, stamp, settles, body: body_of(read) })
        }
        kind::ACKNOWLEDGED => Record::Acknowledged(u64_of(read)?),
        kind::FORGET => Record::Forget(attempt_of(read)?),
        kind::CHAIN => Record::Chain { chain: u64_of(read)?, offset: u64_of(read)? },
        kind::FORGOTTEN => Record::Forgotten(Forgotten { through: u64_of(read)?, stamp: stamp_of(read)? }),
        unknown => return Err(FrameError::KindUnknown(unknown)),
    };
    if payload.is_empty() { Ok(record) } else { Err(FrameError::Malformed) }
}

/// The rest of the payload, in memory of its own: what is kept of a segment must not keep the whole segment.
fn body_of(bytes: &mut &[u8]) -> Bytes {
    Bytes::copy_from_slice(std::mem::take(bytes))
}

fn u64_of(bytes: &mut &[u8]) -> Result<u64, FrameError> {
    bytes.try_get_u64_le().map_err(|_| FrameError::Malformed)
}

fn i64_of(bytes: &mut &[u8]) -> Result<i64, FrameError> {
    bytes.try_get_i64_le().map_err(|_| FrameError::Malformed)
}

fn stamp_of(bytes: &mut &[u8]) -> Result<Stamp, FrameError> {
    Ok(Stamp { boot_ms: i64_of(bytes)?, wall_ms: i64_of(bytes)? })
}

fn attempt_of(bytes: &mut &[u8]) -> Result<AttemptRef, FrameError> {
    let message_id = MessageId::from_raw(i64_of(bytes)?).ok_or(FrameError::Malformed)?;
    let attempt_no = bytes.try_get_u32_le().map_err(|_| FrameError::Malformed)?;
    Ok(AttemptRef { message_id, attempt_no })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::journal) fn attempt_ref(message: i64, attempt_no: u32) -> AttemptRef {
        AttemptRef { message_id: MessageId::from_raw(message).unwrap(), attempt_no }
    }

    fn records() -> impl Strategy<Value = Record> {
        let attempts = || (1i64.., any::<u32>()).prop_map(|(message, no)| attempt_ref(message, no));
        let stamps = || (any::<i64>(), any::<i64>()).prop_map(|(boot_ms, wall_ms)| Stamp { boot_ms, wall_ms });
        let bodies = || prop::collection::vec(any::<u8>(), 0..100).prop_map(Bytes::from);
        let settled = (attempts(), prop::sample::select(Settlement::ALL.to_vec()));
        let settles = prop::option::of(settled.prop_map(|(attempt, how)| Settled { attempt, how }));
        prop_oneof![
            any::<u64>().prop_map(|at| Record::Batch { at }),
            (any::<u64>(), attempts(), any::<u64>(), any::<u64>(), stamps(), bodies(), any::<u64>()).prop_map(
                |(order, attempt, chain, report_committed, stamp, body, weight)| Record::Accept(Accept {
                    order,
                    attempt,
                    chain,
                    weight,
                    report_committed,
                    stamp,
                    body
                })
            ),
            attempts().prop_map(Record::Intent),
            (any::<u64>(), stamps(), settles, bodies())
                .prop_map(|(offset, stamp, settles, body)| Record::Report(Report { offset, stamp, settles, body })),
            any::<u64>().prop_map(Record::Acknowledged),
            attempts().prop_map(Record::Forget),
            (any::<u64>(), any::<u64>()).prop_map(|(chain, offset)| Record::Chain { chain, offset }),
            (any::<u64>(), stamps()).prop_map(|(through, stamp)| Record::Forgotten(Forgotten { through, stamp })),
        ]
    }

    proptest! {
        #[test]
        fn records_survive_the_disk(record in records(), behind in prop::collection::vec(any::<u8>(), 0..20)) {
            let mut out = Vec::new();
            let length = record.encode(&mut out);
            prop_assert_eq!(length as usize, out.len());
            prop_assert_eq!(Record::may_be_batch(&out), matches!(record, Record::Batch { .. }), "{:?}", record);
            out.extend_from_slice(&behind);
            let (read, frame_bytes) = Record::decode(&out).unwrap();
            prop_assert_eq!(read, record);
            prop_assert_eq!(frame_bytes as u64, length);
        }

        #[test]
        fn a_flipped_bit_never_passes(record in records(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut out = Vec::new();
            record.encode(&mut out);
            let at = at.index(out.len());
            out[at] ^= 1 << bit;
            prop_assert!(Record::decode(&out).is_err());
        }

        #[test]
        fn a_cut_frame_never_passes(record in records(), at in any::<prop::sample::Index>()) {
            let mut out = Vec::new();
            record.encode(&mut out);
            out.truncate(at.index(out.len()));
            prop_assert_eq!(Record::decode(&out).unwrap_err(), FrameError::Incomplete);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Record::decode(&bytes);
        }

        #[test]
        fn any_payload_with_a_right_checksum_is_read_or_refused(payload in prop::collection::vec(any::<u8>(), 1..80)) {
            let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
            let mut frame = length.to_vec();
            frame.extend_from_slice(&checksum(length, &payload).to_le_bytes());
            frame.extend_from_slice(&payload);
            let _ = Record::decode(&frame);
        }
    }
}
