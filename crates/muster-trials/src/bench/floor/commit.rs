//! Group commit: the next batch forms while the last one commits.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};
use tokio::sync::{mpsc, oneshot};

use super::Moment;
use crate::floor_v1::Item;

/// Something to make durable.
pub(super) enum Write {
    /// New items; `done` is told after the commit.
    Accept { items: Vec<Item>, done: oneshot::Sender<()> },
    /// Items that were handled.
    Settle { ids: Vec<u64> },
}

/// Writes that wait while a batch commits. Beyond it the callers wait.
const QUEUE_WRITES: usize = 4_096;

/// Rows of one transaction at most, so that the first of them does not wait for ever.
const BATCH_ROWS: usize = 16_384;

/// Rows of one statement, the largest that fits first. Few sizes keep the statements prepared.
const STATEMENT_ROWS: [usize; 4] = [512, 64, 8, 1];

/// Starts the writer. Items come out at the receiver once they are committed.
pub(super) async fn spawn(
    database: &Path,
    settled: mpsc::UnboundedSender<Moment>,
) -> Result<(mpsc::Sender<Write>, mpsc::Receiver<Vec<Item>>)> {
    let mut ledger = Ledger::create(database).await?;
    let (writer, mut writes) = mpsc::channel(QUEUE_WRITES);
    let (committed, items) = mpsc::channel(QUEUE_WRITES);
    tokio::spawn(async move {
        while let Some(first) = writes.recv().await {
            let mut batch = Batch::default();
            batch.add(first);
            while batch.rows() < BATCH_ROWS
                && let Ok(next) = writes.try_recv()
            {
                batch.add(next);
            }
            ledger.commit(&batch).await?;
            let at = Instant::now();
            for done in batch.done {
                // A client that went away does not want to know.
                let _ = done.send(());
            }
            if !batch.accepted.is_empty() && committed.send(batch.accepted).await.is_err() {
                break;
            }
            if !batch.settled.is_empty() && settled.send(Moment { ids: batch.settled, at }).is_err() {
                break;
            }
        }
        anyhow::Ok(())
    });
    Ok((writer, items))
}

#[derive(Default)]
struct Batch {
    accepted: Vec<Item>,
    settled: Vec<u64>,
    done: Vec<oneshot::Sender<()>>,
}

impl Batch {
    fn add(&mut self, write: Write) {
        match write {
            Write::Accept { items, done } => {
                self.accepted.extend(items);
                self.done.push(done);
            }
            Write::Settle { ids } => self.settled.extend(ids),
        }
    }

    fn rows(&self) -> usize {
        self.accepted.len() + self.settled.len()
    }
}

struct Ledger {
    connection: SqliteConnection,
    accept: Vec<Statement>,
    settle: Vec<Statement>,
}

/// An insert of a fixed number of rows.
struct Statement {
    rows: usize,
    sql: Arc<str>,
}

impl Ledger {
    async fn create(database: &Path) -> Result<Self> {
        let mut connection = SqliteConnectOptions::new()
            .filename(database)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging()
            .connect()
            .await
            .context("create the floor's database")?;
        connection
            .execute(
                "CREATE TABLE item (id INTEGER PRIMARY KEY, bot TEXT, recipient TEXT, body TEXT, key TEXT);
                 CREATE TABLE outcome (id INTEGER PRIMARY KEY);",
            )
            .await?;
        Ok(Self { connection, accept: statements("item", 5), settle: statements("outcome", 1) })
    }

    async fn commit(&mut self, batch: &Batch) -> Result<()> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        for (statement, rows) in split(&self.accept, &batch.accepted) {
            let mut insert = sqlx::query(AssertSqlSafe(Arc::clone(&statement.sql)));
            for item in rows {
                insert = insert
                    .bind(item.id.cast_signed())
                    .bind(item.bot.as_str())
                    .bind(item.recipient.as_str())
                    .bind(item.body.as_str())
                    .bind(item.key.as_str());
            }
            insert.execute(&mut *transaction).await?;
        }
        for (statement, ids) in split(&self.settle, &batch.settled) {
            let insert = sqlx::query(AssertSqlSafe(Arc::clone(&statement.sql)));
            ids.iter().fold(insert, |insert, id| insert.bind(id.cast_signed())).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

fn statements(table: &str, columns: usize) -> Vec<Statement> {
    let row = format!("({})", vec!["?"; columns].join(","));
    let statement = |rows| {
        let values = vec![row.as_str(); rows].join(",");
        Statement { rows, sql: format!("INSERT INTO {table} VALUES {values}").into() }
    };
    STATEMENT_ROWS.into_iter().map(statement).collect()
}

/// Spreads rows over statements, the largest first.
fn split<'a, T>(statements: &'a [Statement], rows: &'a [T]) -> impl Iterator<Item = (&'a Statement, &'a [T])> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let statement = statements.iter().find(|statement| statement.rows <= rest.len())?;
        let (now, later) = rest.split_at(statement.rows);
        rest = later;
        Some((statement, now))
    })
}
