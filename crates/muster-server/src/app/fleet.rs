//! The fleet as a whole: from what is declared to what has to change.

use muster_domain::TenantId;
use muster_domain::Violation;
use muster_domain::bot::Stage;
use muster_domain::fleet::{Change, Difference, Fleet};
use muster_proto::convert::v1::fleet::Draft;
use muster_store::{Expect, FleetWrite, Note, StoreError};

use super::App;
use super::bots::check_address;
use super::error::Result;

/// How often the difference is made out, when somebody else changes the fleet meanwhile.
const TRIES: u32 = 2;

/// What an apply came to.
#[derive(Debug)]
pub(crate) struct Applied {
    /// What changed, or would change.
    pub(crate) differences: Vec<Difference>,
    /// Declared resources that are as declared already.
    pub(crate) unchanged: usize,
}

/// Makes the fleet what is declared. With `validate_only`, tells what would change.
pub(crate) async fn apply(
    app: &App,
    tenant: &TenantId,
    draft: Draft,
    prune: bool,
    validate_only: bool,
) -> Result<Applied> {
    let mut tries = 1;
    loop {
        let present = app.store.fleet(tenant).await?;
        let declared = resolve(draft.clone(), &present, prune)?;
        let changes = declared.changes_from(&present, prune);
        check_fixed(&changes, &present)?;
        let differences: Vec<_> = changes.iter().map(|change| change.difference(&present)).collect();
        let touched = changes.iter().filter(|change| is_put(change)).count();
        let count = declared.nodes.len() + declared.gateways.len() + declared.bots.len();
        let applied = Applied { differences, unchanged: count.saturating_sub(touched) };
        if validate_only || changes.is_empty() {
            return Ok(applied);
        }
        let writes = changes.into_iter().map(|change| write(change, &present)).collect();
        match app.store.fleet_write(tenant, writes, None).await {
            Ok(()) => {
                app.sessions.all_desired_changed(tenant);
                // A window that was changed may be open.
                app.wake.now();
                return Ok(applied);
            }
            // Somebody was faster: what they did belongs into the difference.
            Err(StoreError::Stale(_) | StoreError::Exists(_) | StoreError::NotFound(_)) if tries < TRIES => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads the addresses of the declared bots, and checks the fleet as it would be.
fn resolve(draft: Draft, present: &Fleet, prune: bool) -> Result<Fleet> {
    let Draft { nodes, gateways, bots } = draft;
    let mut declared = Fleet {
        nodes: nodes.into_iter().map(|spec| (spec.id.clone(), spec)).collect(),
        gateways: gateways.into_iter().map(|spec| (spec.id.clone(), spec)).collect(),
        bots: Default::default(),
    };
    let mut violations = Vec::new();
    for bot in bots {
        let name = bot.id.resource_name();
        let kept = if prune { None } else { present.gateways.get(&bot.gateway) };
        let Some(gateway) = declared.gateways.get(&bot.gateway).or(kept) else {
            let text = format!("names {}, which is not declared", bot.gateway.resource_name());
            violations.push(Violation::new("gateway", text).below(&name));
            continue;
        };
        match bot.resolve(gateway.kind.network()) {
            Ok(spec) => {
                declared.bots.insert(spec.id.clone(), spec);
            }
            Err(violation) => violations.push(violation.below(&name)),
        }
    }
    violations.extend(as_it_would_be(&declared, present, prune).violations());
    if violations.is_empty() { Ok(declared) } else { Err(violations.into()) }
}

/// The fleet after the apply: what is declared, on top of what is left alone.
fn as_it_would_be(declared: &Fleet, present: &Fleet, prune: bool) -> Fleet {
    let mut fleet = if prune { Fleet::default() } else { present.clone() };
    fleet.nodes.extend(declared.nodes.clone());
    fleet.gateways.extend(declared.gateways.clone());
    fleet.bots.extend(declared.bots.clone());
    fleet
}

/// Refuses changes to what cannot be changed.
fn check_fixed(changes: &[Change], present: &Fleet) -> Result<()> {
    let mut violations = Vec::new();
    for change in changes {
        match change {
            Change::PutGateway(spec) => {
                if let Some(before) = present.gateways.get(&spec.id)
                    && before.kind != spec.kind
                {
                    let text = format!("cannot be changed; it is {}", before.kind.as_str());
                    violations.push(Violation::new("kind", text).below(&spec.id.resource_name()));
                }
            }
            Change::PutBot(spec) => {
                if let Some(before) = present.bots.get(&spec.id) {
                    check_address(before, spec)?;
                }
            }
            Change::PutNode(_) | Change::RetireBot(_) | Change::DeleteGateway(_) | Change::DeleteNode(_) => {}
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(violations.into()) }
}

fn is_put(change: &Change) -> bool {
    match change {
        Change::PutNode(_) | Change::PutGateway(_) | Change::PutBot(_) => true,
        Change::RetireBot(_) | Change::DeleteGateway(_) | Change::DeleteNode(_) => false,
    }
}

fn write(change: Change, present: &Fleet) -> FleetWrite {
    let expect = |there: bool| if there { Expect::Present } else { Expect::Absent };
    match change {
        Change::PutNode(spec) => {
            let there = present.nodes.contains_key(&spec.id);
            FleetWrite::PutNode(spec, expect(there))
        }
        Change::PutGateway(spec) => {
            let there = present.gateways.contains_key(&spec.id);
            FleetWrite::PutGateway(spec, expect(there))
        }
        Change::PutBot(spec) => {
            let there = present.bots.contains_key(&spec.id);
            FleetWrite::PutBot(spec, expect(there))
        }
        Change::RetireBot(id) => {
            let facts = "no longer declared".to_owned();
            let note = Note { rule: "APPLY".to_owned(), author: String::new(), facts };
            FleetWrite::SetStage(id, Stage::Retired, note)
        }
        Change::DeleteGateway(id) => FleetWrite::DeleteGateway(id, Expect::Present),
        Change::DeleteNode(id) => FleetWrite::DeleteNode(id, Expect::Present),
    }
}
