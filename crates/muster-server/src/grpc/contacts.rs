//! `muster.v1.ContactService`.

use std::sync::Arc;

use muster_domain::contact::ContactId;
use muster_proto::convert::v1::{contact as convert, fingerprint};
use muster_proto::v1::contact_service_server::ContactService;
use muster_proto::v1::{
    GetContactRequest, GetContactResponse, ListContactsRequest, ListContactsResponse, OptInContactRequest,
    OptInContactResponse, OptOutContactRequest, OptOutContactResponse,
};
use muster_store::ContactFilter;
use tonic::{Request, Response, Status};

use super::caller;
use super::page::Page;
use crate::app::error::Error;
use crate::app::{App, contacts};

pub(super) struct Contacts(pub(super) Arc<App>);

#[tonic::async_trait]
impl ContactService for Contacts {
    async fn get_contact(&self, request: Request<GetContactRequest>) -> Result<Response<GetContactResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let address = convert::address(request.into_inner().address).map_err(Error::from)?;
        let contact = contacts::get(&self.0, &tenant, &address).await?;
        Ok(Response::new(GetContactResponse { contact: Some(convert::write(contact)) }))
    }

    async fn list_contacts(
        &self,
        request: Request<ListContactsRequest>,
    ) -> Result<Response<ListContactsResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let mut request = request.into_inner();
        let (page_size, page_token) = (std::mem::take(&mut request.page_size), std::mem::take(&mut request.page_token));
        let check = fingerprint::of("ListContacts", &request);
        let page = Page::read(page_size, &page_token, check, |id| ContactId::from_resource_name(id).ok());
        let page = page.map_err(Error::from)?;
        let filter = ContactFilter { opted_out: request.opted_out };
        let mut rows = contacts::list(&self.0, &tenant, filter, page.after, page.limit()).await?;
        let next_page_token = page.cut(&mut rows, |contact| contact.id.0.to_string());
        let contacts = rows.into_iter().map(convert::write).collect();
        Ok(Response::new(ListContactsResponse { contacts, next_page_token }))
    }

    async fn opt_out_contact(
        &self,
        request: Request<OptOutContactRequest>,
    ) -> Result<Response<OptOutContactResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let said = convert::opt_out(request.into_inner()).map_err(Error::from)?;
        let done = contacts::opt_out(&self.0, &tenant, said).await?;
        Ok(Response::new(OptOutContactResponse {
            contact: Some(convert::write(done.contact)),
            failed: i64::try_from(done.failed).unwrap_or(i64::MAX),
            under_way: i64::try_from(done.cancel.len()).unwrap_or(i64::MAX),
        }))
    }

    async fn opt_in_contact(
        &self,
        request: Request<OptInContactRequest>,
    ) -> Result<Response<OptInContactResponse>, Status> {
        let tenant = caller::tenant(&self.0, request.metadata()).await?;
        let said = convert::opt_in(request.into_inner()).map_err(Error::from)?;
        let contact = contacts::opt_in(&self.0, &tenant, said).await?;
        Ok(Response::new(OptInContactResponse { contact: Some(convert::write(contact)) }))
    }
}
