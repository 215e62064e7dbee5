//! Lint of the protos, and the check that what was published still works.
//!
//! The baseline is an image of the protos as they were published last. It moves with a release, by
//! `cargo xtask proto baseline`; before that it moves only for a change that nobody can depend on yet.

use anyhow::Result;

use crate::program::Program;
use crate::tools;
use crate::workspace::Workspace;

const BASELINE: &str = "proto/baseline.binpb";

/// Fails if the protos break a rule of buf.yaml or something that the baseline promises.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    buf(workspace, &["lint"])?;
    buf(workspace, &["breaking", "--against", BASELINE])
}

/// Takes the present protos as the baseline.
pub(crate) fn move_baseline(workspace: &Workspace) -> Result<()> {
    buf(workspace, &["lint"])?;
    buf(workspace, &["build", "--exclude-source-info", "-o", BASELINE])
}

fn buf(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    Program::new(tools::buf(workspace)?, workspace.root()).args(arguments).run()
}
