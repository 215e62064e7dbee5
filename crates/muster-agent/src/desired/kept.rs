//! The file that keeps the last applied state: a checksum and the wire's own form.

use std::io;
use std::path::Path;

use muster_proto::agent_v1::DesiredState;
use prost::Message;

use crate::disk::Disk;

/// Reads the state that was kept. A file that is missing or damaged is no state: the server tells it again.
pub(super) fn read(disk: &dyn Disk, path: &Path) -> Option<DesiredState> {
    let bytes = match disk.read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the kept desired state cannot be read");
            return None;
        }
    };
    let state = bytes.split_first_chunk::<4>().and_then(|(checksum, state)| {
        (crc32fast::hash(state) == u32::from_le_bytes(*checksum)).then(|| DesiredState::decode(state).ok()).flatten()
    });
    if state.is_none() {
        tracing::warn!(path = %path.display(), "the kept desired state is damaged and is left aside");
    }
    state
}

/// Keeps a state, durably, in place of the one before.
pub(super) fn write(disk: &dyn Disk, path: &Path, state: &DesiredState) -> io::Result<()> {
    let state = state.encode_to_vec();
    let draft = path.with_extension("draft");
    let mut file = disk.create(&draft)?;
    file.append(&crc32fast::hash(&state).to_le_bytes())?;
    file.append(&state)?;
    file.sync()?;
    disk.rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::SystemDisk;

    #[test]
    fn a_state_comes_back_and_a_damaged_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("desired.state");
        assert_eq!(read(&SystemDisk, &path), None);
        let state = DesiredState { version: 7, removed_bots: vec!["a".into()], ..DesiredState::default() };
        write(&SystemDisk, &path, &state).unwrap();
        assert_eq!(read(&SystemDisk, &path), Some(state));
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(read(&SystemDisk, &path), None);
        fs::write(&path, b"x").unwrap();
        assert_eq!(read(&SystemDisk, &path), None);
    }
}
