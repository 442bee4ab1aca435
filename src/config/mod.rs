//! The configuration: from a file and the environment to the options of every part.
//!
//! ```text
//! file ──> tree of values with places <── SEAWALL_… variables
//!                    │ check: every problem, not just the first
//!                    v
//!                Settings ──> the effective configuration, secrets hidden
//! ```

use std::path::{Path, PathBuf};

mod access;
mod admin;
mod alternates;
mod changes;
mod check;
mod clients;
mod defaults;
mod environment;
mod file;
mod freshness;
pub mod htpasswd;
mod identities;
mod insecure;
mod issuers;
mod logins;
mod misplaced;
mod offer;
mod problem;
mod proxies;
mod purges;
mod schedule;
mod scrub;
mod secret;
mod section;
mod shared;
mod show;
mod space;
mod tiers;
mod tls;
mod trace;
mod trusts;
mod units;
mod upstreams;
mod values;
mod warms;

pub use changes::{Change, Changes, NEEDS_RESTART, What};
pub use environment::Environment;
pub use logins::Logins;
pub use problem::{Place, Problem, Report};
pub use show::effective;
pub use trace::TraceOptions;

/// Most bytes of a configuration file, so that a wrong path (a disk, a log) is refused before it is read.
const MAX_FILE: u64 = 4 << 20;

/// The options of every part, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server's.
    pub server: crate::server::Options,
    /// The cache's.
    pub cache: crate::cache::Options,
    /// The shelf that several Seawalls share; `None` for none.
    pub shared: Option<crate::store::SharedOptions>,
    /// The upstreams', in the order of the configuration, the built-in ones last.
    pub upstreams: Vec<crate::upstream::Options>,
    /// The names they answer to, in the same order.
    pub names: Vec<crate::policy::naming::Entry>,
    /// What is purged by the calendar.
    pub purges: Vec<crate::cache::ScheduledPurge>,
    /// What is warmed by the calendar.
    pub warms: Vec<crate::cache::ScheduledWarm>,
    /// How to log.
    pub log: LogOptions,
    /// Whether and where spans are collected.
    pub trace: TraceOptions,
    /// Where the passwords of clients stand.
    pub logins: Logins,
}

/// How to log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// One JSON object a line instead of text.
    pub json: bool,
    /// Least level shown, as `tracing` spells it: `info`, `seawall=debug`.
    pub level: String,
    /// Whether each request is logged.
    pub requests: bool,
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The options of every part.
    pub settings: Settings,
    /// What an operator should know although it is no mistake, a sentence each.
    pub warnings: Vec<String>,
    /// The files that it names: secrets, certificates, keys.
    pub files: Vec<PathBuf>,
}

/// Reads a rate as people write it, `200MB/s` or `1.5Gbit/s`, in bytes per second.
pub fn rate(text: &str) -> Option<u64> {
    units::rate(text)
}

/// Reads the configuration from a file, if one is named, and the environment, which has the last word.
/// Blocks on the disk.
///
/// # Errors
/// A [`Report`] of every problem, if there is any.
pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Loaded, Report> {
    let mut problems = problem::Problems::default();
    let text = file.map(read).transpose().unwrap_or_else(|why| {
        problems.add(&Place::Whole, why, None);
        None
    });
    let loaded = understand(&text.unwrap_or_default(), environment, &mut problems);
    problems.report(file.map(Path::to_owned)).map(|()| loaded)
}

/// The settings that a file's text and the environment make; only to be used if no problem was found.
fn understand(text: &str, environment: &Environment, problems: &mut problem::Problems) -> Loaded {
    let mut tree = file::parse(text, problems);
    let mut warnings = environment.override_tree(&mut tree, &check::TABLES, problems);
    let settings = check::check(&tree, environment, problems);
    warnings.extend(logins::warnings(&settings));
    warnings.extend(admin::warnings(&settings.server));
    warnings.extend(trace::warnings(&settings.trace));
    warnings.extend(shared::warnings(settings.shared.as_ref()));
    warnings.extend(insecure::warnings(&settings));
    let mut files = Vec::new();
    file::named_files(&tree, &mut files);
    Loaded {
        settings,
        warnings,
        files,
    }
}

/// Reads a duration as the configuration has it: `7d`. `None` if it is none.
pub fn duration(text: &str) -> Option<std::time::Duration> {
    units::duration(text)
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("the file cannot be read: {error}");
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > MAX_FILE {
        return Err(format!(
            "the file has {length} bytes: expected at most {MAX_FILE}"
        ));
    }
    std::fs::read_to_string(path).map_err(failed)
}

#[cfg(test)]
mod tests;
