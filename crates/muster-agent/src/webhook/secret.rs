//! The secret that gateways prove their webhooks with: random, made once, kept beside the journal for its owner only.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use crate::disk::Disk;
use crate::error::AgentError;

/// Bytes of randomness in the secret.
const RANDOM_BYTES: usize = 32;

/// Reads the secret in `dir`, or makes one.
pub(super) fn read_or_create(disk: &dyn Disk, dir: &Path) -> Result<String, AgentError> {
    let path = dir.join("webhook.secret");
    let failed = |action| {
        let path = path.clone();
        move |source| AgentError::File { action, path, source }
    };
    match disk.read(&path).map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()) {
        Ok(secret) if secret.len() >= RANDOM_BYTES => return Ok(secret),
        // A file that the process died over.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read")(error)),
    }
    let random: [u8; RANDOM_BYTES] = rand::random();
    let mut secret = String::with_capacity(2 * RANDOM_BYTES);
    for byte in random {
        // Writing to a string cannot fail.
        let _ = write!(secret, "{byte:02x}");
    }
    let mut file = disk.create(&path).map_err(failed("create"))?;
    file.append(secret.as_bytes()).and_then(|()| file.sync()).map_err(failed("write"))?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::disk::SystemDisk;

    #[test]
    fn the_secret_is_made_once_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let secret = read_or_create(&SystemDisk, dir.path()).unwrap();
        assert_eq!(secret.len(), 2 * RANDOM_BYTES);
        assert_eq!(read_or_create(&SystemDisk, dir.path()).unwrap(), secret);
        let path = dir.path().join("webhook.secret");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "short").unwrap();
        assert_ne!(read_or_create(&SystemDisk, dir.path()).unwrap(), secret);
    }
}
