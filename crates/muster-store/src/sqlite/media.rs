//! Pictures, sounds and files, by their digest.

use bytes::Bytes;
use muster_domain::content::MediaDigest;
use rusqlite::params;
use sqlx::sqlite::SqlitePool;

use super::error::failed;
use super::micros;
use super::txn::Txn;
use crate::Result;

/// Keeps a medium for a tenant. The same bytes again only refresh the time from which retention counts.
pub(super) fn put(txn: &mut Txn, tenant_key: i64, digest: MediaDigest, bytes: Bytes) -> Result<()> {
    txn.execute(
        "INSERT INTO media (digest, bytes, create_time) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET create_time = \
         excluded.create_time",
        params![digest.0, &bytes[..], micros(txn.now)],
    )?;
    txn.execute(
        "INSERT INTO media_owner (tenant_key, digest) VALUES (?, ?) ON CONFLICT DO NOTHING",
        params![tenant_key, digest.0],
    )?;
    Ok(())
}

pub(super) async fn get(readers: &SqlitePool, digest: &MediaDigest) -> Result<Option<Bytes>> {
    let bytes: Option<Vec<u8>> = sqlx::query_scalar("SELECT bytes FROM media WHERE digest = ?")
        .bind(digest.0.to_vec())
        .fetch_optional(readers)
        .await
        .map_err(failed)?;
    Ok(bytes.map(Bytes::from))
}

pub(super) async fn exists(readers: &SqlitePool, tenant_key: i64, digest: &MediaDigest) -> Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM media_owner WHERE tenant_key = ? AND digest = ?)")
        .bind(tenant_key)
        .bind(digest.0.to_vec())
        .fetch_one(readers)
        .await
        .map_err(failed)
}
