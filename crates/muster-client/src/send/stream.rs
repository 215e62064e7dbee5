//! Many messages over one stream.
//!
//! Rows become frames, a few frames are in flight, and each answer frees the place of one. When the connection breaks,
//! everything that is in flight is sent again, in its order: every message has a key, so what had arrived is found again.
//! Memory is bounded by the window, whatever the length of the file.

use std::collections::VecDeque;
use std::time::Duration;

use muster_domain::limits::{FRAME_BYTES_MAX, MESSAGES_PER_FRAME_MAX};
use muster_proto::v1::{self, send_result};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use super::draft::{Draft, Drafter, Origin};
use super::media::Uploader;
use super::tally::Tally;
use crate::connection::Server;
use crate::error::{Error, Refusal};
use crate::retry::Tries;
use crate::rows::{Problem, ProblemKind, Rows};

/// Messages in a frame: enough to amortise it, few enough that the first answers come soon.
const FRAME_MESSAGES: usize = 128;

/// Bytes of messages after which a frame is closed, whatever their number. A single message of the largest size still fits.
const FRAME_BYTES: usize = 1024 * 1024;

/// Frames in flight: covers the way to a distant server and back while it commits.
const WINDOW_FRAMES: usize = 8;

/// Rows that are read ahead.
const READ_AHEAD_ROWS: usize = 2 * FRAME_MESSAGES;

const _: () = assert!(FRAME_MESSAGES <= MESSAGES_PER_FRAME_MAX && FRAME_BYTES < FRAME_BYTES_MAX / 2);

/// What a run tells while it goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// The counts changed.
    Progress(&'a Tally),
    /// A row was not sent.
    Refused(&'a Problem),
    /// The connection broke and is tried again after a wait.
    Broken {
        /// Why.
        because: &'a Refusal,
        /// The wait.
        wait: Duration,
    },
}

/// What comes out of the reading of a file.
#[derive(Debug)]
pub enum Item {
    /// A message.
    Draft(Box<Draft>),
    /// A row that cannot be sent.
    Problem(Problem),
    /// The file cannot be read on.
    Failed(Error),
}

/// Reads and drafts rows on a thread of its own, a little ahead of the sending.
pub fn read_ahead(rows: Rows, mut drafter: Drafter) -> mpsc::Receiver<Item> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD_ROWS);
    // Not a task of the runtime: reading standard input cannot be interrupted, and must not keep the process from ending.
    std::thread::spawn(move || {
        for row in rows {
            let item = match row {
                Ok(row) => match row.and_then(|row| drafter.draft(&row)) {
                    Ok(draft) => Item::Draft(Box::new(draft)),
                    Err(problem) => Item::Problem(problem),
                },
                Err(error) => Item::Failed(error),
            };
            if sender.blocking_send(item).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Sends everything that `items` yields, and tells what became of it.
///
/// With `strict`, each message is sent after the one before it was accepted, and the first problem ends the run. `stop` ends
/// it early: what is in flight is still waited for. However it ends, what was accepted stays accepted, and the same file can
/// be sent again.
pub async fn send(
    server: &Server,
    items: mpsc::Receiver<Item>,
    strict: bool,
    stop: CancellationToken,
    observe: &mut (dyn FnMut(Event<'_>) + Send),
) -> Sent {
    let (frame_messages, window_frames) = if strict { (1, 1) } else { (FRAME_MESSAGES, WINDOW_FRAMES) };
    let mut run = Run {
        server,
        items: Some(items),
        strict,
        stop,
        frame_messages,
        window_frames,
        in_flight: VecDeque::new(),
        uploader: Uploader::default(),
        tries: Tries::limited(),
        tally: Tally::default(),
        unreadable: None,
        observe,
    };
    let ended = run.work_off().await;
    Sent { ended: ended.and(run.unreadable.map_or(Ok(()), Err)), tally: run.tally }
}

/// What a run came to.
#[derive(Debug)]
pub struct Sent {
    /// What became of the rows.
    pub tally: Tally,
    /// Why it ended before the end of the file, if neither `strict` nor `stop` did it: the file could not be read on, the
    /// server could not be reached any more, or it refused the call as a whole.
    pub ended: Result<(), Error>,
}

/// Messages in flight, with the rows that they came from.
struct Frame {
    origins: Vec<Origin>,
    messages: Vec<v1::Message>,
}

/// Frames on their way into a call. Unbounded, because the window bounds what is put in.
type Outgoing = mpsc::UnboundedSender<v1::SendMessagesRequest>;

struct Run<'a> {
    server: &'a Server,
    /// None once the file has ended, or the run was stopped.
    items: Option<mpsc::Receiver<Item>>,
    strict: bool,
    stop: CancellationToken,
    frame_messages: usize,
    window_frames: usize,
    in_flight: VecDeque<Frame>,
    uploader: Uploader,
    tries: Tries,
    tally: Tally,
    /// Why the file could not be read on. What came before is still sent.
    unreadable: Option<Error>,
    observe: &'a mut (dyn FnMut(Event<'_>) + Send),
}

/// What the next look at the rows brought.
enum Received {
    Items(Vec<Item>),
    Ended,
    Stopped,
}

impl Run<'_> {
    async fn work_off(&mut self) -> Result<(), Error> {
        while self.items.is_some() || !self.in_flight.is_empty() {
            if self.in_flight.is_empty() {
                // Without a frame there is nothing to open a call for.
                let received = self.receive().await;
                self.take_in(received, None).await?;
            } else if let Err(status) = self.connection().await? {
                self.wait_after(&status).await?;
            }
        }
        Ok(())
    }

    /// Waits for rows. May be dropped before it is done: nothing is lost.
    async fn receive(&mut self) -> Received {
        let Some(items) = &mut self.items else { return Received::Ended };
        let mut received = Vec::new();
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Received::Stopped,
            count = items.recv_many(&mut received, self.frame_messages) => {
                if count == 0 { Received::Ended } else { Received::Items(received) }
            }
        }
    }

    /// Makes frames of what was received, puts them in flight and, where a call is open, onto it.
    async fn take_in(&mut self, received: Received, call: Option<&Outgoing>) -> Result<(), Error> {
        let items = match received {
            Received::Items(items) => items,
            Received::Ended => {
                self.items = None;
                return Ok(());
            }
            Received::Stopped => {
                self.end_early();
                return Ok(());
            }
        };
        let mut frame = Frame { origins: Vec::new(), messages: Vec::new() };
        let mut bytes = 0;
        for item in items {
            if self.items.is_none() {
                break;
            }
            let draft = match item {
                Item::Draft(draft) => *draft,
                Item::Problem(problem) => {
                    self.read_row(problem.line);
                    self.refuse(problem);
                    continue;
                }
                Item::Failed(error) => {
                    self.unreadable = Some(error);
                    self.end_early();
                    break;
                }
            };
            self.read_row(draft.origin.line);
            let Some(draft) = self.upload(draft).await? else { continue };
            let size = draft.message.encoded_len();
            if bytes > 0 && bytes + size > FRAME_BYTES {
                let full = std::mem::replace(&mut frame, Frame { origins: Vec::new(), messages: Vec::new() });
                self.put_in_flight(full, call);
                bytes = 0;
            }
            bytes += size;
            frame.origins.push(draft.origin);
            frame.messages.push(draft.message);
        }
        if !frame.messages.is_empty() {
            self.put_in_flight(frame, call);
        }
        self.progress();
        Ok(())
    }

    fn put_in_flight(&mut self, frame: Frame, call: Option<&Outgoing>) {
        if let Some(call) = call {
            // A call that has ended is noticed by its answers; the frame stays in flight and goes out with the next one.
            let _ = call.send(v1::SendMessagesRequest { messages: frame.messages.clone() });
        }
        self.in_flight.push_back(frame);
    }

    /// One call: sends what is in flight, then what comes, until the rows end or the connection breaks.
    async fn connection(&mut self) -> Result<Result<(), Status>, Error> {
        let (sender, receiver) = mpsc::unbounded_channel();
        for frame in &self.in_flight {
            let request = v1::SendMessagesRequest { messages: frame.messages.clone() };
            // The receiver is still here: this cannot fail.
            let _ = sender.send(request);
        }
        let mut answers = match self.server.messages().send_messages(UnboundedReceiverStream::new(receiver)).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Ok(Err(status)),
        };
        while self.items.is_some() || !self.in_flight.is_empty() {
            tokio::select! {
                answer = answers.message() => match self.answered(answer) {
                    Ok(()) => {}
                    Err(status) => return Ok(Err(status)),
                },
                received = self.receive_if_there_is_room() => self.take_in(received, Some(&sender)).await?,
            }
        }
        drop(sender);
        Ok(finish(answers).await)
    }

    async fn receive_if_there_is_room(&mut self) -> Received {
        if self.items.is_none() || self.in_flight.len() >= self.window_frames {
            std::future::pending().await
        } else {
            self.receive().await
        }
    }

    fn answered(&mut self, answer: Result<Option<v1::SendMessagesResponse>, Status>) -> Result<(), Status> {
        let answer = answer?.ok_or_else(|| Status::unavailable("the server ended the call"))?;
        let frame = self
            .in_flight
            .pop_front()
            .ok_or_else(|| Status::data_loss("the server answered more frames than it got"))?;
        if answer.results.len() != frame.origins.len() {
            return Err(Status::data_loss("the server answered a frame with another number of results"));
        }
        self.tries.succeeded();
        for (origin, result) in frame.origins.iter().zip(answer.results) {
            match result.result {
                Some(send_result::Result::Name(_)) if result.replayed => self.tally.replayed += 1,
                Some(send_result::Result::Name(_)) => self.tally.accepted += 1,
                Some(send_result::Result::Refusal(refusal)) => self.refuse(refused(origin, refusal)),
                None => return Err(Status::data_loss("the server answered a message with nothing")),
            }
        }
        self.progress();
        Ok(())
    }

    /// Uploads what the draft needs; `None` if the row had to be refused for it.
    async fn upload(&mut self, draft: Draft) -> Result<Option<Draft>, Error> {
        let Some(media) = &draft.media else { return Ok(Some(draft)) };
        loop {
            match self.uploader.ensure(self.server, media).await {
                Ok(()) => {
                    self.tries.succeeded();
                    return Ok(Some(draft));
                }
                Err(Error::Refused(refusal)) if refusal.is_transient() => self.wait_for(refusal).await?,
                Err(error) => {
                    let mut problem = draft.origin.problem(ProblemKind::Media.as_str(), &[], &error.to_string());
                    problem.column = draft.origin.column_of("content.media");
                    self.refuse(problem);
                    return Ok(None);
                }
            }
        }
    }

    async fn wait_after(&mut self, status: &Status) -> Result<(), Error> {
        let refusal = Refusal::from(status);
        if refusal.is_transient() { self.wait_for(refusal).await } else { Err(Error::Refused(refusal)) }
    }

    /// Waits before the next try, or gives up.
    async fn wait_for(&mut self, because: Refusal) -> Result<(), Error> {
        let Some(wait) = self.tries.failed() else {
            let address = self.server.address().clone();
            return Err(Error::Lost { address, tries: self.tries.failures(), last: because });
        };
        (self.observe)(Event::Broken { because: &because, wait });
        let stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            // What is in flight may have arrived: only a server can tell, and the operator does not want to wait for it.
            () = stop.cancelled(), if !stop.is_cancelled() => Err(Error::Refused(because)),
        }
    }

    fn read_row(&mut self, line: u64) {
        self.tally.rows += 1;
        self.tally.last_line = line;
    }

    fn refuse(&mut self, problem: Problem) {
        self.tally.refuse(&problem);
        (self.observe)(Event::Refused(&problem));
        if self.strict {
            self.end_early();
        }
    }

    fn end_early(&mut self) {
        self.tally.stopped |= self.items.take().is_some();
    }

    fn progress(&mut self) {
        (self.observe)(Event::Progress(&self.tally));
    }
}

/// Waits for the end of a call whose every frame was answered.
async fn finish(mut answers: Streaming<v1::SendMessagesResponse>) -> Result<(), Status> {
    match answers.message().await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(Status::data_loss("the server answered more frames than it got")),
        // Everything was answered: how the call ends does not matter any more.
        Err(status) if status.code() != Code::DataLoss => Ok(()),
        Err(status) => Err(status),
    }
}

/// What the server says is wrong with a row.
fn refused(origin: &Origin, refusal: v1::SendRefusal) -> Problem {
    let violations: Vec<_> = refusal.field_violations.into_iter().map(|v| (v.field, v.description)).collect();
    let mut problem = origin.problem(refusal.reason, &violations, &refusal.message);
    if problem.column.is_none() && problem.reason.starts_with("BOT_") {
        problem.column = origin.column_of("bot");
    }
    problem
}
