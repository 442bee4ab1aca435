//! The process and the runtime that it works on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Counter, IntGauge};
use tokio::runtime::{Handle, RuntimeMetrics};

use super::book::{Book, Entry, Kind, figure};

/// What the library tells of the process.
const PROCESS: [Entry; 7] = [
    entry(
        "process_cpu_seconds_total",
        Kind::Counter,
        "Total user and system CPU time spent in seconds.",
    ),
    entry(
        "process_max_fds",
        Kind::Gauge,
        "Maximum number of open file descriptors.",
    ),
    entry(
        "process_open_fds",
        Kind::Gauge,
        "Number of open file descriptors.",
    ),
    entry(
        "process_resident_memory_bytes",
        Kind::Gauge,
        "Resident memory size in bytes.",
    ),
    entry(
        "process_start_time_seconds",
        Kind::Gauge,
        "Start time of the process since unix epoch in seconds.",
    ),
    entry(
        "process_threads",
        Kind::Gauge,
        "Number of OS threads in the process.",
    ),
    entry(
        "process_virtual_memory_bytes",
        Kind::Gauge,
        "Virtual memory size in bytes.",
    ),
];

const fn entry(name: &'static str, kind: Kind, help: &'static str) -> Entry {
    Entry {
        name,
        kind,
        labels: Vec::new(),
        help,
    }
}

/// The process as it was when it was last asked about. Its files are read off the reactor, for the next time: a machine
/// that is in trouble may take long over them, and that is when everything else has to be told.
struct Process {
    files: Arc<ProcessCollector>,
    last: Arc<Mutex<Vec<MetricFamily>>>,
    /// True while the files are read: once at a time.
    reading: Arc<AtomicBool>,
}

impl Process {
    fn new() -> Self {
        let files = ProcessCollector::for_self();
        let last = Arc::new(Mutex::new(files.collect()));
        Self {
            files: Arc::new(files),
            last,
            reading: Arc::default(),
        }
    }

    fn read_for_the_next_time(&self) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if self.reading.swap(true, Ordering::Relaxed) {
            return;
        }
        let (files, last, reading) = (self.files.clone(), self.last.clone(), self.reading.clone());
        // It ends by itself, and nobody waits for it.
        drop(runtime.spawn_blocking(move || {
            let read = files.collect();
            *last.lock().unwrap_or_else(PoisonError::into_inner) = read;
            reading.store(false, Ordering::Relaxed);
        }));
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.files.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read_for_the_next_time();
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The metrics of the runtime.
#[derive(Debug)]
pub struct Runtime {
    workers: IntGauge,
    tasks: IntGauge,
    queued: IntGauge,
    busy: Counter,
}

impl Runtime {
    pub(super) fn new(book: &Book) -> Self {
        book.foreign(Process::new(), PROCESS);
        Self {
            workers: book.gauge("seawall_runtime_workers", "Threads that run tasks."),
            tasks: book.gauge("seawall_runtime_tasks", "Tasks that live."),
            queued: book.gauge(
                "seawall_runtime_queued_tasks",
                "Tasks that wait for a thread, but for those that a thread has taken to itself.",
            ),
            busy: book.sum(
                "seawall_runtime_busy_seconds_total",
                "Time that the threads which run tasks were busy, all together.",
            ),
        }
    }

    /// How the runtime stands.
    pub(super) fn stands(&self, runtime: &RuntimeMetrics) {
        let workers = runtime.num_workers();
        self.workers.set(figure(workers as u64));
        self.tasks.set(figure(runtime.num_alive_tasks() as u64));
        self.queued.set(figure(runtime.global_queue_depth() as u64));
        let busy = (0..workers).map(|worker| runtime.worker_total_busy_duration(worker).as_secs_f64());
        // Never back: another scrape may have told more already.
        self.busy.inc_by((busy.sum::<f64>() - self.busy.get()).max(0.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_runtime_tells_its_tasks_and_its_workers() {
        let book = Book::default();
        let runtime = Runtime::new(&book);
        let tasks = tokio_util::task::TaskTracker::new();
        tasks.spawn(std::future::pending::<()>());
        runtime.stands(&tokio::runtime::Handle::current().metrics());
        book.expect("seawall_runtime_workers 1");
        book.expect("seawall_runtime_tasks 1");
    }
}
