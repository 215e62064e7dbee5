//! Streams of answers that their caller does not read: the one place that ends them.
//!
//! HTTP/2 finds a peer that died, and not one that lives and does not read. The transport takes the next frame of a stream only
//! once the one before it fits into the caller's window. A frame that nobody makes room for keeps whatever stands behind the
//! stream in memory: a watch and its page, a link that a bot waits in, a medium, commits whose answers are waited for. When it has lain
//! for too long, all of that is let go. A caller that reads again finds what had been sent, and then the reason.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Frame;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tracing::Instrument as _;

use crate::app::error::{Error, Reason};

/// Marks an answer as a stream that its caller has to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ToBeRead;

/// Lets go of a marked answer of which a frame lies unread for `timeout`. Leaves others as they are.
pub(super) fn bounded(response: Response<Body>, timeout: Duration) -> Response<Body> {
    match response.extensions().get::<ToBeRead>() {
        Some(ToBeRead) => response.map(|body| Body::new(Bounded::new(body, timeout))),
        None => response,
    }
}

/// A stream of answers, and how long its latest frame lies.
struct Stream {
    /// `None` once it was let go.
    answers: Option<Body>,
    /// When the frame was handed out after which the transport has not come back yet.
    unread_since: Option<Instant>,
    timeout: Duration,
}

/// A body that is let go when nobody reads it.
struct Bounded {
    stream: Arc<Mutex<Stream>>,
    watch: AbortHandle,
    /// The reason was told: nothing follows.
    ended: bool,
}

impl Bounded {
    fn new(answers: Body, timeout: Duration) -> Self {
        let stream = Arc::new(Mutex::new(Stream { answers: Some(answers), unread_since: None, timeout }));
        let watch = tokio::spawn(let_go_if_unread(Arc::clone(&stream), timeout).in_current_span()).abort_handle();
        Bounded { stream, watch, ended: false }
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = {
            let mut stream = locked(&self.stream);
            stream.unread_since = None;
            let timeout = stream.timeout;
            match &mut stream.answers {
                Some(answers) => {
                    let frame = Pin::new(answers).poll_frame(context);
                    if let Poll::Ready(Some(Ok(_))) = &frame {
                        stream.unread_since = Some(Instant::now());
                    }
                    return frame;
                }
                None => last_frame(timeout),
            }
        };
        self.ended = true;
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || locked(&self.stream).answers.as_ref().is_some_and(Body::is_end_stream)
    }
}

fn locked(stream: &Mutex<Stream>) -> MutexGuard<'_, Stream> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until a frame of the stream lies for as long as one may, and drops what stands behind the stream.
async fn let_go_if_unread(stream: Arc<Mutex<Stream>>, timeout: Duration) {
    let mut look = Instant::now() + timeout;
    loop {
        tokio::time::sleep_until(look).await;
        let let_go = {
            let mut stream = locked(&stream);
            // A frame that is handed out after this look lies long enough no earlier than the next one.
            look = stream.unread_since.unwrap_or_else(Instant::now) + timeout;
            if look > Instant::now() { None } else { stream.answers.take() }
        };
        if let Some(answers) = let_go {
            drop(answers);
            tracing::warn!(unread_ms = timeout.as_millis(), "ended a call whose answers are not read");
            return;
        }
    }
}

/// How a stream ends that was let go.
fn last_frame(timeout: Duration) -> Result<Frame<Bytes>, Status> {
    let message = format!(
        "nobody read the answers of this call for {} ms, so it was ended; go on behind the latest cursor, or send again what was not \
         answered, with the same idempotency keys",
        timeout.as_millis()
    );
    let status = Status::from(Error::new(Reason::AnswersUnread, message));
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::sync::mpsc;
    use tokio_stream::StreamExt as _;
    use tokio_stream::wrappers::ReceiverStream;
    use tonic::Code;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// A marked answer, and what stands behind it.
    fn answer(is_marked: bool) -> (mpsc::Sender<&'static str>, Body) {
        let (frames, behind) = mpsc::channel(8);
        let data = |text: &'static str| Ok::<_, Status>(Frame::data(Bytes::from_static(text.as_bytes())));
        let mut response = Response::new(Body::new(StreamBody::new(ReceiverStream::new(behind).map(data))));
        if is_marked {
            response.extensions_mut().insert(ToBeRead);
        }
        (frames, bounded(response, TIMEOUT).into_body())
    }

    async fn data(body: &mut Body) -> Bytes {
        body.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_lies_unread_for_too_long_is_let_go_and_tells_why_when_it_is_read() {
        let (frames, mut body) = answer(true);
        frames.send("a").await.unwrap();
        assert_eq!(data(&mut body).await, "a");
        tokio::time::sleep(TIMEOUT - Duration::from_millis(1)).await;
        assert!(!frames.is_closed(), "a moment before its end");
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(frames.is_closed(), "nothing stands behind it any more");
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(Status::from_header_map(&trailers).unwrap().code(), Code::Aborted);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_begins_anew_with_every_frame_that_is_read() {
        let (frames, mut body) = answer(true);
        for _ in 0..10 {
            frames.send("a").await.unwrap();
            assert_eq!(data(&mut body).await, "a");
            tokio::time::sleep(TIMEOUT - Duration::from_millis(1)).await;
        }
        assert!(!frames.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_has_nothing_to_say_lives_on() {
        let (frames, mut body) = answer(true);
        let reading = tokio::spawn(async move { data(&mut body).await });
        tokio::time::sleep(10 * TIMEOUT).await;
        frames.send("late").await.unwrap();
        assert_eq!(reading.await.unwrap(), "late");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_marked_is_left_alone() {
        let (frames, mut body) = answer(false);
        frames.send("a").await.unwrap();
        assert_eq!(data(&mut body).await, "a");
        tokio::time::sleep(10 * TIMEOUT).await;
        assert!(!frames.is_closed());
    }
}
