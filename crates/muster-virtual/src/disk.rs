//! The disk of an agent's host, in memory: it knows what was synced, and forgets the rest in a crash.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_agent::{Disk, DiskFile};

use crate::chance::Chance;

/// Bytes that a disk has free while it is not full.
const FREE_BYTES: u64 = 1 << 40;

/// A disk. Clones are the same one.
#[derive(Clone)]
pub(crate) struct MemoryDisk {
    content: Arc<Mutex<Content>>,
}

#[derive(Default)]
struct Content {
    /// Tells a copy from its original.
    place: u8,
    files: BTreeMap<PathBuf, Arc<Mutex<File>>>,
    /// The names that are there after a crash.
    durable: BTreeMap<PathBuf, Arc<Mutex<File>>>,
    is_locked: bool,
    is_full: bool,
    /// Says that it synced, and does not.
    lies: bool,
    /// The next sync does nothing: the host crashes in it.
    skips_sync: bool,
    /// Something was lost that was said to be durable.
    has_lost: bool,
    /// The host has crashed: nothing is written any more.
    is_down: bool,
}

#[derive(Default, Clone)]
struct File {
    bytes: Vec<u8>,
    /// How much of it is there after a crash.
    durable: Vec<u8>,
    /// A sync was acknowledged beyond what is durable.
    lied: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryDisk {
    /// An empty disk.
    pub(crate) fn new(place: u8) -> Self {
        MemoryDisk { content: Arc::new(Mutex::new(Content { place, ..Content::default() })) }
    }

    /// A disk with the same files at another place.
    pub(crate) fn copy(&self, place: u8) -> Self {
        let content = self.content();
        let copied = |(path, file): (&PathBuf, &Arc<Mutex<File>>)| {
            let bytes = locked(file).bytes.clone();
            (path.clone(), Arc::new(Mutex::new(File { durable: bytes.clone(), bytes, lied: false })))
        };
        let files: BTreeMap<_, _> = content.files.iter().map(copied).collect();
        let durable = files.clone();
        MemoryDisk { content: Arc::new(Mutex::new(Content { place, files, durable, ..Content::default() })) }
    }

    /// The host crashes: from here on nothing is written.
    pub(crate) fn go_down(&self) {
        self.content().is_down = true;
    }

    /// The host comes up again, with what was durable, and perhaps with the first part of what was being written.
    pub(crate) fn come_up(&self, chance: &Chance) {
        let mut content = self.content();
        content.is_down = false;
        content.is_locked = false;
        content.lies = false;
        content.skips_sync = false;
        content.files = content.durable.clone();
        let files: Vec<_> = content.files.values().cloned().collect();
        for file in files {
            let mut file = locked(&file);
            let durable = file.durable.len();
            let grew = file.bytes.len() > durable && file.bytes.starts_with(&file.durable);
            if file.lied {
                content.has_lost = true;
                file.lied = false;
                file.bytes.truncate(durable);
            } else if grew && chance.one_in(2) {
                let kept = chance.between(durable as u64, file.bytes.len() as u64);
                file.bytes.truncate(usize::try_from(kept).unwrap_or(durable));
            } else {
                file.bytes = file.durable.clone();
            }
            file.durable = file.bytes.clone();
        }
    }

    /// Empties the disk: somebody moved the journal away.
    pub(crate) fn clear(&self) {
        let mut content = self.content();
        content.files.clear();
        content.durable.clear();
    }

    /// Takes no more bytes, or takes them again.
    pub(crate) fn set_full(&self, is_full: bool) {
        self.content().is_full = is_full;
    }

    /// Begins to lie about syncs, until the next crash.
    pub(crate) fn lie(&self) {
        self.content().lies = true;
    }

    /// Lets the next sync do nothing. The host must crash before anybody relies on it.
    pub(crate) fn skip_sync(&self) {
        self.content().skips_sync = true;
    }

    /// Stops lying.
    pub(crate) fn be_honest(&self) {
        self.content().lies = false;
    }

    /// Whether something was lost that was said to be durable.
    pub(crate) fn has_lost(&self) -> bool {
        self.content().has_lost
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        locked(&self.content)
    }

    fn up(&self) -> io::Result<MutexGuard<'_, Content>> {
        let content = self.content();
        if content.is_down { Err(io::Error::other("the host has crashed")) } else { Ok(content) }
    }
}

struct Lock(MemoryDisk);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.content().is_locked = false;
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        self.up().map(drop)
    }

    fn lock(&self, _path: &Path) -> io::Result<Box<dyn Send>> {
        let mut content = self.up()?;
        if std::mem::replace(&mut content.is_locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock(self.clone())))
    }

    fn place(&self, _dir: &Path) -> io::Result<[u8; 16]> {
        Ok([self.up()?.place; 16])
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.up()?.files.keys().filter(|path| path.parent() == Some(dir)).cloned().collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let content = self.up()?;
        let file = content.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(locked(file).bytes.clone())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut content = self.up()?;
        if content.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = Arc::<Mutex<File>>::default();
        content.files.insert(path.to_owned(), Arc::clone(&file));
        Ok(Box::new(Handle { disk: self.clone(), file }))
    }

    fn cut(&self, path: &Path, end: u64) -> io::Result<()> {
        let content = self.up()?;
        let file = content.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        let mut file = locked(file);
        file.bytes.truncate(usize::try_from(end).unwrap_or(usize::MAX));
        file.durable = file.bytes.clone();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut content = self.up()?;
        let file = content.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        content.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.up()?.files.remove(path).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut content = self.up()?;
        content.durable = content.files.clone();
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(if self.up()?.is_full { 0 } else { FREE_BYTES })
    }
}

struct Handle {
    disk: MemoryDisk,
    file: Arc<Mutex<File>>,
}

impl DiskFile for Handle {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let content = self.disk.up()?;
        let mut file = locked(&self.file);
        if content.is_full {
            // Some of it may still have found room.
            file.bytes.extend_from_slice(&bytes[..bytes.len() / 2]);
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn take_back(&mut self, end: u64) -> io::Result<()> {
        let _content = self.disk.up()?;
        locked(&self.file).bytes.truncate(usize::try_from(end).unwrap_or(usize::MAX));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut content = self.disk.up()?;
        let mut file = locked(&self.file);
        if std::mem::take(&mut content.skips_sync) {
            return Ok(());
        }
        if content.lies {
            file.lied = true;
        } else {
            file.durable = file.bytes.clone();
            file.lied = false;
        }
        Ok(())
    }
}
