//! Sessions that open: what the two ends have to agree on before anything else, told from what each of them knows.

use crate::life::Facts;
use crate::message::MessageState;

/// What the database knows of a node's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct KnownJournal {
    /// Its id; none before the first session.
    pub journal_id: Option<[u8; 16]>,
    /// How often it had been opened.
    pub opening: u64,
    /// The process that had opened it.
    pub process_id: Option<[u8; 16]>,
    /// Reports up to here are durable.
    pub report_committed: u64,
}

/// What an agent says of its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SaidJournal {
    /// Its id.
    pub journal_id: [u8; 16],
    /// How often it was opened.
    pub opening: u64,
    /// The process that opened it.
    pub process_id: [u8; 16],
    /// Its latest report.
    pub report_head: u64,
    /// Reports up to here were acknowledged to it.
    pub report_acknowledged: u64,
    /// The latest report whose outcome it does not remember any more.
    pub forgotten_through: Option<u64>,
}

/// The journal went on in another process: this one has a copy, or an old state of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forked;

/// On what terms a session opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Reports go on behind this one.
    pub report_committed: u64,
    /// Attempts that the agent does not hold are settled once reports up to here are taken: they may still tell. `None` if
    /// everything was told.
    pub settle_after: Option<u64>,
    /// The journal in which earlier attempts were noted is gone.
    pub is_lost: bool,
    /// The agent was told of more durable reports than there are: the database was restored from a backup.
    pub is_restored: bool,
    /// The agent reported outcomes that are not here, and does not remember them.
    pub has_forgotten: bool,
}

/// On what terms an agent with this journal gets a session.
pub fn terms(known: &KnownJournal, said: &SaidJournal) -> Result<Terms, Forked> {
    let is_same = known.journal_id == Some(said.journal_id);
    if is_same {
        let is_older = said.opening < known.opening || said.report_head < known.report_committed;
        let is_other_process = known.process_id != Some(said.process_id);
        if is_older || (said.opening == known.opening && is_other_process) {
            return Err(Forked);
        }
    }
    let taken = if is_same { known.report_committed } else { 0 };
    let forgotten = said.forgotten_through.filter(|through| *through > taken);
    let report_committed = forgotten.map_or(taken, |through| through.min(said.report_head));
    Ok(Terms {
        report_committed,
        settle_after: (said.report_head > report_committed).then_some(said.report_head),
        is_lost: !is_same && known.journal_id.is_some(),
        is_restored: said.report_acknowledged > taken,
        has_forgotten: forgotten.is_some(),
    })
}

/// Whether an attempt that an agent holds is still the agent's. One that is not has to be forgotten unless it has begun.
///
/// An attempt whose outcome stands at `reported_at` in the journal is held until that report is taken. If it was taken and the
/// attempt is under way all the same, a restored database gave the number again, and the agent speaks of the first one.
pub fn is_still_held(
    facts: &Facts,
    attempt_no: u32,
    by_its_node: bool,
    reported_at: Option<u64>,
    report_committed: u64,
) -> bool {
    let is_latest = by_its_node && facts.state == MessageState::Dispatched && facts.attempt_no == attempt_no;
    is_latest && reported_at.is_none_or(|offset| offset > report_committed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: SaidJournal = SaidJournal {
        journal_id: [1; 16],
        opening: 3,
        process_id: [2; 16],
        report_head: 9,
        report_acknowledged: 7,
        forgotten_through: None,
    };
    const KNOWN: KnownJournal = KnownJournal {
        journal_id: Some(SAID.journal_id),
        opening: 3,
        process_id: Some(SAID.process_id),
        report_committed: 7,
    };
    const TERMS: Terms =
        Terms { report_committed: 7, settle_after: Some(9), is_lost: false, is_restored: false, has_forgotten: false };

    #[test]
    fn the_same_journal_goes_on_where_it_stood() {
        assert_eq!(terms(&KNOWN, &SAID), Ok(TERMS));
        let told = KnownJournal { report_committed: 9, ..KNOWN };
        assert_eq!(terms(&told, &SAID), Ok(Terms { report_committed: 9, settle_after: None, ..TERMS }));
    }

    #[test]
    fn a_copy_and_an_old_state_are_told_from_a_restart() {
        let restarted = SaidJournal { opening: 4, process_id: [3; 16], ..SAID };
        assert_eq!(terms(&KNOWN, &restarted), Ok(TERMS));
        assert_eq!(terms(&KNOWN, &SaidJournal { opening: 2, ..SAID }), Err(Forked));
        assert_eq!(terms(&KNOWN, &SaidJournal { process_id: [3; 16], ..SAID }), Err(Forked));
        assert_eq!(terms(&KnownJournal { report_committed: 10, ..KNOWN }, &SAID), Err(Forked));
    }

    #[test]
    fn what_was_heard_already_is_not_held() {
        let facts = Facts { state: MessageState::Dispatched, attempt_no: 1, cancel_requested: false, is_over: false };
        let held =
            |attempt_no, by_its_node, reported_at| is_still_held(&facts, attempt_no, by_its_node, reported_at, 7);
        assert!(held(1, true, None) && held(1, true, Some(8)));
        assert!(!held(1, true, Some(7)), "the report is of an attempt that had the same number before");
        assert!(!held(2, true, None) && !held(1, false, None));
    }

    #[test]
    fn another_journal_begins_anew() {
        let first = SaidJournal { report_head: 0, report_acknowledged: 0, ..SAID };
        let fresh = Terms { report_committed: 0, settle_after: None, ..TERMS };
        assert_eq!(terms(&KnownJournal::default(), &first), Ok(fresh));
        assert_eq!(terms(&KNOWN, &SaidJournal { journal_id: [9; 16], ..first }), Ok(Terms { is_lost: true, ..fresh }));
    }

    #[test]
    fn a_restored_database_hears_again_what_is_remembered() {
        let restored = KnownJournal { report_committed: 2, ..KNOWN };
        let again = Terms { report_committed: 2, is_restored: true, ..TERMS };
        assert_eq!(terms(&restored, &SAID), Ok(again));
        // What it forgot was here already.
        assert_eq!(terms(&restored, &SaidJournal { forgotten_through: Some(2), ..SAID }), Ok(again));
        assert_eq!(
            terms(&restored, &SaidJournal { forgotten_through: Some(5), ..SAID }),
            Ok(Terms { report_committed: 5, has_forgotten: true, ..again })
        );
        assert_eq!(
            terms(&restored, &SaidJournal { forgotten_through: Some(50), ..SAID }),
            Ok(Terms { report_committed: 9, settle_after: None, has_forgotten: true, ..again })
        );
    }
}
