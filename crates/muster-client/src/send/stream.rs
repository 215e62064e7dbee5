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
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use super::draft::{Draft, Drafter, Origin};
use super::media::Uploader;
use super::postponed::{Postponed, Row};
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
    /// A bot takes no more for now: its messages wait, and come again.
    Postponed {
        /// What the server said of the first.
        because: &'a v1::SendRefusal,
        /// How long nothing may be accepted until they are given up.
        patience: Duration,
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
/// Where a bot takes no more for now, its messages come again when the server wants them, until nothing was accepted for
/// `patience`. With `strict`, each message is sent after the one before it was accepted, and the first problem ends the run. `stop` ends
/// it early: what is in flight is still waited for. However it ends, what was accepted stays accepted, and the same file can
/// be sent again.
pub async fn send(
    server: &Server,
    items: mpsc::Receiver<Item>,
    strict: bool,
    patience: Duration,
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
        postponed: Postponed::new(patience),
        uploader: Uploader::default(),
        tries: Tries::limited(),
        tally: Tally::default(),
        unreadable: None,
        observe,
    };
    let ended = run.work_off().await;
    run.tally.waited_ms = u64::try_from(run.postponed.waited(Instant::now()).as_millis()).unwrap_or(u64::MAX);
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
#[derive(Default)]
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
    /// What comes again later. Bounded: nothing is read while as much waits as may be in flight.
    postponed: Postponed,
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
        while self.is_going_on() {
            if self.in_flight.is_empty() && self.postponed.is_empty() {
                // Without a frame there is nothing to open a call for.
                let received = self.receive().await;
                self.take_in(received, None).await?;
            } else if let Err(status) = self.connection().await? {
                self.wait_after(&status).await?;
            }
        }
        Ok(())
    }

    fn is_going_on(&self) -> bool {
        self.items.is_some() || !self.in_flight.is_empty() || !self.postponed.is_empty()
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
        let mut rows = Vec::with_capacity(items.len());
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
            let Some(Draft { origin, message, .. }) = self.upload(draft).await? else { continue };
            if let Some((because, due)) = self.postponed.blocks(&message.bot) {
                self.postpone(Row { origin, message, because, due });
                continue;
            }
            rows.push((origin, message));
        }
        self.put_in_flight(rows, call);
        self.progress();
        Ok(())
    }

    /// Makes frames of messages, puts them in flight and, where a call is open, onto it.
    fn put_in_flight(&mut self, rows: impl IntoIterator<Item = (Origin, v1::Message)>, call: Option<&Outgoing>) {
        let mut frame = Frame::default();
        let mut bytes = 0;
        for (origin, message) in rows {
            let size = message.encoded_len();
            if bytes > 0 && bytes + size > FRAME_BYTES {
                self.put_frame(std::mem::take(&mut frame), call);
                bytes = 0;
            }
            bytes += size;
            frame.origins.push(origin);
            frame.messages.push(message);
        }
        if !frame.messages.is_empty() {
            self.put_frame(frame, call);
        }
    }

    fn put_frame(&mut self, frame: Frame, call: Option<&Outgoing>) {
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
        let stop = self.stop.clone();
        while self.is_going_on() {
            let next = self.postponed.next().filter(|_| self.in_flight.len() < self.window_frames);
            tokio::select! {
                answer = answers.message() => match self.answered(answer) {
                    Ok(()) => {}
                    Err(status) => return Ok(Err(status)),
                },
                () = stop.cancelled(), if !self.postponed.is_empty() => self.end_early(),
                () = sleep_until(next), if next.is_some() => self.send_again(&sender),
                received = self.receive_if_there_is_room() => self.take_in(received, Some(&sender)).await?,
            }
        }
        drop(sender);
        Ok(finish(answers).await)
    }

    async fn receive_if_there_is_room(&mut self) -> Received {
        let waiting_max = self.window_frames * self.frame_messages;
        if self.items.is_none() || self.in_flight.len() >= self.window_frames || self.postponed.len() >= waiting_max {
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
        let now = Instant::now();
        for ((origin, message), result) in frame.origins.into_iter().zip(frame.messages).zip(answer.results) {
            match result.result {
                Some(send_result::Result::Name(_)) => {
                    self.postponed.accepted(now);
                    let count = if result.replayed { &mut self.tally.replayed } else { &mut self.tally.accepted };
                    *count += 1;
                }
                Some(send_result::Result::Refusal(because)) => match wanted_again_after(&because) {
                    Some(wait) => self.postpone(Row { origin, message, because, due: now + wait }),
                    None => self.refuse(refused(&origin, because)),
                },
                None => return Err(Status::data_loss("the server answered a message with nothing")),
            }
        }
        self.progress();
        Ok(())
    }

    /// Keeps a message to send it again, or gives it up if there is no patience left.
    fn postpone(&mut self, row: Row) {
        let because = row.because.clone();
        let stopped = self.stop.is_cancelled() || (self.strict && self.tally.stopped);
        match if stopped { Err(Box::new(row)) } else { self.postponed.put(row, Instant::now()) } {
            Ok(begins) => {
                self.tally.postponed += 1;
                if begins {
                    (self.observe)(Event::Postponed { because: &because, patience: self.postponed.patience() });
                }
            }
            Err(row) => self.refuse(refused(&row.origin, row.because)),
        }
    }

    /// Sends the messages again whose time has come, or gives all of them up.
    fn send_again(&mut self, call: &Outgoing) {
        let now = Instant::now();
        for row in self.postponed.take_given_up(now) {
            self.refuse(refused(&row.origin, row.because));
        }
        let due = self.postponed.take_due(now, self.frame_messages);
        self.put_in_flight(due.into_iter().map(|row| (row.origin, row.message)), Some(call));
        self.progress();
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
            return Err(Error::Lost { address, tries: self.tries.failures(), last: Box::new(because) });
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
        self.tally.stopped |= self.items.take().is_some() || !self.postponed.is_empty();
        for row in self.postponed.take_all() {
            self.refuse(refused(&row.origin, row.because));
        }
    }

    fn progress(&mut self) {
        self.tally.waiting = self.postponed.len() as u64;
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

/// After how long the server wants to see a message again that is too much for it now.
fn wanted_again_after(refusal: &v1::SendRefusal) -> Option<Duration> {
    let wait = refusal.retry_after.filter(|_| refusal.code == Code::ResourceExhausted as i32)?;
    Duration::try_from(wait).ok()
}

/// Waits until a time; for ever if there is none.
async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
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
