//! Contacts: their rows, and reading them.

use std::collections::BTreeMap;

use muster_domain::contact::{Contact, ContactAddress, ContactId};
use muster_domain::opt_out::{OptChange, OptRecord, OptSource};
use muster_domain::{Address, MessageId, Network};
use rusqlite::params;
use sqlx::sqlite::SqlitePool;
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::bots::push_any;
use super::code::Code as _;
use super::error::failed;
use super::txn::Txn;
use super::{micros, time, time_opt};
use crate::{ContactFilter, Result, StoreError};

/// The contact of an address.
pub(super) fn find(txn: &Txn, tenant_key: i64, address: &ContactAddress) -> Result<Option<i64>> {
    txn.value_opt(
        "SELECT contact_id FROM contact_address WHERE tenant_key = ? AND network = ? AND address = ?",
        params![tenant_key, address.network.as_str(), address.address.as_str()],
    )
}

/// The contact of an address, which becomes known by it.
pub(super) fn find_or_add(txn: &mut Txn, tenant_key: i64, address: &ContactAddress) -> Result<i64> {
    if let Some(known) = find(txn, tenant_key, address)? {
        return Ok(known);
    }
    let contact_id = txn.issue_id().raw();
    txn.execute(
        "INSERT INTO contact (contact_id, tenant_key, create_time) VALUES (?, ?, ?)",
        params![contact_id, tenant_key, micros(txn.now)],
    )?;
    txn.execute(
        "INSERT INTO contact_address (tenant_key, network, address, contact_id) VALUES (?, ?, ?, ?)",
        params![tenant_key, address.network.as_str(), address.address.as_str(), contact_id],
    )?;
    Ok(contact_id)
}

/// Keeps a record behind the others of its contact.
pub(super) fn keep(txn: &Txn, contact_id: i64, record: &OptRecord) -> Result<()> {
    let OptRecord { change, source, text, proof, author, time } = record;
    txn.execute(
        "INSERT INTO opt_record (contact_id, record_no, change, source, text, proof, author, time) SELECT ?1, \
         coalesce(max(record_no), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7 FROM opt_record WHERE contact_id = ?1",
        params![contact_id, change.code(), source.code(), text, proof, author, micros(*time)],
    )
    .map(drop)
}

/// The records of a contact, in order.
pub(super) fn records(txn: &Txn, contact_id: i64) -> Result<Vec<OptRecord>> {
    let sql =
        "SELECT change, source, text, proof, author, time FROM opt_record WHERE contact_id = ? ORDER BY record_no";
    txn.all(sql, [contact_id], |row| {
        Ok(OptRecord {
            change: OptChange::decode(row.get(0)?)?,
            source: OptSource::decode(row.get(1)?)?,
            text: row.get(2)?,
            proof: row.get(3)?,
            author: row.get(4)?,
            time: time(row.get(5)?),
        })
    })
}

/// A contact, as it is in the transaction.
pub(super) fn read(txn: &Txn, contact_id: i64) -> Result<Contact> {
    let sql = "SELECT network, address FROM contact_address WHERE contact_id = ? ORDER BY network, address";
    let addresses = txn.all(sql, [contact_id], |row| {
        contact_address(row.get_ref(0)?.as_str().unwrap_or_default(), row.get_ref(1)?.as_str().unwrap_or_default())
    })?;
    let contact =
        txn.first("SELECT opt_out_time, create_time FROM contact WHERE contact_id = ?", [contact_id], |row| {
            Ok(Contact {
                id: id(contact_id)?,
                addresses,
                opt_out_time: time_opt(row.get(0)?),
                create_time: time(row.get(1)?),
                opt_records: records(txn, contact_id)?,
            })
        })?;
    contact.ok_or_else(|| StoreError::Corrupt("an address names no contact".into()))
}

/// See [`crate::Store::contact_get`].
pub(super) async fn get(readers: &SqlitePool, tenant_key: i64, address: &ContactAddress) -> Result<Option<Contact>> {
    let found =
        sqlx::query("SELECT contact_id FROM contact_address WHERE tenant_key = ? AND network = ? AND address = ?")
            .bind(tenant_key)
            .bind(address.network.as_str())
            .bind(address.address.as_str())
            .fetch_optional(readers)
            .await
            .map_err(failed)?;
    let Some(row) = found else { return Ok(None) };
    let contact_id: i64 = row.get(0);
    let mut query = QueryBuilder::<Sqlite>::new(CONTACTS);
    query.push_bind(tenant_key).push(" AND c.contact_id = ").push_bind(contact_id);
    let Some(mut contact) = these(readers, query).await?.pop() else { return Ok(None) };
    let rows = sqlx::query(
        "SELECT change, source, text, proof, author, time FROM opt_record WHERE contact_id = ? ORDER BY record_no",
    );
    for row in rows.bind(contact_id).fetch_all(readers).await.map_err(failed)? {
        contact.opt_records.push(OptRecord {
            change: OptChange::decode(row.get(0))?,
            source: OptSource::decode(row.get(1))?,
            text: row.get(2),
            proof: row.get(3),
            author: row.get(4),
            time: time(row.get(5)),
        });
    }
    Ok(Some(contact))
}

const CONTACTS: &str = "SELECT c.contact_id, c.opt_out_time, c.create_time FROM contact c WHERE c.tenant_key = ";

/// See [`crate::Store::contact_list`].
pub(super) async fn list(
    readers: &SqlitePool,
    tenant_key: i64,
    filter: ContactFilter,
    after: Option<ContactId>,
    limit: u32,
) -> Result<Vec<Contact>> {
    let mut query = QueryBuilder::<Sqlite>::new(CONTACTS);
    query.push_bind(tenant_key);
    if filter.opted_out {
        query.push(" AND c.opt_out_time IS NOT NULL");
    }
    query.push(" AND c.contact_id > ").push_bind(after.map_or(0, |after| after.0.raw()));
    query.push(" ORDER BY c.contact_id LIMIT ").push_bind(limit);
    these(readers, query).await
}

/// The contacts that a query finds, with their addresses.
async fn these(readers: &SqlitePool, mut query: QueryBuilder<Sqlite>) -> Result<Vec<Contact>> {
    let rows = query.build().fetch_all(readers).await.map_err(failed)?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut addresses: BTreeMap<i64, Vec<ContactAddress>> = BTreeMap::new();
    let mut query = QueryBuilder::<Sqlite>::new("SELECT contact_id, network, address FROM contact_address WHERE true");
    push_any(&mut query, "contact_id", rows.iter().map(|row| row.get(0)));
    query.push(" ORDER BY contact_id, network, address");
    for row in query.build().fetch_all(readers).await.map_err(failed)? {
        addresses.entry(row.get(0)).or_default().push(contact_address(row.get(1), row.get(2))?);
    }
    let contact = |row: &sqlx::sqlite::SqliteRow| {
        let contact_id: i64 = row.get(0);
        Ok(Contact {
            id: id(contact_id)?,
            addresses: addresses.remove(&contact_id).unwrap_or_default(),
            opt_out_time: time_opt(row.get(1)),
            create_time: time(row.get(2)),
            opt_records: Vec::new(),
        })
    };
    rows.iter().map(contact).collect()
}

fn id(contact_id: i64) -> Result<ContactId> {
    let id = MessageId::from_raw(contact_id);
    id.map(ContactId).ok_or_else(|| StoreError::Corrupt(format!("{contact_id} is no id of a contact")))
}

fn contact_address(network: &str, address: &str) -> Result<ContactAddress> {
    let network = Network::parse(network);
    let network = network.ok_or_else(|| StoreError::Corrupt("an address is of no network".into()))?;
    Ok(ContactAddress { network, address: Address::from_stored(address) })
}
