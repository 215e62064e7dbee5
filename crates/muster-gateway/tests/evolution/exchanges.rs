//! Every call of the contract, against recorded exchanges: the requests to the letter, and what is read from the answers.

use crate::replay;

#[tokio::test]
async fn sends() {
    replay::play_all(include_str!("../fixtures/sends.json")).await;
}

#[tokio::test]
async fn instances() {
    replay::play_all(include_str!("../fixtures/instances.json")).await;
}

#[tokio::test]
async fn chats() {
    replay::play_all(include_str!("../fixtures/chats.json")).await;
}
