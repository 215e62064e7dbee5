//! Statements over many rows at once. A statement costs a trip to the connection's thread; a row in it costs little.

use std::fmt::Write as _;

use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection};

use super::error::failed;
use crate::Result;

/// A statement while its values are bound.
pub(super) type Query = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// Rows in one statement at the most. Larger ones gain nothing and make the statement cache heavy.
const ROWS_MAX: usize = 256;
/// SQLite's own limit of values in one statement is 32,766.
const VALUES_MAX: usize = 8_192;

/// Runs `{head} (?,…),(?,…) {tail}` over `rows`, in as few statements as the limits allow. `bind` binds the `columns` values
/// of a row, `bind_tail` those of the tail. Returns how many rows were changed.
pub(super) async fn execute<R>(
    connection: &mut SqliteConnection,
    head: &str,
    columns: usize,
    tail: &str,
    rows: &[R],
    bind: impl Fn(Query, &R) -> Query,
    bind_tail: impl Fn(Query) -> Query,
) -> Result<u64> {
    let mut changed = 0;
    for chunk in chunks(rows, columns) {
        let query = sqlx::query(AssertSqlSafe(text(head, columns, tail, chunk.len())));
        let query = bind_tail(chunk.iter().fold(query, &bind));
        changed += query.execute(&mut *connection).await.map_err(failed)?.rows_affected();
    }
    Ok(changed)
}

/// Inserts `rows`: [`execute`] without a tail to bind.
pub(super) async fn insert<R>(
    connection: &mut SqliteConnection,
    head: &str,
    columns: usize,
    rows: &[R],
    bind: impl Fn(Query, &R) -> Query,
) -> Result<u64> {
    execute(connection, head, columns, "", rows, bind, |query| query).await
}

/// Like [`execute`], for statements that return rows.
pub(super) async fn fetch<R>(
    connection: &mut SqliteConnection,
    head: &str,
    columns: usize,
    tail: &str,
    rows: &[R],
    bind: impl Fn(Query, &R) -> Query,
) -> Result<Vec<SqliteRow>> {
    let mut found = Vec::with_capacity(rows.len());
    for chunk in chunks(rows, columns) {
        let query = sqlx::query(AssertSqlSafe(text(head, columns, tail, chunk.len())));
        let query = chunk.iter().fold(query, &bind);
        found.extend(query.fetch_all(&mut *connection).await.map_err(failed)?);
    }
    Ok(found)
}

/// Cuts `rows` into pieces whose lengths are powers of four, so that few different statements are prepared.
fn chunks<R>(rows: &[R], columns: usize) -> impl Iterator<Item = &[R]> {
    let largest = ROWS_MAX.min(VALUES_MAX / columns.max(1));
    let mut rest = rows;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut size = 1;
        while size * 4 <= rest.len().min(largest) {
            size *= 4;
        }
        let (chunk, after) = rest.split_at(size);
        rest = after;
        Some(chunk)
    })
}

fn text(head: &str, columns: usize, tail: &str, rows: usize) -> String {
    let mut sql = String::with_capacity(head.len() + tail.len() + rows * (2 * columns + 3) + 2);
    sql.push_str(head);
    for row in 0..rows {
        sql.push_str(if row == 0 { " (" } else { ",(" });
        for column in 0..columns {
            sql.push_str(if column == 0 { "?" } else { ",?" });
        }
        sql.push(')');
    }
    let _ = write!(sql, " {tail}");
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_everything_in_order() {
        for count in [0usize, 1, 3, 4, 5, 255, 256, 257, 1_000] {
            let rows: Vec<usize> = (0..count).collect();
            let seen: Vec<usize> = chunks(&rows, 20).flatten().copied().collect();
            assert_eq!(seen, rows);
            assert!(chunks(&rows, 20).all(|chunk| chunk.len() <= ROWS_MAX && chunk.len().is_power_of_two()));
        }
    }

    #[test]
    fn text_has_a_place_for_each_value() {
        assert_eq!(
            text("INSERT INTO t VALUES", 2, "ON CONFLICT DO NOTHING", 2),
            "INSERT INTO t VALUES (?,?),(?,?) ON CONFLICT DO NOTHING"
        );
    }
}
