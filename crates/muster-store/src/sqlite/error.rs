//! What SQLite says, in the words of the contract.

use crate::StoreError;

/// Maps a failure of the database. Result codes: https://www.sqlite.org/rescode.html
pub(super) fn failed(error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<i32>().ok());
    // The low byte is the primary code; the rest refines it.
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => StoreError::Locked("another process holds a lock on the file; try again when it is done".into()),
        Some(8) => StoreError::NotWritable("the file or its directory is read-only".into()),
        Some(13) => StoreError::NotWritable("the disk is full; free some space".into()),
        Some(10) => StoreError::NotWritable(format!("the disk failed: {error}")),
        Some(3 | 14 | 23) => {
            StoreError::NotWritable("the file cannot be opened; check that it and its directory may be written".into())
        }
        Some(11 | 26) => StoreError::Corrupt(error.to_string()),
        _ => match error {
            sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => StoreError::Closed,
            other => StoreError::Failed(other.to_string()),
        },
    }
}
