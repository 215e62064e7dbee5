//! Versions of desired states, and what an agent's version is worth to a database that may have been restored.

/// A version of a node's desired state.
///
/// Versions count up in each history of a database: one that was restored from a backup issues numbers again, for other states.
/// So each goes with its lineage. All versions of one lineage were made by one opening of a database, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct DesiredVersion {
    /// Counts up by node; zero for no state at all.
    pub version: u64,
    /// Which opening of a database made it: see [`crate::IdStart::lineage`]. Zero for no state, or from an agent that does not
    /// tell.
    pub lineage: u32,
}

/// What a database knows of a node's desired state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Known {
    /// The latest version.
    pub latest: DesiredVersion,
    /// The version that the agent is known to have applied.
    pub applied_version: u64,
}

/// The version that a difference for an agent can build upon; zero if the agent needs the whole.
///
/// A version of the latest one's lineage that is no later is of this history: its lineage had one course, and the latest version
/// is on it. An agent that has the latest, and whose word on what it made of it was lost, is told once more, and says it again.
pub fn base_version(known: &Known, said: DesiredVersion) -> u64 {
    let Known { latest, applied_version } = *known;
    let is_of_this_history = said.lineage == latest.lineage && said.version <= latest.version;
    let is_noted = said.version < latest.version || said.version == applied_version;
    if is_of_this_history && is_noted { said.version } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Known = Known { latest: DesiredVersion { version: 7, lineage: 3 }, applied_version: 7 };

    fn said(version: u64, lineage: u32) -> u64 {
        base_version(&KNOWN, DesiredVersion { version, lineage })
    }

    #[test]
    fn an_agent_that_agrees_needs_nothing_and_an_earlier_one_of_the_same_lineage_what_changed() {
        assert_eq!(said(7, 3), 7);
        assert_eq!(said(6, 3), 6);
    }

    #[test]
    fn an_agent_of_another_history_needs_the_whole() {
        assert_eq!(said(7, 4), 0, "the same number, and perhaps another state");
        assert_eq!(said(6, 2), 0, "whether it led here is not known");
        assert_eq!(said(8, 3), 0, "the database was restored from before it");
        assert_eq!(said(7, 0), 0, "an agent that does not tell");
        assert_eq!(said(0, 0), 0);
    }

    #[test]
    fn an_agent_whose_word_was_lost_is_told_again() {
        let known = Known { applied_version: 6, ..KNOWN };
        assert_eq!(base_version(&known, known.latest), 0);
        assert_eq!(base_version(&known, DesiredVersion { version: 5, ..known.latest }), 5);
    }
}
