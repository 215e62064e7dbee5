//! Streams that go on where they broke.

use std::time::Duration;

use muster_proto::v1;
use tonic::{Status, Streaming};

use crate::connection::Server;
use crate::error::{Error, Refusal};
use crate::retry::Tries;

/// An answer of a stream that can be resumed.
#[expect(async_fn_in_trait, reason = "only this crate implements it, for answers that are Send")]
pub trait Resumable: Sized {
    /// Opens the stream behind `cursor`.
    async fn open(server: &Server, cursor: &str, bot: &str) -> Result<Streaming<Self>, Status>;

    /// Where to go on after this answer.
    fn cursor(&self) -> &str;
}

impl Resumable for v1::WatchMessagesResponse {
    async fn open(server: &Server, cursor: &str, bot: &str) -> Result<Streaming<Self>, Status> {
        let request = v1::WatchMessagesRequest { cursor: cursor.to_owned(), bot: bot.to_owned() };
        Ok(server.messages().watch_messages(request).await?.into_inner())
    }

    fn cursor(&self) -> &str {
        &self.cursor
    }
}

impl Resumable for v1::WatchInboundMessagesResponse {
    async fn open(server: &Server, cursor: &str, bot: &str) -> Result<Streaming<Self>, Status> {
        let request = v1::WatchInboundMessagesRequest { cursor: cursor.to_owned(), bot: bot.to_owned() };
        Ok(server.inbound().watch_inbound_messages(request).await?.into_inner())
    }

    fn cursor(&self) -> &str {
        &self.cursor
    }
}

/// What a watch tells.
#[derive(Debug)]
pub enum Watched<A> {
    /// The next answer of the server.
    Answer(A),
    /// The connection broke; [`Watch::next`] tries again after this wait.
    Broken {
        /// Why.
        because: Refusal,
        /// The wait before the next try.
        wait: Duration,
    },
}

/// A stream that reconnects by itself and goes on behind the last answer: nothing is skipped, nothing comes twice.
#[derive(Debug)]
pub struct Watch<A> {
    server: Server,
    cursor: String,
    bot: String,
    stream: Option<Streaming<A>>,
    wait: Option<Duration>,
    tries: Tries,
}

impl<A: Resumable> Watch<A> {
    /// A watch that begins behind `cursor`: empty means from now on, `0` from the oldest that is kept. An empty `bot` means all.
    pub fn new(server: &Server, cursor: impl Into<String>, bot: impl Into<String>) -> Self {
        Watch {
            server: server.clone(),
            cursor: cursor.into(),
            bot: bot.into(),
            stream: None,
            wait: None,
            tries: Tries::endless(),
        }
    }

    /// Where another watch would have to go on.
    pub fn cursor(&self) -> &str {
        &self.cursor
    }

    /// The next answer, or the news that the connection broke. Fails only when trying again would be of no use.
    /// May be dropped before it is done: nothing is lost.
    pub async fn next(&mut self) -> Result<Watched<A>, Error> {
        if let Some(wait) = self.wait {
            tokio::time::sleep(wait).await;
            self.wait = None;
        }
        match self.read().await {
            Ok(answer) => {
                self.tries.succeeded();
                if !answer.cursor().is_empty() {
                    self.cursor = answer.cursor().to_owned();
                }
                Ok(Watched::Answer(answer))
            }
            Err(status) => {
                self.stream = None;
                let because = Refusal::from(&status);
                match self.tries.failed().filter(|_| because.is_transient()) {
                    Some(wait) => {
                        self.wait = Some(wait);
                        Ok(Watched::Broken { because, wait })
                    }
                    None => Err(Error::Refused(because)),
                }
            }
        }
    }

    async fn read(&mut self) -> Result<A, Status> {
        if self.stream.is_none() {
            self.stream = Some(A::open(&self.server, &self.cursor, &self.bot).await?);
        }
        let ended = || Status::unavailable("the server ended the stream");
        match &mut self.stream {
            Some(stream) => stream.message().await?.ok_or_else(ended),
            None => Err(ended()),
        }
    }
}
