//! Logs, to standard error, through a bounded queue and one thread.
//!
//! ```text
//! tracing events ──┐ try_send
//! request lines  ──┴─────────> queue (bounded) ──> writer thread ──> standard error
//!                     full: drop and count
//! ```
//! Nobody who logs ever waits: a reader of our standard error that stops reading (a full pipe, a hanging
//! terminal) costs log lines, not requests, and one that is gone costs nothing at all.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Most lines waiting to be written: about two seconds of a busy server.
const QUEUE_LINES: usize = 8192;

/// Most bytes waiting to be written, however long the lines are.
const QUEUE_BYTES: usize = 8 << 20;

/// Lines are joined up to this many bytes for one write.
const WRITE_BYTES: usize = 64 * 1024;

/// How long the end of the program waits for the last lines to be written.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Starts logging: `tracing` events of at least `level` (`info`, `seawall=debug`), as text or as one JSON
/// object a line. Called once; a subscriber that is installed already stays.
///
/// A `level` that cannot be read means `info`.
pub fn start(json: bool, level: &str) -> LogGuard {
    let guard = LogGuard::writing_to(io::stderr());
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(guard.lines.clone())
        .log_internal_errors(false);
    // Installing fails only if a subscriber is there already, which then stays.
    let _ = if json {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
    } else {
        tracing::subscriber::set_global_default(builder.with_ansi(false).finish())
    };
    guard
}

/// Keeps the log going. Dropping it writes what still waits, for a second at most.
pub struct LogGuard {
    lines: RequestLog,
    done: Receiver<()>,
}

impl LogGuard {
    /// A queue whose lines are written to `sink`.
    pub(crate) fn writing_to(sink: impl Write + Send + 'static) -> Self {
        let (queue, waiting) = sync_channel(QUEUE_LINES);
        let (finished, done) = sync_channel(1);
        let lines = RequestLog {
            queue,
            shared: Arc::default(),
        };
        let shared = Arc::clone(&lines.shared);
        // Without a thread the queue has no reader, and every line counts as dropped.
        let _ = std::thread::Builder::new().name("log".into()).spawn(move || {
            write_lines(&waiting, &shared, sink);
            let _ = finished.try_send(());
        });
        Self { lines, done }
    }

    /// A handle for lines that are formatted already.
    pub fn requests(&self) -> RequestLog {
        self.lines.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.lines.shared.stopping.store(true, Ordering::Release);
        // Wakes the thread if it waits; if the queue is full it does not.
        let _ = self.lines.queue.try_send(Vec::new());
        match self.done.recv_timeout(FLUSH_LIMIT) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

/// Puts lines into the log. Cheap to clone; never waits.
#[derive(Clone)]
pub struct RequestLog {
    queue: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    dropped: AtomicU64,
    /// Bytes in the queue.
    waiting: AtomicUsize,
    stopping: AtomicBool,
}

impl RequestLog {
    /// Logs a formatted line, without its newline, as it is.
    pub fn line(&self, line: String) {
        let mut line = line.into_bytes();
        line.push(b'\n');
        self.push(line);
    }

    /// Number of lines dropped since the start, because they came faster than they could be written or
    /// could not be written at all.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    fn push(&self, line: Vec<u8>) {
        let length = line.len();
        let waiting = self.shared.waiting.fetch_add(length, Ordering::Relaxed);
        if waiting + length > QUEUE_BYTES || self.queue.try_send(line).is_err() {
            self.shared.waiting.fetch_sub(length, Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for RequestLog {
    type Writer = EventWriter<'a>;

    fn make_writer(&'a self) -> EventWriter<'a> {
        EventWriter {
            log: self,
            line: Vec::new(),
        }
    }
}

/// Collects one event and queues it whole when dropped.
pub struct EventWriter<'a> {
    log: &'a RequestLog,
    line: Vec<u8>,
}

impl Write for EventWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for EventWriter<'_> {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.log.push(std::mem::take(&mut self.line));
        }
    }
}

/// Writes lines until the log stops and none is left. What cannot be written is dropped and counted.
fn write_lines(waiting: &Receiver<Vec<u8>>, shared: &Shared, mut sink: impl Write) {
    loop {
        let first = match waiting.try_recv() {
            Ok(line) => line,
            Err(TryRecvError::Empty) if shared.stopping.load(Ordering::Acquire) => return,
            Err(TryRecvError::Empty) => match waiting.recv() {
                Ok(line) => line,
                Err(_) => return,
            },
            Err(TryRecvError::Disconnected) => return,
        };
        let (batch, lines) = gather(first, waiting);
        shared.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
        if sink.write_all(&batch).and_then(|()| sink.flush()).is_err() {
            shared.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

/// Joins the lines that wait to one write, and counts them. An empty line only wakes the thread.
fn gather(first: Vec<u8>, waiting: &Receiver<Vec<u8>>) -> (Vec<u8>, u64) {
    let mut lines = u64::from(!first.is_empty());
    let mut batch = first;
    while batch.len() < WRITE_BYTES {
        let Ok(line) = waiting.try_recv() else { break };
        lines += u64::from(!line.is_empty());
        batch.extend_from_slice(&line);
    }
    (batch, lines)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A sink that is read by the test.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A sink whose reader does not read until it is let go.
    struct Stuck(Receiver<()>, Sender<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.1.send(());
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A sink whose reader is gone.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_lines_are_written_in_order_before_the_guard_is_gone() {
        let paper = Paper::default();
        let guard = LogGuard::writing_to(paper.clone());
        let log = guard.requests();
        for number in 0..1000 {
            log.line(format!("line {number}"));
        }
        drop(guard);
        let written = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        let wanted: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        assert_eq!(written, wanted);
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn a_reader_that_stops_reading_costs_lines_and_blocks_nobody() {
        let (go, wait) = channel();
        let (writing, seen) = channel();
        let guard = LogGuard::writing_to(Stuck(wait, writing));
        let log = guard.requests();
        log.line("held".into());
        seen.recv().unwrap();
        for _ in 0..QUEUE_LINES + 5 {
            log.line("more".into());
        }
        assert_eq!(log.dropped(), 5);
        drop(go);
    }

    #[test]
    fn long_lines_fill_the_queue_by_their_bytes() {
        let (go, wait) = channel();
        let (writing, seen) = channel();
        let guard = LogGuard::writing_to(Stuck(wait, writing));
        let log = guard.requests();
        log.line("held".into());
        seen.recv().unwrap();
        for _ in 0..10 {
            log.line("x".repeat((1 << 20) - 1));
        }
        assert_eq!(log.dropped(), 2);
        drop(go);
    }

    #[test]
    fn a_reader_that_is_gone_makes_no_panic_and_every_line_counts_as_dropped() {
        let guard = LogGuard::writing_to(Gone);
        let log = guard.requests();
        log.line("a".into());
        log.line("b".into());
        drop(guard);
        assert_eq!(log.dropped(), 2);
    }

    #[test]
    fn an_event_is_one_line_of_its_own() {
        let paper = Paper::default();
        let guard = LogGuard::writing_to(paper.clone());
        let subscriber = tracing_subscriber::fmt()
            .with_writer(guard.requests())
            .json()
            .flatten_event(true)
            .finish();
        tracing::subscriber::with_default(subscriber, || tracing::info!(upstream = "docker.io", "closed"));
        drop(guard);
        let written = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(written.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!(
            (&line["message"], &line["upstream"]),
            (&"closed".into(), &"docker.io".into())
        );
    }
}
