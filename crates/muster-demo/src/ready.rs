//! How a role says that it is ready: a small file that appears in one piece.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What a role tells once it serves: it listens, and what it needs on its own machine is there. Whether an agent has a session
/// with the server is for the server to say, which may be away when the agent starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// `server`, `agent` or `sim`.
    pub role: String,
    /// The process.
    pub pid: u32,
    /// Where it listens, by what for: `api`, `webhooks`, `admin`, or `gateways/{name}`.
    pub addresses: BTreeMap<String, String>,
}

impl Ready {
    /// This process in its role.
    pub fn of_this_process(role: &str, addresses: impl IntoIterator<Item = (String, String)>) -> Self {
        Ready { role: role.to_owned(), pid: std::process::id(), addresses: addresses.into_iter().collect() }
    }

    /// Writes the file beside its place and moves it there, so that nobody reads half of it.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut file, self)?;
        file.write_all(b"\n")?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Reads the file; `None` while it is not there.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the role listens for something; empty if it does not.
    pub fn address(&self, what: &str) -> &str {
        self.addresses.get(what).map(String::as_str).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready.json");
        assert_eq!(Ready::read(&path).unwrap(), None);
        let ready = Ready::of_this_process("server", [("api".to_owned(), "http://127.0.0.1:1".to_owned())]);
        ready.write(&path).unwrap();
        assert_eq!(Ready::read(&path).unwrap(), Some(ready.clone()));
        assert_eq!((ready.address("api"), ready.address("admin")), ("http://127.0.0.1:1", ""));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
