//! What SQLite says, in the words of the contract.

use crate::StoreError;

/// Maps a failure of a read.
pub(super) fn failed(error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<i32>().ok());
    match error {
        sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed => StoreError::Closed,
        error => of_code(code, &error),
    }
}

impl From<rusqlite::Error> for StoreError {
    /// Maps a failure of a write.
    fn from(error: rusqlite::Error) -> Self {
        of_code(error.sqlite_error().map(|error| error.extended_code), &error)
    }
}

/// Maps a result code: <https://www.sqlite.org/rescode.html>
fn of_code(code: Option<i32>, error: &dyn std::error::Error) -> StoreError {
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
        _ => StoreError::Failed(error.to_string()),
    }
}
