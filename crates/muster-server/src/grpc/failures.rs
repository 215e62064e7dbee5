//! `muster.v1.FailureService`.

use std::sync::Arc;

use muster_domain::limits::VALIDITY_DEFAULT;
use muster_domain::message::Schedule;
use muster_domain::{BotId, MessageId, NodeId, Timestamp, Violation};
use muster_proto::convert::v1::message::{self as message, View};
use muster_proto::convert::v1::{failures as convert, fingerprint, time};
use muster_proto::v1 as wire;
use muster_proto::v1::failure_service_server::FailureService;
use muster_proto::v1::{
    CountFailuresRequest, CountFailuresResponse, FailuresBy, ListFailuresRequest, ListFailuresResponse,
    ReplayFailuresRequest, ReplayFailuresResponse,
};
use muster_store::{FailedBy, FailedFilter, FailedGroup, FailedKey, Replay, ReplayPart};
use tonic::{Request, Response, Status};

use super::page::Page;
use super::{caller, keep};
use crate::app::error::{Error, Result as AppResult};
use crate::app::{App, failures};

pub(super) struct Failures(pub(super) Arc<App>);

#[tonic::async_trait]
impl FailureService for Failures {
    async fn count_failures(
        &self,
        request: Request<CountFailuresRequest>,
    ) -> Result<Response<CountFailuresResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let request = request.into_inner();
        let by = match request.by() {
            FailuresBy::Unspecified | FailuresBy::Cause => FailedBy::Cause,
            FailuresBy::Bot => FailedBy::Bot,
            FailuresBy::Node => FailedBy::Node,
            FailuresBy::Day => FailedBy::Day,
        };
        let filter = filter(request.filter)?;
        let groups = failures::count(&self.0, &tenant, &filter, by).await?;
        Ok(Response::new(CountFailuresResponse { groups: groups.into_iter().map(group).collect() }))
    }

    async fn list_failures(
        &self,
        request: Request<ListFailuresRequest>,
    ) -> Result<Response<ListFailuresResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let ListFailuresRequest { page_size, page_token, filter: asked } = request.into_inner();
        let asked = asked.unwrap_or_default();
        let check = fingerprint::of("ListFailures", &asked);
        let page = Page::read(page_size, &page_token, check, |id| MessageId::from_resource_name(id).ok());
        let (filter, page) = (filter(Some(asked))?, page.map_err(Error::from)?);
        let mut rows = failures::list(&self.0, &tenant, &filter, page.after, page.limit()).await?;
        let next_page_token = page.cut(&mut rows, |row| row.id.to_string());
        let messages = rows.into_iter().map(|row| message::write(row, View::WithoutContent)).collect();
        Ok(Response::new(ListFailuresResponse { messages, next_page_token }))
    }

    async fn replay_failures(
        &self,
        request: Request<ReplayFailuresRequest>,
    ) -> Result<Response<ReplayFailuresResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let mut request = request.into_inner();
        let (page_size, page_token) = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
        let limit = std::mem::take(&mut request.limit);
        let page = Page::read(page_size, &page_token, fingerprint::of("ReplayFailures", &request), place);
        let page = page.map_err(Error::from)?;
        let now = self.0.store.now();
        let validity = request.validity.map(time::duration).transpose();
        let validity = validity.and_then(|validity| match Schedule::resolve(now, None, validity) {
            Ok(_) => Ok(validity.unwrap_or(VALIDITY_DEFAULT)),
            Err(found) => Err(found.into_iter().next().unwrap_or_else(|| Violation::new("", "must be a validity"))),
        });
        let validity = validity.map_err(|found| Error::from(Violation { field: "validity".into(), ..found }))?;
        let mut filter = filter(request.filter)?;
        // What is accepted while the replay runs is not part of it: it would replay its own messages.
        let (after, until) = page.after.map_or((None, now), |(after, until)| (Some(after), until));
        filter.accepted_until = Some(filter.accepted_until.map_or(until, |asked| asked.min(until)));
        let asked = Replay {
            filter,
            after,
            limit: page.size(),
            replays_max: if limit == 0 { u32::MAX } else { limit },
            force: request.force,
            dry_run: request.dry_run,
            validity,
        };
        let ReplayPart { replayed, counts, next } = failures::replay(&self.0, &tenant, asked, now).await?;
        let groups = counts.into_iter().map(|(bot, cause, verdict, count)| wire::ReplayGroup {
            bot: bot.resource_name(),
            cause: cause.as_str().to_owned(),
            refusal: verdict.err().map_or("", |refusal| refusal.as_str()).to_owned(),
            count,
        });
        let replayed = replayed.into_iter().map(|(message, replay)| wire::ReplayedMessage {
            message: message.resource_name(),
            replay: replay.resource_name(),
        });
        Ok(Response::new(ReplayFailuresResponse {
            groups: groups.collect(),
            replayed: replayed.collect(),
            next_page_token: next
                .map_or_else(String::new, |next| page.token(&format!("{} {}", next.raw(), until.as_millisecond()))),
        }))
    }
}

/// Where a page of a replay begins, and up to which time of acceptance the replay reaches.
fn place(text: &str) -> Option<(MessageId, Timestamp)> {
    let (after, until) = text.split_once(' ')?;
    Some((MessageId::from_raw(after.parse().ok()?)?, Timestamp::from_millisecond(until.parse().ok()?).ok()?))
}

fn filter(filter: Option<wire::FailureFilter>) -> AppResult<FailedFilter> {
    let wire::FailureFilter { causes, bot, node, accepted_from, accepted_until } = filter.unwrap_or_default();
    let mut found = Vec::new();
    let causes = causes.iter().filter_map(|text| keep(&mut found, "filter.causes", convert::cause(text))).collect();
    let bot = named(&bot, BotId::from_resource_name);
    let bot = keep(&mut found, "filter.bot", bot).flatten();
    let node = named(&node, NodeId::from_resource_name);
    let node = keep(&mut found, "filter.node", node).flatten();
    let accepted_from =
        keep(&mut found, "filter.accepted_from", accepted_from.map(time::timestamp).transpose()).flatten();
    let accepted_until =
        keep(&mut found, "filter.accepted_until", accepted_until.map(time::timestamp).transpose()).flatten();
    if found.is_empty() {
        Ok(FailedFilter { causes, bot, node, accepted_from, accepted_until })
    } else {
        Err(found.into())
    }
}

fn named<T>(text: &str, read: impl FnOnce(&str) -> Result<T, Violation>) -> Result<Option<T>, Violation> {
    if text.is_empty() { Ok(None) } else { read(text).map(Some) }
}

fn group(group: FailedGroup) -> wire::FailureGroup {
    let FailedGroup { key, count, replayed, oldest, newest } = group;
    let advice = match &key {
        FailedKey::Cause(cause) => cause.advice(),
        FailedKey::Bot(_) | FailedKey::Node(_) | FailedKey::Day(_) => "",
    };
    wire::FailureGroup {
        key: match key {
            FailedKey::Cause(cause) => cause.as_str().to_owned(),
            FailedKey::Bot(bot) => bot.resource_name(),
            FailedKey::Node(node) => node.map(|node| node.resource_name()).unwrap_or_default(),
            FailedKey::Day(day) => day.strftime("%Y-%m-%d").to_string(),
        },
        count,
        replayed,
        example: newest.resource_name(),
        first_accept_time: Some(time::write_timestamp(oldest.accept_time())),
        last_accept_time: Some(time::write_timestamp(newest.accept_time())),
        advice: advice.to_owned(),
    }
}
