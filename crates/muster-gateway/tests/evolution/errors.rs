//! The table of errors: one row per line of what the product is known to answer, and what each line means for a send and
//! for another call.

use crate::replay;

#[tokio::test]
async fn every_row_of_the_table() {
    let rows = replay::play_all(include_str!("../fixtures/errors.json")).await;
    assert!(rows >= 50, "the table has only {rows} rows");
}
