//! Where the repository is, and which files it has.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::program::{Program, cargo_metadata};

/// The checkout that this program was built from.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("find the repository")?.to_owned();
        let metadata = cargo_metadata(&root)?;
        let target = metadata["target_directory"].as_str().context("`cargo metadata` names no target directory")?;
        Ok(Self { target: target.into(), root })
    }

    /// The repository's top folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo builds; everything in it may be deleted at any time.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Paths of all files that are, or will be, in the repository, relative to its root.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let listing = Program::new("git", &self.root)
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .output()?;
        let mut files: Vec<String> =
            listing.split('\0').filter(|path| self.root.join(path).is_file()).map(str::to_owned).collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// The text of a file of the repository; `None` if it is not text.
    pub(crate) fn text(&self, path: &str) -> Result<Option<String>> {
        let bytes = std::fs::read(self.root.join(path)).with_context(|| format!("read {path}"))?;
        Ok(String::from_utf8(bytes).ok())
    }
}
