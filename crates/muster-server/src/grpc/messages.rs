//! `muster.v1.MessageService`.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, poll};
use muster_domain::limits::MESSAGES_PER_FRAME_MAX;
use muster_domain::{BotId, MessageId, TenantId, Violation, resolution};
use muster_proto::convert::v1::message::{self as convert, View};
use muster_proto::convert::v1::{bot, fingerprint, spellings, time};
use muster_proto::v1 as wire;
use muster_proto::v1::message_service_server::MessageService;
use muster_proto::v1::{
    CancelMessageRequest, CancelMessageResponse, CountMessagesRequest, CountMessagesResponse, GetMessageRequest,
    GetMessageResponse, ListMessagesRequest, ListMessagesResponse, ResolveMessageRequest, ResolveMessageResponse,
    SendMessageRequest, SendMessageResponse, SendMessagesRequest, SendMessagesResponse, TraceMessageRequest,
    TraceMessageResponse, WatchMessagesRequest, WatchMessagesResponse,
};
use muster_store::{AttemptRecord, Changes, MessageFilter};
use tonic::{Request, Response, Status, Streaming};

use super::caller;
use super::page::Page;
use super::{Answers, keep, status, stream};
use crate::app::error::{Error, Result as AppResult};
use crate::app::messages::{Accepted, Trace};
use crate::app::waiting::Waiting;
use crate::app::watch::{self, Start};
use crate::app::{App, bots, messages};

/// Frames of one streamed send whose commits are under way together. The next frame is read while the last one commits;
/// more would only make the answers later.
const FRAMES_UNDER_WAY: usize = 4;

pub(super) struct Messages(pub(super) Arc<App>);

#[tonic::async_trait]
impl MessageService for Messages {
    type SendMessagesStream = Answers<SendMessagesResponse>;
    type WatchMessagesStream = Answers<WatchMessagesResponse>;

    async fn send_message(
        &self,
        request: Request<SendMessageRequest>,
    ) -> Result<Response<SendMessageResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let draft = convert::draft(request.into_inner().message);
        let sent = messages::send(&self.0, &tenant, draft).await;
        let (message, Accepted { id: _, replayed }) = sent.map_err(|error| error.below("message"))?;
        Ok(Response::new(SendMessageResponse { message: Some(convert::write(message, View::Full)), replayed }))
    }

    async fn send_messages(
        &self,
        request: Request<Streaming<SendMessagesRequest>>,
    ) -> Result<Response<Self::SendMessagesStream>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let frames = request.into_inner();
        Ok(stream(accept_frames(Arc::clone(&self.0), tenant, frames)))
    }

    async fn get_message(&self, request: Request<GetMessageRequest>) -> Result<Response<GetMessageResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let id = name(&request.get_ref().name)?;
        let (message, waiting) = messages::get_explained(&self.0, &tenant, id).await?;
        Ok(Response::new(GetMessageResponse { message: Some(explained(message, waiting)) }))
    }

    async fn list_messages(
        &self,
        request: Request<ListMessagesRequest>,
    ) -> Result<Response<ListMessagesResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let ListMessagesRequest { page_size, page_token, filter } = request.into_inner();
        let filter = filter.unwrap_or_default();
        let check = fingerprint::of("ListMessages", &filter);
        let page = Page::read(page_size, &page_token, check, |id| MessageId::from_resource_name(id).ok());
        let filter = self.filter(&tenant, filter).await?;
        let page = page.map_err(Error::from)?;
        let mut rows = messages::list(&self.0, &tenant, &filter, page.after, page.limit()).await?;
        let next_page_token = page.cut(&mut rows, |message| message.id.to_string());
        let messages = rows.into_iter().map(|message| convert::write(message, View::WithoutContent)).collect();
        Ok(Response::new(ListMessagesResponse { messages, next_page_token }))
    }

    async fn cancel_message(
        &self,
        request: Request<CancelMessageRequest>,
    ) -> Result<Response<CancelMessageResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let id = name(&request.get_ref().name)?;
        let message = messages::cancel(&self.0, &tenant, id).await?;
        Ok(Response::new(CancelMessageResponse { message: Some(convert::write(message, View::Full)) }))
    }

    async fn resolve_message(
        &self,
        request: Request<ResolveMessageRequest>,
    ) -> Result<Response<ResolveMessageResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let ResolveMessageRequest { name, r#as, reason } = request.into_inner();
        let mut found = Vec::new();
        let id = keep(&mut found, "name", MessageId::from_resource_name(&name));
        let resolution = keep(&mut found, "as", convert::resolution(r#as));
        keep(&mut found, "reason", resolution::check_reason(&reason));
        let (Some(id), Some(resolution), true) = (id, resolution, found.is_empty()) else {
            return Err(Error::from(found).into());
        };
        let message = messages::resolve(&self.0, &tenant, id, resolution, reason).await?;
        Ok(Response::new(ResolveMessageResponse { message: Some(convert::write(message, View::Full)) }))
    }

    async fn watch_messages(
        &self,
        request: Request<WatchMessagesRequest>,
    ) -> Result<Response<Self::WatchMessagesStream>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let WatchMessagesRequest { cursor, bot } = request.into_inner();
        let start = match cursor.as_str() {
            "" => Start::Now,
            "0" => Start::Oldest,
            text => Start::After(text.parse().map_err(|_| {
                Error::from(Violation::new("cursor", "must be empty, \"0\", or the cursor of an earlier answer"))
            })?),
        };
        let bot = optional_bot(&bot).map_err(|violation| Error::from(violation.below("bot")))?;
        let pages = watch::messages(Arc::clone(&self.0), tenant, start, bot).await?;
        let answers = pages.map_ok(|Changes { changes, cursor }| WatchMessagesResponse {
            changes: changes
                .iter()
                .map(|change| convert::write_change(change.message_id, &change.bot, change.state, change.time))
                .collect(),
            cursor: cursor.to_string(),
        });
        Ok(stream(answers.map_err(Status::from)))
    }

    async fn trace_message(
        &self,
        request: Request<TraceMessageRequest>,
    ) -> Result<Response<TraceMessageResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let id = name(&request.get_ref().name)?;
        let Trace { message, waiting, attempts, resolutions, replay_of, replayed_as } =
            messages::trace(&self.0, &tenant, id).await?;
        let attempts = attempts
            .into_iter()
            .map(|record| match record {
                AttemptRecord::Tried(attempt) => convert::write_attempt(attempt, true),
                AttemptRecord::NotReceived(attempt) => convert::write_attempt(attempt, false),
            })
            .collect();
        let resolutions = resolutions.into_iter().map(convert::write_resolution).collect();
        let name = |id: Option<MessageId>| id.map(MessageId::resource_name).unwrap_or_default();
        Ok(Response::new(TraceMessageResponse {
            message: Some(explained(message, waiting)),
            attempts,
            resolutions,
            replay_of: name(replay_of),
            replayed_as: name(replayed_as),
        }))
    }

    async fn count_messages(
        &self,
        request: Request<CountMessagesRequest>,
    ) -> Result<Response<CountMessagesResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let bot = optional_bot(&request.get_ref().bot).map_err(|violation| Error::from(violation.below("bot")))?;
        let counts = bots::message_counts(&self.0, &tenant, bot.as_ref()).await?;
        Ok(Response::new(CountMessagesResponse { counts: bot::write_counts(&counts) }))
    }
}

impl Messages {
    async fn filter(&self, tenant: &TenantId, filter: wire::MessageFilter) -> AppResult<MessageFilter> {
        let wire::MessageFilter { bot, states, recipient, accepted_from, accepted_until } = filter;
        let mut found = Vec::new();
        let bot = keep(&mut found, "filter.bot", optional_bot(&bot)).flatten();
        let states =
            states.into_iter().filter_map(|value| keep(&mut found, "filter.states", convert::state(value))).collect();
        let accepted_from =
            keep(&mut found, "filter.accepted_from", accepted_from.map(time::timestamp).transpose()).flatten();
        let accepted_until =
            keep(&mut found, "filter.accepted_until", accepted_until.map(time::timestamp).transpose()).flatten();
        let network = match &bot {
            Some(bot) => Some(bots::get(&self.0, tenant, bot).await?.network),
            None => None,
        };
        let recipients = if recipient.is_empty() { Vec::new() } else { spellings(&recipient, network) };
        if !recipient.is_empty() && recipients.is_empty() {
            found.push(Violation::new("filter.recipient", "must be an address of the bot's network"));
        }
        if !found.is_empty() {
            return Err(found.into());
        }
        Ok(MessageFilter { bot, states, recipients, accepted_from, accepted_until })
    }
}

fn name(text: &str) -> Result<MessageId, Error> {
    MessageId::from_resource_name(text).map_err(|violation| violation.below("name").into())
}

fn optional_bot(text: &str) -> Result<Option<BotId>, Violation> {
    if text.is_empty() { Ok(None) } else { BotId::from_resource_name(text).map(Some) }
}

fn explained(message: muster_domain::message::Message, waiting: Option<Waiting>) -> wire::Message {
    let waiting = waiting.map(|Waiting { reason, explanation, since, until }| wire::Waiting {
        reason: reason.as_str().to_owned(),
        explanation,
        since: since.map(time::write_timestamp),
        until: until.map(time::write_timestamp),
    });
    wire::Message { waiting, ..convert::write(message, View::Full) }
}

// ---- the streamed send ---------------------------------------------------------------------------------------------

/// A frame whose commit is under way.
type Committing = BoxFuture<'static, Result<SendMessagesResponse, Status>>;

struct Frames<S> {
    app: Arc<App>,
    tenant: TenantId,
    frames: S,
    committing: FuturesOrdered<Committing>,
    /// No frame follows.
    ended: bool,
}

/// Accepts frame after frame. The answers come in the order of the frames, and so do the commits.
fn accept_frames<S>(
    app: Arc<App>,
    tenant: TenantId,
    frames: S,
) -> impl Stream<Item = Result<SendMessagesResponse, Status>> + Send
where
    S: Stream<Item = Result<SendMessagesRequest, Status>> + Unpin + Send + 'static,
{
    let state = Frames { app, tenant, frames, committing: FuturesOrdered::new(), ended: false };
    futures::stream::unfold(state, |mut state| async move {
        let stopping = state.app.stopping.clone();
        loop {
            tokio::select! {
                biased;
                Some(answer) = state.committing.next() => {
                    // After an error nothing follows: the call is over.
                    if answer.is_err() {
                        state.ended = true;
                        state.committing = FuturesOrdered::new();
                    }
                    return Some((answer, state));
                }
                frame = state.frames.next(), if !state.ended && state.committing.len() < FRAMES_UNDER_WAY => {
                    state.take(frame).await;
                }
                () = stopping.cancelled(), if !state.ended => {
                    // What is under way is still answered, in front of this.
                    state.ended = true;
                    state.committing.push_back(std::future::ready(Err(Error::stopping().into())).boxed());
                }
                else => return None,
            }
        }
    })
}

impl<S> Frames<S> {
    /// Reads and checks a frame, and hands it to the store before the next one is read: that keeps the order.
    async fn take(&mut self, frame: Option<Result<SendMessagesRequest, Status>>) {
        let committing = match frame {
            None => {
                self.ended = true;
                return;
            }
            Some(Err(status)) => Err(status),
            Some(Ok(frame)) => begin(&self.app, &self.tenant, frame).await.map_err(Status::from),
        };
        self.ended |= committing.is_err();
        self.committing.push_back(committing.unwrap_or_else(|status| std::future::ready(Err(status)).boxed()));
    }
}

async fn begin(app: &Arc<App>, tenant: &TenantId, frame: SendMessagesRequest) -> AppResult<Committing> {
    let count = frame.messages.len();
    if count == 0 || count > MESSAGES_PER_FRAME_MAX {
        let text = format!("must have 1 to {MESSAGES_PER_FRAME_MAX} messages a frame, has {count}");
        return Err(Violation::new("messages", text).into());
    }
    let drafts = frame.messages.into_iter().map(|message| convert::draft(Some(message)));
    let batch = messages::prepare(app, tenant, drafts).await?;
    let app = Arc::clone(app);
    let mut committing = async move {
        let answers = batch.accept(&app).await?;
        Ok(SendMessagesResponse { results: answers.into_iter().map(result).collect() })
    }
    .boxed();
    // The first poll hands the batch to the store's queue.
    Ok(match poll!(&mut committing) {
        std::task::Poll::Ready(answer) => std::future::ready(answer).boxed(),
        std::task::Poll::Pending => committing,
    })
}

fn result(answer: AppResult<Accepted>) -> wire::SendResult {
    use wire::send_result::Result::{Name, Refusal};
    let (result, replayed) = match answer {
        Ok(Accepted { id, replayed }) => (Name(id.resource_name()), replayed),
        Err(error) => (Refusal(refusal(error)), false),
    };
    wire::SendResult { result: Some(result), replayed }
}

fn refusal(error: Error) -> wire::SendRefusal {
    let metadata = status::metadata(&error);
    let Error { reason, message, violations, retry_after, .. } = error;
    let retry_after = retry_after.map(time::write_duration);
    let field_violations = violations
        .into_iter()
        .map(|Violation { field, description }| wire::FieldViolation { field, description })
        .collect();
    let code = status::code(reason.kind()) as i32;
    wire::SendRefusal { code, reason: reason.as_str().to_owned(), message, field_violations, retry_after, metadata }
}
