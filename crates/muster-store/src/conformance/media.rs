//! Media: kept once, found by digest, by the tenants that brought them.

use bytes::Bytes;
use muster_domain::content::MediaDigest;

use super::fixture::Fixture;

/// The same bytes again change nothing, and come back as they were.
pub async fn the_same_bytes_are_kept_once(fixture: Fixture) {
    let bytes = Bytes::from(vec![7u8; 300_000]);
    let digest = MediaDigest::of(&bytes);
    assert!(!fixture.store.media_exists(&fixture.tenant, &digest).await.unwrap());
    assert_eq!(fixture.store.media_get(&digest).await.unwrap(), None);
    for _ in 0..2 {
        fixture.store.media_put(&fixture.tenant, digest, bytes.clone()).await.unwrap();
    }
    assert!(fixture.store.media_exists(&fixture.tenant, &digest).await.unwrap());
    assert_eq!(fixture.store.media_get(&digest).await.unwrap(), Some(bytes));
}
