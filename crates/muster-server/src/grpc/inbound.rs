//! `muster.v1.InboundService`.

use std::sync::Arc;

use futures::TryStreamExt as _;
use muster_domain::BotId;
use muster_domain::inbound::InboundId;
use muster_proto::convert::v1::{fingerprint, inbound as convert, spellings, time};
use muster_proto::v1::inbound_service_server::InboundService;
use muster_proto::v1::{
    GetInboundMessageRequest, GetInboundMessageResponse, ListInboundMessagesRequest, ListInboundMessagesResponse,
    MarkInboundMessageReadRequest, MarkInboundMessageReadResponse, WatchInboundMessagesRequest,
    WatchInboundMessagesResponse,
};
use muster_store::InboundFilter;
use tonic::{Request, Response, Status};

use super::caller;
use super::page::Page;
use super::{Answers, keep, stream};
use crate::app::error::Error;
use crate::app::watch::{self, InboundPage, Start};
use crate::app::{App, bots, inbound};

pub(super) struct InboundMessages(pub(super) Arc<App>);

#[tonic::async_trait]
impl InboundService for InboundMessages {
    type WatchInboundMessagesStream = Answers<WatchInboundMessagesResponse>;

    async fn get_inbound_message(
        &self,
        request: Request<GetInboundMessageRequest>,
    ) -> Result<Response<GetInboundMessageResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let id = name(&request.get_ref().name)?;
        let found = inbound::get(&self.0, &tenant, id).await?;
        Ok(Response::new(GetInboundMessageResponse { inbound_message: Some(convert::write(found)) }))
    }

    async fn list_inbound_messages(
        &self,
        request: Request<ListInboundMessagesRequest>,
    ) -> Result<Response<ListInboundMessagesResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let mut request = request.into_inner();
        let (page_size, page_token) = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
        let check = fingerprint::of("ListInboundMessages", &request);
        let ListInboundMessagesRequest { bot, sender, received_from, .. } = request;
        let mut found = Vec::new();
        let bot = keep(&mut found, "bot", optional_bot(&bot)).flatten();
        let received_from = keep(&mut found, "received_from", received_from.map(time::timestamp).transpose()).flatten();
        let page = Page::read(page_size, &page_token, check, |id| InboundId::from_resource_name(id).ok());
        let page = page.map_err(|violation| found.push(violation)).ok();
        let Some(page) = page.filter(|_| found.is_empty()) else { return Err(Error::from(found).into()) };
        let network = match &bot {
            Some(bot) => Some(bots::get(&self.0, &tenant, bot).await?.network),
            None => None,
        };
        let senders = if sender.is_empty() { Vec::new() } else { spellings(&sender, network) };
        if !sender.is_empty() && senders.is_empty() {
            return Err(Error::from(muster_domain::Violation::new(
                "sender",
                "must be an address of the bot's network",
            ))
            .into());
        }
        let filter = InboundFilter { bot, senders, received_from };
        let mut rows = inbound::list(&self.0, &tenant, &filter, page.after, page.limit()).await?;
        let next_page_token = page.cut(&mut rows, |inbound| inbound.id.0.to_string());
        let inbound_messages = rows.into_iter().map(convert::write).collect();
        Ok(Response::new(ListInboundMessagesResponse { inbound_messages, next_page_token }))
    }

    async fn watch_inbound_messages(
        &self,
        request: Request<WatchInboundMessagesRequest>,
    ) -> Result<Response<Self::WatchInboundMessagesStream>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let WatchInboundMessagesRequest { cursor, bot } = request.into_inner();
        let start = match cursor.as_str() {
            "" => Start::Now,
            "0" => Start::Oldest,
            text => Start::After(
                InboundId::from_resource_name(text).map_err(|violation| Error::from(violation.below("cursor")))?,
            ),
        };
        let bot = optional_bot(&bot).map_err(|violation| Error::from(violation.below("bot")))?;
        let pages = watch::inbound(Arc::clone(&self.0), tenant, start, bot).await?;
        let answers = pages.map_ok(|InboundPage { messages, cursor }| WatchInboundMessagesResponse {
            inbound_messages: messages.into_iter().map(convert::write).collect(),
            cursor: cursor.map_or_else(|| "0".to_owned(), |id| id.0.to_string()),
        });
        Ok(stream(answers.map_err(Status::from)))
    }

    async fn mark_inbound_message_read(
        &self,
        request: Request<MarkInboundMessageReadRequest>,
    ) -> Result<Response<MarkInboundMessageReadResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let id = name(&request.get_ref().name)?;
        inbound::mark_read(&self.0, &tenant, id).await?;
        Ok(Response::new(MarkInboundMessageReadResponse {}))
    }
}

fn name(text: &str) -> Result<InboundId, Error> {
    InboundId::from_resource_name(text).map_err(|violation| violation.below("name").into())
}

fn optional_bot(text: &str) -> Result<Option<BotId>, muster_domain::Violation> {
    if text.is_empty() { Ok(None) } else { BotId::from_resource_name(text).map(Some) }
}
