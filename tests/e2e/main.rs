//! Real clients pull real images from a real registry through the real binary.
//!
//! Needs root and the clients; `tests/e2e/run` starts it, `tests/run` installs what it needs. Arguments that
//! are not options choose the tests whose names contain one of them. With `SEAWALL_E2E_DIRECT` set, clients
//! pull from the upstream itself: that shows whether a failure is Seawall's or the harness's.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "this drives processes in real time and reports to a terminal; there is no reactor to block"
)]

mod api;
mod bundle;
mod certified;
mod clients;
mod crash;
mod disk;
mod ends;
mod federation;
mod kills;
mod kinds;
mod lame;
mod login;
mod metrics;
mod mirrors;
mod operator;
mod page;
mod pulls;
mod refused;
mod reload;
mod run;
mod scarce;
mod shield;
mod signed;
#[path = "../it/support/signing.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "the tests in memory sign more, and unwrap where a test has failed"
)]
mod signing;
mod support;
mod systemd;
mod trouble;
mod under_load;
mod verify;

use std::num::NonZero;
use std::process::ExitCode;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Instant;

use support::{Result, Verdict, World};

/// A test: its name is the sentence it proves.
type Test = (&'static str, fn(&World) -> Result<Verdict>);

/// Most tests that run at a time, each in a world of its own.
const MAX_LANES: usize = 4;

const TESTS: [Test; 70] = [
    (
        "all clients together cost one upstream GET per digest when cold",
        pulls::cold_together,
    ),
    ("a warm pull costs no upstream GET", pulls::warm),
    (
        "clients pull with what mirror-config writes, and each digest costs one upstream GET",
        pulls::as_configured,
    ),
    (
        "mirror-config writes no mirror that does not answer, and leaves the machine as it found it",
        mirrors::only_what_answers,
    ),
    (
        "a followed mirror is written while it answers, and taken out while it does not",
        mirrors::followed,
    ),
    (
        "a command pulls through a Seawall of its own and is told what that saved",
        run::pulls,
    ),
    (
        "a command ends as it does alone, and its Seawall with it",
        run::ends,
    ),
    (
        "a command hears the signal that its run is told to end by, and nothing of the run stays",
        run::hears_signals,
    ),
    (
        "a run leaves nothing when it is told to end, and the next one removes what a killed one left",
        run::tidies_up,
    ),
    (
        "a configuration that is read forty times under load costs no pull",
        reload::under_load,
    ),
    (
        "sockets that systemd opened are served, and systemd is told",
        systemd::activated,
    ),
    (
        "systemd is not told that it lives while its runtime hangs",
        systemd::hanging,
    ),
    ("a pull by path prefix names the registry", pulls::by_prefix),
    (
        "an index and its platforms arrive byte for byte",
        pulls::platforms,
    ),
    (
        "a range of a cold blob is the range asked for",
        api::range_of_a_cold_blob,
    ),
    ("an artifact is found from what it refers to", api::referrers),
    ("writes are answered 405", api::writes_are_refused),
    (
        "people log in with podman and skopeo, and are refused in words",
        login::people,
    ),
    (
        "containerd logs in with what the kubelet hands it, and is refused without",
        login::nodes,
    ),
    (
        "dockerd logs in, pulls what it may, and shows people why it is refused",
        login::daemons,
    ),
    (
        "dockerd keeps a token instead of the password, and pulls by it while its user has that password",
        login::identity_tokens,
    ),
    (
        "a job's token is a login for podman, skopeo and containerd, and whose is refused is shown why",
        federation::pulls,
    ),
    (
        "a job's token is a login for dockerd, and whose is refused is shown why",
        federation::daemons,
    ),
    (
        "what is signed is pulled, and who is refused what is not is shown why",
        signed::pulls,
    ),
    (
        "of two tenants, each has what the registry shows it",
        login::tenants,
    ),
    (
        "containerd shows its node's certificate, and is refused without a good one",
        certified::nodes,
    ),
    (
        "podman and skopeo show a certificate, and are refused without a good one",
        certified::people,
    ),
    (
        "dockerd shows its machine's certificate, and is refused without a good one",
        certified::daemons,
    ),
    (
        "what was warmed is pulled while the upstream is gone",
        bundle::warmed,
    ),
    (
        "a bundle is read by skopeo and podman, byte for byte",
        bundle::read_by_others,
    ),
    (
        "a bundle is imported and pulled where there is no upstream",
        bundle::imported,
    ),
    (
        "what a Kubernetes manifest and a list name is warmed, and a miss shows in the exit code",
        operator::warms,
    ),
    (
        "a purge removes what its dry run showed, keeps what is locked, and says so by its exit code",
        operator::purges,
    ),
    (
        "a SIGKILL in the middle of a pull leaves nothing wrong behind",
        crash::kill_in_the_middle,
    ),
    (
        "a SIGTERM ends it well, and what was cached is there after a restart",
        crash::restart,
    ),
    (
        "a SIGTERM lets twenty transfers end, lets nobody new in, and ends it well",
        ends::drained,
    ),
    (
        "a SIGTERM cuts off who never reads when the drain is over, and ends it well",
        ends::cut_off,
    ),
    (
        "a second signal ends it at once and leaves nothing half-written under a name",
        ends::second_signal,
    ),
    (
        "a process that stood still goes on, and no pull or upstream notices",
        ends::stopped,
    ),
    (
        "a thousand connections without descriptors leave the processor and transfers alone",
        scarce::descriptors,
    ),
    (
        "four hundred readers who stand still cost little memory",
        scarce::memory,
    ),
    (
        "a hundred pulls of a large blob at once go through in the memory of a small container",
        scarce::container,
    ),
    (
        "a log that is closed, full, gone or never read costs no pull",
        scarce::readers_of_the_log,
    ),
    (
        "without budget, warm pulls go on and cost nothing",
        shield::warm_pulls_cost_nothing,
    ),
    (
        "without budget, what is not held is refused in words",
        shield::refused_in_words,
    ),
    (
        "with ten requests left, fifty warm images cost none of them",
        shield::fifty_warm_images,
    ),
    (
        "without budget, podman waits as it is told and then pulls",
        shield::podman_waits,
    ),
    (
        "without budget, clients that are sent on end at once",
        shield::sent_on,
    ),
    (
        "file systems of other kinds keep what is pulled, also over a SIGKILL",
        kinds::of_file_systems,
    ),
    ("a full disk costs no pull, and nothing stays behind", disk::full),
    ("a disk without inodes costs no pull, and heals", disk::no_inodes),
    (
        "a disk that is full, read-only or failing while clients pull costs none of their pulls",
        under_load::disk_fails,
    ),
    (
        "a read-only disk serves what it holds, also after a restart, and heals",
        disk::read_only,
    ),
    (
        "writes and syncs that fail anywhere cost no pull, and no sync is tried twice",
        disk::failing_writes,
    ),
    (
        "a file that cannot be read completes no wrong body",
        disk::failing_reads,
    ),
    ("a disk that hangs holds up no pull for long", disk::slow),
    (
        "a disk that is slow at every write holds up no pull for long",
        lame::slow_writes,
    ),
    (
        "a disk that freezes holds up no pull for long, and heals",
        lame::frozen,
    ),
    (
        "a directory that is closed to us costs no pull, and heals when it is opened",
        lame::denied,
    ),
    (
        "records that can be neither read nor written cost no pull, and are opened again",
        lame::failing_records,
    ),
    (
        "without descriptors nobody gets wrong bytes",
        disk::no_descriptors,
    ),
    ("a cache directory that vanishes is made again", disk::emptied),
    (
        "a start that cannot be says why and what to do",
        refused::refused_starts,
    ),
    (
        "SIGKILLs at random moments leave nothing wrong and lose nothing that had a name",
        kills::again_and_again,
    ),
    (
        "restarts every second while clients go on cost each of them some more tries and no pull",
        kills::while_clients_go_on,
    ),
    (
        "a SIGKILL while a counted answer is on its way does not forget what was spent",
        kills::spend_on_its_way,
    ),
    (
        "damage on disk is found and mended by the command",
        verify::damage_is_found_and_mended,
    ),
    (
        "every expression of dashboards and alerts has data in a real Prometheus",
        metrics::everything_has_data,
    ),
    (
        "the status page tells the same with and without JavaScript, and keeps itself up to date",
        page::with_and_without_scripts,
    ),
    (
        "the status page fits every width and is legible in light and dark",
        page::fits_and_is_legible,
    ),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let is_wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let wanted: Vec<Test> = TESTS.into_iter().filter(|(name, _)| is_wanted(name)).collect();
    // Most tests wait more than they work, so one lane more than there are processors keeps those busy.
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let lanes = (processors + 1).min(MAX_LANES).min(wanted.len());
    let run = Run::default();
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| run.lane(&wanted));
        }
    });
    run.sum_up(wanted.len())
}

/// All tests of one run, and how those that have ended ended.
#[derive(Default)]
struct Run {
    next: AtomicUsize,
    passed: AtomicUsize,
    skipped: AtomicUsize,
}

impl Run {
    /// Takes test after test, all in one world, until none is left.
    fn lane(&self, tests: &[Test]) {
        let world = match World::build() {
            Ok(world) => world,
            Err(error) => {
                println!("the upstream and its images could not be made: {error}");
                return;
            }
        };
        while let Some((name, test)) = tests.get(self.next.fetch_add(1, Relaxed)) {
            world.forget_logs();
            let start = Instant::now();
            let result = test(&world);
            let seconds = start.elapsed().as_secs_f64();
            match result {
                Ok(Verdict::Passed) => {
                    self.passed.fetch_add(1, Relaxed);
                    println!("ok      {name} ({seconds:.1} s)");
                }
                Ok(Verdict::Skipped(reason)) => {
                    self.skipped.fetch_add(1, Relaxed);
                    println!("skipped {name}: {reason}");
                }
                Err(error) => println!("FAILED  {name} ({seconds:.1} s)\n{error}\n{}", world.log_tails()),
            }
        }
    }

    /// Says how many passed; all that are `wanted` and were neither passed nor skipped have failed.
    fn sum_up(&self, wanted: usize) -> ExitCode {
        let (passed, skipped) = (self.passed.load(Relaxed), self.skipped.load(Relaxed));
        let failed = wanted.saturating_sub(passed + skipped);
        if skipped > 0 {
            println!("\n{skipped} skipped");
        }
        println!("\n{passed} passed, {failed} failed");
        if failed > 0 || passed == 0 {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}
