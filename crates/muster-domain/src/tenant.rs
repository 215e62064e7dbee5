//! An organisation, to which every row belongs.

use jiff::Timestamp;

use crate::limits::TENANT_WEIGHT_MAX;
use crate::on_uncertain::OnUncertain;
use crate::{TenantId, Violation};

/// What the operator declares about a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantSpec {
    /// Its id; callers and agents name it.
    pub id: TenantId,
    /// Its share where tenants contend, in relation to the others: 1 to [`TENANT_WEIGHT_MAX`].
    pub weight: u32,
    /// What is done about messages that nobody can tell the outcome of, for those that do not say so themselves.
    pub on_uncertain: OnUncertain,
}

impl TenantSpec {
    /// Checks what was declared.
    ///
    /// # Errors
    /// A weight out of range; the path is that of the field.
    pub fn check(&self) -> Result<(), Violation> {
        match self.weight {
            1..=TENANT_WEIGHT_MAX => Ok(()),
            weight => Err(Violation::new("weight", format!("must be 1 to {TENANT_WEIGHT_MAX}, is {weight}"))),
        }
    }
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// What was declared.
    pub spec: TenantSpec,
    /// When it was declared first.
    pub create_time: Timestamp,
    /// When it was changed last.
    pub update_time: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_has_two_ends() {
        let check = |weight| {
            let on_uncertain = OnUncertain::Hold;
            TenantSpec { id: TenantId::default_tenant(), weight, on_uncertain }.check().is_ok()
        };
        assert_eq!([0, 1, 100, 101].map(check), [false, true, true, false]);
    }
}
