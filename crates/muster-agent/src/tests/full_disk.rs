//! A journal whose disk is full: the agent takes no new work and says so, ends what it has, and goes on when there is room.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use muster_proto::agent_v1 as wire;
use muster_proto::agent_v1::server_frame::Body as ServerBody;

use super::{Bench, attempt, until};
use crate::disk::{Disk, DiskFile, SystemDisk};
use crate::machine::Machine;

/// The machine's disk, which is full when the test says so. Clones are the same one.
#[derive(Clone, Default)]
struct Gauge(Arc<AtomicBool>);

impl Gauge {
    fn set_full(&self, is_full: bool) {
        self.0.store(is_full, Ordering::Relaxed);
    }

    fn room(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Disk for Gauge {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        SystemDisk.create_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        SystemDisk.lock(path)
    }

    fn place(&self, dir: &Path) -> io::Result<[u8; 16]> {
        SystemDisk.place(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        SystemDisk.list(dir)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        SystemDisk.read(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.room()?;
        Ok(Box::new(GaugedFile { gauge: self.clone(), file: SystemDisk.create(path)? }))
    }

    fn cut(&self, path: &Path, end: u64) -> io::Result<()> {
        SystemDisk.cut(path, end)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        SystemDisk.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        if self.room().is_err() { Ok(0) } else { SystemDisk.free_bytes(dir) }
    }
}

struct GaugedFile {
    gauge: Gauge,
    file: Box<dyn DiskFile>,
}

impl DiskFile for GaugedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.gauge.room()?;
        self.file.append(bytes)
    }

    fn take_back(&mut self, end: u64) -> io::Result<()> {
        self.file.take_back(end)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

#[tokio::test]
async fn no_work_is_taken_until_there_is_room_and_what_was_begun_ends_once() {
    let gauge = Gauge::default();
    let machine = Machine { disk: Arc::new(gauge.clone()), ..Machine::system() };
    let (mut bench, mut session) = Bench::on(machine, |config| config.journal_free_bytes_min = 1).await;
    session.dispatch(0, vec![attempt(1, "a", "hang"), attempt(2, "a", "ok")]).await;
    until("the call", || bench.agent.gateway.sent() == [1]).await;

    gauge.set_full(true);
    // What comes before the agent could say that it takes nothing is refused as a whole; the server knows by the next Hello.
    let dispatch = wire::Dispatch { attempts: vec![attempt(3, "b", "ok")], report_committed: 0 };
    session.send(ServerBody::Dispatch(dispatch)).await;
    session.goodbye().await;
    let mut session = bench.server.session().await;
    let hello = session.hello().await;
    let mut held: Vec<_> = hello.held.iter().map(|held| held.attempt.unwrap().message_id).collect();
    held.sort_unstable();
    assert_eq!((held, hello.credit.unwrap().attempts_total), (vec![1, 2], 0));
    session.welcome(0).await;
    // The gateway's answer cannot be made durable yet: nobody is told, and nothing else of the bot begins.
    bench.agent.gateway.release(1);
    until("the answer", || bench.agent.gateway.taken() == [1]).await;
    session.heartbeat(|heartbeat| heartbeat.journal_free_bytes == 0).await;
    assert_eq!(bench.agent.gateway.sent(), [1]);

    gauge.set_full(false);
    let granted = session.credit().await.attempts_total;
    assert!(granted > 0, "there is room again");
    session.dispatch(0, vec![attempt(3, "b", "ok")]).await;
    let mut ended: Vec<_> = session
        .outcomes(3)
        .await
        .iter()
        .map(|(_, report)| (report.attempt.unwrap().message_id, report.outcome()))
        .collect();
    ended.sort_by_key(|(message, _)| *message);
    assert_eq!(ended, [1, 2, 3].map(|message| (message, wire::Outcome::Sent)));
    let mut sent = bench.agent.gateway.sent();
    sent.sort_unstable();
    assert_eq!(sent, [1, 2, 3], "each once");
}
