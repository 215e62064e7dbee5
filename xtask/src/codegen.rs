//! Generates the Rust types of the protos. The result is committed, so that a clone builds without a proto compiler and a
//! change of the API shows in review.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use prost::Message;

use crate::workspace::Workspace;

/// Protos that are generated together.
struct Set {
    /// What imports are relative to.
    include: &'static str,
    /// Folders below it.
    packages: &'static [&'static str],
    /// Where the result is committed.
    out: &'static str,
    /// Messages whose `bytes` fields are shared, not copied.
    shared_bytes: &'static [&'static str],
    /// The codec of the services.
    codec: &'static str,
    /// Whether the descriptors are wanted too, for reflection.
    descriptors: bool,
}

const SETS: &[Set] = &[
    Set {
        include: "proto",
        packages: &["muster/v1", "muster/agent/v1"],
        out: "crates/muster-proto/src/gen",
        shared_bytes: &[".muster.agent.v1.FetchMediaResponse", ".muster.v1.UploadMediaRequest"],
        codec: "crate::codec::FrameCodec",
        descriptors: true,
    },
    Set {
        include: "crates/muster-trials/proto",
        packages: &["muster/trials/v1"],
        out: "crates/muster-trials/src/gen",
        shared_bytes: &[],
        codec: "tonic_prost::ProstCodec",
        descriptors: false,
    },
];

/// Writes the generated files that are committed.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    SETS.iter().try_for_each(|set| generate(workspace.root(), set, &workspace.root().join(set.out)))
}

/// Fails unless the committed files are what the protos give.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let fresh_root = workspace.target().join("codegen-check");
    for set in SETS {
        let fresh = fresh_root.join(set.out);
        generate(workspace.root(), set, &fresh)?;
        for entry in fs::read_dir(&fresh)? {
            let name = entry?.file_name();
            let committed = fs::read(workspace.root().join(set.out).join(&name)).unwrap_or_default();
            ensure!(
                committed == fs::read(fresh.join(&name))?,
                "{}/{} is not what the protos give: run `cargo xtask codegen`",
                set.out,
                name.to_string_lossy()
            );
        }
    }
    Ok(())
}

fn generate(root: &Path, set: &Set, out: &Path) -> Result<()> {
    let include = root.join(set.include);
    let files: Vec<PathBuf> =
        set.packages.iter().map(|package| protos(&include.join(package))).collect::<Result<Vec<_>>>()?.concat();
    let mut compiler = protox::Compiler::new([&include])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(&files).context("compile the protos")?;
    fs::create_dir_all(out)?;
    let mut descriptors = compiler.file_descriptor_set();
    let mut builder = tonic_prost_build::configure().out_dir(out).codec_path(set.codec);
    for message in set.shared_bytes {
        builder = builder.bytes(message);
    }
    builder.compile_fds(descriptors.clone())?;
    if set.descriptors {
        // Without the comments: they would only make the binary grow.
        for file in &mut descriptors.file {
            file.source_code_info = None;
        }
        fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    }
    Ok(())
}

fn protos(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    found.retain(|path| path.extension().is_some_and(|ext| ext == "proto"));
    found.sort();
    Ok(found)
}
