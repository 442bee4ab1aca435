//! The machine that is measured on: which cores are whose, and what a process used.

use std::fs;
use std::thread;

use crate::support::Result;
use crate::support::process::{command, run};

/// Clock ticks a second in `/proc/<pid>/stat`: 100 on every Linux architecture that has this table.
const TICKS: f64 = 100.0;

/// Where a server answers, and the process that is measured.
#[derive(Clone)]
pub(crate) struct Server {
    /// Host and port.
    pub(crate) address: String,
    /// The process id.
    pub(crate) id: u32,
}

/// Keeps this thread, and what it starts from now on, on these cores (as `taskset` writes them), where there is
/// more than one.
pub(crate) fn pin(cores: &str) -> Result {
    if cores_online()? < 2 {
        return Ok(());
    }
    let this = std::process::id().to_string();
    run(command("taskset").args(["-cp", cores, &this])).map(drop)
}

/// Lets what is started from now on use every core.
pub(crate) fn unpin() -> Result {
    pin(&format!("0-{}", cores_online()?.saturating_sub(1)))
}

/// The cores of this machine, whoever may use them.
pub(crate) fn cores_online() -> Result<usize> {
    Ok(run(command("nproc").arg("--all"))?.trim().parse()?)
}

/// Lets this process hold as many descriptors as it may: a thousand clients are a thousand sockets.
pub(crate) fn allow_descriptors() -> Result {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// CPU seconds of a process and its children so far.
pub(crate) fn cpu_seconds(id: u32) -> Result<f64> {
    Ok(cpu_ticks(id)? as f64 / TICKS)
}

fn cpu_ticks(id: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th fields after it.
    let fields = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .skip(11)
        .take(2);
    let mut ticks = 0;
    for field in fields {
        ticks += field.parse::<u64>()?;
    }
    for child in children(id) {
        ticks += cpu_ticks(child)?;
    }
    Ok(ticks)
}

/// Megabytes of memory that a process and its children have now.
pub(crate) fn resident(id: u32) -> Result<f64> {
    memory(id, "VmRSS:")
}

/// The most megabytes of memory that a process and its children had since the peak was last forgotten.
pub(crate) fn peak(id: u32) -> Result<f64> {
    memory(id, "VmHWM:")
}

/// Lets the peak begin anew.
pub(crate) fn forget_peak(id: u32) -> Result {
    Ok(fs::write(format!("/proc/{id}/clear_refs"), "5")?)
}

fn memory(id: u32, field: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let figure = line.and_then(|line| line.split_whitespace().next());
    let mut megabytes = figure.ok_or("no memory in /proc")?.parse::<f64>()? * 1024.0 / 1e6;
    for child in children(id) {
        megabytes += memory(child, field)?;
    }
    Ok(megabytes)
}

fn children(id: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}

/// Runs one thread for each of `items` and waits for all: their results in order, or the first error.
pub(crate) fn each_in_a_thread<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for item in items {
            let work = &work;
            threads.push(
                thread::Builder::new()
                    .stack_size(256 << 10)
                    .spawn_scoped(scope, move || work(item))?,
            );
        }
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a client thread panicked")?)
            .collect()
    })
}

/// The middle one; of an even number, the upper of the two.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What the figures were measured on: cores, processor, kernel, and who paces what is sent.
pub(crate) fn name() -> Result<String> {
    let told = |path| fs::read_to_string(path).unwrap_or_default();
    let processor = told("/proc/cpuinfo");
    let model = processor.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("", |line| line.trim_start_matches([' ', '\t', ':']));
    Ok(format!(
        "{} cores, {model}, Linux {}, TCP by {}",
        cores_online()?,
        told("/proc/sys/kernel/osrelease").trim(),
        told("/proc/sys/net/ipv4/tcp_congestion_control").trim()
    ))
}
