//! Who may write for a node.

use rusqlite::params;

use super::txn::Txn;
use crate::{Result, SessionRef, StoreError};

/// The session whose writes these are: it must still be the latest one of its node.
///
/// The transaction holds the write lock from its first statement, so a fence that was checked holds until its end. Every
/// write of a session begins with [`check`], or names the epoch in the WHERE clause of a statement of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fence {
    pub(super) node_key: i64,
    pub(super) epoch: i64,
}

/// The fence of a session.
pub(super) fn of(txn: &Txn, tenant_key: i64, session: &SessionRef) -> Result<Fence> {
    let sql = "SELECT node_key FROM node WHERE tenant_key = ? AND node_id = ?";
    let key = txn.value_opt(sql, params![tenant_key, session.node.as_str()])?;
    let node_key = key.ok_or_else(|| StoreError::NotFound(session.node.resource_name()))?;
    Ok(Fence { node_key, epoch: session.epoch.0 as i64 })
}

/// What is known of the node of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    /// Reports up to here are durable.
    pub(super) report_committed: u64,
    /// Attempts of earlier sessions are settled once reports up to here are in; zero when nothing is to be settled.
    pub(super) settle_after: u64,
    /// An operator wants nothing new to go there.
    pub(super) cordoned: bool,
}

/// Refuses a session that is not the latest one of its node.
pub(super) fn check(txn: &Txn, fence: Fence) -> Result<Told> {
    let sql =
        "SELECT report_committed, settle_after, cordon_time IS NOT NULL FROM node WHERE node_key = ? AND epoch = ?";
    let told = txn.first(sql, params![fence.node_key, fence.epoch], |row| {
        Ok(Told {
            report_committed: row.get::<_, i64>(0)? as u64,
            settle_after: row.get::<_, i64>(1)? as u64,
            cordoned: row.get(2)?,
        })
    })?;
    told.ok_or(StoreError::Fenced)
}
