//! Trials of Muster as a whole: what it costs, and what it survives.
//!
//! Nothing here is part of the product. `bench` measures it against references of the same run; `chaos` kills its
//! processes under load and compares the ledgers; `soak` looks at memory and files while many messages pass. All drive the real programs over their public interfaces.

pub mod bench;
pub mod chaos;
mod load;
mod measure;
mod product;
mod rig;
pub mod soak;

/// The wire of the floor.
mod floor_v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::allow_attributes,
        reason = "generated from the proto, which carries the comments"
    )]
    include!("gen/muster.trials.v1.rs");
}
