//! Where log lines go: standard output, standard error or a file, written by a thread of its own.
//!
//! In: blocks of whole lines. Out: bytes on the sink, each line's fate in the ledger, and how the writing goes in the standing. The queue
//! is bounded in bytes; what does not fit is dropped and counted. A file is reopened when asked (SIGUSR1) and after a failed write. Not
//! here: what a line says.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::ledger::{Drop, Ledger, Signal};
use super::standing::Standing;

/// The place that lines are written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Stdout,
    Stderr,
    File(PathBuf),
}

/// Lines that are written together.
struct Block {
    text: Vec<u8>,
    lines: u64,
}

enum Order {
    Write(Block),
    Reopen,
    Stop(SyncSender<()>),
}

/// Blocks in the queue; their bytes are bounded by the standing.
const QUEUE_LEN_MAX: usize = 1024;

/// How long the end waits for the last lines.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The writing thread, seen from outside.
pub(crate) struct LogSink {
    orders: SyncSender<Order>,
    standing: Arc<Standing>,
    ledger: Arc<Ledger>,
}

impl LogSink {
    /// Fails where the destination cannot be opened.
    pub(crate) fn start(destination: Destination, standing: Arc<Standing>, ledger: Arc<Ledger>) -> io::Result<Self> {
        let (orders, received) = sync_channel(QUEUE_LEN_MAX);
        let mut writer = Writer {
            torn: false,
            sink: Sink::open(&destination)?,
            destination,
            ledger: Arc::clone(&ledger),
            standing: Arc::clone(&standing),
        };
        std::thread::Builder::new().name("pellucid-log".to_owned()).spawn(move || writer.run(&received))?;
        Ok(LogSink { orders, standing, ledger })
    }

    /// Takes lines that are counted as produced. Never waits.
    pub(crate) fn write(&self, text: Vec<u8>, lines: u64) {
        let bytes = text.len();
        let fits = self.standing.enter(lines, bytes);
        if fits && self.orders.try_send(Order::Write(Block { text, lines })).is_ok() {
            return;
        }
        if fits {
            self.standing.leave(lines, bytes);
        }
        self.ledger.dropped(Signal::Logs, Drop::QueueFull, lines);
    }

    /// Opens the file anew, after what is queued is written.
    pub(crate) fn reopen(&self) {
        // A full queue means that the sink does not keep up; a failed write reopens it as well.
        let _ = self.orders.try_send(Order::Reopen);
    }

    /// Writes what is queued and ends the thread. Waits for the sink, but not for ever: a blocked one must not hold the process.
    pub(crate) fn stop(self) {
        let (done, ended) = sync_channel(1);
        if self.orders.try_send(Order::Stop(done)).is_ok() {
            let _ = ended.recv_timeout(STOP_TIMEOUT);
        }
    }
}

enum Sink {
    Stdout(io::Stdout),
    Stderr(io::Stderr),
    File(File),
    /// The file could not be opened; tried again with the next block.
    Broken,
}

impl Sink {
    fn open(destination: &Destination) -> io::Result<Self> {
        Ok(match destination {
            Destination::Stdout => Sink::Stdout(io::stdout()),
            Destination::Stderr => Sink::Stderr(io::stderr()),
            Destination::File(path) => Sink::File(OpenOptions::new().create(true).append(true).open(path)?),
        })
    }

    /// Returns the bytes that the sink took and whether it took all.
    fn write_all(&mut self, text: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < text.len() {
            let rest = &text[written..];
            let result = match self {
                Sink::Stdout(out) => out.write(rest),
                Sink::Stderr(out) => out.write(rest),
                Sink::File(file) => file.write(rest),
                Sink::Broken => Err(io::ErrorKind::NotFound.into()),
            };
            match result {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (written, Err(error)),
            }
        }
        let flushed = match self {
            Sink::Stdout(out) => out.flush(),
            _ => Ok(()),
        };
        (written, flushed)
    }
}

struct Writer {
    sink: Sink,
    destination: Destination,
    ledger: Arc<Ledger>,
    standing: Arc<Standing>,
    /// What was written last is no whole line.
    torn: bool,
}

impl Writer {
    fn run(&mut self, orders: &Receiver<Order>) {
        while let Ok(order) = orders.recv() {
            match order {
                Order::Write(block) => self.write(&block),
                Order::Reopen => {
                    self.torn = false;
                    self.reopen();
                }
                Order::Stop(done) => {
                    let _ = done.try_send(());
                    return;
                }
            }
        }
    }

    fn write(&mut self, block: &Block) {
        if matches!(self.sink, Sink::Broken) {
            self.reopen();
        }
        if self.torn && self.sink.write_all(b"\n").1.is_ok() {
            self.torn = false;
        }
        let (written, result) = self.sink.write_all(&block.text);
        self.torn = self.torn || written > 0 && block.text[written - 1] != b'\n';
        self.standing.leave(block.lines, block.text.len());
        let whole_lines = memchr::memchr_iter(b'\n', &block.text[..written]).count() as u64;
        self.ledger.exported(Signal::Logs, whole_lines.min(block.lines));
        let Err(error) = result else { return self.standing.succeeded() };
        self.ledger.dropped(Signal::Logs, Drop::SinkFailed, block.lines.saturating_sub(whole_lines));
        self.note_failure(&error);
    }

    /// Why a broken sink could not be opened has been noted, and says more than that it is broken.
    fn note_failure(&mut self, error: &io::Error) {
        if !matches!(self.sink, Sink::Broken) {
            self.standing.failed(&error.to_string());
        }
        tracing::warn!(sink = ?self.destination, %error, "the access log cannot be written");
        if matches!(self.sink, Sink::File(_)) {
            self.sink = Sink::Broken;
        }
    }

    fn reopen(&mut self) {
        match Sink::open(&self.destination) {
            Ok(sink) => self.sink = sink,
            Err(error) => {
                self.standing.failed(&error.to_string());
                tracing::warn!(sink = ?self.destination, %error, "the access log cannot be reopened");
            }
        }
    }
}
