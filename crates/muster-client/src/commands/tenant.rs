//! `muster tenant`

use clap::{Args, Subcommand};
use muster_domain::TenantId;
use muster_domain::limits::{TENANT_WEIGHT_DEFAULT, TENANT_WEIGHT_MAX};
use muster_domain::on_uncertain::OnUncertain;
use muster_proto::convert::v1::message::write_on_uncertain;
use muster_proto::v1;

use super::CommonArgs;
use super::pages::{LimitArgs, Page};
use crate::error::{Done, Error};
use crate::send::draft::on_uncertain;
use crate::views::tenant::{TenantView, page, table};

const EXAMPLES: &str = "\
Examples:
  muster tenant put clinic --weight 4              four times the share of a tenant of weight 1, at full load
  muster tenant put clinic --on-uncertain drop     see `muster help uncertain`; what is left out is as if never set
  muster apply fleet.toml --tenant clinic          what follows belongs to it
  MUSTER_TENANT=clinic muster send ...
  muster tenant rm clinic                          once it has no node, gateway or bot

An agent names the tenant of its node in its configuration: tenant = \"clinic\"";

/// Organisations that share the server.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TenantArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(subcommand)]
    command: TenantCommand,
}

#[derive(Debug, Subcommand)]
enum TenantCommand {
    /// List tenants
    #[command(visible_alias = "list")]
    Ls(LimitArgs),
    /// Show one tenant
    #[command(visible_alias = "get")]
    Show {
        /// Its id
        id: TenantId,
    },
    /// Declare a tenant, or change it
    Put {
        /// Its id
        id: TenantId,
        /// Its share where tenants contend, in relation to the others
        #[arg(long, default_value_t = TENANT_WEIGHT_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(TENANT_WEIGHT_MAX)))]
        weight: u32,
        /// What is done about messages of which nobody can tell whether they were sent, where they do not say so themselves:
        /// hold, resend (they may arrive twice) or drop
        #[arg(long, value_name = "POLICY", default_value = "hold", value_parser = on_uncertain)]
        on_uncertain: OnUncertain,
    },
    /// Remove a tenant that has no node, no gateway, and no bot in service
    Rm {
        /// Its id
        id: TenantId,
    },
}

pub(super) async fn run(args: TenantArgs) -> Result<Done, Error> {
    let screen = args.common.screen();
    let server = args.common.connect().await?;
    match args.command {
        TenantCommand::Ls(limit) => {
            let ask = async |page_size, page_token| {
                let response = server.tenants().list_tenants(v1::ListTenantsRequest { page_size, page_token }).await?;
                Ok(response.map(|page| Page { rows: page.tenants, next_page_token: page.next_page_token }))
            };
            let tenants: Vec<TenantView> = limit.collect(&screen, ask).await?;
            screen.many(&tenants, table)?;
        }
        TenantCommand::Show { id } => {
            let request = v1::GetTenantRequest { name: id.resource_name() };
            let tenant = server.tenants().get_tenant(request).await?.into_inner().tenant.unwrap_or_default();
            screen.one(&TenantView::from(tenant), page)?;
        }
        TenantCommand::Put { id, weight, on_uncertain } => {
            let on_uncertain = write_on_uncertain(on_uncertain).into();
            let tenant = v1::Tenant { name: id.resource_name(), weight, on_uncertain, ..v1::Tenant::default() };
            let request = v1::PutTenantRequest { tenant: Some(tenant) };
            let tenant = server.tenants().put_tenant(request).await?.into_inner().tenant.unwrap_or_default();
            screen.one(&TenantView::from(tenant), page)?;
        }
        TenantCommand::Rm { id } => {
            let name = id.resource_name();
            let tenant = server.tenants().get_tenant(v1::GetTenantRequest { name: name.clone() }).await?;
            server.tenants().delete_tenant(v1::DeleteTenantRequest { name }).await?;
            screen.one(&TenantView::from(tenant.into_inner().tenant.unwrap_or_default()), page)?;
        }
    }
    Ok(Done::All)
}
