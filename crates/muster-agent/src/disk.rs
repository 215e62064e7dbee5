//! The files of an agent, as far as it uses them: whole files that are read once, and files that only grow.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A disk. Names are durable once their directory is synced, content once its file is.
pub trait Disk: Send + Sync + 'static {
    /// Makes a directory, with those above it, for its owner only: attempts carry addresses and texts. Fine if it exists.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Keeps other processes out for as long as the answer lives; [`io::ErrorKind::WouldBlock`] if one is in.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>>;

    /// Tells directories apart: a copied or restored one is another, whatever it is called.
    fn place(&self, dir: &Path) -> io::Result<[u8; 16]>;

    /// What is in a directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// The content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Creates a file for its owner only, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Cuts a file off, durably.
    fn cut(&self, path: &Path, end: u64) -> io::Result<()>;

    /// Gives a file another name, in place of whatever has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that are free for files in a directory.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// A file that is being written.
pub trait DiskFile: Send {
    /// Appends. After an error, part of the bytes may stand in the file.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Removes what stands behind `end`, and appends there from then on.
    fn take_back(&mut self, end: u64) -> io::Result<()>;

    /// Makes the content durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// The file system of this process.
pub(crate) struct SystemDisk;

impl Disk for SystemDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        match dir.canonicalize().ok().as_deref().and_then(Path::parent) {
            Some(parent) => self.sync_dir(parent),
            None => Ok(()),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Device and inode.
    fn place(&self, dir: &Path) -> io::Result<[u8; 16]> {
        let stat = rustix::fs::stat(dir)?;
        let mut place = [0; 16];
        place[..8].copy_from_slice(&stat.st_dev.to_le_bytes());
        place[8..].copy_from_slice(&stat.st_ino.to_le_bytes());
        Ok(place)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Box::new(SystemFile(file)))
    }

    fn cut(&self, path: &Path, end: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(end)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

struct SystemFile(File);

impl DiskFile for SystemFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn take_back(&mut self, end: u64) -> io::Result<()> {
        self.0.set_len(end)?;
        self.0.seek(SeekFrom::Start(end)).map(drop)
    }

    /// Content and length; nothing else of the file matters.
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}
