//! Contacts: who opted out, and who opted in again.

use muster_domain::TenantId;
use muster_domain::contact::{Contact, ContactAddress, ContactId};
use muster_domain::opt_out::{OptInRefusal, OptSource};
use muster_proto::convert::v1::contact::Said;
use muster_store::{ContactFilter, OptIn, OptInResult, OptOut, OptedOut};

use super::App;
use super::error::{Error, Reason, Result};

/// The contact of an address.
pub(crate) async fn get(app: &App, tenant: &TenantId, address: &ContactAddress) -> Result<Contact> {
    app.store.contact_get(tenant, address).await?.ok_or_else(unknown)
}

fn unknown() -> Error {
    let text = "nothing is known of a contact with this address, beyond the messages that it got and sent";
    Error::new(Reason::ContactUnknown, text)
}

/// Contacts by id, after `after`.
pub(crate) async fn list(
    app: &App,
    tenant: &TenantId,
    filter: ContactFilter,
    after: Option<ContactId>,
    limit: u32,
) -> Result<Vec<Contact>> {
    Ok(app.store.contact_list(tenant, filter, after, limit).await?)
}

/// Notes that nothing may be sent to a contact any more, and has agents drop what they have not begun.
pub(crate) async fn opt_out(app: &App, tenant: &TenantId, said: Said) -> Result<OptedOut> {
    let Said { address, text, proof, author } = said;
    let said = OptOut { source: OptSource::Operator, text, proof, author };
    let done = app.store.contact_opt_out(tenant, &address, said).await?;
    app.sessions.cancel_all(tenant, &done.cancel);
    // What waited behind these in their chains may have become due.
    app.wake.now();
    Ok(done)
}

/// Notes that a contact may be written to again.
pub(crate) async fn opt_in(app: &App, tenant: &TenantId, said: Said) -> Result<Contact> {
    let Said { address, text, proof, author } = said;
    match app.store.contact_opt_in(tenant, &address, OptIn { text, proof, author }).await? {
        OptInResult::OptedIn(contact) => Ok(contact),
        OptInResult::Unknown => Err(unknown()),
        OptInResult::Refused(OptInRefusal::NotOptedOut) => {
            Err(Error::new(Reason::ContactNotOptedOut, "the contact is not opted out: it may be written to already"))
        }
        OptInResult::Refused(OptInRefusal::OwnWordNeeded) => {
            let text = "the person opted out themself, so only they can take it back: name a message that they sent to one of \
                your bots since then, and that is no opt-out, as the proof (inboundMessages/…; see `muster inbound ls --from ADDRESS`)";
            Err(Error::new(Reason::OwnWordNeeded, text))
        }
    }
}
