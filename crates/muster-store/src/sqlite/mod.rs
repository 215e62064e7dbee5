//! The store in one SQLite file.
//!
//! One thread owns the only connection that writes (`writer`); the next batch of writes forms while the last one commits,
//! and every caller is answered after its commit. Reads run beside it on a small pool. One process owns the file: a lock
//! beside it keeps a second server out.

mod absences;
mod accept;
mod attempts;
mod away;
mod backoffs;
mod body;
mod bots;
mod change_log;
mod claim;
mod code;
mod contacts;
mod counts;
mod desired;
mod directory;
mod drains;
mod error;
mod expiry;
mod facts;
mod failed;
mod fence;
mod fleet;
mod inbound;
mod log;
mod media;
mod messages;
mod nodes;
mod opt_outs;
mod policy;
mod queues;
mod receipts;
mod replay;
mod reports;
mod resolve;
mod retention;
mod sessions;
mod settle;
mod store;
mod tenants;
mod turns;
mod txn;
mod under_way;
mod wake;
mod windows;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use muster_domain::{IdStart, TenantId, Timestamp};
use rusqlite::config::DbConfig;
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _};

use crate::{Clock, Result, StoreError};
use directory::Directory;
use error::failed;
use log::Log;
use txn::Txn;
use writer::Writer;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// How long a statement waits for a lock that another process has on the file, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// KiB of page cache of the writer, negative as SQLite wants it: 8 MiB. It holds the pages that are written all the time. What is
/// missing is in the file cache of the system, and costs less than what a larger cache would: a commit looks through all
/// of it whenever pages of an index were split.
const WRITER_CACHE: i64 = -8_192;

/// Statements that the writer keeps parsed: more than there are.
const STATEMENTS: usize = 256;

/// Connections for reading. Calls are short; more would only compete for the same cores.
const READERS: u32 = 4;

/// The store in one SQLite file.
pub struct SqliteStore {
    writer: Writer,
    readers: SqlitePool,
    directory: Arc<Directory>,
    clock: Clock,
    /// Held for as long as the store lives: keeps other processes out.
    _lock: File,
}

impl SqliteStore {
    /// Opens the database at `path`, creates it if it does not exist, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another server has the file, [`StoreError::TooNew`], [`StoreError::Corrupt`] and
    /// [`StoreError::NotWritable`] as their names say.
    pub async fn open(path: &Path) -> Result<Self> {
        Self::open_by(path, Clock::system(), IdStart::from_entropy(rand::random())).await
    }

    /// [`SqliteStore::open`] with another clock than the machine's, and with chosen ids.
    ///
    /// # Errors
    /// Those of [`SqliteStore::open`].
    pub async fn open_by(path: &Path, clock: Clock, id_start: IdStart) -> Result<Self> {
        let lock = lock(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .pragma("temp_store", "memory");
        let mut connection = options.connect().await.map_err(failed)?;
        check_readable(&mut connection).await?;
        migrate(&mut connection).await?;
        end_sessions(&mut connection, clock.now()).await?;
        let directory = Arc::new(Directory::load(&mut connection).await?);
        let txn = Txn::new(writing_connection(path)?, Arc::clone(&directory), clock.clone(), id_start)?;
        close(connection).await;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .min_connections(1)
            .test_before_acquire(false)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await
            .map_err(failed)?;
        Ok(SqliteStore { writer: Writer::start(txn, Log::open(path)?)?, readers, directory, clock, _lock: lock })
    }

    /// The key of a tenant, which every row carries.
    fn tenant(&self, tenant: &TenantId) -> Result<i64> {
        self.directory.tenant(tenant)
    }
}

/// Opens the connection of the writer on a database that is there and up to date.
fn writing_connection(path: &Path) -> Result<rusqlite::Connection> {
    let connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "cache_size", WRITER_CACHE)?;
    log::watch(&connection);
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // A plan does not depend on the values that are bound. Without this, a LIMIT with another value is planned anew.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if tracing::enabled!(target: "muster_store::statement", tracing::Level::TRACE) {
        connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(trace));
    }
    Ok(connection)
}

/// Logs a statement of the writer, without its values.
fn trace(event: TraceEvent<'_>) {
    if let TraceEvent::Stmt(statement, _) = event {
        tracing::trace!(target: "muster_store::statement", sql = %statement.sql());
    }
}

/// Takes the lock beside the database, or says who keeps us out.
fn lock(path: &Path) -> Result<File> {
    let beside = PathBuf::from(format!("{}.lock", path.display()));
    let file = File::options().create(true).truncate(false).write(true).open(&beside).map_err(|error| {
        StoreError::NotWritable(format!(
            "{}: {error}. Check that the directory exists and may be written",
            beside.display()
        ))
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(StoreError::Locked(format!("{}: stop the other server, or choose another file", path.display())))
        }
        Err(std::fs::TryLockError::Error(error)) => {
            Err(StoreError::NotWritable(format!("{}: {error}", beside.display())))
        }
    }
}

/// Finds damage that shows at the first look. A full check would take minutes on a large file.
async fn check_readable(connection: &mut sqlx::SqliteConnection) -> Result<()> {
    sqlx::query("SELECT count(*) FROM sqlite_schema").execute(connection).await.map_err(failed)?;
    Ok(())
}

/// Sessions live in the process of the server: none is alive when it starts, whatever the last one left behind.
async fn end_sessions(connection: &mut sqlx::SqliteConnection, now: Timestamp) -> Result<()> {
    sqlx::query("UPDATE node SET online = 0, online_time = ? WHERE online = 1")
        .bind(micros(now))
        .execute(connection)
        .await
        .map(drop)
        .map_err(failed)
}

async fn migrate(connection: &mut sqlx::SqliteConnection) -> Result<()> {
    use sqlx::migrate::MigrateError;
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    match MIGRATIONS.run(connection).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found) | MigrateError::VersionTooNew(found, _)) => {
            Err(StoreError::TooNew { found, known })
        }
        Err(MigrateError::VersionMismatch(version)) => {
            Err(StoreError::Corrupt(format!("migration {version} is not the one that this version ships")))
        }
        Err(MigrateError::Execute(error)) => Err(failed(error)),
        Err(MigrateError::ExecuteMigration(error, _)) => Err(failed(error)),
        Err(other) => Err(StoreError::Failed(other.to_string())),
    }
}

/// A time as a column has it.
fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// A time from a column.
fn time(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// An optional time from a column.
fn time_opt(micros: Option<i64>) -> Option<Timestamp> {
    micros.map(time)
}

/// A duration as a column has it.
fn duration_us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Closes a connection, whatever state it is in.
async fn close(connection: sqlx::SqliteConnection) {
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "close the database");
    }
}
