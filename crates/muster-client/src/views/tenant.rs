//! Tenants.

use jiff::Timestamp;
use muster_proto::v1;
use serde::Serialize;

use super::message::on_uncertain;
use super::{ago, id, time, when};
use crate::screen::{Columns, Field, Look, Pairs};

/// A tenant as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of muster.v1.Tenant")]
pub struct TenantView {
    pub name: String,
    pub weight: u32,
    pub on_uncertain: String,
    pub create_time: Option<Timestamp>,
    pub update_time: Option<Timestamp>,
}

impl From<v1::Tenant> for TenantView {
    fn from(tenant: v1::Tenant) -> Self {
        TenantView {
            name: tenant.name,
            weight: tenant.weight,
            on_uncertain: on_uncertain(tenant.on_uncertain),
            create_time: time(tenant.create_time),
            update_time: time(tenant.update_time),
        }
    }
}

/// Tenants as a table.
pub fn table(tenants: &[TenantView], look: &Look) -> String {
    let mut columns = Columns::new(&["TENANT", "WEIGHT", "ON UNCERTAIN", "DECLARED"], look);
    for tenant in tenants {
        let weight = Field::right(tenant.weight.to_string());
        let policy = tenant.on_uncertain.as_str().into();
        columns.row([id(&tenant.name).into(), weight, policy, ago(tenant.create_time, look).into()]);
    }
    columns.render()
}

/// One tenant in full.
pub fn page(tenant: &TenantView, look: &Look) -> String {
    let mut pairs = Pairs::default();
    pairs
        .add("tenant", id(&tenant.name))
        .add("weight", tenant.weight.to_string())
        .add("on uncertain", &*tenant.on_uncertain)
        .add("declared", when(tenant.create_time, look))
        .add("changed", when(tenant.update_time, look));
    pairs.render()
}
