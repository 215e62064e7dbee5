//! Generates the Rust types of the protos. The result is committed, so that a clone builds without a proto compiler and a
//! change of the API shows in review.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use prost::Message;

use crate::workspace::Workspace;

const COMMITTED: &str = "crates/muster-proto/src/gen";

/// Writes the generated files that are committed.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    generate(workspace.root(), &workspace.root().join(COMMITTED))
}

/// Fails unless the committed files are what the protos give.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let fresh = workspace.target().join("codegen-check");
    generate(workspace.root(), &fresh)?;
    for entry in fs::read_dir(&fresh)? {
        let name = entry?.file_name();
        let committed = fs::read(workspace.root().join(COMMITTED).join(&name)).unwrap_or_default();
        ensure!(
            committed == fs::read(fresh.join(&name))?,
            "{} is not what the protos give: run `cargo xtask codegen`",
            name.to_string_lossy()
        );
    }
    Ok(())
}

fn generate(root: &Path, out: &Path) -> Result<()> {
    let include = root.join("proto");
    let files: Vec<PathBuf> = ["muster/v1", "muster/agent/v1"]
        .iter()
        .map(|dir| protos(&include.join(dir)))
        .collect::<Result<Vec<_>>>()?
        .concat();
    let mut compiler = protox::Compiler::new([&include])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(&files).context("compile the protos")?;
    fs::create_dir_all(out)?;
    // Comments are left out of the descriptor that reflection serves: it only grows the binary.
    let mut descriptors = compiler.file_descriptor_set();
    tonic_prost_build::configure()
        .out_dir(out)
        .bytes(".muster.agent.v1.FetchMediaResponse")
        .bytes(".muster.v1.UploadMediaRequest")
        .compile_fds(descriptors.clone())?;
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    Ok(())
}

fn protos(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    found.retain(|path| path.extension().is_some_and(|ext| ext == "proto"));
    found.sort();
    Ok(found)
}
