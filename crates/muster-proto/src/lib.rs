//! The wire: generated types of the two APIs, and the conversions between them and the domain.
//!
//! Wire types end here. A conversion from the wire checks everything that the domain asks for and answers with
//! [`muster_domain::Violation`]s; nothing behind it has to doubt a value again.

pub mod codec;
pub mod convert;

/// The operators' API.
pub mod v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::allow_attributes,
        reason = "generated from the protos, which carry the comments"
    )]
    include!("gen/muster.v1.rs");
}

/// The agents' stream.
pub mod agent_v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::allow_attributes,
        reason = "generated from the protos, which carry the comments"
    )]
    include!("gen/muster.agent.v1.rs");
}

/// The descriptors of all protos, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptors.bin");

/// The metadata in which callers and agents name their tenant; without it they act for `default`.
pub const TENANT_METADATA: &str = "muster-tenant";
