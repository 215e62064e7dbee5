//! The network between the hosts: lines of bytes that arrive later, much later, never, or break.
//!
//! Like TCP it keeps the order of the bytes of a line, and repeats nothing. Frames come twice or late across lines: when a
//! call or a session is repeated while what was sent on the old line is still on its way.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tonic::transport::server::Connected;

use crate::chance::Chance;
use crate::chronicle::Chronicle;
use crate::time::Time;

/// Bytes that may be on their way in one direction of a line before its writer waits.
const UNDER_WAY_MAX: usize = 256 * 1024;

/// The network. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Network {
    time: Time,
    chronicle: Chronicle,
    chance: Chance,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    listeners: BTreeMap<String, mpsc::UnboundedSender<io::Result<Stream>>>,
    lines: Vec<Line>,
    opened: u64,
    /// Until when nothing passes between a host and the others, and what becomes of it.
    cuts: BTreeMap<String, Cut>,
    /// Until when everything is slow.
    slow_until: Duration,
}

/// A host is cut off.
#[derive(Clone, Copy)]
struct Cut {
    until: Duration,
    /// What was on its way arrives afterwards, instead of never.
    holds: bool,
}

struct Line {
    number: u64,
    ends: [String; 2],
    /// From the first end to the second, and back.
    pipes: [Arc<Mutex<Pipe>>; 2],
    /// Nothing arrives any more, and nobody is told.
    is_dead: bool,
}

/// One direction of a line.
#[derive(Default)]
struct Pipe {
    under_way: VecDeque<(Duration, Bytes)>,
    under_way_bytes: usize,
    arrived: VecDeque<Bytes>,
    /// The writer has gone; the time at which the reader hears of it.
    ends: Option<Duration>,
    has_ended: bool,
    is_reset: bool,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn reset(&mut self) {
        self.is_reset = true;
        self.wake();
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    pub(crate) fn new(time: Time, chronicle: Chronicle, chance: Chance) -> Self {
        Network { time, chronicle, chance, state: Arc::default() }
    }

    /// Takes connections to a host from now on.
    pub(crate) fn listen(&self, host: &str) -> mpsc::UnboundedReceiver<io::Result<Stream>> {
        let (connections, incoming) = mpsc::unbounded_channel();
        locked(&self.state).listeners.insert(host.to_owned(), connections);
        incoming
    }

    /// Connects a host to another. Takes as long as a way there and back.
    pub(crate) async fn connect(&self, from: &str, to: &str) -> io::Result<Stream> {
        let trip = self.latency() * 2;
        tokio::time::sleep(trip).await;
        let now = self.time.now();
        let cut = {
            let state = locked(&self.state);
            [from, to]
                .iter()
                .filter_map(|host| state.cuts.get(*host))
                .map(|cut| cut.until)
                .filter(|end| *end > now)
                .max()
        };
        if cut.is_some() {
            // As long as a system tries before it gives up; callers have a shorter patience.
            tokio::time::sleep(Duration::from_secs(30)).await;
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut state = locked(&self.state);
        let Some(listener) = state.listeners.get(to).filter(|listener| !listener.is_closed()).cloned() else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let pipes = [Arc::<Mutex<Pipe>>::default(), Arc::<Mutex<Pipe>>::default()];
        state.opened += 1;
        let number = state.opened;
        let ends = [from.to_owned(), to.to_owned()];
        state.lines.push(Line { number, ends, pipes: pipes.clone(), is_dead: false });
        drop(state);
        self.chronicle.event(from, format_args!("connects to {to} (line {number})"));
        let [there, back] = pipes;
        let network = self.clone();
        let far = Stream { network: network.clone(), reads: Arc::clone(&there), writes: Arc::clone(&back) };
        listener.send(Ok(far)).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(Stream { network, reads: back, writes: there })
    }

    /// Lets everything arrive whose time has come.
    pub(crate) fn deliver(&self) {
        let now = self.time.now();
        let mut state = locked(&self.state);
        let state = &mut *state;
        state.cuts.retain(|_, cut| cut.until > now);
        for line in &mut state.lines {
            for cut in line.ends.iter().filter_map(|end| state.cuts.get(end)) {
                line.is_dead |= !cut.holds && line.pipes.iter().any(|pipe| !locked(pipe).under_way.is_empty());
            }
            let is_cut = line.ends.iter().any(|end| state.cuts.contains_key(end));
            if line.is_dead || is_cut {
                continue;
            }
            for (direction, pipe) in line.pipes.iter().enumerate() {
                let mut pipe = locked(pipe);
                let mut has_arrived = false;
                while pipe.under_way.front().is_some_and(|(at, _)| *at <= now) {
                    if let Some((_, chunk)) = pipe.under_way.pop_front() {
                        has_arrived = true;
                        pipe.under_way_bytes -= chunk.len();
                        pipe.arrived.push_back(chunk);
                    }
                }
                if pipe.under_way.is_empty() && !pipe.has_ended && pipe.ends.is_some_and(|at| at <= now) {
                    pipe.has_ended = true;
                    pipe.wake();
                }
                if has_arrived {
                    // How much is not told: answers carry the date of the real clock, which the header compression of
                    // HTTP/2 makes shorter while the second lasts.
                    self.chronicle.event(&line.ends[1 - direction], format_args!("hears on line {}", line.number));
                    pipe.wake();
                }
            }
        }
        state.lines.retain(|line| line.pipes.iter().any(|pipe| !locked(pipe).reader_gone));
    }

    /// Cuts a host off. What is on its way is held back until then, or lost.
    pub(crate) fn cut(&self, host: &str, length: Duration, holds: bool) {
        let until = self.time.now() + length;
        locked(&self.state).cuts.insert(host.to_owned(), Cut { until, holds });
    }

    /// Makes everything slow for a while.
    pub(crate) fn slow_down(&self, length: Duration) {
        locked(&self.state).slow_until = self.time.now() + length;
    }

    /// Breaks the lines of a host. `loudly`, both ends hear of it at once; otherwise they wait in vain.
    pub(crate) fn break_lines(&self, host: &str, loudly: bool) -> usize {
        let mut state = locked(&self.state);
        let mut broken = 0;
        for line in state.lines.iter_mut().filter(|line| !line.is_dead && line.ends.iter().any(|end| end == host)) {
            broken += 1;
            line.is_dead = true;
            if loudly {
                line.pipes.iter().for_each(|pipe| locked(pipe).reset());
            }
        }
        broken
    }

    /// Ends every cut and slowness. Lines that were broken stay broken.
    pub(crate) fn heal(&self) {
        let mut state = locked(&self.state);
        state.cuts.clear();
        state.slow_until = Duration::ZERO;
    }

    fn latency(&self) -> Duration {
        let is_slow = locked(&self.state).slow_until > self.time.now();
        if is_slow { self.chance.millis(100, 1_500) } else { self.chance.millis(1, 20) }
    }
}

/// One end of a line.
pub(crate) struct Stream {
    network: Network,
    reads: Arc<Mutex<Pipe>>,
    writes: Arc<Mutex<Pipe>>,
}

impl Connected for Stream {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut pipe = locked(&self.reads);
        if pipe.is_reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let Some(chunk) = pipe.arrived.front_mut() else {
            if pipe.has_ended {
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        let taken = chunk.len().min(buffer.remaining());
        buffer.put_slice(&chunk[..taken]);
        chunk.advance(taken);
        if chunk.is_empty() {
            pipe.arrived.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let latency = self.network.latency();
        let mut pipe = locked(&self.writes);
        if pipe.is_reset || pipe.reader_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if pipe.under_way_bytes >= UNDER_WAY_MAX {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        // Nothing overtakes what was written before.
        let before = pipe.under_way.back().map_or(Duration::ZERO, |(at, _)| *at);
        let arrives = (self.network.time.now() + latency).max(before);
        pipe.under_way_bytes += bytes.len();
        pipe.under_way.push_back((arrives, Bytes::copy_from_slice(bytes)));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ends = self.network.time.now() + self.network.latency();
        locked(&self.writes).ends.get_or_insert(ends);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let ends = self.network.time.now() + self.network.latency();
        locked(&self.writes).ends.get_or_insert(ends);
        let mut reads = locked(&self.reads);
        reads.reader_gone = true;
        reads.wake();
    }
}
