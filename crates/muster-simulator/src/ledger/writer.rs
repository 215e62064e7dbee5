//! The one writer of the ledger, and the readers beside it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::entry::{LedgerEntry, LedgerLine};
use super::file::{self, Index, LedgerOpenError};
use super::summary::Summary;

/// Most bytes that one write carries, so that a burst does not hold back its first caller.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// The line could not be written.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the ledger cannot be written, so the simulator takes nothing more; see its log, free the disk or restart it")]
pub(crate) struct LedgerUnavailable;

/// Where a line stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) seq: u64,
    /// Position in the file, for [`Ledger::line_at`].
    pub(crate) start: u64,
}

enum Command {
    Append { entry: LedgerEntry, written: Option<oneshot::Sender<Result<Written, LedgerUnavailable>>> },
    Close,
}

/// The open ledger.
pub(crate) struct Ledger {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    path: PathBuf,
    index: Mutex<Index>,
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Opens or creates the file and shows every line it holds to `visit`, with its position.
    pub(crate) fn open(path: &Path, visit: impl FnMut(LedgerLine, u64)) -> Result<Self, LedgerOpenError> {
        let (file, index) = file::open(path, visit)?;
        let shared = Arc::new(Shared { path: path.to_owned(), index: Mutex::new(index) });
        let (commands, queue) = mpsc::channel();
        let writer = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn({
                let shared = shared.clone();
                move || write_all(file, &queue, &shared)
            })
            .map_err(|source| LedgerOpenError::Io { path: path.to_owned(), source })?;
        Ok(Ledger { commands, shared, writer: Mutex::new(Some(writer)) })
    }

    /// Appends an entry and returns once it is written.
    pub(crate) async fn record(&self, entry: LedgerEntry) -> Result<Written, LedgerUnavailable> {
        let (written, answer) = oneshot::channel();
        let command = Command::Append { entry, written: Some(written) };
        self.commands.send(command).map_err(|_| LedgerUnavailable)?;
        answer.await.map_err(|_| LedgerUnavailable)?
    }

    /// Appends an entry that nobody waits for. It stands after everything that was recorded before.
    pub(crate) fn note(&self, entry: LedgerEntry) {
        // After `close` there is no writer any more, and nobody is left who could ask.
        let _ = self.commands.send(Command::Append { entry, written: None });
    }

    /// Up to `limit` lines after line `after`, as they stand in the file. Blocks.
    pub(crate) fn page(&self, after: u64, limit: usize) -> io::Result<Vec<u8>> {
        let span = self.shared.index().span_after(after);
        span.map_or(Ok(Vec::new()), |span| file::read_span(&self.shared.path, span, limit))
    }

    /// The line that begins at `start`. Blocks.
    pub(crate) fn line_at(&self, start: u64) -> io::Result<LedgerLine> {
        file::read_line(&self.shared.path, start)
    }

    pub(crate) fn summary(&self) -> Summary {
        self.shared.index().summary.clone()
    }

    /// Position of the last line.
    pub(crate) fn last_seq(&self) -> u64 {
        self.shared.index().summary.last_seq
    }

    /// Writes what is queued and ends the writer. Blocks.
    pub(crate) fn close(&self) {
        let _ = self.commands.send(Command::Close);
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the ledger's writer ended by a panic");
        }
    }
}

/// Writes batch after batch: the next one forms while the last one is written.
fn write_all(mut file: File, queue: &mpsc::Receiver<Command>, shared: &Shared) {
    let mut open = true;
    while open {
        let Ok(first) = queue.recv() else { return };
        let (mut seq, start) = {
            let index = shared.index();
            (index.summary.last_seq, index.end)
        };
        let mut bytes = Vec::new();
        let mut lines = Vec::new();
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Close => {
                    open = false;
                    break;
                }
                Command::Append { entry, written } => {
                    let line = LedgerLine { seq: seq + 1, entry };
                    if let Some(size) = encode(&line, &mut bytes) {
                        seq += 1;
                        lines.push((line, size, written));
                    }
                }
            }
            next = if bytes.len() < BATCH_BYTES_MAX { queue.try_recv().ok() } else { None };
        }
        let result = file.write_all(&bytes);
        if let Err(error) = &result {
            tracing::error!(%error, "the ledger cannot be written");
            // A part of the batch may stand in the file; its callers are told that nothing was taken.
            if let Err(error) = file.set_len(start) {
                tracing::error!(%error, "the ledger cannot be cut back to its last whole line");
            }
        }
        let mut position = start;
        let mut index = shared.index();
        let mut answers = Vec::with_capacity(lines.len());
        for (line, size, written) in lines {
            if result.is_ok() {
                index.push(&line, size as u64);
            }
            let answer =
                if result.is_ok() { Ok(Written { seq: line.seq, start: position }) } else { Err(LedgerUnavailable) };
            position += size as u64;
            answers.extend(written.map(|written| (written, answer)));
        }
        drop(index);
        for (written, answer) in answers {
            // A caller that has gone away does not change what stands in the ledger.
            let _ = written.send(answer);
        }
    }
}

/// Appends the line to `bytes` and returns its size. `None` (and no byte) if it has no JSON form, which no entry lacks: their
/// keys are strings and no value refuses.
fn encode(line: &LedgerLine, bytes: &mut Vec<u8>) -> Option<usize> {
    let before = bytes.len();
    if let Err(error) = serde_json::to_writer(&mut *bytes, line) {
        tracing::error!(%error, "an entry of the ledger has no JSON form");
        bytes.truncate(before);
        return None;
    }
    bytes.push(b'\n');
    Some(bytes.len() - before)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::entry::LedgerEvent;
    use super::*;

    fn inbound(text: &str) -> LedgerEntry {
        LedgerEntry {
            at: Timestamp::UNIX_EPOCH,
            gateway: "g".into(),
            instance: "i".into(),
            event: LedgerEvent::Inbound { network_id: "n".into(), from: "f".into(), text: text.into() },
        }
    }

    fn lines(page: &[u8]) -> Vec<LedgerLine> {
        page.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect()
    }

    #[tokio::test]
    async fn pages_cover_every_line_once() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("l"), |_, _| panic!("new")).unwrap();
        for n in 0..600 {
            ledger.note(inbound(&n.to_string()));
        }
        let last = ledger.record(inbound("last\nline")).await.unwrap();
        assert_eq!(last.seq, 601);
        assert_eq!(ledger.line_at(last.start).unwrap().seq, 601);
        let mut seen = Vec::new();
        loop {
            let page = lines(&ledger.page(seen.len() as u64, 250).unwrap());
            if page.is_empty() {
                break;
            }
            seen.extend(page);
        }
        assert!(seen.iter().map(|line| line.seq).eq(1..=601));
        assert!(ledger.page(601, 10).unwrap().is_empty());
        assert!(ledger.page(u64::MAX, 10).unwrap().is_empty());
        assert_eq!(ledger.summary().gateways["g"]["i"].inbound, 601);
        ledger.close();
    }

    #[tokio::test]
    async fn a_cut_line_is_removed_and_a_foreign_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let ledger = Ledger::open(&path, |_, _| {}).unwrap();
        assert!(matches!(Ledger::open(&path, |_, _| {}), Err(LedgerOpenError::InUse(_))));
        ledger.record(inbound("whole")).await.unwrap();
        ledger.close();
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"seq\":2,\"at").unwrap();

        let mut seen = Vec::new();
        let ledger = Ledger::open(&path, |line, start| seen.push((line.seq, start))).unwrap();
        assert_eq!(seen, [(1, 0)]);
        assert_eq!(ledger.record(inbound("next")).await.unwrap().seq, 2);
        ledger.close();

        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"seq\":9}\n").unwrap();
        assert!(matches!(Ledger::open(&path, |_, _| {}), Err(LedgerOpenError::Malformed { line: 3, .. })));
    }
}
