//! Logs, to standard error, through a bounded buffer and one thread.
//!
//! ```text
//! tracing events ──┐ append
//! request lines  ──┴───────> buffer (bounded) ──> writer thread, forty times a second ───> standard error
//!                    full: drop and count
//! ```
//! Nobody who logs ever waits: a reader of our standard error that stops reading (a full pipe, a hanging
//! terminal) costs log lines, not requests, and one that is gone costs nothing at all. The thread lets lines
//! gather before it writes them, since waking it costs more than a line does.

mod traced;

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use self::traced::Traced;

/// Most bytes waiting to be written: about a second of a busy server.
const MOST_BYTES: usize = 8 << 20;

/// How long lines gather after the first. Waking the thread for each line cost half of all requests: two context
/// switches and a system call a line, where formatting it takes two hundredths of the request. On one core all that is
/// under way stands behind a write: of 16 connections that have 100,000 answers a second, 1.6 in a hundred did with
/// writes every 10 ms, which was their p99.
const GATHERING: Duration = Duration::from_millis(25);

/// Room that an empty buffer keeps.
const KEPT_BYTES: usize = 1 << 20;

/// How long the end of the program waits for the last lines to be written.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Starts logging: `tracing` events of at least `level` (`info`, `seawall=debug`), as text or as one JSON
/// object a line. Called once; a subscriber that is installed already stays.
///
/// A `level` that cannot be read means `info`.
pub fn start(json: bool, level: &str) -> LogGuard {
    let mut guard = LogGuard::writing_to(io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(level))
        .with_writer(guard.lines.clone())
        .log_internal_errors(false);
    // Installing fails only if a subscriber is there already, which then stays.
    let level: SetLevel = if json {
        let builder = builder.json().flatten_event(true).map_event_format(Traced::json);
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        let _ = tracing::subscriber::set_global_default(builder.finish());
        Box::new(move |filter| handle.reload(filter).is_ok())
    } else {
        let builder = builder.with_ansi(false).map_event_format(Traced::text);
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        let _ = tracing::subscriber::set_global_default(builder.finish());
        Box::new(move |filter| handle.reload(filter).is_ok())
    };
    guard.level = Some(level);
    guard
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Has another filter decide from now on; false if the subscriber is gone.
type SetLevel = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// Keeps the log going. Dropping it writes what still waits, for a second at most.
pub struct LogGuard {
    lines: RequestLog,
    /// Asked by the end only.
    done: Mutex<Receiver<()>>,
    level: Option<SetLevel>,
}

impl LogGuard {
    /// A buffer whose lines are written to `sink`.
    pub(crate) fn writing_to(sink: impl Write + Send + 'static) -> Self {
        let (finished, done) = sync_channel(1);
        let lines = RequestLog(Arc::default());
        let shared = lines.0.clone();
        // Without a thread nobody empties the buffer, and what does not fit counts as dropped.
        let _ = std::thread::Builder::new().name("log".into()).spawn(move || {
            write_lines(&shared, sink);
            let _ = finished.try_send(());
        });
        Self {
            lines,
            done: Mutex::new(done),
            level: None,
        }
    }

    /// Logs what is of at least this level from now on. A `level` that cannot be read means `info`.
    pub fn set_level(&self, level: &str) {
        if let Some(set) = &self.level
            && !set(filter(level))
        {
            tracing::warn!(level, "the level of the log cannot be changed any more");
        }
    }

    /// A handle for lines that are formatted already.
    pub fn requests(&self) -> RequestLog {
        self.lines.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.lines.0.waiting().stopping = true;
        self.lines.0.stirred.notify_one();
        let done = self.done.get_mut().unwrap_or_else(PoisonError::into_inner);
        match done.recv_timeout(FLUSH_LIMIT) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

/// Puts lines into the log. Cheap to clone; never waits for whoever reads them.
#[derive(Clone)]
pub struct RequestLog(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// The first line has come, or the end.
    stirred: Condvar,
    dropped: AtomicU64,
}

/// Lines that are not written yet.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    lines: u64,
    stopping: bool,
}

impl Shared {
    /// Held for the copy of a line.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for lines, lets more gather, and takes them all in exchange for an empty buffer. `None` when the
    /// log stops and none is left.
    fn take(&self, empty: Vec<u8>) -> Option<(Vec<u8>, u64)> {
        let idle = |waiting: &mut Waiting| waiting.lines == 0 && !waiting.stopping;
        let first = self.stirred.wait_while(self.waiting(), idle);
        let first = first.unwrap_or_else(PoisonError::into_inner);
        let gathering = self
            .stirred
            .wait_timeout_while(first, GATHERING, |waiting| !waiting.stopping);
        let (mut waiting, _) = gathering.unwrap_or_else(PoisonError::into_inner);
        let lines = std::mem::take(&mut waiting.lines);
        (lines > 0).then(|| (std::mem::replace(&mut waiting.bytes, empty), lines))
    }
}

impl RequestLog {
    /// Logs a formatted line, without its newline, as it is.
    pub fn line(&self, line: &str) {
        self.push(line.as_bytes(), b"\n");
    }

    /// Number of lines dropped since the start, because they came faster than they could be written or
    /// could not be written at all.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    fn push(&self, line: &[u8], end: &[u8]) {
        let mut waiting = self.0.waiting();
        if waiting.bytes.len() + line.len() + end.len() > MOST_BYTES {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes.extend_from_slice(line);
        waiting.bytes.extend_from_slice(end);
        waiting.lines += 1;
        let is_first = waiting.lines == 1;
        drop(waiting);
        if is_first {
            self.0.stirred.notify_one();
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

/// Collects one event and logs it whole when dropped.
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
            self.log.push(&self.line, b"");
        }
    }
}

/// Writes lines until the log stops and none is left. What cannot be written is dropped and counted.
fn write_lines(shared: &Shared, mut sink: impl Write) {
    let mut empty = Vec::new();
    while let Some((mut bytes, lines)) = shared.take(empty) {
        if sink.write_all(&bytes).and_then(|()| sink.flush()).is_err() {
            shared.dropped.fetch_add(lines, Ordering::Relaxed);
        }
        bytes.clear();
        bytes.shrink_to(KEPT_BYTES);
        empty = bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::super::Paper;
    use super::super::metrics::IntCounter;
    use super::super::trace::{self, Context, Tracer, Tracing};
    use super::*;

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
            log.line(&format!("line {number}"));
        }
        drop(guard);
        let wanted: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        assert_eq!(paper.text(), wanted);
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn a_reader_that_stops_reading_costs_lines_and_blocks_nobody() {
        let (go, wait) = channel();
        let (writing, seen) = channel();
        let guard = LogGuard::writing_to(Stuck(wait, writing));
        let log = guard.requests();
        log.line("held");
        seen.recv().unwrap();
        let line = "x".repeat((1 << 20) - 1);
        for _ in 0..MOST_BYTES / (1 << 20) + 2 {
            log.line(&line);
        }
        assert_eq!(log.dropped(), 2);
        drop(go);
    }

    #[test]
    fn a_reader_that_is_gone_makes_no_panic_and_every_line_counts_as_dropped() {
        let guard = LogGuard::writing_to(Gone);
        let log = guard.requests();
        log.line("a");
        log.line("b");
        drop(guard);
        assert_eq!(log.dropped(), 2);
    }

    /// What is written of an event, as JSON or text, that belongs to a trace if it is given.
    fn written(json: bool, context: Option<&Context>) -> String {
        let paper = Paper::default();
        let guard = LogGuard::writing_to(paper.clone());
        let builder = tracing_subscriber::fmt().with_writer(guard.requests());
        let tell = || tracing::info!(upstream = "docker.io", "closed");
        let tell = || match context {
            None => tell(),
            Some(context) => trace::at(context, tell),
        };
        if json {
            let builder = builder.json().flatten_event(true);
            tracing::subscriber::with_default(builder.map_event_format(Traced::json).finish(), tell);
        } else {
            let builder = builder.with_ansi(false);
            tracing::subscriber::with_default(builder.map_event_format(Traced::text).finish(), tell);
        }
        drop(guard);
        paper.text()
    }

    #[test]
    fn what_belongs_to_a_trace_says_so() {
        let dropped = IntCounter::new("dropped", "Dropped.").unwrap();
        let (tracer, _spans) = Tracer::new(1.0, dropped);
        let context = Tracing::new(Some(tracer), true).begin().unwrap();
        let id = context.trace_id();
        let text = written(false, Some(&context));
        let end = format!(r#"closed upstream="docker.io" trace_id={id}"#);
        assert_eq!(
            text.strip_suffix('\n').unwrap().split_once("closed").unwrap().1,
            &end["closed".len()..]
        );
        let json: serde_json::Value = serde_json::from_str(&written(true, Some(&context))).unwrap();
        assert_eq!(
            (&json["trace_id"], &json["message"]),
            (&id.into(), &"closed".into())
        );
        assert!(!written(false, None).contains("trace_id"));
    }

    #[test]
    fn an_event_is_one_line_of_its_own() {
        let written = written(true, None);
        let line: serde_json::Value = serde_json::from_str(written.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!(
            (&line["message"], &line["upstream"]),
            (&"closed".into(), &"docker.io".into())
        );
    }
}
