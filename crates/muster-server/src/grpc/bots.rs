//! `muster.v1.BotService`.

use std::sync::Arc;

use futures::StreamExt as _;
use muster_domain::bot::Hold;
use muster_domain::{BotId, GatewayId, NodeId, Violation};
use muster_proto::convert::v1::{bot, failure, fingerprint, time};
use muster_proto::v1::bot_service_server::BotService;
use muster_proto::v1::link_bot_response::State;
use muster_proto::v1::{
    Bot, BotFilter, CheckRecipientsRequest, CheckRecipientsResponse, CreateBotRequest, CreateBotResponse,
    GetBotRequest, GetBotResponse, HoldBotRequest, HoldBotResponse, LinkBotRequest, LinkBotResponse, ListBotsRequest,
    ListBotsResponse, RecipientStatus, ReconnectBotRequest, ReconnectBotResponse, ResumeBotRequest, ResumeBotResponse,
    RetireBotRequest, RetireBotResponse, UnlinkBotRequest, UnlinkBotResponse, UpdateBotRequest, UpdateBotResponse,
};
use tonic::{Request, Response, Status};

use super::caller;
use super::page::Page;
use super::{Answers, keep, qr, request_key, stream};
use crate::app::bots::Counted;
use crate::app::error::Error;
use crate::app::links::Step;
use crate::app::{App, bots, links};
use crate::session::LinkProgress;

pub(super) struct Bots(pub(super) Arc<App>);

#[tonic::async_trait]
impl BotService for Bots {
    type LinkBotStream = Answers<LinkBotResponse>;

    async fn create_bot(&self, request: Request<CreateBotRequest>) -> Result<Response<CreateBotResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let CreateBotRequest { bot_id, bot, request_id } = request.into_inner();
        let bot = bot.unwrap_or_default();
        let key = request_key(&request_id, || labelled(&format!("CreateBot/{bot_id}"), &bot)).map_err(Error::from)?;
        let id = BotId::new(&bot_id).map_err(|violation| violation.below("bot_id"));
        let draft = bot::declared(id, bot, "bot").map_err(Error::from)?;
        let counted = bots::create(&self.0, &tenant, draft, key).await?;
        Ok(Response::new(CreateBotResponse { bot: Some(write(&counted)) }))
    }

    async fn get_bot(&self, request: Request<GetBotRequest>) -> Result<Response<GetBotResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let id = name(&request.get_ref().name)?;
        let counted = bots::get_counted(&self.0, &tenant, &id).await?;
        Ok(Response::new(GetBotResponse { bot: Some(write(&counted)) }))
    }

    async fn list_bots(&self, request: Request<ListBotsRequest>) -> Result<Response<ListBotsResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let ListBotsRequest { page_size, page_token, filter: asked } = request.into_inner();
        let asked = asked.unwrap_or_default();
        let check = check(&asked);
        let mut found = Vec::new();
        let filter = filter(asked, &mut found);
        let page = Page::read(page_size, &page_token, check, |id| BotId::new(id).ok());
        let page = page.map_err(|violation| found.push(violation)).ok();
        let Some(page) = page.filter(|_| found.is_empty()) else { return Err(Error::from(found).into()) };
        let mut rows = bots::list(&self.0, &tenant, &filter, page.after.as_ref(), page.limit()).await?;
        let next_page_token = page.cut(&mut rows, |(bot, _)| bot.spec.id.to_string());
        let bots = rows.iter().map(write).collect();
        Ok(Response::new(ListBotsResponse { bots, next_page_token }))
    }

    async fn update_bot(&self, request: Request<UpdateBotRequest>) -> Result<Response<UpdateBotResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let UpdateBotRequest { bot, update_mask, request_id } = request.into_inner();
        let paths = update_mask.clone().unwrap_or_default().paths.join(",");
        let call = || labelled(&format!("UpdateBot/{paths}"), &bot.clone().unwrap_or_default());
        let key = request_key(&request_id, call).map_err(Error::from)?;
        let update = bot::update(bot, update_mask).map_err(Error::from)?;
        let counted = bots::update(&self.0, &tenant, &update, key).await?;
        Ok(Response::new(UpdateBotResponse { bot: Some(write(&counted)) }))
    }

    async fn hold_bot(&self, request: Request<HoldBotRequest>) -> Result<Response<HoldBotResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let request = request.into_inner();
        let key = request_key(&request.request_id, || fingerprint::of("HoldBot", &request)).map_err(Error::from)?;
        let HoldBotRequest { name: bot, reason, author, until, request_id: _ } = request;
        let id = name(&bot)?;
        let until = until.map(time::timestamp).transpose();
        let until = until.map_err(|violation| Error::from(violation.below("until")))?;
        let hold = Hold { reason, author, since: self.0.store.now(), until };
        let counted = bots::hold(&self.0, &tenant, &id, hold, key).await?;
        Ok(Response::new(HoldBotResponse { bot: Some(write(&counted)) }))
    }

    async fn resume_bot(&self, request: Request<ResumeBotRequest>) -> Result<Response<ResumeBotResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let request = request.into_inner();
        let key = request_key(&request.request_id, || fingerprint::of("ResumeBot", &request)).map_err(Error::from)?;
        let id = name(&request.name)?;
        let counted = bots::resume(&self.0, &tenant, &id, &request.author, key).await?;
        Ok(Response::new(ResumeBotResponse { bot: Some(write(&counted)) }))
    }

    async fn retire_bot(&self, request: Request<RetireBotRequest>) -> Result<Response<RetireBotResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let request = request.into_inner();
        let key = request_key(&request.request_id, || fingerprint::of("RetireBot", &request)).map_err(Error::from)?;
        let RetireBotRequest { name: bot, reason, author, request_id: _ } = request;
        let id = name(&bot)?;
        let counted = bots::retire(&self.0, &tenant, &id, author, reason, key).await?;
        Ok(Response::new(RetireBotResponse { bot: Some(write(&counted)) }))
    }

    async fn link_bot(&self, request: Request<LinkBotRequest>) -> Result<Response<Self::LinkBotStream>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let LinkBotRequest { name: bot, pairing_address } = request.into_inner();
        let id = name(&bot)?;
        let (link, before) = links::start(&self.0, &tenant, &id, &pairing_address).await?;
        let present = link_answer(Step::Progress(LinkProgress::Preparing), &before);
        let app = Arc::clone(&self.0);
        let steps = futures::stream::unfold((app, link), move |(app, mut link)| {
            let (id, tenant) = (id.clone(), tenant.clone());
            async move {
                let step = match link.next().await? {
                    Ok(step) => bots::get_counted(&app, &tenant, &id).await.map(|bot| link_answer(step, &bot)),
                    Err(error) => Err(error),
                };
                Some((step.map_err(Status::from), (app, link)))
            }
        });
        Ok(stream(futures::stream::iter([Ok(present)]).chain(steps)))
    }

    async fn unlink_bot(&self, request: Request<UnlinkBotRequest>) -> Result<Response<UnlinkBotResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let id = name(&request.get_ref().name)?;
        let counted = bots::unlink(&self.0, &tenant, &id).await?;
        Ok(Response::new(UnlinkBotResponse { bot: Some(write(&counted)) }))
    }

    async fn reconnect_bot(
        &self,
        request: Request<ReconnectBotRequest>,
    ) -> Result<Response<ReconnectBotResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let id = name(&request.get_ref().name)?;
        let counted = bots::reconnect(&self.0, &tenant, &id).await?;
        Ok(Response::new(ReconnectBotResponse { bot: Some(write(&counted)) }))
    }

    async fn check_recipients(
        &self,
        request: Request<CheckRecipientsRequest>,
    ) -> Result<Response<CheckRecipientsResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let CheckRecipientsRequest { bot, recipients } = request.into_inner();
        let id = BotId::from_resource_name(&bot).map_err(|violation| Error::from(violation.below("bot")))?;
        let found = bots::check_recipients(&self.0, &tenant, &id, &recipients).await?;
        let recipients = recipients
            .into_iter()
            .zip(found)
            .map(|(recipient, status)| RecipientStatus {
                recipient,
                exists: status.as_ref().is_some_and(|status| status.exists),
                network_address: status
                    .and_then(|status| status.network_address)
                    .map(|address| address.as_str().to_owned())
                    .unwrap_or_default(),
            })
            .collect();
        Ok(Response::new(CheckRecipientsResponse { recipients }))
    }
}

fn name(text: &str) -> Result<BotId, Error> {
    BotId::from_resource_name(text).map_err(|violation| violation.below("name").into())
}

fn write((bot, counts): &Counted) -> Bot {
    bot::write(bot, counts)
}

/// The fingerprint of a call that carries a bot.
fn labelled(call: &str, bot: &Bot) -> [u8; 16] {
    let mut bot = bot.clone();
    let labels = std::mem::take(&mut bot.labels).into_iter().collect();
    fingerprint::with_labels(call, &bot, &labels)
}

/// The check of a list's filter.
fn check(filter: &BotFilter) -> [u8; 16] {
    let mut filter = filter.clone();
    let labels = std::mem::take(&mut filter.labels).into_iter().collect();
    fingerprint::with_labels("ListBots", &filter, &labels)
}

fn filter(filter: BotFilter, found: &mut Vec<Violation>) -> muster_store::BotFilter {
    let BotFilter { node, gateway, stages, connections, labels, held } = filter;
    let node = (!node.is_empty()).then(|| NodeId::from_resource_name(&node)).transpose();
    let gateway = (!gateway.is_empty()).then(|| GatewayId::from_resource_name(&gateway)).transpose();
    let mut labels: Vec<_> = labels.into_iter().collect();
    labels.sort();
    muster_store::BotFilter {
        node: keep(found, "filter.node", node).flatten(),
        gateway: keep(found, "filter.gateway", gateway).flatten(),
        stages: stages.into_iter().filter_map(|value| keep(found, "filter.stages", bot::stage(value))).collect(),
        connections: connections
            .into_iter()
            .filter_map(|value| keep(found, "filter.connections", bot::connection(value)))
            .collect(),
        labels,
        held,
    }
}

fn link_answer(step: Step, bot: &Counted) -> LinkBotResponse {
    let mut answer = LinkBotResponse { bot: Some(write(bot)), ..LinkBotResponse::default() };
    let state = match step {
        Step::Progress(LinkProgress::Preparing) => State::Preparing,
        Step::Progress(LinkProgress::Code { qr, pairing_code }) => {
            answer.qr_png = if qr.is_empty() { Vec::new() } else { qr::png(&qr).unwrap_or_default() };
            answer.qr_text = qr;
            answer.pairing_code = pairing_code;
            State::Code
        }
        Step::Progress(LinkProgress::Linked) => State::Linked,
        Step::Progress(LinkProgress::Expired) => State::Expired,
        Step::Failed(reason) => {
            answer.failure = Some(failure(&reason));
            State::Failed
        }
    };
    answer.set_state(state);
    answer
}
