//! Chores of the repository. `cargo xtask help` lists them.

mod codegen;

use std::path::Path;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("find the repository")?;
    match std::env::args().nth(1).as_deref() {
        Some("codegen") => codegen::write(root),
        Some("codegen-check") => codegen::check(root),
        _ => bail!("usage: cargo xtask codegen|codegen-check"),
    }
}
